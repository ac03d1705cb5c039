"""POINTS_MEMORY_LIMIT and POINTS_THREADS: what they may be, and that every DuckDB database has them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from dbt_common.exceptions import DbtRuntimeError

from ledger import process
from ledger.data_files import connect, fetch_rows
from ledger.disk import lack_of_room
from ledger.settings import SettingInvalid, Settings
from orchestration.close.read_back import find_differences
from orchestration.home_folder import Plugin
from orchestration.runs import dbt_arguments
from tests.conftest import PROJECT_ROOT

# More than fits into the memory that it is tried with, but for what DuckDB can spill.
MUCH = "select range as number, hash(range)::varchar as text from range(2_000_000)"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home of this process, with little memory and one thread."""
    monkeypatch.setenv("POINTS_HOME", str(tmp_path))
    monkeypatch.setenv("POINTS_MEMORY_LIMIT", "320MiB")
    monkeypatch.setenv("POINTS_THREADS", "1")
    return tmp_path


def limits(duck: duckdb.DuckDBPyConnection) -> tuple[str, int, str]:
    names = ("memory_limit", "threads", "temp_directory")
    return duck.execute(f"select {', '.join(f'current_setting({name!r})' for name in names)}").fetchone()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("POINTS_MEMORY_LIMIT", ["4", "4 gigs", "GiB", "-4GiB", "4gib", "0GiB", "1MB", "0%", "101%", "60 %"]),
        ("POINTS_THREADS", ["0", "-1", "2.5", "two", "1025"]),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused(name, values):
    for value in values:
        with pytest.raises(SettingInvalid) as refused:
            Settings.from_environment({name: value})
        assert (refused.value.name, refused.value.value) == (name, value)


def test_an_amount_is_what_it_says_and_a_share_is_of_the_machine():
    def read(text: str) -> int:
        return Settings.from_environment({"POINTS_MEMORY_LIMIT": text}).memory_limit.bytes

    assert [read(text) for text in ("4GiB", "1.5 GiB", "500MB")] == [4 * 2**30, 3 * 2**29, 500_000_000]
    assert read("50%") == process.available_memory() // 2
    assert read("") == read(process.DEFAULT_MEMORY_LIMIT)


