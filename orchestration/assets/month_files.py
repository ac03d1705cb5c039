"""The files of a build as assets, one for each kind, with what a person wants to know before opening them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg

from ledger.amounts import points_text
from ledger.data_files import connect, read_parquet
from ledger.sql_text import identifier
from orchestration import month_files
from orchestration.build import Build
from orchestration.month_files import PROVISIONAL, MonthFiles, named, read_month_csv
from orchestration.month_xml import read_month_xml
from orchestration.provisional import DATABASE_NAME

PREVIEW_ROWS = 5
PREVIEW_CELL_LENGTH = 60


_READERS = {".csv": read_month_csv, ".parquet": read_parquet, ".xml": read_month_xml}


@dataclass(frozen=True)
class FileKind:
    """A kind of file that a build writes, by the name that it has in a closed month.

    ``models`` are those it is written from. ``is_monthly`` says whether each month's folder has one or
    the build has one for all. ``has_closing_points`` says whether what it holds adds up to the month's
    closing total.
    """

    file_name: str
    models: Sequence[str]
    description: str
    is_monthly: bool = True
    has_closing_points: bool = False

    @property
    def key(self) -> dg.AssetKey:
        """``provisional/outstanding_points_csv`` for outstanding_points.csv."""
        return self.key_in("provisional")

    def key_in(self, folder: str) -> dg.AssetKey:
        """The asset of the kind's file in a folder of the home."""
        return dg.AssetKey([folder, self.file_name.replace(".", "_")])

    def path(self, provisional: Path, report_month: str) -> Path:
        """Where the file of a month (``YYYY-MM``) stands in the folder of provisional files."""
        name = self.file_name if self is PROVISIONAL_DATABASE else named(self.file_name, PROVISIONAL)
        return (provisional / report_month if self.is_monthly else provisional) / name


MONTHLY_MART = FileKind(
    "outstanding_points_by_month.parquet",
    ["outstanding_points_by_month"],
    "The month's rows of the mart, all currencies.",
    has_closing_points=True,
)
PROVISIONAL_DATABASE = FileKind(
    DATABASE_NAME,
    ["report_months", "customer_point_balances", "quarantined_transfers"],
    "A read-only DuckDB database over the Parquet files of all months of the build.",
    is_monthly=False,
)
FILE_KINDS = (
    FileKind(
        month_files.OUTSTANDING_POINTS,
        ["outstanding_points_by_month", "programme_points_by_month"],
        "The report: totals to date, one line a relation reference. Another currency than the programme's"
        " own has a file of its own beside it.",
        has_closing_points=True,
    ),
    FileKind(
        month_files.POINTS_ROLL_FORWARD,
        ["outstanding_points_by_month", "programme_points_by_month"],
        "The month's movement with its opening and closing, one line a relation reference.",
        has_closing_points=True,
    ),
    FileKind(
        month_files.PROGRAMME_POINTS,
        ["points_movements_by_month", "programme_points_by_month"],
        "The programme's roll-forward by bucket and reason, with the control totals.",
        has_closing_points=True,
    ),
    FileKind(
        month_files.OUTSTANDING_POINTS_XML,
        ["outstanding_points_by_month", "programme_points_by_month"],
        "The report and the roll-forward of each relation reference as XML, under the facts of the month.",
        has_closing_points=True,
    ),
    FileKind(
        month_files.OUTSTANDING_POINTS_XLSX,
        ["outstanding_points_by_month", "points_movements_by_month", "discrepancies"],
        "A workbook: a control sheet to sign on, the report and the roll-forward. Of more than"
        f" {month_files.MOST_ROWS_OF_A_WORKBOOK:,} rows (a build:"
        f" {month_files.MOST_ROWS_OF_A_PROVISIONAL_WORKBOOK:,}) it is made when asked for.",
        has_closing_points=True,
    ),
    MONTHLY_MART,
    FileKind(
        "points_movements_by_month.parquet",
        ["points_movements_by_month"],
        "The month's movement by bucket and reason, all currencies.",
    ),
    FileKind(
        "programme_points_by_month.parquet",
        ["programme_points_by_month"],
        "The programme's line of the month, one a currency.",
        has_closing_points=True,
    ),
    FileKind("discrepancies.parquet", ["discrepancies"], "What deserves a look in the month, and why."),
    FileKind(
        "posted_transfers.parquet",
        ["posted_transfers"],
        "The transfers that posted in the month, with their bucket and whether they came late.",
    ),
    FileKind(
        "unposted_transfers.parquet",
        ["unposted_transfers"],
        "What the run read and left for later. Only the last month of a run has it.",
    ),
    FileKind(
        "quarantined_transfers.csv",
        ["quarantined_transfers"],
        "The rows that were set aside, as they were sent, each with its reason.",
        is_monthly=False,
    ),
    FileKind(
        "transfer_history.parquet",
        ["transfer_history"],
        "Every transfer that the build read: status, month, bucket, what revoked it and what is left of it.",
        is_monthly=False,
    ),
    PROVISIONAL_DATABASE,
)


