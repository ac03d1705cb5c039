"""Writes lists as CSV and XML, row by row, so that a list of any length takes the memory of some of its rows.

CSV is RFC 4180: CRLF, UTF-8 without BOM. Free text that a spreadsheet would take for a formula gets an
apostrophe (`ledger.spreadsheet_text`). In XML such text is kept as it is; a character that XML 1.0 does not
know becomes U+FFFD. `ledger/lists/schemas/` holds the XML's schema.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from django.utils.xmlutils import SimplerXMLGenerator

from ledger.amounts import value_text
from ledger.spreadsheet_text import FREE_TEXTS, harmless_text

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_csv(rows: Iterable[object], columns: Sequence[str], file: BinaryIO) -> None:
    """Write the attributes ``columns`` of ``rows`` to ``file``, under a header of their names."""
    with _text(file) as text:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(columns)
        free_texts = [position for position, column in enumerate(columns) if column in FREE_TEXTS]
        writer.writerows(_cells(row, columns, free_texts) for row in rows)


def _cells(row: object, columns: Sequence[str], free_texts: Sequence[int]) -> list[str]:
    """A row of CSV. Most values are texts, and a function that looks at each costs more than all else."""
    cells = [value if type(value := getattr(row, column)) is str else value_text(value) for column in columns]
    for position in free_texts:
        if cells[position]:
            cells[position] = harmless_text(cells[position])
    return cells


def write_xml(rows: Iterable[object], columns: Sequence[str], element: str, file: BinaryIO) -> None:
    """Write ``rows`` as elements named ``element`` within one of its plural; what is empty is left out."""
    with _text(file) as text:
        xml = _ListXml(text, "UTF-8")
        xml.startDocument()
        xml.startElement(f"{element}s", {})
        for row in rows:
            xml.ignorableWhitespace("\n  ")
            xml.startElement(element, {})
            for column in columns:
                if value := value_text(getattr(row, column)):
                    xml.ignorableWhitespace("\n    ")
                    xml.addQuickElement(column, _NOT_IN_XML.sub("\ufffd", value))
            xml.ignorableWhitespace("\n  ")
            xml.endElement(element)
        xml.ignorableWhitespace("\n")
        xml.endElement(f"{element}s")
        xml.ignorableWhitespace("\n")


class _ListXml(SimplerXMLGenerator):
    """Writes text from which a parser reads the same text again."""

    def characters(self, content: str) -> None:
        # A parser makes a line feed of a carriage return that is not written as a reference.
        for position, part in enumerate(content.split("\r")):
            if position:
                self.ignorableWhitespace("&#13;")
            super().characters(part)


@contextmanager
def _text(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """``file`` for text, which it gets in UTF-8 and some at a time; it stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        text.detach()
