with status_changes as (

    select * from {{ ref("int_status_changes_united") }}

),

ordered as (

    select
        *,
        row_number() over (
            partition by transfer_id
            order by
                case when status in ('approved', 'cancelled') then 0 else 1 end asc,
                entry_id desc nulls last,
                changed_at desc,
                status asc
        ) as position_from_last
    from status_changes

),

{# Approved and cancelled are final: no later change applies, of any date. #}
summed_up as (

    select
        transfer_id,
        max(case when position_from_last = 1 then status end) as status,
        max(case when status = 'approved' then changed_at end) as approved_at,
        max(case when status in ('approved', 'cancelled') then entry_id end) as settled_entry_id
    from ordered
    group by transfer_id

)

select * from summed_up
