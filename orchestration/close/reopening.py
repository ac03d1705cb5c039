"""Takes closed months out of force, so that they can be closed again (docs/design.md, section 6;
docs/cases.md, C4).

No file and no pointer is touched: readers keep what was issued, flagged as reopened, until every month is
closed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.acts.approval import is_same_person
from ledger.acts.transfer_requests import checked_note
from ledger.certifications import REOPENING_ASKED, entries_about, record
from ledger.closes import ClosedMonth, read_history
from ledger.database import open_ledger
from ledger.errors import PointsError
from ledger.models import Close
from ledger.settings import Settings, check_month
from orchestration.close.commit import committing
from orchestration.close.publication import Report, finish_closes
from orchestration.run_lock import run_lock


class ReasonMissing(PointsError):
    """A month is to be reopened without a reason."""

    code = "REASON_MISSING"

    def __init__(self, month: str) -> None:
        super().__init__(
            f'{month} is not reopened without a reason; say why: `points reopen {month} --reason "…"`.'
        )


class MonthNeverClosed(PointsError):
    """A month is to be reopened that is open."""

    code = "MONTH_NOT_CLOSED"

    def __init__(self, month: str, last_month: str | None) -> None:
        closed = f"the last closed month is {last_month}" if last_month else "no month is closed"
        super().__init__(f"{month} is not closed, so there is nothing to reopen: {closed}.")


@dataclass(frozen=True)
class Reopened:
    """The closes that went out of force, in order; none where ``signed_off`` ones among them wait for a
    second person, who asks for the same."""

    closes: Sequence[ClosedMonth]
    signed_off: Sequence[ClosedMonth]


def reopen_months(
    settings: Settings,
    month: str,
    reason: str,
    wait_seconds: float = 0.0,
    report: Report = lambda progress: None,
) -> Reopened:
    """Take the close of ``month`` (``YYYY-MM``) and of every later one out of force.

    Where one of them is signed off, the first who asks is recorded, and it is done when another person asks
    too. ``report`` takes the progress of months that are made again first. Raises `ReasonMissing`,
    `MonthNeverClosed`, and what opening the ledger raises.
    """
    check_month(month)
    if not reason.strip():
        raise ReasonMissing(month)
    reason = checked_note("reason", reason.strip())
    ledger = open_ledger(settings)
    with run_lock(settings.home, "points reopen", wait_seconds):
        finish_closes(ledger, report)
        history = read_history()
        if month not in history.in_force:
            raise MonthNeverClosed(month, history.last_month)
        reopened = [closed for closed in history.in_force.values() if closed.report_month >= month]
        signed_off = [
            closed for closed in reopened if (closed.report_month, closed.revision) in history.signatures
        ]
        asked = {closed: _asked_by(closed) for closed in signed_off}
        if any(all(is_same_person(name, ledger.user) for name in names) for names in asked.values()):
            with committing(ledger, history) as appender:
                for closed in signed_off:
                    if not any(is_same_person(name, ledger.user) for name in asked[closed]):
                        record(appender, closed, REOPENING_ASKED, {"reason": reason})
            finish_closes(ledger)
            return Reopened([], signed_off)
        with committing(ledger, history) as appender:
            for closed in reopened:
                appender.append(
                    Close(
                        event="reopen",
                        report_month=closed.report_month,
                        revision=closed.revision,
                        cutoff_entry_id=closed.cutoff_entry_id,
                        reason=reason,
                    )
                )
        # No pointer moves, but readers' database says that these months are reopened.
        finish_closes(ledger)
    return Reopened(reopened, signed_off)


def _asked_by(closed: ClosedMonth) -> list[str]:
    return [entry.recorded_by for entry in entries_about(closed, REOPENING_ASKED)]
