{#- Truth 6 (docs/design.md, section 8). Fails where a balance moved in a month by anything but the
    plain sum of what was given less what was deducted, read without buckets, movements or running
    sums; and where a pair that posted, or an account that was opened, has no row in that month. -#}
{{ config(meta={"dagster": {"ref": {"name": "outstanding_points_by_month"}}}) }}

with balances as (

    select
        report_month,
        currency,
        relation_reference,
        closing_points - opening_points as moved_points
    from {{ ref("outstanding_points_by_month") }}

),

months as (

    select report_month from {{ ref("int_report_months") }}

),

posted as (

    select
        transfers.posting_month as report_month,
        transfers.currency,
        transfers.relation_reference,
        case transfers.style
            when 'give' then transfers.points
            when 'deduct' then -transfers.points
        end as points
    from {{ ref("int_transfers_posted") }} as transfers
    inner join months
        on transfers.posting_month = months.report_month
    where transfers.status = 'approved'

    union all

    select
        visible_from_month as report_month,
        {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }} as currency,
        relation_reference,
        0 as points
    from {{ ref("int_account_events") }}
    where
        event = 'open'
        and visible_from_month is not null

),

summed as (

    select
        report_month,
        currency,
        relation_reference,
        cast(sum(points) as decimal(38, 4)) as signed_points
    from posted
    group by
        report_month,
        currency,
        relation_reference

),

broken as (

    select
        coalesce(balances.report_month, summed.report_month) as report_month,
        coalesce(balances.currency, summed.currency) as currency,
        coalesce(balances.relation_reference, summed.relation_reference) as relation_reference,
        balances.moved_points as found_points,
        coalesce(summed.signed_points, 0) as expected_points
    from balances
    full outer join summed
        on
            balances.report_month = summed.report_month
            and balances.currency = summed.currency
            and balances.relation_reference = summed.relation_reference
    where balances.moved_points is distinct from coalesce(summed.signed_points, 0)

)

select * from broken
