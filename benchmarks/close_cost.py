"""``python -m benchmarks.close_cost``: what a close costs, where it goes, and whether it grows with history.

Months come as they do in life: a file of transfers is imported, then its month is closed. The fixed cost is
the close of a month of a hundred transfers. Then, with many transfers, month 3 is closed after two months and
month 36 after thirty-five: both hold as many transfers, so that what differs is history. Beside each, in the
same run, stands plain DuckDB SQL that adds the month's movement to the closing balances before it. Of the
revocations, one in ten is of a transfer of three months before. Prints tables in Markdown for RESULTS.md.
"""

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import duckdb

from ledger.cut import cut_folder
from ledger.database import connected_to, open_ledger
from ledger.files.imports import import_file
from ledger.settings import Settings
from orchestration.close import closing, prepared_months, publication
from orchestration.close.closing import close_months
from orchestration.report_calendar import months_between
from simulator.many_transfers import RAW_COLUMNS, select_transfers, write_query

MONTHS = months_between("2023-01", "2025-12")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
# Each part of a close, and the last step of it (`orchestration.fail_points`).
PARTS = {
    "freezing the ledger": "frozen",
    "what revocations are connected with": "related written",
    "dbt, until its first node is done": "first node",
    "dbt, all other nodes": "verdicts audited",
    "recount": "recounted",
    "files and manifests": "manifests written",
    "synced to the disk": "files synced",
    "read back in a new process": "read back",
    "commit, links, database": "finished",
}


def import_month(settings: Settings, folder: Path, number: int, transfers: int, relations: int) -> None:
    """Add a month's transfers to the ledger of a home."""
    path = folder / "month.parquet"
    query = select_transfers(
        transfers,
        relations,
        first=(number - 1) * transfers,
        first_day=f"{MONTHS[number - 1]}-01",
        days=28,
        long_before=3 * transfers,
    )
    write_query(path, f"select {RAW_COLUMNS} from ({query})")
    import_file(open_ledger(settings, create=True), path)


def time_close(settings: Settings, through: str) -> dict[str, float]:
    """Seconds of a close by part, and of all of it."""
    marks: dict[str, float] = {}

    def mark(step: str) -> None:
        marks.setdefault(
            "first node" if step in ("model built", "test passed") else step, time.perf_counter()
        )

    with (
        patch.object(closing, "fail_point", mark),
        patch.object(prepared_months, "fail_point", mark),
        patch.object(publication, "fail_point", lambda step: None),
    ):
        started = time.perf_counter()
        close_months(settings, through=through, now=NOW)
        marks["finished"] = time.perf_counter()
    parts, before = {}, started
    for part, step in PARTS.items():
        parts[part] = marks.get(step, before) - before
        before = marks.get(step, before)
    return {**parts, "whole close": marks["finished"] - started}


def time_plain_sql(home: Path, month: str) -> float:
    """Seconds that plain DuckDB takes to add a month's movement to the closing balances before it."""
    before = months_between(MONTHS[0], month)[-2]
    started = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(f"""
            create table closing as
            select relation_reference, sum(points) as points from (
                select relation_reference, closing_points as points
                from '{home}/published/{before}/current/outstanding_points_by_month.parquet'
                union all
                select relation_reference, case when style = 'give' then points else -points end
                from '{cut_folder(home)}/transfers/*.parquet'
                where occurred_at >= date '{month}-01' and occurred_at < date '{month}-01' + interval 1 month
            ) group by relation_reference
        """)
        (plain,) = connection.execute("select sum(points) from closing").fetchone()
        (closed,) = connection.execute(
            "select sum(closing_points)"
            f" from '{home}/published/{month}/current/outstanding_points_by_month.parquet'"
        ).fetchone()
    elapsed = time.perf_counter() - started
    assert plain == closed, (plain, closed)
    return elapsed


def table(title: str, columns: list[tuple[str, dict[str, float], float]]) -> str:
    """A Markdown table: a row a part, two columns a close."""
    names = "".join(f" {name}, seconds | times plain SQL |" for name, _, _ in columns)
    lines = [f"| {title} |{names}", "|---|" + "---|---|" * len(columns)]
    plain = "".join(f" {seconds:.2f} | 1.0 |" for _, _, seconds in columns)
    lines.append(f"| plain DuckDB SQL: the month's movement on the balances before |{plain}")
    for part in columns[0][1]:
        cells = "".join(
            f" {parts[part]:.2f} | {parts[part] / seconds:.1f} |" for _, parts, seconds in columns
        )
        lines.append(f"| {part} |{cells}")
    return "\n".join(lines)


def measure_fixed_cost(folder: Path) -> str:
    """The close of a month of a hundred transfers, three times in a row; the median of each part."""
    settings = Settings.from_environment({"POINTS_HOME": str(folder / "small")})
    with connected_to(settings):
        runs = []
        for number in range(1, 6):
            import_month(settings, folder, number, 100, 10)
            runs.append(time_close(settings, MONTHS[number - 1]))
    parts = {part: statistics.median(run[part] for run in runs[2:]) for part in runs[0]}
    return table(
        "100 transfers of 10 relation references",
        [("a close", parts, time_plain_sql(settings.home, MONTHS[4]))],
    )


def measure_history(folder: Path, transfers: int, relations: int) -> str:
    """Month 3 after two months, and month 36 after thirty-five."""
    settings = Settings.from_environment({"POINTS_HOME": str(folder / "large")})
    monthly = transfers // len(MONTHS)
    columns = []
    with connected_to(settings):
        for number, month in enumerate(MONTHS, start=1):
            import_month(settings, folder, number, monthly, relations)
            if number in (2, 35):
                close_months(settings, through=month, now=NOW)
            if number in (3, 36):
                parts = time_close(settings, month)
                columns.append((f"month {number}", parts, time_plain_sql(settings.home, month)))
    return table(
        f"{transfers:,} transfers of {relations:,} relation references, {monthly:,} a month", columns
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.close_cost", description=__doc__)
    parser.add_argument("--transfers", type=int, default=10_000_000)
    parser.add_argument("--relations", type=int, default=200_000)
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
        f" DuckDB {duckdb.__version__}\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="points_bench_") as name:
        print(measure_fixed_cost(Path(name)), "\n", flush=True)
        print(measure_history(Path(name), arguments.transfers, arguments.relations), flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"\nPeak memory of dbt and other children: {peak:,} MiB; load {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
