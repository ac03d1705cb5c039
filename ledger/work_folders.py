"""Temporary folders in the home, for what a process needs on disk while it runs."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ledger.locks import open_lock

_LOCK_NAME = "lock"


def private_folder(home: Path) -> Path:
    """Where a home keeps what is its owner's alone, and can be thrown away."""
    return home / ".work"


@contextmanager
def work_folder(home: Path) -> Iterator[Path]:
    """A new folder in ``home``, removed in the end.

    What a killed process left is removed when the next one asks for a folder: a process holds a lock on its
    folder for as long as it lives.
    """
    parent = private_folder(home)
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


@contextmanager
def spill_folder(home: Path) -> Iterator[str]:
    """Where a DuckDB database spills what does not fit into memory, as DuckDB takes it: in a work folder.

    Empty, for what must fit then, where there is no home or this process can make nothing in it: a home can
    be looked at by who may only read it, and on a full disk.
    """
    with ExitStack() as stack:
        try:
            folder = str(stack.enter_context(work_folder(home)) / "spilled") if home.is_dir() else ""
        except OSError:
            folder = ""
        yield folder


def _is_in_use(folder: Path) -> bool:
    try:
        with open_lock(folder / _LOCK_NAME) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass  # its process is removing it
    return False
