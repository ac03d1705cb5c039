{#- Named even where it is not read, so that dbt knows the edge. #}
{% set sample = ref("sample_transfers") %}

{% if transfers_source() == "rows" %}

{{ transfer_rows_of_run() }}

{% elif transfers_source() == "file" %}

{{ raw_transfers_file() }}

{% elif transfers_source() == "cut" %}

{#- Bare comparisons, since entries here are never null: whole row groups are then left unread. #}
select *
from {{ read_parquet(cut_files("transfers")) }}
where
    entry_id > {{ opening_cutoff() }}
    and entry_id <= {{ upto_entry_id() }}

{% else %}

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
from {{ sample }}

{% endif %}
