{#- Fails where a transfer that was handed in only because revocations of this run are related
    with it is one that the run must count: because it posts in a month of the run or waits still,
    or because it is read as a new or an unposted one too. -#}
{{ config(meta={"dagster": {"ref": {"name": "int_transfers_linked"}}}) }}

with related as (

    select * from {{ ref("int_transfers_linked") }}
    where is_related_only

),

first_month as (

    select min(report_month) as report_month
    from {{ ref("int_report_months") }}

),

broken as (

    select
        related.transfer_id,
        'of the run' as finding
    from related
    cross join first_month
    where
        related.posting_month >= first_month.report_month
        or related.status in ('pending', 'on_hold')

    union all

    select
        related.transfer_id,
        'read twice' as finding
    from related
    inner join {{ ref("int_transfers_classified") }} as transfers
        on related.transfer_id = transfers.transfer_id

)

select * from broken
