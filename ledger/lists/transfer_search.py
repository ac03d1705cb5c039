"""Finds transfers for a list: which entries match, in which order, from any place on.

Only keys are found here; the rows behind them are read from the ledger (`transfer_lists`). What an index of
the ledger answers, the ledger answers, and so it does for all of a small one. Of a large one the
entries in the cut are looked through as Parquet, the newest in the ledger, and the two are put together; what
bucket and month transfers posted to, the files of a build know.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connection

from ledger.append import ledger_head
from ledger.data_files import read_parquet
from ledger.database import Ledger
from ledger.fields import to_microseconds, to_units
from ledger.lists.cut_files import (
    CutFiles,
    Freeze,
    add_rows,
    create_table,
    duckdb_of,
    find_cut,
)
from ledger.lists.list_requests import Condition, Sort

if TYPE_CHECKING:
    import duckdb

# What a transfer is found by: the value that the list is ordered by, as the database keeps it, and its entry.
Key = tuple[int | str, int]

SORTS = {"entry_id": int, "occurred_at": int, "points": int, "relation_reference": str, "transfer_id": str}

# So many entries the database looks through as fast as DuckDB is ready to begin.
_ENTRIES_IN_LEDGER = 200_000
# The newest entries are looked for in the ledger: what is wanted is mostly there.
_NEWEST_ENTRIES = 20_000
# So many may have come since the ledger was last frozen.
_ENTRIES_BESIDE_CUT = 100_000
_KEYS_PER_READ = 5_000
# Of a large ledger without a cut, each read of which looks at all of it.
_KEYS_PER_WHOLE_READ = 1_000_000
_PARTS_OF_THE_CUT = ("transfers", "status_changes")

# What a condition's column is in the ledger, where it is not simply of that name. The last two are written
# like the conditions of indexes, or SQLite would not use those.
_IN_LEDGER = {
    "status": """
        case
            when t.status in ('pending', 'on_hold') then coalesce(
                (
                    select c.status from status_changes as c
                    where c.transfer_id = t.transfer_id
                    order by c.entry_id desc
                    limit 1
                ),
                t.status
            )
            else t.status
        end
    """,
    "has_revocations": """
        exists (
            select 1 from transfers as r
            where
                r.reverses_transfer_id = t.transfer_id
                and not (r.reverses_transfer_id = '')
                and r.reason = 'revocation'
        )
    """,
    "began_unapproved": "not (t.status = 'approved')",
}

# The same columns in the cut and in the files of a build.
_PLAIN_COLUMNS = """
    t.entry_id, t.transfer_id, t.relation_reference, t.currency, t.style, t.reason,
    cast(t.points * 10000 as bigint) as points, epoch_us(t.occurred_at) as occurred_at
"""


@dataclass(frozen=True)
class Postings:
    """What a build says of transfers: ``files`` of posted ones, and up to which entry it read the ledger."""

    files: tuple[Path, ...]
    entry_id: int


@dataclass(frozen=True)
class Question:
    """What is looked for, and in which order."""

    conditions: tuple[Condition, ...]
    order: Sort

    @property
    def is_indexed(self) -> bool:
        """Whether the ledger's indexes lead to the rows without a look at all of them."""
        columns = {condition.column for condition in self.conditions}
        if any(
            condition.column == "relation_reference" and condition.comparison == "="
            for condition in self.conditions
        ):
            return True
        if self.order.field == "relation_reference":
            return columns <= {"relation_reference"}
        return not columns and self.order.field in ("entry_id", "transfer_id")

    @property
    def most_entries(self) -> int | None:
        """How many entries there can be at most between the bounds that it sets; None without them."""
        low = [condition.value for condition in self.conditions if _is_bound(condition, ">=")]
        high = [condition.value for condition in self.conditions if _is_bound(condition, "<=")]
        return min(high) - max(low) + 1 if low and high else None


def _is_bound(condition: Condition, comparison: str) -> bool:
    return condition.column == "entry_id" and condition.comparison == comparison


