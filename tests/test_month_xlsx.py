"""The workbook of a month: what is in its cells, and that none of them acts."""

import csv
import os
import shutil
import subprocess
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from ledger.amounts import points_text
from orchestration import month_xlsx
from orchestration.month_xlsx import Table, data_rows, write_workbook

FACTS = {
    "programme": '=HYPERLINK("http://example.com") & <b>',
    "report_month": "2026-10",
    "period_start_date": "2026-10-01",
    "period_end_date": "2026-10-31",
    "status": "closed",
    "revision": "1",
    "currency": "POINTS",
    "basis": "totals",
}
HEADINGS = ["Relation Reference", "Points"]
CONTROL = [
    Table(
        "Roll-forward",
        ["Line", "Reason", "Points"],
        [("Opening Points", "", Decimal("12.5000")), ("Closing Points", None, Decimal("-1234567890123456"))],
    )
]


def written(path: Path, *rows: tuple[str, Decimal | int]) -> openpyxl.Workbook:
    """A workbook with one table of ``rows``, as openpyxl reads it."""
    texts = [(reference, points_text(Decimal(points))) for reference, points in rows]
    write_workbook(path, FACTS, CONTROL, [Table("Report", HEADINGS, texts)], len(rows))
    return openpyxl.load_workbook(path)


def test_the_control_sheet_has_facts_roll_forward_and_lines_to_sign_on(tmp_path):
    book = written(tmp_path / "book.xlsx")
    assert book.sheetnames == ["Control", "Report"]
    cells = [tuple(cell for cell in row if cell is not None) for row in book["Control"].values]
    rows = [row for row in cells if row]
    assert rows == [
        *((name.replace("_", " ").capitalize(), value) for name, value in FACTS.items()),
        ("Roll-forward",),
        ("Line", "Reason", "Points"),
        ("Opening Points", 12.5),
        ("Closing Points", "-1234567890123456"),
        ("Prepared by",),
        ("Date",),
        ("Approved by",),
        ("Date",),
    ]


@pytest.mark.parametrize(
    ("value", "cell", "kind"),
    [
        (Decimal("100.0000"), 100, "n"),
        (Decimal("-0.0001"), -0.0001, "n"),
        (7, 7, "n"),
        # Fifteen digits a float has for sure, more are text.
        (Decimal("99999999999.9999"), 99999999999.9999, "n"),
        (Decimal("999999999999.9999"), "999999999999.9999", "s"),
        (Decimal("-1234567890123456"), "-1234567890123456", "s"),
        ("0049", "0049", "s"),
        ("=1+1", "=1+1", "s"),
        ("+491511", "+491511", "s"),
        ("@SUM(A1)", "@SUM(A1)", "s"),
        ("http://example.com", "http://example.com", "s"),
        ("mailto:a@example.com", "mailto:a@example.com", "s"),
    ],
)
def test_a_cell_is_what_it_says_and_never_acts(tmp_path, value, cell, kind):
    """docs/cases.md, R23."""
    row, found = ((value, 1), "A2") if isinstance(value, str) else (("C-1", value), "B2")
    sheet = written(tmp_path / "book.xlsx", row)["Report"]
    assert (sheet[found].value, sheet[found].data_type) == (cell, kind)
    assert sheet[found].hyperlink is None


def test_headings_stay_in_view_and_stand_on_every_page(tmp_path):
    sheet = written(tmp_path / "book.xlsx", ("C-1", 1))["Report"]
    assert [cell.value for cell in sheet[1]] == HEADINGS
    assert sheet.freeze_panes == "B2"
    assert sheet.print_title_rows == "$1:$1"
    assert sheet["B2"].number_format == "#,##0"


def test_a_table_that_is_longer_than_a_sheet_has_several(tmp_path, monkeypatch):
    monkeypatch.setattr(month_xlsx, "MOST_ROWS_OF_A_SHEET", 2)
    book = written(tmp_path / "book.xlsx", *((f"C-{number}", number) for number in range(1, 6)))
    assert book.sheetnames == ["Control", "Report", "Report 2", "Report 3"]
    assert [list(book[name].values) for name in book.sheetnames[1:]] == [
        [tuple(HEADINGS), ("C-1", 1), ("C-2", 2)],
        [tuple(HEADINGS), ("C-3", 3), ("C-4", 4)],
        [tuple(HEADINGS), ("C-5", 5)],
    ]
    assert len(list(data_rows(tmp_path / "book.xlsx"))) == 8


def test_the_same_tables_give_the_same_bytes_without_a_clock(tmp_path):
    for name in ("one.xlsx", "other.xlsx"):
        book = written(tmp_path / name, ("C-1", Decimal("1.5")))
    assert (tmp_path / "one.xlsx").read_bytes() == (tmp_path / "other.xlsx").read_bytes()
    assert book.properties.created == datetime(2026, 10, 31)


def test_libreoffice_reads_each_cell_as_it_was_written(tmp_path):
    """docs/cases.md, R23: opened by a spreadsheet, and saved by it as CSV."""
    office = shutil.which("soffice")
    if office is None:
        if os.environ.get("CI"):
            pytest.fail("soffice not found, and in CI nothing is skipped: `.ci/run` installs it.")
        pytest.skip("soffice not found: this test needs LibreOffice Calc.")
    rows = [
        ("=1+1", Decimal("12.5000")),
        ("+491511", Decimal("-0.0001")),
        ("@SUM(A1)", Decimal("99999999999.9999")),
        ("0049", Decimal("-1234567890123456.7891")),
        ("http://example.com", 1_234_567),
    ]
    written(tmp_path / "book.xlsx", *rows)
    # Separator, quotes and UTF-8; from the first line on, every cell as it is kept; all sheets.
    as_csv = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    subprocess.run(
        [office, profile, "--headless", "--convert-to", as_csv, "--outdir", tmp_path, tmp_path / "book.xlsx"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    with open(tmp_path / "book-Report.csv", encoding="utf-8", newline="") as file:
        heading, *read = csv.reader(file)
    assert heading == HEADINGS
    assert [(reference, Decimal(points)) for reference, points in read] == rows
    control = (tmp_path / "book-Control.csv").read_text(encoding="utf-8")
    assert FACTS["programme"].replace('"', '""') in control
