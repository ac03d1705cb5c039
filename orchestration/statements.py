"""The statement of one customer: what each month began with, every transfer that counted in it, and what it
ended with (docs/design.md, section 10).

Months are those that readers have, and after them those of the newest build; all is read from their files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.errors import PointsError
from ledger.settings import Settings
from orchestration.posted_transfers import (
    COLUMNS,
    EFFECTIVE_ORDER,
    PostedTransfer,
    fetch_transfers,
    of_customer,
    posted_transfers,
)
from orchestration.reports import MonthSummary, Report, read_reports

# Of a line, in the order in which they are printed.
LINE_COLUMNS = (
    *("effective_at", "transfer_id", "reason", "bucket", "signed_points", "balance", "is_late"),
    *("occurred_at", "reverses_transfer_id", "recorded_at", "recorded_by", "batch_id"),
    *("external_reference", "comment"),
)


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


@dataclass(frozen=True, kw_only=True)
class StatementLine(PostedTransfer):
    """A transfer, and what the customer had after it."""

    balance: Decimal


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


def _lines(opening: Decimal, transfers: Sequence[dict]) -> Iterator[StatementLine]:
    balance = opening
    for transfer in transfers:
        balance += transfer["signed_points"]
        yield StatementLine(**transfer, balance=balance)


def _ends(
    duck: duckdb.DuckDBPyConnection, reports: Sequence[Report], relation_reference: str
) -> dict[str, tuple[Decimal, Decimal]]:
    """What the customer had as each month began and ended; nothing for months before the first transfer."""
    files = [report.mart("outstanding_points_by_month") for report in reports]
    currency = reports[0].summary.currency
    rows = fetch_rows(
        duck,
        "select strftime(report_month, '%Y-%m'), opening_points, closing_points"
        f" from {read_parquet(files)} where {of_customer(relation_reference, currency)}",
    )
    return {month: (opening, closing) for month, opening, closing in rows}


def _posted(
    duck: duckdb.DuckDBPyConnection, reports: Sequence[Report], relation_reference: str
) -> dict[str, list[dict]]:
    """The customer's transfers by month, in the order in which they took effect."""
    files = [report.mart("posted_transfers") for report in reports]
    relation = posted_transfers(files, of_customer(relation_reference, reports[0].summary.currency))
    query = f"select {', '.join(COLUMNS)} from {relation} order by {EFFECTIVE_ORDER}"
    posted: dict[str, list[dict]] = {}
    for transfer in fetch_transfers(duck, query):
        posted.setdefault(transfer["report_month"], []).append(transfer)
    return posted
