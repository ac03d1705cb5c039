"""Reads the reports of months back from their files: published ones, and provisional ones of open months."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import duckdb

from ledger.anchors import read_anchor
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.data_files import connect, read_parquet, read_parquet_metadata
from ledger.database import open_ledger
from ledger.errors import PointsError
from ledger.settings import Settings, check_month
from ledger.work_folders import work_folder
from orchestration.exports import new_export
from orchestration.month_files import (
    OUTSTANDING_POINTS,
    OUTSTANDING_POINTS_XLSX,
    OUTSTANDING_POINTS_XML,
    PROVISIONAL,
    MonthCurrency,
    currency_name,
    make_workbook,
    make_xml,
    month_facts,
    named,
)
from orchestration.published.checked_files import CheckedFiles, NotInManifest, checked_files
from orchestration.published.database import PublishedMonth, list_issued, list_published
from orchestration.published.layout import list_revisions
from orchestration.report_calendar import months_between, period_days
from orchestration.report_tables import ReportTable
from orchestration.restatement import (
    RestatedMonth,
    RevisionsOutOfOrder,
    opened_restatement,
    published_revision,
    restatement_of,
)


class MonthNotBuilt(PointsError):
    """There is no report of the month."""

    def __init__(self, month: str, home: Path, months: list[str]) -> None:
        there = f"there are {months[0]} to {months[-1]}" if months else "nothing has been built yet"
        is_before_all = bool(months) and month < months[0]
        advice = "name one of these" if is_before_all else f"run `points build --through {month}`"
        super().__init__(f"There is no report of {month} in {home}: {there}; {advice}.")


class CurrencyNotReported(PointsError):
    """The month's report knows no such currency."""

    def __init__(self, month: str, currency: str, currencies: list[str]) -> None:
        super().__init__(
            f"The report of {month} has no currency {currency!r}; it has {', '.join(currencies)}."
        )


class RevisionNotPublished(PointsError):
    """A month has no such revision."""

    code = "REVISION"

    def __init__(self, month: str, revision: int, there: list[str]) -> None:
        has = f"it has {', '.join(there)}" if there else "it has never been closed"
        super().__init__(f"There is no revision {revision} of {month}: {has}.")


@dataclass(frozen=True)
class MonthSummary:
    """One line of the programme's roll-forward: a month and a currency. Points are exact decimals.

    ``status`` is 'provisional', or what published months have: 'issued', 'signed_off' or 'reopened'. Only
    they have a ``revision``, and the names of who closed them and, perhaps, signed them off; instants are in
    UTC. ``waiting_revision`` is that of a newer close, which readers get when all months are closed again.
    """

    report_month: str
    status: str
    revision: int | None
    waiting_revision: int | None
    closed_at: datetime | None
    closed_by: str | None
    signed_off_at: datetime | None
    signed_off_by: str | None
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


# Says where a file of a month really is, by its name.
Find = Callable[[str], Path]

_BLOCK_BYTES = 1 << 20
_PROGRAMME = "programme_points_by_month.parquet"
# Those of its fields that the ledger says of a close.
_OF_CLOSE = ("revision", "waiting_revision", "closed_at", "closed_by", "signed_off_at", "signed_off_by")
# Those that the file of the programme's roll-forward has.
_FIGURES = [
    name
    for name in MonthSummary.__dataclass_fields__
    if name not in (*_OF_CLOSE, "report_month", "status", "folder")
]


