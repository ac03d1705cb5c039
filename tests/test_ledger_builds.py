"""`points build` from the ledger: it freezes, builds what was frozen, and knows its ledger again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from django.db import connections

from ledger.anchors import LedgerReplaced, read_anchor, write_anchor
from ledger.cut import freeze
from ledger.database import LedgerMissing, open_ledger
from ledger.databases import sqlite_file
from ledger.files.imports import import_file
from ledger.links import ledger_head
from ledger.models import AccountEvent, Close, StatusChange
from orchestration import build, runs
from orchestration.build import BuildProgress, build_months
from orchestration.dbt import invocation
from orchestration.run_lock import RunInProgress, run_lock
from simulator.transfer_files import write_transfers
from tests.conftest import (
    PROJECT_ROOT,
    LedgerHome,
    answer,
    assert_refused,
    ledger_transfer,
    postgresql_in_ci,
    read_rows,
    run_dbt,
    transfer,
)
from tests.test_build import assert_airline_figures
from tests.test_cut import record


def at(month: int, day: int = 10) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


def closing_points(home: Path, month: str) -> dict[str, str]:
    """The closing points of each relation reference in a month's roll-forward."""
    rows = read_rows(home / "provisional" / month / "provisional_points_roll_forward.csv")
    return {row["Relation Reference"]: row["Closing Points"] for row in rows}


def csv_bytes(home: Path) -> dict[str, bytes]:
    folder = (home / "provisional").resolve()
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.csv")}


def database_name(ledger_home: LedgerHome) -> str:
    from psycopg.conninfo import conninfo_to_dict

    return conninfo_to_dict(ledger_home.settings().database_url)["dbname"]


@pytest.fixture
def keep_copy(request) -> Callable[[LedgerHome], Callable[[], LedgerHome]]:
    """Keep a copy of a home's ledger as it is, as an operator would; what is returned puts it back."""

    def keep(ledger_home: LedgerHome) -> Callable[[], LedgerHome]:
        connections.close_all()
        if not ledger_home.environment:
            file = sqlite_file(ledger_home.settings())
            kept = shutil.copyfile(file, file.with_name("kept"))

            def put_back() -> LedgerHome:
                connections.close_all()
                shutil.copyfile(kept, file)
                return ledger_home

            return put_back
        import psycopg

        server = request.getfixturevalue("postgresql_server")
        name = database_name(ledger_home)
        with psycopg.connect(server, autocommit=True) as connected:
            connected.execute(f"create database {name}_kept template {name}")
        environment = {
            variable: url.replace(f"/{name}?", f"/{name}_kept?")
            for variable, url in ledger_home.environment.items()
        }
        return lambda: replace(ledger_home, environment=environment)

    return keep


@pytest.fixture
def without_ledger(request) -> Callable[[LedgerHome], LedgerHome]:
    """A home whose ledger is gone: its file, or everything in its database."""

    def lose(ledger_home: LedgerHome) -> LedgerHome:
        connections.close_all()
        if not ledger_home.environment:
            sqlite_file(ledger_home.settings()).unlink()
            return ledger_home
        import psycopg

        server = request.getfixturevalue("postgresql_server")
        name = database_name(ledger_home)
        with psycopg.connect(server, autocommit=True) as connected:
            connected.execute(f"drop database {name}")
            connected.execute(f"create database {name}")
        return ledger_home

    return lose


@pytest.mark.slow
def test_a_build_is_of_the_ledger_as_it_was_frozen_and_anew_of_all_that_came(ledger_home):
    """docs/cases.md, X7 and X9, as far as a build goes."""
    ledger = ledger_home.open(clock=lambda: at(4, 2))
    record(
        ledger,
        ledger_transfer("T1", "100.25", occurred_at=at(1)),
        ledger_transfer("T2", "8", status="pending", occurred_at=at(1)),
        ledger_transfer("T3", "5", relation_reference="C-2", status="pending", occurred_at=at(2)),
        AccountEvent(event_id="E1", relation_reference="C-3", event="open", occurred_at=at(2)),
    )
    record(ledger, StatusChange(transfer_id="T2", status="approved", changed_at=at(3)))
    arrivals = iter(range(10_000))

    def record_another(step: BuildProgress) -> None:
        if step.phase == "models":
            record(ledger, ledger_transfer(f"N{next(arrivals)}", "1000", occurred_at=at(3)))

    settings = ledger_home.settings()
    built = build_months(settings, report=record_another)
    assert ledger_head().entry_id > 20
    assert built.cutoff_entry_id == 5
    assert [month.report_month for month in built.months] == ["2026-01", "2026-02", "2026-03"]
    assert closing_points(ledger_home.home, "2026-02") == {"C-1": "100.25", "C-3": "0"}
    assert closing_points(ledger_home.home, "2026-03") == {"C-1": "108.25", "C-3": "0"}
    assert read_anchor(built.folder).entry_id == 5

    shutil.rmtree(ledger_home.home / "cut")
    again = build_months(settings, "2026-03")
    assert again.cutoff_entry_id == ledger_head().entry_id
    assert closing_points(ledger_home.home, "2026-03")["C-1"] == f"{108 + 1000 * next(arrivals)}.25"


