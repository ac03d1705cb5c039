with source as (

    {{ optional_relation("POINTS_ACCOUNT_EVENTS", "account_events", {
        "entry_id": "bigint", "relation_reference": "string", "event": "string",
        "occurred_at": "timestamp",
    }) | indent(4) }}

),

renamed as (

    select
        entry_id,
        relation_reference,
        event,
        occurred_at as event_at
    from source
    where {{ is_known_to_run("entry_id") }}

)

select * from renamed
