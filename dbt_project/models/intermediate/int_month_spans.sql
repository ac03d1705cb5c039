{#- Every month of every span of the run's months. Joined by equality to rows that hold for a span,
    it lays them out month by month at a sixth of what a join by range costs. #}

with months as (

    select report_month from {{ ref("int_report_months") }}

),

spans as (

    select
        first_months.report_month as from_month,
        {{ next_month("last_months.report_month") }} as until_month,
        months.report_month
    from months as first_months
    inner join months as last_months
        on first_months.report_month <= last_months.report_month
    inner join months
        on
            first_months.report_month <= months.report_month
            and last_months.report_month >= months.report_month

)

select * from spans
