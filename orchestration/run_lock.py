"""One run at a time in a home, across processes: the second one waits, or says who holds it.

Deliveries have a lock of their own: a slow server must hold up no build and no close.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import PointsError
from ledger.locks import open_lock


class RunInProgress(PointsError):
    """Another process runs in the same home and did not end in time."""

    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(f"Another run is going on in {home} ({holder}); wait for it to end and try again.")


@contextmanager
def run_lock(home: Path, purpose: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``home`` for the body.

    The operating system drops the lock when the process ends, however it ends. ``purpose`` is shown to
    another process that finds the lock held; ``wait_seconds`` is how long to wait for it. Raises
    `RunInProgress` and `LockNotOurs`.
    """
    with _held(_lock_file(home), home, purpose, wait_seconds):
        yield


@contextmanager
def delivery_lock(home: Path, purpose: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of the deliveries from ``home`` for the body, as `run_lock` holds that of its runs."""
    with _held(home / "delivery.lock", home, purpose, wait_seconds):
        yield


@contextmanager
def _held(lock: Path, home: Path, purpose: str, wait_seconds: float) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with open_lock(lock) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise RunInProgress(home, file.readline().strip() or "starting") from None
                time.sleep(0.2)
        # What an earlier, longer one left stands in the lines behind it.
        file.write(f"{purpose}, process {os.getpid()}\n")
        file.flush()
        yield


def lock_holder(home: Path) -> str | None:
    """The purpose and process of the holder of ``home``'s lock; None where it is free. Raises
    `LockNotOurs`."""
    try:
        with open_lock(_lock_file(home), is_looked_at=True) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.readline().strip()
    except OSError:
        pass
    return None


def _lock_file(home: Path) -> Path:
    return home / "run.lock"
