"""The workbook of a month in one currency: a control sheet to sign on, then its tables
(docs/design.md, section 9).

No cell is a formula or a link, whatever it holds. A spreadsheet counts in floats, which have 15 digits for
sure, so a number with more of them is written as text, to the right. The same tables give the same workbook.
"""

import os
import re
import traceback
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError

from ledger.amounts import points_text

# A sheet of a spreadsheet ends at 1,048,576.
MOST_ROWS_OF_A_SHEET = 1_000_000
_MOST_DIGITS = 15
_TO_SIGN = ("Prepared by", "Date", "Approved by", "Date")


@dataclass(frozen=True)
class Table:
    """A heading for each column, and rows of texts, whole numbers and points; None is an empty cell."""

    title: str
    headings: Sequence[str]
    rows: Iterable[Sequence[object]]


class _Workbook:
    """A workbook that is written row after row, so that no more than one of them is held in memory."""

    def __init__(self, book: xlsxwriter.Workbook, facts: Mapping[str, str]) -> None:
        self.facts = facts
        self.book = book
        # The clock of the machine would stand there.
        self.book.set_properties({"created": datetime.fromisoformat(facts["period_end_date"])})
        self.heading = self.book.add_format({"bold": True, "bottom": 1})
        self.title = self.book.add_format({"bold": True})
        self.text = self.book.add_format({"num_format": "@"})
        self.long_number = self.book.add_format({"num_format": "@", "align": "right"})
        self.whole = self.book.add_format({"num_format": "#,##0"})
        self.fraction = self.book.add_format({"num_format": "#,##0.0###"})
        self.to_sign = self.book.add_format({"bottom": 1})

    def sheet(self, name: str, widths: Sequence[int]):
        sheet = self.book.add_worksheet(name)
        sheet.set_paper(9)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        programme = self.facts["programme"].replace("&", "&&")[:100]
        sheet.set_header(f"&L{programme}&C{name} {self.facts['report_month']}&R{self.facts['currency']}")
        sheet.set_footer("&C&P / &N")
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        return sheet

    def write_row(self, sheet, row: int, values: Sequence[object]) -> None:
        for column, value in enumerate(values):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                sheet.write_string(row, column, value, self.text)
                continue
            text = points_text(Decimal(value))
            if len(text.lstrip("-0.").replace(".", "")) > _MOST_DIGITS:
                sheet.write_string(row, column, text, self.long_number)
            else:
                number_format = self.fraction if "." in text else self.whole
                sheet.write_number(row, column, Decimal(text), number_format)

    def write_headings(self, sheet, row: int, headings: Sequence[str]) -> None:
        for column, heading in enumerate(headings):
            sheet.write_string(row, column, heading, self.heading)


def write_workbook(
    path: Path, facts: Mapping[str, str], control: Iterable[Table], tables: Iterable[Table]
) -> None:
    """Write the workbook of a month.

    The sheet Control has the ``facts`` of the month, the tables of ``control`` and lines to sign on; they are
    blank, because the file is sealed before. Each of ``tables`` has a sheet, and where it is longer than one
    may be, several.
    """
    with _new_book(path) as book:
        _write_sheets(_Workbook(book, facts), control, tables)


@contextmanager
def _new_book(path: Path) -> Iterator[xlsxwriter.Workbook]:
    """Closed at the end. Of a full disk XlsxWriter makes an error of its own, and leaves its files behind."""
    with TemporaryDirectory(dir=path.parent) as folder, open(path, "wb") as file:
        book = xlsxwriter.Workbook(
            file,
            {
                "constant_memory": True,
                "tmpdir": folder,
                "strings_to_formulas": False,
                "strings_to_numbers": False,
                "strings_to_urls": False,
            },
        )
        try:
            yield book
            book.close()
        except FileCreateError as error:
            (full,) = error.args
            # Its archive writes its end as it is collected: now, and where that cannot fail again.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), file.fileno())
            traceback.clear_frames(full.__traceback__)
            raise full from None


def _write_sheets(workbook: _Workbook, control: Iterable[Table], tables: Iterable[Table]) -> None:
    sheet, row = workbook.sheet("Control", (34, 26, 18, 22)), 0
    for name, value in workbook.facts.items():
        workbook.write_row(sheet, row, (name.replace("_", " ").capitalize(), value))
        row += 1
    for table in control:
        sheet.write_string(row + 1, 0, table.title, workbook.title)
        workbook.write_headings(sheet, row + 2, table.headings)
        row += 3
        for values in table.rows:
            workbook.write_row(sheet, row, values)
            row += 1
    for line in _TO_SIGN:
        row += 2
        sheet.write_string(row, 0, line, workbook.text)
        sheet.write_blank(row, 1, None, workbook.to_sign)
    for table in tables:
        _write_table(workbook, table)


def _write_table(workbook: _Workbook, table: Table) -> None:
    sheet, part, row = None, 0, MOST_ROWS_OF_A_SHEET
    for values in table.rows:
        if row == MOST_ROWS_OF_A_SHEET:
            part += 1
            sheet, row = _begun_sheet(workbook, table, part), 0
        row += 1
        workbook.write_row(sheet, row, values)
    if sheet is None:
        _begun_sheet(workbook, table, 1)


def _begun_sheet(workbook: _Workbook, table: Table, part: int):
    """A sheet with the table's headings, which stay in view and stand on every printed page."""
    name = table.title if part == 1 else f"{table.title} {part}"
    sheet = workbook.sheet(name, (26, *[18] * (len(table.headings) - 1)))
    workbook.write_headings(sheet, 0, table.headings)
    sheet.freeze_panes(1, 1)
    sheet.repeat_rows(0)
    return sheet


def data_rows(path: Path) -> Iterator[str]:
    """Each row of a workbook's sheets but the control sheet, as it is kept in the file."""
    with zipfile.ZipFile(path) as book:
        for name in book.namelist():
            if name.startswith("xl/worksheets/") and name != "xl/worksheets/sheet1.xml":
                yield from re.findall("<row .*?</row>", book.read(name).decode("utf-8"))
