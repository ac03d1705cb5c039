with source as (

    select * from {{ ref("transfer_reasons") }}

),

dated as (

    select
        reason,
        style,
        bucket,
        cast(
            case
                when coalesce(from_month, '') = '' then '1900-01-01'
                else concat(substring(from_month, 1, 7), '-01')
            end as date
        ) as from_month
    from source

),

{# A row holds in [from_month, until_month), until the next one of the same reason and style: with
    rows from 1900-01 and 2026-03, the first one holds up to February 2026. #}
spans as (

    select
        reason,
        style,
        bucket,
        from_month,
        coalesce(
            lead(from_month) over (
                partition by reason, style
                order by from_month
            ),
            cast('9999-12-01' as date)
        ) as until_month
    from dated

)

select * from spans
