"""The database gone, locked or full in the middle of a command, and back (docs/cases.md, X16)."""

import os
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import psycopg
import pytest
from django.db import DatabaseError, connection

from console import app as command
from console.app import run
from ledger.acts.transfers import give
from ledger.append import appending
from ledger.database import LedgerNotReached, open_ledger
from ledger.models import Transfer
from ledger.settings import project_settings
from ledger.upkeep.verification import verify
from tests.conftest import LedgerHome, answer, ledger_transfer, new_postgresql_database, refusal


@pytest.fixture
def postgresql_home(server, tmp_path) -> LedgerHome:
    server.come_back()
    return LedgerHome(tmp_path / "home", new_postgresql_database(server.server.get_uri()))


def run_main(monkeypatch, capsys, home: LedgerHome, *arguments: str) -> str:
    """Run the command in this process, where it must be refused; return what it says."""
    for name in list(os.environ):
        if name.startswith("POINTS_"):
            monkeypatch.delenv(name)
    for name, value in {"POINTS_HOME": str(home.home), **home.environment}.items():
        monkeypatch.setenv(name, value)
    project_settings.cache_clear()
    monkeypatch.chdir(home.home.parent)
    monkeypatch.setattr(sys, "argv", ["points", *arguments])
    with pytest.raises(SystemExit) as raised:
        run()
    assert raised.value.code == 1
    output = capsys.readouterr().err
    assert len(output.splitlines()) == 1, output
    return output


def test_a_server_that_dies_in_a_transaction_takes_all_of_it_along(server, postgresql_home):
    """docs/cases.md, X16."""
    ledger = postgresql_home.open()
    give(ledger, "C-1", "10", new=True, transfer_id="T1")

    def append_two(between) -> None:
        with appending(ledger) as appender:
            appender.append(ledger_transfer("T2"))
            between()
            appender.append(ledger_transfer("T3"))

    with pytest.raises(DatabaseError):
        append_two(server.die)
    with pytest.raises(LedgerNotReached):
        open_ledger(postgresql_home.settings())
    server.come_back()
    ledger = postgresql_home.open()
    assert list(Transfer.objects.values_list("transfer_id", flat=True)) == ["T1"]
    append_two(lambda: None)
    assert verify(ledger.settings).entries == 3


def test_the_command_that_was_cut_off_works_again_and_adds_one(server, postgresql_home, points):
    """docs/cases.md, X16."""
    ledger = postgresql_home.open()
    give(ledger, "C-1", "10", new=True)
    connection.close()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("POINTS_")},
        "POINTS_HOME": str(postgresql_home.home),
        **postgresql_home.environment,
    }
    wanted = ["give", "C-1", "5", "--id", "T1"]
    owner_url = postgresql_home.environment["POINTS_DATABASE_OWNER_URL"]
    with suppress(psycopg.OperationalError), psycopg.connect(owner_url) as other:
        # The command waits for its turn to write, in its transaction, while this one holds it.
        other.execute("select pg_advisory_xact_lock(%s)", [_writers_lock()])
        process = subprocess.Popen(
            [os.path.join(os.path.dirname(sys.executable), "points"), *wanted],
            env=environment,
            cwd=postgresql_home.home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not other.execute(
            "select 1 from pg_locks where locktype = 'advisory' and not granted"
        ).fetchone():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        server.die()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("The ledger's database stopped: ")
    assert len(errors.splitlines()) == 1

    while_it_is_gone = points(*wanted, home=postgresql_home.home, **postgresql_home.environment)
    assert len(refusal(while_it_is_gone).splitlines()) == 1

    server.come_back()
    for _ in range(2):
        answer(points(*wanted, home=postgresql_home.home, **postgresql_home.environment))
    ledger = postgresql_home.open()
    assert Transfer.objects.filter(transfer_id="T1").count() == 1
    assert verify(ledger.settings).entries == 2


def _writers_lock() -> int:
    from ledger import append

    return append._WRITERS_LOCK


def test_verify_says_that_the_server_is_gone_and_names_no_entry(server, postgresql_home, monkeypatch):
    ledger = postgresql_home.open()
    give(ledger, "C-1", "10", new=True)
    give(ledger, "C-1", "10")
    monkeypatch.setattr("ledger.upkeep.verification._IDS_PER_READ", 1)
    with pytest.raises(LedgerNotReached):
        verify(ledger.settings, lambda done, total: server.die() if done == 1 else None)
    server.come_back()
    assert verify(ledger.settings).entries == 2


@pytest.fixture
def sqlite_home(tmp_path) -> LedgerHome:
    home = LedgerHome(tmp_path / "home")
    give(home.open(), "C-1", "10", new=True)
    connection.close()
    return home


def entries(home: LedgerHome) -> int:
    """How many entries there are, in a ledger that verifies."""
    with closing(sqlite3.connect(home.home / "ledger.sqlite3")) as connected:
        assert connected.execute("pragma integrity_check").fetchall() == [("ok",)]
    return verify(home.settings()).entries


def test_a_writer_that_never_ends_is_said_in_a_sentence(sqlite_home, monkeypatch, capsys, points):
    monkeypatch.setattr("ledger.databases._WAIT_SECONDS", 0.1)
    file = sqlite_home.home / "ledger.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        output = run_main(monkeypatch, capsys, sqlite_home, "give", "C-1", "5", "--id", "T1")
        assert output.startswith("Another process is writing to the ledger")
        # One that is about to commit keeps readers out too.
        writer.execute("rollback")
        writer.execute("begin exclusive")
        output = run_main(monkeypatch, capsys, sqlite_home, "give", "C-1", "5", "--id", "T1")
        assert "locked" in output
        writer.execute("rollback")
    assert entries(sqlite_home) == 1
    assert points("give", "C-1", "5", "--id", "T1", home=sqlite_home.home).returncode == 0
    assert entries(sqlite_home) == 2


def test_a_file_that_may_not_grow_records_nothing_and_says_why(sqlite_home, points):
    """The operating system itself refuses to write."""
    file = sqlite_home.home / "ledger.sqlite3"
    size = file.stat().st_size
    wanted = ["give", "C-1", "5", "--id", "T1", "--comment", "long " * 20_000]
    result = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "points"), *wanted],
        env={**os.environ, "POINTS_HOME": str(sqlite_home.home)},
        cwd=sqlite_home.home.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "disk I/O error" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert entries(sqlite_home) == 1
    connection.close()
    assert points(*wanted, home=sqlite_home.home).returncode == 0
    assert entries(sqlite_home) == 2


def test_a_full_disk_records_nothing_and_says_so(sqlite_home, monkeypatch, capsys):
    """docs/cases.md, X5 for the ledger: SQLite finds no more room."""
    ledger = sqlite_home.open()
    with connection.cursor() as cursor:
        cursor.execute("pragma page_count")
        cursor.execute(f"pragma max_page_count = {cursor.fetchone()[0]}")
    with pytest.raises(DatabaseError) as raised:
        give(ledger, "C-1", "5", transfer_id="T1", comment="long " * 20_000)

    def fail() -> None:
        raise raised.value

    monkeypatch.setattr(command, "app", fail)
    assert run_main(monkeypatch, capsys, sqlite_home).startswith("The disk is full; make room")
    assert entries(sqlite_home) == 1
    give(sqlite_home.open(), "C-1", "5", transfer_id="T1", comment="long " * 20_000)
    assert entries(sqlite_home) == 2
