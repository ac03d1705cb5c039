{{ config(materialized="view") }}

with transfers as (

    select * from {{ ref("transfer_history") }}

),

unposted as (

    select
        transfer_id,
        entry_id,
        relation_reference,
        currency,
        style,
        points,
        reason,
        first_status,
        status,
        disposition,
        posting_month,
        occurred_at,
        recorded_at,
        recorded_by,
        effective_at,
        effective_entry_id,
        reverses_transfer_id,
        batch_id,
        external_reference,
        comment
    from transfers
    where disposition in ('pending', 'on_hold', 'later')

)

select * from unposted
