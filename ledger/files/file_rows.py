"""Reads a file of transfers into DuckDB, every value as text and as it was sent (docs/cases.md, F1 to F20).

A file that cannot be read as rows is refused here, with a sentence; rows that break a rule are read, and
judged later. The import and builds of raw files read by it; for a `dbt build` by hand
`dbt_project/macros/raw_transfers_file.sql` does the same as well as SQL can.
"""

import csv
import hashlib
import io
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from re import fullmatch

import duckdb

from ledger.data_files import LONGEST_LINE, read_csv, read_parquet
from ledger.disk import lack_of_room
from ledger.errors import first_line
from ledger.files.transfers_file import (
    SentFile,
    TransfersFileRefused,
    blocks,
    check_file,
    opened,
)
from ledger.spreadsheet_text import FREE_TEXTS, as_written_in_sql
from ledger.sql_text import identifier

# The surplus fields of a row that DuckDB is given columns for; rows with more are rewritten first.
_SURPLUS_FIELDS = 4
# How long a row may be, its line ends included, in bytes. No row of transfers comes near it, and a file of
# 1.5 MB may unpack to one field of 1.5 GB. A freeze reads comments back, each quote of them doubled, with
# lines of up to 32 MiB, so 8 MiB at most may stand in a row.
LONGEST_ROW = 8 * 1024 * 1024
# Python's reader takes fields of up to 131,072 characters by default; the limit is set once for the process.
csv.field_size_limit(LONGEST_ROW)
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_INTEGERS = (
    *("tinyint", "smallint", "integer", "bigint", "hugeint"),
    *("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"),
)


@dataclass(frozen=True)
class FileShape:
    """The columns that a kind of file must have, and those that it may have.

    ``renamed`` maps names of the very file to ours, ``ignored`` are names of it that are left out; where
    ``takes_others``, so are all that are none of these.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()
    # Whether an instant of a Parquet file may be a date; text is judged later.
    takes_dates: bool = False
    takes_others: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return self.needed + self.optional


TRANSFERS_SHAPE = FileShape(
    needed=("transfer_id", "relation_reference", "style", "points", "reason", "occurred_at"),
    optional=(
        *("currency", "status", "status_changed_at", "reverses_transfer_id"),
        *("external_reference", "comment"),
    ),
)

# What a build of raw files takes beyond: what a ledger adds.
RAW_TRANSFERS_SHAPE = FileShape(
    TRANSFERS_SHAPE.needed, (*TRANSFERS_SHAPE.optional, "entry_id", "recorded_at", "recorded_by", "batch_id")
)


@dataclass(frozen=True)
class LoadedFile:
    """A file whose rows stand in the table `sent_rows`.

    ``header`` has the names of the file's columns, ``columns`` are the shape's that it has, in the file's
    order; ``sha256`` (hexadecimal) is that of the file as it stands on disk.
    """

    sent: SentFile
    header: tuple[str, ...]
    columns: tuple[str, ...]
    row_count: int
    sha256: str
    _line_count: int = field(repr=False)

    def lines(self, row_numbers: Iterable[int]) -> dict[int, int]:
        """The line of the file, from 1, at which each of the rows begins; of Parquet, the row's number.

        Reads the file again where a quoted field holds a line break, or a line is blank.
        """
        wanted = sorted(set(row_numbers))
        return dict(zip(wanted, self.lines_in_order(wanted), strict=True))

    @property
    def lines_before_rows(self) -> int | None:
        """By how much a row's line is greater than its number; None where that differs from row to row."""
        if self.sent.is_parquet:
            return 0
        return 1 if self._line_count == self.row_count + 1 else None

    def lines_in_order(self, row_numbers: Iterable[int]) -> Iterator[int]:
        """The same, one by one, for row numbers that ascend."""
        if self.lines_before_rows is not None:
            for number in row_numbers:
                yield number + self.lines_before_rows
        else:
            starts = enumerate(_row_starts(self.sent))
            for number in row_numbers:
                yield next(line for row, line in starts if row == number)


