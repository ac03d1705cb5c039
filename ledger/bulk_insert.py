"""Inserts entries, one or many at once, the fastest way that each database has."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from django.db import connection

from ledger.digests import digest_columns, stored_values
from ledger.models import Entry

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
    table, columns = model._meta.db_table, _quoted(insert_columns(model))
    with connection.cursor() as cursor:
        # For a statement that may fail, SQLite first copies every page that it changes. One statement for all
        # rows copies each page of an index once, a statement for each row one page a row and index.
        cursor.execute(f"create temp table coming as select {columns} from {table} limit 0")
        cursor.executemany(_insert_statement("coming", model), rows)
        cursor.execute(f"insert into {table} ({columns}) select {columns} from coming order by rowid")
        cursor.execute("drop table coming")


def insert_entry(entry: Entry) -> None:
    """Insert one entry, which has its id and its digest."""
    recorded_at, recorded_by, *values = stored_values(entry)
    row = (entry.entry_id, recorded_at, recorded_by, entry.digest, *values)
    with connection.cursor() as cursor:
        cursor.execute(_insert_statement(entry._meta.db_table, type(entry)), row)


def copy_rows(model: type[Entry], csv_file: Path) -> None:
    """Insert the rows of a CSV file without a header into PostgreSQL, in the order of `insert_columns`."""
    statement = f"{_copy_statement(model)} (format csv, null '{_NO_VALUE}')"
    with connection.cursor() as cursor, open(csv_file, "rb") as file, cursor.copy(statement) as copy:
        while block := file.read(_BLOCK_BYTES):
            copy.write(block)


def _copy_statement(model: type[Entry]) -> str:
    return f"copy {model._meta.db_table} ({_quoted(insert_columns(model))}) from stdin"


@cache
def _insert_statement(table: str, model: type[Entry]) -> str:
    columns = insert_columns(model)
    return f"insert into {table} ({_quoted(columns)}) values ({', '.join(['%s'] * len(columns))})"


def _quoted(columns: Iterable[str]) -> str:
    return ", ".join(map(connection.ops.quote_name, columns))
