with source as (

    {{ optional_relation("POINTS_UNPOSTED_TRANSFERS", none, {
        "entry_id": "bigint",
        "transfer_id": "string",
        "relation_reference": "string",
        "currency": "string",
        "style": "string",
        "points": "decimal(18, 4)",
        "reason": "string",
        "first_status": "string",
        "status": "string",
        "occurred_at": "timestamp",
        "recorded_at": "timestamp",
        "recorded_by": "string",
        "effective_at": "timestamp",
        "effective_entry_id": "bigint",
        "reverses_transfer_id": "string",
        "batch_id": "string",
        "external_reference": "string",
        "comment": "string",
    }) | indent(4) }}

)

select * from source
