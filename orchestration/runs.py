"""What a build and a close have in common: a numbered folder that no reader opens, and dbt in it."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.disk import why_not_written
from ledger.errors import PointsError
from ledger.files.transfer_rows import write_transfer_rows
from ledger.process import this_process
from ledger.settings import Settings
from orchestration.dbt.invocation import (
    DbtFailed,
    NodeProgress,
    read_statuses,
    stream_dbt,
    target_folder,
)
from orchestration.dbt.manifest import BUILD_DATABASE_NAME
from orchestration.dbt.parse import keep_parse
from orchestration.dbt.project import parse_sha256
from orchestration.mart_contract import check_contract
from orchestration.published.layout import ANNOUNCEMENT_NAME, prepared_folder, try_links

# How many nodes dbt has running at a time, as profiles.yml says too, and the memory that each must have then.
# More than two only wait for each other: DuckDB takes all processors for one, Python one for all of them.
_MOST_NODES = 2
_MEMORY_OF_A_NODE = 4 * 2**30
# The folder of a run in which its models find the rows of raw files.
TRANSFER_ROWS_NAME = "transfer_rows"


class FilesNotWritten(PointsError):
    """The files of a build that passed its audit could not be written."""

    def __init__(self, home: Path, error: Exception) -> None:
        super().__init__(
            f"The files of the build could not be written to {home}: {why_not_written(error)}; readers have"
            " what they had, so fix that and run the same again."
        )


@dataclass(frozen=True)
class BuildProgress:
    """A step of a build, for a progress bar.

    ``phase`` is 'cut', 'entries' (verified; both in entries), 'reading', 'models' or 'files'.
    """

    phase: str
    name: str
    position: int
    total: int


def new_run_folder(home: Path) -> Path:
    """A folder of its own for a run, under the lock of the home.

    Runs are numbered, not dated: their order is what matters, and a clock may be set back. Raises `NoLinks`
    where readers could not be given what the run makes.
    """
    try_links(home)
    runs = home / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    remove_old_runs(home)
    earlier = sorted(path for path in runs.iterdir() if path.name.isdigit())
    folder = runs / f"{int(earlier[-1].name) + 1 if earlier else 1:06d}"
    folder.mkdir()
    # Private to this user, so that no other user can replace what dbt has parsed.
    target_folder(folder).mkdir(mode=0o700)
    return folder


def build_database(run_folder: Path) -> Path:
    """The DuckDB file of a run, which no reader opens."""
    return run_folder / BUILD_DATABASE_NAME


def read_files(
    settings: Settings, run_folder: Path, report: Callable[[BuildProgress], None] = lambda progress: None
) -> None:
    """Read the files that POINTS_TRANSFERS names, where it does, to where the run's models find their rows.

    Raises `TransfersFileRefused`.
    """
    if settings.transfers:
        write_transfer_rows(
            settings.transfers,
            run_folder / TRANSFER_ROWS_NAME,
            lambda name, position, total: report(BuildProgress("reading", name, position, total)),
        )


def dbt_environment(settings: Settings, through: str | None, run_folder: Path) -> dict[str, str]:
    """The variables that a run passes to the models: what to read, which months to make, and where to
    build."""
    return {
        **settings.for_dbt(),
        "POINTS_THROUGH_MONTH": through or "",
        # Files were read before, by `read_files`.
        "POINTS_TRANSFERS": "",
        "POINTS_TRANSFER_ROWS": TRANSFER_ROWS_NAME if settings.transfers else "",
        # Relative to the run's folder, where dbt works.
        "POINTS_BUILD_DATABASE": BUILD_DATABASE_NAME,
    }


def stream_build(
    environment: Mapping[str, str], run_folder: Path, dbt: subprocess.Popen[str] | None = None
) -> Iterator[NodeProgress]:
    """Build and test all models in a run's folder; yield each as dbt finishes it.

    ``dbt`` is a process that was started for it (`ready_dbt`; None: it is started now). Raises `DbtFailed`,
    and `ContractBroken` where a mart is not what its readers are promised.
    """
    database = build_database(run_folder)
    project = parse_sha256()
    try:
        yield from stream_dbt(dbt_arguments(), environment, run_folder, dbt, takes_kept_parse=True)
    except DbtFailed:
        # Where a mart lost a column, what reads it fails; the mart is what is to be fixed. A database that
        # dbt was killed over does not show it.
        with suppress(duckdb.Error):
            check_contract(database, is_finished=False)
        raise
    check_contract(database)
    keep_parse(target_folder(run_folder), project)


def run_build(
    environment: Mapping[str, str],
    run_folder: Path,
    report: Callable[[NodeProgress], None],
    dbt: subprocess.Popen[str] | None = None,
) -> dict[str, str]:
    """Build and test all models (`stream_build`); return what came of each, by unique id."""
    for step in stream_build(environment, run_folder, dbt):
        report(step)
    return read_statuses(target_folder(run_folder))


def dbt_arguments() -> list[str]:
    """The dbt command of a build: all models and data tests; unit tests prove models, not data.

    Nodes that dbt has running at a time share the memory of one database, and what one cannot spill the
    others lack: so there are as many as have `_MEMORY_OF_A_NODE` each, and one at least.
    """
    nodes = max(1, min(_MOST_NODES, this_process().memory_limit.of_duckdb // _MEMORY_OF_A_NODE))
    return ["build", "--exclude-resource-type", "unit_test", "--threads", str(nodes)]


def remove_old_runs(home: Path) -> None:
    """Remove what earlier runs left, but for the one that readers see and the newest, be it a failed one.

    Files that a close prepared stay too, until readers have what is committed.

    Called before a run begins, so that what readers had open when the last one was swapped in stays until
    then, and failed runs do not fill the disk.
    """
    runs = sorted(path for path in (home / "runs").iterdir() if path.is_dir())
    shown = (home / "provisional").resolve().parent
    may_be_committed = (home / ANNOUNCEMENT_NAME).exists()
    for run in runs[:-1]:
        if run.resolve() != shown and not (may_be_committed and prepared_folder(run).exists()):
            shutil.rmtree(run, ignore_errors=True)
