"""Reads the reports of months back from their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.errors import PointsError
from ledger.settings import check_month


class MonthNotBuilt(PointsError):
    """There is no report of the month."""

    def __init__(self, month: str, home: Path, months: list[str]) -> None:
        there = f"there are {months[0]} to {months[-1]}" if months else "nothing has been built yet"
        super().__init__(
            f"There is no report of {month} in {home}: {there}; run `points build --through {month}`."
        )
        self.month = month


class CurrencyNotReported(PointsError):
    """The month's report knows no such currency."""

    def __init__(self, month: str, currency: str, currencies: list[str]) -> None:
        super().__init__(
            f"The report of {month} has no currency {currency!r}; it has {', '.join(currencies)}."
        )


@dataclass(frozen=True)
class MonthSummary:
    """One line of the programme's roll-forward: a month and a currency. Points are exact decimals."""

    report_month: str
    status: str
    currency: str
    opening_points: Decimal
    earned_points: Decimal
    reversal_points: Decimal
    redeemed_points: Decimal
    expired_points: Decimal
    closing_points: Decimal
    relation_count: int
    negative_relation_count: int
    posted_transfer_count: int
    folder: Path


@dataclass(frozen=True)
class ReportRow:
    """One customer's line of the report, totals to date."""

    relation_reference: str
    total_earned_points: Decimal
    total_reversal_points: Decimal
    total_redeemed_points: Decimal
    total_expired_points: Decimal
    total_outstanding_points: Decimal


@dataclass(frozen=True)
class Report:
    """A month's report in one currency: the programme's line, and the file that holds the customers'.

    ``run_folder`` is where the files really are: it stays the same build while a next one is swapped in.
    """

    summary: MonthSummary
    csv_file: Path
    run_folder: Path

    def csv_bytes(self) -> bytes:
        """The file that finance pulls, as it is."""
        return (self.run_folder / self.csv_file.name).read_bytes()

    def rows(self, limit: int | None = None) -> Iterator[ReportRow]:
        """The customers' rows in byte order of the relation reference, at most ``limit`` of them."""
        columns = ", ".join(ReportRow.__dataclass_fields__)
        parquet_file = self.run_folder / "outstanding_points_by_month.parquet"
        query = f"select {columns} from read_parquet(?) where currency = ? order by relation_reference"
        if limit is not None:
            query += f" limit {int(limit)}"
        with duckdb.connect() as connection:
            result = connection.execute(query, [str(parquet_file), self.summary.currency])
            while batch := result.fetchmany(10_000):
                yield from (ReportRow(*row) for row in batch)


def list_months(home: Path) -> list[MonthSummary]:
    """Every month that has files in ``home``, oldest first, one line a currency."""
    shown = (home / "provisional").resolve()
    return [
        summary
        for folder in sorted(_month_folders(home))
        for summary in _summaries(folder, shown / folder.name)
    ]


def read_report(home: Path, month: str, default_currency: str, currency: str | None = None) -> Report:
    """The report of ``month`` (``YYYY-MM``) in ``currency``, by default the programme's own.

    Raises `MonthInvalid`, `MonthNotBuilt` or `CurrencyNotReported`.
    """
    check_month(month)
    folder = home / "provisional" / month
    if not folder.is_dir():
        raise MonthNotBuilt(month, home, sorted(path.name for path in _month_folders(home)))
    run_folder = folder.resolve()
    summaries = {summary.currency: summary for summary in _summaries(folder, run_folder)}
    chosen = currency or default_currency
    if chosen not in summaries:
        raise CurrencyNotReported(month, chosen, list(summaries))
    suffix = "" if chosen == default_currency else f".{chosen}"
    return Report(
        summaries[chosen],
        csv_file=folder / f"outstanding_points{suffix}.csv",
        run_folder=run_folder,
    )


def _month_folders(home: Path) -> list[Path]:
    provisional = home / "provisional"
    return [path for path in provisional.iterdir() if path.is_dir()] if provisional.is_dir() else []


def _summaries(folder: Path, run_folder: Path) -> list[MonthSummary]:
    columns = [
        name for name in MonthSummary.__dataclass_fields__ if name not in ("report_month", "status", "folder")
    ]
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select {', '.join(columns)} from read_parquet(?) order by currency",
            [str(run_folder / "programme_points_by_month.parquet")],
        ).fetchall()
    return [
        MonthSummary(
            report_month=folder.name,
            status="provisional",
            folder=folder,
            **dict(zip(columns, row, strict=True)),
        )
        for row in rows
    ]
