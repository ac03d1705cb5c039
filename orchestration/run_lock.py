"""One run at a time in a home, across processes: the second one waits, or says who holds it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import PointsError


class RunInProgress(PointsError):
    """Another process runs in the same home and did not end in time."""

    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(f"Another run is going on in {home} ({holder}); wait for it to end and try again.")
        self.home = home
        self.holder = holder


@contextmanager
def run_lock(home: Path, purpose: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``home`` for the body.

    The operating system drops the lock when the process ends, however it ends. ``purpose`` is what another
    process is told; ``wait_seconds`` is how long to wait for it. Raises `RunInProgress`.
    """
    home.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with open(home / "run.lock", "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise RunInProgress(home, file.read().strip() or "starting") from None
                time.sleep(0.2)
        file.seek(0)
        file.truncate()
        file.write(f"{purpose}, process {os.getpid()}")
        file.flush()
        yield
