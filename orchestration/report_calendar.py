"""The programme's calendar, as the audit and the close need it before or beside a build.

The month rule that posts transfers stands in ``dbt_project/macros/report_month.sql`` and nowhere else. This
is the audit's own, worked out from the same changes of the zone's offset in another way, independent on
purpose (docs/design.md, sections 4 and 6); it also says whether a month has ended, before anything is built.
Report months are text, ``YYYY-MM``.
"""

from datetime import UTC, date, datetime, time, timedelta

from ledger.settings import Settings

# No zone is further from UTC.
_AROUND_MIDNIGHT = timedelta(hours=26)


def month_of(instant: datetime, settings: Settings) -> str:
    """The report month of ``instant``, an aware datetime.

    Local date minus (start day - 1) days: with start day 16 in Berlin, 2026-05-15 22:00 UTC is 16 May, 00:00,
    and 16 May - 15 days = 1 May, so it belongs to 2026-05; one second earlier belongs to 2026-04.
    """
    local_date = settings.zone.local(instant).date()
    return f"{local_date - timedelta(days=settings.month_start_day - 1):%Y-%m}"


def period_days(month: str, settings: Settings) -> tuple[date, date]:
    """The first and the last day of a report month: with start day 16, 2026-05 is 16 May to 15 June 2026."""
    first = _first_date(month, settings)
    return first, _first_date(next_month(month), settings) - timedelta(days=1)


def ends_at(month: str, settings: Settings) -> datetime:
    """The instant, in UTC, at which the next period starts: the month's exclusive end.

    Midnight in the programme's zone; where local time skips midnight, by the offset before the gap, and where
    it shows midnight twice, the first time. 2026-05 in Berlin ends at 2026-05-31 22:00 UTC.
    """
    return _starts_at(next_month(month), settings)


def month_changes(first: str, last: str, settings: Settings) -> list[tuple[datetime, str]]:
    """The instants, in UTC and in order, from which on `month_of` returns another month, ``first`` to
    ``last``.

    Each month has one, except where clocks were set back across the midnight between two, as in St. John's on
    1 November 2009: at 00:01 clocks went back to 31 October, 23:01, so October returns for 59 minutes.
    """
    changes: list[tuple[datetime, str]] = []
    current = previous_month(first)
    for month in months_between(first, last):
        for instant in _instants_of_change(month, settings):
            if month_of(instant, settings) != current:
                current = month_of(instant, settings)
                changes.append((instant, current))
    return changes


def month_number(month: str) -> int:
    """A report month as a number; that of the month after it is one more."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def month_text(number: int) -> str:
    """The report month with a number of `month_number`."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def next_month(month: str) -> str:
    """The month after ``month``."""
    return month_text(month_number(month) + 1)


def previous_month(month: str) -> str:
    """The month before ``month``."""
    return month_text(month_number(month) - 1)


def months_between(first: str, last: str) -> list[str]:
    """All months from ``first`` to ``last``, both included; none where ``last`` is earlier."""
    return [month_text(number) for number in range(month_number(first), month_number(last) + 1)]


def _first_date(month: str, settings: Settings) -> date:
    return date(int(month[:4]), int(month[5:]), settings.month_start_day)


def _starts_at(month: str, settings: Settings) -> datetime:
    return settings.zone.to_utc(datetime.combine(_first_date(month, settings), time()))


def _instants_of_change(month: str, settings: Settings) -> list[datetime]:
    """Every instant at which the month may begin: its midnight by each offset that holds around it, and the
    changes of the offset themselves."""
    zone = settings.zone
    midnight = datetime.combine(_first_date(month, settings), time(), UTC)
    before = midnight - _AROUND_MIDNIGHT
    changes = zone.changes_between(before, midnight + _AROUND_MIDNIGHT)
    return sorted({*changes, *(midnight - zone.offset_at(instant) for instant in (before, *changes))})
