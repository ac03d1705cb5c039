"""The statement of one customer: what each month began with, every transfer that counted in it, and what it
ended with (docs/design.md, section 10).

Months are those that readers have, and after them those of the newest build; all is read from their files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.errors import PointsError
from ledger.settings import Settings
from ledger.sql_text import literal
from orchestration.reports import MonthSummary, Report, read_reports

# What the posted transfers of a month have beside their bucket and points. The last five are null in months
# that were closed before they were kept.
_TRANSFER = (
    *("effective_at", "transfer_id", "reason", "bucket"),
    *("is_late", "occurred_at", "reverses_transfer_id"),
)
_REMARKS = {
    "recorded_at": "timestamp",
    "recorded_by": "varchar",
    "batch_id": "varchar",
    "external_reference": "varchar",
    "comment": "varchar",
}


class NoStatement(PointsError):
    """A customer has nothing in the months asked for."""

    code = "UNKNOWN_RELATION"

    def __init__(self, relation_reference: str, currency: str, first: str, last: str) -> None:
        super().__init__(
            f"{relation_reference} has no points in {currency} from {first} to {last}; check the relation"
            " reference, or name another currency with --currency."
        )


class StatementBackwards(PointsError):
    """The first month of a statement is after its last."""

    code = "MONTHS_OUT_OF_ORDER"

    def __init__(self, first: str, last: str) -> None:
        super().__init__(
            f"A statement from {first} to {last} has no month; name the earlier month with --from."
        )


class StatementDiffers(PointsError):
    """A month's transfers do not lead from what a customer had to what its report says."""

    def __init__(self, month: str, relation_reference: str, counted: Decimal, reported: Decimal) -> None:
        super().__init__(
            f"The transfers of {relation_reference} in {month} end on {points_text(counted)}, and the month's"
            f" report says {points_text(reported)}; run `points verify` to find which file was altered."
        )


@dataclass(frozen=True)
class StatementLine:
    """A transfer, with its sign, and what the customer had after it. Instants are in UTC."""

    effective_at: datetime
    transfer_id: str
    reason: str
    bucket: str
    signed_points: Decimal
    balance: Decimal
    is_late: bool
    occurred_at: datetime
    reverses_transfer_id: str | None
    recorded_at: datetime | None
    recorded_by: str | None
    batch_id: str | None
    external_reference: str | None
    comment: str | None


@dataclass(frozen=True)
class StatementMonth:
    """A month of a statement. ``restated_points`` is what it begins with beside the end of the month before:
    zero, unless that one was closed anew after this one was built."""

    summary: MonthSummary
    opening_points: Decimal
    restated_points: Decimal
    lines: list[StatementLine]
    closing_points: Decimal


@dataclass(frozen=True)
class Statement:
    """The months of a customer in one currency, in order; those before the first transfer are left out."""

    relation_reference: str
    currency: str
    months: list[StatementMonth]


def read_statement(
    settings: Settings,
    relation_reference: str,
    first: str | None = None,
    last: str | None = None,
    currency: str | None = None,
) -> Statement:
    """The statement of ``relation_reference`` from the month ``first`` to ``last`` (``YYYY-MM``), by default
    from the first that there is to the newest.

    Raises `NoStatement`, `StatementBackwards`, `StatementDiffers`, and what `read_reports` does.
    """
    currency = currency or settings.default_currency
    if first and last and first > last:
        raise StatementBackwards(first, last)
    reports = read_reports(settings, currency, first, last)
    with connect() as duck:
        ends = _ends(duck, reports, relation_reference)
        posted = _posted(duck, reports, relation_reference)
    months: list[StatementMonth] = []
    for report in reports:
        month = report.summary.report_month
        if month not in ends:
            continue
        opening, closing = ends[month]
        before = months[-1].closing_points if months else opening
        lines = list(_lines(opening, posted.get(month, [])))
        reached = lines[-1].balance if lines else opening
        if reached != closing:
            raise StatementDiffers(month, relation_reference, reached, closing)
        months.append(StatementMonth(report.summary, opening, opening - before, lines, closing))
    if not months:
        newest = reports[-1].summary
        raise NoStatement(relation_reference, currency, reports[0].summary.report_month, newest.report_month)
    return Statement(relation_reference, currency, months)


def _lines(opening: Decimal, rows: Sequence[tuple]) -> Iterator[StatementLine]:
    balance = opening
    for signed_points, *values in rows:
        balance += signed_points
        # Instants are in UTC, which Parquet does not say.
        aware = (value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in values)
        said = dict(zip((*_TRANSFER, *_REMARKS), aware, strict=True))
        yield StatementLine(signed_points=signed_points, balance=balance, **said)


def _ends(
    duck: duckdb.DuckDBPyConnection, reports: Sequence[Report], relation_reference: str
) -> dict[str, tuple[Decimal, Decimal]]:
    """What the customer had as each month began and ended; nothing for months before the first transfer."""
    files = [report.mart("outstanding_points_by_month") for report in reports]
    rows = fetch_rows(
        duck,
        "select strftime(report_month, '%Y-%m'), opening_points, closing_points"
        f" from {read_parquet(files)} where {_of_customer(reports, relation_reference)}",
    )
    return {month: (opening, closing) for month, opening, closing in rows}


def _posted(
    duck: duckdb.DuckDBPyConnection, reports: Sequence[Report], relation_reference: str
) -> dict[str, list[tuple]]:
    """The customer's transfers by month, in the order in which they took effect."""
    remarks = ", ".join(f"null::{kind} as {name}" for name, kind in _REMARKS.items())
    files = [report.mart("posted_transfers") for report in reports]
    rows = fetch_rows(
        duck,
        f"""
        select
            strftime(posting_month, '%Y-%m'),
            cast(case style when 'give' then points else -points end as decimal(38, 4)),
            {", ".join((*_TRANSFER, *_REMARKS))}
        from (
            select * from (select {remarks}) where false
            union all by name
            select * from {read_parquet(files)} where {_of_customer(reports, relation_reference)}
        )
        order by posting_month, effective_at, effective_entry_id, transfer_id
        """,
    )
    posted: dict[str, list[tuple]] = {}
    for month, *values in rows:
        posted.setdefault(month, []).append(tuple(values))
    return posted


def _of_customer(reports: Sequence[Report], relation_reference: str) -> str:
    currency = reports[0].summary.currency
    return f"relation_reference = {literal(relation_reference)} and currency = {literal(currency)}"
