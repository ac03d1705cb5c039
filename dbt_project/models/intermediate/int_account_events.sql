with ledger_events as (

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

{# Where no event of an account up to the opening balances is known, a closed account in them stands
    for its closing event. Where one is known, the events alone decide: an event that is dated
    before the balances may have been recorded after them. #}
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
            from ledger_events
            where
                ledger_events.relation_reference = opening_balances.relation_reference
                and coalesce(ledger_events.entry_id <= {{ opening_cutoff() }}, true)
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

    select entry_id, relation_reference, event, event_at from ledger_events
    union
    select entry_id, relation_reference, event, event_at from closing_transfers
    union
    select entry_id, relation_reference, event, event_at from closed_before

),

{# An event shows from the first month that ends after it and whose cutoff includes it: a closure of
    20 January in entry 12 shows from February where January was closed at cutoff 10. #}
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
