{#- The points reserved by approved deducts that have not taken effect yet (docs/design.md, section
    5, "spendable"). #}

with recursive newest as (

    {{ recorded_until(ref("int_transfers_classified")) }}

),

ahead as (

    select
        transfers.transfer_id,
        transfers.currency,
        transfers.relation_reference,
        transfers.style,
        transfers.bucket,
        transfers.signed_points,
        case when transfers.reason = 'revocation' then transfers.reverses_transfer_id end
            as revoked_transfer_id
    from {{ ref("int_transfers_classified") }} as transfers
    cross join newest
    where
        transfers.status = 'approved'
        and transfers.effective_at > newest.recorded_at

),

{# A deduct reserves its points, unless it expires them: those may be spent before. Its revocation
    frees them, the revocation of that reserves them again, and so on down: 100 deducted, 30 revoked
    and 10 of those revoked again reserve 80. Below a give nothing is reserved, because its points
    are not in the balance yet. #}
chains as (

    select
        ahead.transfer_id,
        ahead.transfer_id as first_transfer_id
    from ahead
    left join ahead as originals
        on ahead.revoked_transfer_id = originals.transfer_id
    where
        originals.transfer_id is null
        and ahead.style = 'deduct'
        and ahead.bucket is distinct from 'expired'

    union all

    select
        ahead.transfer_id,
        chains.first_transfer_id
    from chains
    inner join ahead
        on chains.transfer_id = ahead.revoked_transfer_id

),

by_chain as (

    select
        ahead.currency,
        ahead.relation_reference,
        {{ greatest_of("-sum(ahead.signed_points)", "0") }} as reserved_points
    from chains
    inner join ahead
        on chains.transfer_id = ahead.transfer_id
    group by
        ahead.currency,
        ahead.relation_reference,
        chains.first_transfer_id

),

summed as (

    select
        currency,
        relation_reference,
        cast(sum(reserved_points) as decimal(38, 4)) as reserved_points
    from by_chain
    group by
        currency,
        relation_reference

)

select * from summed
