with source as (

    {{ rows_of(source("closed_month", "related_transfers")) | indent(4) }}

),

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

)

select * from renamed
