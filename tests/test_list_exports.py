"""Lists as CSV and XML: their bytes, harmless in a spreadsheet, valid by their schema, in bounded memory."""

import csv
import io
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from ledger.amounts import value_text
from ledger.append import appending
from ledger.files.imports import import_file
from ledger.lists.balance_lists import BALANCE_COLUMNS, every_listed_balance
from ledger.lists.list_exports import write_csv, write_xml
from ledger.lists.transfer_lists import TRANSFER_COLUMNS, every_listed_transfer, selected_transfers
from ledger.models import Transfer
from ledger.settings import PROJECT_ROOT, transfer_patterns
from ledger.spreadsheet_text import as_written_in_sql, harmless_text
from tests.conftest import LedgerHome, ledger_transfer

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SCHEMA = "{http://www.w3.org/2001/XMLSchema}"

HOSTILE_TEXTS = {
    "formula": '=HYPERLINK("https://example.com","click")',
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(A1)",
    "tab": "\t=1",
    "return": "\r=1",
    "markup": "</comment><!-- & \"quoted\" ]]> 'too'",
    "lines": "first\r\nsecond\nthird, with a comma",
    "emoji": "🎉 ü 漢",
    "unknown to XML": "before\ufffe\uffffafter",
    "plain": "as agreed = yes",
    "full width": "\uff1d1+1",
    "full width plus": "\uff0b49",
    "full width minus": "\uff0d1",
    "full width at": "\uff20SUM(A1)",
    "another cell": "paid;=1+1",
    "another quoted cell": 'paid; "=1+1"',
    "another line": "paid\n=1+1",
    "apostrophe": "'=1",
    "apostrophe alone": "'tis; it's",
}

# Those that get an apostrophe, at the beginning of each cell that a spreadsheet might see in them.
HARMLESS_TEXTS = {
    '=HYPERLINK("https://example.com","click")': '\'=HYPERLINK("https://example.com","click")',
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t'=1",
    "\r=1": "'\r'=1",
    "\uff1d1+1": "'\uff1d1+1",
    "\uff0b49": "'\uff0b49",
    "\uff0d1": "'\uff0d1",
    "\uff20SUM(A1)": "'\uff20SUM(A1)",
    "paid;=1+1": "paid;'=1+1",
    'paid; "=1+1"': 'paid;\' "=1+1"',
    "paid\n=1+1": "paid\n'=1+1",
    "'=1": "''=1",
}


def a_transfer(transfer_id: str, points: str = "100", **values) -> Transfer:
    return ledger_transfer(transfer_id, points=points, **values)


def a_ledger(ledger_home, *transfers: Transfer):
    ledger = ledger_home.open(clock=lambda: NOON)
    with appending(ledger) as appender:
        for transfer in transfers:
            appender.append(transfer)
    return ledger


def hostile_ledger(ledger_home):
    return a_ledger(
        ledger_home,
        *(
            a_transfer(f"T{number}", comment=text, external_reference=text)
            for number, text in enumerate(HOSTILE_TEXTS.values())
        ),
    )


def exported(write, rows, columns, *options) -> bytes:
    file = io.BytesIO()
    write(rows, columns, *options, file)
    return file.getvalue()


def test_csv_is_what_rfc_4180_says_with_points_as_people_write_them(ledger_home):
    ledger = a_ledger(
        ledger_home,
        a_transfer("T1", "99999999999999.9999", occurred_at=datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)),
        a_transfer("T2", "12.5000", style="deduct", currency="MILES", comment='says "so", twice'),
        a_transfer("T3", "100", reverses_transfer_id="T2", reason="revocation", batch_id="B-1"),
    )
    assert exported(write_csv, every_listed_transfer(ledger, {}, "entry_id"), TRANSFER_COLUMNS).decode() == (
        "entry_id,transfer_id,relation_reference,currency,style,points,reason,status,first_status,occurred_at,"
        "recorded_at,recorded_by,reverses_transfer_id,revoked_points,batch_id,external_reference,comment\r\n"
        "1,T1,C-1,POINTS,give,99999999999999.9999,admin_adjustment,approved,approved,"
        "2026-01-01T00:00:00.000005Z,2026-03-10T12:00:00Z,ada,,0,,,\r\n"
        "2,T2,C-1,MILES,deduct,12.5,admin_adjustment,approved,approved,2026-03-10T12:00:00Z,"
        '2026-03-10T12:00:00Z,ada,,100,,,"says ""so"", twice"\r\n'
        "3,T3,C-1,POINTS,give,100,revocation,approved,approved,2026-03-10T12:00:00Z,2026-03-10T12:00:00Z,ada,"
        "T2,0,B-1,,\r\n"
    )
    assert exported(write_csv, every_listed_balance(ledger, {}), BALANCE_COLUMNS).decode() == (
        "relation_reference,currency,approved_points,pending_given_points,pending_deducted_points,"
        "on_hold_given_points,on_hold_deducted_points,spendable_points,later_points,is_account_closed\r\n"
        "C-1,MILES,-12.5,0,0,0,0,-12.5,0,false\r\n"
        "C-1,POINTS,100000000000099.9999,0,0,0,0,100000000000099.9999,0,false\r\n"
    )


