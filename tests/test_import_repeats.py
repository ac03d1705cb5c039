"""Rows that the ledger knows, from a file or otherwise; imports that are killed, and imports at once."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import pytest
from django.db import connections

from ledger.append import appending
from ledger.balances import balances_of
from ledger.databases import sqlite_file
from ledger.files.imports import ImportRefused, import_file
from ledger.files.quarantine import QuarantinedRowSettled, dismiss, open_quarantined_rows
from ledger.files.row_rules import ID_CONFLICT
from ledger.identifiers import IdConflict
from ledger.models import ENTRY_MODELS, AccountEvent, Batch, QuarantinedRow, StatusChange, Transfer
from ledger.statuses import current_standings
from ledger.upkeep.verification import verify
from simulator.transfer_files import write_transfers
from tests.conftest import (
    NEEDED,
    PROJECT_ROOT,
    LedgerHome,
    ledger_transfer,
    postgresql_in_ci,
    transfer,
)
from tests.test_import_rows import OPTIONAL, STATUS_ROWS

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def statuses() -> dict[str, list[tuple[str, datetime | None]]]:
    """Each transfer's statuses in the order of their entries, and when each came about."""
    found = {row.transfer_id: [(row.status, None)] for row in Transfer.objects.order_by("entry_id")}
    for change in StatusChange.objects.order_by("entry_id"):
        found[change.transfer_id].append((change.status, change.changed_at))
    return found


def said(status: str, changed_at: str = "", transfer_id: str = "T-1") -> dict[str, str]:
    return transfer(transfer_id, status=status, status_changed_at=changed_at)


def day(number: int) -> datetime:
    return datetime(2026, 4, number, tzinfo=UTC)


@pytest.fixture
def take(ledger_home, tmp_path):
    """Import rows, or the files of them one after the other, and give the last result."""
    ledger = ledger_home.open(clock=lambda: NOW)

    def import_rows(*rows: dict[str, str], columns: list[str] | None = None, **options):
        path = write_transfers(tmp_path / "rows.csv", rows, columns or NEEDED + OPTIONAL)
        return import_file(ledger, path, **options)

    return import_rows


def test_the_same_content_is_added_once_within_a_file_and_over_files(take):
    """docs/cases.md, R2 and F10."""
    first = take(transfer("T-1"), transfer("T-2"), transfer("T-1"))
    assert (first.added, first.duplicates) == (2, 1)
    again = take(transfer("T-2"), transfer("T-3"))
    assert (again.added, again.duplicates) == (1, 1)
    assert Transfer.objects.count() == 3


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\rb", "a\r\nb", "a\r\nb\nc\rd", pytest.param("x" * 3_000_000, id="of 3 MB")],
)
def test_a_text_with_line_ends_of_any_kind_or_of_any_length_is_known_again(take, text):
    """docs/cases.md, F10, F16, F20 and R18."""
    rows = [transfer(f"T-{number}", external_reference=text) for number in (1, 2)]
    assert take(*rows).added == 2
    assert (take(*rows).added, take(*rows).duplicates) == (0, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"points": "10.0000"},
        {"points": "0010"},
        {"occurred_at": "2026-03-10T17:30:00+05:30"},
        {"occurred_at": "2026-03-10 12:00:00.000"},
        {"comment": "another"},
        {"currency": "POINTS", "status": "approved"},
        {"status_changed_at": "2026-05-01T00:00:00Z"},
    ],
)
def test_the_same_values_in_other_words_are_the_same_content(take, other):
    """docs/cases.md, R18."""
    take(transfer("T-1", points="10", comment="first"))
    result = take(transfer("T-1", **{"points": "10"} | other))
    assert (result.added, result.duplicates) == (0, 1)
    within = take(transfer("T-2", points="10"), transfer("T-2", **{"points": "10"} | other))
    assert (within.added, within.duplicates) == (1, 1)
    assert set(Transfer.objects.values_list("comment", flat=True)) == {"first", ""}


def test_a_column_that_the_file_lacks_does_not_count(take):
    """docs/cases.md, R18: neither as content, nor as a status."""
    take(
        transfer(
            "T-1",
            currency="MILES",
            status="pending",
            external_reference="order-1",
            reason="revocation",
            reverses_transfer_id="T-0",
        )
    )
    result = take(transfer("T-1", reason="revocation"), columns=NEEDED)
    assert (result.added, result.duplicates) == (0, 1)


