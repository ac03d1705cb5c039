"""One more month by the incremental engines that a team may have instead: dbt's microbatch, and SQLMesh where
it is installed.

Both keep one mart, a month's movements by customer, bucket and reason, in a DuckDB file, from the transfers
that the project posted, and have made every month but the last. Measured is the command that adds that one:
no balances, no test, no file, nothing recounted, so it is what such an engine costs before it does what a
close does. Its rows must be the project's.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import duckdb

from benchmarks.measured import Measured, run_measured
from ledger.data_files import read_parquet

MOVEMENTS = """
select
    posting_month as report_month, currency, relation_reference, bucket, reason,
    sum(case style when 'give' then points else -points end) as signed_points,
    count(*) as transfer_count
"""
DBT = {
    "dbt_project.yml": """
        name: one_month
        profile: one_month
        flags: {send_anonymous_usage_stats: false}
        """,
    "profiles.yml": """
        one_month:
          target: month
          outputs:
            month: {type: duckdb, path: marts.duckdb, threads: 2, settings: {TimeZone: UTC}}
        """,
    "models/sources.yml": """
        sources:
          - name: main
            tables:
              - name: posted
                config: {event_time: posting_month}
        """,
    "models/movements.sql": """
        {{ config(
            materialized='incremental', incremental_strategy='microbatch',
            event_time='report_month', batch_size='month', begin='2023-01-01'
        ) }}
        """
    + MOVEMENTS
    + "from {{ source('main', 'posted') }} group by all",
}
SQLMESH = {
    "config.yaml": """
        gateways: {local: {connection: {type: duckdb, database: marts.duckdb}}}
        default_gateway: local
        model_defaults: {dialect: duckdb, start: 2023-01-01}
        disable_anonymized_analytics: true
        """,
    "models/movements.sql": """
        MODEL (
            name main.movements, kind INCREMENTAL_BY_TIME_RANGE (time_column report_month), cron '@monthly',
            start '2023-01-01'
        );
        """
    + MOVEMENTS
    + "from main.posted where posting_month between @start_date and @end_date group by all",
}


def measure_incremental(folder: Path, published: Path, months: Sequence[str]) -> dict[str, Measured]:
    """What each took to add the last of ``months``, by name; rows that differ end it."""
    first, last = f"{months[0]}-01", f"{months[-1]}-01"
    with duckdb.connect() as database:
        (end, last_day) = database.execute(
            f"select (date '{last}' + interval 1 month)::date::varchar, last_day(date '{last}')::varchar"
        ).fetchone()
    dbt = [Path(sys.executable).with_name("dbt"), "run", "--project-dir", ".", "--profiles-dir", "."]
    ways = {
        "dbt's microbatch": (
            DBT,
            [*dbt, "--event-time-start", first, "--event-time-end", last],
            [*dbt, "--event-time-start", last, "--event-time-end", end],
        ),
    }
    if sqlmesh := shutil.which("sqlmesh"):
        ways["SQLMesh"] = (
            SQLMESH,
            [sqlmesh, "plan", "--auto-apply", "--no-prompts", "--execution-time", last],
            [sqlmesh, "run", "--ignore-cron", "--start", last, "--end", last_day],
        )
    posted = [published / month / "current" / "posted_transfers.parquet" for month in months]
    found = {}
    for name, (files, earlier, command) in ways.items():
        project = folder / name.replace("'", "").replace(" ", "_")
        for path, text in files.items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(dedent(text), encoding="utf-8")
        with duckdb.connect(str(project / "marts.duckdb")) as database:
            database.execute(f"create view posted as from {read_parquet(posted)}")
        run_measured(earlier, project)
        found[name] = run_measured(command, project)
        _compare(project / "marts.duckdb", published / months[-1] / "current", last)
    return found


def _compare(marts: Path, month: Path, report_month: str) -> None:
    columns = "currency, relation_reference, bucket, reason, signed_points::decimal(38, 4), transfer_count"
    projects = f"select {columns} from {read_parquet(month / 'points_movements_by_month.parquet')}"
    theirs = f"select {columns} from movements where report_month = date '{report_month}'"
    with duckdb.connect(str(marts), read_only=True) as database:
        for one, other in ((projects, theirs), (theirs, projects)):
            (differing,) = database.execute(f"select count(*) from ({one} except all {other})").fetchone()
            if differing:
                raise SystemExit(f"{differing} rows of movements in {marts} are not those of the project.")


def table(found: dict[str, Measured], close: str) -> list[str]:
    """A Markdown table; ``close`` names the close that made the same month."""
    lines = [] if "SQLMesh" in found else ["SQLMesh is not installed, and was not measured.", ""]
    lines += [f"| one mart of {close}, no test, no file | s | MiB |", "|---|---|---|"]
    return lines + [f"| {name} | {one.seconds:.1f} | {one.peak_memory:,} |" for name, one in found.items()]
