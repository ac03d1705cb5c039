with said_by_ledger as (

    select * from {{ ref("stg_points__account_events") }}

),

opening_balances as (

    select * from {{ ref("stg_points__opening_balances") }}

),

months as (

    select * from {{ ref("int_report_months") }}

),

{# A transfer of this reason closes the account too, wherever it came from. #}
closing_transfers as (

    select
        effective_entry_id as entry_id,
        relation_reference,
        'close' as event,
        effective_at as event_at
    from {{ ref("int_transfers_classified") }}
    where
        reason = 'account_closure'
        and status = 'approved'

),

{# What balances handed in say of an account stands for the events that made it so. #}
closed_before as (

    select distinct
        cast(null as bigint) as entry_id,
        relation_reference,
        'close' as event,
        {{ period_starts_at(next_month("report_month")) }} as event_at
    from opening_balances
    where is_account_closed

),

events as (

    select entry_id, relation_reference, event, event_at from said_by_ledger
    union
    select entry_id, relation_reference, event, event_at from closing_transfers
    union
    select entry_id, relation_reference, event, event_at from closed_before

),

{# An event shows from the first month by whose end it occurred and whose cutoff knew it. #}
visible as (

    select
        events.entry_id,
        events.relation_reference,
        events.event,
        events.event_at,
        min(months.report_month) as visible_from_month
    from events
    left join months
        on
            {{ report_month("events.event_at") }} <= months.report_month
            and coalesce(events.entry_id <= months.cutoff_entry_id, true)
    group by
        events.entry_id,
        events.relation_reference,
        events.event,
        events.event_at

)

select * from visible