def test_a_link_of_another_reason_is_a_duplicate_where_the_ledger_holds_it(take, ledger_home):
    """docs/cases.md, R24: the ledger holds it from before there was the rule; whatever else has one is
    bad."""
    old = {"reason": "redemption", "reverses_transfer_id": "T-0"}
    with appending(ledger_home.open("bob", clock=lambda: NOW)) as appender:
        appender.append(ledger_transfer("T-1", points="100", status="pending", **old))
    again = take(transfer("T-1", status="pending", **old), transfer("T-1", status="pending", **old))
    assert (again.added, again.duplicates) == (0, 2)
    assert take(said("approved", "2026-04-01T00:00:00Z") | old).status_changes == 1
    with pytest.raises(ImportRefused) as refused:
        take(transfer("T-1", **old), transfer("T-2", **old))
    (row,) = refused.value.bad_rows
    assert (row.transfer_id, row.code, row.column) == ("T-2", "REVERSES", "reverses_transfer_id")
    kept = take(transfer("T-1", **old), transfer("T-2", **old), quarantine=True)
    assert (kept.added, kept.duplicates, kept.quarantined) == (0, 1, 1)
    with pytest.raises(ImportRefused) as refused:
        take(transfer("T-1", reason="redemption", reverses_transfer_id="T-9"))
    (row,) = refused.value.bad_rows
    assert row.expected == f"{ID_CONFLICT.expected}; other: reverses_transfer_id"


@pytest.mark.parametrize(
    "other",
    [
        {"points": "100.0001"},
        {"relation_reference": "C-2"},
        {"style": "deduct", "reason": "redemption"},
        {"reason": "tier_bonus"},
        {"occurred_at": "2026-03-10T12:00:00.000001Z"},
        {"currency": "MILES"},
        {"external_reference": "order-2"},
    ],
)
@pytest.mark.parametrize("quarantine", [False, True])
def test_other_content_under_a_known_id_refuses_the_file(take, other, quarantine):
    """docs/cases.md, R3: known to the ledger, or from another row of the same file."""
    take(transfer("T-1"))
    with pytest.raises(ImportRefused) as refused:
        take(transfer("T-0"), transfer("T-1", **other), quarantine=quarantine)
    assert refused.value.code == "ID_CONFLICT"
    (row,) = refused.value.bad_rows
    assert (row.line, row.transfer_id, row.code, row.column) == (3, "T-1", "ID_CONFLICT", "transfer_id")
    assert row.expected.endswith(f"; other: {', '.join(other)}")
    with pytest.raises(ImportRefused) as refused:
        take(transfer("T-2"), transfer("T-2", **other), transfer("T-2"), quarantine=quarantine)
    assert [row.line for row in refused.value.bad_rows] == [2, 3, 4]
    assert [row.transfer_id for row in Transfer.objects.all()] == ["T-1"]


def test_a_conflict_is_reported_beside_every_other_bad_row(take):
    """docs/cases.md, R3; with --quarantine it alone refuses the file."""
    take(transfer("T-1"))
    rows = [transfer("T-1", points="7"), transfer("T-2", points="x"), said("pending")]
    with pytest.raises(ImportRefused) as refused:
        take(*rows)
    assert refused.value.codes == {"ID_CONFLICT", "POINTS"}
    with pytest.raises(ImportRefused) as refused:
        take(*rows, quarantine=True)
    assert refused.value.codes == {"ID_CONFLICT"}


def test_a_row_that_differs_in_its_status_alone_is_a_status_change(take):
    """docs/design.md, section 5."""
    take(said("pending"))
    result = take(said("on_hold", "2026-04-01T00:00:00Z"))
    assert (result.added, result.status_changes, result.warnings) == (0, 1, ())
    take(said("pending", "2026-04-02T00:00:00Z"), said("approved", "2026-04-03T00:00:00Z"))
    assert statuses() == {
        "T-1": [("pending", None), ("on_hold", day(1)), ("pending", day(2)), ("approved", day(3))]
    }
    assert {change.batch_id for change in StatusChange.objects.all()} == {"import-3", "import-5"}


def test_a_status_change_that_no_row_dates_counts_from_now_and_says_so(take):
    """docs/cases.md, R20."""
    take(said("pending"), said("pending", transfer_id="T-2"))
    result = take(said("approved"), said("cancelled", "2026-04-01T00:00:00Z", transfer_id="T-2"))
    assert statuses()["T-1"] == [("pending", None), ("approved", NOW)]
    (warning,) = result.warnings
    assert "line 2" in warning
    assert "status_changed_at" in warning


