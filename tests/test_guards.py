"""Before what cannot be undone it is looked whether the ledger is guarded, and whether it was altered."""

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg
import pytest

from ledger.acts.transfers import give
from ledger.anchors import ANCHOR_NAME, LedgerReplaced
from ledger.databases import sqlite_file
from ledger.digests import digest_columns, entry_digest
from ledger.guards import GuardFinding, LedgerUnguarded, check_guards
from ledger.links import ledger_head
from ledger.models import Transfer
from ledger.upkeep.backup import BackupNotWritten, BackupOutdated, BackupUnsound, back_up, restore
from ledger.upkeep.verification import EntryAltered, LinkBroken
from orchestration.close.closing import close_months
from orchestration.exports import ExportNotWritten
from orchestration.published.database import export_database
from orchestration.published.soundness import find_damage
from tests.closed_programme import NEXT, OLD, Home, readers_see
from tests.conftest import LedgerHome, answer, assert_refused


@pytest.fixture
def home(tmp_path) -> LedgerHome:
    """A ledger in SQLite of two transfers, entered one by one."""
    home = LedgerHome(tmp_path / "home")
    ledger = home.open()
    give(ledger, "C-1", "10", new=True, transfer_id="T1")
    give(ledger, "C-1", "5", transfer_id="T2")
    return home


@contextmanager
def by_hand(file: os.PathLike) -> Iterator[sqlite3.Connection]:
    """A ledger in SQLite, changed as a user with write access to its file can, past the guards."""
    with closing(sqlite3.connect(file)) as connected:
        guards = connected.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        for name, _ in guards:
            connected.execute(f"drop trigger {name}")
        yield connected
        for _, statement in guards:
            connected.execute(statement)
        connected.commit()


def alter(file: os.PathLike, transfer_id: str, is_digest_forged: bool = False) -> None:
    """Make ten times as much of a transfer; its digest too, where it is forged, but no link."""
    with by_hand(file) as connected:
        connected.execute("update transfers set points = points * 10 where transfer_id = ?", [transfer_id])
        if is_digest_forged:
            columns = ", ".join(("entry_id", *digest_columns(Transfer)))
            (row,) = connected.execute(
                f"select {columns} from transfers where transfer_id = ?", [transfer_id]
            )
            digest = entry_digest(Transfer.kind, row[0], row[1:])
            connected.execute("update transfers set digest = ? where entry_id = ?", [digest, row[0]])


def test_a_ledger_that_would_not_refuse_a_change_takes_no_entry(ledger_home):
    """docs/cases.md, S9."""
    give(ledger_home.open(), "C-1", "10", new=True)
    if ledger_home.environment:
        with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"]) as owner:
            owner.execute("alter table transfers disable trigger transfers_append_only")
        name, problem = "transfers_append_only", "switched off"
    else:
        with closing(sqlite3.connect(ledger_home.home / "ledger.sqlite3")) as connected:
            connected.execute("drop trigger transfers_no_update")
        name, problem = "transfers_no_update", "missing"
    # The next command of another process.
    ledger = ledger_home.open()
    with pytest.raises(LedgerUnguarded) as refused:
        give(ledger, "C-1", "5")
    assert [(guard.name, guard.problem) for guard in refused.value.unguarded] == [(name, problem)]
    assert ledger_head().entry_id == 1


def test_what_guards_is_looked_at_once_for_each_connection(home, monkeypatch):
    looks = []
    monkeypatch.setattr("ledger.append.check_guards", lambda place: looks.append(check_guards(place)))
    ledger = home.open()
    for _ in range(3):
        give(ledger, "C-1", "1")
    assert len(looks) == 1
    give(home.open(), "C-1", "1")
    assert len(looks) == 2


def test_a_ledger_that_would_not_refuse_a_change_is_neither_closed_nor_copied(copied, tmp_path):
    """docs/cases.md, S9."""
    with closing(sqlite3.connect(copied.path / "ledger.sqlite3")) as connected:
        connected.execute("drop trigger closes_no_delete")
    missing = GuardFinding("closes_no_delete", "missing")
    unguarded = LedgerUnguarded(f"{copied.path}/ledger.sqlite3", [missing])
    for act in (["close", NEXT], ["backup", str(tmp_path / "backup.sqlite3")]):
        assert_refused(copied.points(*act), unguarded)
    assert readers_see(copied) == OLD
    assert not (tmp_path / "backup.sqlite3").exists()