def file_specs() -> list[dg.AssetSpec]:
    """The assets of the files; the database depends on the Parquet files that it looks into too."""
    parquet_keys = [kind.key for kind in FILE_KINDS if kind.file_name.endswith(".parquet")]
    return [
        dg.AssetSpec(
            key=kind.key,
            deps=[*kind.models, *(parquet_keys if kind is PROVISIONAL_DATABASE else [])],
            description=f"{kind.description} Provisional: every build writes it anew.",
            group_name="provisional_files",
            kinds={kind.file_name.rpartition(".")[2]},
        )
        for kind in FILE_KINDS
    ]


def describe_file(kind: FileKind, build: Build, month: MonthFiles, default_currency: str) -> dict[str, Any]:
    """What is shown of a month's file: path, bytes, rows, closing points as text, its first rows."""
    path = kind.path(build.folder, month.report_month)
    months = [built.report_month for built in build.months]
    facts: dict[str, Any] = {
        "report month": month.report_month if kind.is_monthly else f"{months[0]} to {months[-1]}",
        "run": build.run,
    }
    if kind.has_closing_points:
        facts["closing points"] = f"{month.closing_points} {default_currency}"
    if not path.exists():
        return {**facts, "file": f"none: {kind.description}"}
    return {**facts, **describe_content(path)}


def describe_content(path: Path) -> dict[str, Any]:
    """The metadata that every file has: path, bytes, rows, its first rows; a workbook's are in others too,
    and an archive has none."""
    facts = {"path": dg.MetadataValue.path(str(path)), "bytes": path.stat().st_size}
    if path.suffix in (".xlsx", ".zip"):
        return facts
    headings, rows, row_count = _read_database(path) if path.suffix == ".duckdb" else _read(path)
    return {
        **facts,
        "dagster/row_count": row_count,
        "first rows": dg.MetadataValue.md(_markdown_table(headings, rows)),
    }


def _read(path: Path) -> tuple[list[str], list[tuple], int]:
    """The headings, the first rows and the number of rows."""
    relation = _READERS[path.suffix](path)
    with connect() as connection:
        result = connection.execute(f"from {relation} limit {PREVIEW_ROWS}")
        headings = [column[0] for column in result.description]
        rows = result.fetchall()
        (row_count,) = connection.execute(f"select count(*) from {relation}").fetchone()
    return headings, rows, row_count


def _read_database(path: Path) -> tuple[list[str], list[tuple], int]:
    """The tables of a database and their rows, as rows, and how many rows they have in all."""
    with connect(path, read_only=True) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "select table_name from information_schema.tables order by table_name"
            ).fetchall()
        ]
        rows = [
            (name, *connection.execute(f"select count(*) from {identifier(name)}").fetchone())
            for name in names
        ]
    return ["Table", "Rows"], rows, sum(count for _, count in rows)


def _markdown_table(headings: list[str], rows: list[tuple]) -> str:
    lines = [headings, ["---"] * len(headings)]
    lines += [[_cell(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    """A value as one line of plain text: what was sent may hold markup (docs/cases.md, R23)."""
    shown = points_text(value) if isinstance(value, Decimal) else "" if value is None else value
    text = " ".join(str(shown).split())
    if len(text) > PREVIEW_CELL_LENGTH:
        text = text[: PREVIEW_CELL_LENGTH - 1] + "…"
    return re.sub(r"([\\`*\[\]<>|~&#])", r"\\\1", text)
