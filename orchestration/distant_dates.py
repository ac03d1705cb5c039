"""What it means that transfers are dated far from now: perhaps another date was typed than was meant."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ledger.acts.transfers import RecordedTransfer
from ledger.closes import read_history
from ledger.settings import Settings
from orchestration.report_calendar import ends_at, month_of, next_month

_FAR = timedelta(days=366)


def find_distant_dates(
    settings: Settings, transfers: Iterable[RecordedTransfer], now: datetime | None = None
) -> list[str]:
    """A sentence on those dated in closed months, those of over a year ago, and those of over a year ahead.

    ``transfers`` were recorded at ``now``, by default this moment, in the ledger that is open.
    """
    now = now or datetime.now(UTC)
    last_closed = read_history().last_month
    closed_until = ends_at(last_closed, settings) if last_closed else datetime.min.replace(tzinfo=UTC)
    late, old, ahead = [], [], []
    for transfer in transfers:
        if transfer.occurred_at < closed_until:
            late.append(transfer)
        elif transfer.occurred_at < now - _FAR:
            old.append(transfer)
        elif transfer.occurred_at > now + _FAR:
            ahead.append(transfer)
    sentences = []
    if late:
        is_closed = f"which is closed: counted late, in {next_month(last_closed)}, the first open month"
        sentences.append(_sentence(settings, late, is_closed))
    if old:
        sentences.append(_sentence(settings, old, "more than a year ago"))
    if ahead:
        sentences.append(_sentence(settings, ahead, "more than a year ahead: in no balance until then"))
    return sentences


def _sentence(settings: Settings, transfers: list[RecordedTransfer], meaning: str) -> str:
    first = transfers[0]
    day = settings.zone.local(first.occurred_at).date()
    more = f" So are {len(transfers) - 1:,} more." if len(transfers) > 1 else ""
    month = month_of(first.occurred_at, settings)
    return f"{first.transfer_id} is dated {day}, in {month}, {meaning}.{more}"
