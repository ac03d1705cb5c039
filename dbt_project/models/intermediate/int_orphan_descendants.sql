{#- Revocations whose chain ends in one that points to nothing known. What is neither here nor in
    int_revocation_chains stands in a circle, or hangs from one. #}

with recursive revocations as (

    select
        transfer_id,
        reverses_transfer_id
    from {{ ref("int_transfers_linked") }}
    where reason = 'revocation'

),

unrooted as (

    select
        revocations.transfer_id,
        revocations.reverses_transfer_id
    from revocations
    left join {{ ref("int_revocation_chains") }} as chains
        on revocations.transfer_id = chains.transfer_id
    where chains.transfer_id is null

),

descendants as (

    select unrooted.transfer_id
    from unrooted
    left join unrooted as originals
        on unrooted.reverses_transfer_id = originals.transfer_id
    where originals.transfer_id is null

    union all

    select unrooted.transfer_id
    from descendants
    inner join unrooted
        on descendants.transfer_id = unrooted.reverses_transfer_id

)

select * from descendants