def find_keys(
    ledger: Ledger,
    question: Question,
    after: Key | None,
    wanted: int | None,
    postings: Postings | None = None,
    freeze: Freeze | None = None,
) -> Iterator[Key]:
    """The keys of what is looked for, after the key ``after``, in order.

    ``wanted`` is how many are likely to be taken at a time, None where all of them are. No read of the ledger
    lasts longer than a page needs, even where the caller takes the keys slowly.
    """
    head = ledger_head().entry_id
    if postings:
        found = _from_postings(ledger.settings.home, postings, question, after, wanted)
    elif question.is_indexed:
        found = _by_pages(_from_ledger, question, after, wanted or _KEYS_PER_READ)
    else:
        small = min(head, question.most_entries or head) <= _ENTRIES_IN_LEDGER
        cut = None if small else _recent_cut(ledger, head, freeze)
        if cut:
            found = _from_cut_and_ledger(ledger.settings.home, cut, head, question, after, wanted)
        else:
            found = _by_pages(_from_ledger, question, after, wanted or _KEYS_PER_WHOLE_READ)
    return (key for key in found if key[1] <= head)


def _by_pages(
    find: Callable[[Question, Key | None, int | None], list[Key]],
    question: Question,
    after: Key | None,
    size: int | None,
) -> Iterator[Key]:
    """Ask again and again for the next ``size`` keys; once, for all of them, where it is None."""
    while True:
        keys = find(question, after, size)
        yield from keys
        if size is None or len(keys) < size:
            return
        after = keys[-1]


def _from_ledger(
    question: Question, after: Key | None, size: int | None, beyond_entry_id: int = 0
) -> list[Key]:
    """Keys of transfers in the ledger whose entries are beyond ``beyond_entry_id``."""
    order = question.order
    wheres, values = _where(question, "%s", lambda column: _IN_LEDGER.get(column, f"t.{column}"))
    if beyond_entry_id:
        wheres.append("t.entry_id > %s")
        values.append(beyond_entry_id)
    if after:
        wheres.append(f"(t.{order.field}, t.entry_id) {order.beyond} (%s, %s)")
        values += after
    columns = dict.fromkeys((f"t.{order.field}", "t.entry_id"))
    query = (
        f"select t.{order.field}, t.entry_id from transfers as t where {' and '.join(wheres) or 'true'}"
        f" order by {', '.join(f'{column} {order.direction}' for column in columns)}"
        + (f" limit {size}" if size else "")
    )
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def _where(question: Question, mark: str, expression: Callable[[str], str]) -> tuple[list[str], list[object]]:
    """The conditions as SQL, and what is bound in them; what simply holds needs no value."""
    wheres, values = [], []
    for condition in question.conditions:
        if condition.value is True:
            wheres.append(expression(condition.column))
        else:
            wheres.append(f"{expression(condition.column)} {condition.comparison} {mark}")
            values.append(_stored(condition.value))
    return wheres, values


def _stored(value: object) -> object:
    """A condition's value as the database keeps it."""
    if isinstance(value, Decimal):
        return to_units(value)
    return to_microseconds(value) if isinstance(value, datetime) else value


def _recent_cut(ledger: Ledger, head: int, freeze: Freeze | None) -> CutFiles | None:
    """The cut, brought up to date where it lags behind and ``freeze`` can; None where there is none."""
    folder = ledger.settings.home / "cut"
    cut = find_cut(folder, _PARTS_OF_THE_CUT)
    if freeze and (cut is None or head - cut.head.entry_id > _ENTRIES_BESIDE_CUT):
        freeze(ledger)
        cut = find_cut(folder, _PARTS_OF_THE_CUT)
    return cut


def _from_cut_and_ledger(
    home: Path, cut: CutFiles, head: int, question: Question, after: Key | None, wanted: int | None
) -> Iterator[Key]:
    split = min(cut.head.entry_id, max(head - _NEWEST_ENTRIES, 0))
    in_cut = _from_cut(home, cut, split, question, after, wanted)

    def newest() -> Iterator[Key]:
        yield from _by_pages(
            lambda question, after, size: _from_ledger(question, after, size, split), question, after, wanted
        )

    if question.order.field == "entry_id":
        # The one lies before the other, which may not be needed.
        return chain(newest(), in_cut) if question.order.descending else chain(in_cut, newest())
    return heapq.merge(newest(), in_cut, reverse=question.order.descending)


