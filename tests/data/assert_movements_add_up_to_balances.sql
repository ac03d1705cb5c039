{#- Fails where a balance's movement of a bucket is not the sum of its movements by reason, and
    where a pair that moved has no balance. -#}
{{ config(meta={"dagster": {"ref": {"name": "outstanding_points_by_month"}}}) }}

{%- set buckets = ["earned", "reversal", "redeemed", "expired"] %}

with balances as (

    select * from {{ ref("outstanding_points_by_month") }}

),

movements as (

    select
        report_month,
        currency,
        relation_reference,
        {%- for bucket in buckets %}
        sum(case when bucket = '{{ bucket }}' then bucket_points else 0 end) as {{ bucket }}_points
        {{- "," if not loop.last }}
        {%- endfor %}
    from {{ ref("points_movements_by_month") }}
    group by
        report_month,
        currency,
        relation_reference

),

broken as (

    select
        coalesce(balances.report_month, movements.report_month) as report_month,
        coalesce(balances.currency, movements.currency) as currency,
        coalesce(balances.relation_reference, movements.relation_reference) as relation_reference,
        {%- for bucket in buckets %}
        balances.{{ bucket }}_points as found_{{ bucket }}_points,
        movements.{{ bucket }}_points as expected_{{ bucket }}_points
        {{- "," if not loop.last }}
        {%- endfor %}
    from balances
    full outer join movements
        on
            balances.report_month = movements.report_month
            and balances.currency = movements.currency
            and balances.relation_reference = movements.relation_reference
    where
        {%- for bucket in buckets %}
        {{ "or " if not loop.first -}}
        balances.{{ bucket }}_points is distinct from coalesce(movements.{{ bucket }}_points, 0)
        {%- endfor %}

)

select * from broken
