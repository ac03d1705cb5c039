{{ config(materialized="view") }}

with new_transfers as (

    select * from {{ ref("stg_points__transfers") }}

),

unposted_transfers as (

    select * from {{ ref("stg_points__unposted_transfers") }}

),

related_transfers as (

    select * from {{ ref("stg_points__related_transfers") }}

),

statuses as (

    select * from {{ ref("int_transfer_statuses") }}

),

{%- set columns = [
    "entry_id", "transfer_id", "relation_reference", "currency", "style", "points", "reason",
    "first_status", "occurred_at", "recorded_at", "recorded_by", "reverses_transfer_id", "batch_id",
    "external_reference", "comment",
] %}

{# What an earlier close left unposted comes with the status, and the effect, that it had then; what
    is related comes as it was created. #}
transfers as (

    {%- for relation, is_related_only in
        [("new_transfers", "false"), ("related_transfers", "true")] %}

    select
        {{ columns | join(", ") }},
        first_status as known_status,
        case when first_status = 'approved' then occurred_at end as known_effective_at,
        case when first_status = 'approved' then entry_id end as known_effective_entry_id,
        false as was_left_unposted,
        {{ is_related_only }} as is_related_only
    from {{ relation }}

    union all
    {%- endfor %}

    select
        {{ columns | join(", ") }},
        status as known_status,
        effective_at as known_effective_at,
        effective_entry_id as known_effective_entry_id,
        true as was_left_unposted,
        false as is_related_only
    from unposted_transfers

),

{# A transfer that waited takes effect when it occurred or when it was approved, whichever is later.
    #}
effective as (

    select
        transfers.entry_id,
        transfers.transfer_id,
        transfers.relation_reference,
        transfers.currency,
        transfers.style,
        transfers.points,
        {{ signed_points("transfers.style", "transfers.points") }} as signed_points,
        transfers.reason,
        transfers.first_status,
        coalesce(statuses.status, transfers.known_status) as status,
        transfers.occurred_at,
        transfers.recorded_at,
        transfers.recorded_by,
        case
            when transfers.known_effective_at is not null then transfers.known_effective_at
            when statuses.approved_at > transfers.occurred_at then statuses.approved_at
            when statuses.approved_at is not null then transfers.occurred_at
        end as effective_at,
        case
            when transfers.known_effective_at is not null then transfers.known_effective_entry_id
            when statuses.approved_at is not null then statuses.settled_entry_id
        end as effective_entry_id,
        coalesce(
            statuses.settled_entry_id,
            transfers.known_effective_entry_id,
            case
                when transfers.known_status in ('approved', 'cancelled') then transfers.entry_id
            end
        ) as settled_entry_id,
        transfers.reverses_transfer_id,
        transfers.batch_id,
        transfers.external_reference,
        transfers.comment,
        transfers.was_left_unposted,
        transfers.is_related_only
    from transfers
    left join statuses
        on transfers.transfer_id = statuses.transfer_id

)

select * from effective
