"""The workbook of a month in one currency: a control sheet to sign on, then its tables
(docs/design.md, section 9).

No cell is a formula or a link, whatever it holds. A spreadsheet counts in floats, which have 15 digits for
sure, so a number with more of them is written as text, to the right. The same tables give the same workbook.

XlsxWriter makes all of it but the rows of the tables: to put together the line of XML that each is takes a
fifth of the time.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from string import ascii_uppercase
from typing import BinaryIO
from xml.sax.saxutils import escape

from ledger.amounts import points_text

# A sheet of a spreadsheet ends at 1,048,576.
MOST_ROWS_OF_A_SHEET = 1_000_000
_MOST_DIGITS = 15
_TO_SIGN = ("Prepared by", "Date", "Approved by", "Date")
# Of tables. A sheet that has no rows yet has an empty cell of each format, which shows the format's number.
_FORMATS = ("heading", "text", "long_number", "whole", "fraction")
_EMPTY_ROWS = re.compile(r"<sheetData>(.*)</sheetData>")
_FORMAT_NUMBER = re.compile(r' s="(\d+)"')
_DIMENSION = re.compile(r'(?<=<dimension ref=")[^"]*')
_ROWS_PER_WRITE = 1_000


@dataclass(frozen=True)
class Table:
    """A heading for each column, and rows.

    On the control sheet they are of texts, whole numbers and points, and None is an empty cell. On a sheet of
    its own each is a text, and after it points, which are texts of digits already (`points_text`).
    """

    title: str
    headings: Sequence[str]
    rows: Iterable[Sequence[object]]


def _points_format(text: str) -> str:
    """The format, one of `_FORMATS`, of points in this text."""
    if len(text) > _MOST_DIGITS and len(text.lstrip("-0.").replace(".", "")) > _MOST_DIGITS:
        return "long_number"
    return "fraction" if "." in text else "whole"


class _Workbook:
    """The workbook without the rows of its tables."""

    def __init__(self, file: BinaryIO, facts: Mapping[str, str]) -> None:
        import xlsxwriter  # 0.1 s, and most commands write no workbook

        self.facts = facts
        self.book = xlsxwriter.Workbook(
            file,
            {
                "in_memory": True,
                "strings_to_formulas": False,
                "strings_to_numbers": False,
                "strings_to_urls": False,
            },
        )
        # The clock of the machine would stand there.
        self.book.set_properties({"created": datetime.fromisoformat(facts["period_end_date"])})
        self.formats = {
            "heading": self.book.add_format({"bold": True, "bottom": 1}),
            "text": self.book.add_format({"num_format": "@"}),
            "long_number": self.book.add_format({"num_format": "@", "align": "right"}),
            "whole": self.book.add_format({"num_format": "#,##0"}),
            "fraction": self.book.add_format({"num_format": "#,##0.0###"}),
        }

    def _sheet(self, name: str, widths: Sequence[int]):
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

    def _write_row(self, sheet, row: int, values: Sequence[object]) -> None:
        for column, value in enumerate(values):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                sheet.write_string(row, column, value, self.formats["text"])
                continue
            text = points_text(Decimal(value))
            cell_format = _points_format(text)
            if cell_format == "long_number":
                sheet.write_string(row, column, text, self.formats[cell_format])
            else:
                sheet.write_number(row, column, Decimal(text), self.formats[cell_format])

    def add_control(self, tables: Iterable[Table]) -> None:
        """Add the sheet with the facts of the month, these tables, and lines to sign on."""
        title = self.book.add_format({"bold": True})
        to_sign = self.book.add_format({"bottom": 1})
        sheet, row = self._sheet("Control", (34, 26, 18, 22)), 0
        for name, value in self.facts.items():
            self._write_row(sheet, row, (name.replace("_", " ").capitalize(), value))
            row += 1
        for table in tables:
            sheet.write_string(row + 1, 0, table.title, title)
            for column, heading in enumerate(table.headings):
                sheet.write_string(row + 2, column, heading, self.formats["heading"])
            row += 3
            for values in table.rows:
                self._write_row(sheet, row, values)
                row += 1
        for line in _TO_SIGN:
            row += 2
            sheet.write_string(row, 0, line, self.formats["text"])
            sheet.write_blank(row, 1, None, to_sign)

    def add_empty(self, name: str, columns: int) -> None:
        """Add a sheet for rows of a table, whose headings stay in view and stand on every printed page."""
        sheet = self._sheet(name, (26, *[18] * (columns - 1)))
        for column, cell_format in enumerate(_FORMATS):
            sheet.write_blank(0, column, None, self.formats[cell_format])
        sheet.freeze_panes(1, 1)
        sheet.repeat_rows(0)


def write_workbook(
    path: Path, facts: Mapping[str, str], control: Iterable[Table], tables: Sequence[Table], row_count: int
) -> None:
    """Write the workbook of a month.

    The sheet Control has the ``facts`` of the month, the tables of ``control`` and lines to sign on; they are
    blank, because the file is sealed before. Each of ``tables``, of ``row_count`` rows, has a sheet, and
    where it is longer than one may be, several. No more than some of the rows are held in memory.
    """
    with io.BytesIO() as file:
        empty = _Workbook(file, facts)
        empty.add_control(control)
        sheets = []
        for table in tables:
            rows = iter(table.rows)
            for part in range(1, max(1, -(-row_count // MOST_ROWS_OF_A_SHEET)) + 1):
                name = table.title if part == 1 else f"{table.title} {part}"
                empty.add_empty(name, len(table.headings))
                of_sheet = min(row_count - (part - 1) * MOST_ROWS_OF_A_SHEET, MOST_ROWS_OF_A_SHEET)
                sheets.append((table.headings, islice(rows, MOST_ROWS_OF_A_SHEET), of_sheet))
        empty.book.close()
        with (
            zipfile.ZipFile(file) as source,
            open(path, "wb") as target,
            zipfile.ZipFile(target, "w") as book,
        ):
            # Sheet 1 is Control.
            filled = {
                f"xl/worksheets/sheet{number}.xml": sheet for number, sheet in enumerate(sheets, start=2)
            }
            for member in source.infolist():
                content = source.read(member)
                entry = zipfile.ZipInfo(member.filename, member.date_time)
                entry.compress_type, entry.external_attr = member.compress_type, member.external_attr
                with book.open(entry, "w") as written:
                    if sheet := filled.get(member.filename):
                        for xml in _filled_sheet(content.decode("utf-8"), *sheet):
                            written.write(xml.encode("utf-8"))
                    else:
                        written.write(content)


def _filled_sheet(
    empty: str, headings: Sequence[str], rows: Iterator[Sequence[str]], row_count: int
) -> Iterator[str]:
    """The XML of a sheet of `_Workbook.add_empty`, with its headings and rows, in parts."""
    shown = _EMPTY_ROWS.search(empty)
    formats = dict(zip(_FORMATS, _FORMAT_NUMBER.findall(shown[1]), strict=True))
    columns = ascii_uppercase[: len(headings)]
    yield _DIMENSION.sub(f"A1:{columns[-1]}{row_count + 1}", empty[: shown.start(1)])
    cells = [
        _text_cell(column, 1, heading, formats["heading"])
        for column, heading in zip(columns, headings, strict=True)
    ]
    yield f'<row r="1">{"".join(cells)}</row>'
    lines = (_line(number, columns, values, formats) for number, values in enumerate(rows, start=2))
    while some := "".join(islice(lines, _ROWS_PER_WRITE)):
        yield some
    yield empty[shown.end(1) :]


def _line(number: int, columns: str, values: Sequence[str], formats: Mapping[str, str]) -> str:
    text, *points = values
    cells = [_text_cell(columns[0], number, text, formats["text"])]
    for column, digits in zip(columns[1:], points, strict=True):
        cell_format = _points_format(digits)
        if cell_format == "long_number":
            cells.append(_text_cell(column, number, digits, formats[cell_format]))
        else:
            cells.append(f'<c r="{column}{number}" s="{formats[cell_format]}"><v>{digits}</v></c>')
    return f'<row r="{number}">{"".join(cells)}</row>'


def _text_cell(column: str, row: int, text: str, cell_format: str) -> str:
    return f'<c r="{column}{row}" s="{cell_format}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'


def data_rows(path: Path) -> Iterator[str]:
    """Each row of a workbook's sheets but the control sheet, as it is kept in the file."""
    with zipfile.ZipFile(path) as book:
        for name in book.namelist():
            if name.startswith("xl/worksheets/") and name != "xl/worksheets/sheet1.xml":
                yield from re.findall("<row .*?</row>", book.read(name).decode("utf-8"))