def test_free_text_in_csv_is_never_a_formula(ledger_home):
    """docs/cases.md, R23."""
    ledger = hostile_ledger(ledger_home)
    written = exported(write_csv, every_listed_transfer(ledger, {}, "entry_id"), TRANSFER_COLUMNS)
    rows = list(csv.DictReader(io.StringIO(written.decode("utf-8"), newline="")))
    for row, text in zip(rows, HOSTILE_TEXTS.values(), strict=True):
        assert row["comment"] == row["external_reference"] == HARMLESS_TEXTS.get(text, text)
    assert [row.comment for row in every_listed_transfer(ledger, {}, "entry_id")] == list(
        HOSTILE_TEXTS.values()
    )


# What an export has and an import file does not.
OF_THE_LEDGER = ("entry_id", "first_status", "recorded_at", "recorded_by", "revoked_points", "batch_id")


def assert_comes_back_as_it_is(ledger, path: Path, count: int) -> None:
    path.write_bytes(exported(write_csv, every_listed_transfer(ledger, {}, "entry_id"), TRANSFER_COLUMNS))
    result = import_file(ledger, path, ignored=OF_THE_LEDGER)
    assert (result.row_count, result.added, result.duplicates, result.entry_count) == (count, 0, count, 0)


def test_an_export_imported_again_adds_nothing(ledger_home, tmp_path):
    """docs/cases.md, R27."""
    ledger = hostile_ledger(ledger_home)
    assert_comes_back_as_it_is(ledger, tmp_path / "transfers.csv", len(HOSTILE_TEXTS))


KEPT_TEXT = st.from_regex(re.compile(transfer_patterns()["plain_text"]), fullmatch=True)
# Of the signs that the rule is about more than chance would bring.
SIGNS = st.text(alphabet="a1'\" ,;=+@-\uff1d\uff0b\uff0d\uff20\t\r\n", max_size=12)


