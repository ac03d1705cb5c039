{%- set buckets = ["earned", "reversal", "redeemed", "expired"] -%}

with movements as (

    select * from {{ ref("points_movements_by_month") }}

),

opening_balances as (

    select * from {{ ref("stg_closed_month__balances") }}

),

account_events as (

    select * from {{ ref("int_account_events") }}

),

account_closures as (

    select * from {{ ref("int_account_closures") }}

),

pending as (

    select * from {{ ref("int_pending_by_month") }}

),

month_spans as (

    select * from {{ ref("int_month_spans") }}

),

run_months as (

    select
        min(from_month) as from_month,
        max(until_month) as until_month
    from month_spans

),

{# What changes a balance: the month's transfers; the opening balances, as one movement of the month
    before; the opening of an account, by 0 points, so that it has a row. #}
steps as (

    select
        report_month,
        currency,
        relation_reference,
        {%- for bucket in buckets %}
        case when bucket = '{{ bucket }}' then bucket_points else 0 end as {{ bucket }}_points,
        {%- endfor %}
        signed_points
    from movements

    union all

    select
        report_month,
        currency,
        relation_reference,
        {%- for bucket in buckets %}
        total_{{ bucket }}_points as {{ bucket }}_points,
        {%- endfor %}
        total_outstanding_points as signed_points
    from opening_balances

    union all

    select
        visible_from_month as report_month,
        {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }} as currency,
        relation_reference,
        {%- for bucket in buckets %}
        0 as {{ bucket }}_points,
        {%- endfor %}
        0 as signed_points
    from account_events
    where
        event = 'open'
        and visible_from_month is not null

),

changes as (

    select
        report_month,
        currency,
        relation_reference,
        {%- for bucket in buckets %}
        cast(sum({{ bucket }}_points) as decimal(38, 4)) as {{ bucket }}_points,
        {%- endfor %}
        cast(sum(signed_points) as decimal(38, 4)) as signed_points
    from steps
    group by
        report_month,
        currency,
        relation_reference

),

{# Totals by bucket are one way to a balance, the running sum of signed points is another. #}
running as (

    select
        *,
        {%- for bucket in buckets %}
        cast(sum({{ bucket }}_points) over months_so_far as decimal(38, 4))
            as total_{{ bucket }}_points,
        {%- endfor %}
        cast(sum(signed_points) over months_so_far as decimal(38, 4)) as closing_points,
        lead(report_month) over (
            partition by currency, relation_reference
            order by report_month
        ) as next_report_month
    from changes
    window months_so_far as (
        partition by currency, relation_reference
        order by report_month
        rows between unbounded preceding and current row
    )

),

{# A balance holds from the month of a change until the next change, a half-open span, or to the
    end: changes in January (100) and April (-30) give 100 in [January, April) and 70 from April on.
    #}
holding as (

    select
        running.*,
        {{ greatest_of("running.report_month", "run_months.from_month") }} as from_month,
        coalesce(running.next_report_month, run_months.until_month) as until_month
    from running
    cross join run_months

),

by_month as (

    select
        month_spans.report_month,
        holding.currency,
        holding.relation_reference,
        month_spans.report_month = holding.report_month as is_month_of_change,
        holding.signed_points,
        {%- for bucket in buckets %}
        holding.{{ bucket }}_points,
        holding.total_{{ bucket }}_points,
        {%- endfor %}
        holding.closing_points
    from holding
    inner join month_spans
        on
            holding.from_month = month_spans.from_month
            and holding.until_month = month_spans.until_month

),

complete as (

    select
        by_month.report_month,
        by_month.currency,
        by_month.relation_reference,
        cast(
            case
                when by_month.is_month_of_change
                    then by_month.closing_points - by_month.signed_points
                else by_month.closing_points
            end as decimal(38, 4)
        ) as opening_points,
        {%- for bucket in buckets %}
        cast(
            case when by_month.is_month_of_change then by_month.{{ bucket }}_points else 0 end
            as decimal(38, 4)
        ) as {{ bucket }}_points,
        {%- endfor %}
        by_month.closing_points,
        {%- for bucket in buckets %}
        by_month.total_{{ bucket }}_points,
        {%- endfor %}
        cast(
            by_month.total_earned_points
            - by_month.total_reversal_points
            - by_month.total_redeemed_points
            - by_month.total_expired_points as decimal(38, 4)
        ) as total_outstanding_points,
        cast(coalesce(pending.pending_given_points, 0) as decimal(38, 4)) as pending_given_points,
        cast(coalesce(pending.pending_deducted_points, 0) as decimal(38, 4))
            as pending_deducted_points,
        account_closures.relation_reference is not null as is_account_closed
    from by_month
    left join pending
        on
            by_month.report_month = pending.report_month
            and by_month.currency = pending.currency
            and by_month.relation_reference = pending.relation_reference
    left join account_closures
        on
            by_month.relation_reference = account_closures.relation_reference
            and by_month.report_month >= account_closures.from_month
            and by_month.report_month < account_closures.until_month

)

select * from complete
order by
    report_month,
    currency,
    relation_reference
