"""Who may read and write files: their user alone, but for what readers are given (docs/cases.md, S27)."""

import os
import stat
from pathlib import Path

# Who may read what is made for readers, by POINTS_READERS, and the bits of a mode that this leaves.
READERS = {"owner": 0o700, "group": 0o770, "everyone": 0o777}


def keep_private() -> None:
    """From here on, what this process and those that it starts make is for its user alone."""
    os.umask(0o077)


def let_read(folder: Path, readers: str, is_final: bool = False) -> None:
    """Let ``readers`` read ``folder`` and the files in it, which nobody may write to.

    Into the folder its user may write, and nobody where it ``is_final``. What belongs to another user, whose
    mode only that one can change, is left.
    """
    for entry in os.scandir(folder):
        if entry.is_file(follow_symlinks=False):
            _set_mode(Path(entry), 0o444 & READERS[readers])
    _set_mode(folder, (0o555 if is_final else 0o755) & READERS[readers])


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
