with transfers as (

    select * from {{ ref("int_transfers_classified") }}

),

months as (

    select report_month from {{ ref("int_report_months") }}

),

movements as (

    select
        transfers.posting_month as report_month,
        transfers.currency,
        transfers.relation_reference,
        transfers.bucket,
        transfers.reason,
        cast(
            sum({{ bucket_points("transfers.bucket", "transfers.signed_points") }})
            as decimal(38, 4)
        ) as bucket_points,
        cast(sum(transfers.signed_points) as decimal(38, 4)) as signed_points,
        count(*) as transfer_count
    from transfers
    inner join months
        on transfers.posting_month = months.report_month
    group by
        transfers.posting_month,
        transfers.currency,
        transfers.relation_reference,
        transfers.bucket,
        transfers.reason

)

select * from movements