@postgresql_in_ci
def test_what_is_late_for_a_closed_month_posts_to_the_first_open_one(ledger_home):
    """docs/cases.md, R13: the closes in force are read from the cut like everything else."""
    ledger = ledger_home.open(clock=lambda: at(4, 2))
    record(
        ledger,
        ledger_transfer("T1", "100", occurred_at=at(1)),
        ledger_transfer("T2", "10", occurred_at=at(2)),
    )
    record(
        ledger,
        *(Close(event="close", report_month=f"2026-0{n}", revision=1, cutoff_entry_id=2) for n in (1, 2, 3)),
    )
    record(ledger, Close(event="reopen", report_month="2026-03", revision=1, cutoff_entry_id=2, reason="why"))
    record(ledger, ledger_transfer("LATE", "7", occurred_at=at(1)))
    build_months(ledger_home.settings(), "2026-04", from_first_entry=True)
    closings = [closing_points(ledger_home.home, f"2026-0{month}")["C-1"] for month in (1, 2, 3, 4)]
    assert closings == ["100", "110", "117", "117"]
    posted = ledger_home.home / "provisional/2026-03/provisional_posted_transfers.parquet"
    query = "select transfer_id, is_late, occurred_at from read_parquet(?)"
    assert duckdb.sql(query, params=[str(posted)]).fetchall() == [("LATE", True, at(1).replace(tzinfo=None))]


def test_a_ledger_that_is_gone_or_an_older_copy_is_refused_behind_what_was_built(
    ledger_home, keep_copy, without_ledger, points
):
    """docs/cases.md, X12."""
    record(ledger_home.open(), ledger_transfer("T1"))
    put_back = keep_copy(ledger_home)
    record(ledger_home.open(), ledger_transfer("T2"))
    freeze(ledger_home.open())
    # As a build leaves it.
    (ledger_home.home / "provisional").mkdir()
    write_anchor(ledger_home.home / "provisional", ledger_head())
    for made_from_ledger in ("cut", "provisional"):
        if made_from_ledger == "provisional":
            shutil.rmtree(ledger_home.home / "cut")
        older = put_back()
        with pytest.raises(LedgerReplaced) as replaced:
            build_months(older.settings())
        assert (replaced.value.entry_id, replaced.value.head_entry_id) == (2, 1)
        with pytest.raises(LedgerReplaced):
            open_ledger(older.settings(), create=True)
        assert_refused(points("build", home=older.home, **older.environment), replaced.value)
    gone = without_ledger(ledger_home)
    with pytest.raises(LedgerMissing):
        build_months(gone.settings())
    with pytest.raises(LedgerMissing):
        open_ledger(gone.settings(), create=True)
    if not gone.environment:
        assert not sqlite_file(gone.settings()).exists()
    assert read_anchor(ledger_home.home / "provisional").entry_id == 2


def test_a_ledger_with_other_entries_than_the_cut_is_refused(ledger_home, keep_copy):
    """docs/cases.md, X12: an older copy that went on by itself."""
    record(ledger_home.open(), ledger_transfer("T1"))
    put_back = keep_copy(ledger_home)
    record(ledger_home.open(), ledger_transfer("T2"))
    freeze(ledger_home.open())
    (ledger_home.home / "cut").rename(ledger_home.home / "aside")
    older = put_back()
    record(older.open(), ledger_transfer("T3"))
    (older.home / "aside").rename(older.home / "cut")
    with pytest.raises(LedgerReplaced) as replaced:
        build_months(older.settings())
    assert (replaced.value.entry_id, replaced.value.head_entry_id) == (2, 2)


