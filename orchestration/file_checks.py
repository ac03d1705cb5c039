"""The checks of a month's CSV, XML and XLSX files: each has the form that readers count on, and says what its
mart says.

A close reads its files back with them before anything is published (`orchestration.close.read_back`); in
Dagster they are the checks of a build's files (docs/design.md, section 9).
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.data_files import read_csv, read_parquet
from ledger.errors import first_line
from ledger.sql_text import identifier, literal
from orchestration.month_files import (
    OUTSTANDING_POINTS,
    OUTSTANDING_POINTS_XLSX,
    OUTSTANDING_POINTS_XML,
    POINTS_ROLL_FORWARD,
    PROGRAMME_COLUMNS,
    PROGRAMME_POINTS,
    RELATION_COLUMNS,
    RESTATED,
    RESTATEMENT,
    RESTATEMENT_COLUMNS,
    currency_name,
    most_rows_of_a_workbook,
    named,
)
from orchestration.month_xlsx import data_rows
from orchestration.month_xml import XML_END, read_month_xml

_LINE_END = b"\r\n"
_ROWS = "the rows of outstanding_points_by_month.parquet"
_BRIDGE = "the earlier revision + the transfers = the later one, and their sum is the difference"
_EQUATION = "outstanding = earned − reversal − redeemed − expired in every row"


@dataclass(frozen=True)
class FileLookedAt:
    """One of a month's files, the Parquet file of ``outstanding_points_by_month`` beside it, their status,
    and by what they are read."""

    path: Path
    parquet: Path
    currency: str
    status: str
    duck: duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Finding:
    """What was expected of a file, and what was found in it."""

    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the file is as expected."""
        return self.found == self.expected


@dataclass(frozen=True)
class FileCheck:
    """A truth of a kind of file, ``file_name`` as a closed month in the default currency has it."""

    file_name: str
    name: str
    description: str
    look: Callable[[FileLookedAt], Finding]

    def find(
        self,
        duck: duckdb.DuckDBPyConnection,
        folder: Path,
        currency: str,
        default_currency: str,
        status: str,
    ) -> tuple[Path, Finding]:
        """The file of a ``currency`` in a month's ``folder``, and what was found in it, read by ``duck``."""
        path = folder / currency_name(self.file_name, currency, default_currency, status)
        parquet = folder / named("outstanding_points_by_month.parquet", status)
        if not path.exists() and self.file_name != OUTSTANDING_POINTS_XLSX:
            return path, Finding("a file", "none")
        try:
            return path, self.look(FileLookedAt(path, parquet, currency, status, duck))
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            return path, Finding("rows that can be read", first_line(error))


def _header(titles: list[str]) -> Callable[[FileLookedAt], Finding]:
    def look(file: FileLookedAt) -> Finding:
        with open(file.path, "rb") as content:
            line = content.readline().removesuffix(_LINE_END).decode("utf-8", errors="replace")
        return Finding(",".join(titles), line)

    return look


def _last_line_end(file: FileLookedAt) -> Finding:
    with open(file.path, "rb") as content:
        content.seek(max(0, file.path.stat().st_size - 2))
        return Finding(repr(_LINE_END), repr(content.read()))


def _written(path: Path, columns: Mapping[str, str]) -> str:
    """A query of the rows of a CSV file under the mart's names, in their order."""
    values = {
        column: identifier(title) if column == "relation_reference" else _read_points(title)
        for title, column in columns.items()
    }
    fields = ", ".join(f"{value} as {column}" for column, value in values.items())
    return f"select {fields} from {read_csv(path, dict.fromkeys(columns, 'varchar'))}"


def _read_points(title: str) -> str:
    """The exact points of a column of text: up to 14 digits before the point are read as decimal(18, 4), in
    0.2 µs; as decimal(38, 4), which is for longer ones, it takes 5.4."""
    text = identifier(title)
    return f"coalesce(try_cast({text} as decimal(18, 4)), cast({text} as decimal(38, 4)))"


def _rows(columns: Mapping[str, str]) -> Callable[[FileLookedAt], Finding]:
    differs = " or ".join(f"written.{column} is distinct from kept.{column}" for column in columns.values())

    def look(file: FileLookedAt) -> Finding:
        kept = f"select {', '.join(columns.values())} from {read_parquet(file.parquet)} where currency = ?"
        # Both are in the order of the relation references, which is promised too.
        (different,) = file.duck.execute(
            f"select count(*) from ({_written(file.path, columns)}) as written"
            f" positional join ({kept}) as kept where {differs}",
            [file.currency],
        ).fetchone()
        return Finding(_ROWS, f"{different:,} rows that are other ones" if different else _ROWS)

    return look


def _equation(file: FileLookedAt) -> Finding:
    written = _written(file.path, RELATION_COLUMNS[OUTSTANDING_POINTS])
    (wrong,) = file.duck.execute(
        f"select count(*) from ({written}) where total_earned_points - total_reversal_points"
        " - total_redeemed_points - total_expired_points is distinct from total_outstanding_points"
    ).fetchone()
    return Finding(_EQUATION, f"{wrong:,} rows where it does not hold" if wrong else _EQUATION)


def _whole_xml(file: FileLookedAt) -> Finding:
    """One element for each row of the mart, and the root's end."""
    (expected,) = file.duck.execute(
        f"select count(*) from {read_parquet(file.parquet)} where currency = ?", [file.currency]
    ).fetchone()
    (found,) = file.duck.execute(f"select count(*) from {read_month_xml(file.path)}").fetchone()
    with open(file.path, "rb") as content:
        content.seek(max(0, file.path.stat().st_size - len(XML_END)))
        is_ended = content.read() == XML_END
    return Finding(
        f"{expected:,} relations and the end", f"{found:,} relations and {'the' if is_ended else 'no'} end"
    )


