{{ config(materialized=view_unless_recomputed()) }}

with source as (

    {{ rows_of(source("ledger", "transfers")) | indent(4) }}

),

{# Bare comparisons, since entries here are never null: whole row groups are then left unread. #}
renamed as (

    select
        entry_id,
        transfer_id,
        relation_reference,
        currency,
        style,
        points,
        reason,
        status as first_status,
        occurred_at,
        recorded_at,
        recorded_by,
        reverses_transfer_id,
        batch_id,
        external_reference,
        comment
    from source
    where
        entry_id > {{ opening_cutoff() }}
        and entry_id <= {{ upto_entry_id() }}

)

select * from renamed
