{#- What revocations have taken back from a transfer. A revocation of a revocation gives some of it
    back, and so on down: a descendant at an odd depth takes, at an even depth it gives back
    (docs/design.md, section 5, "unrevoked"). Of 100, revoked by 60, of which 25 are revoked again,
    100 - 60 + 25 = 65 are left. An unapproved revocation already takes, but does not give back yet:
    the columns `has_unapproved_taking` and `has_unapproved_giving` say whether one is on the way.
    #}

with recursive transfers as (

    select * from {{ ref("int_transfers_linked") }}

),

{# One step up, and the half-open range of entries in which it counts: from the entry of its
    original up to, without it, the entry that cancelled it. In a circle nothing is undone, so only
    chains with an end are walked. #}
links as (

    select
        transfers.transfer_id,
        transfers.reverses_transfer_id,
        transfers.status <> 'approved' as is_unapproved,
        transfers.effective_entry_id,
        originals.entry_id as known_from_entry_id,
        case when transfers.status = 'cancelled' then transfers.settled_entry_id end
            as known_until_entry_id
    from transfers
    inner join {{ ref("int_revocation_chains") }} as chains
        on transfers.transfer_id = chains.transfer_id
    inner join transfers as originals
        on transfers.reverses_transfer_id = originals.transfer_id
    where
        transfers.status <> 'cancelled'
        or transfers.settled_entry_id > transfers.entry_id

),

lineage as (

    select
        reverses_transfer_id as transfer_id,
        transfer_id as descendant_id,
        1 as depth,
        is_unapproved as has_unapproved_taking,
        false as has_unapproved_giving,
        effective_entry_id as approved_from_entry_id,
        known_from_entry_id,
        known_until_entry_id
    from links

    union all

    {#- One step further up, what gave back takes, and what took gives back. #}

    select
        links.reverses_transfer_id as transfer_id,
        lineage.descendant_id,
        lineage.depth + 1 as depth,
        lineage.has_unapproved_giving or links.is_unapproved as has_unapproved_taking,
        lineage.has_unapproved_taking as has_unapproved_giving,
        {{ greatest_of("lineage.approved_from_entry_id", "links.effective_entry_id") }}
            as approved_from_entry_id,
        {{ greatest_of("lineage.known_from_entry_id", "links.known_from_entry_id") }}
            as known_from_entry_id,
        {{ least_of("lineage.known_until_entry_id", "links.known_until_entry_id") }}
            as known_until_entry_id
    from lineage
    inner join links
        on lineage.transfer_id = links.transfer_id

),

signed as (

    select
        lineage.transfer_id,
        lineage.descendant_id,
        lineage.depth,
        transfers.posting_month,
        transfers.entry_id,
        transfers.effective_at,
        cast(
            case when mod(lineage.depth, 2) = 1 then transfers.points else -transfers.points end
            as decimal(38, 4)
        ) as revoked_points,
        lineage.has_unapproved_taking,
        lineage.has_unapproved_giving,
        lineage.approved_from_entry_id,
        lineage.known_from_entry_id,
        lineage.known_until_entry_id
    from lineage
    inner join transfers
        on lineage.descendant_id = transfers.transfer_id

)

select * from signed