@pytest.mark.parametrize(("is_digest_forged", "error"), [(False, EntryAltered), (True, LinkBroken)])
def test_what_was_altered_since_the_months_opening_is_not_closed(copied, is_digest_forged, error):
    """docs/cases.md, S10."""
    alter(copied.path / "ledger.sqlite3", "LATE", is_digest_forged)
    with pytest.raises(error) as raised:
        close_months(copied.settings(), NEXT)
    assert is_digest_forged or raised.value.transfer_id == "LATE"
    assert_refused(copied.points("close", NEXT), raised.value)
    assert readers_see(copied) == OLD
    assert len(copied.history().closes) == len(OLD)


def test_an_altered_ledger_is_not_backed_up(home, tmp_path):
    """docs/cases.md, X24."""
    ledger = home.open()
    alter(sqlite_file(home.settings()), "T1")
    with pytest.raises(EntryAltered) as raised:
        back_up(ledger, tmp_path / "backup.sqlite3")
    assert (raised.value.first_entry_id, raised.value.transfer_id) == (1, "T1")
    assert str(home.home) in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    # Other commands of this process have the ledger again, and not the copy.
    assert give(ledger, "C-1", "1")


def test_a_forged_digest_is_not_backed_up(home, tmp_path):
    """docs/cases.md, X24."""
    alter(sqlite_file(home.settings()), "T1", is_digest_forged=True)
    with pytest.raises(LinkBroken) as raised:
        back_up(home.open(), tmp_path / "backup.sqlite3")
    assert raised.value.transfer_id == "T1"


GUARDS = {"foreign trigger": ("sly", "unknown"), "no trigger": ("transfers_no_delete", "missing")}


@pytest.mark.parametrize("damage", ["altered", *GUARDS])
def test_a_backup_that_was_changed_is_not_restored(home, tmp_path, damage):
    """docs/cases.md, S11."""
    backup = back_up(home.open(), tmp_path / "backup.sqlite3").file
    if damage == "altered":
        alter(backup, "T1")
    with closing(sqlite3.connect(backup)) as connected:
        if damage == "foreign trigger":
            connected.execute("create trigger sly after insert on transfers begin select 1; end")
        elif damage == "no trigger":
            connected.execute("drop trigger transfers_no_delete")
    other = LedgerHome(tmp_path / "other")
    with pytest.raises(BackupUnsound) as refused:
        restore(other.settings(), backup)
    found = refused.value.__cause__
    assert (
        found.transfer_id == "T1"
        if damage == "altered"
        else [(guard.name, guard.problem) for guard in found.unguarded] == [GUARDS[damage]]
    )
    assert list(other.home.iterdir()) == []


def test_a_restored_ledger_is_for_its_owner_alone(home, tmp_path):
    """docs/cases.md, S11."""
    backup = back_up(home.open(), tmp_path / "backup.sqlite3").file
    backup.chmod(0o666)
    restored = restore(LedgerHome(tmp_path / "other").settings(), backup)
    assert stat.S_IMODE(restored.file.stat().st_mode) == 0o600


def test_what_a_killed_backup_left_is_removed_by_the_next(home, tmp_path):
    """docs/cases.md, X31."""
    folder = tmp_path / "backups"
    left = folder / ".points-unfinished"
    left.mkdir(parents=True)
    (left / "ledger.sqlite3").write_bytes(b"half of one")
    back_up(home.open(), folder / "newer.sqlite3")
    assert [path.name for path in folder.iterdir()] == ["newer.sqlite3"]


def test_what_a_killed_export_left_is_removed_by_the_next(copied, tmp_path):
    """docs/cases.md, X31: also where the next one has another name."""
    left = tmp_path / "exports" / ".points-unfinished"
    left.mkdir(parents=True)
    for name in ("2026-01.duckdb", "2026-01.duckdb.wal"):
        (left / name).write_bytes(b"half of one")
    export_database(copied.path, left.parent / "2026-02.duckdb")
    assert [path.name for path in left.parent.iterdir()] == ["2026-02.duckdb"]
    left.mkdir(mode=0o777)
    left.chmod(0o777)
    with pytest.raises(ExportNotWritten):
        export_database(copied.path, left.parent / "2026-03.duckdb")
    assert list(left.iterdir()) == []


