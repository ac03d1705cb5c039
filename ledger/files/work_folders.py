"""Temporary folders in the home, for what an import needs on disk while it runs."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.locks import open_lock

_LOCK_NAME = "lock"


@contextmanager
def work_folder(home: Path) -> Iterator[Path]:
    """A new folder in ``home``, removed in the end.

    What a killed process left is removed when the next one asks for a folder: a process holds a lock on its
    folder for as long as it lives.
    """
    parent = home / ".imports"
    parent.mkdir(parents=True, exist_ok=True)
    with open_lock(parent / _LOCK_NAME) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for left in parent.iterdir():
            if left.is_dir() and not left.is_symlink() and not _is_in_use(left):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        lock = open_lock(folder / _LOCK_NAME)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _is_in_use(folder: Path) -> bool:
    try:
        with open_lock(folder / _LOCK_NAME) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass  # its process is removing it
    return False
