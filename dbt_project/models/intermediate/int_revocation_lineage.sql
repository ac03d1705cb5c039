{#- What revocations have taken back of a transfer. A revocation of a revocation gives some of it
    back, and so on down: each descendant counts with the sign of its depth (DESIGN.md, section 5,
    "unrevoked"). #}

with recursive linked as (

    select transfer_id from {{ ref("int_revocation_chains") }}
    union all
    select transfer_id from {{ ref("int_orphan_descendants") }}

),

{# A circle is left out: nothing in it is undone. #}
revocations as (

    select
        transfers.transfer_id,
        transfers.reverses_transfer_id,
        transfers.points,
        transfers.status,
        transfers.posting_month,
        transfers.entry_id,
        transfers.effective_at
    from {{ ref("int_transfers_classified") }} as transfers
    inner join linked
        on transfers.transfer_id = linked.transfer_id
    where transfers.status <> 'cancelled'

),

lineage as (

    select
        reverses_transfer_id as transfer_id,
        transfer_id as descendant_id,
        1 as depth
    from revocations

    union all

    select
        revocations.reverses_transfer_id as transfer_id,
        lineage.descendant_id,
        lineage.depth + 1 as depth
    from lineage
    inner join revocations
        on lineage.transfer_id = revocations.transfer_id

),

signed as (

    select
        lineage.transfer_id,
        lineage.descendant_id,
        lineage.depth,
        revocations.posting_month,
        revocations.entry_id,
        revocations.effective_at,
        cast(
            case when mod(lineage.depth, 2) = 1 then revocations.points else -revocations.points end
            as decimal(38, 4)
        ) as revoked_points
    from lineage
    inner join revocations
        on lineage.descendant_id = revocations.transfer_id

)

select * from signed
