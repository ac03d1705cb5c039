"""The inbox: files that are dropped into a folder are imported once, whole, and put away."""

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from ledger.database import LedgerMissing, LedgerNotReached
from ledger.files import file_rows
from ledger.links import ledger_head
from ledger.models import Transfer
from ledger.writers_queue import LedgerBusy
from orchestration import inbox
from orchestration.inbox import InboxTick, import_inbox, received_folder
from orchestration.run_lock import run_lock
from orchestration.sensors import define_inbox_sensor, read_cursor, write_cursor
from orchestration.upkeep.doctor import examine
from simulator.transfer_files import write_transfers
from tests.conftest import LedgerHome, transfer

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


def received(ledger_home: LedgerHome) -> Path:
    return received_folder(ledger_home.home)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_files_are_imported_in_order_of_their_names_and_put_away(ledger_home):
    drop(ledger_home.home, "b.csv", "T3")
    drop(ledger_home.home, "a.csv", "T1", "T2")
    tick = look(ledger_home)
    assert [(file.name, file.imported.added) for file in tick.files] == [("a.csv", 2), ("b.csv", 1)]
    assert known_transfers(ledger_home) == ["T1", "T2", "T3"]
    assert names(received(ledger_home) / "imported") == ["a.csv", "b.csv"]
    assert look(ledger_home) == InboxTick()


def test_a_refused_file_is_put_aside_with_the_sentence_and_stops_no_other(ledger_home):
    bad = drop(ledger_home.home, "a.csv", "T1")
    bad.write_text("transfer_id;points\n", encoding="utf-8")
    os.utime(bad, (LONG_AGO, LONG_AGO))
    drop(ledger_home.home, "b.csv", "T2")
    refused, imported = look(ledger_home).files
    assert refused.imported is None
    assert refused.path == received(ledger_home) / "refused" / "a.csv"
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
    assert names(received(ledger_home) / "imported") == ["day.2.csv", "day.3.csv", "day.csv"]
    assert "T1" in (received(ledger_home) / "imported" / "day.csv").read_text(encoding="utf-8")
    for _ in range(2):
        (ledger_home.home / "inbox" / "no.csv").touch()
        os.utime(ledger_home.home / "inbox" / "no.csv", (LONG_AGO, LONG_AGO))
        look(ledger_home)
    assert names(received(ledger_home) / "refused") == [
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


@pytest.mark.parametrize(
    "name",
    [
        *(".a.csv", "a.csv.part", "a.csv.tmp", "a.csv.PART", "a.csv.filepart", "a.csv.partial", "a.csv~"),
        *("a.csv.crdownload", "a.xlsx", "a", "a\n.csv", "a\udcff.csv"),
    ],
)
def test_a_name_of_an_unfinished_file_is_left_alone(ledger_home, name):
    """docs/cases.md, F19."""
    drop(ledger_home.home, name, "T1")
    assert look(ledger_home) == InboxTick()
    assert names(ledger_home.home / "inbox") == [name]


def test_killed_between_the_import_and_the_move_the_next_look_adds_nothing_and_moves(
    ledger_home, monkeypatch
):
    """docs/cases.md, X1 and F10, as far as the inbox goes."""
    path = drop(ledger_home.home, "a.csv", "T1", "T2")

    class Killed(BaseException):
        pass

    def kill(*_arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "_free_path", kill)
        with pytest.raises(Killed):
            look(ledger_home)
    (file,) = look(ledger_home).files
    assert (file.imported.added, file.imported.duplicates) == (0, 2)
    assert known_transfers(ledger_home) == ["T1", "T2"]
    assert not path.exists()
    assert names(received(ledger_home) / "imported") == ["a.csv"]
    assert look(ledger_home) == InboxTick()


def test_a_ledger_that_is_missing_leaves_every_file_where_it_is(ledger_home):
    """docs/cases.md, X12."""
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
    (observed,) = second.asset_events
    assert observed.asset_key == dg.AssetKey("inbox")
    assert observed.metadata["file"].value == "a.csv"
    assert read_cursor(second.cursor) == {}
    assert known_transfers(home) == ["T1"]
    assert ledger_head().entry_id >= 1


def test_the_sensor_says_of_what_was_left_that_it_is_still_there(tmp_path):
    """docs/cases.md, S1."""
    home = LedgerHome(tmp_path / "home")
    path = drop(home.home, "a.csv", "T1", changed_at=LONG_AGO - 10**9).with_name("b.csv")
    path.symlink_to("a.csv")
    os.utime(path, (LONG_AGO - 10**9,) * 2, follow_symlinks=False)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        said = define_inbox_sensor(home.settings())(context).skip_reason.skip_message
    assert said.startswith(f"Imported a.csv. Refused b.csv: NOT_READABLE: {path} is a link")


def test_the_sensor_says_who_is_at_the_inbox_and_forgets_nothing(tmp_path):
    home = LedgerHome(tmp_path / "home")
    drop(home.home, "a.csv", "T1", changed_at=LONG_AGO - 10**9)
    cursor = write_cursor(InboxTick(waiting={"c.csv": (1, 2)}))
    with run_lock(received_folder(home.home), "the test"), dg.DagsterInstance.ephemeral() as instance:
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
        pytest.raises(LedgerNotReached),
    ):
        define_inbox_sensor(home.settings())(dg.build_sensor_context(instance=instance))
    assert path.exists()


