with said_by_ledger as (

    select * from {{ ref("stg_ledger__account_events") }}

),

opening_balances as (

    select * from {{ ref("stg_closed_month__balances") }}

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

{# Of an account of which no event before the balances handed in is known, they stand for those
    events. Else the events speak alone: one that is dated before the balances may have come since.
    #}
closed_in_balances as (

    select distinct
        opening_balances.relation_reference,
        cast({{ period_start_date(next_month("opening_balances.report_month")) }} as timestamp)
            as midnight_after
    from opening_balances
    where
        opening_balances.is_account_closed
        and not exists (
            select 1
            from said_by_ledger
            where
                said_by_ledger.relation_reference = opening_balances.relation_reference
                and coalesce(said_by_ledger.entry_id <= {{ opening_cutoff() }}, true)
        )

),

closed_before as (

    select
        cast(null as bigint) as entry_id,
        relation_reference,
        'close' as event,
        {{ local_to_utc("midnight_after") }} as event_at
    from closed_in_balances

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