def load_rows(database: duckdb.DuckDBPyConnection, sent: SentFile, shape: FileShape) -> LoadedFile:
    """Read ``sent`` (CSV, CSV.gz or Parquet) into the table ``sent_rows`` of ``database``.

    The table has ``row_number`` (from 1, in file order), every column of ``shape`` as text, null where the
    file has no such column or the row no such field, '' where it is empty, and free texts of CSV as they were
    before an export made them harmless (docs/cases.md, R27); ``has_wrong_field_count``; and
    ``surplus_fields``, a list of the fields of a row that has too many, else null.

    Raises `TransfersFileRefused` with the code that docs/cases.md gives.
    """
    check_file(sent)
    seen = sent.content.stat()
    with open(sent.content, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    database.execute("drop table if exists sent_rows")
    if sent.is_parquet:
        (header, ours), line_count = _load_parquet(database, sent, shape), 0
    else:
        header, ours, line_count = _load_csv(database, sent, shape)
    now = sent.content.stat()
    if (seen.st_size, seen.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise sent.refused("NOT_READABLE", "changed while it was read", "wait until all of it is there")
    (row_count,) = database.execute("select count(*) from sent_rows").fetchone()
    return LoadedFile(sent, tuple(header), tuple(filter(None, ours)), row_count, sha256, line_count)


def _load_csv(
    database: duckdb.DuckDBPyConnection, sent: SentFile, shape: FileShape
) -> tuple[list[str], list[str], int]:
    """Load a CSV file and return the names of its columns, ours of them, and the number of its lines."""
    header = _header(sent)
    ours = _our_columns(sent, header, shape)
    line_count, ends_with_line = _scan(sent, len(header))
    try:
        _read_csv(database, sent.content, sent.is_gzip, ours, shape)
    except (duckdb.InvalidInputException, duckdb.IOException):
        # Line ends of two kinds, a line that is longer or has more surplus fields than was said, or no CSV.
        database.execute("drop table if exists sent_rows")
        with _rewritten(sent, len(header)) as (plain_file, longest_line):
            try:
                _read_csv(database, plain_file, False, ours, shape, longest_line)
            except duckdb.InvalidInputException as error:
                raise sent.refused(
                    "NOT_CSV",
                    f"cannot be read as CSV ({first_line(error)})",
                    "write it anew, with commas and double quotes",
                ) from error
    if not ends_with_line:
        _check_last_row(database, sent, len(header))
    return header, ours, line_count


def _header(sent: SentFile) -> list[str]:
    """The names in the first line of a CSV file."""
    # What is no UTF-8 is refused with its line by `_scan`; a header is only a part of it.
    with io.TextIOWrapper(opened(sent), encoding="utf-8-sig", errors="replace", newline="") as stream:
        first = stream.readline(1 << 20)
        if not first.strip("\r\n"):
            raise sent.refused("HEADER", "begins with a blank line", "begin with the names of the columns")
        try:
            (header,) = csv.reader([first], strict=True)
        except csv.Error:
            raise sent.refused(
                "HEADER", "has a quote in line 1 that does not close", "close it or leave it out"
            ) from None
    return header


def _our_columns(sent: SentFile, header: list[str], shape: FileShape) -> list[str]:
    """Our name of each column of the file, '' of one that is left out; raise where the header is not as it
    must be (docs/cases.md, F5, F6 and F18)."""

    def refuse(problem: str, remedy: str) -> None:
        raise sent.refused("HEADER", problem, remedy)

    for delimiter, word in _DELIMITERS.items():
        if len(header) == 1 and delimiter in header[0]:
            refuse(f"separates its columns by {word}", "save it with commas")
    for theirs, name in shape.renamed.items():
        if name not in shape.columns:
            refuse(
                f"is to have its column {theirs!r} read as {name!r}, which is none of ours",
                f"name one of {', '.join(shape.columns)}",
            )
        if theirs not in header:
            refuse(f"has no column {theirs!r} to be read as {name!r}", "check the name in its first line")
    ours = ["" if name in shape.ignored else shape.renamed.get(name, name) for name in header]
    if shape.takes_others:
        ours = [name if name in shape.columns else "" for name in ours]
    for name in filter(None, ours):
        if name not in shape.columns:
            if name.strip().lower() in shape.columns:
                refuse(f"has a column {name!r}", f"write it {name.strip().lower()!r}")
            refuse(
                f"has a column {name!r}, which such a file does not have",
                f"rename it, or leave it out (--map, --ignore-columns); the columns are"
                f" {', '.join(shape.columns)}",
            )
        if ours.count(name) > 1:
            refuse(f"has the column {name!r} twice", "leave one of them out")
    own = {shape.renamed.get(name, name) for name in header}
    for name, part in _said_by_path(sent.path):
        if name in (*TRANSFERS_SHAPE.columns, *shape.columns) and name not in own:
            refuse(
                f"has no column {name!r}, though its path says {part!r}, and nothing is taken from a name",
                "write the column into the file, or move the file",
            )
    for name in shape.needed:
        if name not in ours:
            refuse(f"has no column {name!r}", f"needed are {', '.join(shape.needed)}")
    return ours


def _said_by_path(path: Path) -> Iterator[tuple[str, str]]:
    """Each ``key`` of a folder or file named ``key=value`` anywhere in a path, with that name (F18)."""
    for part in path.absolute().parts:
        key, is_said, _ = part.partition("=")
        if is_said:
            yield key.strip().lower(), part


def _scan(sent: SentFile, column_count: int) -> tuple[int, bool]:
    """Look at the bytes of a CSV file; return how many lines it has, and whether the last one ends.

    Raises where they are no UTF-8 (F3), a line is longer than a row may be, or a quote never closes (F8).
    """
    line_ends = quotes = line_length = 0
    ends_with_return = False
    rest = block = b""
    for block in blocks(sent):
        # The two halves of one line end may stand in two blocks.
        line_ends -= ends_with_return and block.startswith(b"\n")
        block = rest + block
        rest = _undecoded_end(sent, block, line_ends)
        block = block[: len(block) - len(rest)]
        # A block is shorter than a row may be, so of its lines only the first can be too long.
        first_end = min((end for end in map(block.find, (b"\n", b"\r")) if end >= 0), default=len(block))
        if line_length + first_end > LONGEST_ROW:
            raise _too_long(sent, f"line {line_ends + 1:,}")
        line_length = (
            line_length + len(block)
            if first_end == len(block)
            else len(block) - 1 - max(map(block.rfind, (b"\n", b"\r")))
        )
        line_ends += _count_line_ends(block)
        ends_with_return = block.endswith(b"\r")
        quotes += block.count(b'"')
    if rest:
        raise _not_utf_8(sent, line_ends + 1)
    ends_with_line = block.endswith((b"\n", b"\r"))
    if quotes % 2:
        raise _open_quote(sent, column_count, ends_with_line)
    return line_ends + (not ends_with_line), ends_with_line


def _count_line_ends(text: bytes) -> int:
    """Of all three kinds: CR LF, LF alone, CR alone."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _undecoded_end(sent: SentFile, block: bytes, line_ends: int) -> bytes:
    """The bytes at the end of a block, three at most, that only the next block can complete."""
    try:
        block.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            raise _not_utf_8(sent, line_ends + _count_line_ends(block[: error.start]) + 1) from None
        return block[error.start :]
    return b""


def _too_long(sent: SentFile, where: str) -> TransfersFileRefused:
    return sent.refused(
        "ROW_LENGTH",
        f"has a row of more than {LONGEST_ROW:,} bytes in {where}",
        "shorten its values, or look for a quote before it that does not close where it should",
    )


def _not_utf_8(sent: SentFile, line: int) -> TransfersFileRefused:
    return sent.refused("ENCODING", f"is not UTF-8 in line {line:,}", "save it as UTF-8")


def _open_quote(sent: SentFile, column_count: int, ends_with_line: bool) -> TransfersFileRefused:
    """Where a quote opens that never closes; at the very end of a file, the file breaks off (F9)."""
    opened_at = 1
    line = last_line = 0
    is_open = False
    text = ""
    for line, text in enumerate(_lines(sent), 1):
        if text.count('"') % 2:
            is_open = not is_open
            if is_open:
                opened_at, last_line = line, text
    if opened_at == line and not ends_with_line:
        field_count = len(next(csv.reader([last_line])))
        if field_count < column_count:
            return _ends_inside_row(sent, field_count, column_count)
    return sent.refused(
        "QUOTE", f"has a quote in line {opened_at:,} that opens and never closes", "close it or double it"
    )


def _ends_inside_row(sent: SentFile, field_count: int, column_count: int) -> TransfersFileRefused:
    return sent.refused(
        "TRUNCATED",
        f"ends inside its last row, after {field_count} of {column_count} fields",
        "send it again, whole",
    )


def _lines(sent: SentFile) -> Iterator[str]:
    """The lines of a CSV file with their line ends, quoted or not."""
    with io.TextIOWrapper(opened(sent), encoding="utf-8-sig", newline="") as stream:
        yield from stream


def _row_starts(sent: SentFile) -> Iterator[int]:
    """The line at which the header begins, and then each row; blank lines are none."""
    rows = csv.reader(_lines(sent))
    end_of_last = 0
    for row in rows:
        if row:
            yield end_of_last + 1
        end_of_last = rows.line_num


def _read_csv(
    database: duckdb.DuckDBPyConnection,
    file: Path,
    compressed: bool,
    ours: list[str],
    shape: FileShape,
    longest_line: int = LONGEST_LINE,
) -> None:
    """Make `sent_rows` of a CSV file whose columns are ``ours``.

    Every row is padded, beyond the header's fields, with a value that no field can be, so that a row that is
    too short or too long is read and recognised (F7).
    """
    names = [f"field_{number}" for number in range(1, len(ours) + _SURPLUS_FIELDS + 1)]
    fields = dict(zip(ours, names, strict=False))
    surplus = names[len(ours) :]
    texts = {
        name: as_written_in_sql(field) if name in FREE_TEXTS else field for name, field in fields.items()
    }
    database.execute(
        f"""
        create table sent_rows as
        select
            row_number() over () as row_number,
            {_columns(shape, texts)},
            {names[len(ours) - 1]} is null or {surplus[0]} is not null as has_wrong_field_count,
            case when {surplus[0]} is not null then
                list_filter([{", ".join(surplus)}], sent -> sent is not null)
            end as surplus_fields
        from {
            read_csv(
                file,
                dict.fromkeys(names, "varchar"),
                is_gzip=compressed,
                is_padded=True,
                longest_line=longest_line,
            )
        }
        """
    )


def _columns(shape: FileShape, texts: Mapping[str, str]) -> str:
    """Every column of ``shape``, from the expressions for those that the file has."""
    return ", ".join(f"{texts.get(name, 'cast(null as varchar)')} as {name}" for name in shape.columns)


@contextmanager
def _rewritten(sent: SentFile, column_count: int) -> Iterator[tuple[Path, int]]:
    """The same rows in a file that DuckDB's strict reader takes, with one kind of line end and few surplus
    fields; and how many bytes its longest row may take, which holds a field of any size (F16, F20).

    Raises `TransfersFileRefused` where a quoted field goes on behind its closing quote, and for a row that is
    too long.
    """
    most = column_count + _SURPLUS_FIELDS
    longest_line = LONGEST_LINE
    with tempfile.TemporaryDirectory(prefix="points_") as folder:
        plain_file = Path(folder) / "rows.csv"
        with open(plain_file, "w", encoding="utf-8", newline="") as written:
            writer = csv.writer(written)
            for row in filter(None, _rows(sent)):
                kept = row[: most - 1]
                if len(row) >= most:
                    kept.append(",".join(row[most - 1 :]))
                writer.writerow(kept)
                # Each quote is doubled, and each field may have two around it and a comma behind it.
                size = sum(len(field.encode()) + field.count('"') + 3 for field in kept)
                longest_line = max(longest_line, size)
        yield plain_file, longest_line


def _rows(sent: SentFile) -> Iterator[list[str]]:
    """The rows of a CSV file, the header too, as Python's strict reader finds them; blank lines are empty.

    Raises `TransfersFileRefused` before a row longer than `LONGEST_ROW` is held in memory.
    """
    first_line, length = 1, 0

    def lines() -> Iterator[str]:
        nonlocal length
        for line in _lines(sent):
            length += len(line.encode())
            if length > LONGEST_ROW:
                raise _too_long(sent, f"the lines from {first_line:,} on")
            yield line

    rows = csv.reader(lines(), strict=True)
    try:
        for row in rows:
            yield row
            first_line, length = rows.line_num + 1, 0
    except csv.Error:
        raise sent.refused(
            "QUOTE",
            f"has a field in line {rows.line_num:,} that goes on behind its closing quote",
            "double the quotes within it",
        ) from None


def _check_last_row(database: duckdb.DuckDBPyConnection, sent: SentFile, column_count: int) -> None:
    """A file may lack its last line end, but not the rest of its last row (F9)."""
    (is_short,) = database.execute(
        "select coalesce(arg_max(has_wrong_field_count and surplus_fields is null, row_number), false)"
        " from sent_rows"
    ).fetchone()
    if is_short:
        last_row = ""
        for line in _lines(sent):
            last_row = line
        field_count = len(next(csv.reader([last_row])))
        raise _ends_inside_row(sent, field_count, column_count)


def _load_parquet(
    database: duckdb.DuckDBPyConnection, sent: SentFile, shape: FileShape
) -> tuple[list[str], list[str]]:
    """Load a Parquet file and return the names of its columns and ours of them (F14); one that is wholly null
    is none (F17)."""
    try:
        row_count, value_counts = _count_values(database, sent)
        described = [
            column
            for column in database.execute(f"describe from {read_parquet(sent.content)}").fetchall()
            if value_counts.get(column[0]) or not row_count
        ]
        names = [name for name, *_ in described]
        ours = _our_columns(sent, names, shape)
        texts = {
            name: _text_of_parquet(sent, sent_name, name, sent_type.lower(), shape) if row_count else "null"
            for name, (sent_name, sent_type, *_) in zip(ours, described, strict=True)
            if name
        }
        database.execute(
            f"""
            create table sent_rows as
            select
                file_row_number + 1 as row_number,
                {_columns(shape, {name: f"coalesce({text}, '')" for name, text in texts.items()})},
                false as has_wrong_field_count,
                cast(null as varchar[]) as surplus_fields
            from {read_parquet(sent.content, row_numbers=True)}
            """
        )
        _check_row_lengths(database, sent, shape)
    except duckdb.OutOfMemoryException as error:
        raise sent.refused(
            "ROW_LENGTH",
            "has values, or groups of rows, that take more memory than a file may",
            "shorten its values, or write it in smaller groups of rows",
        ) from error
    except (duckdb.Error, UnicodeDecodeError) as error:
        # What is damaged shows as errors of any kind, a column's name that is no text among them.
        if lack_of_room(str(error)):
            raise
        raise sent.refused(
            "PARQUET", f"is damaged ({first_line(error)})", "write or transfer it again"
        ) from error
    return names, ours


def _check_row_lengths(database: duckdb.DuckDBPyConnection, sent: SentFile, shape: FileShape) -> None:
    """Refuse a Parquet file with a row longer than a CSV file's may be."""
    length = " + ".join(f"coalesce(strlen({name}), 0)" for name in shape.columns)
    (row,) = database.execute(
        f"select min(row_number) from sent_rows where {length} > {LONGEST_ROW}"
    ).fetchone()
    if row is not None:
        raise _too_long(sent, f"row {row:,}")


def _count_values(database: duckdb.DuckDBPyConnection, sent: SentFile) -> tuple[int, dict[str, int]]:
    """The rows of a Parquet file, and of each column the values that are not null."""
    rows = database.sql(f"from {read_parquet(sent.content)}")
    row_count, *counts = rows.aggregate("count(*), count(columns(*))").fetchone()
    return row_count, dict(zip(rows.columns, counts, strict=True))


def _text_of_parquet(sent: SentFile, sent_name: str, name: str, sent_type: str, shape: FileShape) -> str:
    """The expression that gives a column's text. Points may be text, an integer or a decimal of at most four
    places, instants text or timestamps; a float never passes."""
    column = identifier(sent_name)
    is_exact = sent_type in _INTEGERS or fullmatch(r"decimal\([0-9]+,[0-4]\)", sent_type)
    if sent_type == "varchar":
        return column
    if (name.endswith("points") or name == "entry_id") and is_exact:
        return f"cast({column} as varchar)"
    if name.endswith("_at") and sent_type == "date" and shape.takes_dates:
        return f"cast({column} as varchar)"
    if name.endswith("_at") and sent_type.startswith("timestamp") and not sent_type.endswith("]"):
        if "time zone" in sent_type:
            return f"cast(timezone('UTC', {column}) as varchar) || 'Z'"
        return f"cast(cast({column} as timestamp) as varchar)"
    raise sent.refused(
        "HEADER",
        f"has its column {sent_name!r} as {sent_type.upper()}",
        "points are text, an integer or a decimal of at most four places, instants text or timestamps,"
        " the others text",
    )
