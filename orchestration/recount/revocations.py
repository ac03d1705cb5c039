"""The recount's own way from a revocation up to what it undoes in the end, and so to its bucket.

The models go down from the roots. Here every revocation walks up, and each round doubles its steps by going
on where another walk has got to, so that a chain of a thousand links takes ten rounds. What has met no root
after as many rounds as the longest possible chain needs has none: it points to nothing, or in a circle
(docs/design.md, section 7).
"""

import duckdb


def walk_revocations(duck: duckdb.DuckDBPyConnection) -> None:
    """Create ``walked_revocations`` and ``direct_originals`` from ``posted_singly`` and ``plain_transfers``.

    ``walked_revocations`` has a row for each revocation: ``has_known_root`` says whether it has a root and
    each link to it was known when it was decided, ``bucket`` what that root says, else null.
    ``direct_originals`` has what revocations point to.
    """
    duck.execute(
        """
        create temp view revocations as
        select * from posted_singly where reason = 'revocation';

        create temp table direct_originals as
        with columns_alike as (
            select
                entry_id, transfer_id, relation_reference, currency, style, reason, status,
                effective_entry_id, occurred_month, posting_month
            from plain_transfers
            union all
            select
                entry_id, transfer_id, relation_reference, currency, style, reason, status,
                effective_entry_id, occurred_month, posting_month
            from posted_singly
        )
        from columns_alike
        where transfer_id in (select reverses_transfer_id from revocations);

        create temp table walks as
        select
            revocations.transfer_id,
            revocations.reverses_transfer_id as reached_id,
            revocations.deciding_cutoff as smallest_cutoff,
            direct_originals.entry_id as latest_entry_id,
            direct_originals.entry_id <= revocations.deciding_cutoff as is_known
        from revocations
        inner join direct_originals
            on revocations.reverses_transfer_id = direct_originals.transfer_id
        """
    )
    (count,) = duck.execute("select count(*) from walks").fetchone()
    for _ in range(count.bit_length()):
        if not _are_on_the_way(duck):
            break
        _double(duck)
    duck.execute(
        """
        create temp table walked_revocations as
        with ended as (
            select
                revocations.transfer_id,
                roots.transfer_id is not null as has_known_root,
                roots.reason,
                roots.style,
                -- Not yet effective for the close that decided, it counts as of when it occurred.
                case
                    when roots.effective_entry_id <= walks.smallest_cutoff then roots.posting_month
                    else roots.occurred_month
                end as root_month
            from revocations
            left join walks on revocations.transfer_id = walks.transfer_id and walks.is_known
            left join direct_originals as roots
                on walks.reached_id = roots.transfer_id and roots.reason <> 'revocation'
        )

        select
            ended.transfer_id,
            ended.has_known_root,
            case when rule_months.bucket = 'earned' then 'reversal' else rule_months.bucket end as bucket
        from ended
        left join rule_months
            on
                ended.reason = rule_months.reason
                and ended.style = rule_months.style
                and ended.root_month = rule_months.posting_month
        """
    )


def _are_on_the_way(duck: duckdb.DuckDBPyConnection) -> bool:
    """Whether any walk has got to a revocation that itself leads further."""
    return bool(
        duck.execute(
            "select 1 from walks semi join walks as further on walks.reached_id = further.transfer_id limit 1"
        ).fetchone()
    )


def _double(duck: duckdb.DuckDBPyConnection) -> None:
    """Let every walk go on where the walk of the revocation that it has reached has got to.

    A link is known when its original's entry is not above any cutoff before it. So where a walk follows
    another, all is known when it is in both and the latest original of the other was to the cutoffs of the
    first.
    """
    duck.execute(
        """
        create or replace temp table walks as
        select
            walks.transfer_id,
            coalesce(further.reached_id, walks.reached_id) as reached_id,
            least(walks.smallest_cutoff, further.smallest_cutoff) as smallest_cutoff,
            greatest(walks.latest_entry_id, further.latest_entry_id) as latest_entry_id,
            walks.is_known
            and coalesce(further.is_known and further.latest_entry_id <= walks.smallest_cutoff, true)
                as is_known
        from walks
        left join walks as further on walks.reached_id = further.transfer_id
        """
    )
