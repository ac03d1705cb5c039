"""Finds the segments that make up the current cut, for lists, while a freeze may be adding to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.anchors import Head, read_anchor
from ledger.data_files import connect, read_parquet
from ledger.database import Ledger
from ledger.files.work_folders import work_folder

if TYPE_CHECKING:
    import duckdb

# Brings the cut up to the ledger's end, where it can: a build holds the lock that this needs.
Freeze = Callable[[Ledger], object]


@dataclass(frozen=True)
class CutFiles:
    """The segments of each part that hold the ledger up to ``head``, each entry once."""

    head: Head
    parts: Mapping[str, tuple[Path, ...]]

    def source(self, part: str) -> str:
        """A DuckDB expression for a part's rows."""
        return read_parquet(self.parts[part])


def find_cut(folder: Path, parts: tuple[str, ...]) -> CutFiles | None:
    """The cut in ``folder``; None where there is none, or not all of it.

    A freeze that puts segments together leaves both for a moment: of those that begin alike, the longest
    that the cut vouches for counts.
    """
    head = read_anchor(folder)
    if head is None:
        return None
    files = {part: _whole(folder / part, head.entry_id) for part in parts}
    return CutFiles(head, files) if all(files.values()) else None


def _whole(folder: Path, head_entry_id: int) -> tuple[Path, ...]:
    longest: dict[int, tuple[int, Path]] = {}
    for path in sorted(folder.glob("*-*.parquet")):
        first, _, last = path.stem.partition("-")
        if first.isdigit() and last.isdigit() and int(last) <= head_entry_id:
            longest[int(first)] = max(longest.get(int(first), (0, path)), (int(last), path))
    files: list[Path] = []
    reached = 0
    while reached + 1 in longest:
        reached, path = longest[reached + 1]
        files.append(path)
    return tuple(files) if reached == head_entry_id else ()


@contextmanager
def duckdb_of(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own; what does not fit into memory goes into ``home``, not where people work."""
    with work_folder(home) as folder, connect(spill_folder=folder) as duck:
        duck.execute("set preserve_insertion_order = false")
        yield duck


def add_rows(
    duck: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str], rows: Iterable[Sequence[str]]
) -> None:
    """Insert ``rows`` of text, empty for null and without blanks, into a table of ``columns`` (name to type).

    They go over as one text a column: for each value by itself, DuckDB would look for numpy and not find it.
    """
    values = [" ".join(column) for column in zip(*rows, strict=True)]
    if values:
        texts = ", ".join(f"unnest(string_split(?, ' ')) as {name}" for name in columns)
        casts = ", ".join(f"cast(nullif({name}, '') as {kind})" for name, kind in columns.items())
        duck.execute(f"insert into {table} select {casts} from (select {texts})", values)


def create_table(duck: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> None:
    """Make an empty table that goes with the connection."""
    duck.execute(
        f"create temp table {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    )
