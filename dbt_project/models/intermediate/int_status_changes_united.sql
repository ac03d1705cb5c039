{{ config(materialized="view") }}

with transfers_of_files as (

    select * from {{ ref("stg_files__transfers") }}

),

{# A file shows a change by repeating a transfer with another status. It may leave out when it was;
    no clock is read here, so the change then counts from when it was recorded, or from the transfer
    itself. #}
said_by_file as (

    select
        entry_id,
        transfer_id,
        status,
        coalesce(status_changed_at, recorded_at, occurred_at) as changed_at
    from {{ ref("stg_files__repeated_rows") }}
    where verdict = 'status_change'

    union all

    {#- What waits since a transfer's first row is the oldest that was said of it, whatever
        entry the row has. #}
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

    {#- What the opening balances already hold is handed in of related transfers alone. #}
    select * from {{ ref("stg_closed_month__related_status_changes") }}

    union all

    select * from said_by_file
    where {{ is_of_run("entry_id") }}

)

select * from united
