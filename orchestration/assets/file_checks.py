"""The checks of the files that people receive: what they hold is what the programme's mart says.

They look at the files as they stand, after they were swapped in; what may be swapped in at all is
the audit's to say, before (docs/design.md, section 9).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ledger.amounts import points_text
from ledger.data_files import connect
from ledger.settings import Settings
from orchestration.assets.month_files import (
    OUTSTANDING_POINTS,
    POINTS_ROLL_FORWARD,
    PROGRAMME_POINTS,
    PROVISIONAL_DATABASE,
    FileKind,
)
from orchestration.month_files import (
    PROGRAMME_COLUMNS,
    REPORT_COLUMNS,
    ROLL_FORWARD_COLUMNS,
    read_month_csv,
)
from orchestration.reports import Report, list_provisional, read_provisional_report


@dataclass(frozen=True)
class Finding:
    """What was expected of a file, and what was found in it."""

    expected: str
    found: str


@dataclass(frozen=True)
class FileCheck:
    """A truth of a kind of file; ``look`` holds one file against the mart's line of its currency."""

    kind: FileKind
    name: str
    description: str
    look: Callable[[Path, Report], Finding]

    @property
    def key(self) -> dg.AssetCheckKey:
        """The kind's asset and the name."""
        return dg.AssetCheckKey(self.kind.key, self.name)


def file_check_specs() -> list[dg.AssetCheckSpec]:
    """One check for each truth of `FILE_CHECKS`."""
    return [
        dg.AssetCheckSpec(check.name, asset=check.kind.key, description=check.description)
        for check in FILE_CHECKS
    ]


def check_files(
    settings: Settings, report_month: str, selected: set[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Look at the files of a month (``YYYY-MM``) in ``provisional/``, in every currency of it.

    A check passes where every currency's file is as expected; what differs is in its metadata. Raises
    `MonthNotBuilt`.
    """
    default = read_provisional_report(settings.home, report_month, settings.default_currency)
    others = [
        read_provisional_report(
            settings.home, report_month, settings.default_currency, currency=summary.currency
        )
        for summary in list_provisional(settings.home)
        if summary.report_month == report_month and summary.currency != settings.default_currency
    ]
    for check in FILE_CHECKS:
        if check.key in selected:
            yield _judge(check, [default, *others])


def _judge(check: FileCheck, reports: Sequence[Report]) -> dg.AssetCheckResult:
    metadata = {}
    passed = True
    for report in reports:
        path = _path(check.kind, report)
        finding = check.look(path, report) if path.exists() else Finding("a file", "none")
        passed = passed and finding.found == finding.expected
        metadata[f"{report.summary.currency} expected"] = finding.expected
        metadata[f"{report.summary.currency} found"] = finding.found
    return dg.AssetCheckResult(
        asset_key=check.kind.key,
        check_name=check.name,
        passed=passed,
        metadata={"report month": reports[0].summary.report_month, **metadata},
    )


def _path(kind: FileKind, report: Report) -> Path:
    """The file of a kind that belongs to a report, named for its currency as the report's own is."""
    if not kind.is_monthly:
        return kind.path(report.csv_file.parents[1], report.summary.report_month)
    report_stem, stem = (each.file_name.removesuffix(".csv") for each in (OUTSTANDING_POINTS, kind))
    return report.csv_file.with_name(report.csv_file.name.replace(report_stem, stem))


def _header_of(columns: Sequence[str]) -> Callable[[Path, Report], Finding]:
    def look(path: Path, report: Report) -> Finding:
        with open(path, "rb") as file:
            first_line = file.readline().decode("utf-8", errors="replace")
        return Finding(",".join(columns), first_line.removesuffix("\r\n"))

    return look


def _last_line_end(path: Path, report: Report) -> Finding:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 2))
        return Finding(repr(b"\r\n"), repr(file.read()))


def _row_count(path: Path, report: Report) -> Finding:
    with connect() as connection:
        (rows,) = connection.execute(f"select count(*) from {read_month_csv(path)}").fetchone()
    return Finding(str(report.summary.relation_count), str(rows))


def _last_column_total(path: Path, report: Report) -> Finding:
    with connect() as connection:
        lines = connection.sql(f"from {read_month_csv(path)}")
        (total,) = lines.aggregate(
            f'coalesce(sum(cast("{lines.columns[-1]}" as decimal(38, 4))), 0)'
        ).fetchone()
    return Finding(points_text(report.summary.closing_points), points_text(total))


def _rows_in_database(path: Path, report: Report) -> Finding:
    with connect(path, read_only=True) as connection:
        (rows,) = connection.execute(
            "select count(*) from outstanding_points_by_month"
            " where strftime(report_month, '%Y-%m') = ? and currency = ?",
            [report.summary.report_month, report.summary.currency],
        ).fetchone()
    return Finding(str(report.summary.relation_count), str(rows))


def _csv_checks(kind: FileKind, columns: Sequence[str]) -> list[FileCheck]:
    return [
        FileCheck(
            kind,
            "header_is_the_documented_one",
            f"The first line is {','.join(columns)}.",
            _header_of(columns),
        ),
        FileCheck(
            kind,
            "last_line_ends_with_crlf",
            "The file is whole: its last line ends as every line of RFC 4180 does.",
            _last_line_end,
        ),
    ]


def _report_checks(kind: FileKind, columns: Sequence[str]) -> list[FileCheck]:
    return [
        *_csv_checks(kind, columns),
        FileCheck(
            kind,
            "rows_are_the_relation_references",
            "rows = relation_count of programme_points_by_month",
            _row_count,
        ),
        FileCheck(
            kind,
            "last_column_adds_up_to_closing_points",
            "sum of the last column = closing_points of programme_points_by_month",
            _last_column_total,
        ),
    ]


FILE_CHECKS = (
    *_report_checks(OUTSTANDING_POINTS, list(REPORT_COLUMNS)),
    *_report_checks(POINTS_ROLL_FORWARD, list(ROLL_FORWARD_COLUMNS)),
    *_csv_checks(PROGRAMME_POINTS, PROGRAMME_COLUMNS),
    FileCheck(
        PROVISIONAL_DATABASE,
        "readers_see_the_month",
        "rows of outstanding_points_by_month in the month = relation_count of programme_points_by_month",
        _rows_in_database,
    ),
)
