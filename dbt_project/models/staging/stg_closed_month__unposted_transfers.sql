with source as (

    {{ rows_of(source("closed_month", "unposted_transfers")) | indent(4) }}

)

select * from source