def test_of_two_backups_at_once_into_one_folder_the_second_says_so(home, tmp_path):
    def another(done: int, total: int) -> None:
        with pytest.raises(BackupNotWritten) as refused:
            back_up(home.open(), tmp_path / "second.sqlite3")
        assert refused.value.file == tmp_path / "second.sqlite3"

    assert back_up(home.open(), tmp_path / "first.sqlite3", another).head.entry_id == 2


def test_published_months_refuse_a_ledger_that_lacks_them(copied, programme, tmp_path):
    """docs/cases.md, X30: also where other parts of the home are gone, by a restore, by hand and by every
    act."""
    home = Home(tmp_path / "moved")
    shutil.copytree(copied.path / "published", home.path / "published", symlinks=True)
    older = programme.path.parent / "older.sqlite3"
    with pytest.raises(BackupOutdated) as outdated:
        restore(home.settings(), older)
    assert outdated.value.folder == home.path / "published"
    assert_refused(home.points("restore", str(older)), outdated.value)
    assert not (home.path / "ledger.sqlite3").exists()
    shutil.copyfile(older, home.path / "ledger.sqlite3")
    with pytest.raises(LedgerReplaced) as replaced:
        home.history()
    for act in (["give", "C-1", "5"], ["transfers"], ["verify"]):
        assert_refused(home.points(*act), replaced.value)


def test_a_restored_ledger_goes_on_with_the_months_that_it_knows(copied, tmp_path):
    """docs/cases.md, X30."""
    home = Home(tmp_path / "moved")
    shutil.copytree(copied.path / "published", home.path / "published", symlinks=True)
    assert copied.points("backup", str(tmp_path / "backup.sqlite3")).returncode == 0
    assert home.points("restore", str(tmp_path / "backup.sqlite3")).returncode == 0
    for act in (["verify"], ["give", "C-1", "5"]):
        answer(home.points(*act))


def test_closes_that_no_anchor_remembers_are_a_finding(copied):
    """docs/cases.md, S15."""
    for anchor in copied.path.rglob(ANCHOR_NAME):
        anchor.unlink()
    found = json.loads(copied.points("verify", "--json").stdout)["published"]
    missing = {"path": f"{copied.path}/ledger_head.json", "finding": "is missing, though months are closed"}
    assert found == [missing]


def test_a_head_that_was_kept_elsewhere_is_asked_for(copied):
    """docs/cases.md, S15."""
    sound = json.loads(copied.points("verify", "--json").stdout)
    entry_id, digest = sound["head_entry_id"], sound["chain_digest"]
    assert copied.points("give", "C-1", "5").returncode == 0
    assert copied.points("verify", "--head", f"{entry_id}:{digest}").returncode == 0
    other = ("0" if digest[0] != "0" else "1") + digest[1:]
    for head in (f"{entry_id}:{other}", f"{entry_id + 9}:{digest}"):
        found = json.loads(copied.points("verify", "--head", head, "--json").stdout)
        assert found["code"] == "LEDGER_REPLACED", head
    for no_head in (str(entry_id), f"0:{digest}", f"{entry_id}:{digest.upper()}x", "x:y"):
        assert copied.points("verify", "--head", no_head).returncode == 2


def test_a_manifest_is_held_against_its_close_and_the_month_before(copied):
    """docs/cases.md, S15."""
    history = copied.history()
    assert list(find_damage(copied.path, history)) == []
    first, second = history.closes
    totals = replace(history, closes=(first, replace(second, control_totals={})))
    assert [damage.finding for damage in find_damage(copied.path, totals)] == [
        "has other control totals than the ledger's close entry"
    ]
    before = replace(history, closes=(replace(first, manifest_sha256="0" * 64), second))
    assert "does not name the manifest of the month before" in [
        damage.finding for damage in find_damage(copied.path, before)
    ]
