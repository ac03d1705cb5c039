"""Writes lists as CSV and XML, row by row, so that a list of any length takes the memory of some of its rows.

CSV is RFC 4180: CRLF, UTF-8 without BOM. Free text that a spreadsheet would take for a formula gets an
apostrophe before it, which a spreadsheet shows as text (docs/cases.md, R23). In XML such text is kept as it
is; a character that XML 1.0 does not know becomes U+FFFD. `ledger/lists/schemas/` holds the XML's schema.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import BinaryIO

from ledger.amounts import points_text
from ledger.shown_text import shown_in_cell

# What people, or other programs, wrote; everything else has a pattern of its own.
FREE_TEXTS = ("comment", "external_reference", "recorded_by", "batch_id")

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
_ROWS_PER_WRITE = 1_000
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})


def value_text(value: object) -> str:
    """A value as exports and answers show it: exact points without trailing zeros, instants in UTC."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return points_text(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def harmless_text(text: str) -> str:
    """``text`` as a spreadsheet or a terminal may show it: no formula, and nothing that acts on either."""
    text = shown_in_cell(text)
    return "'" + text if text.startswith(_FORMULA_BEGINNINGS) else text


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
    file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<{element}s>\n'.encode())
    for batch in _batches(rows):
        file.write("".join(_xml_row(row, columns, element) for row in batch).encode("utf-8"))
    file.write(f"</{element}s>\n".encode())


def _xml_row(row: object, columns: Sequence[str], element: str) -> str:
    texts = ((column, value_text(getattr(row, column))) for column in columns)
    values = "".join(f"    <{column}>{xml_text(text)}</{column}>\n" for column, text in texts if text)
    return f"  <{element}>\n{values}  </{element}>\n"


def xml_text(text: str) -> str:
    """``text`` as the content of an XML element, from which a parser reads the same text again."""
    return _NOT_IN_XML.sub("\ufffd", text).translate(_XML_ESCAPES)


def _batches(rows: Iterable[object]) -> Iterator[list[object]]:
    """At least one batch, so that even an empty list has its header."""
    batch: list[object] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_PER_WRITE:
            yield batch
            batch = []
    yield batch
