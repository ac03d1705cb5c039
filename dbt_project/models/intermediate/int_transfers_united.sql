{{ config(materialized=view_unless_recomputed()) }}

{# Where the places that transfers come from meet: what follows does not know which it was. #}
with united as (

    select {{ created_columns() | join(", ") }} from {{ ref("stg_ledger__transfers") }}
    union all
    select {{ created_columns() | join(", ") }} from {{ ref("stg_files__transfers") }}

)

select * from united
