with source as (

    {{ optional_relation("POINTS_RELATED_TRANSFERS", none, {
        "entry_id": "bigint",
        "transfer_id": "string",
        "relation_reference": "string",
        "currency": "string",
        "style": "string",
        "points": "decimal(18, 4)",
        "reason": "string",
        "status": "string",
        "occurred_at": "timestamp",
        "recorded_at": "timestamp",
        "recorded_by": "string",
        "reverses_transfer_id": "string",
        "batch_id": "string",
        "external_reference": "string",
        "comment": "string",
    }) | indent(4) }}

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