@dataclass(frozen=True)
class Report:
    """A month's report in one currency: the programme's line, and the files that hold all others.

    ``find`` says where a file of the month really is, by its name: of a build it stays the same one while a
    next one is swapped in, of a published month it raises `PublishedDamaged` where the file is not as it was
    published (docs/cases.md, C14).
    """

    summary: MonthSummary
    settings: Settings = field(repr=False)
    find: Find = field(repr=False)

    def table(self, file: str = OUTSTANDING_POINTS) -> ReportTable:
        """What one of the month's CSV files holds."""
        return ReportTable(file, self._of_currency(), self.find)

    def mart(self, name: str) -> Path:
        """Where the month's Parquet file of a mart is."""
        return self.find(named(f"{name}.parquet", self.summary.status))

    def kept_mart(self, name: str) -> Path | None:
        """Where that file is; None where the month has none: not every month has every mart."""
        return self._kept(named(f"{name}.parquet", self.summary.status))

    def csv_file(self, file: str = OUTSTANDING_POINTS) -> Path:
        """Where that file is."""
        return self.summary.folder / self._name(file)

    def write_csv(self, file: str, output: BinaryIO) -> None:
        """Write that file, as it is, to ``output``."""
        _copy(self.find(self._name(file)), output)

    def write_xml(self, output: BinaryIO) -> None:
        """Write the month's XML to ``output``: its file as it is; where its close made none, one made now."""
        if kept := self._kept(self._name(OUTSTANDING_POINTS_XML)):
            _copy(kept, output)
            return
        with work_folder(self.settings.home) as folder:
            made = folder / OUTSTANDING_POINTS_XML
            make_xml(self.find, self._of_currency(), made)
            _copy(made, output)

    def write_xlsx(self, file: Path) -> None:
        """Write the month's workbook as a new ``file``: the one that was published, or where it has more rows
        than those have, or its close made none, one that is made now.

        Raises what `new_export` does.
        """
        with new_export(file) as unfinished:
            if kept := self._kept(self._name(OUTSTANDING_POINTS_XLSX)):
                shutil.copyfile(kept, unfinished)
            else:
                make_workbook(self.find, self._of_currency(), unfinished)

    def _name(self, file: str) -> str:
        summary = self.summary
        return currency_name(file, summary.currency, self.settings.default_currency, summary.status)

    def _kept(self, name: str) -> Path | None:
        """Where the file of that name is; None where the month was made without."""
        try:
            kept = self.find(name)
        except NotInManifest:
            return None
        return kept if kept.exists() else None

    def _of_currency(self) -> MonthCurrency:
        """What a file that is made now says of the month: what its Parquet files do."""
        summary = self.summary
        said = read_parquet_metadata(self.find(named(_PROGRAMME, summary.status)))
        first, last = period_days(summary.report_month, self.settings)
        period = {"period_start_date": first.isoformat(), "period_end_date": last.isoformat()}
        return MonthCurrency(
            month_facts({**said, **period, "currency": summary.currency}),
            self.settings.default_currency,
            summary.relation_count,
        )


@dataclass(frozen=True)
class _Found:
    """A month's lines of the programme, one a currency, and where its files are."""

    summaries: list[MonthSummary]
    find: Find


def list_months(settings: Settings) -> list[MonthSummary]:
    """Every month that has files in the home, oldest first, one line a currency.

    What is published stands for its month, and the ledger says who closed it and signed it off
    (docs/cases.md, S25); of others the newest build is shown. Raises what opening the ledger does, where
    anything is published, and `PublishedDamaged`.
    """
    home = settings.home
    issued, waiting = [], {}
    if list_published(home):
        open_ledger(settings)
        history = read_history()
        issued = list_issued(history)
        waiting = {month: closed.revision for month, closed in history.waiting.items()}
    return [
        replace(summary, waiting_revision=waiting.get(month))
        for month, found in _read_months(home, issued).items()
        for summary in found.summaries
    ]


def list_provisional(home: Path) -> list[MonthSummary]:
    """Every month of the newest build, oldest first, one line a currency."""
    return [summary for found in _read_months(home, []).values() for summary in found.summaries]


def read_reports(
    settings: Settings, currency: str | None = None, first: str | None = None, last: str | None = None
) -> list[Report]:
    """The reports of the months from ``first`` to ``last`` (``YYYY-MM``), as `read_report` reads each; by
    default from the first that has the currency to the newest.

    ``first`` is not after ``last``. Raises `MonthInvalid`, `MonthNotBuilt`, `CurrencyNotReported` and
    `PublishedDamaged`.
    """
    for month in filter(None, (first, last)):
        check_month(month)
    chosen, home = currency or settings.default_currency, settings.home
    found = _read_months(home, list_published(home), first, last)
    if not found:
        raise MonthNotBuilt(last or first or "any month", home, sorted(_month_names(home)))
    there = [month for month, one in found.items() if any(line.currency == chosen for line in one.summaries)]
    months = months_between(first or min(there or found), last or max(found))
    for month in months:
        if month not in found:
            raise MonthNotBuilt(month, home, sorted(_month_names(home)))
    return [_report(found[month], settings, chosen) for month in months]


