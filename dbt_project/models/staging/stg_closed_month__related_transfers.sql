with source as (

    {{ rows_of(source("closed_month", "related_transfers")) | indent(4) }}

),

renamed as (

    select {{ created_columns("status as first_status") | join(", ") }}
    from source

)

select * from renamed
