"""What a run starts from where a month is closed before it: its balances, and what they left unposted."""

from pathlib import Path

from ledger.clocks import newest_recorded_at
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.cut import cut_folder
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.related_transfers import write_related
from ledger.seals import read_seals
from ledger.settings import Settings, longest_span_in_months
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import checked_manifest
from orchestration.recount.opening import Opening
from orchestration.report_calendar import month_of, months_between, next_month

# The transfers of closed months that revocations of a run are connected with, in its folder.
RELATED_TRANSFERS = "related_transfers.parquet"
RELATED_STATUS_CHANGES = "related_status_changes.parquet"


class MonthIsClosed(PointsError):
    """A build is asked for a month that is closed."""

    code = "MONTH_CLOSED"

    def __init__(self, month: str, open_month: str) -> None:
        super().__init__(
            f"{month} is closed, and a build makes the months that are open, from {open_month} on:"
            f" `points report {month}` shows the closed one, and `points build --from-first-entry --through"
            f" {month}` computes it again."
        )


def fits_one_build(first_month: str, last_month: str) -> bool:
    """Whether a build may make the months from the first to the last (docs/cases.md, R22)."""
    return len(months_between(first_month, last_month)) <= longest_span_in_months()


def find_opening_of_build(
    settings: Settings, through: str | None, from_first_entry: bool = False
) -> Opening | None:
    """What a build through a month (None: the newest) starts from: the newest close that was the last of its
    run. None where it starts from the first entry.

    With ``from_first_entry`` it starts from a close only where it would make more months than it may: from
    the earliest that is near enough (docs/cases.md, X29). Raises `MonthIsClosed`, and `PublishedDamaged`
    where a file of the close is not as it was published.
    """
    history, seals = read_history(), read_seals()
    if not history.in_force or not seals:
        return None
    if not from_first_entry and not (through and through < min(history.in_force)):
        open_month = next_month(history.last_month)
        if through in history.in_force:
            raise MonthIsClosed(through, open_month)
        newest = find_opening(history, open_month)
        if newest:
            return read_opening(settings.home, newest)
    recorded_at = newest_recorded_at()
    newest = month_of(recorded_at, settings) if recorded_at else ""
    last_month = through or max(newest, history.last_month)
    if fits_one_build(seals["first_month"], last_month):
        return None
    starts = [
        closed
        for closed in history.in_force.values()
        if closed.report_month < last_month and history.closed_together(closed)[-1] == closed
    ]
    near = [start for start in starts if fits_one_build(next_month(start.report_month), last_month)]
    return read_opening(settings.home, (near or starts[-1:])[0]) if starts else None


def find_opening(history: CloseHistory, first_month: str) -> ClosedMonth | None:
    """The newest close that a run from ``first_month`` on can start from: the last one of its own run.

    The closes in force may reach further: then months that are closed already are built once more on the way.
    None where the run starts from the first entry.
    """
    closed_before = [
        closed
        for month, closed in history.in_force.items()
        if month < first_month and history.closed_together(closed)[-1] == closed
    ]
    return closed_before[-1] if closed_before else None


def read_opening(home: Path, closed: ClosedMonth) -> Opening:
    """A close to start from; raise `PublishedDamaged` where a file of it is not as it was published."""
    folder = revision_folder(home, closed.report_month, closed.revision)
    manifest = checked_manifest(closed, folder)
    return Opening(closed.report_month, closed.cutoff_entry_id, folder, manifest["control_totals"])


def write_opening_related(ledger: Ledger, opening: Opening, upto_entry_id: int, run_folder: Path) -> None:
    """Write to the run's folder what revocations up to an entry, to which the cut reaches, revoke."""
    write_related(
        ledger,
        cut_folder(ledger.settings.home),
        opening.folder / "unposted_transfers.parquet",
        opening.cutoff_entry_id,
        upto_entry_id,
        run_folder / RELATED_TRANSFERS,
        run_folder / RELATED_STATUS_CHANGES,
    )


def opening_environment(opening: Opening, run_folder: Path) -> dict[str, str]:
    """The variables that make the models of a run start from ``opening``.

    What a run reads lies under names that are the same in every run, relative to its folder, where dbt works.
    """
    (run_folder / "opening").symlink_to(opening.folder.absolute(), target_is_directory=True)
    return {
        "POINTS_OPENING_CUTOFF": str(opening.cutoff_entry_id),
        "POINTS_OPENING_BALANCES": "opening/outstanding_points_by_month.parquet",
        "POINTS_UNPOSTED_TRANSFERS": "opening/unposted_transfers.parquet",
        "POINTS_RELATED_TRANSFERS": RELATED_TRANSFERS,
        "POINTS_RELATED_STATUS_CHANGES": RELATED_STATUS_CHANGES,
    }
