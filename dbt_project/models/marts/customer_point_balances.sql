with transfers as (

    select * from {{ ref("int_transfers_classified") }}

),

opening_balances as (

    select * from {{ ref("stg_closed_month__balances") }}

),

account_events as (

    select * from {{ ref("int_account_events") }}

),

reserved as (

    select * from {{ ref("int_points_reserved") }}

),

latest_events as (

    select
        relation_reference,
        event,
        row_number() over (
            partition by relation_reference
            order by event_at desc, entry_id desc nulls first, event desc
        ) as position_from_last
    from account_events

),

{# Now is when the newest entry was recorded; where no entry has a time, after everything that was
    read. #}
newest as (

    {{ recorded_until(ref("int_transfers_classified")) }}

),

parts as (

    select
        transfers.currency,
        transfers.relation_reference,
        case
            when
                transfers.status = 'approved'
                and coalesce(transfers.effective_at <= newest.recorded_at, true)
                then transfers.signed_points
            else 0
        end as approved_points,
        case
            when transfers.status = 'pending' and transfers.style = 'give' then transfers.points
            else 0
        end as pending_given_points,
        case
            when transfers.status = 'pending' and transfers.style = 'deduct' then transfers.points
            else 0
        end as pending_deducted_points,
        case
            when transfers.status = 'on_hold' and transfers.style = 'give' then transfers.points
            else 0
        end as on_hold_given_points,
        case
            when transfers.status = 'on_hold' and transfers.style = 'deduct' then transfers.points
            else 0
        end as on_hold_deducted_points
    from transfers
    cross join newest

    union all

    select
        currency,
        relation_reference,
        total_outstanding_points as approved_points,
        0 as pending_given_points,
        0 as pending_deducted_points,
        0 as on_hold_given_points,
        0 as on_hold_deducted_points
    from opening_balances

    union all

    select
        {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }} as currency,
        relation_reference,
        0 as approved_points,
        0 as pending_given_points,
        0 as pending_deducted_points,
        0 as on_hold_given_points,
        0 as on_hold_deducted_points
    from account_events
    where event = 'open'

),

summed as (

    select
        currency,
        relation_reference,
        cast(sum(approved_points) as decimal(38, 4)) as approved_points,
        cast(sum(pending_given_points) as decimal(38, 4)) as pending_given_points,
        cast(sum(pending_deducted_points) as decimal(38, 4)) as pending_deducted_points,
        cast(sum(on_hold_given_points) as decimal(38, 4)) as on_hold_given_points,
        cast(sum(on_hold_deducted_points) as decimal(38, 4)) as on_hold_deducted_points
    from parts
    group by
        currency,
        relation_reference

),

balances as (

    select
        summed.currency,
        summed.relation_reference,
        summed.approved_points,
        summed.pending_given_points,
        summed.pending_deducted_points,
        summed.on_hold_given_points,
        summed.on_hold_deducted_points,
        cast(coalesce(reserved.reserved_points, 0) as decimal(38, 4)) as reserved_points,
        cast(
            summed.approved_points
            - summed.pending_deducted_points
            - summed.on_hold_deducted_points
            - coalesce(reserved.reserved_points, 0)
            as decimal(38, 4)
        ) as spendable_points,
        coalesce(latest_events.event = 'close', false) as is_account_closed
    from summed
    left join reserved
        on
            summed.currency = reserved.currency
            and summed.relation_reference = reserved.relation_reference
    left join latest_events
        on
            summed.relation_reference = latest_events.relation_reference
            and latest_events.position_from_last = 1

)

select * from balances
