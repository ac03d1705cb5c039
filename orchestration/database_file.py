"""DuckDB files that are given to readers: whole, on the disk and read back, or refused (docs/cases.md, X25).

What is committed stands in a log beside a database until DuckDB writes it into the file, at the latest as it
closes. Where that fails, on a disk that is nearly full, it raises no error; and the file alone, as readers
get it, has no tables. So here it writes while it can still say what hinders it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ledger.data_files import connect, log_of
from ledger.disk import drop_from_cache, sync_file
from ledger.sql_text import identifier

# What a file may hold, by DuckDB's function that lists it, and which of that is not DuckDB's own.
_CATALOGUES = {
    "duckdb_schemas": "not internal",
    "duckdb_tables": "not internal",
    "duckdb_views": "not internal",
    "duckdb_columns": "not internal",
    "duckdb_constraints": "true",
    "duckdb_indexes": "true",
    "duckdb_sequences": "true",
    "duckdb_types": "not internal",
    "duckdb_functions": "not internal",
}


@contextmanager
def new_database(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Make ``file`` of what the body puts into the database, or nothing where anything is raised.

    What a writer that was cut off has left there is removed first. Raises `duckdb.Error` and `OSError`.
    """
    _remove_database(file)
    try:
        with connect(file) as connection:
            yield connection
            written = _contents(connection)
            connection.execute("checkpoint")
        sync_file(file)
        drop_from_cache(file)
        with connect(file, read_only=True) as connection:
            read = _contents(connection)
        if read != written or log_of(file).exists():
            raise OSError(f"{file.name} does not hold what was written to it")
    except BaseException:
        _remove_database(file)
        raise


def describe_database(file: Path) -> list[tuple]:
    """All that a database's catalogue holds, views with their text, and every row of its tables.

    Of two files with the same content it is the same: read from a file, DuckDB spells a view in one way
    (`database_file._contents` compares with one that was not). Raises `duckdb.Error`.
    """
    described: list[tuple] = []
    with connect(file, read_only=True) as connection:
        for catalogue, condition in _CATALOGUES.items():
            described += connection.execute(
                "select $catalogue, columns(c -> not (c like '%_oid' or c in ('database_name', 'file')))"
                f" from {catalogue}() where database_name = current_database() and {condition} order by all",
                {"catalogue": catalogue},
            ).fetchall()
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where not internal order by all"
        ).fetchall()
        for schema, name in tables:
            described += connection.execute(
                f"from {identifier(schema)}.{identifier(name)} order by all"
            ).fetchall()
    return described


def is_readable(file: Path, names: Iterable[str]) -> bool:
    """Whether a database can be opened and shows all of these tables and views."""
    try:
        with connect(file, read_only=True) as connection:
            for name in names:
                connection.execute(f"from {identifier(name)} limit 0")
    except duckdb.Error:
        return False
    return True


def _remove_database(file: Path) -> None:
    """Remove a database with its log, as far as they are there."""
    file.unlink(missing_ok=True)
    log_of(file).unlink(missing_ok=True)


def _contents(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    """Each column of views and tables, each with its comment, and the number and hash of each table's rows.

    The text of a view is no part of it: DuckDB spells it otherwise once it is read from a file.
    """
    here = "not internal and database_name = current_database()"
    found = connection.execute(
        f"select table_name, column_name, data_type, comment from duckdb_columns() where {here} union all"
        f" select view_name, '', 'view', comment from duckdb_views() where {here} union all"
        f" select table_name, '', 'table', comment from duckdb_tables() where {here} order by all"
    ).fetchall()
    for name in [name for name, _, kind, _ in found if kind == "table"]:
        rows = connection.execute(f"select count(*), sum(hash(_row)) from {identifier(name)} as _row")
        found.append((name, *rows.fetchone()))
    return found
