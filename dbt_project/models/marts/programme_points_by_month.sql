{%- set buckets = ["earned", "reversal", "redeemed", "expired"] -%}

with balances as (

    select * from {{ ref("outstanding_points_by_month") }}

),

movements as (

    select * from {{ ref("points_movements_by_month") }}

),

transfers as (

    select * from {{ ref("int_transfers_classified") }}

),

pending as (

    select * from {{ ref("int_pending_by_month") }}

),

months as (

    select * from {{ ref("int_report_months") }}

),

balances_summed as (

    select
        report_month,
        currency,
        cast(sum(opening_points) as decimal(38, 4)) as opening_points,
        {%- for bucket in buckets %}
        cast(sum({{ bucket }}_points) as decimal(38, 4)) as {{ bucket }}_points,
        {%- endfor %}
        cast(sum(closing_points) as decimal(38, 4)) as closing_points,
        {%- for bucket in buckets + ["outstanding"] %}
        cast(sum(total_{{ bucket }}_points) as decimal(38, 4)) as total_{{ bucket }}_points,
        {%- endfor %}
        count(*) as relation_count,
        sum(case when closing_points <> 0 then 1 else 0 end) as nonzero_relation_count,
        sum(case when closing_points < 0 then 1 else 0 end) as negative_relation_count,
        cast(sum(case when closing_points < 0 then closing_points else 0 end) as decimal(38, 4))
            as negative_points
    from balances
    group by
        report_month,
        currency

),

movements_summed as (

    select
        report_month,
        currency,
        sum(transfer_count) as posted_transfer_count
    from movements
    group by
        report_month,
        currency

),

{# Few transfers are late or give a redemption back, so both are sought among transfers at once. #}
remarkable_summed as (

    select
        posting_month as report_month,
        currency,
        sum(case when is_late then 1 else 0 end) as late_transfer_count,
        cast(sum(case when is_late then signed_points else 0 end) as decimal(38, 4)) as late_points,
        cast(
            sum(case when bucket = 'redeemed' and style = 'give' then points else 0 end)
            as decimal(38, 4)
        ) as redemptions_given_back_points
    from transfers
    where
        is_late
        or (bucket = 'redeemed' and style = 'give')
    group by
        posting_month,
        currency

),

pending_summed as (

    select
        report_month,
        currency,
        cast(sum(pending_given_points) as decimal(38, 4)) as pending_given_points,
        cast(sum(pending_deducted_points) as decimal(38, 4)) as pending_deducted_points,
        sum(pending_transfer_count) as pending_transfer_count
    from pending
    group by
        report_month,
        currency

),

{# The default currency has a row in every month, another one from its first. #}
grain as (

    select
        report_month,
        {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }} as currency
    from months
    union
    select report_month, currency from balances_summed
    union
    select report_month, currency from pending_summed

),

summed as (

    select
        grain.report_month,
        grain.currency,
        {%- for column in
            ["opening_points", "earned_points", "reversal_points", "redeemed_points",
             "expired_points", "closing_points", "total_earned_points", "total_reversal_points",
             "total_redeemed_points", "total_expired_points", "total_outstanding_points"] %}
        cast(coalesce(balances_summed.{{ column }}, 0) as decimal(38, 4)) as {{ column }},
        {%- endfor %}
        {%- for column in ["relation_count", "nonzero_relation_count", "negative_relation_count"] %}
        cast(coalesce(balances_summed.{{ column }}, 0) as bigint) as {{ column }},
        {%- endfor %}
        cast(coalesce(balances_summed.negative_points, 0) as decimal(38, 4)) as negative_points,
        cast(coalesce(movements_summed.posted_transfer_count, 0) as bigint)
            as posted_transfer_count,
        cast(coalesce(remarkable_summed.late_transfer_count, 0) as bigint) as late_transfer_count,
        cast(coalesce(remarkable_summed.late_points, 0) as decimal(38, 4)) as late_points,
        cast(coalesce(remarkable_summed.redemptions_given_back_points, 0) as decimal(38, 4))
            as redemptions_given_back_points,
        cast(coalesce(pending_summed.pending_transfer_count, 0) as bigint)
            as pending_transfer_count,
        cast(coalesce(pending_summed.pending_given_points, 0) as decimal(38, 4))
            as pending_given_points,
        cast(coalesce(pending_summed.pending_deducted_points, 0) as decimal(38, 4))
            as pending_deducted_points
    from grain
    left join balances_summed
        on
            grain.report_month = balances_summed.report_month
            and grain.currency = balances_summed.currency
    left join movements_summed
        on
            grain.report_month = movements_summed.report_month
            and grain.currency = movements_summed.currency
    left join remarkable_summed
        on
            grain.report_month = remarkable_summed.report_month
            and grain.currency = remarkable_summed.currency
    left join pending_summed
        on
            grain.report_month = pending_summed.report_month
            and grain.currency = pending_summed.currency

)

select * from summed
