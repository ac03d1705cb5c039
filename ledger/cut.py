"""The cut: the ledger frozen up to an entry, as Parquet that the models read (docs/design.md, sections 3
and 4).

Each part is a folder of segments, named for the entries that they span, from the first to the ledger's end,
without gaps; a span without rows has its segment too. ``ledger_head.json``, written last, is what makes
them a cut: a freeze first removes what it does not vouch for, so one that was killed leaves nothing behind.
``segments.json`` holds their hashes: a build checks them, and a segment that differs is made again. The
caller of `freeze` makes sure that no other process freezes at the same time.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
from django.db import DatabaseError, connection

from ledger.anchors import Head, read_anchor, write_anchor
from ledger.data_files import connect, read_csv, read_parquet
from ledger.database import Ledger, LedgerEmpty, LedgerNotReached
from ledger.disk import file_sha256, sync_file, sync_folder, why_not_written
from ledger.errors import PointsError, first_line
from ledger.links import ledger_head
from ledger.sql_text import literal

# Read at once: a long read keeps writers out of SQLite, and what is read is held in memory as text.
ENTRIES_PER_READ = 100_000
# Beyond these, the newest segments of a part become one: every file that is opened slows the models.
MOST_SEGMENTS = 200
# DuckDB wants to know how long a line may be; a comment has no limit of its own.
_LONGEST_LINE = 32 * 1024 * 1024

_HASHES_NAME = "segments.json"
_SEGMENT_NAME = re.compile(r"([0-9]{12,})-([0-9]{12,})[.]parquet")

Report = Callable[[int, int], None]


class CutHoldsOther(PointsError):
    """A part of the cut holds a file that no freeze wrote, and the models would read it."""

    code = "CUT"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is no segment of the cut, but the models would read it as one; move it elsewhere, or"
            " name it in POINTS_TRANSFERS."
        )


class CutNotWritten(PointsError):
    """The cut could not be written; what was there is taken up again by the next freeze."""

    code = "CUT"

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"The ledger could not be frozen to {folder}: {reason}; nothing was lost, so fix that and run"
            " the same again."
        )


@dataclass(frozen=True)
class Kind:
    """How a column passes into the cut: its type as text between the engines, and the expression for its
    value."""

    csv_type: str
    expression: str = "{name}"


NUMBER = Kind("bigint")
REVISION = Kind("integer")
TEXT = Kind("varchar")
# Text that was not given is empty in the ledger, and null in the cut.
OPTIONAL_TEXT = Kind("varchar", "nullif({name}, '')")
# Whole ten-thousandths times an exact decimal: a division would be a float.
POINTS = Kind("decimal(18, 0)", "cast({name} * cast(0.0001 as decimal(5, 4)) as decimal(18, 4))")
INSTANT = Kind("bigint", "make_timestamp({name})")
MONTH = Kind("varchar", "cast({name} || '-01' as date)")


@dataclass(frozen=True)
class Part:
    """One relation of the cut: its folder and the ledger's table bear its name."""

    name: str
    columns: Mapping[str, Kind]
    condition: str = "true"

    @property
    def text_columns(self) -> list[str]:
        """The columns that stand between quotes on their way."""
        return [name for name, kind in self.columns.items() if kind.csv_type == "varchar"]


# CONTRIBUTING.md documents these parts for readers of a cut.
TRANSFERS = Part(
    "transfers",
    {
        "entry_id": NUMBER,
        "transfer_id": TEXT,
        "relation_reference": TEXT,
        "currency": TEXT,
        "style": TEXT,
        "points": POINTS,
        "reason": TEXT,
        "status": TEXT,
        "occurred_at": INSTANT,
        "recorded_at": INSTANT,
        "recorded_by": TEXT,
        "reverses_transfer_id": OPTIONAL_TEXT,
        "batch_id": OPTIONAL_TEXT,
        "external_reference": OPTIONAL_TEXT,
        "comment": OPTIONAL_TEXT,
    },
)
PARTS = (
    TRANSFERS,
    Part(
        "status_changes",
        {"entry_id": NUMBER, "transfer_id": TEXT, "status": TEXT, "changed_at": INSTANT},
    ),
    Part(
        "account_events",
        {"entry_id": NUMBER, "relation_reference": TEXT, "event": TEXT, "occurred_at": INSTANT},
        # What waits for another person, or was declined, changes no account.
        condition="event in ('open', 'close')",
    ),
    Part(
        "closes",
        {
            "entry_id": NUMBER,
            "event": TEXT,
            "report_month": MONTH,
            "revision": REVISION,
            "cutoff_entry_id": NUMBER,
        },
    ),
)


@dataclass(frozen=True)
class Segment:
    """The rows of a part whose entries are ``first_entry_id`` to ``last_entry_id``."""

    first_entry_id: int
    last_entry_id: int

    @property
    def file_name(self) -> str:
        """Its name, by which the segments of a part sort as their entries do."""
        return f"{self.first_entry_id:012d}-{self.last_entry_id:012d}.parquet"

    @property
    def span(self) -> int:
        """How many entries it covers, whether the part has rows for them or not."""
        return self.last_entry_id - self.first_entry_id + 1


