"""The commit: one transaction of the ledger by which closes, or reopenings, count from then on.

Before it nothing is published. After it, publishing is work that the next command of any kind finishes
(`orchestration.close.publication`); so that the next command knows, the commit is announced before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import Error as DatabaseFault
from django.db import connection

from ledger.append import Appender, appending
from ledger.closes import CloseHistory, read_history
from ledger.database import Ledger
from ledger.disk import sync_file, sync_folder, why_not_written
from ledger.errors import PointsError
from orchestration.fail_points import fail_point
from orchestration.published.layout import ANNOUNCEMENT_NAME
from orchestration.runs import FilesNotWritten


class CloseOvertaken(PointsError):
    """Months were closed or reopened from elsewhere meanwhile."""

    code = "CLOSE_OVERTAKEN"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"Months of the ledger in {place} were closed or reopened from another home meanwhile, so nothing"
            " was recorded; run the same command again."
        )


class CommitUnanswered(PointsError):
    """The ledger's database stopped while closes or reopenings were recorded."""

    code = "COMMIT_UNANSWERED"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"The ledger in {place} did not confirm what was to be recorded: {reason}; all of it was recorded"
            " or nothing, and readers have what they had, so fix that, look at `points months`, and repeat"
            " it where it is not in."
        )


@contextmanager
def committing(ledger: Ledger, history: CloseHistory) -> Iterator[Appender]:
    """Record closes or reopenings in the body: all of them, or none where anything is raised.

    ``history`` is what they are based on. Raises `CloseOvertaken` where it has changed since,
    `CommitUnanswered` and `FilesNotWritten`.
    """
    _announce(ledger.settings.home)
    fail_point("announced")
    # A connection that was idle while dbt ran may have been cut off; the next query makes a new one.
    connection.close()
    try:
        # Which months have ended was judged before (`ledger.clocks.months_end_by`).
        with appending(ledger, says_when=True) as appender:
            if _closes_of(read_history()) != _closes_of(history):
                raise CloseOvertaken(ledger.place)
            yield appender
            fail_point("appended")
    except DatabaseFault as error:
        raise CommitUnanswered(ledger.place, why_not_written(error)) from error
    fail_point("committed")


def _announce(home: Path) -> None:
    """Mark ``home``: a close may have committed, so the next command checks whether it must be published."""
    path = home / ANNOUNCEMENT_NAME
    try:
        path.write_text("{}\n", encoding="utf-8")
        sync_file(path)
        sync_folder(home)
    except OSError as error:
        raise FilesNotWritten(home, error) from error


def _closes_of(history: CloseHistory) -> tuple:
    return history.closes, history.reopenings
