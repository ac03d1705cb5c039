"""What moved a programme's points from one month's end to another's (docs/design.md, section 10).

Both ends are read from their files, published or provisional, and so are the movements of the months between.
Where a month was closed anew in between, its movements no longer lead from the one to the other: that
difference has a line of its own, and is zero otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import duckdb

from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.errors import PointsError
from ledger.settings import Settings, check_month
from ledger.sql_text import literal
from orchestration.posted_transfers import BY_BUCKET
from orchestration.report_calendar import previous_month
from orchestration.reports import MonthSummary, Report, read_reports

# Those of one customer, in the order of the columns of `MonthComparison.changes`.
CHANGE_COLUMNS = (
    *("relation_reference", "earlier_points", "points", "change_points"),
    *("is_newcomer", "is_closed_since", "is_below_zero_since"),
)


class MonthsOutOfOrder(PointsError):
    """A month is compared with one that is not earlier."""

    code = "MONTHS_OUT_OF_ORDER"

    def __init__(self, month: str, earlier: str) -> None:
        super().__init__(
            f"{earlier} is not earlier than {month}, so there is nothing that moved points from its end to"
            f" that of {month}; name the later month first: `points compare {max(month, earlier)}"
            f" {min(month, earlier)}`."
        )


@dataclass(frozen=True)
class Movement:
    """What one reason added to the programme's points (or, below zero, took) in the months compared."""

    bucket: str
    reason: str
    transfer_count: int
    signed_points: Decimal


@dataclass(frozen=True)
class Group:
    """Some customers: how many, and what they have at the end of the month."""

    count: int
    points: Decimal


@dataclass(frozen=True)
class MonthComparison:
    """Two month ends, in one currency, and what lies between. Points are exact decimals.

    ``earlier.closing_points`` + the ``movements`` + ``restated_points`` = ``month.closing_points``.
    """

    month: MonthSummary
    earlier: MonthSummary
    movements: list[Movement]
    newcomers: Group
    closed_accounts: Group
    below_zero: Group
    _reports: tuple[Report, Report] = field(repr=False)

    @property
    def moved_points(self) -> Decimal:
        """The sum of the movements."""
        return sum((movement.signed_points for movement in self.movements), Decimal(0))

    @property
    def restated_points(self) -> Decimal:
        """What the movements do not explain: a month between them was closed anew with other figures."""
        return self.month.closing_points - self.earlier.closing_points - self.moved_points

    def changes(self, order: str = "relation_reference", limit: int | None = None) -> Iterator[tuple]:
        """Each customer whose points or account changed, with `CHANGE_COLUMNS`."""
        query = (
            f"select {', '.join(CHANGE_COLUMNS)} from changes"
            " where change_points <> 0 or is_newcomer or is_closed_since"
            f" order by {order}, relation_reference"
        )
        with _both_ends(*self._reports) as duck:
            yield from fetch_rows(duck, query if limit is None else f"{query} limit {limit:d}")

    def largest(self, sign: int, limit: int) -> list[tuple]:
        """The customers who gained (``sign`` 1) or lost (-1) most, with `CHANGE_COLUMNS`."""
        by_size = f"case when sign(change_points) = {sign:d} then 0 else 1 end, abs(change_points) desc"
        return [row for row in self.changes(by_size, limit) if row[3] * sign > 0]


def compare_months(
    settings: Settings, month: str, earlier: str | None = None, currency: str | None = None
) -> MonthComparison:
    """Compare the end of ``month`` (``YYYY-MM``) with that of an ``earlier`` one, by default the month
    before.

    Raises `MonthsOutOfOrder` and what `read_reports` does.
    """
    check_month(month)
    if earlier is None:
        earlier = previous_month(month)
    check_month(earlier)
    if earlier >= month:
        raise MonthsOutOfOrder(month, earlier)
    before, *moving = read_reports(settings, currency, earlier, month)
    after = moving[-1]
    files = [report.mart("points_movements_by_month") for report in moving]
    with _both_ends(before, after) as duck:
        movements = duck.execute(
            "select bucket, reason, cast(sum(transfer_count) as bigint), sum(signed_points)"
            f" from {read_parquet(files)} where currency = ? group by bucket, reason"
            f" order by {BY_BUCKET}, reason",
            [after.summary.currency],
        ).fetchall()
        groups = duck.execute(
            ", ".join(
                f"count(*) filter ({condition}), coalesce(sum(points) filter ({condition}), 0)"
                for condition in ("is_newcomer", "is_closed_since", "is_below_zero_since")
            ).join(("select ", " from changes"))
        ).fetchone()
    return MonthComparison(
        after.summary,
        before.summary,
        [Movement(*row) for row in movements],
        *(Group(count, points) for count, points in zip(groups[::2], groups[1::2], strict=True)),
        _reports=(before, after),
    )


@contextmanager
def _both_ends(before: Report, after: Report) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with ``changes``, a row for each customer of either end."""
    ends = {
        name: f"select * from {read_parquet(report.mart('outstanding_points_by_month'))}"
        f" where currency = {literal(report.summary.currency)}"
        for name, report in (("earlier", before), ("later", after))
    }
    with connect() as duck:
        for name, query in ends.items():
            duck.execute(f"create view {name} as {query}")
        duck.execute(
            """
            create view changes as
            select
                coalesce(later.relation_reference, earlier.relation_reference) as relation_reference,
                coalesce(earlier.total_outstanding_points, 0) as earlier_points,
                coalesce(later.total_outstanding_points, 0) as points,
                coalesce(later.total_outstanding_points, 0)
                - coalesce(earlier.total_outstanding_points, 0) as change_points,
                earlier.relation_reference is null as is_newcomer,
                coalesce(later.is_account_closed, false)
                and not coalesce(earlier.is_account_closed, false) as is_closed_since,
                coalesce(later.total_outstanding_points, 0) < 0
                and coalesce(earlier.total_outstanding_points, 0) >= 0 as is_below_zero_since
            from later
            full outer join earlier on later.relation_reference = earlier.relation_reference
            """
        )
        yield duck