@dataclass(frozen=True)
class Cut:
    """A frozen ledger: everything up to the entry of ``head``, in ``folder``."""

    folder: Path
    head: Head

    def count_rows(self) -> dict[str, int]:
        """The rows of each part."""
        with connect() as duck:
            return {
                part.name: duck.execute(
                    f"select count(*) from {read_parquet(segment_files(self.folder, part.name))}"
                ).fetchone()[0]
                for part in PARTS
            }


def cut_folder(home: Path) -> Path:
    """Where the cut of a home stands."""
    return home / "cut"


def segment_files(folder: Path, part: str) -> list[Path]:
    """The files of a part of the cut in ``folder``, in the order of their entries."""
    return sorted((folder / part).glob("*.parquet"))


def freeze(ledger: Ledger, report: Report | None = None, check_above: int | None = None) -> Cut:
    """Bring the cut in the ledger's home up to the ledger's end, and return it.

    Only entries that are not in it yet are read, in short reads, unless segments are missing; the same
    entries give the same bytes. ``report`` takes entries read and entries to read. Segments with entries
    above ``check_above`` (None: none of them) are checked against their hashes, and those that were altered
    are made again. Raises `LedgerEmpty`, `CutHoldsOther`, `CutNotWritten` and `LedgerNotReached`.
    """
    folder = cut_folder(ledger.settings.home)
    try:
        head = ledger_head()
        if not head.entry_id:
            raise LedgerEmpty(ledger.place)
        _bring_up(folder, head, report or _ignore_progress, check_above)
    except DatabaseError as error:
        raise LedgerNotReached(ledger.place, first_line(error)) from error
    except (duckdb.Error, OSError) as error:
        raise CutNotWritten(folder, why_not_written(error)) from error
    return Cut(folder, head)


def _ignore_progress(done: int, total: int) -> None:
    """The `Report` of a caller that wants none."""


def _bring_up(folder: Path, head: Head, report: Report, check_above: int | None) -> None:
    vouched = read_anchor(folder) or Head(0, b"")
    hashes = _read_hashes(folder)
    # Before anything is written, all parts are what the anchor vouches for.
    kept = [_keep_whole(folder / part.name, vouched.entry_id, hashes, check_above) for part in PARTS]
    new = [_segment_to_write(segments, head.entry_id) for segments in kept]
    if not any(new):
        return
    for part, segment in zip(PARTS, new, strict=True):
        if segment:
            # Only transfers are so many that a person has to wait.
            _write_segment(
                part, segment, folder / part.name, report if part is TRANSFERS else _ignore_progress
            )
            file = folder / part.name / segment.file_name
            hashes[_hash_key(file)] = file_sha256(file)
    _write_hashes(folder, hashes)
    write_anchor(folder, head)
    sync_folder(folder)
    for part, segment, earlier in zip(PARTS, new, kept, strict=True):
        for absorbed in earlier:
            if segment and absorbed.first_entry_id >= segment.first_entry_id:
                (folder / part.name / absorbed.file_name).unlink()


def _keep_whole(
    folder: Path, vouched_entry_id: int, hashes: Mapping[str, str], check_above: int | None
) -> list[Segment]:
    """The segments that lie end to end from the first entry on, none beyond the one vouched for.

    All others are removed: those of a freeze that was killed, those that one has put together, those that
    were altered, and those behind a gap.
    """
    folder.mkdir(parents=True, exist_ok=True)
    longest: dict[int, Segment] = {}
    present = _list_segments(folder)
    for segment in present:
        known = longest.get(segment.first_entry_id)
        if segment.last_entry_id <= vouched_entry_id and (known is None or segment.span > known.span):
            longest[segment.first_entry_id] = segment
    kept: list[Segment] = []
    while following := longest.get(kept[-1].last_entry_id + 1 if kept else 1):
        file = folder / following.file_name
        is_checked = check_above is not None and following.last_entry_id > check_above
        if is_checked and hashes.get(_hash_key(file)) != file_sha256(file):
            break
        kept.append(following)
    for segment in present:
        if segment not in kept:
            (folder / segment.file_name).unlink()
    for unfinished in folder.glob(".*.unfinished"):
        unfinished.unlink()
    return kept


