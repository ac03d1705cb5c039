with files as (

    {{ raw_transfers(source("files", "transfers")) | indent(4) }}

),

{# What stands in for them where there is no ledger either. #}
sample as (

    select
        transfer_id,
        relation_reference,
        style,
        points,
        reason,
        occurred_at,
        currency,
        status,
        status_changed_at,
        reverses_transfer_id,
        external_reference,
        comment,
        entry_id,
        recorded_at,
        recorded_by,
        batch_id,
        false as has_wrong_field_count,
        cast(null as string) as file,
        cast(null as bigint) as line
    from {{ ref("sample_transfers") }}
    where {{ "true" if transfers_source() == "sample" else "false" }}

)

select * from files
union all
select * from sample
