{#- What is counted as it came and deserves a look. Each part is one kind; `severity` is 'error'
    where a balance may be wrong, 'warning' where somebody should ask why, 'info' where a reader may
    wonder. #}

{%- set kinds = [
    "orphan_revocations", "circular_revocations", "revocations_of_unapproved",
    "revocations_of_other_relations",
    "revocations_of_other_currencies", "revocations_of_same_style", "excessive_revocations",
    "negative_balances", "activity_after_closures", "late_postings", "future_dated",
] -%}
{%- set columns = [
    "report_month", "currency", "relation_reference", "transfer_id", "discrepancy", "severity",
    "points",
] -%}

with circular as (

    select * from {{ ref("int_circular_revocations") }}

),

lineage as (

    select * from {{ ref("int_revocation_lineage") }}

),

account_events as (

    select * from {{ ref("int_account_events") }}

),

closes_in_force as (

    select
        report_month,
        cutoff_entry_id
    from {{ ref("stg_ledger__closes") }}
    where is_in_force

),

{# Pending and cancelled revocations undo nothing, so only those that post are looked at. What a
    close said of one stays said: its original counts as the close that posted the revocation knew
    it. #}
revocations as (

    select
        posting_month as report_month,
        currency,
        relation_reference,
        transfer_id,
        reverses_transfer_id,
        style,
        points,
        deciding_cutoff
    from {{ ref("int_transfers_linked") }}
    where
        reason = 'revocation'
        and posting_month is not null
        and is_related_only is not true

),

originals as (

    select * from {{ ref("int_transfers_linked") }}

),

{# An original whose entry came after the cutoff was not known then. That is told by a condition on
    the joined row: in the join itself it would keep DuckDB from hashing. #}
revocations_with_original as (

    select
        revocations.report_month,
        revocations.currency,
        revocations.relation_reference,
        revocations.transfer_id,
        revocations.points,
        revocations.style,
        circular.transfer_id is not null
        and coalesce(circular.closed_by_entry_id <= revocations.deciding_cutoff, true)
            as is_circular,
        originals.transfer_id is not null
        and coalesce(originals.entry_id <= revocations.deciding_cutoff, true) as is_original_known,
        originals.status = 'approved'
        and coalesce(originals.effective_entry_id <= revocations.deciding_cutoff, true)
            as is_original_approved,
        originals.relation_reference as original_relation_reference,
        originals.currency as original_currency,
        originals.style as original_style
    from revocations
    left join originals
        on revocations.reverses_transfer_id = originals.transfer_id
    left join circular
        on revocations.transfer_id = circular.transfer_id

),

orphan_revocations as (

    select *, 'orphan_revocation' as discrepancy, 'error' as severity
    from revocations_with_original
    where not is_original_known

),

circular_revocations as (

    select *, 'circular_revocation' as discrepancy, 'error' as severity
    from revocations_with_original
    where
        is_circular
        and is_original_known

),

revocations_of_unapproved as (

    select *, 'revocation_of_unapproved' as discrepancy, 'error' as severity
    from revocations_with_original
    where
        is_original_known
        and not is_original_approved

),

revocations_of_other_relations as (

    select *, 'revocation_of_other_relation' as discrepancy, 'error' as severity
    from revocations_with_original
    where
        is_original_known
        and original_relation_reference <> relation_reference

),

revocations_of_other_currencies as (

    select *, 'revocation_of_other_currency' as discrepancy, 'error' as severity
    from revocations_with_original
    where
        is_original_known
        and original_currency <> currency

),

revocations_of_same_style as (

    select *, 'revocation_of_same_style' as discrepancy, 'error' as severity
    from revocations_with_original
    where
        is_original_known
        and original_style = style

),

{# Whatever a revocation takes back or gives back, to any depth. #}
decisions as (

    select distinct
        lineage.transfer_id as original_id,
        revocations.deciding_cutoff
    from revocations
    inner join lineage
        on revocations.transfer_id = lineage.descendant_id

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
    inner join originals
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
        revocations.report_month,
        revocations.currency,
        revocations.relation_reference,
        revocations.transfer_id,
        'excessive_revocation' as discrepancy,
        'error' as severity,
        max(-revoked_so_far.unrevoked_points) as points
    from revoked_so_far
    inner join revocations
        on
            revoked_so_far.descendant_id = revocations.transfer_id
            and revoked_so_far.deciding_cutoff is not distinct from revocations.deciding_cutoff
    where
        revoked_so_far.unrevoked_points < 0
        and mod(revoked_so_far.depth, 2) = 1
    group by
        revocations.report_month,
        revocations.currency,
        revocations.relation_reference,
        revocations.transfer_id

),

negative_balances as (

    select
        report_month,
        currency,
        relation_reference,
        cast(null as string) as transfer_id,
        'negative_outstanding' as discrepancy,
        'warning' as severity,
        closing_points as points
    from {{ ref("outstanding_points_by_month") }}
    where closing_points < 0

),

closed_accounts as (

    select distinct relation_reference
    from account_events
    where event = 'close'

),

{# What had happened to the account when a transfer of it occurred, as far as the close that posted
    the transfer knew. The closure itself, in whatever currency, is no activity; nor is what happens
    in the very instant of a closure or of an opening. #}
events_before as (

    select
        transfers.transfer_id,
        account_events.event,
        row_number() over (
            partition by transfers.transfer_id
            order by
                account_events.event_at desc,
                account_events.entry_id desc nulls first,
                account_events.event desc
        ) as position_from_last
    from {{ ref("int_transfers_classified") }} as transfers
    inner join closed_accounts
        on transfers.relation_reference = closed_accounts.relation_reference
    inner join account_events
        on transfers.relation_reference = account_events.relation_reference
    left join closes_in_force
        on transfers.posting_month = closes_in_force.report_month
    where
        transfers.posting_month is not null
        and transfers.reason <> 'account_closure'
        and coalesce(account_events.entry_id <= closes_in_force.cutoff_entry_id, true)
        and (
            account_events.event_at < transfers.occurred_at
            or (account_events.event = 'open' and account_events.event_at = transfers.occurred_at)
        )

),

activity_after_closures as (

    select
        transfers.posting_month as report_month,
        transfers.currency,
        transfers.relation_reference,
        transfers.transfer_id,
        'activity_after_closure' as discrepancy,
        'warning' as severity,
        transfers.points
    from {{ ref("int_transfers_classified") }} as transfers
    inner join events_before
        on transfers.transfer_id = events_before.transfer_id
    where
        events_before.position_from_last = 1
        and events_before.event = 'close'

),

late_postings as (

    select
        posting_month as report_month,
        currency,
        relation_reference,
        transfer_id,
        'late_posting' as discrepancy,
        'info' as severity,
        points
    from {{ ref("int_transfers_classified") }}
    where is_late

),

last_close as (

    select max(report_month) as report_month
    from closes_in_force

),

{# Months that closed together have one cutoff; those that are open have none. A run that makes a
    close, which ends it at an entry, closes all of its open months together; before that the first
    of them stands for all. #}
months_read_together as (

    select
        report_month,
        cutoff_entry_id
    from closes_in_force

    union all

    select
        {%- if setting("POINTS_UPTO_ENTRY_ID") %}
        months.report_month,
        {%- else %}
        coalesce({{ next_month("max(last_close.report_month)") }}, min(months.report_month))
            as report_month,
        {%- endif %}
        cast(null as bigint) as cutoff_entry_id
    from {{ ref("int_report_months") }} as months
    cross join last_close
    {%- if setting("POINTS_UPTO_ENTRY_ID") %}
    where months.cutoff_entry_id is null
    {%- endif %}

),

{# What an earlier run left for later was told by the close of that run. #}
dated_ahead as (

    select
        transfers.currency,
        transfers.relation_reference,
        transfers.transfer_id,
        transfers.points,
        {{ report_month("transfers.recorded_at") }} as recorded_month,
        min(closes_in_force.cutoff_entry_id) as cutoff_entry_id
    from {{ ref("int_transfers_classified") }} as transfers
    left join closes_in_force
        on transfers.entry_id <= closes_in_force.cutoff_entry_id
    where
        transfers.occurred_at > transfers.recorded_at
        and transfers.was_left_unposted is not true
    group by
        transfers.currency,
        transfers.relation_reference,
        transfers.transfer_id,
        transfers.points,
        transfers.recorded_at

),

{# It stands once, whatever its status and however far ahead: where it was recorded, if that is
    among the months of the close that first read it, or else in the first of them. #}
future_dated as (

    select
        coalesce(
            max(case
                when months_read_together.report_month = dated_ahead.recorded_month
                    then dated_ahead.recorded_month
            end),
            min(months_read_together.report_month)
        ) as report_month,
        dated_ahead.currency,
        dated_ahead.relation_reference,
        dated_ahead.transfer_id,
        'future_dated' as discrepancy,
        'warning' as severity,
        dated_ahead.points
    from dated_ahead
    inner join months_read_together
        on dated_ahead.cutoff_entry_id is not distinct from months_read_together.cutoff_entry_id
    where months_read_together.report_month is not null
    group by
        dated_ahead.currency,
        dated_ahead.relation_reference,
        dated_ahead.transfer_id,
        dated_ahead.points

),

found as (

    {% for kind in kinds %}
    select {{ columns | join(", ") }} from {{ kind }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

typed as (

    select
        found.report_month,
        found.currency,
        found.relation_reference,
        found.transfer_id,
        found.discrepancy,
        found.severity,
        cast(found.points as decimal(38, 4)) as points
    from found

)

select * from typed
