"""Rows of an imported file: what is taken as it is, what is bad, and what becomes of bad rows."""

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pytest

from ledger.balances import balances_of
from ledger.fields import to_microseconds
from ledger.files.imports import ImportRefused, import_file
from ledger.files.quarantine import (
    QuarantinedRowSettled,
    QuarantinedRowUnknown,
    ReasonMissing,
    dismiss,
    list_open_rows,
)
from ledger.models import AccountEvent, Batch, QuarantineDismissal, QuarantinedRow, Transfer
from ledger.statuses import current_standings
from simulator.transfer_files import write_transfers
from tests.conftest import NEEDED, answer, refusal, transfer
from tests.test_raw_rows import BAD_ROWS

OPTIONAL = [
    *("currency", "status", "status_changed_at", "reverses_transfer_id"),
    *("external_reference", "comment"),
]

GOOD_ROWS = {
    "R5 leading zeros": transfer("00000000000000000012", relation_reference="00000000000000000007"),
    "R7 the most": transfer("MOST", points="99999999999999.9999"),
    "R6 the least": transfer("LEAST", points="0.0001"),
    "R6 zeros before and behind": transfer("ZEROS", points="00012.5000"),
    "R4 every character": transfer("A.b_c:d@e/f#g+h=i~j&k|l-m"),
    "R9 microseconds": transfer("MICRO", occurred_at="2026-03-10 12:00:00.000001Z"),
    "R9 a tenth": transfer("TENTH", occurred_at="2026-03-10T12:00:00.5+14:59"),
    "R9 the first year": transfer("FIRST", occurred_at="1990-01-01T00:00:00Z"),
    "R9 the last": transfer("LAST", occurred_at="2199-12-31T23:59:59.999999-14:59"),
    "R10 no offset": transfer("WALL", occurred_at="2026-07-01 12:00:00"),
    "R11 a fold": transfer("FOLD", occurred_at="2026-10-25T02:30:00"),
    "R11 behind a fold": transfer("FOLD-2", occurred_at="2026-10-25T03:00:00"),
    "R11 a gap": transfer("GAP", occurred_at="2026-03-29T02:30:00"),
    "R11 a leap day": transfer("LEAP", occurred_at="2028-02-29T23:30:00"),
    "R11 a month's last evening": transfer("EVENING", occurred_at="2026-03-31T23:30:00"),
    "R12 the future": transfer("AHEAD", occurred_at="2190-01-01T00:00:00Z"),
    "R23 a comment": transfer(
        "TALK", comment='=HYPERLINK("http://example.com")\r\n<b>[red]\U0001f389\t\\N \\. NULL'
    ),
    "R23 a reference": transfer("REFERENCE", external_reference='"",;\n\u202e'),
    "another currency": transfer("MILES", currency="MILES"),
    "waiting": transfer("HELD", status="on_hold", status_changed_at="2026-03-11T12:00:00"),
}

# Of one transfer each, in this order: what is said of its status, and when.
STATUS_ROWS = {
    "REOPENED": [("approved", "2026-03-31T00:00:00Z"), ("pending", "2026-04-01T00:00:00Z")],
    "UNDONE": [("pending", ""), ("cancelled", "2026-04-01T00:00:00Z"), ("approved", "2026-04-02T00:00:00Z")],
    "SWAYED": [
        ("pending", "2026-04-01T00:00:00Z"),
        ("on_hold", "2026-04-02T00:00:00Z"),
        ("pending", "2026-04-03T00:00:00Z"),
        ("approved", "2026-04-04T00:00:00Z"),
        ("on_hold", "2026-04-03T12:00:00Z"),
        ("pending", "2026-04-05T00:00:00Z"),
    ],
    "LATE": [("approved", "2026-04-05T00:00:00Z")],
}


def corpus() -> list[dict[str, str]]:
    rows = [{**transfer(f"BAD-{number}"), **values} for number, (values, _) in enumerate(BAD_ROWS.values())]
    rows += GOOD_ROWS.values()
    for transfer_id, statements in STATUS_ROWS.items():
        rows += [
            transfer(transfer_id, status=status, status_changed_at=changed_at)
            for status, changed_at in statements
        ]
    return rows


