"""A small programme with two closed months, and what its readers, its ledger and its disk say of it.

Tests of faults copy its home, disturb the next close, and hold what comes out against an undisturbed one.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.closes import CloseHistory, read_history
from ledger.database import open_ledger
from ledger.settings import Settings
from orchestration.close.publication import finish_if_needed
from orchestration.fail_points import FAIL_POINTS
from orchestration.published.layout import database_file, published_folder
from orchestration.published.manifests import check_files, read_manifest
from simulator.transfer_files import write_transfers
from tests.conftest import POINTS, PROJECT_ROOT, answer, ready_dbt, run_points, transfer
from tests.ready_command import with_ready_dbt

CLOSED = ("2025-01", "2025-02")
NEXT = "2025-03"
# What readers see, before and after the next close; and the revisions that the ledger then has.
OLD = {month: (1, "issued") for month in CLOSED}
NEW = {**OLD, NEXT: (1, "issued")}
OLD_REVISIONS = dict.fromkeys(OLD, 1)
NEW_REVISIONS = dict.fromkeys(NEW, 1)
# The steps of a close before its one commit, and after it.
BEFORE_COMMIT = FAIL_POINTS[: FAIL_POINTS.index("committed")]
AFTER_COMMIT = FAIL_POINTS[FAIL_POINTS.index("committed") :]
# Any of them finishes what was cut off; the first ones record nothing.
COMMANDS = [
    ["transfers"],
    ["months"],
    ["report", CLOSED[0]],
    ["balances", "--limit", "1"],
    ["quarantine"],
    ["verify"],
    ["give", "C-1", "5", "--id", "MEANWHILE"],
    ["cut"],
]


@dataclass(frozen=True)
class Home:
    """A home, and the settings that its commands get beside it."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def points(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run ``points`` to its end."""
        settings = {"POINTS_HOME": str(self.path), **self.environment, **environment}
        return run_points(arguments, settings, self.path.parent)

    def start(self, *arguments: str, own_dbt: bool = False, **environment: str) -> subprocess.Popen:
        """Run ``points`` beside this process; its builds are forks of a ready dbt, unless it has its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
        return subprocess.Popen(
            [*([POINTS] if own_dbt else with_ready_dbt(ready_dbt())), *arguments],
            env={
                **inherited,
                "PYTHONPATH": str(PROJECT_ROOT),
                "POINTS_HOME": str(self.path),
                **self.environment,
                **environment,
            },
            cwd=self.path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def settings(self, **environment: str) -> Settings:
        """The settings of a command that runs in this process."""
        return Settings.from_environment(
            {"POINTS_HOME": str(self.path), "POINTS_USER": "ada", **self.environment, **environment}
        )

    def copy(self, path: Path) -> "Home":
        """A copy to which nothing has happened yet; its readers' database is still the one of this home."""
        shutil.copytree(self.path, path, symlinks=True)
        return Home(path, self.environment)

    def working_copy(self, path: Path) -> "Home":
        """A copy in which everything is as it should be."""
        home = self.copy(path)
        finish_if_needed(home.settings())
        return home

    def kill_at(self, step: str, *arguments: str, **environment: str) -> None:
        """Run a command that kills itself at a step, which it must reach."""
        result = self.points(*arguments, POINTS_FAIL_AT=step, **environment)
        assert result.returncode == -signal.SIGKILL, (step, result.stdout, result.stderr)

    def history(self) -> CloseHistory:
        """What its ledger says of closes."""
        open_ledger(self.settings())
        return read_history()


def begin_programme(path: Path, environment: Mapping[str, str] | None = None) -> Home:
    """A home whose ledger holds four months of transfers, none of them closed."""
    home = Home(path, environment or {})
    rows = [row for month in range(1, 5) for row in _month_rows(month)]
    file = write_transfers(path.parent / f"{path.name}.csv", rows)
    answer(home.points("import", str(file)))
    return home


def make_programme(folder: Path) -> None:
    """Make a home in ``folder`` with two closed months, and what the next close has to know of them.

    The ledger as it was before the closes is kept beside it.
    """
    home = begin_programme(folder / "home")
    shutil.copyfile(home.path / "ledger.sqlite3", folder / "older.sqlite3")
    answer(home.points("close", "--through", CLOSED[-1]))
    late = [
        transfer("LATE", points="33", occurred_at="2025-01-20T12:00:00Z"),
        # It undoes a part of what a closed month posted.
        transfer(
            "UNDONE",
            style="deduct",
            points="40",
            reason="revocation",
            occurred_at="2025-03-02T12:00:00Z",
            reverses_transfer_id="E1-1",
        ),
        transfer(
            "P1",
            relation_reference="C-3",
            points="9",
            occurred_at="2025-01-11T12:00:00Z",
            status="approved",
            status_changed_at="2025-03-05T12:00:00Z",
        ),
    ]
    answer(home.points("import", str(write_transfers(home.path.parent / "late.csv", late))))


def close_next(home: Home) -> None:
    """Close the next month, and let nothing happen to it."""
    answer(home.points("close", NEXT))


