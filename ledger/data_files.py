"""The one place that opens DuckDB and reads files with it, with every option set explicitly.

By default DuckDB takes columns from a path (``currency=MILES/``), patterns from a name (``a[1].csv``), types
from a file's first rows, and its calendar, time zone, extensions and place to spill from the machine.
Content comes from content alone (docs/design.md, section 4; docs/cases.md, F18 and X17). For the models,
``dbt_project/macros/readers.sql`` and ``profiles.yml`` say the same.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.process import MemoryLimit, this_process
from ledger.sql_text import literal
from ledger.work_folders import spill_folder

if TYPE_CHECKING:
    import duckdb

# How much of a CSV file is read at once, in bytes.
_BUFFER = 32 * 1024 * 1024
_ROWS_PER_FETCH = 10_000
# How long a line of a CSV file may be unless more is asked for, in bytes.
LONGEST_LINE = 2 * 1024 * 1024
# A text that no field can be, so that DuckDB reads no field that was sent as null.
NO_FIELD = "\x01\x02 no field \x02\x01"


@contextmanager
def connect(
    database: Path | None = None,
    *,
    read_only: bool = False,
    memory_limit: str | None = None,
    threads: int | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB file, or a database in memory, that takes no setting from the machine.

    It has the memory and the threads that POINTS_MEMORY_LIMIT and POINTS_THREADS give this process, or less
    where ``memory_limit`` or ``threads`` say so. All of them is for one database: who works side by side
    takes cursors of one. What does not fit into memory is spilled into a folder of POINTS_HOME of its own,
    which is removed in the end.
    """
    import duckdb  # takes 0.05 s, and most commands do without it

    process = this_process()
    most_memory = process.memory_limit.of_duckdb
    if memory_limit:
        most_memory = min(most_memory, MemoryLimit(memory_limit).bytes)
    most_threads = min((number for number in (threads, process.threads) if number), default=None)
    with ExitStack() as stack:
        config = {
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # A table that is missing would be looked for among Python's variables.
            "python_enable_replacements": False,
            "memory_limit": f"{most_memory}B",
            "temp_directory": stack.enter_context(spill_folder(process.home)),
            **({"threads": most_threads} if most_threads else {}),
        }
        connection = stack.enter_context(
            duckdb.connect(str(database or ":memory:"), read_only=read_only, config=config)
        )
        # In Thailand's locale the calendar is Buddhist, and 2026-02-03T04:05:06Z would be read as of 2569 BC.
        connection.execute("set global TimeZone = 'UTC'; set global Calendar = 'gregorian'")
        connection.execute("set enable_progress_bar = false")
        yield connection


def fetch_rows(
    database: duckdb.DuckDBPyConnection, query: str, parameters: Mapping | Sequence | None = None
) -> Iterator[tuple]:
    """The rows of a ``query``, of which there may be any number, in its order.

    All are made first, in a temporary table that DuckDB spills where memory lacks; Python has some of them
    at a time. What `execute` gives is streamed instead: see `fetch_whole`.
    """
    with database.cursor() as session:
        session.execute(f"create temp table fetched as {query}", parameters)
        (count,) = session.execute("select count(*) from fetched").fetchone()
        for first in range(0, count, _ROWS_PER_FETCH):
            last = first + _ROWS_PER_FETCH - 1
            yield from fetch_whole(
                session, f"from fetched where rowid between {first} and {last} order by rowid"
            )


def fetch_whole(session: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    """All rows of a ``query`` without parameters, of which there may be some ten thousand.

    DuckDB makes them before it hands over the first. What `execute` gives is streamed instead: the threads
    that make it wait until some of it is fetched, and now and then DuckDB 1.5 does not wake them up again, so
    that a chunk of an import was never fetched to its end, and its process went on for ever (DECISIONS.md).
    """
    return session.sql(query).fetchall()


def log_of(database: Path) -> Path:
    """Where DuckDB keeps what it has not written into a file yet, and looks for it as it opens the file."""
    return database.with_name(f"{database.name}.wal")


def read_parquet(files: Path | Iterable[Path], *, row_numbers: bool = False) -> str:
    """A relation of the rows of Parquet files, whose columns are put together by name.

    With ``row_numbers`` it has ``file_row_number``, from 0, beside them.
    """
    return (
        f"read_parquet({_names(files)}, union_by_name = true, file_row_number = {_boolean(row_numbers)},"
        " filename = false, hive_partitioning = false, hive_types_autocast = false, binary_as_string = false)"
    )


def read_parquet_metadata(file: Path) -> dict[str, str]:
    """The texts that who wrote a Parquet file put beside its rows."""
    with connect() as duck:
        said = f"select decode(key), decode(value) from parquet_kv_metadata({_names(file)})"
        return dict(duck.execute(said).fetchall())


def read_csv(
    file: Path,
    columns: Mapping[str, str],
    *,
    header: bool = True,
    delimiter: str = ",",
    quote: str = '"',
    is_gzip: bool = False,
    is_padded: bool = False,
    null_text: str = NO_FIELD,
    longest_line: int = LONGEST_LINE,
    new_line: str | None = None,
) -> str:
    """A relation of the rows of a CSV file, with ``columns`` (name to type) in the file's order.

    With ``is_padded`` a row that is too short has nulls for what is missing. ``longest_line`` is in bytes.
    ``new_line``, ``\\n`` as DuckDB spells it, is only given for files that this project wrote. Without it,
    DuckDB takes the first line end that it meets, even in a quoted field, for that of all rows; with one that
    the file does not have, it returns no rows and no error.
    """
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    return (
        f"read_csv({_names(file)}, auto_detect = false, columns = {{{types}}}, header = {_boolean(header)},"
        f" skip = 0, delim = {literal(delimiter)}, quote = {literal(quote)}, escape = {literal(quote)},"
        f" comment = '', nullstr = {literal(null_text)}, decimal_separator = '.', encoding = 'utf-8',"
        f" compression = '{'gzip' if is_gzip else 'none'}', strict_mode = true, ignore_errors = false,"
        f" store_rejects = false, null_padding = {_boolean(is_padded)}, parallel = {_boolean(not is_padded)},"
        f"{'' if new_line is None else f' new_line = {literal(new_line)},'}"
        f" max_line_size = {longest_line}, buffer_size = {max(longest_line, _BUFFER)},"
        " union_by_name = false, normalize_names = false, filename = false, hive_partitioning = false,"
        " hive_types_autocast = false)"
    )


def parquet_footer(file: Path) -> str:
    """A relation with what a Parquet file's footer says of the file: ``num_rows`` and more."""
    return f"parquet_file_metadata({_names(file)})"


def _names(files: Path | Iterable[Path]) -> str:
    """Files as DuckDB takes them for no pattern: ``['/lake/a[[]1].csv']``."""
    paths = [str(files)] if isinstance(files, Path) else map(str, files)
    return f"[{', '.join(literal(glob.escape(path)) for path in paths)}]"


def _boolean(value: bool) -> str:
    return str(value).lower()
