with waiting as (

    select
        *,
        {{ report_month("occurred_at") }} as occurred_month
    from {{ ref("int_transfers_classified") }}
    where first_status in ('pending', 'on_hold')

),

months as (

    select * from {{ ref("int_report_months") }}

),

{# A closed month shows what waited at its close's cutoff; an open one what waits now. #}
waiting_by_month as (

    select
        months.report_month,
        waiting.currency,
        waiting.relation_reference,
        waiting.style,
        waiting.points
    from waiting
    inner join months
        on waiting.occurred_month <= months.report_month
    where
        case
            when months.cutoff_entry_id is null then waiting.status in ('pending', 'on_hold')
            else
                waiting.entry_id <= months.cutoff_entry_id
                and coalesce(waiting.settled_entry_id > months.cutoff_entry_id, true)
        end

),

summed as (

    select
        report_month,
        currency,
        relation_reference,
        cast(sum(case when style = 'give' then points else 0 end) as decimal(38, 4))
            as pending_given_points,
        cast(sum(case when style = 'deduct' then points else 0 end) as decimal(38, 4))
            as pending_deducted_points,
        count(*) as pending_transfer_count
    from waiting_by_month
    group by
        report_month,
        currency,
        relation_reference

)

select * from summed