def _month_rows(month: int) -> list[dict[str, str]]:
    """Earned and redeemed by six customers, in a second currency by two, and one transfer that waits."""
    at = f"2025-{month:02d}-11T12:00:00Z"
    rows = [transfer(f"P{month}", relation_reference="C-3", points="9", occurred_at=at, status="pending")]
    for customer in range(1, 7):
        reference = f"C-{customer}"
        rows.append(transfer(f"E{month}-{customer}", relation_reference=reference, occurred_at=at))
        rows.append(
            transfer(
                f"R{month}-{customer}",
                relation_reference=reference,
                style="deduct",
                points=f"{customer}.25",
                reason="redemption",
                occurred_at=at,
            )
        )
    for customer in (2, 9):
        rows.append(
            transfer(
                f"M{month}-{customer}",
                relation_reference=f"C-{customer}",
                points="7.5",
                currency="MILES",
                occurred_at=at,
            )
        )
    return rows


def published_bytes(home: Home) -> dict[str, bytes]:
    """Every published file of every revision, manifests too; not the database."""
    folder = published_folder(home.path)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("[0-9]*/r*/*"))
        if path.is_file()
    }


def readers_see(home: Home) -> dict[str, tuple[int, str]]:
    """Each month's revision and status, as the database has them, which must be whole.

    Whole: every revision's files are those of its manifest, and the views give the manifest's numbers, month
    by month and currency by currency, no more and no less.
    """
    file = database_file(home.path)
    if not file.exists():
        return {}
    with duckdb.connect(str(file.resolve()), read_only=True) as connection:
        months = connection.execute(
            "select strftime(report_month, '%Y-%m'), revision, status, manifest_sha256 from published_months"
            " order by 1"
        ).fetchall()
        shown = connection.execute(
            "select strftime(report_month, '%Y-%m'), currency, revision, count(*), sum(closing_points)"
            " from outstanding_points_by_month group by all order by all"
        ).fetchall()
    expected = []
    for month, revision, _, sha256 in months:
        folder = published_folder(home.path) / month / f"r{revision}"
        manifest = read_manifest(folder, sha256)
        check_files(folder, manifest)
        for currency, totals in manifest["control_totals"].items():
            rows, closing = totals["relation_references"], totals["closing_points"]
            expected.append((month, currency, revision, rows, closing))
    found = [(*row[:4], points_text(row[4])) for row in shown]
    assert found == sorted(expected), (found, sorted(expected))
    return {month: (revision, status) for month, revision, status, _ in months}


def current_links(home: Home) -> dict[str, str]:
    """The revision to which ``current`` of each month leads, where it leads to one."""
    links = sorted(published_folder(home.path).glob("*/current"))
    return {link.parent.name: link.resolve().name for link in links if link.exists()}


def leftovers(home: Home) -> list[str]:
    """What a run that was cut off may have left in the home, outside ``runs/`` and ``cut/``."""
    published = published_folder(home.path)
    found = [
        *home.path.glob("unfinished_close.json"),
        *home.path.glob(".*.[0-9]*"),
        *published.rglob("*.new"),
        *published.rglob(".unfinished*"),
        *published.rglob("*.wal"),
    ]
    return [str(path.relative_to(home.path)) for path in found]


def assert_as_it_was(home: Home, programme: Home) -> None:
    """Of the next close nothing has happened: readers, links, files and closes are those of ``programme``."""
    assert readers_see(home) == OLD
    assert current_links(home) == dict.fromkeys(OLD, "r1")
    assert published_bytes(home) == published_bytes(programme)
    assert list(home.history().in_force) == list(OLD)


def assert_closed(home: Home, undisturbed: Mapping[str, bytes]) -> None:
    """The next month is closed, and readers have it, as where nothing went wrong; nothing is left over."""
    assert readers_see(home) == NEW
    assert current_links(home) == dict.fromkeys(NEW, "r1")
    assert published_bytes(home) == undisturbed
    assert_sound(home, NEW_REVISIONS)


def assert_sound(home: Home, closes: Mapping[str, int] = OLD_REVISIONS) -> None:
    """``closes`` are in the ledger, each month and revision once; verify finds all whole; nothing is left.

    Without ``closes`` they are those of before the next close.
    """
    recorded = sorted(closed.name for closed in home.history().closes)
    assert recorded == sorted(
        f"{month}/r{revision}" for month, last in closes.items() for revision in range(1, last + 1)
    ), recorded
    answer(home.points("verify"))
    assert not leftovers(home), leftovers(home)


def processes_of(home: Home) -> dict[int, list[str]]:
    """The processes that work in one of the home's runs, with their arguments."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(home.path / "runs") in os.readlink(folder / "cwd"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended
    return found


def wait_until_stopped(process: subprocess.Popen) -> None:
    """Wait until ``process`` has stopped itself at its fail point."""
    state = Path(f"/proc/{process.pid}/stat")
    while state.read_text().rpartition(") ")[2][0] != "T":
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
