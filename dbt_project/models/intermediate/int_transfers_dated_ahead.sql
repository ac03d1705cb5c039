{{ config(materialized="ephemeral") }}

with closes_in_force as (

    select
        report_month,
        cutoff_entry_id
    from {{ ref("stg_ledger__closes") }}
    where is_in_force

),

last_close as (

    select max(report_month) as report_month
    from closes_in_force

),

{# Months that closed together have one cutoff; those that are open have none. A run that makes a
    close, which ends it at an entry, closes all of its open months together; before that the first
    of them stands for all. #}
months_read_together as (

    select
        report_month,
        cutoff_entry_id
    from closes_in_force

    union all

    select
        {%- if setting("POINTS_UPTO_ENTRY_ID") %}
        months.report_month,
        {%- else %}
        coalesce({{ next_month("max(last_close.report_month)") }}, min(months.report_month))
            as report_month,
        {%- endif %}
        cast(null as bigint) as cutoff_entry_id
    from {{ ref("int_report_months") }} as months
    cross join last_close
    {%- if setting("POINTS_UPTO_ENTRY_ID") %}
    where months.cutoff_entry_id is null
    {%- endif %}

),

{# A transfer that an earlier run left for later was reported by the close of that run. #}
dated_ahead as (

    select
        transfers.currency,
        transfers.relation_reference,
        transfers.transfer_id,
        transfers.points,
        {{ report_month("transfers.recorded_at") }} as recorded_month,
        min(closes_in_force.cutoff_entry_id) as cutoff_entry_id
    from {{ ref("int_transfers_classified") }} as transfers
    left join closes_in_force
        on transfers.entry_id <= closes_in_force.cutoff_entry_id
    where
        transfers.occurred_at > transfers.recorded_at
        and transfers.was_left_unposted is not true
    group by
        transfers.currency,
        transfers.relation_reference,
        transfers.transfer_id,
        transfers.points,
        transfers.recorded_at

),

{# Each is reported once, in any status and however far ahead: in the month of its recording, if
    that is among the months of the close that first read it, or else in the first of them. Recorded
    in February and read by the close of January and February: in February; recorded in December: in
    January. #}
reported_once as (

    select
        coalesce(
            max(case
                when months_read_together.report_month = dated_ahead.recorded_month
                    then dated_ahead.recorded_month
            end),
            min(months_read_together.report_month)
        ) as report_month,
        dated_ahead.currency,
        dated_ahead.relation_reference,
        dated_ahead.transfer_id,
        dated_ahead.points
    from dated_ahead
    inner join months_read_together
        on dated_ahead.cutoff_entry_id is not distinct from months_read_together.cutoff_entry_id
    where months_read_together.report_month is not null
    group by
        dated_ahead.currency,
        dated_ahead.relation_reference,
        dated_ahead.transfer_id,
        dated_ahead.points

)

select * from reported_once
