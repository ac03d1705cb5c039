"""``make bench``: what a build costs, against plain hand-written DuckDB SQL making its tables.

Two measurements, both in this run and on this machine: the fixed cost, a build of a hundred transfers, nearly
all of which is not SQL on data; and a build of many. Prints tables in Markdown for RESULTS.md. `plain.sql`
makes the five big tables (transfers with bucket and month, movements, balances by month, programme,
customers), and none of what else a build does: judging rows, statuses, closes, pending, discrepancies,
tests, files.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import duckdb

from ledger.settings import PROJECT_ROOT, Settings
from orchestration.build import BuildProgress, build_months
from simulator.many_transfers import RAW_COLUMNS, select_transfers, write_query


def time_plain_sql(input_file: Path, folder: Path) -> float:
    """Seconds that `plain.sql` takes, in a database on disk."""
    script = (Path(__file__).with_name("plain.sql")).read_text(encoding="utf-8")
    database = folder / "plain.duckdb"
    database.unlink(missing_ok=True)
    started = time.perf_counter()
    with duckdb.connect(str(database)) as connection:
        connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = false")
        connection.execute(f"set variable input = '{input_file}'")
        connection.execute(
            f"create table rules as select * from read_csv('{PROJECT_ROOT}/seeds/transfer_reasons.csv')"
        )
        connection.execute(script)
    return time.perf_counter() - started


def time_build(input_file: Path, home: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a build by part, and of each model and test by name as dbt took them."""
    settings = Settings.from_environment({"POINTS_HOME": str(home), "POINTS_TRANSFERS": str(input_file)})
    marks: dict[str, float] = {}

    def mark(progress: BuildProgress) -> None:
        now = time.perf_counter()
        marks.setdefault(f"first {progress.phase}", now)
        marks[f"last {progress.phase}"] = now

    started = time.perf_counter()
    build = build_months(settings, None, mark)
    ended = time.perf_counter()
    results = json.loads(
        (home / "runs" / build.run / "target" / "run_results.json").read_text(encoding="utf-8")
    )["results"]
    nodes = {result["unique_id"].split(".")[2]: result["execution_time"] for result in results}
    tests = {
        result["unique_id"].split(".")[2] for result in results if result["unique_id"].startswith("test.")
    }
    parts = {
        "dbt, until its first node is done": marks["first models"] - started,
        "dbt, all other nodes": marks["last models"] - marks["first models"],
        "files": ended - marks["last models"],
        "whole build": ended - started,
    }
    shares = {
        "models": sum(seconds for name, seconds in nodes.items() if name not in tests),
        "tests": sum(seconds for name, seconds in nodes.items() if name in tests),
        **nodes,
    }
    return parts, shares


def check_agreement(folder: Path, home: Path) -> None:
    """Both ways made the same numbers, or the comparison is worth nothing."""
    query = (
        "select report_month, opening_points, earned_points, reversal_points, redeemed_points,"
        " expired_points, closing_points, relation_count, negative_relation_count from {} order by 1"
    )
    with duckdb.connect(str(folder / "plain.duckdb"), read_only=True) as connection:
        plain = connection.execute(query.format("programme_points_by_month")).fetchall()
    files = str(home / "provisional" / "*" / "provisional_programme_points_by_month.parquet")
    assert duckdb.sql(query.format(f"read_parquet('{files}')")).fetchall() == plain


def measure(folder: Path, transfers: int, relations: int, repeat: int) -> list[str]:
    """Lines of a Markdown table: each part in seconds, the median of ``repeat`` runs, and the ratio."""
    input_file = folder / f"transfers_{transfers}.parquet"
    query = select_transfers(transfers, relations)
    write_query(input_file, f"select {RAW_COLUMNS} from ({query})")
    plain, builds = [], []
    home = folder / f"home_{transfers}"
    for _ in range(repeat):
        plain.append(time_plain_sql(input_file, folder))
        builds.append(time_build(input_file, home))
        check_agreement(folder, home)
    shutil.rmtree(home)
    baseline = statistics.median(plain)
    lines = [
        f"| {transfers:,} transfers of {relations:,} relation references | seconds | times plain SQL |",
        "|---|---|---|",
        f"| plain DuckDB SQL: the five tables of plain.sql | {baseline:.2f} | 1.0 |",
    ]
    for part in builds[0][0]:
        seconds = statistics.median(parts[part] for parts, _ in builds)
        lines.append(f"| {part} | {seconds:.2f} | {seconds / baseline:.1f} |")
    shares = builds[-1][1]
    for name in ("models", "tests"):
        lines.append(f"| of which dbt says, {name} (four at a time) | {shares[name]:.2f} | |")
    slowest = sorted(shares.items(), key=lambda share: -share[1])
    named = [f"`{name}` {seconds:.1f}" for name, seconds in slowest if name not in ("models", "tests")]
    return [*lines, "", f"The slowest: {', '.join(named[:8])}."]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--transfers", type=int, default=10_000_000)
    parser.add_argument("--relations", type=int, default=200_000)
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__},"
        " 36 months\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="points_bench_") as name:
        folder = Path(name)
        print("\n".join(measure(folder, 100, 10, repeat=3)), "\n", flush=True)
        print("\n".join(measure(folder, arguments.transfers, arguments.relations, repeat=1)), flush=True)


if __name__ == "__main__":
    main()
