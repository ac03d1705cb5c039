"""File permissions: files are private to the process's user, except those made for readers
(docs/cases.md, S27)."""

import os
import stat
from pathlib import Path

# Masks for the modes of files made for readers, by POINTS_READERS: `group` makes 0o755 of a folder 0o750.
READERS = {"owner": 0o700, "group": 0o770, "everyone": 0o777}


def keep_private() -> None:
    """Make every file that this process and its children create from now on private to their user."""
    os.umask(0o077)


def let_read(folder: Path, readers: str, is_final: bool = False) -> None:
    """Let ``readers`` read ``folder`` and the files in it; the files become read-only.

    The folder stays writable for its user unless it ``is_final``. Files of another user are left as they are,
    because only their owner can change their mode.
    """
    for entry in os.scandir(folder):
        if entry.is_file(follow_symlinks=False):
            _set_mode(Path(entry), 0o444 & READERS[readers])
    _set_mode(folder, (0o555 if is_final else 0o755) & READERS[readers])


def let_read_copy(path: Path, readers: str) -> None:
    """Let ``readers`` read one file, which becomes read-only, or list one folder, made for them elsewhere."""
    _set_mode(path, (0o755 if path.is_dir() else 0o444) & READERS[readers])


def let_pass(folder: Path, readers: str) -> None:
    """Let ``readers`` reach what they may read below ``folder``, whose names they cannot list."""
    _set_mode(folder, stat.S_IMODE(folder.stat().st_mode) | 0o011 & READERS[readers])


def _set_mode(path: Path, mode: int) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or os.geteuid() not in (status.st_uid, 0):
        return
    # With the bit of a folder by which all that is made in it has its group.
    mode |= status.st_mode & stat.S_ISGID
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
