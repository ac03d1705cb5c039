{#- Fails where a number of the programme's roll-forward is not the sum of the customers' numbers of
    the month and currency, where customers are not counted as they are, and where a row is
    missing. -#}
{{ config(meta={"dagster": {"ref": {"name": "programme_points_by_month"}}}) }}

{%- set points_columns = [
    "opening_points", "earned_points", "reversal_points", "redeemed_points", "expired_points",
    "closing_points", "total_earned_points", "total_reversal_points", "total_redeemed_points",
    "total_expired_points", "total_outstanding_points",
] %}
{%- set columns = points_columns + [
    "negative_points", "relation_count", "nonzero_relation_count", "negative_relation_count",
    "posted_transfer_count",
] %}

with programme as (

    select * from {{ ref("programme_points_by_month") }}

),

balances as (

    select
        report_month,
        currency,
        {%- for column in points_columns %}
        sum({{ column }}) as {{ column }},
        {%- endfor %}
        sum(case when closing_points < 0 then closing_points else 0 end) as negative_points,
        count(*) as relation_count,
        count(case when closing_points <> 0 then 1 end) as nonzero_relation_count,
        count(case when closing_points < 0 then 1 end) as negative_relation_count
    from {{ ref("outstanding_points_by_month") }}
    group by
        report_month,
        currency

),

movements as (

    select
        report_month,
        currency,
        sum(transfer_count) as posted_transfer_count
    from {{ ref("points_movements_by_month") }}
    group by
        report_month,
        currency

),

{# Every month has a row in the default currency, even without any balance in it. #}
months as (

    select
        report_month,
        {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }} as currency
    from {{ ref("int_report_months") }}
    union
    select report_month, currency from balances

),

expected as (

    select
        months.report_month,
        months.currency,
        {%- for column in columns %}
        {%- set source = "movements" if column == "posted_transfer_count" else "balances" %}
        coalesce({{ source }}.{{ column }}, 0) as {{ column }}
        {{- "," if not loop.last }}
        {%- endfor %}
    from months
    left join balances
        on
            months.report_month = balances.report_month
            and months.currency = balances.currency
    left join movements
        on
            months.report_month = movements.report_month
            and months.currency = movements.currency

),

broken as (

    select
        coalesce(programme.report_month, expected.report_month) as report_month,
        coalesce(programme.currency, expected.currency) as currency,
        {%- for column in columns %}
        programme.{{ column }} as found_{{ column }},
        expected.{{ column }} as expected_{{ column }}
        {{- "," if not loop.last }}
        {%- endfor %}
    from programme
    full outer join expected
        on
            programme.report_month = expected.report_month
            and programme.currency = expected.currency
    where
        {%- for column in columns %}
        {{ "or " if not loop.first -}}
        programme.{{ column }} is distinct from coalesce(expected.{{ column }}, 0)
        {%- endfor %}

)

select * from broken
