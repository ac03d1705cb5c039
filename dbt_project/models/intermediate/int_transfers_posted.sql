{{ config(materialized=view_unless_recomputed()) }}

{# The posting rule (docs/design.md, section 6) stands here and nowhere else. With m the report
    month in which a transfer takes effect and L the last month closed before the entry that made it
    effective, it posts to m where m is later than L, else to the month after L. With January closed
    at cutoff 10 and February at 20: a transfer of January in entry 9 posts to January, in entry 15
    (L is January) to February, in entry 25 (L is February) to March; the latter two are late. #}

{# Nothing posts before the programme's first month. #}
{% set month_on_time -%}
case
            when {{ report_month("effective.effective_at") }} < first_month.report_month
                then first_month.report_month
            else {{ report_month("effective.effective_at") }}
        end
{%- endset %}

with closes as (

    select * from {{ ref("stg_ledger__closes") }}

),

first_month as (

    select coalesce(min(report_month), {{ month_setting("POINTS_FIRST_MONTH") }}) as report_month
    from closes

),

closes_in_force as (

    select
        report_month,
        cutoff_entry_id,
        coalesce(lead(cutoff_entry_id) over (order by report_month), 9223372036854775807)
            as next_cutoff_entry_id
    from closes
    where is_in_force

),

{# Late: the entry came after the cutoff of its own month. These are few, and only they need to be
    compared with all cutoffs. #}
late as (

    select
        effective.transfer_id,
        effective.effective_entry_id
    from {{ ref("int_transfers_effective") }} as effective
    cross join first_month
    inner join closes_in_force
        on {{ month_on_time }} = closes_in_force.report_month
    where effective.effective_entry_id > closes_in_force.cutoff_entry_id

),

late_posted as (

    select
        late.transfer_id,
        {{ next_month("closes_in_force.report_month") }} as posting_month
    from late
    inner join closes_in_force
        on
            late.effective_entry_id > closes_in_force.cutoff_entry_id
            and late.effective_entry_id <= closes_in_force.next_cutoff_entry_id

),

posted as (

    select
        effective.*,
        coalesce(late_posted.posting_month, {{ month_on_time }}) as posting_month,
        late_posted.transfer_id is not null as is_late
    from {{ ref("int_transfers_effective") }} as effective
    cross join first_month
    left join late_posted
        on effective.transfer_id = late_posted.transfer_id

)

select * from posted
