"""Finds transfers in Parquet files, where no index of the ledger leads to them: in those of months, which
know bucket and month that a transfer posted to, and in the cut of a large ledger, all of which DuckDB looks
through faster than the database does a tenth.

Only their entries are found here, in the order of a list; the rows behind them are read from the ledger.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ledger.anchors import read_anchor
from ledger.chunks import chunks
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.fields import to_microseconds
from ledger.lists.filters import Condition
from ledger.lists.paging import Order

_ENTRIES_PER_READ = 5_000
# How the columns of a list are in the files, where they are not simply of that name.
_IN_FILES = {"occurred_at": "epoch_us(occurred_at)"}


@dataclass(frozen=True)
class Postings:
    """What published months and a build say of transfers: ``files`` of posted ones, and up to which entry
    the newest of them read the ledger."""

    files: tuple[Path, ...]
    entry_id: int


@dataclass(frozen=True)
class FileSearch:
    """Which transfers in ``files`` are looked for, up to which entry, and in which order.

    Of those that ``are_revoked``, revocations in the files say so, or ``also_revoked``, ids of transfers that
    are revoked since.
    """

    files: tuple[Path, ...]
    entry_id: int
    conditions: Sequence[Condition]
    order: Order
    are_revoked: bool = False
    also_revoked: Sequence[str] = field(default=(), repr=False)

    def entries(self, cursor: str, backwards: bool, size: int | None) -> Iterator[list[int]]:
        """The entries beyond the row of ``cursor`` (empty: from the beginning): the first ``size`` of them at
        once, or all, some at a time. Raises `CursorInvalid`."""
        wheres = ["entry_id <= ?", *(_compared(c.column, c.comparison) for c in self.conditions)]
        values = [self.entry_id, *(_bound(condition.value) for condition in self.conditions)]
        source = read_parquet(self.files)
        if self.are_revoked:
            wheres.append(
                f"(transfer_id in (select reverses_transfer_id from {source} where reason = 'revocation')"
                " or transfer_id in (select unnest(?)))"
            )
            values.append(list(self.also_revoked))
        fields = self.order.fields
        descending = self.order.descending != backwards
        if cursor:
            # Beyond in the first field, or alike in it and beyond in the next.
            beyond = "<" if descending else ">"
            alternatives = []
            for position, name in enumerate(fields):
                alike = [_compared(before, "=") for before in fields[:position]]
                alternatives.append(" and ".join([*alike, _compared(name, beyond)]))
                values += map(_bound, self.order.values(cursor)[: position + 1])
            wheres.append(f"({' or '.join(f'({alternative})' for alternative in alternatives)})")
        ordered = ", ".join(f"{_column(name)} {'desc' if descending else 'asc'}" for name in fields)
        with connect() as duck:
            found = fetch_rows(
                duck,
                f"select entry_id from {source} where {' and '.join(wheres)} order by {ordered}"
                + (f" limit {size}" if size else ""),
                values,
            )
            yield from chunks((entry_id for (entry_id,) in found), size or _ENTRIES_PER_READ)


def cut_files(home: Path) -> tuple[tuple[Path, ...], int]:
    """The segments of the cut that hold all transfers up to an entry, and that entry; none and 0 where there
    is no cut, or not all of it.

    A freeze that puts segments together leaves both for a moment: of those that begin alike, the longest
    that the cut vouches for counts.
    """
    head = read_anchor(home / "cut")
    if head is None:
        return (), 0
    longest: dict[int, tuple[int, Path]] = {}
    for path in sorted((home / "cut" / "transfers").glob("*-*.parquet")):
        first, _, last = path.stem.partition("-")
        if first.isdigit() and last.isdigit() and int(last) <= head.entry_id:
            longest[int(first)] = max(longest.get(int(first), (0, path)), (int(last), path))
    files: list[Path] = []
    reached = 0
    while reached + 1 in longest:
        reached, path = longest[reached + 1]
        files.append(path)
    return (tuple(files), reached) if reached == head.entry_id else ((), 0)


def _column(name: str) -> str:
    return _IN_FILES.get(name, name)


def _compared(name: str, comparison: str) -> str:
    # Points go over as text, for DuckDB would make a float of them.
    mark = "cast(? as decimal(18, 4))" if name == "points" else "?"
    return f"{_column(name)} {comparison} {mark}"


def _bound(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return to_microseconds(value) if isinstance(value, datetime) else value
