"""Which months the schedule closes: ended, open, and past the days of grace (docs/design.md, section 11).

What is due at an instant does not depend on who looked before, so missed ticks do not matter: the next one
closes everything that is due by then, in order (docs/cases.md, X15).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from django.db import connection
from django.db.models import Min, OuterRef, Subquery
from django.db.models.functions import Greatest

from ledger.clocks import months_end_by
from ledger.closes import CloseHistory, read_history
from ledger.database import LedgerEmpty, open_ledger
from ledger.errors import PointsError
from ledger.models import StatusChange, Transfer
from ledger.seals import read_seals
from ledger.settings import Settings
from orchestration.close.closing import Closing, close_months
from orchestration.close.months_to_close import first_open_month
from orchestration.report_calendar import ends_at, month_of, months_between, next_month, period_days
from orchestration.runs import BuildProgress

# By then the tick that should have closed it is past, and so is the next one.
_OVERDUE_AFTER = timedelta(days=1)


class InstantAhead(PointsError):
    """Months are to be closed as of an instant that is not there yet."""

    def __init__(self, now: datetime) -> None:
        super().__init__(
            f"No month is closed as of {now:%Y-%m-%d %H:%M} UTC, for that is in the future; leave the instant"
            " out to close what is due now."
        )


@dataclass(frozen=True)
class DueMonths:
    """The months (``YYYY-MM``) that are open and due at the instant ``at``, in order.

    ``overdue`` are those of them that were due a day before already; ``reason`` says why none is due.
    """

    at: datetime
    months: Sequence[str] = ()
    overdue: Sequence[str] = ()
    reason: str = ""


def close_due_months(
    settings: Settings,
    now: datetime | None = None,
    report: Callable[[BuildProgress], None] = lambda progress: None,
    wait_seconds: float = 0.0,
) -> Closing | None:
    """Close every month that is due at ``now`` (by default, at this moment), in order and in one build.

    None where nothing is due; `find_due_months` says why. Raises `InstantAhead` and what `close_months` does.
    """
    if now and now > datetime.now(UTC):
        raise InstantAhead(now.astimezone(UTC))
    due = find_due_months(settings, now)
    if not due.months:
        return None
    return close_months(
        settings, through=due.months[-1], report=report, wait_seconds=wait_seconds, now=due.at
    )


def find_due_months(settings: Settings, now: datetime | None = None) -> DueMonths:
    """Open the ledger and say which months are due at ``now``, by default at this moment.

    Raises `PointsError` where there is a ledger that cannot be opened.
    """
    if settings.transfers:
        return DueMonths(
            now or datetime.now(UTC),
            reason="POINTS_TRANSFERS names files; only a ledger's months are closed.",
        )
    try:
        ledger = open_ledger(settings)
    except LedgerEmpty as error:
        return DueMonths(now or datetime.now(UTC), reason=error.sentence)
    try:
        return due_months(settings, months_end_by(ledger, now))
    finally:
        connection.close()


def due_months(settings: Settings, now: datetime) -> DueMonths:
    """What the ledger that is open says is due at ``now``."""
    history = read_history()
    sealed = read_seals()
    first_month = sealed["first_month"] if sealed else _first_month(settings)
    if first_month is None:
        return DueMonths(now, reason="No transfer has been approved yet.")
    due_at = {
        month: ends_at(month, settings) + timedelta(days=settings.close_after_days)
        for month in _open_months(history, first_month, now, settings)
    }
    months = list(takewhile(lambda month: due_at[month] <= now, due_at))
    if months:
        return DueMonths(now, months, [month for month in months if due_at[month] + _OVERDUE_AFTER <= now])
    oldest, due = next(iter(due_at.items()))
    return DueMonths(now, reason=f"{oldest}, the oldest open month, is due at {due:%Y-%m-%d %H:%M} UTC.")


def describe_open(months: Sequence[str], settings: Settings) -> str:
    """A sentence on months that have ended and are not closed, for people."""
    _, last_day = period_days(months[0], settings)
    more = f", nor is {months[1]}" if len(months) == 2 else ""
    if len(months) > 2:
        more = f", nor is any of the {len(months) - 1} after it up to {months[-1]}"
    return f"{months[0]} ended on {last_day:%Y-%m-%d} and is not closed{more}."


def _open_months(history: CloseHistory, first_month: str, now: datetime, settings: Settings) -> list[str]:
    """The oldest open month and those after it, up to the one that is going on."""
    oldest = first_open_month(history, first_month)
    return [oldest, *months_between(next_month(oldest), month_of(now, settings))]


def _first_month(settings: Settings) -> str | None:
    """The first month of a programme that has closed none; None where nothing has taken effect."""
    approved = Transfer.objects.filter(status="approved").aggregate(first=Min("occurred_at"))
    occurred_at = Transfer.objects.filter(transfer_id=OuterRef("transfer_id")).values("occurred_at")[:1]
    approved_later = (
        StatusChange.objects.filter(status="approved")
        .annotate(effective_at=Greatest("changed_at", Subquery(occurred_at)))
        .aggregate(first=Min("effective_at"))
    )
    earliest = min(filter(None, (approved["first"], approved_later["first"])), default=None)
    return earliest and (settings.first_month or month_of(earliest, settings))