@pytest.mark.slow
def test_a_build_says_up_to_which_entry_the_ledger_is_in_it_and_one_of_files_remembers_none(tmp_path, points):
    home = LedgerHome(tmp_path / "home")
    record(home.open(), ledger_transfer("T1", "3"))
    result = answer(points("build", "--json", home=home.home))
    assert json.loads(result)["cutoff_entry_id"] == 1
    assert read_anchor(home.home / "provisional").entry_id == 1
    transfers = write_transfers(tmp_path / "transfers.csv", [transfer("F-1", points="5")])
    built = build_months(home.settings(POINTS_TRANSFERS=str(transfers)))
    assert built.cutoff_entry_id is None
    assert read_anchor(home.home / "provisional") is None
    assert closing_points(home.home, "2026-03") == {"C-1": "5"}


def test_dbt_gets_no_setting_of_the_ledgers_database(tmp_path, monkeypatch):
    passed = {}

    def stream_dbt(arguments, environment, folder, dbt, takes_kept_parse):
        passed.update(invocation.inherited_environment() | environment)
        raise RuntimeError("as far as this test goes")

    for name in ("POINTS_DATABASE_URL", "POINTS_DATABASE_OWNER_URL", "POINTS_USER"):
        monkeypatch.setenv(name, "postgresql://ada:secret@somewhere/points")
    monkeypatch.setattr(runs, "stream_dbt", stream_dbt)
    home = LedgerHome(tmp_path / "home")
    record(home.open(), ledger_transfer("T1"))
    settings = replace(home.settings(), database_owner_url="postgresql://ada:secret@somewhere/points")
    with pytest.raises(RuntimeError):
        build_months(settings)
    assert passed["POINTS_HOME"] == str(home.home)
    assert not [value for value in passed.values() if "secret" in value]


def test_a_freeze_waits_for_a_build_in_the_home(tmp_path, points):
    home = LedgerHome(tmp_path / "home")
    record(home.open(), ledger_transfer("T1"))
    with run_lock(home.home, "the test"):
        with pytest.raises(RunInProgress):
            build_months(home.settings())
        holder = f"the test, process {os.getpid()}"
        assert_refused(points("cut", home=home.home), RunInProgress(home.home, holder))
    assert not (home.home / "cut").exists()


def test_dbt_by_hand_builds_the_cut_of_the_home(tmp_path, points):
    home = LedgerHome(tmp_path / "home")
    record(home.open(), ledger_transfer("T1", "3"), ledger_transfer("T2", "4.5"))
    assert points("cut", home=home.home).returncode == 0
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    finished = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "build", "--exclude-resource-type", "unit_test"],
        env={
            **inherited,
            "POINTS_HOME": str(home.home),
            "DBT_TARGET_PATH": str(tmp_path / "target"),
            "DBT_LOG_PATH": str(tmp_path / "logs"),
        },
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    with duckdb.connect(str(home.home / "dev.duckdb"), read_only=True) as connection:
        assert connection.execute(
            "select transfer_id, entry_id from transfer_history order by entry_id"
        ).fetchall() == [("T1", 1), ("T2", 2)]


# On PostgreSQL `test_import_repeats.py` imports the airline's file too, and the build sees only the cut.
@pytest.mark.slow
@pytest.mark.parametrize(
    "ledger_home", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
def test_the_airline_through_the_ledger_comes_out_as_computed_elsewhere_and_twice_the_same(
    airline_ledger, airline
):
    build_months(airline_ledger.settings(), "2018-12")
    folders = {path.name: path for path in (airline_ledger.home / "provisional").glob("????-??")}
    assert_airline_figures(folders, airline, "provisional_")
    before = csv_bytes(airline_ledger.home)
    again = import_file(airline_ledger.open(), airline / "transfers.csv.gz")
    assert (again.added, again.duplicates) == (0, again.row_count)
    build_months(airline_ledger.settings(), "2018-12")
    assert csv_bytes(airline_ledger.home) == before


def test_a_home_without_a_ledger_says_what_begins_one(tmp_path):
    with pytest.raises(build.NothingToBuild) as refused:
        build_months(LedgerHome(tmp_path / "home").settings())
    assert refused.value.home == tmp_path / "home"
    assert not (tmp_path / "home").exists()


def test_dbt_by_hand_makes_a_home_that_is_not_there_wherever_it_is_started(tmp_path):
    home = tmp_path / "not" / "there"
    arguments = [
        "debug",
        "--connection",
        "--project-dir",
        str(PROJECT_ROOT),
        "--profiles-dir",
        str(PROJECT_ROOT),
    ]
    said = run_dbt(arguments, {"POINTS_HOME": str(home), "DBT_LOG_PATH": str(tmp_path / "logs")}, tmp_path)
    assert said.returncode == 0, said.stdout
    assert (home / "dev.duckdb").exists()
