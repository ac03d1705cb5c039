"""Which months a close takes: ended, in order, without gaps (docs/design.md, section 6; docs/cases.md, C2
and C3)."""

from datetime import UTC, datetime
from pathlib import Path

from ledger.closes import CloseHistory
from ledger.cut import segment_files
from ledger.data_files import connect, read_parquet
from ledger.errors import PointsError
from ledger.settings import Settings
from orchestration.report_calendar import ends_at, month_of, months_between, next_month


class MonthNotEnded(PointsError):
    """A month is to be closed before it has ended."""

    code = "MONTH_NOT_ENDED"

    def __init__(self, month: str, ends: datetime) -> None:
        super().__init__(
            f"{month} has not ended: it does so at {ends:%Y-%m-%d %H:%M} UTC, and can be closed from then on."
        )


class EarlierMonthOpen(PointsError):
    """A month is to be closed while an earlier one is open."""

    code = "EARLIER_MONTH_OPEN"

    def __init__(self, month: str, open_month: str) -> None:
        super().__init__(
            f"{month} cannot be closed while {open_month} is open; close that one first, or all of them with"
            f" `points close --through {month}`."
        )


class MonthBeforeFirst(PointsError):
    """A month is named that lies before the programme's first."""

    code = "MONTH_BEFORE_FIRST"

    def __init__(self, month: str, first_month: str) -> None:
        super().__init__(
            f"{month} lies before {first_month}, the programme's first month; there is nothing to close in"
            f" it."
        )


class FirstMonthTooEarly(PointsError):
    """The first month that was asked for lies before anything happened."""

    code = "FIRST_MONTH"

    def __init__(self, month: str, earliest: str) -> None:
        super().__init__(
            f"The first month cannot be {month}: the earliest transfer takes effect in {earliest}; name that"
            " month or a later one, or leave --first-month out."
        )


def first_open_month(history: CloseHistory, first_month: str) -> str:
    """The month that the next close begins with; ``first_month`` is the programme's first."""
    return next_month(history.last_month) if history.last_month else first_month


def choose_months(
    history: CloseHistory,
    settings: Settings,
    first_month: str,
    now: datetime,
    month: str | None = None,
    through: str | None = None,
) -> list[str]:
    """The months to close, in order: ``month`` alone, or every open one up to ``through``, or the next.

    Empty where there is nothing to do: what was named is closed, or nothing was named and the next open month
    has not ended. Raises `MonthNotEnded`, `EarlierMonthOpen` or `MonthBeforeFirst`.
    """
    named = month or through
    begin = first_open_month(history, first_month)
    if named is None:
        return [begin] if ends_at(begin, settings) <= now else []
    if named < first_month:
        raise MonthBeforeFirst(named, first_month)
    if named < begin:
        return []
    if month and month != begin:
        raise EarlierMonthOpen(month, begin)
    months = months_between(begin, named)
    for wanted in months:
        if ends_at(wanted, settings) > now:
            raise MonthNotEnded(wanted, ends_at(wanted, settings))
    return months


def earliest_month(cut: Path, settings: Settings) -> str | None:
    """The month of the earliest effective transfer of a cut; None where nothing is effective yet."""
    transfers, changes = (read_parquet(segment_files(cut, part)) for part in ("transfers", "status_changes"))
    with connect() as connection:
        (earliest,) = connection.execute(
            f"""
            select least(
                (select min(occurred_at) from {transfers} where status = 'approved'),
                (
                    select min(greatest(transfers.occurred_at, changes.changed_at))
                    from {transfers} as transfers
                    inner join {changes} as changes using (transfer_id)
                    where transfers.status <> 'approved' and changes.status = 'approved'
                )
            )
            """
        ).fetchone()
    # The cut's instants are in UTC, and say no zone.
    return month_of(earliest.replace(tzinfo=UTC), settings) if earliest else None
