"""Where what is given to people is written and checked before it has its name (docs/cases.md, X31)."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Beside the file that is written; readable for its user only.
_FOLDER_NAME = ".points-unfinished"


@contextmanager
def unfinished_file(folder: Path, name: str) -> Iterator[Path]:
    """A file in ``folder`` to be written, of a command that is alone there; removed afterwards.

    What a killed command left there is removed. Raises `OSError`.
    """
    unfinished = folder / _FOLDER_NAME
    unfinished.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(lock)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OSError(f"others can write to {unfinished}, so move it away")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another command is writing a copy in {folder}") from None
        for left in unfinished.iterdir():
            left.unlink()
        try:
            yield unfinished / name
        finally:
            shutil.rmtree(unfinished)
    finally:
        os.close(lock)