def test_models_are_given_both():
    given = {"POINTS_MEMORY_LIMIT": "40%", "POINTS_THREADS": "3"}
    assert given.items() <= Settings.from_environment(given).for_dbt().items()


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1000\n"}, 1000),
        ("0::/a/b\n", {"a/b/memory.max": "1000\n", "a/memory.max": "5000\n"}, 1000),
        # Where a container shows its own group as the outermost one, under a path that is not there.
        ("0::/docker/1\n", {"memory.max": "2000\n"}, 2000),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "3000\n"}, 3000),
        ("4:cpu:/a\n", {"cpu/a/memory.max": "1\n"}, None),
        (None, {}, None),
    ],
)
def test_memory_is_what_the_control_groups_leave_of_the_machine(tmp_path, monkeypatch, own, files, expected):
    """docs/cases.md, X34: DuckDB itself looks at the own group alone."""
    (tmp_path / "groups").mkdir()
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(process, "_CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(process, "_OWN_CONTROL_GROUPS", tmp_path / "own")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert process.available_memory.__wrapped__() == (expected or machine)


def test_every_database_has_the_limits_and_spills_into_the_home(home):
    for database in (None, home / "a.duckdb"):
        with connect(database) as duck:
            memory, threads, spilled = limits(duck)
            assert (memory, threads) == ("256.0 MiB", 1)
            assert Path(spilled).is_relative_to(home / ".work")
            duck.execute("set memory_limit = '60MB'")
            duck.execute(f"create temp table much as {MUCH}")
            assert list(Path(spilled).iterdir())
            assert stat.S_IMODE(Path(spilled).parent.stat().st_mode) == 0o700
        assert not Path(spilled).parent.exists()
    with connect(memory_limit="100MB", threads=4) as duck:
        assert limits(duck)[:2] == ("95.3 MiB", 1)
    with connect(memory_limit="1TB") as duck:
        assert limits(duck)[0] == "256.0 MiB"


def test_results_of_any_length_are_made_whole_before_they_are_fetched(home):
    """Where threads wait until some of a result is fetched, DuckDB 1.5 may forget to wake them up."""
    numbers = "select range as number from range($first, $end) order by number desc"
    with connect() as duck:
        rows = fetch_rows(duck, numbers, {"first": 1, "end": 25_001})
        assert next(rows) == (25_000,)
        assert [number for (number,) in rows] == list(range(24_999, 0, -1))
        assert list(fetch_rows(duck, numbers, {"first": 1, "end": 1})) == []
    streamed = {
        path.relative_to(PROJECT_ROOT).as_posix()
        for package in ("ledger", "orchestration", "console")
        for path in (PROJECT_ROOT / package).rglob("*.py")
        if "fetchmany" in path.read_text(encoding="utf-8")
    }
    # Of PostgreSQL.
    assert streamed == {"ledger/lists/streaming.py"}


def test_databases_of_dbt_have_them_too(home):
    """The profile does not name them: with another text in it dbt would parse the whole project anew."""
    config = {}
    Plugin("home_folder", {}).update_connection_config(
        SimpleNamespace(path=str(home / "run" / "build.duckdb")), config
    )
    with duckdb.connect(config=config) as duck:
        memory, threads, spilled = limits(duck)
    assert (memory, threads) == ("256.0 MiB", 1)
    assert Path(spilled).is_relative_to(home / "run" / ".work")


@pytest.mark.parametrize(("limit", "nodes"), [("256MiB", "1"), ("4GiB", "1"), ("10GiB", "2"), ("1TB", "2")])
def test_nodes_of_dbt_wait_for_each_other_where_memory_is_little(monkeypatch, limit, nodes):
    monkeypatch.setenv("POINTS_MEMORY_LIMIT", limit)
    arguments = dbt_arguments()
    assert arguments[arguments.index("--threads") + 1] == nodes


def test_a_plain_dbt_build_refuses_what_it_cannot_read(home, monkeypatch):
    monkeypatch.setenv("POINTS_THREADS", "0")
    with pytest.raises(DbtRuntimeError, match="POINTS_THREADS is '0', but"):
        Plugin("home_folder", {}).update_connection_config(SimpleNamespace(path=str(home / "a.duckdb")), {})


def test_without_a_home_nothing_is_made(home, monkeypatch):
    monkeypatch.setenv("POINTS_HOME", str(home / "not" / "there"))
    with connect() as duck:
        assert limits(duck)[2] == ""
    assert list(home.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="Root may write everywhere.")
def test_who_may_only_read_a_home_looks_at_it(home):
    home.chmod(0o500)
    with connect() as duck:
        assert limits(duck)[2] == ""


SPILLING = f"""
import sys
from ledger.data_files import connect
with connect(memory_limit="60MB") as duck:
    duck.execute("create table much as {MUCH}")
    print("spilled", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_spilled_is_removed_by_the_next(home):
    """docs/cases.md, X35."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    killed = subprocess.Popen(
        [sys.executable, "-c", SPILLING], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert killed.stdout.readline() == b"spilled\n"
    (left,) = (folder for folder in (home / ".work").iterdir() if folder.is_dir())
    with connect():
        assert list((left / "spilled").iterdir()), "it lives"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    with connect():
        assert not left.exists()


def test_memory_that_does_not_suffice_is_no_fault_of_the_disk(home):
    """docs/cases.md, X36. A list is one value, which cannot be spilled."""
    with connect(memory_limit="60MB") as duck, pytest.raises(duckdb.OutOfMemoryException) as failed:
        duck.execute(f"select list(text order by number) from ({MUCH})").fetchall()
    assert "POINTS_MEMORY_LIMIT" in lack_of_room(str(failed.value)).reason


def test_a_disk_without_room_to_spill_is_said_to_be_full(home):
    """docs/cases.md, X36."""
    with connect(memory_limit="60MB") as duck:
        duck.execute("set max_temp_directory_size = '1MB'")
        with pytest.raises(duckdb.Error) as failed:
            duck.execute(f"create table much as {MUCH}")
    assert lack_of_room(str(failed.value)).reason == "the disk is full"


def test_numbers_do_not_depend_on_memory_and_threads(points, tmp_path):
    """docs/cases.md, X37."""
    made = []
    for name, limits in {
        "little": {"POINTS_MEMORY_LIMIT": "256MiB", "POINTS_THREADS": "1"},
        "usual": {},
    }.items():
        home = tmp_path / name
        points("build", home=home, transfers=PROJECT_ROOT / "seeds" / "sample_transfers.csv", **limits)
        files = sorted((home / "provisional").resolve().rglob("*.csv"))
        made.append({file.name + file.parent.name: file.read_bytes() for file in files})
    assert made[0]
    assert made[0] == made[1]


def test_the_read_back_opens_one_database(programme, monkeypatch):
    """Two would take the limit twice."""
    opened = []
    connect_duckdb = duckdb.connect

    def counted(*arguments, **named):
        opened.append(arguments)
        return connect_duckdb(*arguments, **named)

    monkeypatch.setattr(duckdb, "connect", counted)
    assert list(find_differences(programme.path / "published")) == []
    assert len(opened) == 1
