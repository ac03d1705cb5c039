"""Writes lists as CSV and XML, row by row, so that a list of any length takes the memory of some of its rows.

CSV is RFC 4180: CRLF, UTF-8 without BOM. Free text that a spreadsheet would take for a formula gets an
apostrophe (`ledger.spreadsheet_text`). In XML such text is kept as it is; a character that XML 1.0 does not
know becomes U+FFFD. `ledger/lists/schemas/` holds the XML's schema.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import BinaryIO

from django.utils.xmlutils import SimplerXMLGenerator

from ledger.amounts import points_text
from ledger.spreadsheet_text import FREE_TEXTS, harmless_text

_ROWS_PER_WRITE = 1_000
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def value_text(value: object) -> str:
    """A value as exports and answers show it: exact points without trailing zeros, instants in UTC."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return points_text(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def write_csv(rows: Iterable[object], columns: Sequence[str], file: BinaryIO) -> None:
    """Write the attributes ``columns`` of ``rows`` to ``file``, under a header of their names."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(columns)
    for batch in _batches(rows):
        writer.writerows([_csv_text(column, getattr(row, column)) for column in columns] for row in batch)
        file.write(written.getvalue().encode("utf-8"))
        written.seek(0)
        written.truncate()


def _csv_text(column: str, value: object) -> str:
    text = value_text(value)
    return harmless_text(text) if column in FREE_TEXTS else text


def write_xml(rows: Iterable[object], columns: Sequence[str], element: str, file: BinaryIO) -> None:
    """Write ``rows`` as elements named ``element`` within one of its plural; what is empty is left out."""
    written = io.StringIO()
    xml = _ListXml(written, "UTF-8")
    xml.startDocument()
    xml.startElement(f"{element}s", {})
    for batch in _batches(rows):
        for row in batch:
            xml.ignorableWhitespace("\n  ")
            xml.startElement(element, {})
            for column in columns:
                if text := value_text(getattr(row, column)):
                    xml.ignorableWhitespace("\n    ")
                    xml.addQuickElement(column, _NOT_IN_XML.sub("\ufffd", text))
            xml.ignorableWhitespace("\n  ")
            xml.endElement(element)
        file.write(written.getvalue().encode("utf-8"))
        written.seek(0)
        written.truncate()
    xml.ignorableWhitespace("\n")
    xml.endElement(f"{element}s")
    file.write(f"{written.getvalue()}\n".encode())


class _ListXml(SimplerXMLGenerator):
    """Writes text from which a parser reads the same text again."""

    def characters(self, content: str) -> None:
        # A parser makes a line feed of a carriage return that is not written as a reference.
        for position, part in enumerate(content.split("\r")):
            if position:
                self.ignorableWhitespace("&#13;")
            super().characters(part)


def _batches(rows: Iterable[object]) -> Iterator[list[object]]:
    """At least one batch, so that even an empty list has its header."""
    batch: list[object] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_PER_WRITE:
            yield batch
            batch = []
    yield batch
