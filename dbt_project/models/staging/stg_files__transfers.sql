with transfer_rows as (

    select * from {{ ref("stg_files__transfer_rows") }}

),

repeated_rows as (

    select * from {{ ref("stg_files__repeated_rows") }}

),

repeated_ids as (

    select distinct transfer_id from repeated_rows

),

single as (

    select transfer_rows.*
    from transfer_rows
    left join repeated_ids
        on transfer_rows.transfer_id = repeated_ids.transfer_id
    where
        transfer_rows.rejection_code is null
        and repeated_ids.transfer_id is null

),

first_of_repeated as (

    select * from repeated_rows
    where verdict = 'transfer'

),

{%- set columns = created_columns("status") + ["status_changed_at"] %}

accepted as (

    select {{ columns | join(", ") }} from single
    union all
    select {{ columns | join(", ") }} from first_of_repeated

),

{# A row that says since when it has its status is taken as pending until then; approved when it
    occurred is what a transfer is by itself. #}
dated as (

    select
        *,
        case
            when
                coalesce(status, 'approved') <> 'approved'
                or status_changed_at <> occurred_at
                then status_changed_at
        end as first_changed_at
    from accepted

),

{# An empty optional text is null. A column that must have a value is never empty here. #}
completed as (

    select
        entry_id,
        points,
        occurred_at,
        recorded_at,
        coalesce(currency, {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }})
            as currency,
        case
            when first_changed_at is not null then 'pending'
            else coalesce(status, 'approved')
        end as first_status,
        case when first_changed_at is not null then coalesce(status, 'approved') end
            as first_changed_to,
        {%- for column in created_columns() if column not in
            ["entry_id", "points", "occurred_at", "recorded_at", "currency", "first_status"] %}
        nullif({{ column }}, '') as {{ column }},
        {%- endfor %}
        first_changed_at
    from dated

)

select * from completed
