"""The two transfers of a move between accounts, which stand and fall together (docs/design.md, section 5).

A pair is a deduct and, as the very next entry of the same batch, a give of as many points: of the reason
`transfer_between_accounts` or, where it revokes such a pair, of the reason `revocation` in a batch of its
own. So each half is found from the other by the entry beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from ledger.chunks import found_by
from ledger.models import Batch, Transfer

MOVE_REASON = "transfer_between_accounts"
# The origins of batches: a move, and the revocation of one. A mass may hold moves too.
MOVE = "move"
REVOCATION = "revocation"


class Placed(NamedTuple):
    """What of a transfer says whether it is half of a pair."""

    transfer_id: str
    reason: str
    batch_id: str


_Found = TypeVar("_Found", Transfer, Placed)


def pair_ids(pair_id: str) -> tuple[str, str]:
    """The ids of a pair's deduct and of its give."""
    return f"{pair_id}-1", f"{pair_id}-2"


def pair_batch(pair_id: str, origin: str) -> Batch:
    """The entry that a pair begins with, where it has a batch of its own."""
    return Batch(batch_id=pair_id, origin=origin, row_count=2, added_count=2)


def is_give_of_pair(transfer: Transfer) -> bool:
    """Whether a transfer of a request is the second half of a pair, whose points the first half has counted.

    Of revocations only those of a pair have a batch there.
    """
    is_paired = transfer.reason == MOVE_REASON or (transfer.reason == "revocation" and transfer.batch_id)
    return bool(is_paired) and transfer.style == "give"


def other_halves(transfers: Iterable[Transfer]) -> dict[str, Transfer]:
    """The other half of each of the ledger's ``transfers`` that is one of a pair, by its ``transfer_id``."""
    halves = {
        (transfer.entry_id + (1 if transfer.style == "deduct" else -1), transfer.batch_id): transfer
        for transfer in _halves(list(transfers))
    }
    found: dict[str, Transfer] = {}
    entry_ids = (entry_id for entry_id, _ in halves)
    for other in found_by(Transfer.objects.all(), "entry_id", entry_ids):
        if half := halves.get((other.entry_id, other.batch_id)):
            found[half.transfer_id] = other
    return found


def asked_parts(transfer_ids: Iterable[str], known: Mapping[str, Transfer]) -> dict[str, list[Transfer]]:
    """By each of the ids what it stands for: its transfer among ``known``, with the other half of a pair, or
    nothing. A pair stands under the first of its two ids."""
    halves = other_halves(known.values())
    parts: dict[str, list[Transfer]] = {}
    for transfer_id in dict.fromkeys(transfer_ids):
        half = halves.get(transfer_id)
        if half is None:
            parts[transfer_id] = [known[transfer_id]] if transfer_id in known else []
        elif half.transfer_id not in parts:
            parts[transfer_id] = [known[transfer_id], half]
    return parts


def half_ids(transfers: Iterable[Placed]) -> set[str]:
    """The ids of those of the ledger's ``transfers`` that are half of a pair."""
    return {transfer.transfer_id for transfer in _halves(list(transfers))}


def _halves(transfers: Sequence[_Found]) -> list[_Found]:
    batch_ids = {transfer.batch_id for transfer in transfers if transfer.reason == "revocation"} - {""}
    # Files may hold revocations too, and an import is a batch.
    batches = found_by(Batch.objects.filter(origin=REVOCATION), "batch_id", batch_ids)
    revoking = {batch.batch_id for batch in batches}
    return [
        transfer
        for transfer in transfers
        if transfer.reason == MOVE_REASON
        or (transfer.reason == "revocation" and transfer.batch_id in revoking)
    ]
