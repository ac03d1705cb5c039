"""The ledger as a Django project: one home for each process, many threads in it, and ``manage.py``."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from django.db import connection

from ledger.acts.transfers import give
from ledger.anchors import ANCHOR_NAME, Head, read_anchor, write_anchor
from ledger.database import LedgerMissing, LedgerSchemaOutdated
from ledger.databases import databases, ledger_place
from ledger.links import ledger_head
from ledger.management.commands.migrate import MigrationIrreversible
from ledger.models import ENTRY_MODELS, Transfer
from ledger.settings import SettingInvalid
from ledger.upkeep.verification import verify
from tests.conftest import PROJECT_ROOT, LedgerHome, answer, assert_refused
from tests.one_home import MOST_SECONDS, ROUNDS, THREADS, TO_SPEND


def run_program(
    arguments: list[str], folder: Path = PROJECT_ROOT, **environment: str
) -> subprocess.CompletedProcess:
    """Run Python with these arguments in ``folder``, with no ``POINTS_`` settings but these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(PROJECT_ROOT), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=MOST_SECONDS,
        check=False,
    )


def run_for(home: LedgerHome, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python with these arguments in a process that is started for ``home``."""
    return run_program([*arguments], **{"POINTS_HOME": str(home.home), **home.environment, **environment})


def ask_one(home: LedgerHome, function: str) -> str:
    """What a function of `tests.one_home` says, in a process that is started for ``home``."""
    return answer(run_for(home, "-m", "tests.one_home", function))


def manage(home: LedgerHome, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return run_for(home, "manage.py", *arguments, **environment)


@pytest.fixture
def home(tmp_path) -> LedgerHome:
    return LedgerHome(tmp_path / "home")


# Many threads of one process.


def test_many_threads_of_one_process_read_and_write_at_once(ledger_home):
    done = json.loads(ask_one(ledger_home, "work_in_threads"))
    assert done.pop("connections") == THREADS
    assert done == {"own": THREADS * ROUNDS, "same": ROUNDS, "spent": TO_SPEND}
    ledger = ledger_home.open()
    assert Transfer.objects.count() == 1 + THREADS * ROUNDS + ROUNDS + TO_SPEND
    entries = verify(ledger.settings).entries
    assert entries == ledger_head().entry_id == sum(model.objects.count() for model in ENTRY_MODELS)


def test_a_ledger_that_many_threads_begin_at_once_is_one(bare_home):
    ask_one(bare_home, "begin_in_threads")
    bare_home.open()
    assert Transfer.objects.count() == THREADS


def test_threads_that_remember_a_ledger_at_once_do_not_get_in_each_others_way(tmp_path, monkeypatch):
    both = Barrier(2)
    monkeypatch.setattr("ledger.anchors.os.fsync", lambda file: both.wait(MOST_SECONDS))
    heads = [Head(1, bytes(32)), Head(2, bytes(32))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(write_anchor, tmp_path), heads))
    assert read_anchor(tmp_path) in heads
    assert [path.name for path in tmp_path.iterdir()] == [ANCHOR_NAME]


# One home for each process.


def test_a_process_opens_no_home_but_its_own(ledger_home):
    ask_one(ledger_home, "open_another_home")


def test_another_ledger_is_opened_in_one_thread_alone(ledger_home):
    ask_one(ledger_home, "connect_one_thread")


def test_the_databases_of_settings_are_djangos(ledger_home):
    found = databases(ledger_home.settings())
    assert set(found) == ({"default", "owner"} if ledger_home.environment else {"default"})
    ledger_home.open()
    assert found["default"].items() <= connection.settings_dict.items()
    # Of PostgreSQL alone is there an owner: without its URL, that of SQLite's is nobody's.
    assert set(databases(ledger_home.settings(POINTS_DATABASE_URL=""))) == {"default"}


# manage.py


def test_check_finds_nothing_and_no_migration_is_missing(home):
    assert "no issues" in answer(manage(home, "check"))
    home.open()
    assert "No changes" in answer(manage(home, "makemigrations", "--check"))


def test_migrate_makes_the_tables_of_a_ledger_as_a_first_command_does(bare_home, points):
    assert "0001_entries" in answer(manage(bare_home, "migrate"))
    assert "No migrations to apply" in answer(manage(bare_home, "migrate"))
    # With the owner's settings it has let the application in.
    as_application = {**bare_home.environment, "POINTS_DATABASE_OWNER_URL": ""}
    answer(points("give", "C-1", "5", "--new", home=bare_home.home, **as_application))
    assert verify(bare_home.open().settings).entries == 1
    assert (bare_home.home.stat().st_mode & 0o077) == 0


def test_migrate_is_refused_where_a_ledger_is_missing(ledger_home):
    """docs/cases.md, X12."""
    give(ledger_home.open(), "C-1", "5", new=True)
    connection.close()
    if ledger_home.environment:
        with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"]) as owner:
            owner.execute("drop schema public cascade; create schema public")
    else:
        (ledger_home.home / "ledger.sqlite3").unlink()
    assert_refused(
        manage(ledger_home, "migrate"), LedgerMissing(ledger_place(ledger_home.settings()), ledger_home.home)
    )


def test_migrate_by_who_may_not_is_refused(bare_home):
    if not bare_home.environment:
        pytest.skip("SQLite has no roles.")
    result = manage(bare_home, "migrate", POINTS_DATABASE_OWNER_URL="")
    assert_refused(result, LedgerSchemaOutdated(ledger_place(bare_home.settings())))


def test_migrate_takes_no_table_back(ledger_home):
    give(ledger_home.open(), "C-1", "5", new=True)
    for target in ("zero", "0003"):
        result = manage(ledger_home, "migrate", "ledger", target)
        assert_refused(result, MigrationIrreversible(ledger_place(ledger_home.settings())))
    assert verify(ledger_home.open().settings).entries == 1


def test_shell_reads_the_ledger_and_cannot_change_it(home):
    give(home.open(), "C-1", "5", new=True)
    statements = (
        "from django.db import DatabaseError\nprint(Transfer.objects.get().points)\n"
        "try:\n    Transfer.objects.update(points=6)\nexcept DatabaseError:\n    print('refused')"
    )
    said = answer(manage(home, "shell", "--command", statements))
    assert said.splitlines()[-2:] == ["5.0000", "refused"]
    assert Transfer.objects.get().points == 5


def test_an_invalid_setting_is_refused_in_a_sentence(home):
    with pytest.raises(SettingInvalid) as refused:
        home.settings(POINTS_MONTH_START_DAY="77")
    assert_refused(manage(home, "check", POINTS_MONTH_START_DAY="77"), refused.value)


@pytest.mark.parametrize("program", ["manage.py migrate", "console/points.py give C-1 5 --new"])
def test_django_goes_by_the_settings_file_of_the_folder(tmp_path, program):
    """docs/cases.md, S12: what it says is there before Django reads it, and no other project's settings."""
    file = tmp_path / ".env"
    file.write_text(f"POINTS_HOME={tmp_path / 'named'}\n", encoding="utf-8")
    file.chmod(0o600)
    name, *arguments = program.split()
    answer(
        run_program([str(PROJECT_ROOT / name), *arguments], tmp_path, DJANGO_SETTINGS_MODULE="somebody.elses")
    )
    assert (tmp_path / "named" / "ledger.sqlite3").exists()