def test_a_status_that_the_transfer_already_held_is_a_duplicate(take):
    """docs/cases.md, R19: the approval stays, by a command or by a file."""
    file = [said("pending", "2026-04-01T00:00:00Z"), said("pending", transfer_id="T-2")]
    take(*file)
    take(said("approved", "2026-04-03T00:00:00Z"), said("on_hold", "2026-04-03T00:00:00Z", "T-2"))
    result = take(*file)
    assert (result.duplicates, result.status_changes, result.batch_id) == (2, 0, "")
    # Dated after its last change, it is a change again.
    assert take(said("pending", "2026-04-04T00:00:00Z", "T-2")).status_changes == 1
    with pytest.raises(ImportRefused):
        take(said("pending", "2026-04-04T00:00:00Z"))


def test_the_approval_of_a_person_stays_when_the_file_comes_again(take, ledger_home):
    """docs/cases.md, R19."""
    take(said("pending"))
    with appending(ledger_home.open(user="grace")) as appender:
        appender.append(StatusChange(transfer_id="T-1", status="approved", changed_at=NOW))
    assert take(said("pending")).duplicates == 1
    assert statuses() == {"T-1": [("pending", None), ("approved", NOW)]}


@pytest.mark.parametrize("final", ["approved", "cancelled"])
@pytest.mark.parametrize("then", ["pending", "on_hold", "approved", "cancelled"])
def test_no_status_follows_a_final_one(take, final, then):
    """docs/design.md, section 5; docs/cases.md, C6 as it comes by file: a bad row, which a quarantine
    keeps."""
    take(said(final))
    rows = [said(then, "2026-05-01T00:00:00Z")]
    if then == final:
        assert take(*rows).duplicates == 1
        return
    with pytest.raises(ImportRefused) as refused:
        take(*rows)
    (row,) = refused.value.bad_rows
    assert (row.code, row.column, row.value) == ("STATUS_TRANSITION", "status", then)
    assert take(*rows, quarantine=True).quarantined == 1
    assert take(*rows, quarantine=True).duplicates == 1
    assert statuses() == {"T-1": [(final, None)]}


def test_statuses_within_a_file_come_in_the_order_of_when_they_changed(take):
    """As in the models, in any order of the rows: undated ones first, unless they end the waiting."""
    take(
        *(
            said(*statement, transfer_id=transfer_id)
            for transfer_id, statements in STATUS_ROWS.items()
            for statement in reversed(statements)
        ),
        *(said("approved", transfer_id="ENDED"), said("on_hold", "2026-04-02T00:00:00Z", "ENDED")),
        quarantine=True,
    )
    assert statuses() == {
        "REOPENED": [("pending", None), ("approved", datetime(2026, 3, 31, tzinfo=UTC))],
        "LATE": [("pending", None), ("approved", day(5))],
        "UNDONE": [("pending", None), ("cancelled", day(1))],
        "SWAYED": [
            *(("pending", None), ("pending", day(1)), ("on_hold", day(2)), ("pending", day(3))),
            *(("on_hold", day(3).replace(hour=12)), ("approved", day(4))),
        ],
        "ENDED": [("pending", None), ("on_hold", day(2)), ("approved", NOW)],
    }


@pytest.mark.parametrize("transfer_id", [*STATUS_ROWS, "UNDATED"])
def test_a_file_with_changes_of_status_adds_nothing_the_second_time(take, transfer_id):
    """docs/cases.md, F10 and R19."""
    statements = STATUS_ROWS.get(transfer_id, [("approved", ""), ("on_hold", ""), ("pending", "")])
    rows = [said(*statement, transfer_id=transfer_id) for statement in statements]
    take(*rows, quarantine=True)
    before = statuses()
    again = take(*rows, quarantine=True)
    assert (again.duplicates, again.batch_id) == (len(rows), "")
    assert statuses() == before


def test_what_a_first_row_dates_takes_effect_then(take, ledger_home):
    """docs/cases.md, R25: at the later of occurrence, 10 March, and approval; the instant is kept."""
    result = take(
        said("approved", "2026-04-05T00:00:00Z", "LATER"),
        said("approved", "2026-03-01T00:00:00Z", "BEFORE"),
        said("approved", "2026-03-10T12:00:00Z", "AT-ONCE"),
        said("cancelled", "2026-04-05T00:00:00Z", "CANCELLED"),
        transfer("CLOSURE", relation_reference="C-2", style="deduct", reason="account_closure")
        | {"status": "approved", "status_changed_at": "2026-04-05T00:00:00Z"},
    )
    assert (result.added, result.dated, result.status_changes) == (5, 4, 0)
    standings = current_standings(Transfer.objects.all())
    occurred = datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert {transfer_id: standing.effective_at for transfer_id, standing in standings.items()} == {
        **{"LATER": day(5), "BEFORE": occurred, "AT-ONCE": occurred, "CANCELLED": None, "CLOSURE": day(5)}
    }
    assert statuses()["BEFORE"] == [("pending", None), ("approved", datetime(2026, 3, 1, tzinfo=UTC))]
    assert AccountEvent.objects.get().occurred_at == day(5)
    assert balances_of(["C-1"], day(4))["C-1", "POINTS"].approved_points == 200
    assert balances_of(["C-1"], day(5))["C-1", "POINTS"].approved_points == 300
    assert verify(ledger_home.settings()).entries == 11


