"""A build: transfers to provisional files, and nothing half-done for anybody to see.

It begins with the ledger, frozen to a cut, or with the files that POINTS_TRANSFERS names. Models are built
and tested in ``runs/<run>/``, which no reader opens. Only when every required test has passed are files
written, beside what readers have, and swapped in whole (docs/design.md, sections 3, 6 and 9).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from ledger.anchors import Head, write_anchor
from ledger.cut import freeze
from ledger.database import Ledger, LedgerEmpty, open_ledger
from ledger.errors import PointsError
from ledger.files.quarantine import open_quarantined_rows
from ledger.files.transfers_file import check_transfers
from ledger.settings import Settings, check_month
from orchestration.close.openings import (
    find_opening_of_build,
    opening_environment,
    write_opening_related,
)
from orchestration.close.publication import finish_closes
from orchestration.dbt.descriptions import read_descriptions
from orchestration.dbt.invocation import ready_dbt, target_folder
from orchestration.month_files import PROVISIONAL, MonthFiles, months_built, write_months
from orchestration.provisional import (
    QUARANTINE_NAME,
    open_provisional,
    swap_in,
    write_history,
    write_provisional_database,
    write_quarantine,
)
from orchestration.published.layout import check_link, needs_finishing
from orchestration.recount.opening import Opening
from orchestration.required_tests import audit_verdicts, required_tests
from orchestration.run_lock import run_lock
from orchestration.runs import (
    BuildProgress,
    FilesNotWritten,
    build_database,
    dbt_environment,
    new_run_folder,
    read_files,
    run_build,
)


class NothingToBuild(PointsError):
    """There is neither a ledger nor a file of transfers."""

    def __init__(self, home: Path) -> None:
        super().__init__(
            f"There are no transfers to build from: the ledger of {home} holds none yet, and POINTS_TRANSFERS"
            " names no file; run `points import FILE` or `points give … --new`, set POINTS_TRANSFERS to a CSV"
            " or Parquet file, or try `points demo`."
        )


class NoMonths(PointsError):
    """The transfers give no report month up to the one asked for."""

    def __init__(self, through: str | None) -> None:
        upto = f" up to {through}" if through else ""
        super().__init__(
            f"There is no report month{upto}: no approved transfer posts that early; name a later month with"
            " --through, or look at the quarantined rows."
        )


@dataclass(frozen=True)
class Build:
    """A finished build: its months in order, and where its files stand.

    ``cutoff_entry_id`` is the highest entry of the ledger in it, None where files were read instead.
    ``quarantined`` rows are those that the models set aside, ``quarantined_in_ledger`` those that the ledger
    keeps until they are sent correctly or dismissed. ``opening_month`` is the closed month that it
    starts from, None where it starts from the first entry.
    """

    run: str
    folder: Path
    months: list[MonthFiles]
    quarantined: int
    test_count: int
    cutoff_entry_id: int | None
    quarantined_in_ledger: int
    opening_month: str | None = None

    @property
    def quarantine(self) -> Path:
        """The file of the rows that the models set aside."""
        return self.folder / QUARANTINE_NAME


@dataclass(frozen=True)
class Source:
    """A ledger frozen at ``head``, of which a build reads what is after ``opening`` (None: everything)."""

    ledger: Ledger
    head: Head
    opening: Opening | None


def build_months(
    settings: Settings,
    through: str | None = None,
    report: Callable[[BuildProgress], None] = lambda progress: None,
    wait_seconds: float = 0.0,
    from_first_entry: bool = False,
) -> Build:
    """Build the report months that are open up to ``through`` (``YYYY-MM``; None: the newest); write
    ``provisional/``.

    It starts from the newest closed month; with ``from_first_entry``, or where none can be started from, it
    computes all months, and with it writes the closed ones too. Raises `PointsError` where something is
    refused; ``provisional/`` is then what it was.
    """
    if through is not None:
        check_month(through)
    ledger = open_source(settings)
    with run_lock(settings.home, "points build", wait_seconds), ready_dbt() as dbt:
        source = freeze_source(ledger, through, from_first_entry, report)
        run_folder = new_run_folder(settings.home)
        read_files(settings, run_folder, report)
        statuses = run_build(
            build_environment(settings, source, through, run_folder),
            run_folder,
            lambda step: report(BuildProgress("models", step.name, step.position, step.total)),
            dbt,
        )
        return publish_build(settings, through, run_folder, statuses, source, from_first_entry, report=report)


def open_source(settings: Settings) -> Ledger | None:
    """The ledger to build from; None where POINTS_TRANSFERS names files, which then look readable.

    Raises `PointsError` where there is nothing to build from, or nothing that can be read, and `LinkTaken`
    where readers could not be given what is built.
    """
    ledger = None
    if settings.transfers:
        check_transfers(settings.transfers)
    else:
        try:
            ledger = open_ledger(settings)
        except LedgerEmpty:
            raise NothingToBuild(settings.home) from None
    check_link(settings.home / "provisional")
    return ledger


def freeze_source(
    ledger: Ledger | None,
    through: str | None,
    from_first_entry: bool = False,
    report: Callable[[BuildProgress], None] = lambda progress: None,
) -> Source | None:
    """Freeze the ledger, under the lock of the home, for a build through a month (None: the newest); None
    where there is no ledger.

    What is recorded from here on is not in the build. A close that was cut off is finished first. Raises
    `MonthIsClosed`, and `PublishedDamaged` where what it starts from is not as it was published.
    """
    if ledger is None:
        return None
    if needs_finishing(ledger.settings.home):
        finish_closes(ledger, report)
    opening = find_opening_of_build(ledger.settings, through, from_first_entry)
    frozen = freeze(
        ledger,
        lambda done, total: report(BuildProgress("cut", "", done, total)),
        check_above=opening.cutoff_entry_id if opening else 0,
    )
    return Source(ledger, frozen.head, opening)


def build_environment(
    settings: Settings, source: Source | None, through: str | None, run_folder: Path
) -> dict[str, str]:
    """The variables that a build passes to the models, once its run has a folder."""
    environment = dbt_environment(settings, through, run_folder)
    if source and source.opening:
        write_opening_related(source.ledger, source.opening, source.head.entry_id, run_folder)
        environment |= opening_environment(source.opening, run_folder)
    return environment


def publish_build(
    settings: Settings,
    through: str | None,
    run_folder: Path,
    statuses: Mapping[str, str],
    source: Source | None = None,
    from_first_entry: bool = False,
    report: Callable[[BuildProgress], None] = lambda progress: None,
) -> Build:
    """Audit dbt's results of a run (``statuses`` by unique id), write its files and publish them to readers.

    ``source`` is what the ledger was frozen for (`freeze_source`): the files then remember where that was, so
    that no other or older ledger is taken for theirs (docs/cases.md, X12). Raises `PointsError` where the
    audit refuses or there is no month; ``provisional/`` is then what it was.
    """
    head = source.head if source else None
    required = required_tests()
    audit_verdicts(statuses, required)
    try:
        months, quarantined = _write_files(settings, run_folder, not from_first_entry, report)
        if head:
            write_anchor(run_folder / "provisional", head)
    except (duckdb.Error, OSError) as error:
        raise FilesNotWritten(settings.home, error) from error
    if not months:
        raise NoMonths(through)
    open_provisional(settings.home, run_folder / "provisional", settings.readers)
    swap_in(settings.home, run_folder / "provisional")
    return Build(
        run=run_folder.name,
        folder=settings.home / "provisional",
        months=[
            replace(month, folder=settings.home / "provisional" / month.report_month) for month in months
        ],
        quarantined=quarantined,
        test_count=len(required),
        cutoff_entry_id=head.entry_id if head else None,
        quarantined_in_ledger=open_quarantined_rows(head.entry_id).count() if head else 0,
        opening_month=source.opening.report_month if source and source.opening else None,
    )


def _write_files(
    settings: Settings, run_folder: Path, only_open: bool, report: Callable[[BuildProgress], None]
) -> tuple[list[MonthFiles], int]:
    """Write all that readers will have into the run's folder; return its months and quarantined rows."""
    database = build_database(run_folder)
    folder = run_folder / "provisional"
    folder.mkdir()
    built = months_built(database, only_open)
    months = write_months(
        database,
        {month: folder / month for month in built},
        settings.default_currency,
        {month: {"status": PROVISIONAL, "programme": settings.programme_name} for month in built},
        lambda month, position, total: report(BuildProgress("files", month, position, total)),
    )
    if months:
        write_history(database, folder, settings.programme_name)
        write_provisional_database(
            database, folder, months[0].report_month, read_descriptions(target_folder(run_folder))
        )
    return months, write_quarantine(database, folder / QUARANTINE_NAME)
