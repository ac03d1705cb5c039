"""To which month and bucket one transfer posted: the files of months say it, the models alone decide it."""

from dataclasses import dataclass
from pathlib import Path

from ledger.anchors import read_anchor
from ledger.closes import read_history
from ledger.data_files import connect, read_parquet
from orchestration.month_files import PROVISIONAL, named
from orchestration.published.layout import revision_folder

_FILE = "posted_transfers.parquet"


@dataclass(frozen=True)
class Posting:
    """Where a transfer counts: ``report_month`` is ``YYYY-MM``; ``revision`` that of the close in force which
    posted it, None where only the newest build has it, provisionally."""

    report_month: str
    bucket: str
    is_late: bool
    revision: int | None


def find_posting(home: Path, transfer_id: str, entry_id: int) -> Posting | None:
    """The posting of a transfer of the open ledger; None where neither a closed month nor a build has it.

    ``entry_id`` is the transfer's: what was closed before it was recorded need not be looked through.
    """
    in_force = read_history().in_force
    published = [
        revision_folder(home, month, closed.revision) / _FILE
        for month, closed in in_force.items()
        if closed.cutoff_entry_id >= entry_id
    ]
    if found := _find([file for file in published if file.exists()], transfer_id):
        return Posting(*found, in_force[found[0]].revision)
    # The folder of the run, so that a build that ends meanwhile changes nothing.
    folder = (home / "provisional").resolve()
    built = [
        file
        for file in sorted(folder.glob(f"*/{named(_FILE, PROVISIONAL)}"))
        if file.parent.name not in in_force
    ]
    # A build of files knows other transfers.
    if read_anchor(folder) and (found := _find(built, transfer_id)):
        return Posting(*found, None)
    return None


def _find(files: list[Path], transfer_id: str) -> tuple[str, str, bool] | None:
    if not files:
        return None
    with connect() as connection:
        return connection.execute(
            f"select strftime(posting_month, '%Y-%m'), bucket, is_late from {read_parquet(files)}"
            " where transfer_id = ?",
            [transfer_id],
        ).fetchone()