def read_report(
    settings: Settings, month: str, currency: str | None = None, revision: int | None = None
) -> Report:
    """The report of ``month`` (``YYYY-MM``) in ``currency``, by default the programme's own.

    Of a published month it is the revision that readers have, or ``revision``; of an open one the newest
    build's. Raises `MonthInvalid`, `MonthNotBuilt`, `RevisionNotPublished` or `CurrencyNotReported`, what
    opening the ledger does where ``revision`` is not the one that readers have, and `PublishedDamaged`.
    """
    check_month(month)
    home = settings.home
    shown = {closed.report_month: closed for closed in list_published(home)}.get(month)
    if shown is None and revision is None:
        return read_provisional_report(settings, month, currency)
    with connect() as duck:
        if shown and revision in (None, shown.revision):
            found = _of_close(duck, home, shown)
        else:
            closed = find_close(settings, month, revision)
            files = _files(home, closed)
            status = "superseded" if shown and shown.revision > revision else "not issued"
            found = _read_month(duck, files.folder, files.path, month, status)
            found = replace(found, summaries=[replace(line, revision=revision) for line in found.summaries])
    return _report(found, settings, currency)


@contextmanager
def read_restatement(
    settings: Settings, month: str, earlier: int, later: int, currency: str
) -> Iterator[RestatedMonth]:
    """What the ``later`` revision of ``month`` (``YYYY-MM``) says otherwise than the ``earlier`` one.

    Raises `MonthInvalid`, `RevisionsOutOfOrder`, `RevisionNotPublished`, `CurrencyNotReported`,
    `RestatementDiffers`, what opening the ledger does, and `PublishedDamaged`.
    """
    check_month(month)
    if later <= earlier:
        raise RevisionsOutOfOrder(month, earlier, later)
    was, now = (find_close(settings, month, revision) for revision in (earlier, later))
    history = read_history()
    beside = history.before(now.entry_id + 1).in_force
    revisions = {name: published_revision(settings.home, closed) for name, closed in beside.items()}
    with opened_restatement(restatement_of(settings.home, history, was, revisions)) as restated:
        known = {settings.default_currency, *restated.currencies()}
        if currency not in known:
            raise CurrencyNotReported(month, currency, sorted(known))
        yield restated


def read_provisional_report(settings: Settings, month: str, currency: str | None = None) -> Report:
    """The report of ``month`` as the newest build has it, published or not.

    Raises `MonthInvalid`, `MonthNotBuilt` or `CurrencyNotReported`.
    """
    check_month(month)
    home = settings.home
    folder = home / "provisional" / month
    if folder not in _month_folders(home):
        raise MonthNotBuilt(month, home, sorted(_month_names(home)))
    with connect() as duck:
        return _report(_read_month(duck, folder, folder.resolve().joinpath), settings, currency)


def find_to_date(settings: Settings, report: Report, mart: str) -> list[Path]:
    """Where the Parquet files of a mart are from the programme's first month to that of ``report``: those
    that its totals to date come from.

    They are those of the closes that were in force when the month was closed, or of an open month the build's
    own and those of the closes that the build knew: whatever was closed anew since is in no total of it.
    Raises what opening the ledger does, and `PublishedDamaged`.
    """
    summary, own = report.summary, report.mart(mart)
    if summary.status == PROVISIONAL:
        folder = own.parent.parent
        files = {path.parent.name: path for path in folder.glob(f"*/{own.name}")}
        # None where it was made of files, from the first month on.
        anchor = read_anchor(folder)
        behind = _in_force(settings, lambda history: anchor.entry_id + 1) if anchor else {}
    else:
        files = {summary.report_month: own}
        behind = _in_force(settings, lambda history: _entry_of_close(history, summary))
    closed = {
        month: _files(settings.home, close).path(f"{mart}.parquet")
        for month, close in behind.items()
        if month not in files and month < summary.report_month
    }
    files = closed | files
    return [files[month] for month in sorted(files) if month <= summary.report_month]


