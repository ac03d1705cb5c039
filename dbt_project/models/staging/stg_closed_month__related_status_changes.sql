with source as (

    {{ rows_of(source("closed_month", "related_status_changes")) | indent(4) }}

)

select * from source