def test_a_busy_ledger_refuses_no_file(ledger_home, monkeypatch):
    path = drop(ledger_home.home, "a.csv", "T1")

    def import_nothing(ledger, path, content):
        raise LedgerBusy(ledger.place)

    with monkeypatch.context() as patched:
        patched.setattr("orchestration.inbox.import_file", import_nothing)
        with pytest.raises(LedgerBusy):
            look(ledger_home)
    assert not path.exists()
    assert names(received(ledger_home)) == ["run.lock", "taken"]
    assert look(ledger_home).files[0].imported.added == 1
    assert names(received(ledger_home) / "taken") == []


PRIVATE = "root:a secret,of somebody else\n"


@pytest.fixture
def private(tmp_path) -> Path:
    """A file of another user, which this process may read."""
    path = tmp_path / "private.csv"
    path.write_text(PRIVATE, encoding="utf-8")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def put_link(path: Path, private: Path) -> None:
    path.symlink_to(private)
    os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)


def put_link_to_nothing(path: Path, private: Path) -> None:
    put_link(path, private.with_name("nothing"))


def put_other_name(path: Path, private: Path) -> None:
    os.link(private, path)


def put_pipe(path: Path, _private: Path) -> None:
    os.mkfifo(path)
    os.utime(path, (LONG_AGO, LONG_AGO))


def put_folder(path: Path, _private: Path) -> None:
    path.mkdir()
    os.utime(path, (LONG_AGO, LONG_AGO))


STRANGE = {
    put_link: "is a link",
    put_link_to_nothing: "is a link",
    put_other_name: "has another name too",
    put_pipe: "is no ordinary file",
    put_folder: "is no ordinary file",
}


@pytest.mark.parametrize("put", STRANGE)
def test_what_is_no_file_of_its_own_is_refused_by_name_and_not_looked_into(ledger_home, private, put):
    """docs/cases.md, S1 and F13. It stops no other file."""
    path = drop(ledger_home.home, "b.csv", "T1").with_name("a.csv")
    put(path, private)
    for added in (1, None):  # and again at the next look
        tick = look(ledger_home)
        refused = tick.files[0]
        assert (refused.path, refused.is_left, refused.imported) == (path, True, None)
        assert refused.refusal.startswith(f"NOT_READABLE: {path} {STRANGE[put]}")
        assert "secret" not in str(tick)
        assert [file.imported.added for file in tick.files[1:]] == ([added] if added else [])
    assert os.path.lexists(path)
    assert private.read_text(encoding="utf-8") == PRIVATE
    assert names(received(ledger_home)) == ["imported", "run.lock", "taken"]


