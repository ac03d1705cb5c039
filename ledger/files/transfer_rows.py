"""Reads the files that POINTS_TRANSFERS names, for a run: the same reader as the import's, kept as Parquet.

The models judge the rows, and repetitions among them; a quarantined row names its file and line.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.data_files import connect, read_csv
from ledger.files.file_rows import RAW_TRANSFERS_SHAPE, LoadedFile, load_rows
from ledger.files.taken_files import take_file
from ledger.files.transfers_file import SentFile, list_files, searched_folder, sent_file
from ledger.shown_text import shown
from ledger.sql_text import literal

# What DuckDB may use for a file.
_MEMORY_LIMIT = "2GB"


def write_transfer_rows(
    location: str, folder: Path, report: Callable[[str, int, int], None] = lambda name, position, total: None
) -> None:
    """Write the rows of every file that ``location`` (a file, a folder or a glob) names into ``folder``.

    It is made, and gets a Parquet file for each: every column of `RAW_TRANSFERS_SHAPE` as text and as it was
    sent, null where the file lacks it; ``has_wrong_field_count``; ``file``, its name from where ``location``
    begins, and ``line``, of Parquet the row. ``report`` takes each file, its position and their number.
    Raises `TransfersFileRefused` for the first that cannot be read.
    """
    files, searched = list_files(location), searched_folder(location)
    beginning = location if os.path.isdir(location) else os.path.commonpath([file.parent for file in files])
    folder.mkdir()
    for position, file in enumerate(files, start=1):
        name = shown(os.path.relpath(file, beginning))
        with _sent(file, searched, folder / f"{position:06d}.sent") as sent:
            _write(sent, name, folder / f"{position:06d}.parquet")
        report(name, position, len(files))


@contextmanager
def _sent(file: Path, searched: Path | None, copy: Path) -> Iterator[SentFile]:
    """The file itself where ``location`` names it; one found in a folder is copied out of it first
    (docs/cases.md, S5)."""
    if searched is None:
        yield sent_file(file)
        return
    sent, _ = take_file(searched, file.relative_to(searched), copy)
    yield sent
    copy.unlink()


def _write(sent: SentFile, name: str, target: Path) -> None:
    lines = target.with_suffix(".lines")
    with connect(memory_limit=_MEMORY_LIMIT) as database:
        loaded = load_rows(database, sent, RAW_TRANSFERS_SHAPE)
        rows, line = "sent_rows", f"row_number + {loaded.lines_before_rows}"
        if loaded.lines_before_rows is None:
            _write_lines(loaded, lines)
            rows = f"sent_rows positional join {read_csv(lines, {'line': 'bigint'}, header=False)}"
            line = "line"
        columns = ", ".join(RAW_TRANSFERS_SHAPE.columns)
        database.execute(
            f"copy (select {columns}, has_wrong_field_count, {literal(name)} as file, {line} as line"
            f" from {rows}) to {literal(target)} (format parquet, compression zstd)"
        )
    lines.unlink(missing_ok=True)


def _write_lines(loaded: LoadedFile, path: Path) -> None:
    """Write the line at which each row begins, one by one."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in loaded.lines_in_order(range(1, loaded.row_count + 1)))
