"""Lock files: opened in one way, which follows no link and shortens no file (docs/cases.md, S2).

Opened with ``open(…, "w")``, a link under a lock's name would empty the file that it names.
"""

import errno
import os
import stat
from pathlib import Path
from typing import IO

from ledger.errors import PointsError


class LockNotOurs(PointsError):
    """What stands where a lock belongs is a link, or no file of its own."""

    code = "LOCK"

    def __init__(self, path: Path, finding: str) -> None:
        super().__init__(
            f"{path} {finding}, where this project keeps a lock, so nothing was begun; find out who put it"
            " there, move it away and run the same again."
        )


def open_lock(path: Path, is_looked_at: bool = False) -> IO[str]:
    """Open a lock file at its beginning, with what it holds, and make it where there is none.

    With ``is_looked_at`` it is opened for reading alone, and must be there: `FileNotFoundError`. Raises
    `LockNotOurs` for a link, a file that has another name too, and what is no file.
    """
    flags = os.O_RDONLY if is_looked_at else os.O_RDWR | os.O_CREAT
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LockNotOurs(path, "is a link") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise LockNotOurs(path, "is no ordinary file") from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: its folder was removed meanwhile
        return open(descriptor, "r" if is_looked_at else "r+", encoding="utf-8")
    os.close(descriptor)
    is_file = stat.S_ISREG(status.st_mode)
    raise LockNotOurs(path, "is a file that has another name too" if is_file else "is no ordinary file")
