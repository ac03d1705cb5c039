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

{# Pending and cancelled revocations undo nothing, so only those that post are looked at. What a
    close said of one stays said: whether it leads to a root counts as the close that posted it knew
    it. #}
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

{# Where a chain points to nothing, or in a circle, nothing else about revocations is said. #}
revocations_with_root as (

    select * from revocations
    where has_known_root

),

{# Whatever a revocation takes back or gives back, to any depth. #}
decisions as (

    select distinct
        lineage.transfer_id as original_id,
        revocations_with_root.deciding_cutoff
    from revocations_with_root
    inner join lineage
        on revocations_with_root.transfer_id = lineage.descendant_id

),

{# What of each original is revoked after each step of its lineage, in the order of posting, as far
    as each close that posted a revocation below it knew. #}
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

{# Too much is what leaves less than nothing of its original or, where it takes again what that had
    given back, of one further up: every second one is taken from. #}
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
