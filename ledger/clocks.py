"""Compares the machine's clock with the ledger's entries (docs/cases.md, X28 and S18).

``recorded_at`` comes from the clock of some machine, which may be wrong. A small error is recorded as it is,
with a warning. A large one is refused before anything is recorded, because no entry can be removed: a
transfer recorded in 2199 would stand in every build.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection

from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.fields import from_microseconds
from ledger.models import ENTRY_MODELS, Close, SignOff

# Longer than a programme's quiet time between two entries; shorter than the error of a clock with an empty
# battery (1970, 2000) or a mistyped decade.
FAR = timedelta(days=400)
# Of the instants that transfers may have.
_YEARS = range(1990, 2200)
# What a wrong clock has closed must not make it right: months are closed by schedule, unattended.
_SAYING_WHAT_TIME_IT_IS = tuple(model for model in ENTRY_MODELS if model not in (Close, SignOff))
# In microseconds; no row where there is none.
NEWEST_RECORDED_AT = "select recorded_at from ({}) as newest order by entry_id desc limit 1".format(
    " union all ".join(
        f"select entry_id, recorded_at from (select entry_id, recorded_at from {model._meta.db_table}"
        " order by entry_id desc limit 1) as newest"
        for model in _SAYING_WHAT_TIME_IT_IS
    )
)

_log = logging.getLogger(__name__)


class ClockFarOff(PointsError):
    """The machine's clock is so far from the newest entry's that one of the two must be wrong."""

    code = "CLOCK"

    def __init__(self, now: datetime, newest: datetime | None) -> None:
        compared = (
            f"more than {FAR.days} days {'after' if now > newest else 'before'} the newest entry, which was"
            f" recorded at {_shown(newest)}"
            if newest
            else "of no year that a transfer may have"
        )
        super().__init__(
            f"It is {_shown(now)} by this machine's clock, {compared}, so nothing was recorded: set the"
            f" clock; or, where it is right, say so once with POINTS_CLOCK_CONFIRMED={now:%Y-%m-%d} in the"
            " environment, or say of a transfer when it happened with --occurred-at."
        )


@dataclass(frozen=True)
class Setbacks:
    """Entries that were recorded by a clock below that of the entry before: how many, and the first."""

    count: int
    first_entry_id: int | None


def newest_recorded_at() -> datetime | None:
    """When the newest entry was recorded, as it says; None where there is none but closes and signatures."""
    with connection.cursor() as cursor:
        cursor.execute(f"select ({NEWEST_RECORDED_AT})")
        (found,) = cursor.fetchone()
    return None if found is None else from_microseconds(found)


def is_far_off(ledger: Ledger, now: datetime, newest: datetime | None) -> bool:
    """Whether ``now`` is far from the ``newest`` entry's time, and its date has not been confirmed."""
    if newest is None:
        return now.year not in _YEARS
    return abs(now - newest) > FAR and now.date() != ledger.settings.clock_confirmed


def warn_of_setback(now: datetime, newest: datetime | None) -> None:
    """Warn if ``now``, when an entry was recorded, is earlier than the entry before it."""
    if newest and now < newest:
        _log.warning(
            "It is %s by this machine's clock, but the entry before was recorded at %s: what was recorded now"
            " is dated earlier; set the clock of this machine, or of the one that recorded that.",
            _shown(now),
            _shown(newest),
        )


def months_end_by(ledger: Ledger, now: datetime | None = None) -> datetime:
    """The instant that decides which months have ended: ``now``, by default the ledger's clock; but the time
    of the newest entry where the clock is far ahead of it. With the newest entry of May 2026, a clock in 2036
    closes nothing after April 2026."""
    now, newest = now or ledger.clock(), newest_recorded_at()
    if newest and now > newest and is_far_off(ledger, now, newest):
        _log.warning("%s Which months have ended is judged by that entry.", ClockFarOff(now, newest))
        return newest
    return now


def find_setbacks() -> Setbacks:
    """Every entry of the connected ledger whose clock lay below that of the entry before."""
    entries = " union all ".join(
        f"select entry_id, recorded_at from {model._meta.db_table}" for model in ENTRY_MODELS
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*), min(entry_id) from (select entry_id,"
            " recorded_at < lag(recorded_at) over (order by entry_id) as is_setback"
            f" from ({entries}) as entries) as compared where is_setback"
        )
        return Setbacks(*cursor.fetchone())


def _shown(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