@given(texts=st.lists(SIGNS | KEPT_TEXT, min_size=1, max_size=60))
@settings(max_examples=10, deadline=None)
def test_whatever_its_texts_are_an_export_imported_again_adds_nothing(texts):
    """docs/cases.md, R27."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = a_ledger(
            LedgerHome(Path(folder) / "home"),
            *(a_transfer(f"T{number}", external_reference=text) for number, text in enumerate(texts)),
        )
        assert_comes_back_as_it_is(ledger, Path(folder) / "transfers.csv", len(texts))


@given(text=SIGNS)
@settings(max_examples=500, deadline=None)
def test_no_cell_of_an_exported_text_begins_a_formula_and_reading_gives_the_text(text):
    """docs/cases.md, R23 and R27."""
    written = harmless_text(text)
    for cell in re.split("[;\t\r\n]", written):
        assert not re.match(r'[ "]*[=+@\uff1d\uff0b\uff0d\uff20-]', cell)
    read = f"select {as_written_in_sql('sent')} from (select $sent as sent)"
    assert duckdb.execute(read, {"sent": written}).fetchone() == (text,)


def test_the_names_of_users_and_batches_are_no_formulas_either(ledger_home):
    """docs/cases.md, R23."""
    ledger = ledger_home.open(user="=1+1", clock=lambda: NOON)
    with appending(ledger) as appender:
        appender.append(a_transfer("T1", batch_id="@B"))
    (row,) = csv.DictReader(
        io.StringIO(exported(write_csv, every_listed_transfer(ledger, {}), TRANSFER_COLUMNS).decode())
    )
    assert (row["recorded_by"], row["batch_id"]) == ("'=1+1", "'@B")


def test_xml_holds_the_same_text_and_no_character_that_xml_forbids(ledger_home):
    """docs/cases.md, R23."""
    ledger = hostile_ledger(ledger_home)
    written = exported(write_xml, every_listed_transfer(ledger, {}, "entry_id"), TRANSFER_COLUMNS, "transfer")
    root = ElementTree.fromstring(written)
    comments = [element.findtext("comment") for element in root]
    assert comments == [
        text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd") for text in HOSTILE_TEXTS.values()
    ]


def test_xml_is_valid_by_its_schema_and_the_schema_can_refuse(ledger_home):
    schema = etree.XMLSchema(etree.parse(PROJECT_ROOT / "ledger" / "lists" / "schemas" / "lists.xsd"))

    def is_valid(document: bytes) -> bool:
        return schema.validate(etree.fromstring(document))

    ledger = a_ledger(
        ledger_home,
        a_transfer("T1", "0.0001", status="on_hold", batch_id="B", external_reference="x", comment="y"),
        a_transfer("T2", "99999999999999.9", style="deduct", reverses_transfer_id="T1", reason="revocation"),
    )
    transfers = exported(write_xml, every_listed_transfer(ledger, {}), TRANSFER_COLUMNS, "transfer")
    balances = exported(write_xml, every_listed_balance(ledger, {}), BALANCE_COLUMNS, "balance")
    assert len(ElementTree.fromstring(transfers)) == 2
    assert is_valid(transfers)
    assert is_valid(balances)
    assert is_valid(exported(write_xml, [], TRANSFER_COLUMNS, "transfer"))
    assert not is_valid(transfers.replace(b"<style>deduct<", b"<style>take<"))
    assert not is_valid(balances.replace(b"0.0001", b"0.00010"))
    assert not is_valid(balances.replace(b"currency>", b"coin>"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("100.0000"), "100"),
        (Decimal("-0.5000"), "-0.5"),
        (Decimal("0.0000"), "0"),
        (Decimal("1E+3"), "1000"),
        (True, "true"),
        (7, "7"),
        (NOON, "2026-03-10T12:00:00Z"),
        ("", ""),
    ],
)
def test_a_value_is_written_in_one_way(value, text):
    assert value_text(value) == text


def test_a_long_list_is_written_as_it_is_read():
    class Row:
        number = 1

    class Watched(io.BytesIO):
        def write(self, data) -> int:
            sizes.append(len(data))
            return super().write(data)

    sizes: list[int] = []
    read = 0

    def rows():
        nonlocal read
        for read in range(1, 10_001):
            assert read - 3_000 * len(sizes) <= 3_000
            yield Row()

    write_csv(rows(), ["number"], Watched())
    assert read == 10_000
    assert max(sizes) < 10_000


def test_the_command_exports_what_was_filtered_or_selected(ledger_home, points):
    hostile_ledger(ledger_home)

    def rows(*arguments: str) -> list[str]:
        ended = points("transfers", *arguments, home=ledger_home.home, **ledger_home.environment)
        assert ended.returncode == 0, ended.stderr
        if "--xml" in arguments:
            return [row.findtext("transfer_id") for row in ElementTree.fromstring(ended.stdout)]
        return [row["transfer_id"] for row in csv.DictReader(io.StringIO(ended.stdout, newline=""))]

    assert rows("--csv", "--sort", "entry_id", "--limit", "2") == [
        f"T{number}" for number in range(len(HOSTILE_TEXTS))
    ]
    assert rows("T3", "T1", "--csv") == ["T3", "T1"]
    assert rows("T3", "--xml") == ["T3"]
    assert rows("--relation", "C-2", "--xml") == []
    assert [row.transfer_id for row in selected_transfers(["T3", "T1"])] == ["T3", "T1"]
    balances = points("balances", "--csv", home=ledger_home.home, **ledger_home.environment)
    points_of_all = 100 * len(HOSTILE_TEXTS)
    assert balances.stdout.splitlines()[1] == f"C-1,POINTS,{points_of_all},0,0,0,0,{points_of_all},0,false"


def test_one_customer_is_looked_up_without_waiting_for_duckdb(ledger_home):
    a_ledger(ledger_home, a_transfer("T1"))
    code = (
        "import sys\nfrom console.points import main\n"
        "try:\n    main()\nfinally:\n    assert 'duckdb' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "balances", "--relation", "C-1"],
        env={"POINTS_HOME": str(ledger_home.home), **ledger_home.environment},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "100" in ended.stdout