def _whole_workbook(file: FileLookedAt) -> Finding:
    """Two tables, each with a row for each of the mart and its headings; none where these are many."""
    (rows,) = file.duck.execute(
        f"select count(*) from {read_parquet(file.parquet)} where currency = ?", [file.currency]
    ).fetchone()
    is_kept = rows <= most_rows_of_a_workbook(file.status)
    expected = f"{2 * (rows + 1):,} rows" if is_kept else "none"
    if not file.path.exists():
        return Finding(expected, "none")
    try:
        found = sum(1 for _ in data_rows(file.path))
    except (zipfile.BadZipFile, zlib.error) as error:
        return Finding(expected, first_line(error))
    return Finding(expected, f"{found:,} rows")


def _restated(file: FileLookedAt, query: str) -> int:
    """How many rows a ``query`` finds of ``written``, the lines of a restatement with exact points."""
    points = ", ".join(
        f"{_read_points(title)} as {name}" for title, name in RESTATEMENT_COLUMNS.items() if name in RESTATED
    )
    texts = read_csv(file.path, dict.fromkeys(RESTATEMENT_COLUMNS, "varchar"))
    (count,) = file.duck.execute(
        f"""
        with written as (
            select "Relation Reference" as relation_reference, "Line" as line, {points},
                try_cast(regexp_extract("Line", '^revision ([0-9]+)$', 1) as bigint) as revision
            from {texts}
        ),
        newest as (select max(revision) as revision from written)
        select count(*) from ({query})
        """
    ).fetchone()
    return count


def _bridges(file: FileLookedAt) -> Finding:
    """Of each relation reference two revisions and a difference, between which its transfers lead."""
    is_kind = {
        "earlier": "written.revision < newest.revision",
        "later": "written.revision = newest.revision",
        "moved": "line = 'transfer'",
        "changed": "line = 'difference'",
    }
    sums = {
        (kind, figure): f"coalesce(sum({figure}) filter ({condition}), 0)"
        for kind, condition in is_kind.items()
        for figure in RESTATED
    }
    wrong = " or ".join(
        [
            *(f"count(*) filter ({is_kind[kind]}) <> 1" for kind in ("earlier", "later", "changed")),
            *(
                f"{sums['earlier', figure]} + {sums['moved', figure]} <> {sums['later', figure]}"
                f" or {sums['moved', figure]} <> {sums['changed', figure]}"
                for figure in RESTATED
            ),
        ]
    )
    count = _restated(
        file, f"select relation_reference from written, newest group by relation_reference having {wrong}"
    )
    return Finding(_BRIDGE, f"{count:,} relation references of which it does not hold" if count else _BRIDGE)


def _newest_is_the_marts(file: FileLookedAt) -> Finding:
    """The newer of the two revisions is the one beside it."""
    kept = (
        f"select relation_reference, {', '.join(RESTATED)} from {read_parquet(file.parquet)}"
        f" where currency = {literal(file.currency)}"
    )
    differs = " or ".join(f"written.{figure} <> coalesce(kept.{figure}, 0)" for figure in RESTATED)
    count = _restated(
        file,
        f"select 1 from written inner join newest using (revision) left join ({kept}) as kept"
        f" using (relation_reference) where {differs}",
    )
    return Finding(_ROWS, f"{count:,} rows that are other ones" if count else _ROWS)


def _form_checks(file_name: str, titles: list[str]) -> list[FileCheck]:
    return [
        FileCheck(
            file_name,
            "header_is_the_documented_one",
            f"The first line is {','.join(titles)}.",
            _header(titles),
        ),
        FileCheck(
            file_name,
            "last_line_ends_with_crlf",
            "The file is whole: its last line ends as every line of RFC 4180 does.",
            _last_line_end,
        ),
    ]


def _relation_checks(file_name: str) -> list[FileCheck]:
    columns = RELATION_COLUMNS[file_name]
    return [
        *_form_checks(file_name, list(columns)),
        FileCheck(
            file_name,
            "rows_are_those_of_the_mart",
            "The rows are those of outstanding_points_by_month in the month and currency, one for one.",
            _rows(columns),
        ),
    ]


FILE_CHECKS = (
    *_relation_checks(OUTSTANDING_POINTS),
    FileCheck(OUTSTANDING_POINTS, "equation_holds", f"{_EQUATION.capitalize()}.", _equation),
    *_relation_checks(POINTS_ROLL_FORWARD),
    *_form_checks(PROGRAMME_POINTS, PROGRAMME_COLUMNS),
    FileCheck(
        OUTSTANDING_POINTS_XML,
        "is_whole",
        "The XML has its end, and an element for each row of the mart in the month and currency.",
        _whole_xml,
    ),
    FileCheck(
        OUTSTANDING_POINTS_XLSX,
        "is_whole",
        "The workbook has a row for each of the mart in the month and currency, in either of its tables.",
        _whole_workbook,
    ),
)

# Of the revisions of a month after the first, which a build does not make.
RESTATEMENT_CHECKS = (
    *_form_checks(RESTATEMENT, list(RESTATEMENT_COLUMNS)),
    FileCheck(RESTATEMENT, "transfers_explain_the_difference", f"{_BRIDGE.capitalize()}.", _bridges),
    FileCheck(
        RESTATEMENT,
        "newest_lines_are_those_of_the_mart",
        "The lines of the newer revision are the rows of outstanding_points_by_month in month and currency.",
        _newest_is_the_marts,
    ),
)
