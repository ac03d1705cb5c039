"""Why a month's report says what it says: the transfers behind each number of a customer's row, or behind a
line of the programme's roll-forward (docs/design.md, section 10).

The sums of these transfers are compared with the report's figures before anything is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.errors import PointsError
from ledger.lists.transfer_lists import BUCKETS
from ledger.settings import Settings
from ledger.sql_text import literal
from orchestration.month_files import UNPOSTED
from orchestration.posted_transfers import (
    BY_BUCKET,
    COLUMNS,
    EFFECTIVE_ORDER,
    KEPT_LATER,
    PostedTransfer,
    completed,
    fetch_transfers,
    in_utc,
    of_customer,
    posted_transfers,
)
from orchestration.report_calendar import month_of
from orchestration.reports import MonthSummary, Report, find_to_date, read_report

# Of a transfer, in the order in which they are printed.
TRANSFER_COLUMNS = (
    *("bucket", "report_month", "relation_reference", "effective_at", "transfer_id", "reason"),
    *("bucket_points", "signed_points", "is_late", "occurred_at", "revokes", "revoked_by"),
    *("recorded_at", "recorded_by", "batch_id", "external_reference", "comment"),
)
_ORDER = f"{BY_BUCKET}, {EFFECTIVE_ORDER}"
_PENDING = {"pending_given_points": "decimal(38, 4)", "pending_deducted_points": "decimal(38, 4)"}


class NotInReport(PointsError):
    """A month's report has no row of a customer."""

    code = "UNKNOWN_RELATION"

    def __init__(self, month: str, relation_reference: str, currency: str) -> None:
        super().__init__(
            f"The report of {month} has no row of {relation_reference} in {currency}; check the relation"
            " reference, or name another currency with --currency."
        )


class LineNotReported(PointsError):
    """A month's roll-forward has no such line."""

    def __init__(self, month: str, bucket: str, reason: str | None, there: Sequence[str]) -> None:
        asked = f"{bucket}, {reason}" if reason else bucket
        super().__init__(
            f"The roll-forward of {month} has no line of {asked}; it has {'; '.join(there) or 'none'}."
        )


class ExplanationDiffers(PointsError):
    """The transfers behind a figure do not add up to what the report says."""

    def __init__(self, month: str, figure: str, of: str, counted: object, reported: object) -> None:
        super().__init__(
            f"The transfers behind {figure} of {of} in {month} come to {_text(counted)}, and the month's"
            f" report says {_text(reported)}; run `points verify` to find which file was altered."
        )


@dataclass(frozen=True)
class Figure:
    """A number of the report, which the transfers behind it add up to, and how many these are."""

    name: str
    points: Decimal
    transfer_count: int


@dataclass(frozen=True)
class Subtotal:
    """What the transfers of a bucket that posted in a month (``YYYY-MM``) add up to."""

    bucket: str
    report_month: str
    transfer_count: int
    bucket_points: Decimal
    signed_points: Decimal


@dataclass(frozen=True, kw_only=True)
class ExplainedTransfer(PostedTransfer):
    """A transfer behind a figure.

    ``revokes`` are what it revokes: its original, that one's original if it is a revocation itself, and so on
    down to the root. ``revoked_by`` are the transfers that revoke it. Both as the report's month knew them.
    """

    revokes: tuple[str, ...]
    revoked_by: tuple[str, ...]


@dataclass(frozen=True)
class WaitingTransfer:
    """A transfer that is in no figure yet, being pending or on hold. Instants are in UTC."""

    transfer_id: str
    style: str
    points: Decimal
    reason: str
    status: str
    occurred_at: datetime
    recorded_at: datetime | None
    recorded_by: str | None
    batch_id: str | None
    external_reference: str | None
    comment: str | None


@dataclass(frozen=True)
class Waiting:
    """What the report says is waiting to be given or deducted: None where it did not say so yet. Which
    ``transfers`` these are is None where it was not kept: only the last month of a run has it."""

    pending_given_points: Decimal | None
    pending_deducted_points: Decimal | None
    transfers: list[WaitingTransfer] | None


@dataclass(frozen=True)
class RowExplanation:
    """A customer's row of a month's report, with the transfers of all months up to that one.

    ``figures`` are the row's numbers, of the month and to date; ``subtotals`` lead to each of them.
    """

    summary: MonthSummary
    relation_reference: str
    figures: list[Figure]
    subtotals: list[Subtotal]
    waiting: Waiting
    transfers: "TransfersBehind" = field(repr=False)

    def points(self, name: str) -> Decimal:
        """The figure of that name."""
        return next(figure.points for figure in self.figures if figure.name == name)

    def spans(self) -> dict[str, tuple[Figure, Figure, Figure]]:
        """Of each bucket what its transfers add up to before the month, within it, and to date."""
        before = [part for part in self.subtotals if part.report_month < self.summary.report_month]
        named = {figure.name: figure for figure in self.figures}
        return {
            bucket: (
                _sum_up("", before, bucket),
                named[f"{bucket}_points"],
                named[f"total_{bucket}_points"],
            )
            for bucket in BUCKETS
        }


