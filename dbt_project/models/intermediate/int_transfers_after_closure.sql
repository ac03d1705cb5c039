{{ config(materialized="ephemeral") }}

with account_events as (

    select * from {{ ref("int_account_events") }}

),

closes_in_force as (

    select
        report_month,
        cutoff_entry_id
    from {{ ref("stg_ledger__closes") }}
    where is_in_force

),

closed_accounts as (

    select distinct relation_reference
    from account_events
    where event = 'close'

),

{# What had happened to the account when a transfer of it occurred, as far as the close that posted
    the transfer knew. The closure itself, in any currency, is no activity; nor is what happens
    in the very instant of a closure or of an opening. #}
events_before as (

    select
        transfers.transfer_id,
        account_events.event,
        row_number() over (
            partition by transfers.transfer_id
            order by
                account_events.event_at desc,
                account_events.entry_id desc nulls first,
                account_events.event desc
        ) as position_from_last
    from {{ ref("int_transfers_classified") }} as transfers
    inner join closed_accounts
        on transfers.relation_reference = closed_accounts.relation_reference
    inner join account_events
        on transfers.relation_reference = account_events.relation_reference
    left join closes_in_force
        on transfers.posting_month = closes_in_force.report_month
    where
        transfers.posting_month is not null
        and transfers.reason <> 'account_closure'
        and coalesce(account_events.entry_id <= closes_in_force.cutoff_entry_id, true)
        and (
            account_events.event_at < transfers.occurred_at
            or (account_events.event = 'open' and account_events.event_at = transfers.occurred_at)
        )

),

after_closure as (

    select transfers.*
    from {{ ref("int_transfers_classified") }} as transfers
    inner join events_before
        on transfers.transfer_id = events_before.transfer_id
    where
        events_before.position_from_last = 1
        and events_before.event = 'close'

)

select * from after_closure