def write_corpus(path) -> None:
    write_transfers(path, corpus(), NEEDED + OPTIONAL)
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write("SHORT,C-1,give,1\r\n")
        file.write("LONG,C-1,give,1,rule_credit,2026-03-10T12:00:00Z" + "," * 7 + "\r\n")


@pytest.fixture(scope="module")
def built(points, tmp_path_factory):
    """What the models make of the corpus, in Berlin."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "transfers.csv")
    # No month is built beyond 2026-03, so that a transfer of 2190 does not ask for centuries of them.
    result = points(
        *("build", "--through", "2026-03"),
        home=folder / "home",
        transfers=folder / "transfers.csv",
        POINTS_TIME_ZONE="Europe/Berlin",
        POINTS_FIRST_MONTH="2026-01",
    )
    assert result.returncode == 0, result.stderr
    (build,) = (folder / "home/runs").glob("*/build.duckdb")
    return build


def test_import_and_the_models_give_the_same_verdict_on_every_row(built, ledger_home, tmp_path):
    """docs/cases.md, R1, R4 to R12, R24, R25, F7 and F11: code, column, value and what was expected; and what
    is read of a good row is the same instant and the same points, with the same status and effect."""
    with duckdb.connect(str(built), read_only=True) as database:
        staged = database.execute(
            "select rejection_code, rejected_column, coalesce(rejected_value, ''), expected"
            " from quarantined_transfers"
        ).fetchall()
        history = database.execute(
            "select transfer_id, points, epoch_us(occurred_at), first_status, currency, status,"
            " epoch_us(effective_at) from transfer_history"
        ).fetchall()
    write_corpus(tmp_path / "transfers.csv")
    ledger = ledger_home.open(POINTS_TIME_ZONE="Europe/Berlin")
    import_file(ledger, tmp_path / "transfers.csv", quarantine=True)
    imported = [(row.code, row.column, row.value, row.expected) for row in list_open_rows(ledger)]
    assert sorted(imported) == sorted(staged)
    assert len(imported) == len(BAD_ROWS) + 2 + 3
    standings = current_standings(Transfer.objects.all())
    taken = [
        (
            row.transfer_id,
            row.points,
            to_microseconds(row.occurred_at),
            row.status,
            row.currency,
            standings[row.transfer_id].status,
            to_microseconds(effective_at)
            if (effective_at := standings[row.transfer_id].effective_at)
            else None,
        )
        for row in Transfer.objects.all()
    ]
    assert sorted(taken) == sorted(history)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_has_its_code(corpus_refused, case):
    """docs/cases.md, R1, R4, R6, R7, R8, R9 and F11."""
    number = list(BAD_ROWS).index(case)
    values, code = BAD_ROWS[case]
    found = corpus_refused.bad_rows[number]
    sent = {**transfer(f"BAD-{number}"), **values}
    assert (found.code, found.transfer_id) == (code, sent["transfer_id"])
    assert found.value == (sent[found.column] if found.column else "")


@pytest.fixture(scope="module")
def corpus_refused(tmp_path_factory) -> ImportRefused:
    from tests.conftest import LedgerHome

    folder = tmp_path_factory.mktemp("refused")
    write_corpus(folder / "transfers.csv")
    ledger = LedgerHome(folder / "home").open(POINTS_TIME_ZONE="Europe/Berlin")
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger, folder / "transfers.csv")
    return refused.value


def test_every_bad_row_is_reported_and_nothing_added(ledger_home, tmp_path):
    """docs/cases.md, R1: with its line, its column, its value and what was expected."""
    rows = [transfer("T-1"), transfer("T-2", points="1e3"), transfer("T-3"), transfer("", style="take")]
    path = write_transfers(tmp_path / "a.csv", rows)
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger_home.open(), path)
    assert [(row.line, row.column, row.value, row.code) for row in refused.value.bad_rows] == [
        (3, "points", "1e3", "POINTS"),
        (5, "transfer_id", "", "TRANSFER_ID"),
        (5, "style", "take", "STYLE"),
    ]
    assert all(row.expected for row in refused.value.bad_rows)
    assert (refused.value.path, refused.value.bad_row_count) == (path, 2)
    assert refused.value.codes == {"POINTS", "TRANSFER_ID", "STYLE"}
    assert not Batch.objects.exists()


def test_every_bad_column_of_a_row_is_named_and_none_that_follows_from_another(ledger_home, tmp_path):
    """docs/cases.md, R1 and F7."""
    long = "9" * 500
    rows = [
        transfer("T-1", points=long, occurred_at="31/01/2026", reason="Happy birthday"),
        transfer("T-2", style="GIVE", currency="EUR"),
        transfer("T-3", style="GIVE", reason="Happy birthday"),
    ]
    path = write_transfers(tmp_path / "a.csv", rows, [*NEEDED, "currency"])
    with open(path, "a", encoding="utf-8") as file:
        file.write("T-4,C-1,give,1e3\n")
    ledger = ledger_home.open()
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger, path)
    bad_rows = refused.value.bad_rows
    assert [(row.line, row.column) for row in bad_rows] == [
        (2, "points"),
        (2, "reason"),
        (2, "occurred_at"),
        (3, "currency"),
        (3, "style"),
        (4, "style"),
        (4, "reason"),
        (5, ""),
    ]
    assert refused.value.bad_row_count == 4
    assert all(row.value in str(row) and row.expected in str(row) for row in bad_rows)
    assert import_file(ledger, path, quarantine=True).quarantined == 4
    first = next(list_open_rows(ledger))
    assert (first.code, first.column) == ("POINTS", "points, reason, occurred_at")
    assert [bad.value for bad in first.bad_values] == [long, "Happy birthday", "31/01/2026"]
    assert [bad.expected for bad in first.bad_values] == [row.expected for row in bad_rows[:3]]
    assert import_file(ledger, path, quarantine=True).quarantined == 0


def test_the_command_cuts_neither_a_value_nor_what_was_expected(points, tmp_path):
    """docs/cases.md, R1."""
    long = "9" * 500
    path = write_transfers(tmp_path / "a.csv", [transfer("T-1", points=long, occurred_at="soon")])
    said = refusal(points("import", str(path), home=tmp_path / "home")).splitlines()
    assert said[0].startswith(f"line 2, transfer T-1, POINTS: points is '{long}', expected ")
    assert said[1].startswith("line 2, transfer T-1, OCCURRED_AT: occurred_at is 'soon', expected ")
    answer(points("import", str(path), "--quarantine", home=tmp_path / "home"))
    shown = answer(points("quarantine", home=tmp_path / "home"))
    assert f"points is '{long}', expected " in shown
    assert "occurred_at is 'soon', expected " in shown


def test_values_are_kept_to_the_letter(ledger_home, tmp_path):
    """docs/cases.md, R5, R7, R10, R11, R12 and R23."""
    path = write_transfers(tmp_path / "a.csv", GOOD_ROWS.values(), NEEDED + OPTIONAL)
    result = import_file(ledger_home.open(POINTS_TIME_ZONE="Europe/Berlin"), path)
    assert result.added == len(GOOD_ROWS)
    found = {row.transfer_id: row for row in Transfer.objects.all()}
    assert found["00000000000000000012"].relation_reference == "00000000000000000007"
    assert found["MOST"].points == Decimal("99999999999999.9999")
    assert found["LEAST"].points == Decimal("0.0001")
    assert found["TALK"].comment == GOOD_ROWS["R23 a comment"]["comment"]
    assert found["REFERENCE"].external_reference == GOOD_ROWS["R23 a reference"]["external_reference"]
    assert found["MILES"].currency == "MILES"
    for transfer_id, instant in {
        "WALL": "2026-07-01T10:00:00+00:00",
        "FOLD": "2026-10-25T00:30:00+00:00",
        "GAP": "2026-03-29T01:30:00+00:00",
        "EVENING": "2026-03-31T21:30:00+00:00",
        "MICRO": "2026-03-10T12:00:00.000001+00:00",
    }.items():
        assert found[transfer_id].occurred_at.isoformat() == instant, transfer_id


def test_sums_of_the_largest_points_stay_exact(ledger_home, tmp_path):
    """docs/cases.md, R7."""
    rows = [transfer(f"T-{number}", points="99999999999999.9999") for number in range(1_000)]
    import_file(ledger_home.open(), write_transfers(tmp_path / "a.csv", rows))
    balance = balances_of(["C-1"], datetime(2026, 12, 1, tzinfo=UTC))[("C-1", "POINTS")]
    assert balance.approved_points == Decimal("99999999999999999.9000")


def test_a_file_may_report_what_a_command_may_not_do(ledger_home, tmp_path):
    """docs/cases.md, R14 to R17: revocations before their original, of nothing, too large, of another's, in a
    circle; below zero; after a closure. They are taken as they are and show in the discrepancies."""
    give = {"reason": "revocation", "style": "give"}
    deduct = {"reason": "revocation", "style": "deduct"}
    rows = [
        transfer("BEFORE", **deduct, reverses_transfer_id="LATER"),
        transfer("LATER"),
        transfer("NOTHING", **deduct, reverses_transfer_id="GONE"),
        transfer("BEYOND", **deduct, reverses_transfer_id="LATER", points="500"),
        transfer("ANOTHERS", **deduct, reverses_transfer_id="LATER", relation_reference="C-2"),
        transfer("OTHER-CURRENCY", **deduct, reverses_transfer_id="LATER", currency="MILES"),
        transfer("ROUND", **deduct, reverses_transfer_id="ABOUT"),
        transfer("ABOUT", **give, reverses_transfer_id="ROUND"),
        transfer("ITSELF", **give, reverses_transfer_id="ITSELF"),
        transfer("BELOW", style="deduct", reason="redemption", points="100000"),
        transfer("CLOSING", style="deduct", reason="account_closure", relation_reference="C-3"),
        transfer("AFTER", relation_reference="C-3", occurred_at="2026-04-10T12:00:00Z"),
    ]
    path = write_transfers(tmp_path / "a.csv", rows, NEEDED + OPTIONAL)
    result = import_file(ledger_home.open(), path)
    assert (result.added, result.closed_accounts) == (12, 1)
    kept = dict(Transfer.objects.values_list("transfer_id", "reverses_transfer_id"))
    assert kept == {row["transfer_id"]: row.get("reverses_transfer_id", "") for row in rows}


@pytest.mark.slow
def test_a_transfer_dated_centuries_away_is_taken_and_no_month_built_for_it(points, ledger_home, tmp_path):
    """docs/cases.md, R22: the build names it, and what stays is what was there."""
    rows = [transfer("NEAR"), transfer("FAR", occurred_at="2190-01-01T00:00:00Z")]
    path = write_transfers(tmp_path / "a.csv", rows)
    assert import_file(ledger_home.open(), path).added == 2
    home, environment = ledger_home.home, ledger_home.environment
    refused = points("build", "--through", "2190-01", home=home, **environment)
    assert refusal(refused).startswith("SPAN: ")
    assert not (home / "provisional").exists()


def test_an_imported_account_closure_closes_the_account_when_it_takes_effect(ledger_home, tmp_path):
    """docs/design.md, section 5: by occurrence, or by approval where that is later."""
    closing = {"style": "deduct", "reason": "account_closure"}
    rows = [
        transfer("AT-ONCE", **closing, status="approved"),
        transfer("WAITING", **closing, status="pending"),
        transfer("CANCELLED", **closing, status="cancelled"),
        transfer(
            "IN-FILE",
            **closing,
            status="approved",
            status_changed_at="2026-05-01T00:00:00Z",
        ),
        transfer("IN-FILE", **closing, status="pending"),
    ]
    ledger = ledger_home.open()
    path = tmp_path / "a.csv"
    result = import_file(ledger, write_transfers(path, rows, NEEDED + OPTIONAL))
    assert result.closed_accounts == 2
    approvals = [
        transfer("WAITING", **closing, status="approved", status_changed_at="2026-02-01T00:00:00Z"),
        transfer("IN-FILE", **closing, status="approved", status_changed_at="2026-05-01T00:00:00Z"),
    ]
    assert import_file(ledger, write_transfers(path, approvals)).closed_accounts == 1
    assert [
        (event.event_id, event.event, event.occurred_at.isoformat(), event.batch_id)
        for event in AccountEvent.objects.order_by("entry_id")
    ] == [
        ("close-of-AT-ONCE", "close", "2026-03-10T12:00:00+00:00", "import-1"),
        ("close-of-IN-FILE", "close", "2026-05-01T00:00:00+00:00", "import-1"),
        ("close-of-WAITING", "close", "2026-03-10T12:00:00+00:00", "import-9"),
    ]


def test_entries_come_in_the_order_of_the_file(ledger_home, tmp_path):
    """The batch, transfers in file order, status changes in theirs, closed accounts, bad rows."""
    rows = [
        transfer("Z", status="approved", status_changed_at="2026-05-01T00:00:00Z"),
        transfer("Z", status="pending"),
        transfer("BAD", points="0"),
        transfer("B", style="deduct", reason="account_closure"),
        transfer("A"),
    ]
    path = write_transfers(tmp_path / "a.csv", rows, NEEDED + OPTIONAL)
    import_file(ledger_home.open(), path, quarantine=True)
    batch = Batch.objects.get()
    assert (batch.entry_id, batch.last_entry_id) == (1, 7)
    transfers = Transfer.objects.order_by("entry_id").values_list("entry_id", "transfer_id", "status")
    assert list(transfers) == [(2, "Z", "pending"), (3, "B", "approved"), (4, "A", "approved")]
    assert AccountEvent.objects.get().entry_id == 6
    assert QuarantinedRow.objects.get().entry_id == 7


# Quarantine


def test_a_bad_row_is_kept_once_however_often_it_comes(ledger_home, tmp_path):
    ledger = ledger_home.open()
    rows = [transfer("T-1", points="x"), transfer("T-1", points="x"), transfer("", points="x")]
    path = write_transfers(tmp_path / "a.csv", rows)
    first = import_file(ledger, path, quarantine=True)
    assert (first.quarantined, first.duplicates) == (2, 1)
    again = import_file(ledger, path, quarantine=True)
    assert (again.quarantined, again.duplicates, again.batch_id) == (0, 3, "")
    write_transfers(path, [transfer("T-1", points="y")])
    assert import_file(ledger, path, quarantine=True).quarantined == 1
    assert [row.value for row in list_open_rows(ledger)] == ["x", "; x", "y"]


def test_a_quarantined_row_that_is_later_sent_correctly_is_resolved(ledger_home, tmp_path):
    """docs/cases.md, R21; so is a change of status that was refused."""
    ledger = ledger_home.open()
    path = tmp_path / "a.csv"
    write_transfers(
        path, [transfer("T-1", points="1,000"), transfer("T-2", status="done")], NEEDED + OPTIONAL
    )
    import_file(ledger, path, quarantine=True)
    assert len(list(list_open_rows(ledger))) == 2
    write_transfers(
        path, [transfer("T-1", points="1000"), transfer("T-2", status="pending")], NEEDED + OPTIONAL
    )
    assert import_file(ledger, path).added == 2
    assert list(list_open_rows(ledger)) == []
    write_transfers(path, [transfer("T-2", status="done")])
    import_file(ledger, path, quarantine=True)
    assert len(list(list_open_rows(ledger))) == 1
    write_transfers(path, [transfer("T-2", status="approved")])
    import_file(ledger, path)
    assert list(list_open_rows(ledger)) == []


def test_a_row_that_is_dismissed_is_open_no_more_and_says_why(ledger_home, tmp_path):
    ledger = ledger_home.open(user="grace")
    path = write_transfers(tmp_path / "a.csv", [transfer("T-1", points="x"), transfer("T-2", points="y")])
    import_file(ledger, path, quarantine=True)
    with pytest.raises(ReasonMissing):
        dismiss(ledger, 2, "  ")
    with pytest.raises(QuarantinedRowUnknown):
        dismiss(ledger, 1, "that is the batch")
    assert dismiss(ledger, 2, "a test of the shop").entry_id == 4
    assert QuarantineDismissal.objects.get().recorded_by == "grace"
    with pytest.raises(QuarantinedRowSettled) as settled:
        dismiss(ledger, 2, "again")
    assert settled.value.finding == "grace dismissed it because of 'a test of the shop'"
    assert [row.transfer_id for row in list_open_rows(ledger)] == ["T-2"]
    import_file(ledger, write_transfers(path, [transfer("T-2")]))
    with pytest.raises(QuarantinedRowSettled) as settled:
        dismiss(ledger, 3, "too late")
    assert settled.value.finding == "a row of transfer T-2 was accepted since"


def test_the_command_lists_open_rows_and_dismisses_them(points, ledger_home, tmp_path):
    """docs/cases.md, R23: what a spreadsheet would take for a formula is text in the CSV."""
    ledger = ledger_home.open()
    rows = [transfer("=1+1", points="1"), transfer("T-2", points="a\x1b[31m")]
    import_file(ledger, write_transfers(tmp_path / "a.csv", rows), quarantine=True)
    home, environment = ledger_home.home, ledger_home.environment
    shown = points("quarantine", home=home, COLUMNS="200", **environment)
    assert shown.returncode == 0
    assert r"a\x1b[31m" in shown.stdout
    assert "2 open" in shown.stdout
    (answer, _) = json.loads(points("quarantine", "--json", home=home, **environment).stdout)
    assert (answer["entry_id"], answer["line"], answer["column"], answer["value"]) == (
        2,
        2,
        "transfer_id",
        "=1+1",
    )
    (row, _) = csv.DictReader(points("quarantine", "--csv", home=home, **environment).stdout.splitlines())
    assert row["value"] == "'=1+1"
    dismissed = points("quarantine", "dismiss", "2", "--reason", "a typo", home=home, **environment)
    assert (dismissed.returncode, "a typo" in dismissed.stdout) == (0, True)
    again = points("quarantine", "dismiss", "2", "--reason", "a typo", home=home, **environment)
    refusal(again)
    assert "1 open" in points("quarantine", home=home, **environment).stdout


def test_a_quarantined_id_may_be_any_text_that_was_sent(ledger_home, tmp_path):
    """docs/cases.md, R4: too long for an index, no text for a database, and still kept to the letter."""
    sent = ["x" * 5_000, "a\x00b", "ａ"]
    rows = [transfer(transfer_id) for transfer_id in sent]
    ledger = ledger_home.open()
    import_file(ledger, write_transfers(tmp_path / "a.csv", rows), quarantine=True)
    assert [row.transfer_id for row in list_open_rows(ledger)] == sent
    assert set(QuarantinedRow.objects.values_list("transfer_id", flat=True)) == {""}


def test_a_quarantined_row_is_resolved_by_a_row_that_says_what_is_known(ledger_home, tmp_path):
    """docs/cases.md, R21: also where the ledger had the transfer before, or from the same file (F10)."""
    ledger = ledger_home.open()
    good, bad = transfer("T-1"), transfer("T-1", points="x")
    import_file(ledger, write_transfers(tmp_path / "good.csv", [good]))
    import_file(ledger, write_transfers(tmp_path / "bad.csv", [bad]), quarantine=True)
    assert len(list(list_open_rows(ledger))) == 1
    resolving = import_file(ledger, tmp_path / "good.csv")
    assert (resolving.duplicates, resolving.resolved) == (1, 1)
    assert list(list_open_rows(ledger)) == []
    assert import_file(ledger, tmp_path / "good.csv").batch_id == ""
    both = write_transfers(tmp_path / "both.csv", [transfer("T-2"), transfer("T-2", points="x")])
    import_file(ledger, both, quarantine=True)
    assert import_file(ledger, both, quarantine=True).batch_id == ""
    assert len(list(list_open_rows(ledger))) == 1
    import_file(ledger, write_transfers(tmp_path / "good.csv", [transfer("T-2")]))
    assert list(list_open_rows(ledger)) == []
