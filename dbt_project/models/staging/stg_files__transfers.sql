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

{%- set columns = [
    "entry_id", "transfer_id", "relation_reference", "currency", "style", "points", "reason",
    "status", "status_changed_at", "occurred_at", "recorded_at", "recorded_by", "reverses_transfer_id", "batch_id",
    "external_reference", "comment",
] %}

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

completed as (

    select
        entry_id,
        transfer_id,
        relation_reference,
        coalesce(currency, {{ dbt.string_literal(setting("POINTS_DEFAULT_CURRENCY")) }})
            as currency,
        style,
        points,
        reason,
        case
            when first_changed_at is not null then 'pending'
            else coalesce(status, 'approved')
        end as first_status,
        case when first_changed_at is not null then coalesce(status, 'approved') end
            as first_changed_to,
        first_changed_at,
        occurred_at,
        recorded_at,
        nullif(recorded_by, '') as recorded_by,
        nullif(reverses_transfer_id, '') as reverses_transfer_id,
        nullif(batch_id, '') as batch_id,
        nullif(external_reference, '') as external_reference,
        nullif(comment, '') as comment
    from dated

)

select * from completed