def _in_force(settings: Settings, before: Callable[[CloseHistory], int]) -> Mapping[str, ClosedMonth]:
    """The closes that were in force before an entry of the ledger."""
    open_ledger(settings)
    history = read_history()
    return history.before(before(history)).in_force


def _entry_of_close(history: CloseHistory, summary: MonthSummary) -> int:
    wanted = (summary.report_month, summary.revision)
    (entry_id,) = (
        close.entry_id for close in history.closes if (close.report_month, close.revision) == wanted
    )
    return entry_id


def _report(found: _Found, settings: Settings, currency: str | None) -> Report:
    by_currency = {summary.currency: summary for summary in found.summaries}
    chosen = currency or settings.default_currency
    if chosen not in by_currency:
        raise CurrencyNotReported(found.summaries[0].report_month, chosen, list(by_currency))
    return Report(by_currency[chosen], settings, found.find)


def _copy(kept: Path, output: BinaryIO) -> None:
    with open(kept, "rb") as file:
        shutil.copyfileobj(file, output, _BLOCK_BYTES)


def _files(home: Path, closed: PublishedMonth | ClosedMonth) -> CheckedFiles:
    return checked_files(home, closed.report_month, closed.revision, closed.manifest_sha256)


def find_close(settings: Settings, month: str, revision: int) -> ClosedMonth:
    """The close of a revision that readers may no longer, or not yet, be shown, as the ledger has it.

    Raises `RevisionNotPublished`, and what opening the ledger does.
    """
    there = list_revisions(settings.home, month)
    if f"r{revision}" in there:
        open_ledger(settings)
        for closed in read_history().closes:
            if (closed.report_month, closed.revision) == (month, revision):
                return closed
    raise RevisionNotPublished(month, revision, there)


def _month_folders(home: Path) -> list[Path]:
    """Those of the newest build; of a build by a release whose files had other names, none."""
    return [path.parent for path in (home / "provisional").glob(f"*/{named(_PROGRAMME, PROVISIONAL)}")]


def _month_names(home: Path) -> set[str]:
    """The months that have files."""
    return {closed.report_month for closed in list_published(home)} | {
        folder.name for folder in _month_folders(home)
    }


def _read_months(
    home: Path, issued: Sequence[PublishedMonth], first: str | None = None, last: str | None = None
) -> dict[str, _Found]:
    """The ``issued`` months and others of the newest build, in order; those from ``first`` to ``last``."""
    closed = {month.report_month: month for month in issued}
    shown = (home / "provisional").resolve()
    built = {folder.name: folder for folder in _month_folders(home)}
    with connect() as duck:
        return {
            month: _of_close(duck, home, closed[month])
            if month in closed
            else _read_month(duck, built[month], (shown / month).joinpath)
            for month in sorted(closed.keys() | built.keys())
            if (first or month) <= month <= (last or month)
        }


def _of_close(duck: duckdb.DuckDBPyConnection, home: Path, closed: PublishedMonth) -> _Found:
    files = _files(home, closed)
    return _read_month(duck, files.folder, files.path, closed.report_month, closed.status, closed)


def _read_month(
    duck: duckdb.DuckDBPyConnection,
    folder: Path,
    find: Find,
    report_month: str | None = None,
    status: str = PROVISIONAL,
    closed: PublishedMonth | None = None,
) -> _Found:
    programme = read_parquet(find(named(_PROGRAMME, status)))
    rows = duck.execute(f"select {', '.join(_FIGURES)} from {programme} order by currency").fetchall()
    summaries = [
        MonthSummary(
            report_month=report_month or folder.name,
            status=status,
            **{name: getattr(closed, name, None) for name in _OF_CLOSE},
            folder=folder,
            **dict(zip(_FIGURES, row, strict=True)),
        )
        for row in rows
    ]
    return _Found(summaries, find)
