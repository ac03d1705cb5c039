"""The models give the same rows on Spark, which runs within dbt's own process and needs no server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from ledger.zones import read_zone
from tests.conftest import run_dbt

ROOT = Path(__file__).parents[1]
MARTS = sorted(path.stem for path in (ROOT / "dbt_project" / "models" / "marts").glob("*.sql"))

# A mart's rows, each a value for each column, as text; null is None.
Mart = list[dict[str, str | None]]

pytestmark = [pytest.mark.spark, pytest.mark.slow]

# dbt and the reading of its marts share one process, and so one start of Java.
BUILD_AND_READ = """
import json, pathlib, sys
from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession

*arguments, marts, answer = sys.argv[1:]
if not dbtRunner().invoke(["build", "--target", "spark", "--no-use-colors", *arguments]).success:
    sys.exit(1)
session = SparkSession.builder.getOrCreate()
rows = {}
for mart in marts.split():
    table = session.table("outstanding_points." + mart)
    texts = table.selectExpr(*[f"cast({column} as string) as {column}" for column in table.columns])
    rows[mart] = [row.asDict() for row in texts.collect()]
pathlib.Path(answer).write_text(json.dumps(rows), encoding="utf-8")
"""

# To compile each query takes Spark longer than to interpret it for a few hundred rows.
QUICK_FOR_FEW_ROWS = """
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.sql.adaptive.enabled false
"""
# Nor does Java earn back, in a minute, what its second compiler and collectors in threads of their own cost:
# 106 s of a processor for the sample, and 67 without them.
QUICK_TO_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture(scope="module", autouse=True)
def _spark_is_here() -> None:
    """Skip where Spark is not installed, and say so; in CI it must be."""
    missing = [] if shutil.which("java") or os.environ.get("JAVA_HOME") else ["Java"]
    missing += [name for name in ("pyspark", "dbt.adapters.spark") if not find_spec(name)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} not found, and in CI nothing is skipped: `.ci/run` installs it.")
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: Spark needs Java 17 and `make spark`.")


def test_the_sample_gives_the_same_rows_on_spark_with_every_data_test_green(tmp_path: Path) -> None:
    """docs/cases.md, X21: in a zone whose clocks change four times a year; DuckDB reads the changes itself,
    Spark is handed them."""
    zone = read_zone("Asia/Hebron")
    on_duckdb = build_on_duckdb(tmp_path / "duckdb", POINTS_TIME_ZONE=zone.name)
    on_spark = build_on_spark(tmp_path / "spark", POINTS_TIME_ZONE=zone.name, POINTS_ZONE_CHANGES=zone.text)

    assert [mart for mart in MARTS if not on_duckdb[mart]] == [], "a mart without rows proves nothing"
    assert_same_rows(on_duckdb, on_spark)
    left_behind = [
        name for name in ("metastore_db", "derby.log", "spark-warehouse") if (ROOT / name).exists()
    ]
    assert left_behind == [], "what Spark keeps belongs into POINTS_HOME"


@pytest.mark.long
def test_parquet_and_a_chain_of_110_revocations_give_the_same_rows_on_spark(tmp_path: Path) -> None:
    """By default, Spark gives a recursion up after 100 steps, and takes the style of every
    transfer from the folder that they are in (docs/cases.md, F18)."""
    settings = write_relations(tmp_path, revocations=110) | {
        "POINTS_TIME_ZONE": "Europe/Berlin",
        "POINTS_ZONE_CHANGES": read_zone("Europe/Berlin").text,
        "POINTS_MONTH_START_DAY": "15",
    }
    on_duckdb = build_on_duckdb(tmp_path / "duckdb", "test", **settings)
    on_spark = build_on_spark(tmp_path / "spark", "test", **settings)

    assert_same_rows(on_duckdb, on_spark)
    history = {row["transfer_id"]: row for row in on_spark["transfer_history"]}
    assert len(history) == 117
    (quarantined,) = on_spark["quarantined_transfers"]
    assert (quarantined["transfer_id"], quarantined["rejection_code"]) == ("LINKED", "REVERSES")
    assert history["AHEAD"]["unrevoked_points"] == "0.0000"
    assert {history[f"R-{step:03}"]["bucket"] for step in range(1, 111)} == {"reversal"}
    assert history["G-0"]["unrevoked_points"] == "100.0000"
    assert history["WAITED"]["status"] == "approved"
    assert history["WAITED"]["effective_at"] == "2026-02-02 10:00:00.000001"
    assert (history["LATE"]["is_late"], history["LATE"]["posting_month"]) == ("true", "2026-03-01")
    assert history["GAP"]["occurred_at"] == "2026-03-29 01:30:00.25"
    assert history["FOLD"]["occurred_at"] == "2026-10-25 00:30:00"


@pytest.mark.long
def test_a_file_whose_folder_says_a_column_that_it_lacks_is_refused_by_spark_too(tmp_path: Path) -> None:
    """docs/cases.md, F18."""
    settings = write_relations(tmp_path, revocations=1)
    lying = tmp_path / "transfers.parquet" / "currency=MILES"
    (tmp_path / "transfers.parquet" / "style=give").rename(lying)
    with pytest.raises(AssertionError, match="has no column 'currency', though its path says currency="):
        build_on_spark(tmp_path / "spark", "test", **settings)


def write_relations(folder: Path, revocations: int) -> dict[str, str]:
    """Write one Parquet file for each relation that a setting can name; the settings that name them.

    G-0 is revoked, its revocation is revoked, and so on. LATE comes after the close of its month, in its last
    second; GAP and FOLD occurred at a wall clock that Berlin skips, and one that it has twice. LINKED has a
    link though it revokes nothing (docs/cases.md, R24); AHEAD is dated ahead, and UNDONE undoes it then
    (R26).
    """
    transfers = [
        ("G-0", "C-1", "give", "100", "rule_credit", "2026-01-20T12:00:00Z", "", "", "1"),
        ("WAITED", "C-2", "give", "7.0001", "tier_bonus", "2026-01-21T12:00:00Z", "pending", "", "2"),
        ("LATE", "C-2", "give", "12345678901234.5678", "rule_credit", "2026-02-14T22:59:59Z", "", "", "900"),
        ("GAP", "C-3", "give", "1", "rule_credit", "2026-03-29 02:30:00.25", "", "", "901"),
        ("FOLD", "C-3", "give", "1", "rule_credit", "2026-10-25 02:30:00", "", "", "902"),
        ("LINKED", "C-3", "give", "1", "rule_credit", "2026-03-02T08:00:00Z", "", "G-0", "903"),
        ("AHEAD", "C-4", "give", "5", "rule_credit", "2026-12-02T08:00:00Z", "", "", "904"),
        ("UNDONE", "C-4", "deduct", "5", "revocation", "2026-12-02T08:00:00Z", "", "AHEAD", "905"),
    ]
    original = "G-0"
    for step in range(1, revocations + 1):
        style = "deduct" if step % 2 else "give"
        revocation = f"R-{step:03}"
        transfers.append(
            (
                revocation,
                "C-1",
                style,
                "100",
                "revocation",
                "2026-03-01T08:00:00Z",
                "",
                original,
                str(9 + step),
            )
        )
        original = revocation
    relations = {
        "transfers": (
            "transfer_id varchar, relation_reference varchar, style varchar, points varchar, reason varchar,"
            " occurred_at varchar, status varchar, reverses_transfer_id varchar, entry_id varchar",
            transfers,
        ),
        "status_changes": (
            "entry_id bigint, transfer_id varchar, status varchar, changed_at timestamp",
            [
                (3, "WAITED", "on_hold", "2026-02-01 10:00:00"),
                (4, "WAITED", "approved", "2026-02-02 10:00:00.000001"),
            ],
        ),
        "account_events": (
            "entry_id bigint, relation_reference varchar, event varchar, occurred_at timestamp",
            [(5, "C-9", "open", "2026-01-22 10:00:00"), (6, "C-9", "close", "2026-02-20 10:00:00")],
        ),
        "closes": (
            "entry_id bigint, event varchar, report_month date, revision integer, cutoff_entry_id bigint",
            [(800, "close", "2026-01-01", 1, 500), (801, "close", "2026-02-01", 1, 500)],
        ),
    }
    with duckdb.connect() as database:
        for name, (columns, rows) in relations.items():
            database.execute(f"create table {name} ({columns})")
            database.executemany(f"insert into {name} values ({', '.join('?' * len(rows[0]))})", rows)
            file = folder / f"{name}.parquet"
            if name == "transfers":
                # Named as the folder, which is all that Spark knows of it.
                file = file / "style=give" / "transfers.parquet"
                file.parent.mkdir(parents=True)
            database.execute(f"copy {name} to '{file}'")
    return {f"POINTS_{name.upper()}": f"{folder / name}.parquet" for name in relations}


def build_on_duckdb(home: Path, *resource_types_left_out: str, **settings: str) -> dict[str, Mart]:
    """Build into an empty home on DuckDB; the rows of each mart."""
    left_out = ["--exclude-resource-type", "unit_test", *resource_types_left_out, "--log-level", "info"]
    home.mkdir()
    finished = run_dbt(["build", "--no-use-colors", *left_out], {**settings, **places(home)}, ROOT)
    assert finished.returncode == 0, finished.stdout
    with duckdb.connect(str(home / "dev.duckdb"), read_only=True) as database:
        return {
            mart: [
                dict(zip(texts.columns, row, strict=True))
                for texts in [database.sql(f"select cast(columns(*) as varchar) from {mart}")]
                for row in texts.fetchall()
            ]
            for mart in MARTS
        }


def build_on_spark(home: Path, *resource_types_left_out: str, **settings: str) -> dict[str, Mart]:
    """Build into an empty home on Spark; the rows of each mart."""
    answer = home / "marts.json"
    quick = home.with_name("quick")
    quick.mkdir()
    (quick / "spark-defaults.conf").write_text(QUICK_FOR_FEW_ROWS, encoding="utf-8")
    left_out = ["--exclude-resource-type", "unit_test", *resource_types_left_out, "--log-level", "info"]
    home.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    finished = subprocess.run(
        [sys.executable, "-c", BUILD_AND_READ, *left_out, " ".join(MARTS), answer],
        cwd=ROOT,
        env={
            **inherited,
            **settings,
            **places(home),
            "SPARK_CONF_DIR": str(quick),
            "JAVA_TOOL_OPTIONS": QUICK_TO_START,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(answer.read_text(encoding="utf-8"))


def places(home: Path) -> dict[str, str]:
    """The settings by which dbt keeps all that it writes in ``home``."""
    return {
        "POINTS_HOME": str(home),
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
    }


def assert_same_rows(on_duckdb: dict[str, Mart], on_spark: dict[str, Mart]) -> None:
    """The same columns in the same order, and the same rows, as often as they are there."""
    for mart in MARTS:
        assert sorted(map(repr, on_spark[mart])) == sorted(map(repr, on_duckdb[mart])), mart
