"""To which bucket and month transfers posted: closed months have it in their published files, open ones in
those of the newest build. Models alone classify."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ledger.anchors import read_anchor
from ledger.closes import ClosedMonth, read_history
from ledger.data_files import connect, read_parquet
from ledger.database import Ledger
from ledger.lists.parquet_search import Postings
from ledger.lists.transfer_lists import BuildNeeded, TransferFilters
from orchestration.month_files import PROVISIONAL, named
from orchestration.published.checked_files import checked_files
from orchestration.reports import MonthNotBuilt


@dataclass(frozen=True)
class Posting:
    """Where a transfer counts: ``report_month`` is ``YYYY-MM``; ``revision`` that of the close in force which
    posted it, None where only the newest build has it, provisionally."""

    report_month: str
    bucket: str
    is_late: bool
    revision: int | None


FILTERS_OF_A_BUILD = ("bucket", "posted_month")
_POSTED = "posted_transfers.parquet"


def find_postings(ledger: Ledger, filters: Mapping[str, str]) -> Postings | None:
    """What the filters of a list of transfers need of months; None where they need nothing.

    Raises `FilterUnknown`, `FilterInvalid`, `PublishedDamaged`, `BuildNeeded` where no month is closed or
    built of this ledger, and `MonthNotBuilt`.
    """
    wanted = TransferFilters(filters, ledger.settings.zone).asked()
    asked = [name for name in FILTERS_OF_A_BUILD if name in wanted]
    if not asked:
        return None
    home = ledger.settings.home
    published, cutoff = _published(home)
    built, built_upto = _built(home)
    files = built | published
    if not files:
        was_of_files = "the newest was made of files instead of the ledger"
        raise BuildNeeded(asked, was_of_files if built_upto is None else "there is none yet")
    if month := wanted.get("posted_month"):
        if month not in files:
            raise MonthNotBuilt(month, home, sorted(files))
        files = {month: files[month]}
    of_build = [entry_id for entry_id in (built_upto,) if entry_id and files.keys() - published.keys()]
    return Postings(tuple(files[month] for month in sorted(files)), max([cutoff, *of_build]))


def find_posting(home: Path, transfer_id: str, entry_id: int) -> Posting | None:
    """The posting of a transfer of the open ledger; None where neither a closed month nor a build has it.

    ``entry_id`` is the transfer's: what was closed before it was recorded need not be looked through. Raises
    `PublishedDamaged`.
    """
    in_force = read_history().in_force
    published = {
        month: _published_file(home, closed)
        for month, closed in in_force.items()
        if closed.cutoff_entry_id >= entry_id
    }
    if found := _find(published.values(), transfer_id):
        return Posting(*found, in_force[found[0]].revision)
    built, _ = _built(home)
    found = _find((file for month, file in built.items() if month not in in_force), transfer_id)
    return Posting(*found, None) if found else None


def _find(files: Iterable[Path], transfer_id: str) -> tuple[str, str, bool] | None:
    if not (files := list(files)):
        return None
    with connect() as connection:
        return connection.execute(
            f"select strftime(posting_month, '%Y-%m'), bucket, is_late from {read_parquet(files)}"
            " where transfer_id = ?",
            [transfer_id],
        ).fetchone()


def _published(home: Path) -> tuple[dict[str, Path], int]:
    """The files of closed months by month, and up to which entry they read the ledger."""
    in_force = read_history().in_force
    files = {month: _published_file(home, closed) for month, closed in in_force.items()}
    return files, max((closed.cutoff_entry_id for closed in in_force.values()), default=0)


def _published_file(home: Path, closed: ClosedMonth) -> Path:
    """The posted transfers of a closed month; raises `PublishedDamaged`."""
    files = checked_files(home, closed.report_month, closed.revision, closed.manifest_sha256)
    return files.path(_POSTED)


def _built(home: Path) -> tuple[dict[str, Path], int | None]:
    """The files of the newest build by month, and up to which entry it read the ledger: None where it read
    none, 0 where there is no build."""
    # The folder of the run, so that a build that ends meanwhile changes nothing.
    folder = (home / "provisional").resolve()
    files = {path.parent.name: path for path in folder.glob(f"*/{named(_POSTED, PROVISIONAL)}")}
    if not files:
        return {}, 0
    anchor = read_anchor(folder)
    return (files, anchor.entry_id) if anchor else ({}, None)
