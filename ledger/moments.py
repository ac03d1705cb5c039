"""The two dates of a balance: by which day what it adds up had taken effect, and by which day the ledger had
recorded it.

In October 100 are given; on 3 November a file brings a deduct of 30 that occurred on 30 October. As of 31
October there were 70; as was known that day, 100. A deduct of 20 that occurred and was recorded on 5 November
is in neither, and reserves nothing in them.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection

from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.fields import to_microseconds
from ledger.links import ledger_head
from ledger.models import ENTRY_MODELS, Transfer
from ledger.rules import ValueRefused, parse_instant

_MICROSECOND = timedelta(microseconds=1)


class DateInvalid(PointsError):
    """There is no such date, or none that a transfer may have."""

    code = "DATE"

    def __init__(self, option: str, text: str) -> None:
        super().__init__(
            f"{option} is {text!r}, but must be a date that there is, like 2026-10-31, of the years 1990 to"
            " 2199."
        )


class DateInFuture(PointsError):
    """The date has not begun in the programme's zone."""

    code = "DATE_IN_FUTURE"

    def __init__(self, option: str, text: str, today: date) -> None:
        super().__init__(
            f"{option} is {text}, but in the programme's zone it is {today} now; take a date up to that."
        )


class DateBeforeFirst(PointsError):
    """Nothing was there yet on that date: no entry had been recorded, or no transfer had occurred."""

    code = "DATE_BEFORE_FIRST"

    def __init__(self, option: str, text: str, finding: str) -> None:
        super().__init__(f"{option} is {text}, but {finding} by the end of that day; take a later date.")


@dataclass(frozen=True)
class Moment:
    """Of when balances are: of what had occurred or been recorded by ``now``, as the ledger stood at
    ``upto_entry_id``; None is as it stands, and everything in it."""

    now: datetime
    upto_entry_id: int | None = None


def moment_of(ledger: Ledger, as_of: str, known_at: str) -> Moment:
    """The moment of balances ``as_of`` the end of a day, as they were ``known_at`` the end of one; days of
    the programme's zone as text, empty where one is not asked.

    Without ``known_at`` it is the ledger's newest entry. Without ``as_of`` what had taken effect by the end
    of the day of ``known_at`` counts. A day that has not ended ends now. Raises `DateInvalid`, `DateInFuture`
    and `DateBeforeFirst`.
    """
    now = ledger.clock()
    ends = {
        option: _end_of(ledger, option, text, now)
        for option, text in (("--as-of", as_of), ("--known-at", known_at))
        if text
    }
    if known_at:
        entry_id = _newest_recorded_by(ends["--known-at"])
        if not entry_id:
            raise DateBeforeFirst("--known-at", known_at, "the ledger had no entry")
    else:
        entry_id = ledger_head().entry_id
    end = min(now, ends["--as-of" if as_of else "--known-at"])
    occurred = Transfer.objects.upto(entry_id).filter(occurred_at__lte=end)
    if as_of and not occurred.exists():
        raise DateBeforeFirst("--as-of", as_of, "none of the transfers known had occurred")
    return Moment(end, entry_id)


def _end_of(ledger: Ledger, option: str, text: str, now: datetime) -> datetime:
    """The last microsecond of a day."""
    zone = ledger.settings.zone
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        parse_instant("", f"{text}T00:00:00", zone)  # its years are those of a transfer
        day = datetime.fromisoformat(text)
    except (ValueError, ValueRefused):
        raise DateInvalid(option, text) from None
    today = zone.local(now).date()
    if day.date() > today:
        raise DateInFuture(option, text, today)
    return zone.to_utc(day + timedelta(days=1)) - _MICROSECOND


def _newest_recorded_by(instant: datetime) -> int:
    """The highest entry that was recorded by then, 0 for none. A clock may have been set back, so this is
    looked for from the newest entry down, in each table no further than to what another has."""
    found = 0
    with connection.cursor() as cursor:
        # The transfers, being most, last.
        for model in reversed(ENTRY_MODELS):
            cursor.execute(
                f"select entry_id from {model._meta.db_table} where entry_id > %s and recorded_at <= %s"
                " order by entry_id desc limit 1",
                [found, to_microseconds(instant)],
            )
            if row := cursor.fetchone():
                found = row[0]
    return found
