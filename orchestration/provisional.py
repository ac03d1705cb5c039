"""What readers see of a build: ``provisional/`` in the home, swapped in whole, and the database over it."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from ledger.access import let_pass, let_read
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.spreadsheet_text import harmless_text
from ledger.sql_text import literal
from orchestration.database_file import new_database
from orchestration.dbt.descriptions import Description, comment_on
from orchestration.month_files import HISTORY, PARQUET_FILES, PROVISIONAL, UNPOSTED, named, parquet_copy
from orchestration.published.layout import point_link

DATABASE_NAME = "provisional.duckdb"
HISTORY_NAME = named(f"{HISTORY}.parquet", PROVISIONAL)
QUARANTINE_NAME = named("quarantined_transfers.csv", PROVISIONAL)

# What is in no file of a month, or not all of it: a transfer dated ahead is a discrepancy of a month to come.
COPIED = ("report_months", "customer_point_balances", "discrepancies", "quarantined_transfers")
# Of these the rows of months that the build writes no files of, being closed, are left out.
_BY_MONTH = ("report_months", "discrepancies")
_VIEWS = tuple(name for name in (*PARQUET_FILES, UNPOSTED) if name not in COPIED)
# The tables and views that every build has.
NAMES = (*COPIED, *_VIEWS, HISTORY)


def write_history(build: Path, folder: Path, programme: str) -> None:
    """Write every transfer that a build read, posted or not, as one Parquet file in ``folder``.

    A million of them take 24 MB and 2 s of a processor; as a table of the database, half as much again.
    """
    with connect(build, read_only=True) as connection:
        connection.execute(
            parquet_copy(
                f"select * from {HISTORY} order by transfer_id",
                folder / HISTORY_NAME,
                {"status": PROVISIONAL, "programme": programme},
            )
        )


def write_provisional_database(
    build: Path, folder: Path, first_month: str, descriptions: Mapping[str, Description]
) -> None:
    """Write ``provisional.duckdb`` into ``folder``: views over its Parquet files, each row marked.

    The views name the files of this very run, so that a reader who holds the database open goes on reading
    what it opened. What no Parquet file holds whole is copied from ``build``, the DuckDB file of the build,
    and so is each mart that is not among `NAMES`. ``first_month`` is the first that the build writes;
    ``descriptions`` are by mart.
    """
    with new_database(folder / DATABASE_NAME) as connection:
        connection.execute(f"attach {literal(build)} as build (read_only)")
        marked = f"select {literal(PROVISIONAL)} as publication_status, *"
        for name in (*COPIED, *sorted(descriptions.keys() - NAMES)):
            where = f"where report_month >= date '{first_month}-01'" if name in _BY_MONTH else ""
            connection.execute(f"create table {name} as {marked} from build.{name} {where}")
            comment_on(connection, "table", name, descriptions[name])
        connection.execute("detach build")
        for name in (*_VIEWS, HISTORY):
            # Those of a month are in its folder, the history of all months is beside them.
            files = sorted(folder.rglob(named(f"{name}.parquet", PROVISIONAL)))
            connection.execute(f"create view {name} as {marked} from {read_parquet(files)}")
            comment_on(connection, "view", name, descriptions[name])


def write_quarantine(build: Path, path: Path) -> int:
    """Write the rows that were set aside as a CSV that a spreadsheet shows as text, and count them.

    Values are kept as they were sent but for an apostrophe before one that a spreadsheet would take for a
    formula (docs/cases.md, R23).
    """
    with connect(build, read_only=True) as connection:
        names = connection.table("quarantined_transfers").columns
        rows = 0
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in fetch_rows(connection, "select * from quarantined_transfers order by all"):
                writer.writerow(harmless_text(_text(value)) for value in row)
                rows += 1
    return rows


def _text(value: object) -> str:
    return "" if value is None else str(value)


def open_provisional(home: Path, folder: Path, readers: str) -> None:
    """Let ``readers`` (POINTS_READERS) read the files of a run in ``folder``."""
    for part in (*(path for path in folder.iterdir() if path.is_dir()), folder):
        let_read(part, readers)
    for above in (folder.parent, folder.parent.parent, home):
        let_pass(above, readers)


def swap_in(home: Path, folder: Path) -> None:
    """Let ``provisional`` in ``home`` name ``folder``, in one step: readers see the old or the new, whole.

    Raises `LinkTaken`.
    """
    point_link(home / "provisional", os.path.relpath(folder, home))