@dataclass(frozen=True)
class LineExplanation:
    """A line of the programme's roll-forward: a bucket, and a reason or all of them (None), in a month."""

    summary: MonthSummary
    bucket: str
    reason: str | None
    transfer_count: int
    bucket_points: Decimal
    transfers: "TransfersBehind" = field(repr=False)


def explain_row(
    settings: Settings,
    month: str,
    relation_reference: str,
    currency: str | None = None,
    revision: int | None = None,
) -> RowExplanation:
    """The transfers behind the row of ``relation_reference`` in the report of ``month`` (``YYYY-MM``).

    Raises `NotInReport`, `ExplanationDiffers`, and what `read_report` and opening the ledger do.
    """
    report = read_report(settings, month, currency, revision)
    behind = TransfersBehind(
        find_to_date(settings, report, "posted_transfers"),
        of_customer(relation_reference, report.summary.currency),
    )
    with connect() as duck:
        reported = _row(duck, report, relation_reference)
        subtotals = [
            Subtotal(*row)
            for row in fetch_rows(
                duck,
                "select bucket, report_month, count(*), sum(bucket_points), sum(signed_points)"
                f" from {behind.relation} group by bucket, report_month order by {BY_BUCKET}, report_month",
            )
        ]
        waiting = _waiting(duck, settings, report, relation_reference, reported)
    figures = list(_figures(month, subtotals))
    for figure in figures:
        if figure.points != reported[figure.name]:
            raise ExplanationDiffers(
                month, figure.name, relation_reference, figure.points, reported[figure.name]
            )
    return RowExplanation(report.summary, relation_reference, figures, subtotals, waiting, behind)


def explain_line(
    settings: Settings,
    month: str,
    bucket: str,
    reason: str | None = None,
    currency: str | None = None,
    revision: int | None = None,
) -> LineExplanation:
    """The transfers behind a line of the programme's roll-forward of ``month`` (``YYYY-MM``): those of a
    ``bucket``, of one ``reason`` or of all (None).

    Raises `LineNotReported`, `ExplanationDiffers`, and what `read_report` and opening the ledger do.
    """
    report = read_report(settings, month, currency, revision)
    summary = report.summary
    of_line = f"currency = {literal(summary.currency)} and bucket = {literal(bucket)}"
    if reason is not None:
        of_line += f" and reason = {literal(reason)}"
    own = report.mart("posted_transfers")
    behind = TransfersBehind(find_to_date(settings, report, "posted_transfers"), of_line, lines_of=own)
    movements = f"{read_parquet(report.mart('points_movements_by_month'))}"
    sums = "coalesce(sum({}), 0)::bigint, coalesce(sum(bucket_points), 0)"
    with connect() as duck:
        there = duck.execute(
            f"select distinct bucket, reason from {movements} where currency = ? order by all",
            [summary.currency],
        ).fetchall()
        if bucket not in BUCKETS or (reason is not None and (bucket, reason) not in there):
            raise LineNotReported(month, bucket, reason, [", ".join(line) for line in there])
        reported = duck.execute(
            f"select {sums.format('transfer_count')} from {movements} where {of_line}"
        ).fetchone()
        counted = duck.execute(f"select {sums.format('1')} from {behind.relation}").fetchone()
    of = f"{bucket}, {reason}" if reason else bucket
    for figure, one, other in zip(("transfer_count", "bucket_points"), counted, reported, strict=True):
        if one != other:
            raise ExplanationDiffers(month, figure, of, one, other)
    return LineExplanation(summary, bucket, reason, *counted, behind)