def test_a_status_from_before_the_last_one_is_history(take, ledger_home):
    """docs/cases.md, R25: kept as it was sent, once, and changing nothing; it never has to be fixed."""
    take(said("approved", "2026-04-05T00:00:00Z"), transfer("T-2"))
    rows = [said("on_hold", "2026-04-03T00:00:00Z"), said("cancelled", "2026-03-09T00:00:00Z", "T-2")]
    result = take(*rows, transfer("T-3"))
    assert (result.added, result.status_changes, result.history, result.duplicates) == (1, 0, 2, 0)
    assert result.warnings == (
        "2 rows say a status from before the transfer's last one, so it is kept as history and changes"
        " nothing: line 2, 3.",
    )
    assert statuses()["T-1"] == [("pending", None), ("approved", day(5))]
    assert statuses()["T-2"] == [("approved", None)]
    kept = QuarantinedRow.objects.order_by("line")
    assert [(row.line, row.transfer_id, row.code) for row in kept] == [
        *((2, "T-1", "HISTORY"), (3, "T-2", "HISTORY"))
    ]
    assert json.loads(kept[0].row)["status_changed_at"] == "2026-04-03T00:00:00Z"
    assert not open_quarantined_rows().exists()
    with pytest.raises(QuarantinedRowSettled) as settled:
        dismiss(ledger_home.open(clock=lambda: NOW), kept[0].entry_id, "old")
    assert settled.value.finding == "it is history, which changes nothing"
    again = take(*rows, transfer("T-3"))
    assert (again.duplicates, again.batch_id, again.warnings) == (3, "", ())
    # Beside a row that refuses the file it is no reason itself.
    with pytest.raises(ImportRefused) as refused:
        take(said("on_hold", "2026-04-02T00:00:00Z"), transfer("T-4", points="x"))
    assert [row.code for row in refused.value.bad_rows] == ["POINTS"]


def test_what_becomes_of_a_transfer_does_not_depend_on_the_order_of_files(take):
    """docs/cases.md, R25: of each order of three files it is approved on 4 April, as if one file said it
    all."""
    story = [*(("pending", 1), ("on_hold", 2), ("approved", 4))]
    orders = list(permutations(story))
    for files in zip(*orders, strict=True):
        take(
            *(
                said(status, f"2026-04-0{number}T00:00:00Z", f"T-{order}")
                for order, (status, number) in enumerate(files)
            )
        )
    standings = current_standings(Transfer.objects.all())
    assert [(standing.status, standing.effective_at) for standing in standings.values()] == [
        ("approved", day(4))
    ] * len(orders)


def test_a_batch_id_belongs_to_one_file(take):
    take(transfer("T-1"), batch_id="march")
    assert take(transfer("T-1"), batch_id="march").batch_id == ""
    with pytest.raises(IdConflict):
        take(transfer("T-2"), batch_id="march")


def test_what_was_given_by_hand_is_known_to_a_file(take, ledger_home):
    """docs/cases.md, R2 and R3."""
    with appending(ledger_home.open()) as appender:
        appender.append(ledger_transfer("T-1", "100", reason="rule_credit"))
    assert take(transfer("T-1")).duplicates == 1


def test_a_dry_run_finds_what_an_import_would_and_records_nothing(take):
    take(said("pending"))
    rows = [said("approved"), transfer("T-2"), transfer("T-3", points="x")]
    with pytest.raises(ImportRefused):
        take(*rows, dry_run=True)
    tried = take(*rows, dry_run=True, quarantine=True)
    assert (tried.added, tried.status_changes, tried.quarantined) == (1, 1, 1)
    assert Batch.objects.count() == 1
    done = take(*rows, quarantine=True)
    assert (done.added, done.status_changes, done.quarantined) == (1, 1, 1)


# More rows than one chunk of an import, so that several are on their way.
MANY = 120_000