def _from_cut(
    home: Path,
    cut: CutFiles,
    last_entry_id: int,
    question: Question,
    after: Key | None,
    wanted: int | None,
) -> Iterator[Key]:
    """Keys of transfers in the cut up to ``last_entry_id``, by their current values."""
    asked = {condition.column for condition in question.conditions}
    columns, joined = [_PLAIN_COLUMNS, "t.batch_id", "t.status <> 'approved' as began_unapproved"], ""
    with duckdb_of(home) as duck:
        if "status" in asked:
            _add_current_statuses(duck, cut)
            columns.append(
                "case when t.status in ('pending', 'on_hold') then coalesce(c.status, t.status)"
                " else t.status end as status"
            )
            joined = "left join current_statuses as c using (transfer_id)"
        if "has_revocations" in asked:
            _add_revoked(duck, cut)
            columns.append("t.transfer_id in (select transfer_id from revoked) as has_revocations")
        duck.execute(
            f"create temp view found as select {', '.join(columns)}"
            f" from {cut.source('transfers')} as t {joined} where t.entry_id <= {last_entry_id}"
        )
        yield from _by_duckdb(duck, question, after, wanted)


def _from_postings(
    home: Path, postings: Postings, question: Question, after: Key | None, wanted: int | None
) -> Iterator[Key]:
    """Keys of transfers that a build posted; those are approved, for good."""
    columns = [_PLAIN_COLUMNS, "t.bucket", "'approved' as status", "true as began_unapproved"]
    with duckdb_of(home) as duck:
        if any(condition.column == "has_revocations" for condition in question.conditions):
            _add_revoked(duck)
            columns.append("t.transfer_id in (select transfer_id from revoked) as has_revocations")
        duck.execute(
            f"create temp view found as select {', '.join(columns)} from {read_parquet(postings.files)} as t"
        )
        yield from _by_duckdb(duck, question, after, wanted)


def _add_current_statuses(duck: "duckdb.DuckDBPyConnection", cut: CutFiles) -> None:
    """Make ``current_statuses``, of the transfers that were ever moved to another status."""
    columns = {"entry_id": "bigint", "transfer_id": "varchar", "status": "varchar"}
    create_table(duck, "newest_changes", columns)
    query = "select entry_id, transfer_id, status from status_changes where entry_id > %s"
    changes = ((str(entry_id), *change) for entry_id, *change in _read(query, cut.head.entry_id))
    add_rows(duck, "newest_changes", columns, changes)
    duck.execute(
        f"""
        create temp table current_statuses as
        select transfer_id, arg_max(status, entry_id) as status
        from (
            select entry_id, transfer_id, status from {cut.source("status_changes")}
            union all
            select * from newest_changes
        )
        group by transfer_id
        """
    )


def _add_revoked(duck: "duckdb.DuckDBPyConnection", cut: CutFiles | None = None) -> None:
    """Make ``revoked``, the transfers that others point to: the cut's and the newest, or the ledger's."""
    columns = {"transfer_id": "varchar"}
    create_table(duck, "revoked", columns)
    query = (
        "select distinct reverses_transfer_id from transfers"
        " where entry_id > %s and not (reverses_transfer_id = '') and reason = 'revocation'"
    )
    add_rows(duck, "revoked", columns, _read(query, cut.head.entry_id if cut else 0))
    if cut:
        duck.execute(
            f"insert into revoked select distinct reverses_transfer_id from {cut.source('transfers')}"
            " where reverses_transfer_id is not null and reason = 'revocation'"
        )


def _read(query: str, *values: object) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def _by_duckdb(
    duck: "duckdb.DuckDBPyConnection", question: Question, after: Key | None, wanted: int | None
) -> Iterator[Key]:
    """Keys out of the relation ``found``, whose columns are those that conditions name."""
    order = question.order

    def find(question: Question, after: Key | None, size: int | None) -> "duckdb.DuckDBPyConnection":
        wheres, values = _where(question, "?", lambda column: column)
        if after:
            wheres.append(
                f"({order.field} {order.beyond} ? or ({order.field} = ? and entry_id {order.beyond} ?))"
            )
            values += [after[0], *after]
        return duck.execute(
            f"select {order.field}, entry_id from found where {' and '.join(wheres) or 'true'}"
            f" order by {order.field} {order.direction}, entry_id {order.direction}"
            + (f" limit {size}" if size else ""),
            values,
        )

    if wanted is not None:
        return _by_pages(lambda *asked: find(*asked).fetchall(), question, after, wanted)

    def stream() -> Iterator[Key]:
        found = find(question, after, None)
        while keys := found.fetchmany(_KEYS_PER_READ):
            yield from keys

    return stream()