@dataclass(frozen=True)
class TransfersBehind:
    """The transfers for which ``where`` holds in ``files``, those of months from the first on, or in one of
    these alone."""

    files: Sequence[Path]
    where: str
    lines_of: Path | None = None

    @property
    def relation(self) -> str:
        """Their rows, as `posted_transfers` has them."""
        return posted_transfers([self.lines_of] if self.lines_of else self.files, self.where)

    def read(self, newest: int | None = None) -> Iterator[ExplainedTransfer]:
        """The transfers by bucket, and then as they took effect: all, any number, or the ``newest`` so
        many."""
        lines = f"select * from {self.relation}"
        if newest is not None:
            lines += f" order by {_descending(EFFECTIVE_ORDER)} limit {newest:d}"
        with self._chains(lines) as duck:
            query = (
                f"select {', '.join(COLUMNS)}, coalesce(revokes, []), coalesce(revoked_by, [])"
                " from lines left join roots using (transfer_id) left join revokers using (transfer_id)"
                f" order by {_ORDER}"
            )
            for found in fetch_transfers(duck, query, ("revokes", "revoked_by")):
                revokes, revoked_by = (tuple(found.pop(name)) for name in ("revokes", "revoked_by"))
                yield ExplainedTransfer(**found, revokes=revokes, revoked_by=revoked_by)

    @contextmanager
    def _chains(self, lines: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with ``lines``, and by ``transfer_id`` what each revokes (``roots``) and what revokes
        it (``revokers``)."""
        with connect() as duck:
            duck.execute(f"create table lines as {lines}")
            duck.execute(
                "create table revocations as select transfer_id, reverses_transfer_id"
                f" from {read_parquet(self.files)}"
                " where reason = 'revocation' and reverses_transfer_id is not null"
            )
            duck.execute(
                """
                create view revokers as
                select
                    reverses_transfer_id as transfer_id,
                    list(transfer_id order by transfer_id) as revoked_by
                from revocations
                where reverses_transfer_id in (select transfer_id from lines)
                group by reverses_transfer_id
                """
            )
            # In a circle (raw files may hold one) the way ends where it would come back.
            duck.execute(
                """
                create view roots as
                with recursive ways as (
                    select transfer_id, [reverses_transfer_id] as revokes
                    from revocations
                    where transfer_id in (select transfer_id from lines)
                    union all
                    select ways.transfer_id, list_append(ways.revokes, revocations.reverses_transfer_id)
                    from ways
                    inner join revocations on ways.revokes[-1] = revocations.transfer_id
                    where not list_contains(
                        list_append(ways.revokes, ways.transfer_id), revocations.reverses_transfer_id
                    )
                )
                select transfer_id, arg_max(revokes, len(revokes)) as revokes
                from ways
                group by transfer_id
                """
            )
            yield duck


def _descending(order: str) -> str:
    return ", ".join(f"{column} desc" for column in order.split(", "))


def _row(duck: duckdb.DuckDBPyConnection, report: Report, relation_reference: str) -> Mapping[str, Decimal]:
    """The customer's numbers in the report, by their columns."""
    summary = report.summary
    balances = read_parquet(report.mart("outstanding_points_by_month"))
    row = duck.execute(
        "select columns('_points$') from "
        + completed(
            f"select * from {balances} where {of_customer(relation_reference, summary.currency)}", _PENDING
        )
    )
    names = [column[0] for column in row.description]
    if (values := row.fetchone()) is None:
        raise NotInReport(summary.report_month, relation_reference, summary.currency)
    return dict(zip(names, values, strict=True))


def _figures(month: str, subtotals: Sequence[Subtotal]) -> Iterator[Figure]:
    """The numbers of a row, as its transfers have them: the month's movement, then the totals."""
    before = [subtotal for subtotal in subtotals if subtotal.report_month < month]
    within = [subtotal for subtotal in subtotals if subtotal.report_month == month]

    yield _sum_up("opening_points", before)
    for bucket in BUCKETS:
        yield _sum_up(f"{bucket}_points", within, bucket)
    yield _sum_up("closing_points", subtotals)
    for bucket in BUCKETS:
        yield _sum_up(f"total_{bucket}_points", subtotals, bucket)
    yield _sum_up("total_outstanding_points", subtotals)


def _sum_up(name: str, parts: Sequence[Subtotal], bucket: str | None = None) -> Figure:
    """A figure of the transfers of a bucket; without one, of what all of them do to the balance."""
    chosen = [part for part in parts if bucket in (None, part.bucket)]
    points = (part.bucket_points if bucket else part.signed_points for part in chosen)
    return Figure(name, sum(points, Decimal(0)), sum(part.transfer_count for part in chosen))


def _waiting(
    duck: duckdb.DuckDBPyConnection,
    settings: Settings,
    report: Report,
    relation_reference: str,
    reported: Mapping[str, Decimal | None],
) -> Waiting:
    """What waits by the report, and the transfers, where the month is the last one of its run."""
    summary = report.summary
    given, deducted = (reported[name] for name in _PENDING)
    file = report.kept_mart(UNPOSTED)
    if file is None:
        return Waiting(given, deducted, None if given or deducted else [])
    columns = tuple(WaitingTransfer.__dataclass_fields__)
    where = f"{of_customer(relation_reference, summary.currency)} and disposition in ('pending', 'on_hold')"
    unposted = completed(f"select * from {read_parquet(file)} where {where}", KEPT_LATER)
    rows = fetch_rows(duck, f"select {', '.join(columns)} from {unposted} order by occurred_at, transfer_id")
    found = [WaitingTransfer(*map(in_utc, row)) for row in rows]
    # What is dated after the month's end waits in a later one.
    transfers = [one for one in found if month_of(one.occurred_at, settings) <= summary.report_month]
    for name, style in zip(_PENDING, ("give", "deduct"), strict=True):
        counted = sum((one.points for one in transfers if one.style == style), Decimal(0))
        if reported[name] is not None and counted != reported[name]:
            raise ExplanationDiffers(summary.report_month, name, relation_reference, counted, reported[name])
    return Waiting(given, deducted, transfers)


def _text(figure: object) -> str:
    return points_text(figure) if isinstance(figure, Decimal) else f"{figure:,}"
