"""Looks at files of raw transfers before anything is built from them: are they what their names say?

Only what shows at a file's ends is looked at here, so that it costs the same for any size. What stands in it
is for the reader to refuse (`ledger.files.file_rows`; docs/cases.md, F1 to F14), and rows are for the models.
"""

import glob
import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from ledger.errors import PointsError

# What the names of such files end in, the longer of two first.
ENDINGS = (".csv.gz", ".csv", ".parquet")


class TransfersFileRefused(PointsError):
    """A file of transfers cannot be read at all; ``code`` is the one that docs/cases.md gives."""

    def __init__(self, code: str, path: Path | str, problem: str, remedy: str) -> None:
        super().__init__(f"{code}: {path} {problem}; {remedy}.")
        self.path = str(path)


@dataclass(frozen=True)
class SentFile:
    """A file as it was sent: ``path`` is what people know it by and says its kind, ``content`` is where its
    bytes are read. They differ where it lay in a folder that others write to (`ledger.files.taken_files`)."""

    path: Path
    content: Path

    @property
    def is_parquet(self) -> bool:
        """Whether it is one of Parquet, by its name."""
        return _name(self.path).endswith(".parquet")

    @property
    def is_gzip(self) -> bool:
        """Whether it is compressed, by its name."""
        return _name(self.path).endswith(".gz")

    def refused(self, code: str, problem: str, remedy: str) -> TransfersFileRefused:
        """The error for what is wrong with it."""
        return TransfersFileRefused(code, self.path, problem, remedy)


def sent_file(path: Path) -> SentFile:
    """A file that is read where it lies."""
    return SentFile(path, path)


def check_transfers(location: str) -> list[Path]:
    """Return the files that ``location`` (a file, a folder or a glob) names, in order of their names.

    Raises `TransfersFileRefused` for the first of them that is not what its name says.
    """
    files = list_files(location)
    for file in map(sent_file, files):
        check_file(file)
    return files


def check_file(file: SentFile) -> None:
    """Raise `TransfersFileRefused` where ``file`` is no file that can be read, or not of the kind that its
    name says. What stands in it is for the reader to judge (`ledger.files.file_rows`)."""
    if not os.path.lexists(file.content):
        raise file.refused("NOT_FOUND", "is not there", "check its name")
    if file.content.is_dir():
        raise file.refused("NOT_READABLE", "is a folder", "name one of its files")
    _check_kind(file)
    if file.is_parquet:
        _check_parquet(file)
    else:
        _check_csv_head(file)


def _name(file: Path) -> str:
    return file.name.lower()


def searched_folder(location: str) -> Path | None:
    """The folder in which files are looked for, and others may have put them; None where ``location`` names
    a file, be it by a link."""
    path = Path(location)
    if path.is_dir():
        return path
    if os.path.lexists(path):
        return None
    return Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))


def list_files(location: str) -> list[Path]:
    """The files that ``location`` (a file, a folder or a glob) names, in order of their names.

    Raises `TransfersFileRefused` where there are none, and for a link below the folder that is searched.
    """
    path, folder = Path(location), searched_folder(location)
    if folder is None:
        return [path]
    if folder == path:
        # A folder behind a link is not looked into, so it would be left out without a word.
        files = [
            file
            for file in sorted(folder.rglob("*"))
            if _name(file).endswith(ENDINGS) or (file.is_symlink() and file.is_dir())
        ]
    else:
        files = [Path(name) for name in sorted(glob.glob(location, recursive=True))]
    for file in files:
        for part in (file, *file.parents):
            if part != folder and part.is_relative_to(folder) and part.is_symlink():
                raise link_refusal(part)
    if not files:
        raise TransfersFileRefused(
            "NOT_FOUND", location, "holds no CSV, CSV.gz or Parquet file", "check POINTS_TRANSFERS"
        )
    return files


def link_refusal(path: Path) -> TransfersFileRefused:
    """The error for a link where links are not followed."""
    return TransfersFileRefused(
        "NOT_READABLE",
        path,
        "is a link or lies behind one, which is not followed here",
        "put the file itself there",
    )


def _check_kind(file: SentFile) -> None:
    if not _name(file.path).endswith(ENDINGS):
        raise file.refused("NOT_CSV", "ends in none of .csv, .csv.gz and .parquet", "rename or convert it")
    try:
        is_regular = stat.S_ISREG(file.content.stat().st_mode)
    except OSError:
        raise file.refused("NOT_READABLE", "is a link to nothing", "check where it points") from None
    if not is_regular:
        raise file.refused("NOT_READABLE", "is no ordinary file", "name a file, a folder or a glob")
    if "\\" in str(file.path) and any(character in str(file.path) for character in "*?["):
        raise file.refused("NOT_READABLE", "has a backslash beside *, ? or [ in its path", "rename it")
    if not os.access(file.content, os.R_OK):
        raise file.refused("NOT_READABLE", "may not be read by this user", "change its permissions")
    if file.content.stat().st_size == 0:
        raise file.refused("FILE_EMPTY", "is empty, without even a header", "send it again")


def _check_parquet(file: SentFile) -> None:
    with open(file.content, "rb") as stream:
        head = stream.read(4)
        stream.seek(-min(4, file.content.stat().st_size), io.SEEK_END)
        tail = stream.read(4)
    if head != b"PAR1" or tail != b"PAR1":
        raise file.refused("PARQUET", "is no whole Parquet file", "write or transfer it again")


def _check_csv_head(file: SentFile) -> None:
    with open(file.content, "rb") as stream:
        head = stream.read(4)
    if file.is_gzip != head.startswith(b"\x1f\x8b") or head.startswith((b"PK\x03\x04", b"PAR1")):
        raise file.refused(
            "NOT_CSV",
            "is a file of another kind under the name of a CSV",
            "export it as CSV, or give it its right name",
        )
    with opened(file) as stream:
        first_line = _read(file, lambda: stream.readline(1 << 20))
    if not first_line:
        raise file.refused("FILE_EMPTY", "is empty, without even a header", "send it again")
    if first_line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in first_line:
        raise file.refused("ENCODING", "is not UTF-8 in line 1", "save it as UTF-8")


def opened(file: SentFile) -> BinaryIO:
    """The bytes of a CSV file, decompressed where its name says that it is compressed."""
    return gzip.open(file.content, "rb") if file.is_gzip else open(file.content, "rb")


def blocks(file: SentFile, size: int = 1 << 22) -> Iterator[bytes]:
    """The bytes of a CSV file, block by block; raise `TransfersFileRefused` where they break off."""
    with opened(file) as stream:
        while block := _read(file, lambda: stream.read(size)):
            yield block


def _read(file: SentFile, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise file.refused(
            "TRUNCATED", "breaks off before its end or is damaged", "transfer it again"
        ) from None
