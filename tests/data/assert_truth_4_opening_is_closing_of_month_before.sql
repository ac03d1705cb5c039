{#- Truth 4 (docs/design.md, section 8). Fails where a balance does not open as it closed the month
    before: as the balances handed in say, for the first month, or at zero where the pair is new.
    It fails too where a pair of the month before is missing, quiet or not: its opening is then
    null, which equals nothing. -#}
{{ config(meta={"dagster": {"ref": {"name": "outstanding_points_by_month"}}}) }}

with balances as (

    select
        report_month,
        currency,
        relation_reference,
        opening_points,
        closing_points
    from {{ ref("outstanding_points_by_month") }}

),

opening_balances as (

    select * from {{ ref("stg_closed_month__balances") }}

),

months as (

    select report_month from {{ ref("int_report_months") }}

),

closings as (

    select
        report_month,
        currency,
        relation_reference,
        closing_points
    from balances

    union all

    select
        report_month,
        currency,
        relation_reference,
        total_outstanding_points as closing_points
    from opening_balances

),

{# The last month's closings, and all where the run has no month, are carried over by a later run.
    #}
carried_over as (

    select
        months.report_month,
        closings.currency,
        closings.relation_reference,
        closings.closing_points
    from closings
    inner join months
        on {{ next_month("closings.report_month") }} = months.report_month

),

broken as (

    select
        coalesce(balances.report_month, carried_over.report_month) as report_month,
        coalesce(balances.currency, carried_over.currency) as currency,
        coalesce(balances.relation_reference, carried_over.relation_reference)
            as relation_reference,
        balances.opening_points as found_points,
        coalesce(carried_over.closing_points, 0) as expected_points
    from balances
    full outer join carried_over
        on
            balances.report_month = carried_over.report_month
            and balances.currency = carried_over.currency
            and balances.relation_reference = carried_over.relation_reference
    where balances.opening_points is distinct from coalesce(carried_over.closing_points, 0)

)

select * from broken
