{{ config(materialized="view") }}

with report_months as (

    select * from {{ ref("int_report_months") }}

)

select
    report_month,
    period_start_date,
    period_end_date,
    revision,
    cutoff_entry_id
from report_months
