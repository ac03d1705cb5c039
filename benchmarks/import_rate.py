"""``python -m benchmarks.import_rate``: rows a second of import into SQLite and into PostgreSQL.

Each import is a process of its own, into a ledger that holds nothing yet, from the first look at the file to
the commit; its peak memory is that process's. Beside it, in the same run, stands what plain DuckDB SQL takes
to read the same file, match every value against its pattern and look for ids that stand twice, which is the
least that checking can cost. PostgreSQL comes out of a wheel, as in the tests, with its settings by default.
Prints a table in Markdown for RESULTS.md.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.databases import databases
from ledger.database import connected_to, open_ledger
from ledger.files.imports import import_file
from ledger.models import Transfer
from ledger.settings import Settings, transfer_patterns
from ledger.upkeep.verification import verify
from simulator.many_transfers import RAW_COLUMNS, select_transfers, write_query


@dataclass(frozen=True)
class Measured:
    """Seconds of one way over the file, and the peak memory of its process in MiB."""

    seconds: float
    peak_memory: int


def write_input(path: Path, rows: int, random_ids: bool) -> None:
    """A CSV of transfers over 36 months, of a fiftieth as many customers."""
    query = select_transfers(rows, max(rows // 50, 10), random_ids=random_ids)
    write_query(
        path,
        f"select {RAW_COLUMNS}, currency, status, 'order-' || number as external_reference from ({query})",
        "format csv, header, timestampformat '%Y-%m-%dT%H:%M:%SZ'",
    )


def check_in_plain_sql(path: Path) -> None:
    """Read the file, judge its values, and look for repeated ids; nothing is kept."""
    patterns = transfer_patterns()
    with duckdb.connect(":memory:") as database:
        database.execute("set threads = 2")
        database.execute("set memory_limit = '1GB'")
        database.execute("set temp_directory = ?", [str(path.parent / "spill")])
        database.execute(
            f"""
            create table checked as
            select
                transfer_id,
                regexp_full_match(transfer_id, '{patterns["identifier"]}')
                and regexp_full_match(relation_reference, '{patterns["identifier"]}')
                and regexp_full_match(points, '{patterns["points"]}')
                and try_cast(points as decimal(18, 4)) > 0
                and regexp_full_match(occurred_at, '{patterns["instant"]}')
                and try_cast(occurred_at as timestamptz) is not null
                and style in ('give', 'deduct')
                and status in ('approved', 'pending', 'on_hold', 'cancelled') as is_good
            from read_csv($file, all_varchar = true)
            """,
            {"file": str(path)},
        )
        assert database.execute("select count(*) from checked where not is_good").fetchone() == (0,)
        repeated = "select transfer_id from checked group by transfer_id having count(*) > 1"
        assert database.execute(repeated).fetchall() == []


def import_whole(path: Path, environment: dict[str, str], rows: int) -> float:
    """Import the file into a new ledger and give the seconds that it took."""
    settings = Settings.from_environment(environment)
    with connected_to(settings):
        ledger = open_ledger(settings, create=True)
        result = import_file(ledger, path)
        assert result.added == rows
        return result.seconds


def timed(act, *arguments) -> Measured:
    """Run ``act`` in a process of its own; where it gives seconds, those are taken."""
    processes = multiprocessing.get_context("spawn")
    queue = processes.Queue()
    process = processes.Process(target=_tell, args=(queue, act, arguments))
    process.start()
    measured = queue.get()
    process.join()
    if isinstance(measured, BaseException):
        raise measured
    return measured


def _tell(queue, act, arguments) -> None:
    started = time.perf_counter()
    try:
        seconds = act(*arguments) or time.perf_counter() - started
    except BaseException as error:
        queue.put(error)
        raise
    queue.put(Measured(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def measure(folder: Path, rows: int, random_ids: bool, check: bool) -> list[str]:
    """The lines of the table for one file."""
    path = folder / "transfers.csv"
    write_input(path, rows, random_ids)
    what = (
        f"{rows:,} rows, ids {'random' if random_ids else 'ascending'}, {path.stat().st_size / 1e6:,.0f} MB"
    )
    plain = timed(check_in_plain_sql, path)
    lines = [_line(what, "plain DuckDB SQL: read and checked, kept nowhere", rows, plain, plain)]
    with databases(folder) as settings:
        for name, environment in settings.items():
            imported = timed(import_whole, path, environment, rows)
            lines.append(_line(what, f"import into {name}", rows, imported, plain))
            if check:
                imported_into = Settings.from_environment(environment)
                with connected_to(imported_into):
                    verify(imported_into)
                    assert Transfer.objects.count() == rows
    return lines


def _line(what: str, way: str, rows: int, measured: Measured, plain: Measured) -> str:
    return (
        f"| {what} | {way} | {measured.seconds:.1f} | {rows / measured.seconds:,.0f} |"
        f" {measured.seconds / plain.seconds:.1f} | {measured.peak_memory:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_rate", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--random-ids", action="store_true", help="ids as of a random generator")
    parser.add_argument("--verify", action="store_true", help="verify every entry and link afterwards")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, Python"
        f" {platform.python_version()}, DuckDB {duckdb.__version__}\n"
    )
    print("| file | way | seconds | rows a second | times plain SQL | peak MiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="points_import_") as folder:
            lines = measure(Path(folder), rows, arguments.random_ids, arguments.verify)
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
