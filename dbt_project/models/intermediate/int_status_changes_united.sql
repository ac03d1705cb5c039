{{ config(materialized="view") }}

with transfers_of_files as (

    select * from {{ ref("stg_files__transfers") }}

),

{# A file shows a change by repeating a transfer with another status. Where it gives no time, the
    change counts from when it was recorded, or from the transfer itself, because no clock is read
    here. #}
changes_in_files as (

    select
        entry_id,
        transfer_id,
        status,
        coalesce(status_changed_at, recorded_at, occurred_at) as changed_at
    from {{ ref("stg_files__repeated_rows") }}
    where verdict = 'status_change'

    union all

    {#- A waiting status of a transfer's first row is its oldest one, so it has no entry of its own.
        #}
    select
        case when first_changed_to in ('approved', 'cancelled') then entry_id end as entry_id,
        transfer_id,
        first_changed_to as status,
        first_changed_at as changed_at
    from transfers_of_files
    where first_changed_at is not null

),

united as (

    select * from {{ ref("stg_ledger__status_changes") }}

    union all

    {#- Of what the opening balances already hold, only changes of related transfers are passed in.
        #}
    select * from {{ ref("stg_closed_month__related_status_changes") }}

    union all

    select * from changes_in_files
    where {{ is_of_run("entry_id") }}

)

select * from united
