"""What the ledger already has of the transfers in a file, brought into DuckDB to be compared there."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
from django.db import connection

from ledger.acts.pairs import Placed, half_ids
from ledger.chunks import chunks
from ledger.data_files import LONGEST_LINE, fetch_rows, read_csv
from ledger.files.row_rules import rule_number
from ledger.models import WAITING, StatusChange, Transfer

# Each group of ids is one query through the unique index, in the index's own order.
_IDS_PER_QUERY = 10_000
# The columns whose values make the content of a transfer, and their types (docs/design.md, section 5).
CONTENT_COLUMNS = {
    "relation_reference": "varchar",
    "currency": "varchar",
    "style": "varchar",
    "points": "bigint",
    "reason": "varchar",
    "occurred_at": "bigint",
    "reverses_transfer_id": "varchar",
    "external_reference": "varchar",
}
_TRANSFER_COLUMNS = {"transfer_id": "varchar", "status": "varchar", **CONTENT_COLUMNS}
_CHANGE_COLUMNS = {
    "entry_id": "bigint",
    "transfer_id": "varchar",
    "status": "varchar",
    "changed_at": "bigint",
}


def load_known_transfers(database: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Make the tables ``known_transfers`` and ``known_changes`` of the transfers in `judged_rows`.

    They hold what the ledger has of them at this moment, as it keeps it; ``folder`` is for files on the way.
    """
    transfers_file, changes_file = folder / "known_transfers.csv", folder / "known_changes.csv"
    longest = 0
    with (
        open(transfers_file, "w", encoding="utf-8", newline="") as transfers,
        open(changes_file, "w", encoding="utf-8", newline="") as changes,
    ):
        if Transfer.objects.exists():
            write_transfer, write_change = (
                # Of the line ends in a text, Python would quote only what ends its own lines.
                csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow
                for file in (transfers, changes)
            )
            for ids in chunks(_sent_ids(database), _IDS_PER_QUERY):
                waiting = []
                for transfer in _rows_of(Transfer, _TRANSFER_COLUMNS, ids):
                    longest = max(longest, write_transfer(transfer))
                    if transfer[1] in WAITING:
                        waiting.append(transfer[0])
                for change in _rows_of(StatusChange, _CHANGE_COLUMNS, waiting) if waiting else ():
                    write_change(change)
    # In characters, each of four bytes at the most: a reference may be as long as its sender likes.
    longest_line = max(LONGEST_LINE, 4 * longest)
    _read(database, "known_transfers", transfers_file, _TRANSFER_COLUMNS, longest_line)
    _read(database, "known_changes", changes_file, _CHANGE_COLUMNS, LONGEST_LINE)


def ids_of_moves(transfer_ids: Iterable[str]) -> set[str]:
    """Those of the ids that are of half of a move, or of the revocation of one, in the ledger."""
    return {
        half_id
        for ids in chunks(transfer_ids, _IDS_PER_QUERY)
        for half_id in half_ids(map(Placed._make, _rows_of(Transfer, Placed._fields, ids)))
    }


def _sent_ids(database: duckdb.DuckDBPyConnection) -> Iterator[str]:
    rows = fetch_rows(
        database,
        "select distinct transfer_id from judged_rows where broken_rule is null or broken_rule = $reverses"
        " order by transfer_id",
        {"reverses": rule_number("REVERSES")},
    )
    return (transfer_id for (transfer_id,) in rows)


def _rows_of(model: type[Transfer | StatusChange], columns: Iterable[str], ids: list[str]) -> list[tuple]:
    """The entries of these transfers, as the database keeps them."""
    select = f"select {', '.join(columns)} from {model._meta.db_table} where transfer_id"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Right after a large import the planner knows nothing of the table and would read it whole.
            cursor.execute("set local enable_seqscan = off")
            cursor.execute(f"{select} = any(%s)", [ids])
        else:
            cursor.execute(f"{select} in (select value from json_each(%s))", [json.dumps(ids)])
        return cursor.fetchall()


def _read(
    database: duckdb.DuckDBPyConnection, table: str, file: Path, columns: dict[str, str], longest_line: int
) -> None:
    rows = read_csv(file, columns, header=False, longest_line=longest_line, new_line=r"\n")
    database.execute(f"create or replace table {table} as from {rows}")
    file.unlink()
