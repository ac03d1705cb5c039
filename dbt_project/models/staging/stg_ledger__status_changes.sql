with source as (

    {{ rows_of(source("ledger", "status_changes")) | indent(4) }}

),

of_run as (

    select * from source
    where {{ is_of_run("entry_id") }}

)

select * from of_run
