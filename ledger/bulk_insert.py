"""Inserts entries, one or many at once, the fastest way that each database has."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from django.db import connection

from ledger.digests import digest_columns, stored_values
from ledger.models import Entry

# Fewer than the least number of parameters that SQLite is built for.
_PARAMETERS_PER_STATEMENT = 900
_BLOCK_BYTES = 1 << 20
# Stands for null in what PostgreSQL is sent: an entry has none, and no text of one holds a control character.
_NO_VALUE = "\x01"


def insert_columns(model: type[Entry]) -> tuple[str, ...]:
    """The columns of an entry, in the order in which rows bring them."""
    recorded_at, recorded_by, *values = digest_columns(model)
    return ("entry_id", recorded_at, recorded_by, "digest", *values)


def insert_rows(model: type[Entry], rows: Sequence[tuple]) -> None:
    """Insert ``rows``, whose values are as the database keeps them, in the order of `insert_columns`."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor, cursor.copy(_copy_statement(model)) as copy:
            for row in rows:
                copy.write_row(row)
        return
    columns = insert_columns(model)
    width = _PARAMETERS_PER_STATEMENT // len(columns)
    wide_count = len(rows) // width
    wide_rows = (
        tuple(chain.from_iterable(rows[number * width : (number + 1) * width]))
        for number in range(wide_count)
    )
    with connection.cursor() as cursor:
        # Of fifty rows a statement, each costs a quarter less.
        for statement_rows, row_count in ((wide_rows, width), (rows[wide_count * width :], 1)):
            cursor.executemany(_insert_statement(model, row_count), statement_rows)


def insert_entry(entry: Entry) -> None:
    """Insert one entry, which has its id and its digest."""
    recorded_at, recorded_by, *values = stored_values(entry)
    row = (entry.entry_id, recorded_at, recorded_by, entry.digest, *values)
    with connection.cursor() as cursor:
        cursor.execute(_insert_statement(type(entry), row_count=1), row)


def copy_rows(model: type[Entry], csv_file: Path) -> None:
    """Insert the rows of a CSV file without a header into PostgreSQL, in the order of `insert_columns`."""
    statement = f"{_copy_statement(model)} (format csv, null '{_NO_VALUE}')"
    with connection.cursor() as cursor, open(csv_file, "rb") as file, cursor.copy(statement) as copy:
        while block := file.read(_BLOCK_BYTES):
            copy.write(block)


def _copy_statement(model: type[Entry]) -> str:
    return f"copy {model._meta.db_table} ({_quoted(insert_columns(model))}) from stdin"


@cache
def _insert_statement(model: type[Entry], row_count: int) -> str:
    columns = insert_columns(model)
    row = f"({', '.join(['%s'] * len(columns))})"
    rows = ", ".join([row] * row_count)
    return f"insert into {model._meta.db_table} ({_quoted(columns)}) values {rows}"


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(map(connection.ops.quote_name, columns))