def _hash_key(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _read_hashes(folder: Path) -> dict[str, str]:
    """The hash of each segment; none where they cannot be read: what has none is made again when checked."""
    try:
        hashes = json.loads((folder / _HASHES_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _write_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Keep the hashes of the segments that are there; whole or not at all."""
    there = {key: value for key, value in sorted(hashes.items()) if (folder / key).exists()}
    unfinished = folder / f".{_HASHES_NAME}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump(there, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / _HASHES_NAME)


def _list_segments(folder: Path) -> list[Segment]:
    segments = []
    for path in sorted(folder.glob("*.parquet")):
        named = _SEGMENT_NAME.fullmatch(path.name)
        if not named:
            raise CutHoldsOther(path)
        segments.append(Segment(int(named[1]), int(named[2])))
    return segments


def _segment_to_write(kept: list[Segment], head_entry_id: int) -> Segment | None:
    """The next segment of a part, up to the ledger's end; None where the part is complete.

    Beyond `MOST_SEGMENTS` it replaces the newest ones: each that is no longer than all after it together.
    With spans 1000, 300, 200, 100 and 100 new entries it replaces the last three (100 ≤ 100, 200 ≤ 200, 300 ≤
    400) and keeps 1000, so an entry is rewritten only when its segment at least doubles.
    """
    last_entry_id = kept[-1].last_entry_id if kept else 0
    if last_entry_id >= head_entry_id:
        return None
    segment = Segment(last_entry_id + 1, head_entry_id)
    if len(kept) >= MOST_SEGMENTS:
        for earlier in reversed(kept):
            if earlier.span > segment.span:
                break
            segment = Segment(earlier.first_entry_id, head_entry_id)
    return segment


def _write_segment(part: Part, segment: Segment, folder: Path, report: Report) -> None:
    """Write a segment beside the others, and give it its name once it is whole and on the disk."""
    unfinished = folder / f".{segment.file_name}.unfinished"
    try:
        read, written = _copy(part, segment, unfinished, report)
        if read != written:
            raise OSError(f"of {read:,} rows of {part.name} that were read, {written:,} were written")
        sync_file(unfinished)
        unfinished.rename(folder / segment.file_name)
        sync_folder(folder)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(part: Part, segment: Segment, path: Path, report: Report) -> tuple[int, int]:
    """Copy rows from the ledger to Parquet through a pipe; return how many were read and written.

    This thread, to which Django's connection belongs, reads, while another one lets DuckDB write.
    """
    pipe, pipe_end = os.pipe()
    with ThreadPoolExecutor(max_workers=1) as pool:
        writing = pool.submit(_write_parquet, part, pipe, path)
        read = 0
        try:
            with open(pipe_end, "wb") as file:
                for rows, text, last_entry_id in _read_as_csv(part, segment):
                    file.write(text)
                    read += rows
                    report(last_entry_id - segment.first_entry_id + 1, segment.span)
        except BrokenPipeError:
            pass  # DuckDB has stopped, and its result says why
        return read, writing.result()


def _write_parquet(part: Part, pipe: int, path: Path) -> int:
    """Write what comes out of ``pipe`` as CSV, to its end, as Parquet to ``path``; return its rows."""
    columns = ", ".join(
        f"{kind.expression.format(name=name)} as {name}" for name, kind in part.columns.items()
    )
    source = read_csv(
        Path(f"/dev/fd/{pipe}"),
        {name: kind.csv_type for name, kind in part.columns.items()},
        header=False,
        null_text="",
        longest_line=_LONGEST_LINE,
        new_line=r"\n",
    )
    try:
        # A pipe is read by one thread; of several, the others would keep rows in memory until their turn.
        with connect(threads=1) as duck:
            (rows,) = duck.execute(
                f"copy (select {columns} from {source}) to {literal(path)} (format parquet, compression zstd)"
            ).fetchone()
        return rows
    finally:
        os.close(pipe)


def _read_as_csv(part: Part, segment: Segment) -> Iterator[tuple[int, bytes, int]]:
    """The segment's rows in order of their entries: how many, as CSV, and the entry up to which was read."""
    read = _read_postgresql if connection.vendor == "postgresql" else _read_sqlite
    for first in range(segment.first_entry_id, segment.last_entry_id + 1, ENTRIES_PER_READ):
        last = min(first + ENTRIES_PER_READ - 1, segment.last_entry_id)
        rows, text = read(part, first, last)
        yield rows, text, last


def _query(part: Part, columns: str) -> str:
    return (
        f"select {columns} from {part.name} where entry_id between %s and %s and {part.condition}"
        " order by entry_id"
    )


def _read_sqlite(part: Part, first_entry_id: int, last_entry_id: int) -> tuple[int, bytes]:
    """SQLite itself writes each line: a row of Python values would take several times as long."""
    line = ",".join('"%w"' if name in part.text_columns else "%d" for name in part.columns) + "\n"
    with connection.cursor() as cursor:
        cursor.execute(
            _query(part, f"cast(printf(%s, {', '.join(part.columns)}) as blob)"),
            [line, first_entry_id, last_entry_id],
        )
        lines = cursor.fetchall()
    return len(lines), b"".join(text for (text,) in lines)


def _read_postgresql(part: Part, first_entry_id: int, last_entry_id: int) -> tuple[int, bytes]:
    """The same lines as SQLite's, to the byte, and so the same Parquet."""
    query = (
        f"copy ({_query(part, ', '.join(part.columns))}) to stdout"
        f" (format csv, force_quote ({', '.join(part.text_columns)}))"
    )
    with connection.cursor() as cursor:
        with cursor.copy(query, [first_entry_id, last_entry_id]) as copy:
            text = b"".join(copy)
        return cursor.rowcount, text