def write_many(path: Path, first: int, last: int) -> Path:
    rows = (
        transfer(f"T-{number:07}", relation_reference=f"C-{number % 977}", status="approved")
        for number in range(first, last)
    )
    return write_transfers(path, rows)


@postgresql_in_ci
def test_an_import_of_many_chunks_is_chained_and_in_file_order(ledger_home, tmp_path):
    """Repeated and bad rows among them, at the seams of the chunks too."""
    path = write_many(tmp_path / "many.csv", 0, MANY)
    lines = path.read_text(encoding="utf-8").splitlines()
    for seam in (1, 49_999, 50_000, 50_001, 100_000, MANY):
        lines[seam] = lines[seam].replace(",100,", ",1e2,")
    lines.insert(50_001, lines[3])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ledger = ledger_home.open()
    result = import_file(ledger, path, quarantine=True)
    assert (result.added, result.duplicates, result.quarantined) == (MANY - 6, 1, 6)
    found = Transfer.objects.order_by("entry_id").values_list("entry_id", "transfer_id")
    assert [transfer_id for _, transfer_id in found] == sorted(
        {line.split(",")[0] for line in lines[1:] if ",1e2," not in line}
    )
    assert [entry_id for entry_id, _ in found] == list(range(2, MANY - 4))
    verify(ledger.settings)


KILLED = """
import os
import signal
import sys
from pathlib import Path
from ledger.database import open_ledger
from ledger.files.imports import import_file
from ledger.settings import Settings

def report(progress):
    if progress.phase == "adding" and progress.done >= 50_000:
        os.kill(os.getpid(), signal.SIGKILL)

import_file(open_ledger(Settings.from_environment(), create=True), Path(sys.argv[1]), report=report)
"""


def start(home: LedgerHome, code: str, path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "POINTS_HOME": str(home.home), **home.environment},
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@postgresql_in_ci
def test_an_import_that_is_killed_leaves_no_row_and_then_works_once(ledger_home, tmp_path):
    """docs/cases.md, X1."""
    path = write_many(tmp_path / "many.csv", 0, MANY)
    ledger_home.open()
    connections.close_all()
    killed = start(ledger_home, KILLED, path)
    killed.communicate(timeout=300)
    assert killed.returncode == -9
    work = [folder for folder in (ledger_home.home / ".work").iterdir() if folder.is_dir()]
    assert work
    if not ledger_home.environment:
        journal = sqlite_file(ledger_home.settings())
        assert journal.with_name(f"{journal.name}-journal").exists()
    ledger = ledger_home.open()
    assert not any(model.objects.exists() for model in ENTRY_MODELS)
    assert import_file(ledger, path).added == MANY
    assert not any(folder.exists() for folder in work)
    assert import_file(ledger, path).duplicates == MANY
    assert (Batch.objects.count(), Transfer.objects.count()) == (1, MANY)
    verify(ledger.settings)


IMPORT = """
import sys
from pathlib import Path
from ledger.database import open_ledger
from ledger.files.imports import import_file
from ledger.settings import Settings

ledger = open_ledger(Settings.from_environment(), create=True)
print("ready", flush=True)
sys.stdin.readline()
result = import_file(ledger, Path(sys.argv[1]))
print(result.added, result.duplicates)
"""


def test_overlapping_files_imported_at_once_add_each_transfer_once(ledger_home, tmp_path):
    """Two processes: what one adds, the other finds, whichever is first."""
    files = [
        write_many(tmp_path / "a.csv", 0, 30_000),
        write_many(tmp_path / "b.csv", 20_000, 50_000),
        write_many(tmp_path / "c.csv", 10_000, 40_000),
    ]
    ledger_home.open()
    connections.close_all()
    processes = [start(ledger_home, IMPORT, path) for path in files]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = []
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        counts.append(tuple(map(int, output.split())))
    assert sum(added for added, _ in counts) == 50_000
    assert all(added + duplicates == 30_000 for added, duplicates in counts)
    ledger = ledger_home.open()
    assert Transfer.objects.count() == 50_000
    verify(ledger.settings)


@pytest.mark.slow
def test_the_airline_programme_imported_twice_is_there_once(airline, airline_ledger):
    """docs/cases.md, F10, with real input (`import_airline`)."""
    ledger = airline_ledger.open()
    again = import_file(ledger, airline / "transfers.csv.gz")
    assert (again.added, again.duplicates, again.batch_id) == (0, 288_336, "")
    assert (Batch.objects.count(), Transfer.objects.count()) == (1, 288_336)
    verify(ledger.settings)
