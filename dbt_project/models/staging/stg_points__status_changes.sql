{%- set columns = {
    "entry_id": "bigint",
    "transfer_id": "string",
    "status": "string",
    "changed_at": "timestamp",
} %}

with said_by_ledger as (

    {{ optional_relation("POINTS_STATUS_CHANGES", "status_changes", columns) | indent(4) }}

),

{# What the opening balances already hold is handed in of related transfers alone. #}
said_of_related as (

    {{ optional_relation("POINTS_RELATED_STATUS_CHANGES", none, columns) | indent(4) }}

),

repeated_rows as (

    select * from {{ ref("stg_points__repeated_rows") }}

),

transfers as (

    select * from {{ ref("stg_points__transfers") }}

),

{# A file may leave out when a status changed; no clock is read here, so the change then counts from
    when it was recorded, or from the transfer itself. #}
said_by_file as (

    select
        entry_id,
        transfer_id,
        status,
        coalesce(status_changed_at, recorded_at, occurred_at) as changed_at
    from repeated_rows
    where verdict = 'status_change'

    union all

    {#- What waits since a transfer's first row is the oldest that was said of it, whatever
        entry the row has. #}
    select
        case when first_changed_to in ('approved', 'cancelled') then entry_id end as entry_id,
        transfer_id,
        first_changed_to as status,
        first_changed_at as changed_at
    from transfers
    where first_changed_at is not null

),

said as (

    select * from said_by_ledger
    union all
    select * from said_by_file

),

status_changes as (

    select * from said
    where {{ is_of_run("entry_id") }}

    union all

    select * from said_of_related

)

select * from status_changes