def test_what_stands_in_the_inbox_under_our_names_changes_nothing(ledger_home, tmp_path):
    """docs/cases.md, S2 and S4."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ledger_home.open()
    good = drop(ledger_home.home, "good.csv", "T1")
    drop(ledger_home.home, "bad.csv", "=T2")
    for name in ("imported", "refused", "taken"):
        (good.parent / name).symlink_to(elsewhere)
    (good.parent / "run.lock").symlink_to(ledger_home.home / "ledger.sqlite3")
    refused, imported = look(ledger_home).files
    assert refused.path == received(ledger_home) / "refused" / "bad.csv"
    assert imported.path == received(ledger_home) / "imported" / "good.csv"
    assert names(elsewhere) == []
    assert names(good.parent) == ["imported", "refused", "run.lock", "taken"]
    assert known_transfers(ledger_home) == ["T1"]


def test_what_came_through_the_inbox_is_private_to_its_user(ledger_home):
    """docs/cases.md, S4."""
    drop(ledger_home.home, "a.csv", "T1").chmod(0o666)
    (file,) = look(ledger_home).files
    assert received(ledger_home).stat().st_mode & 0o777 == 0o700
    assert file.path.stat().st_mode & 0o777 == 0o600


def swap_for_link(path: Path, private: Path) -> None:
    path.unlink(missing_ok=True)
    put_link(path, private)


def write_on(path: Path, private: Path) -> None:
    path.write_text(PRIVATE, encoding="utf-8")


@pytest.mark.parametrize("disturb", [swap_for_link, write_on])
def test_what_was_taken_is_what_is_read_after_any_change_in_the_inbox(
    ledger_home, private, monkeypatch, disturb
):
    """docs/cases.md, S3. What came meanwhile stays for the next look."""
    path = drop(ledger_home.home, "a.csv", "T1")
    check_file = file_rows.check_file

    def disturbed(sent):
        check_file(sent)
        disturb(path, private)

    with monkeypatch.context() as patched:
        patched.setattr(file_rows, "check_file", disturbed)
        (file,) = look(ledger_home).files
    assert file.imported.added == 1
    assert "T1" in file.path.read_text(encoding="utf-8")
    assert not file.path.is_symlink()
    assert known_transfers(ledger_home) == ["T1"]
    assert os.path.lexists(path)


@pytest.mark.parametrize("disturb", [swap_for_link, write_on])
def test_a_file_that_changes_while_it_is_taken_is_left(ledger_home, private, monkeypatch, disturb):
    """docs/cases.md, S3 and F19."""
    path = drop(ledger_home.home, "a.csv", "T1")
    read = os.read

    def disturbed(descriptor, size):
        block = read(descriptor, size)
        disturb(path, private)
        return block

    with monkeypatch.context() as patched:
        patched.setattr("ledger.files.taken_files.os.read", disturbed)
        (file,) = look(ledger_home).files
    assert os.path.lexists(path)
    assert "changed while it was read" in file.refusal
    assert (file.is_left, names(received(ledger_home) / "taken")) == (True, [])


def test_a_file_that_cannot_be_removed_is_not_imported_time_and_again(ledger_home, monkeypatch):
    """docs/cases.md, S1: as in a folder with the sticky bit, where files of other users cannot be removed."""
    path = drop(ledger_home.home, "a.csv", "T1")
    unlink = Path.unlink

    def forbidden(self, missing_ok=False):
        if self == path:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(self, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", forbidden)
        (file,) = look(ledger_home).files
    assert "cannot be removed" in file.refusal
    assert known_transfers(ledger_home) == []
    assert names(received(ledger_home) / "taken") == []


def name_it_longer(path: Path) -> None:
    path.rename(path.with_name(f"{'n' * 240}.csv"))


def make_it_larger(path: Path) -> None:
    os.truncate(path, 1 << 20)


@pytest.mark.parametrize(
    ("change", "finding"), [(name_it_longer, "too long a name"), (make_it_larger, "are free on the disk")]
)
def test_what_has_no_room_stops_no_other_file(ledger_home, monkeypatch, change, finding):
    """docs/cases.md, S1."""
    drop(ledger_home.home, "z.csv", "T1")
    change(drop(ledger_home.home, "a.csv", "T2"))
    for path in (ledger_home.home / "inbox").iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    nearly_full = shutil.disk_usage(ledger_home.home)._replace(free=1 << 19)
    monkeypatch.setattr("ledger.files.taken_files.shutil.disk_usage", lambda folder: nearly_full)
    left, imported = look(ledger_home).files
    assert finding in left.refusal
    assert imported.imported.added == 1


def test_the_doctor_names_what_is_left_in_the_inbox_after_a_day(tmp_path, monkeypatch):
    """docs/cases.md, F19 and S1."""
    inbox_folder = tmp_path / "inbox"
    (inbox_folder / "imported").mkdir(parents=True)
    (inbox_folder / ".ssh").mkdir()
    drop(tmp_path, "a.csv.filepart", "T1")
    drop(tmp_path, "a\x1b[2J.csv", "T1")
    (inbox_folder / "b.csv").symlink_to("/etc/passwd")

    def found() -> list[str]:
        findings = examine({"POINTS_HOME": str(tmp_path)}, {}, "").findings
        return [finding.sentence for finding in findings if finding.subject == "inbox"]

    assert found() == []
    monkeypatch.setattr(inbox, "FORGOTTEN_SECONDS", -1)
    (sentence,) = found()
    assert r"'a\x1b[2J.csv', 'a.csv.filepart', 'b.csv', 'imported'." in sentence
