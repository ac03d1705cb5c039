"""The cut: what the ledger holds, frozen to Parquet, exactly and again and again."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger import cut
from ledger.anchors import read_anchor
from ledger.append import appending
from ledger.cut import PARTS, Cut, CutHoldsOther, CutNotWritten, cut_folder, freeze
from ledger.database import Ledger, LedgerEmpty
from ledger.models import AccountEvent, Close, Entry, StatusChange
from tests.conftest import PROJECT_ROOT, LedgerHome, answer, ledger_transfer, new_postgresql_database

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

# CONTRIBUTING.md, "What the models read".
CONTRACT = {
    "transfers": [
        ("entry_id", "BIGINT"),
        ("transfer_id", "VARCHAR"),
        ("relation_reference", "VARCHAR"),
        ("currency", "VARCHAR"),
        ("style", "VARCHAR"),
        ("points", "DECIMAL(18,4)"),
        ("reason", "VARCHAR"),
        ("status", "VARCHAR"),
        ("occurred_at", "TIMESTAMP"),
        ("recorded_at", "TIMESTAMP"),
        ("recorded_by", "VARCHAR"),
        ("reverses_transfer_id", "VARCHAR"),
        ("batch_id", "VARCHAR"),
        ("external_reference", "VARCHAR"),
        ("comment", "VARCHAR"),
    ],
    "status_changes": [
        ("entry_id", "BIGINT"),
        ("transfer_id", "VARCHAR"),
        ("status", "VARCHAR"),
        ("changed_at", "TIMESTAMP"),
    ],
    "account_events": [
        ("entry_id", "BIGINT"),
        ("relation_reference", "VARCHAR"),
        ("event", "VARCHAR"),
        ("occurred_at", "TIMESTAMP"),
    ],
    "closes": [
        ("entry_id", "BIGINT"),
        ("event", "VARCHAR"),
        ("report_month", "DATE"),
        ("revision", "INTEGER"),
        ("cutoff_entry_id", "BIGINT"),
    ],
}


def record(ledger: Ledger, *entries: Entry) -> None:
    """Append entries in one transaction."""
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


def read_part(frozen: Cut, part: str, columns: str = "*") -> list[tuple]:
    """The rows of a part as the models read them, in order of their entries."""
    return duckdb.sql(
        f"select {columns} from read_parquet(?) order by entry_id",
        params=[str(frozen.folder / part / "*.parquet")],
    ).fetchall()


def file_bytes(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def segment_names(frozen: Cut, part: str = "transfers") -> list[str]:
    return sorted(path.name for path in (frozen.folder / part).iterdir())


def test_the_cut_has_the_columns_and_types_of_its_contract_and_every_part_even_an_empty_one(ledger_home):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1"))
    frozen = freeze(ledger)
    assert {part.name for part in PARTS} == set(CONTRACT)
    for part, columns in CONTRACT.items():
        assert segment_names(frozen, part) == ["000000000001-000000000001.parquet"]
        described = duckdb.sql(
            "describe select * from read_parquet(?)", params=[str(frozen.folder / part / "*.parquet")]
        ).fetchall()
        assert [(name, kind) for name, kind, *_ in described] == columns
    assert frozen.count_rows() == {"transfers": 1, "status_changes": 0, "account_events": 0, "closes": 0}


@pytest.mark.parametrize("points", ["0.0001", "99999999999999.9999", "12.5", "7"])
def test_points_come_through_exactly(ledger_home, points):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1", points))
    assert read_part(freeze(ledger), "transfers", "points") == [(Decimal(points),)]


def test_instants_come_through_to_the_microsecond_in_utc(ledger_home):
    ledger = ledger_home.open(clock=lambda: datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    instants = [datetime(1990, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 59, 59, 1, tzinfo=UTC)]
    record(ledger, *(ledger_transfer(f"T{n}", occurred_at=instant) for n, instant in enumerate(instants)))
    assert read_part(freeze(ledger), "transfers", "occurred_at, recorded_at") == [
        (instant.replace(tzinfo=None), datetime(2026, 3, 31, 23, 59, 59, 999_999)) for instant in instants
    ]


@pytest.mark.parametrize(
    "text",
    [
        'She said "two, please", and left',
        '"',
        "first\r\nsecond\nthird\rfourth\tend",
        "\\N \\. \\\" 'x' %s %d %w {name}",
        '=HYPERLINK("http://example.com")',
        "ポイント補填 🙏 é",
        " spaces around ",
        "NULL",
        "x" * 3_000_000,
    ],
)
def test_text_comes_through_as_it_is(ledger_home, text):
    """docs/cases.md, R23."""
    ledger = ledger_home.open(user='O\'Neil, "Ada"')
    record(ledger, ledger_transfer("T1", comment=text, external_reference="0042"), ledger_transfer("T2"))
    assert read_part(freeze(ledger), "transfers", "comment, external_reference, recorded_by") == [
        (text, "0042", 'O\'Neil, "Ada"'),
        (None, None, 'O\'Neil, "Ada"'),
    ]


def test_empty_text_is_null_where_it_is_optional(ledger_home):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1", reverses_transfer_id="T0", batch_id="B"), ledger_transfer("T2"))
    columns = "reverses_transfer_id, batch_id, external_reference, comment"
    assert read_part(freeze(ledger), "transfers", columns) == [
        ("T0", "B", None, None),
        (None, None, None, None),
    ]


def test_status_changes_settled_account_events_and_closes_are_in_it_and_requests_are_not(ledger_home):
    ledger = ledger_home.open()
    events = ["open", "close_requested", "declined", "open_requested", "close"]
    record(
        ledger,
        ledger_transfer("T1", status="pending"),
        StatusChange(transfer_id="T1", status="on_hold", changed_at=NOON),
        *(
            AccountEvent(event_id=event, relation_reference="C-1", event=event, occurred_at=NOON)
            for event in events
        ),
        Close(event="close", report_month="2026-02", revision=1, cutoff_entry_id=1),
        Close(event="reopen", report_month="2026-02", revision=1, cutoff_entry_id=1, reason="why"),
    )
    frozen = freeze(ledger)
    noon = NOON.replace(tzinfo=None)
    assert read_part(frozen, "transfers", "transfer_id, status") == [("T1", "pending")]
    assert read_part(frozen, "status_changes") == [(2, "T1", "on_hold", noon)]
    assert read_part(frozen, "account_events") == [(3, "C-1", "open", noon), (7, "C-1", "close", noon)]
    assert read_part(frozen, "closes") == [
        (8, "close", date(2026, 2, 1), 1, 1),
        (9, "reopen", date(2026, 2, 1), 1, 1),
    ]


def test_a_freeze_adds_a_segment_of_what_is_new_and_touches_no_other(ledger_home):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1"), ledger_transfer("T2"))
    first = freeze(ledger)
    before = file_bytes(first.folder)
    record(ledger, ledger_transfer("T3"))
    second = freeze(ledger)
    assert segment_names(second) == [
        "000000000001-000000000002.parquet",
        "000000000003-000000000003.parquet",
    ]
    after = file_bytes(second.folder)
    assert {name: after[name] for name in before if name.endswith(".parquet")} == {
        name: content for name, content in before.items() if name.endswith(".parquet")
    }
    assert read_anchor(second.folder) == second.head
    assert second.head.entry_id == 3
    assert read_part(second, "transfers", "transfer_id") == [("T1",), ("T2",), ("T3",)]


def test_a_freeze_without_anything_new_writes_nothing(ledger_home, monkeypatch):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1"))
    first = freeze(ledger)
    monkeypatch.setattr(cut, "_write_segment", None)
    monkeypatch.setattr(cut, "write_anchor", None)
    assert freeze(ledger) == first


def test_the_same_entries_give_the_same_bytes_however_they_are_read(ledger_home, monkeypatch):
    ledger = ledger_home.open()
    record(ledger, *(ledger_transfer(f"T{n}", comment=f"{n},\n") for n in range(25)))
    before = file_bytes(freeze(ledger).folder)
    shutil.rmtree(ledger_home.home / "cut")
    monkeypatch.setattr(cut, "ENTRIES_PER_READ", 7)
    assert file_bytes(freeze(ledger).folder) == before


def test_both_databases_give_the_same_bytes(tmp_path, postgresql_server):
    found = []
    for name, environment in (("sqlite", {}), ("postgresql", new_postgresql_database(postgresql_server))):
        ledger = LedgerHome(tmp_path / name, environment).open(clock=lambda: NOON)
        record(
            ledger,
            *(ledger_transfer(f"T{n}", comment='a "b",\n' * (n % 3)) for n in range(5)),
            StatusChange(transfer_id="T0", status="approved", changed_at=NOON),
            AccountEvent(event_id="E", relation_reference="C-1", event="open", occurred_at=NOON),
            Close(event="close", report_month="2026-02", revision=1, cutoff_entry_id=1),
        )
        found.append(file_bytes(freeze(ledger).folder))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "lost",
    [
        "",
        "transfers",
        "closes",
        "ledger_head.json",
        "transfers/000000000001-000000000001.parquet",
        "transfers/000000000002-000000000002.parquet",
        "status_changes/000000000003-000000000003.parquet",
    ],
)
def test_what_is_deleted_of_a_cut_is_made_again(ledger_home, lost):
    """docs/cases.md, X9."""
    ledger = ledger_home.open()
    for number in (1, 2, 3):
        record(ledger, ledger_transfer(f"T{number}", status="pending"))
        frozen = freeze(ledger)
    before = {part: read_part(frozen, part) for part in CONTRACT}
    path = frozen.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = freeze(ledger)
    assert again == frozen
    assert {part: read_part(again, part) for part in CONTRACT} == before


# Freezes in a process that is killed when it waits for the disk for the n-th time, with segments put
# together from two on.
KILLED_FREEZE = """
import os, signal, sys
from ledger import cut
from ledger.database import open_ledger
from ledger.settings import Settings

