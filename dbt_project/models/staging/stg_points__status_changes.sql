with said_by_ledger as (

    {{ optional_relation("POINTS_STATUS_CHANGES", "status_changes", {
        "entry_id": "bigint",
        "transfer_id": "string",
        "status": "string",
        "changed_at": "timestamp",
    }) | indent(4) }}

),

repeated_rows as (

    select * from {{ ref("stg_points__repeated_rows") }}

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

),

status_changes as (

    select * from said_by_ledger
    union all
    select * from said_by_file

)

select * from status_changes
where coalesce(entry_id, {{ opening_cutoff() }} + 1) > {{ opening_cutoff() }}
