"""Writes files that people name, to carry away: whole or not at all, and over nothing that is there
(docs/cases.md, X27)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ledger.disk import let_appear, why_not_written
from ledger.errors import PointsError
from ledger.unfinished_files import unfinished_file


class ExportTargetTaken(PointsError):
    """There is a file already where something is to be exported to."""

    code = "FILE_EXISTS"

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} is there already, and an export overwrites nothing; name another file.")


class ExportFolderMissing(PointsError):
    """There is no folder to write the export into."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file.absolute().parent} is no folder, so {file.name} cannot be written; make it first."
        )


class ExportNotWritten(PointsError):
    """The export could not be written, or does not read back as it should."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"{file} was not written: {reason}; nothing is left of it, so fix that and run the same again."
        )


@contextmanager
def new_export(file: Path) -> Iterator[Path]:
    """Where to write what becomes ``file`` in the end.

    Raises `ExportTargetTaken`, `ExportFolderMissing` and `ExportNotWritten`.
    """
    if file.exists():
        raise ExportTargetTaken(file)
    folder = file.absolute().parent
    if not folder.is_dir():
        raise ExportFolderMissing(file)
    try:
        with unfinished_file(folder, file.name) as unfinished:
            yield unfinished
            let_appear(unfinished, file)
    except FileExistsError:
        raise ExportTargetTaken(file) from None
    except (duckdb.Error, OSError) as error:
        raise ExportNotWritten(file, why_not_written(error)) from error