left, cut.MOST_SEGMENTS, synced = int(sys.argv[1]), 2, os.fsync

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    synced(descriptor)

os.fsync = fsync
cut.freeze(open_ledger(Settings.from_environment()))
"""


@pytest.mark.parametrize("waits", [1, 2, 3, 8, 9, 10])
def test_a_freeze_that_is_killed_anywhere_is_made_good_by_the_next_one(ledger_home, waits):
    """Four parts, each a segment and its folder's names; then the anchor, and the names beside it."""
    ledger = ledger_home.open()
    for number in (1, 2, 3):
        record(ledger, ledger_transfer(f"T{number}"))
        freeze(ledger)
    record(ledger, ledger_transfer("T4", status="pending"))
    process = subprocess.run(
        [sys.executable, "-c", KILLED_FREEZE, str(waits)],
        env={**os.environ, "POINTS_HOME": str(ledger_home.home), **ledger_home.environment},
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    left_behind = [path for path in (ledger_home.home / "cut").rglob("*") if path.suffix == ".unfinished"]
    assert left_behind or waits > 1
    frozen = freeze(ledger)
    assert frozen.head.entry_id == 4
    assert read_part(frozen, "transfers", "transfer_id") == [("T1",), ("T2",), ("T3",), ("T4",)]
    for part in CONTRACT:
        names = segment_names(frozen, part)
        spans = [[int(number) for number in name.removesuffix(".parquet").split("-")] for name in names]
        assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]
        assert spans[-1][1] == 4


