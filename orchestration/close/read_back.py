"""Reads prepared months back from the disk, in a process of its own, before they are published.

Run as ``python -m orchestration.close.read_back <folder>``: every revision in the folder must be what its
manifest says, and its CSV files must say what its Parquet files and its control totals say. What differs goes
to standard output, one sentence a line.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect, read_parquet
from ledger.disk import LackOfRoom, drop_from_cache, lack_of_room
from ledger.errors import PointsError
from ledger.settings import PROJECT_ROOT
from orchestration.file_checks import FILE_CHECKS, RESTATEMENT_CHECKS
from orchestration.published.manifests import PublishedDamaged, check_files, read_manifest

# Of a file that is read in its order, DuckDB reads with one thread.
_CHECKS_AT_ONCE = 2


class ReadBackDiffers(PointsError):
    """What was written is not what is read."""

    code = "READ_BACK"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            f"The files were written but do not read back as they should, so nothing was published:"
            f" {' '.join(problems[:3])} Look at the disk, and run the same command again."
        )


class ReadBackUnfinished(PointsError):
    """What was written could not be read to its end."""

    def __init__(self, lack: LackOfRoom) -> None:
        super().__init__(lack.sentence(" while the files were read back, so nothing was published"))


def read_back(folder: Path) -> None:
    """Read the prepared months of ``folder`` in a new process; raise `ReadBackDiffers`, or
    `ReadBackUnfinished`."""
    finished = run_reader(folder)
    if lack := lack_of_room(finished.stderr):
        raise ReadBackUnfinished(lack)
    problems = finished.stdout.splitlines()
    if finished.returncode != 0 and not problems:
        problems = [
            f"the process that reads them ended with status {finished.returncode}: "
            + (finished.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        ]
    if problems:
        raise ReadBackDiffers(problems)


def run_reader(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run this module for ``folder`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "orchestration.close.read_back", str(folder)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def find_differences(folder: Path) -> Iterator[str]:
    """The differences in the prepared months of ``folder``, one sentence each."""
    with connect() as duck:
        yield from _differences(duck, folder)


def _differences(duck: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[str]:
    for revision in sorted(folder.glob("*/r*")):
        for path in revision.iterdir():
            drop_from_cache(path)
        try:
            manifest = read_manifest(revision)
            check_files(revision, manifest)
        except PublishedDamaged as error:
            yield f"{error.path} {error.finding}."
            continue
        yield from _differences_of_month(duck, revision, manifest)


def _differences_of_month(duck: duckdb.DuckDBPyConnection, folder: Path, manifest: dict) -> Iterator[str]:
    default_currency = manifest["sealed_settings"]["default_currency"]
    checks = (*FILE_CHECKS, *(RESTATEMENT_CHECKS if manifest["revision"] > 1 else ()))
    for currency, totals in manifest["control_totals"].items():
        with ThreadPoolExecutor(max_workers=_CHECKS_AT_ONCE) as pool:
            looks = [
                pool.submit(check.find, duck.cursor(), folder, currency, default_currency, "closed")
                for check in checks
            ]
        for check, look in zip(checks, looks, strict=True):
            path, finding = look.result()
            if not finding.holds:
                yield f"{path}, {check.name}: expected {finding.expected}, found {finding.found}."
        yield from _totals_that_differ(duck, folder, currency, totals)


def _totals_that_differ(
    connection: duckdb.DuckDBPyConnection, folder: Path, currency: str, totals: dict
) -> Iterator[str]:
    """Each file's sums against the control totals, which were counted without the models."""
    signed = "case when style = 'give' then points else -points end"
    in_bucket = ", ".join(
        f"sum(case when bucket = '{bucket}' then {'' if bucket == 'earned' else '-'}({signed}) end)"
        f" as {bucket}_points"
        for bucket in ("earned", "reversal", "redeemed", "expired")
    )
    movement = ", ".join(
        f"sum({name}_points) as {name}_points"
        for name in ("opening", "earned", "reversal", "redeemed", "expired", "closing")
    )
    questions = {
        "outstanding_points_by_month.parquet": f"count(*) as relation_references, {movement}",
        "posted_transfers.parquet": f"count(*) as posted_transfers, {in_bucket}",
        "programme_points_by_month.parquet": movement,
        "unposted_transfers.parquet": "count(*) filter (disposition = 'later') as transfers,"
        " sum(points) filter (disposition = 'later' and style = 'give') as given_points,"
        " sum(points) filter (disposition = 'later' and style = 'deduct') as deducted_points",
    }
    for name, figures in questions.items():
        path = folder / name
        if not path.exists():
            continue  # unposted transfers, but for the last month of a run
        expected = totals["later"] if name.startswith("unposted") else totals
        result = connection.execute(
            f"select {figures} from {read_parquet(path)} where currency = ?", [currency]
        )
        for column, value in zip(
            [column[0] for column in result.description], result.fetchone(), strict=True
        ):
            text = points_text(value or 0) if column.endswith("_points") else value
            if text != expected[column]:
                yield f"{path} has {column} {text} in {currency}, where the recount says {expected[column]}."


def main() -> None:
    """Print what differs in the folder that the command names."""
    for difference in find_differences(Path(sys.argv[1])):
        print(difference)


if __name__ == "__main__":
    main()
