"""What a transfer's status is now: its first one, or the last that an entry gave it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ledger.models import WAITING, StatusChange, Transfer

_IDS_PER_QUERY = 500


@dataclass(frozen=True)
class Standing:
    """The status that a transfer has now.

    ``entry_id`` is the entry that gave it. ``effective_at`` is when an approved transfer takes or took
    effect, the later of occurrence and approval (docs/design.md, section 6); None for any other.
    """

    status: str
    entry_id: int
    effective_at: datetime | None


def current_standings(transfers: Iterable[Transfer]) -> dict[str, Standing]:
    """How each of ``transfers`` stands now, by ``transfer_id``."""
    by_id = {transfer.transfer_id: transfer for transfer in transfers}
    standings = {
        transfer_id: Standing(
            transfer.status,
            transfer.entry_id,
            transfer.occurred_at if transfer.status == "approved" else None,
        )
        for transfer_id, transfer in by_id.items()
    }
    waiting = [transfer_id for transfer_id, standing in standings.items() if standing.status in WAITING]
    for start in range(0, len(waiting), _IDS_PER_QUERY):
        changes = StatusChange.objects.filter(transfer_id__in=waiting[start : start + _IDS_PER_QUERY])
        for change in changes.order_by("entry_id"):
            occurred_at = by_id[change.transfer_id].occurred_at
            standings[change.transfer_id] = Standing(
                change.status,
                change.entry_id,
                max(occurred_at, change.changed_at) if change.status == "approved" else None,
            )
    return standings


def current_statuses(transfers: Iterable[Transfer]) -> dict[str, str]:
    """The status that each of ``transfers`` has now, by ``transfer_id``."""
    return {transfer_id: standing.status for transfer_id, standing in current_standings(transfers).items()}
