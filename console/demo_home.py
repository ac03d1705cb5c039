"""``points demo``: the demo programme in a home and a ledger of its own."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ledger.database import LedgerEmpty, connected_to, open_ledger
from ledger.databases import sqlite_file
from ledger.disk import file_sha256
from ledger.errors import PointsError
from ledger.files.imports import import_file
from ledger.links import ledger_head
from ledger.models import Batch
from ledger.settings import Settings
from orchestration.published.layout import ANNOUNCEMENT_NAME
from simulator.demo_programme import write_demo_transfers
from simulator.months import ENDS_AT
from simulator.transfer_files import COLUMNS

# When, by whom and as what batch the file is imported, so that no clock is read and no name is somebody's.
RECORDED_AT = ENDS_AT + timedelta(hours=6)
_USER = _BATCH = "demo"
# What the demo, builds and closes of it and Dagster write into its home.
_HOME_NAMES = {
    *("transfers.csv", "ledger.sqlite3", "ledger.sqlite3-journal", "ledger.lock", "ledger_head.json"),
    *("cut", "runs", "run.lock", "provisional", "published", ANNOUNCEMENT_NAME, "inbox", "received"),
    *("dev.duckdb", "dev", "dagster"),
}


class DemoHomeTaken(PointsError):
    """The demo's home holds what the demo did not put there."""

    def __init__(self, home: Path, found: str) -> None:
        super().__init__(
            f"The demo needs a home of its own, but {home} holds {found}, which is not of the demo;"
            " name another folder in POINTS_HOME."
        )


@dataclass(frozen=True)
class Demo:
    """The demo as it stands in its home: its file, and how many entries its ledger holds."""

    home: Path
    transfers_file: Path
    row_count: int
    entry_count: int


def demo_home(settings: Settings) -> Path:
    """The demo's own home: the folder `demo` of the programme's home, or that very folder."""
    return settings.home if settings.home.name == "demo" else settings.home / "demo"


def make_demo(settings: Settings) -> Demo:
    """Write `transfers.csv` into the demo's home and import it, bad rows and all, into a ledger there.

    The ledger is SQLite whatever POINTS_DATABASE_URL says, for that one is somebody's. Its entries are the
    same everywhere: who recorded them, and when, is the demo's too. Where it holds them already, nothing is
    added. Raises `DemoHomeTaken` where the home holds anything that neither the demo nor a build of it wrote,
    or its ledger does not begin with the demo.
    """
    home = demo_home(settings)
    file = home / "transfers.csv"
    _check_home(home, file)
    own = replace(settings, home=home, transfers=None, database_url=None, database_owner_url=None, user=_USER)
    with connected_to(own):
        batch = _imported_batch(own, file)
        home.mkdir(parents=True, exist_ok=True)
        row_count = write_demo_transfers(file)
        if batch is None:
            ledger = replace(open_ledger(own, create=True), clock=lambda: RECORDED_AT)
            import_file(ledger, file, quarantine=True, batch_id=_BATCH)
        elif batch.file_sha256 != file_sha256(file):
            raise DemoHomeTaken(home, "the entries of another version")
        return Demo(home, file, row_count, ledger_head().entry_id)


def _check_home(home: Path, file: Path) -> None:
    """Raise `DemoHomeTaken` where there is a file that no demo has."""
    found = sorted(path.name for path in home.iterdir()) if home.exists() else []
    for name in found:
        if name not in _HOME_NAMES and not name.startswith("."):
            raise DemoHomeTaken(home, name)
    if file.exists() and not file.read_bytes().startswith(",".join(COLUMNS).encode()):
        raise DemoHomeTaken(home, file.name)


def _imported_batch(settings: Settings, file: Path) -> Batch | None:
    """The demo's batch, with which its ledger begins; None where nothing was recorded yet."""
    try:
        open_ledger(settings)
    except LedgerEmpty:
        # The file comes first: a ledger without it was begun by somebody else.
        if sqlite_file(settings).exists() and not file.exists():
            raise DemoHomeTaken(settings.home, sqlite_file(settings).name) from None
        return None
    batch = Batch.objects.filter(entry_id=1, batch_id=_BATCH).first()
    if batch is None:
        raise DemoHomeTaken(settings.home, f"other entries in {sqlite_file(settings).name}")
    return batch
