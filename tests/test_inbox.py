"""The inbox: files that are dropped into a folder are imported once, whole, and put away."""

import os
from pathlib import Path

import dagster as dg
import pytest

from ledger.append import ledger_head
from ledger.database import LedgerMissing
from ledger.models import Transfer
from ledger.writers_queue import LedgerBusy
from orchestration import inbox
from orchestration.inbox import InboxTick, import_inbox
from orchestration.run_lock import run_lock
from orchestration.sensors import define_inbox_sensor, read_cursor, write_cursor
from tests.conftest import LedgerHome, transfer, write_transfers

NOW = 1_800_000_000
LONG_AGO = NOW - 3_600


def drop(home: Path, name: str, *transfer_ids: str, changed_at: int = LONG_AGO) -> Path:
    """Drop a file of transfers into the inbox, last written to at ``changed_at`` (seconds)."""
    folder = home / "inbox"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_transfers(folder / name, [transfer(transfer_id) for transfer_id in transfer_ids])
    os.utime(path, (changed_at, changed_at))
    return path


def look(ledger_home: LedgerHome, waiting: dict | None = None) -> InboxTick:
    return import_inbox(ledger_home.settings(), waiting, clock=lambda: NOW)


def known_transfers(ledger_home: LedgerHome) -> list[str]:
    ledger_home.open()
    return list(Transfer.objects.order_by("entry_id").values_list("transfer_id", flat=True))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_files_are_imported_in_order_of_their_names_and_put_away(ledger_home):
    drop(ledger_home.home, "b.csv", "T3")
    drop(ledger_home.home, "a.csv", "T1", "T2")
    tick = look(ledger_home)
    assert [(file.name, file.imported.added) for file in tick.files] == [("a.csv", 2), ("b.csv", 1)]
    assert known_transfers(ledger_home) == ["T1", "T2", "T3"]
    assert names(ledger_home.home / "inbox" / "imported") == ["a.csv", "b.csv"]
    assert look(ledger_home) == InboxTick()


def test_a_refused_file_is_put_aside_with_the_sentence_and_stops_no_other(ledger_home):
    bad = drop(ledger_home.home, "a.csv", "T1")
    bad.write_text("transfer_id;points\n", encoding="utf-8")
    os.utime(bad, (LONG_AGO, LONG_AGO))
    drop(ledger_home.home, "b.csv", "T2")
    refused, imported = look(ledger_home).files
    assert refused.imported is None
    assert refused.path == ledger_home.home / "inbox" / "refused" / "a.csv"
    assert refused.path.with_name("a.csv.txt").read_text(encoding="utf-8") == f"{refused.refusal}\n"
    assert refused.refusal.startswith("HEADER")
    assert imported.name == "b.csv"
    assert known_transfers(ledger_home) == ["T2"]


def test_a_file_with_a_bad_row_is_refused_as_a_whole(ledger_home):
    path = drop(ledger_home.home, "a.csv", "T1", "=T2", "T3", "T 4")
    (refused,) = look(ledger_home).files
    reasons = refused.path.with_name("a.csv.txt").read_text(encoding="utf-8").splitlines()
    assert reasons[0] == refused.refusal
    assert [reason.partition(",")[0] for reason in reasons[1:]] == ["line 3", "line 5"]
    assert not path.exists()
    assert known_transfers(ledger_home) == []


def test_a_name_that_was_there_before_is_numbered_and_nothing_is_overwritten(ledger_home):
    for number in (1, 2, 3):
        drop(ledger_home.home, "day.csv", f"T{number}")
        look(ledger_home)
    assert names(ledger_home.home / "inbox" / "imported") == ["day.2.csv", "day.3.csv", "day.csv"]
    assert "T1" in (ledger_home.home / "inbox" / "imported" / "day.csv").read_text(encoding="utf-8")
    for _ in range(2):
        (ledger_home.home / "inbox" / "no.csv").touch()
        os.utime(ledger_home.home / "inbox" / "no.csv", (LONG_AGO, LONG_AGO))
        look(ledger_home)
    assert names(ledger_home.home / "inbox" / "refused") == [
        "no.2.csv",
        "no.2.csv.txt",
        "no.csv",
        "no.csv.txt",
    ]


def test_a_file_that_is_still_being_written_is_left_until_it_has_settled(ledger_home):
    path = drop(ledger_home.home, "a.csv", "T1", changed_at=NOW - 1)
    first = look(ledger_home)
    assert list(first.waiting) == ["a.csv"]
    assert not first.files
    with open(path, "a", encoding="utf-8") as file:
        file.write("T2,C-1,give,5,rule_credit,2026-03-10T12:00:00Z\n")
    os.utime(path, (NOW - 1, NOW - 1))
    second = look(ledger_home, first.waiting)
    assert not second.files
    third = look(ledger_home, second.waiting)
    assert [file.name for file in third.files] == ["a.csv"]
    assert known_transfers(ledger_home) == ["T1", "T2"]


