"""The recount of the balances of now, and of what is dated ahead.

Now is when the newest transfer that the run read was recorded. Chains of what has not taken effect yet are
walked in Python, upwards, where the models go down in SQL (docs/design.md, section 5, "spendable").
"""

from collections import defaultdict
from decimal import Decimal

import duckdb

from orchestration.recount.transfers import Scope
from orchestration.report_calendar import month_number

BALANCE_COLUMNS = (
    "approved_points",
    "pending_given_points",
    "pending_deducted_points",
    "on_hold_given_points",
    "on_hold_deducted_points",
    "spendable_points",
)


def count_balances(duck: duckdb.DuckDBPyConnection, scope: Scope) -> dict[tuple, tuple]:
    """The sums of customer_point_balances by currency, in the order of `BALANCE_COLUMNS`."""
    _create_read(duck)
    handed_in = (
        "union all select currency, 'approved', 'give', total_earned_points - total_reversal_points"
        f" - total_redeemed_points - total_expired_points from {scope.balances}"
        if scope.balances
        else ""
    )
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for currency, status, style, points in duck.execute(
        f"""
        select currency, status, style, sum(points)
        from (
            select currency, status, style, points from read_transfers where not is_ahead
            {handed_in}
        )
        group by all
        """
    ).fetchall():
        if status == "approved":
            sums[currency]["approved_points"] += points if style == "give" else -points
        else:
            sums[currency][f"{status}_{'given' if style == 'give' else 'deducted'}_points"] += points
    reserved = _reserved_points(duck)
    expected = {}
    for currency in {*sums, *(currency for _, currency in reserved)}:
        found = sums[currency]
        waiting = found["pending_deducted_points"] + found["on_hold_deducted_points"]
        ahead = sum((points for (_, of), points in reserved.items() if of == currency), Decimal(0))
        found["spendable_points"] = found["approved_points"] - waiting - ahead
        expected[(currency,)] = tuple(found[name] for name in BALANCE_COLUMNS)
    return expected


def count_dated_ahead(duck: duckdb.DuckDBPyConnection, scope: Scope) -> list[tuple[int, int]]:
    """How many transfers are dated ahead of their recording, by the month that reports them.

    Among the months of the run whose close first read the transfer, it is the month of its recording, if that
    is one of them, or else the first: recorded in May and read by the close of April to June, it is reported
    in May; by the close of March to April, in March. One that no close has read is reported by the run, if it
    closes months, or else in the first open month.
    """
    months_of: dict[int | None, list[int]] = defaultdict(list)
    closed = {month for month, _ in scope.closes}
    for month, cutoff in scope.closes:
        months_of[cutoff].append(month_number(month))
    still_open = [month_number(month) for month in scope.months if month not in closed]
    months_of[None] = still_open if scope.is_close else still_open[:1]
    cutoffs = sorted(cutoff for cutoff in months_of if cutoff is not None)
    first_cutoff = "null"
    for cutoff in reversed(cutoffs):
        first_cutoff = f"case when entry_id <= {cutoff} then {cutoff} else {first_cutoff} end"
    rows = duck.execute(
        f"""
        select cast({first_cutoff} as bigint) as cutoff, report_month(recorded_at) as recorded_month, count(*)
        from (
            select entry_id, occurred_at, recorded_at from plain_transfers
            union all
            select entry_id, occurred_at, recorded_at from singled_transfers where is_read
        )
        where occurred_at > recorded_at and entry_id > {scope.opening_cutoff}
        group by all
        """
    ).fetchall()
    reported: dict[int, int] = defaultdict(int)
    for cutoff, month, count in rows:
        months = months_of[cutoff]
        if months:
            reported[month if month in months else min(months)] += count
    return list(reported.items())


def _recorded_until(duck: duckdb.DuckDBPyConnection) -> int | None:
    """When the newest transfer was recorded, in microseconds, leaving out what a clock decades off recorded:
    years with more than ten empty ones before them, where fewer transfers are than beside them."""
    years = duck.execute(
        """
        select year(recorded_at), epoch_us(max(recorded_at)), count(*)
        from (
            select recorded_at from plain_transfers
            union all
            select recorded_at from singled_transfers where is_read
        )
        where recorded_at is not null
        group by all
        order by 1
        """
    ).fetchall()
    parts: list[list[tuple[int, int, int]]] = []
    for found in years:
        if not parts or found[0] - parts[-1][-1][0] > 11:
            parts.append([])
        parts[-1].append(found)
    sizes = [(sum(count for _, _, count in part), part[-1][1]) for part in parts]
    return max(sizes)[1] if sizes else None


def _create_read(duck: duckdb.DuckDBPyConnection) -> None:
    """Create ``read_transfers``: those that the run read and that are not cancelled, and whether each is
    approved and has not taken effect by now."""
    now = _recorded_until(duck)
    columns = (
        "transfer_id, relation_reference, currency, style, points, reason, status, reverses_transfer_id,"
        " posting_month"
    )
    duck.execute(
        f"""
        create temp view read_transfers as
        select
            *,
            status = 'approved' and coalesce(epoch_us(effective_at) > {"null" if now is None else now}, false)
                as is_ahead
        from (
            select {columns}, occurred_at as effective_at, cast(null as varchar) as bucket
            from plain_transfers
            union all
            select {columns}, effective_at, bucket
            from singled_transfers
            where is_read
        )
        where status <> 'cancelled'
        """
    )


def _reserved_points(duck: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Decimal]:
    """What deducts ahead reserve, by relation reference and currency."""
    rows = duck.execute(
        """
        select
            transfer_id, relation_reference, currency, style, points,
            coalesce(transfers.bucket, rule_months.bucket),
            case when reason = 'revocation' then reverses_transfer_id end
        from read_transfers as transfers
        left join rule_months using (reason, style, posting_month)
        where is_ahead
        """
    ).fetchall()
    ahead = {row[0]: row for row in rows}
    left: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for transfer_id, relation, currency, style, points, _, _ in rows:
        walked = [transfer_id]
        while (original := ahead[walked[-1]][6]) in ahead and original not in walked:
            walked.append(original)
        *_, first_style, _, first_bucket, revoked = ahead[walked[-1]]
        if revoked not in walked and first_style == "deduct" and first_bucket != "expired":
            left[relation, currency, walked[-1]] += points if style == "deduct" else -points
    reserved: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for (relation, currency, _), points in left.items():
        reserved[relation, currency] += max(points, Decimal(0))
    return reserved
