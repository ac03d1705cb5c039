{#- Revocations that stand in a circle or hang from one, with the entry that closed it: to a close
    that did not know that entry there was no circle, and what it said stays. #}

with recursive circling as (

    select
        revocations.transfer_id,
        revocations.entry_id,
        revocations.reverses_transfer_id,
        originals.entry_id as original_entry_id
    from {{ ref("int_transfers_linked") }} as revocations
    inner join {{ ref("int_transfers_linked") }} as originals
        on revocations.reverses_transfer_id = originals.transfer_id
    left join {{ ref("int_revocation_chains") }} as chains
        on revocations.transfer_id = chains.transfer_id
    left join {{ ref("int_orphan_descendants") }} as orphan_descendants
        on revocations.transfer_id = orphan_descendants.transfer_id
    where
        revocations.reason = 'revocation'
        and chains.transfer_id is null
        and orphan_descendants.transfer_id is null

),

{# Up from original to original, until one is met again. A mark is left behind after 1, 2, 4, 8 …
    steps; once it stands within the circle, the next round comes back to it (Brent). #}
walk as (

    select
        transfer_id,
        reverses_transfer_id as reached_id,
        transfer_id as mark_id,
        1 as steps_from_mark,
        1 as steps_to_next_mark,
        original_entry_id as newest_entry_id
    from circling

    union all

    select
        walk.transfer_id,
        circling.reverses_transfer_id as reached_id,
        case
            when walk.steps_from_mark = walk.steps_to_next_mark then walk.reached_id
            else walk.mark_id
        end as mark_id,
        case
            when walk.steps_from_mark = walk.steps_to_next_mark then 1
            else walk.steps_from_mark + 1
        end as steps_from_mark,
        case
            when walk.steps_from_mark = walk.steps_to_next_mark then walk.steps_to_next_mark * 2
            else walk.steps_to_next_mark
        end as steps_to_next_mark,
        {{ greatest_of("walk.newest_entry_id", "circling.original_entry_id") }} as newest_entry_id
    from walk
    inner join circling
        on walk.reached_id = circling.transfer_id
    where walk.reached_id <> walk.mark_id

),

closed as (

    select
        transfer_id,
        max(newest_entry_id) as closed_by_entry_id
    from walk
    group by transfer_id

),

with_closing as (

    select
        closed.transfer_id,
        closed.closed_by_entry_id,
        {#- Where entries have no order, each of them might be it. #}
        coalesce(circling.entry_id = closed.closed_by_entry_id, true) as has_closed_it
    from closed
    inner join circling
        on closed.transfer_id = circling.transfer_id

)

select * from with_closing