@pytest.mark.parametrize("name", [".a.csv", "a.csv.part", "a.csv.tmp", "a.csv.PART"])
def test_a_name_of_an_unfinished_file_is_left_alone(ledger_home, name):
    drop(ledger_home.home, name, "T1")
    assert look(ledger_home) == InboxTick()
    assert names(ledger_home.home / "inbox") == [name]


def test_killed_between_the_import_and_the_move_the_next_look_adds_nothing_and_moves(
    ledger_home, monkeypatch
):
    """CASES.md, X1 and F10, as far as the inbox goes."""
    path = drop(ledger_home.home, "a.csv", "T1", "T2")

    class Killed(BaseException):
        pass

    def kill(*_arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "_free_path", kill)
        with pytest.raises(Killed):
            look(ledger_home)
    assert path.exists()
    (file,) = look(ledger_home).files
    assert (file.imported.added, file.imported.duplicates) == (0, 2)
    assert known_transfers(ledger_home) == ["T1", "T2"]
    assert not path.exists()


def test_a_ledger_that_is_missing_leaves_every_file_where_it_is(ledger_home):
    """CASES.md, X12."""
    published = ledger_home.home / "published" / "2026-03" / "r1"
    published.mkdir(parents=True)
    (published / "manifest.json").touch()
    path = drop(ledger_home.home, "a.csv", "T1")
    with pytest.raises(LedgerMissing):
        look(ledger_home)
    assert path.exists()


def test_without_an_inbox_nothing_is_begun(ledger_home):
    assert look(ledger_home) == InboxTick()
    assert not ledger_home.home.exists()


def test_the_sensor_imports_reports_and_remembers_what_waits(tmp_path):
    home = LedgerHome(tmp_path / "home")
    sensor = define_inbox_sensor(home.settings())
    drop(home.home, "a.csv", "T1", changed_at=2**32 + 10)
    bad = drop(home.home, "b.csv", "T2")
    bad.write_text("", encoding="utf-8")
    os.utime(bad, (LONG_AGO - 10**9, LONG_AGO - 10**9))
    with dg.DagsterInstance.ephemeral() as instance:
        first = sensor(dg.build_sensor_context(instance=instance))
        assert "Refused b.csv: FILE_EMPTY" in first.skip_reason.skip_message
        assert "Still being written: a.csv" in first.skip_reason.skip_message
        assert list(read_cursor(first.cursor)) == ["a.csv"]
        second = sensor(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    assert second.skip_reason.skip_message == "Imported a.csv."
    assert read_cursor(second.cursor) == {}
    assert known_transfers(home) == ["T1"]
    assert ledger_head().entry_id >= 1


def test_the_sensor_says_who_is_at_the_inbox_and_forgets_nothing(tmp_path):
    home = LedgerHome(tmp_path / "home")
    drop(home.home, "a.csv", "T1", changed_at=LONG_AGO - 10**9)
    cursor = write_cursor(InboxTick(waiting={"c.csv": (1, 2)}))
    with run_lock(home.home / "inbox", "the test"), dg.DagsterInstance.ephemeral() as instance:
        result = define_inbox_sensor(home.settings())(
            dg.build_sensor_context(instance=instance, cursor=cursor)
        )
    assert "the test" in result.skip_reason.skip_message
    assert result.cursor == cursor


def test_the_sensor_fails_loudly_where_the_ledger_cannot_be_opened(tmp_path):
    home = LedgerHome(tmp_path / "home", {"POINTS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/points"})
    path = drop(home.home, "a.csv", "T1", changed_at=LONG_AGO - 10**9)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(Exception, match="cannot be reached"),
    ):
        define_inbox_sensor(home.settings())(dg.build_sensor_context(instance=instance))
    assert path.exists()


def test_a_busy_ledger_refuses_no_file(ledger_home, monkeypatch):
    path = drop(ledger_home.home, "a.csv", "T1")

    def import_nothing(ledger, path):
        raise LedgerBusy(ledger.place)

    with monkeypatch.context() as patched:
        patched.setattr("orchestration.inbox.import_file", import_nothing)
        with pytest.raises(LedgerBusy):
            look(ledger_home)
    assert path.exists()
    assert look(ledger_home).files[0].imported.added == 1
