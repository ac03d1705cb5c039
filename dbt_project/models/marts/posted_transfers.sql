{{ config(materialized="view") }}

with transfers as (

    select * from {{ ref("int_transfers_classified") }}

),

report_months as (

    select report_month from {{ ref("int_report_months") }}

),

posted as (

    select
        transfers.transfer_id,
        transfers.entry_id,
        transfers.relation_reference,
        transfers.currency,
        transfers.style,
        transfers.points,
        transfers.reason,
        transfers.bucket,
        transfers.posting_month,
        transfers.is_late,
        transfers.occurred_at,
        transfers.effective_at,
        transfers.effective_entry_id,
        transfers.recorded_at,
        transfers.recorded_by,
        transfers.reverses_transfer_id,
        transfers.batch_id,
        transfers.external_reference,
        transfers.comment
    from transfers
    inner join report_months
        on transfers.posting_month = report_months.report_month

)

select * from posted
