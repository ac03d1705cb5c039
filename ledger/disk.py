"""Files that must last: their hashes, waiting until they are on the disk, and what kept them from it."""

import hashlib
import os
from pathlib import Path

# What a system, DuckDB or SQLite says of a file that could not grow, and how people are told.
_NO_ROOM = {
    "No space left on device": "the disk is full",
    "database or disk is full": "the disk is full",
    "Disk quota exceeded": "the quota of the disk is used up",
    "File too large": "a file may not grow any more (File too large)",
}


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
    text = str(error) or type(error).__name__
    for sign, reason in _NO_ROOM.items():
        if sign in text:
            return reason
    number = f"[Errno {error.errno}] " if isinstance(error, OSError) else ""
    return text.splitlines()[0].removeprefix(number).rstrip(".")
