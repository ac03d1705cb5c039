"""Holds the files of a published month against those of the same month computed again.

Points and counts of balances, movements and postings are figures, by which a month stands. What its files say
beside them, columns that came or went and discrepancies, is the models' to change (docs/cases.md, X22).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.closes import ClosedMonth
from ledger.data_files import connect, read_csv, read_parquet
from ledger.disk import file_sha256
from ledger.sql_text import identifier
from orchestration.close.evidence import EVIDENCE
from orchestration.mart_contract import figure_columns
from orchestration.month_files import UNPOSTED
from orchestration.month_xlsx import data_rows

FIGURES = (
    "earned_points",
    "reversal_points",
    "redeemed_points",
    "expired_points",
    "closing_points",
)


@dataclass(frozen=True)
class FigureDifference:
    """A figure of a month's roll-forward in one currency, as published and as it would come out today."""

    report_month: str
    revision: int
    currency: str
    figure: str
    published: Decimal
    recomputed: Decimal


@dataclass(frozen=True)
class FileDifference:
    """What stands only in the published file of a month, and what only in the one computed again.

    Rows are counted over the columns that both have.
    """

    report_month: str
    revision: int
    file: str
    published_only: int
    recomputed_only: int
    published_columns: Sequence[str] = ()
    recomputed_columns: Sequence[str] = ()


def compare_files(
    closed: ClosedMonth, manifest: Mapping, published: Path, recomputed: Path
) -> Iterator[tuple[FileDifference, bool]]:
    """Every file that the manifest names and that is not the same, and whether points or counts differ.

    Another version of DuckDB writes other bytes for the same rows; text is compared line by line, and of a
    workbook the rows of its tables: what its control sheet says beside them is compared in their own files.
    """
    for name, facts in manifest["files"].items():
        if name == EVIDENCE:
            continue  # how the close was made; what it made is in the other files
        again = recomputed / name
        if name == f"{UNPOSTED}.parquet" and not again.exists():
            continue  # what a run left over is written for the last month of it alone
        if again.exists() and file_sha256(again) == facts["sha256"]:
            continue
        with connect() as connection:
            files = _open_files(connection, published / name, again)
            both = [column for column in files["published"] if column in files["recomputed"]]
            counts = _count_differences(connection, [column for column, _ in both])
            alone = [
                [" ".join(column) for column in columns if column not in both] for columns in files.values()
            ]
            if any(counts) or any(alone):
                difference = FileDifference(closed.report_month, closed.revision, name, *counts, *alone)
                yield difference, not again.exists() or _is_in_figures(connection, name, both)


def _open_files(
    connection: duckdb.DuckDBPyConnection, published: Path, recomputed: Path
) -> dict[str, list[tuple[str, str]]]:
    """Make views ``published`` and ``recomputed`` of a file; return the names and types of their columns."""
    columns = {}
    for name, path in (("published", published), ("recomputed", recomputed)):
        if path.suffix == ".xlsx":
            rows = list(data_rows(path)) if path.exists() else []
            connection.execute(f"create table {name} as select unnest(cast(? as varchar[])) as line", [rows])
        else:
            connection.execute(f"create view {name} as {_rows_of(path, like=published)}")
        described = connection.execute(f"describe {name}").fetchall()
        columns[name] = [(column, data_type) for column, data_type, *_ in described]
    return columns


def _is_in_figures(connection: duckdb.DuckDBPyConnection, name: str, both: Sequence[tuple[str, str]]) -> bool:
    """Whether points or counts of balances, movements or postings differ; files of text are those alone."""
    mart, _, suffix = name.rpartition(".")
    if suffix != "parquet":
        return True
    if mart == "discrepancies":
        return False
    names = [column for column, _ in both]
    figures = figure_columns(mart)
    return not set(figures) <= set(names) or any(_count_differences(connection, figures))


def _count_differences(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> tuple[int, ...]:
    """Rows of these columns that stand only in ``published``, and only in ``recomputed``."""
    names = ", ".join(map(identifier, columns))
    return tuple(
        connection.execute(
            f"select count(*) from (select {names} from {one} except all select {names} from {other})"
        ).fetchone()[0]
        for one, other in (("published", "recomputed"), ("recomputed", "published"))
    )


def _rows_of(path: Path, like: Path) -> str:
    """A query of a file's rows; of one that is not there, no rows with the columns of ``like``."""
    if not path.exists():
        return f"{_rows_of(like, like)} limit 0"
    if path.suffix == ".parquet":
        return f"select * from {read_parquet(path)}"
    lines = read_csv(path, {"line": "varchar"}, header=False, delimiter="", quote="", null_text="")
    return f"select * from {lines}"


def compare_figures(closed: ClosedMonth, published: Path, recomputed: Path) -> Iterator[FigureDifference]:
    name = "programme_points_by_month"
    with connect() as connection:
        rows = connection.execute(
            f"""
            select currency, figure,
                coalesce(published.points, 0) as published, coalesce(recomputed.points, 0) as recomputed
            from (unpivot {_figures(published, name)} on {", ".join(FIGURES)}
                into name figure value points) as published
            full outer join (unpivot {_figures(recomputed, name)} on {", ".join(FIGURES)}
                into name figure value points) as recomputed
                using (currency, figure)
            where published.points is distinct from recomputed.points
            """
        ).fetchall()
    order = {figure: position for position, figure in enumerate(FIGURES)}
    for currency, figure, was, would_be in sorted(rows, key=lambda row: (row[0], order[row[1]])):
        yield FigureDifference(closed.report_month, closed.revision, currency, figure, was, would_be)


def _figures(folder: Path, name: str) -> str:
    file = folder / f"{name}.parquet"
    return f"(select currency, {', '.join(FIGURES)} from {read_parquet(file)})"
