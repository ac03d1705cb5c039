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

{# A row holds until the next one of the same reason and style. #}
renamed as (

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

select * from renamed
