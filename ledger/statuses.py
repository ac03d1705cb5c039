"""What a transfer's status is now: its first one, or the last that an entry gave it."""

from collections.abc import Iterable

from ledger.models import WAITING, StatusChange, Transfer

_IDS_PER_QUERY = 500


def current_statuses(transfers: Iterable[Transfer]) -> dict[str, str]:
    """The status that each of ``transfers`` has now, by ``transfer_id``."""
    statuses = {transfer.transfer_id: transfer.status for transfer in transfers}
    waiting = [transfer_id for transfer_id, status in statuses.items() if status in WAITING]
    for start in range(0, len(waiting), _IDS_PER_QUERY):
        changes = StatusChange.objects.filter(transfer_id__in=waiting[start : start + _IDS_PER_QUERY])
        for transfer_id, status in changes.order_by("entry_id").values_list("transfer_id", "status"):
            statuses[transfer_id] = status
    return statuses