def test_many_small_segments_become_one_and_a_large_one_is_left_alone(ledger_home, monkeypatch):
    monkeypatch.setattr(cut, "MOST_SEGMENTS", 4)
    ledger = ledger_home.open()
    record(ledger, *(ledger_transfer(f"T{n}") for n in range(100)))
    freeze(ledger)
    for number in range(100, 112):
        record(ledger, ledger_transfer(f"T{number}"))
        frozen = freeze(ledger)
        assert read_part(frozen, "transfers", "entry_id") == [(n + 1,) for n in range(number + 1)]
        assert len(segment_names(frozen)) <= 5
    assert segment_names(frozen)[0] == "000000000001-000000000100.parquet"


def test_a_disk_that_is_full_is_said_and_the_next_freeze_goes_on(ledger_home, monkeypatch):
    """docs/cases.md, X5, as far as the cut goes."""
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1"))

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(CutNotWritten) as refused:
            freeze(ledger)
    assert str(refused.value) == str(CutNotWritten(ledger_home.home / "cut", "the disk is full"))
    assert read_part(freeze(ledger), "transfers", "transfer_id") == [("T1",)]


def test_a_freeze_ends_where_duckdb_fails_however_much_is_still_to_be_read(ledger_home, monkeypatch):
    ledger = ledger_home.open()
    record(ledger, *(ledger_transfer(f"T{n}", comment="x" * 100_000) for n in range(10)))

    def fail(*_arguments, **_options):
        raise duckdb.IOException("IO Error: the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(duckdb, "connect", fail)
        with pytest.raises(CutNotWritten) as refused:
            freeze(ledger)
    assert type(refused.value.__cause__) is duckdb.IOException
    assert len(read_part(freeze(ledger), "transfers")) == 10


def test_a_file_that_no_freeze_wrote_is_refused_by_name_and_kept(ledger_home):
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1"))
    frozen = freeze(ledger)
    other = frozen.folder / "transfers" / "mine.parquet"
    shutil.copyfile(frozen.folder / "transfers" / "000000000001-000000000001.parquet", other)
    record(ledger, ledger_transfer("T2"))
    with pytest.raises(CutHoldsOther) as refused:
        freeze(ledger)
    assert refused.value.path == other
    assert other.exists()


def test_a_ledger_without_entries_has_no_cut(ledger_home):
    ledger = ledger_home.open()
    with pytest.raises(LedgerEmpty):
        freeze(ledger)
    assert not (ledger_home.home / "cut").exists()


def test_the_command_freezes_and_says_up_to_where(ledger_home, points):
    record(ledger_home.open(), ledger_transfer("T1"), ledger_transfer("T2"))
    result = answer(points("cut", "--csv", home=ledger_home.home, **ledger_home.environment))
    assert result.splitlines() == [
        "part,rows",
        "transfers,2",
        "status_changes,0",
        "account_events,0",
        "closes,0",
    ]
    shown = points("cut", home=ledger_home.home, **ledger_home.environment)
    assert "up to entry 2" in shown.stdout
    assert str(ledger_home.home / "cut") in shown.stdout


def test_an_altered_segment_is_made_again_before_anything_is_built_on_it(ledger_home):
    """docs/cases.md, X9: a cut is disposable, and no close may take an altered one for the ledger."""
    ledger = ledger_home.open()
    record(ledger, ledger_transfer("T1", "30"), ledger_transfer("T2", "4"))
    freeze(ledger)
    (segment,) = (cut_folder(ledger_home.home) / "transfers").glob("*.parquet")
    whole = segment.read_bytes()
    altered = duckdb.sql(f"select * replace (points + 1 as points) from read_parquet('{segment}')")
    altered.write_parquet(str(ledger_home.home / "altered.parquet"))
    (ledger_home.home / "altered.parquet").replace(segment)
    freeze(ledger, check_above=2)
    assert segment.read_bytes() != whole
    freeze(ledger, check_above=0)
    assert segment.read_bytes() == whole
    (cut_folder(ledger_home.home) / "segments.json").unlink()
    freeze(ledger, check_above=0)
    assert segment.read_bytes() == whole
