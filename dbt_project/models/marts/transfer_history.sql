{{ config(materialized="view") }}

with transfers as (

    select * from {{ ref("int_transfers_classified") }}

),

months as (

    select max(report_month) as last_month
    from {{ ref("int_report_months") }}

),

revocations as (

    select
        transfer_id,
        cast(sum(revoked_points) as decimal(38, 4)) as revoked_points,
        {{ texts_in_order("case when depth = 1 then descendant_id end") }}
            as revoked_by_transfer_ids
    from {{ ref("int_revocation_lineage") }}
    where
        known_until_entry_id is null
        and has_unapproved_giving is not true
    group by transfer_id

),

history as (

    select
        transfers.entry_id,
        transfers.transfer_id,
        transfers.relation_reference,
        transfers.currency,
        transfers.style,
        transfers.points,
        transfers.signed_points,
        transfers.reason,
        transfers.bucket,
        transfers.first_status,
        transfers.status,
        case
            when transfers.status <> 'approved' then transfers.status
            when transfers.posting_month <= months.last_month then 'posted'
            else 'later'
        end as disposition,
        transfers.posting_month,
        transfers.is_late,
        transfers.occurred_at,
        transfers.effective_at,
        transfers.effective_entry_id,
        transfers.recorded_at,
        transfers.recorded_by,
        transfers.reverses_transfer_id,
        revocations.revoked_by_transfer_ids,
        cast(coalesce(revocations.revoked_points, 0) as decimal(38, 4)) as revoked_points,
        cast(transfers.points - coalesce(revocations.revoked_points, 0) as decimal(38, 4))
            as unrevoked_points,
        transfers.batch_id,
        transfers.external_reference,
        transfers.comment
    from transfers
    cross join months
    left join revocations
        on transfers.transfer_id = revocations.transfer_id

)

select * from history
