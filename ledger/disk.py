"""Files that must last: their hashes, waiting until they are on the disk, and what kept them from it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import first_line


@dataclass(frozen=True)
class LackOfRoom:
    """Why there was no room on a disk or in memory, and what to do, each as a part of a sentence."""

    reason: str
    advice: str

    def sentence(self, consequence: str = "") -> str:
        """``consequence`` is the result, as a part of a sentence: ", so nothing was written"."""
        return f"{self.reason[0].upper()}{self.reason[1:]}{consequence}; {self.advice}."


_DISK_FULL = LackOfRoom("the disk is full", "make room and run the same command again")
# How the operating system, DuckDB, SQLite and PostgreSQL report a file that could not grow, and DuckDB that
# what it cannot spill did not fit into memory.
_LACKS_OF_ROOM = {
    # DuckDB takes nine tenths of what is free for spilling.
    "max_temp_directory_size": _DISK_FULL,
    "Out of Memory Error": LackOfRoom(
        "the memory that POINTS_MEMORY_LIMIT allows is used up",
        "raise it, or let fewer threads share it (POINTS_THREADS), and run the same command again",
    ),
    "No space left on device": _DISK_FULL,
    "database or disk is full": _DISK_FULL,
    "Disk quota exceeded": LackOfRoom("the quota of the disk is used up", _DISK_FULL.advice),
    "File too large": LackOfRoom(
        "a file may not grow any more (File too large)",
        "raise the system's limit for the size of files and run the same command again",
    ),
}


def lack_of_room(text: str) -> LackOfRoom | None:
    """Whether what a system or a database said, ``text``, is that there was no room."""
    return next((lack for sign, lack in _LACKS_OF_ROOM.items() if sign in text), None)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def may_write_into(folder: Path) -> bool:
    """Whether files can be made in ``folder``, as far as its mode, its owner and its file system say."""
    return os.access(folder, os.W_OK | os.X_OK)


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drop_from_cache(path: Path) -> None:
    """Let the next reading of a file come from the disk, where the system can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    sync_file(folder)


def let_appear(copy: Path, file: Path) -> None:
    """Give ``copy``, on the same disk, its name in one step and for good; it may keep the old one too.

    Raises `FileExistsError` where the name is taken.
    """
    sync_file(copy)
    try:
        # Unlike a rename, a link does not replace what another process has put there meanwhile.
        os.link(copy, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(file):
            raise FileExistsError(file) from None
        os.rename(copy, file)
    sync_folder(file.absolute().parent)


def why_not_written(error: Exception) -> str:
    """What kept something from being written, as a part of a sentence."""
    if lack := lack_of_room(str(error)):
        return lack.reason
    number = f"[Errno {error.errno}] " if isinstance(error, OSError) else ""
    return first_line(error).removeprefix(number)
