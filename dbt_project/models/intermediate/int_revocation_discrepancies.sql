{{ config(materialized="ephemeral") }}

{%- set kinds = [
    ("orphan_revocation", "not has_known_root"),
    ("revocation_of_unapproved", "has_known_root and not is_original_approved"),
    ("revocation_of_other_relation", "has_known_root and is_of_other_relation"),
    ("revocation_of_other_currency", "has_known_root and is_of_other_currency"),
    ("revocation_of_same_style", "has_known_root and is_of_same_style"),
] %}

with lineage as (

    select * from {{ ref("int_revocation_lineage") }}

),

{# Pending and cancelled revocations undo nothing, so only those that post are checked. What a close
    reported does not change later: whether a revocation leads to a root is decided by what the
    close that posted it knew. With its original in entry 12, a revocation posted at cutoff 10 stays
    an orphan. #}
revocations as (

    select
        revocations.posting_month as report_month,
        revocations.currency,
        revocations.relation_reference,
        revocations.transfer_id,
        revocations.points,
        revocations.deciding_cutoff,
        coalesce(chains.is_known, false) as has_known_root,
        originals.status = 'approved'
        and coalesce(originals.effective_entry_id <= revocations.deciding_cutoff, true)
            as is_original_approved,
        originals.relation_reference <> revocations.relation_reference as is_of_other_relation,
        originals.currency <> revocations.currency as is_of_other_currency,
        originals.style = revocations.style as is_of_same_style
    from {{ ref("int_transfers_linked") }} as revocations
    left join {{ ref("int_revocation_chains") }} as chains
        on revocations.transfer_id = chains.transfer_id
    left join {{ ref("int_transfers_linked") }} as originals
        on revocations.reverses_transfer_id = originals.transfer_id
    where
        revocations.reason = 'revocation'
        and revocations.posting_month is not null
        and revocations.is_related_only is not true

),

{# A revocation without a root is reported as an orphan only. #}
revocations_with_root as (

    select * from revocations
    where has_known_root

),

{# All transfers that a revocation takes from or gives back to, at any depth, and the cutoff that
    decides. #}
decisions as (

    select distinct
        lineage.transfer_id as original_id,
        revocations_with_root.deciding_cutoff
    from revocations_with_root
    inner join lineage
        on revocations_with_root.transfer_id = lineage.descendant_id

),

{# What is left of each original after each step of its lineage, in the order of posting, as far as
    the deciding close knew: of 200, revoked by 150 and 80, first 50 are left, then -30. #}
revoked_so_far as (

    select
        decisions.original_id,
        decisions.deciding_cutoff,
        lineage.descendant_id,
        lineage.depth,
        originals.points - sum(lineage.revoked_points) over (
            partition by decisions.original_id, decisions.deciding_cutoff
            order by
                lineage.posting_month,
                lineage.entry_id nulls last,
                lineage.effective_at,
                lineage.descendant_id
            rows between unbounded preceding and current row
        ) as unrevoked_points
    from decisions
    inner join {{ ref("int_transfers_linked") }} as originals
        on decisions.original_id = originals.transfer_id
    inner join lineage
        on decisions.original_id = lineage.transfer_id
    where
        lineage.posting_month is not null
        and lineage.has_unapproved_taking is not true
        and lineage.has_unapproved_giving is not true
        and coalesce(lineage.approved_from_entry_id <= decisions.deciding_cutoff, true)
        and coalesce(lineage.known_from_entry_id <= decisions.deciding_cutoff, true)
        and (
            lineage.known_until_entry_id is null
            or lineage.known_until_entry_id > decisions.deciding_cutoff
        )

),

{# A revocation is excessive where it leaves less than zero of its original, or of a transfer at an
    odd distance above it, from which it takes again what was given back. At even distances it gives
    back. #}
excessive_revocations as (

    select
        revocations_with_root.report_month,
        revocations_with_root.currency,
        revocations_with_root.relation_reference,
        revocations_with_root.transfer_id,
        max(-revoked_so_far.unrevoked_points) as points,
        'excessive_revocation' as discrepancy
    from revoked_so_far
    inner join revocations_with_root
        on
            revoked_so_far.descendant_id = revocations_with_root.transfer_id
            and revoked_so_far.deciding_cutoff
            is not distinct from revocations_with_root.deciding_cutoff
    where
        revoked_so_far.unrevoked_points < 0
        and mod(revoked_so_far.depth, 2) = 1
    group by
        revocations_with_root.report_month,
        revocations_with_root.currency,
        revocations_with_root.relation_reference,
        revocations_with_root.transfer_id

),

found as (

    {% for discrepancy, condition in kinds %}
    select
        report_month,
        currency,
        relation_reference,
        transfer_id,
        points,
        '{{ discrepancy }}' as discrepancy
    from revocations
    where {{ condition }}

    union all
    {% endfor %}

    select
        report_month,
        currency,
        relation_reference,
        transfer_id,
        points,
        discrepancy
    from excessive_revocations

)

select * from found
