with source as (

    {{ optional_relation("POINTS_ORIGINALS", none, {
        "entry_id": "bigint",
        "transfer_id": "string",
        "relation_reference": "string",
        "currency": "string",
        "style": "string",
        "points": "decimal(18, 4)",
        "status": "string",
        "bucket": "string",
        "revoked_points": "decimal(38, 4)",
    }) | indent(4) }}

)

select * from source
