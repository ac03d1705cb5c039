{{ config(materialized="view") }}

{# What an earlier close left unposted comes with the status, and the effect, that it had then; what
    is related comes as it was created. #}
with transfers as (

    {%- for model, is_related_only in
        [("int_transfers_united", "false"), ("stg_closed_month__related_transfers", "true")] %}

    select
        {{ created_columns() | join(", ") }},
        first_status as known_status,
        case when first_status = 'approved' then occurred_at end as known_effective_at,
        case when first_status = 'approved' then entry_id end as known_effective_entry_id,
        false as was_left_unposted,
        {{ is_related_only }} as is_related_only
    from {{ ref(model) }}

    union all
    {%- endfor %}

    select
        {{ created_columns() | join(", ") }},
        status as known_status,
        effective_at as known_effective_at,
        effective_entry_id as known_effective_entry_id,
        true as was_left_unposted,
        false as is_related_only
    from {{ ref("stg_closed_month__unposted_transfers") }}

),

statuses as (

    select * from {{ ref("int_transfer_statuses") }}

),

{# A transfer that waited takes effect when it occurred or when it was approved, whichever is later.
    #}
effective as (

    select
        {% for name in created_columns() %}
        transfers.{{ name }},
        {% endfor %}
        {{ signed_points("transfers.style", "transfers.points") }} as signed_points,
        coalesce(statuses.status, transfers.known_status) as status,
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
        transfers.was_left_unposted,
        transfers.is_related_only
    from transfers
    left join statuses
        on transfers.transfer_id = statuses.transfer_id

)

select * from effective
