"""A fair queue for SQLite's single writer.

SQLite has no queue: the process that asks at the right moment gets the lock, waiting ones ask at most ten
times a second, and one that appends without pause would starve them. So writers of one home first wait for a
lock of their own, which they ask for more often and get in turn on average. PostgreSQL queues its writers
itself.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.locks import open_lock

# As long as the database itself would let them wait.
_WAIT_SECONDS = 60
_PAUSE_SECONDS = 0.004


class LedgerBusy(PointsError):
    """Another process writes to the ledger and does not end in time."""

    code = "LEDGER_BUSY"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"Another process has been writing to the ledger in {place} for {_WAIT_SECONDS} seconds; nothing"
            " was recorded, so wait for it to end and run the same command again."
        )


@contextmanager
def writers_queue(ledger: Ledger) -> Iterator[None]:
    """Hold the writer's place of the ledger's home for the body; raise `LedgerBusy`.

    The operating system gives it back when the process ends, however it ends.
    """
    if ledger.settings.database_url:
        yield
        return
    deadline = time.monotonic() + _WAIT_SECONDS
    with open_lock(ledger.settings.home / ".ledger.queue") as place:
        while True:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LedgerBusy(ledger.place) from None
                time.sleep(_PAUSE_SECONDS)
        yield
