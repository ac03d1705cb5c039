with transfers as (

    select
        transfer_id,
        posting_month,
        effective_at,
        recorded_at
    from {{ ref("int_transfers_classified") }}

),

opening_balances as (

    select report_month from {{ ref("stg_closed_month__balances") }}

),

closes_in_force as (

    select
        report_month,
        revision,
        cutoff_entry_id
    from {{ ref("stg_ledger__closes") }}
    where is_in_force

),

newest as (

    {{ recorded_until("transfers") }}

),

posted as (

    select
        min(transfers.posting_month) as first_month,
        max(case
            when transfers.effective_at <= newest.recorded_at or newest.recorded_at is null
                then transfers.posting_month
        end) as newest_month,
        min_by(transfers.transfer_id, transfers.posting_month) as earliest_transfer_id,
        max_by(transfers.transfer_id, transfers.posting_month) as latest_transfer_id
    from transfers
    cross join newest

),

opening as (

    select max(report_month) as report_month
    from opening_balances

),

closed as (

    select
        min(report_month) as first_month,
        max(report_month) as last_month
    from closes_in_force

),

{# A run reports from its first month, or from the month after the opening balances, through the
    month that is set, or else the newest posting month of a transfer that has taken effect, at
    least the first month that is open: a transfer that is dated ahead adds no months. #}
bounds as (

    select
        coalesce(
            {{ next_month("opening.report_month") }},
            closed.first_month,
            posted.first_month
        ) as first_month,
        coalesce(
            {{ month_setting("POINTS_THROUGH_MONTH") }},
            {{ greatest_of("posted.newest_month", next_month("closed.last_month")) }}
        ) as last_month,
        posted.earliest_transfer_id,
        posted.latest_transfer_id
    from posted
    cross join opening
    cross join closed

),

counted as (

    select
        *,
        cast({{ dbt.datediff("first_month", "last_month", "month") }} as integer) + 1  -- noqa: LT05
            as months
    from bounds

),

checked as (

    select
        first_month,
        case
            when months > {{ var("longest_span_in_months") }}
                then {{ raise(dbt.concat([
                    "'SPAN: the months from '", "cast(first_month as string)", "' to '",
                    "cast(last_month as string)", "' are more than the "
                    ~ var("longest_span_in_months")
                    ~ " that a build may cover; the outermost transfers are '",
                    "earliest_transfer_id", "' and '", "latest_transfer_id",
                    "', so name a later first month (POINTS_FIRST_MONTH), to which what is earlier"
                    ~ " posts, or an earlier last one (points build --through).'",
                ])) }}
            else months
        end as months
    from counted

),

numbers as (

    {{ dbt.generate_series(var("longest_span_in_months")) | indent(4) }}

),

months as (

    select
        cast({{ dbt.dateadd(
            "month", "cast(numbers.generated_number as integer) - 1", "checked.first_month"
        ) }} as date)
            as report_month
    from checked
    inner join numbers
        on checked.months >= numbers.generated_number

),

with_close as (

    select
        months.report_month,
        {{ period_start_date("months.report_month") }} as period_start_date,
        cast({{ dbt.dateadd(
            "day", -1, period_start_date(next_month("months.report_month"))
        ) }} as date)
            as period_end_date,
        closes_in_force.revision,
        closes_in_force.cutoff_entry_id
    from months
    left join closes_in_force
        on months.report_month = closes_in_force.report_month

)

select * from with_close
