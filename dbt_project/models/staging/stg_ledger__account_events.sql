with source as (

    {{ rows_of(source("ledger", "account_events")) | indent(4) }}

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
