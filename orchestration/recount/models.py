"""The recount of a build's marts: how many rows each has, and the numbers that they must hold."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from ledger.sql_text import literal
from orchestration.recount.balances import BALANCE_COLUMNS, count_balances, count_dated_ahead
from orchestration.recount.customers import create_account_changes, figures_of_customers
from orchestration.recount.figures import LATER, Figures
from orchestration.recount.months import BUCKETS, Line, MonthCounts, Tally, outstanding
from orchestration.recount.transfers import Scope
from orchestration.report_calendar import month_number, month_text


@dataclass(frozen=True)
class RowCount:
    """How many rows a model has; ``at_most`` is None where it cannot be known without repeating the model."""

    at_least: int
    at_most: int | None

    def __str__(self) -> str:
        if self.at_least == self.at_most:
            return f"{self.at_least:,}"
        if self.at_most is None:
            return f"at least {self.at_least:,}"
        return f"{self.at_least:,} to {self.at_most:,}"


@dataclass(frozen=True)
class ModelCounts:
    """What the marts of a run must hold: ``row_counts`` names every one of them."""

    row_counts: Mapping[str, RowCount]
    figures: Sequence[Figures]


def count_models(duck: duckdb.DuckDBPyConnection, scope: Scope, counts: MonthCounts) -> ModelCounts:
    """Count for each mart what `orchestration.recount.transfers.create_transfers` has made in ``duck``."""
    movement_rows = _count_movement_rows(duck, scope)
    create_account_changes(duck, scope)
    closings = _count(duck, "account_changes", "count(*) filter (event = 'close')")
    discrepancies = _count_discrepancies(duck, scope, counts.tallies, closings)
    return ModelCounts(
        row_counts=_count_rows(duck, scope, counts, movement_rows, discrepancies),
        figures=[
            _figures_of_months(scope),
            *_figures_of_lines(counts.lines),
            *_figures_of_transfers(scope, counts.tallies),
            *_figures_of_movements(scope, counts.tallies, movement_rows),
            _figures_of_discrepancies(scope, discrepancies),
            Figures(
                model="customer_point_balances",
                query=f"select currency, {', '.join(f'sum({name})' for name in BALANCE_COLUMNS)}"
                " from customer_point_balances group by 1",
                keys=("currency",),
                numbers=BALANCE_COLUMNS,
                expected=count_balances(duck, scope),
            ),
            *figures_of_customers(duck, scope),
        ],
    )


def _count(duck: duckdb.DuckDBPyConnection, relation: str | None, expression: str = "count(*)") -> int:
    """How many rows a relation has; none where there is none."""
    return duck.execute(f"select {expression} from {relation}").fetchone()[0] if relation else 0


def _count_rows(
    duck: duckdb.DuckDBPyConnection,
    scope: Scope,
    counts: MonthCounts,
    movement_rows: Mapping[str, int],
    discrepancies: Mapping[str, Mapping[str, int]],
) -> dict[str, RowCount]:
    read = _count(duck, scope.new("transfers")) + _count(duck, scope.unposted)
    exact = {
        "customer_point_balances": sum(counts.pairs.values()),
        "outstanding_points_by_month": sum(line.relations for line in counts.lines.values()),
        "points_movements_by_month": sum(movement_rows.values()),
        "posted_transfers": sum(line.posted for line in counts.lines.values()),
        "programme_points_by_month": len(counts.lines),
        "quarantined_transfers": 0,
        "report_months": len(scope.months),
        "transfer_history": read,
        "unposted_transfers": sum(
            tally.transfers
            for tally in counts.tallies
            if tally.status in ("pending", "on_hold")
            or (tally.posting_month or 0) > month_number(scope.months[-1])
        ),
    }
    found = sum(sum(of_kind.values()) for of_kind in discrepancies.values())
    return {
        **{model: RowCount(rows, rows) for model, rows in exact.items()},
        # How many more there are than those is more than a recount repeats.
        "discrepancies": RowCount(found, None),
    }


def _count_movement_rows(duck: duckdb.DuckDBPyConnection, scope: Scope) -> dict[str, int]:
    """Groups of currency, relation reference, bucket and reason in which something posted, by month."""
    rows = duck.execute(
        f"""
        with posted as (
            select posting_month, currency, relation_reference, reason, rule_months.bucket
            from plain_transfers
            inner join rule_months using (reason, style, posting_month)
            union all
            select posting_month, currency, relation_reference, reason, bucket
            from singled_transfers
            where is_read
        )

        select posting_month, count(*)
        from (
            select distinct * from posted
            where posting_month between {month_number(scope.months[0])} and {month_number(scope.months[-1])}
        )
        group by all
        """
    ).fetchall()
    return {month_text(month): count for month, count in rows}


def _month_key(month: int, scope: Scope) -> str:
    return month_text(month) if month <= month_number(scope.months[-1]) else LATER


def _count_discrepancies(
    duck: duckdb.DuckDBPyConnection,
    scope: Scope,
    tallies: Sequence[Tally],
    closings: int,
) -> dict[str, dict[str, int]]:
    """The discrepancies that show without repeating the model, by kind and month; of the other kinds, those
    of which nothing could be there."""
    found: dict[str, dict[str, int]] = {
        "late_posting": defaultdict(int),
        "future_dated": defaultdict(int),
        "orphan_revocation": defaultdict(int),
        "revocation_of_unapproved": defaultdict(int),
        "revocation_of_other_relation": defaultdict(int),
        "revocation_of_other_currency": defaultdict(int),
        "revocation_of_same_style": defaultdict(int),
    }
    for tally in tallies:
        if tally.posting_month is None:
            continue
        if tally.is_late:
            found["late_posting"][_month_key(tally.posting_month, scope)] += tally.transfers
    for month, count in count_dated_ahead(duck, scope):
        found["future_dated"][_month_key(month, scope)] += count
    rows = duck.execute(
        """
        with revocations as (
            select
                revoking.*,
                walked_revocations.has_known_root,
                originals.status = 'approved' and originals.effective_entry_id <= revoking.deciding_cutoff
                    as is_original_approved,
                originals.relation_reference as original_relation_reference,
                originals.currency as original_currency,
                originals.style as original_style
            from singled_transfers as revoking
            inner join walked_revocations using (transfer_id)
            left join direct_originals as originals
                on revoking.reverses_transfer_id = originals.transfer_id
            where
                revoking.is_read
                and revoking.posting_month is not null
        )

        select
            posting_month,
            count(*) filter (not has_known_root) as orphan_revocation,
            count(*) filter (has_known_root and is_original_approved is distinct from true)
                as revocation_of_unapproved,
            count(*) filter (has_known_root and original_relation_reference <> relation_reference)
                as revocation_of_other_relation,
            count(*) filter (has_known_root and original_currency <> currency)
                as revocation_of_other_currency,
            count(*) filter (has_known_root and original_style = style) as revocation_of_same_style
        from revocations
        group by all
        """
    ).fetchall()
    kinds = [column[0] for column in duck.description[1:]]
    for month, *counts in rows:
        for kind, count in zip(kinds, counts, strict=True):
            found[kind][_month_key(month, scope)] += count
    if not rows:
        found["excessive_revocation"] = {}
    if not closings:
        found["activity_after_closure"] = {}
    return found


def _figures_of_months(scope: Scope) -> Figures:
    cutoffs = dict(scope.closes)
    return Figures(
        model="report_months",
        query="select strftime(report_month, '%Y-%m'), count(*), max(cutoff_entry_id) from report_months"
        " group by all",
        keys=("report_month",),
        numbers=("rows", "cutoff_entry_id"),
        expected={(month,): (1, cutoffs.get(month)) for month in scope.months},
    )


def _figures_of_lines(lines: Mapping[tuple[str, str], Line]) -> list[Figures]:
    """The lines, as the programme has them, and as sums over its customers."""
    rolled = {key: _rolled_columns(line) for key, line in lines.items()}
    counted = {key: _counted_columns(line) for key, line in lines.items()}
    return [
        _figures_of_columns(
            "programme_points_by_month",
            {key: {"rows": 1, **rolled[key], **counted[key]} for key in lines},
        ),
        _figures_of_columns(
            "outstanding_points_by_month",
            {key: {"rows": line.relations, **rolled[key]} for key, line in lines.items()},
        ),
    ]


def _rolled_columns(line: Line) -> dict[str, Decimal]:
    return {
        "opening_points": line.opening_points,
        **{f"{bucket}_points": line.movements[bucket] for bucket in BUCKETS},
        "closing_points": line.closing_points,
        **{f"total_{bucket}_points": line.totals[bucket] for bucket in BUCKETS},
        "total_outstanding_points": outstanding(line.totals),
    }


def _counted_columns(line: Line) -> dict[str, Decimal | int]:
    return {
        "relation_count": line.relations,
        "posted_transfer_count": line.posted,
        "late_transfer_count": line.late,
        "late_points": line.late_points,
        "redemptions_given_back_points": line.given_back_points,
        "pending_transfer_count": line.waiting.transfers,
        "pending_given_points": line.waiting.given_points,
        "pending_deducted_points": line.waiting.deducted_points,
    }


def _figures_of_columns(model: str, expected: Mapping[tuple, Mapping[str, Decimal | int]]) -> Figures:
    """Rows and sums of columns of a model by month and currency; the default currency is always there."""
    numbers = tuple(next(iter(expected.values())))
    sums = ", ".join(f"sum({column})" for column in numbers if column != "rows")
    return Figures(
        model=model,
        query=f"select strftime(report_month, '%Y-%m'), currency, count(*), {sums} from {model}"
        " group by 1, 2",
        keys=("report_month", "currency"),
        numbers=numbers,
        expected={key: tuple(values.values()) for key, values in expected.items()},
    )


def _figures_of_transfers(scope: Scope, tallies: Sequence[Tally]) -> list[Figures]:
    last = month_number(scope.months[-1])
    posted: dict[tuple, tuple] = {}
    unposted: dict[tuple, tuple] = {}
    dispositions: dict[tuple, tuple] = {}
    for tally in tallies:
        disposition = tally.status
        if tally.posting_month is None:
            key = (tally.status, tally.currency, tally.reason, tally.style)
            _add(unposted, key, tally.transfers, tally.points)
        else:
            disposition = "posted" if tally.posting_month <= last else "later"
            key = (
                _month_key(tally.posting_month, scope),
                tally.currency,
                tally.reason,
                tally.style,
                tally.bucket,
            )
            _add(posted, key, tally.transfers, tally.transfers if tally.is_late else 0, tally.points)
        _add(dispositions, (disposition,), tally.transfers)
    month = (
        f"case when posting_month > date '{scope.months[-1]}-01' then '{LATER}'"
        " else strftime(posting_month, '%Y-%m') end"
    )
    return [
        Figures(
            model="transfer_history",
            query=f"select {month}, currency, reason, style, bucket, count(*), sum(cast(is_late as integer)),"
            " sum(points) from transfer_history where posting_month is not null"
            " group by 1, 2, 3, 4, 5",
            keys=("report_month", "currency", "reason", "style", "bucket"),
            numbers=("transfers", "late transfers", "points"),
            expected=posted,
        ),
        Figures(
            model="transfer_history",
            query="select status, currency, reason, style, count(*), sum(points)"
            " from transfer_history where posting_month is null group by 1, 2, 3, 4",
            keys=("status", "currency", "reason", "style"),
            numbers=("transfers", "points"),
            expected=unposted,
        ),
        Figures(
            model="transfer_history",
            query="select disposition, count(*) from transfer_history group by 1",
            keys=("disposition",),
            numbers=("transfers",),
            expected=dispositions,
        ),
    ]


def _add(groups: dict[tuple, tuple], key: tuple, *numbers: int | Decimal) -> None:
    before = groups.get(key, (0,) * len(numbers))
    groups[key] = tuple(known + number for known, number in zip(before, numbers, strict=True))


def _figures_of_movements(
    scope: Scope, tallies: Sequence[Tally], movement_rows: Mapping[str, int]
) -> list[Figures]:
    model = "points_movements_by_month"
    moved: dict[tuple, tuple] = {}
    for tally in tallies:
        if tally.posting_month is not None and tally.posting_month <= month_number(scope.months[-1]):
            key = (month_text(tally.posting_month), tally.currency, tally.bucket, tally.reason)
            _add(moved, key, tally.transfers, tally.bucket_points, tally.signed_points)
    return [
        Figures(
            model=model,
            query="select strftime(report_month, '%Y-%m'), currency, bucket, reason, sum(transfer_count),"
            f" sum(bucket_points), sum(signed_points) from {model} group by 1, 2, 3, 4",
            keys=("report_month", "currency", "bucket", "reason"),
            numbers=("transfer_count", "bucket_points", "signed_points"),
            expected=moved,
        ),
        Figures(
            model=model,
            query=f"select strftime(report_month, '%Y-%m'), count(*) from {model} group by 1",
            keys=("report_month",),
            numbers=("rows",),
            expected={(month,): (rows,) for month, rows in movement_rows.items()},
        ),
    ]


def _figures_of_discrepancies(scope: Scope, discrepancies: Mapping[str, Mapping[str, int]]) -> Figures:
    month = (
        f"case when report_month > date '{scope.months[-1]}-01' then '{LATER}'"
        " else strftime(report_month, '%Y-%m') end"
    )
    kinds = ", ".join(literal(kind) for kind in discrepancies)
    return Figures(
        model="discrepancies",
        query=f"select {month}, discrepancy, count(*) from discrepancies where discrepancy in ({kinds})"
        " group by 1, 2",
        keys=("report_month", "discrepancy"),
        numbers=("rows",),
        expected={
            (month, kind): (rows,)
            for kind, by_month in discrepancies.items()
            for month, rows in by_month.items()
        },
    )
