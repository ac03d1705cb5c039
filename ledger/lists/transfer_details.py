"""One transfer whole: its history, its notes, the other half of a move, what it revokes and what revokes it,
to any depth."""

from dataclasses import dataclass, fields
from datetime import datetime

from django.db.models import QuerySet

from ledger.acts.pairs import other_halves
from ledger.database import Ledger
from ledger.identifiers import known_transfers
from ledger.lists.transfer_lists import ListedTransfer, read_transfers, selected_transfers
from ledger.models import Comment, Entry, StatusChange
from ledger.unrevoked import RevocationTrees


@dataclass(frozen=True)
class StatusEvent:
    """A status that a transfer got, by which entry, from when on and from whom."""

    entry_id: int
    status: str
    changed_at: datetime
    recorded_at: datetime
    recorded_by: str
    comment: str


@dataclass(frozen=True)
class Note:
    """A comment that was added to a transfer later."""

    entry_id: int
    text: str
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True)
class Revocation:
    """A transfer that undoes another; ``depth`` is 1 where that is the one looked at, 2 where it is one of
    its revocations, and so on."""

    depth: int
    transfer: ListedTransfer


@dataclass(frozen=True)
class TransferDetails:
    """A transfer and everything that belongs to it.

    ``statuses`` begin with its first. ``other_half`` is the transfer beside it in a move between accounts, or
    in the revocation of one. ``revokes`` are the transfers that it undoes, the nearest first;
    ``missing_original`` is what the last of them points to and the ledger does not have, ``is_circular`` says
    that they lead back to one of them, as files can make them. ``revoked_by`` lists each revocation before
    its own.
    """

    transfer: ListedTransfer
    statuses: list[StatusEvent]
    notes: list[Note]
    other_half: ListedTransfer | None
    revokes: list[ListedTransfer]
    missing_original: str
    is_circular: bool
    revoked_by: list[Revocation]


def read_transfer(ledger: Ledger, transfer_id: str) -> TransferDetails:
    """The transfer of that id; raise `UnknownTransfer`."""
    (transfer,) = selected_transfers([transfer_id])
    known = known_transfers([transfer_id])
    trees = RevocationTrees(known.values(), upwards=True)
    chain = trees.chain(transfer_id)
    beyond = trees.original_of(chain[-1])
    revocations = list(trees.descendants(transfer_id))
    other_ids = [half.transfer_id for half in other_halves(known.values()).values()]
    related = [*other_ids, *chain[1:], *(revocation for _, revocation in revocations)]
    found = {other.transfer_id: other for other in read_transfers(dict.fromkeys(related))}
    return TransferDetails(
        transfer=transfer,
        statuses=_statuses(transfer),
        notes=[Note(*note) for note in _entries_of(transfer_id, Comment, Note)],
        other_half=found[other_ids[0]] if other_ids else None,
        revokes=[found[original] for original in chain[1:]],
        missing_original="" if beyond in chain else beyond,
        is_circular=beyond in chain,
        revoked_by=[Revocation(depth, found[revocation]) for depth, revocation in revocations],
    )


def _statuses(transfer: ListedTransfer) -> list[StatusEvent]:
    first = StatusEvent(
        transfer.entry_id,
        transfer.first_status,
        transfer.occurred_at,
        transfer.recorded_at,
        transfer.recorded_by,
        "",
    )
    changes = _entries_of(transfer.transfer_id, StatusChange, StatusEvent)
    return [first, *(StatusEvent(*change) for change in changes)]


def _entries_of(transfer_id: str, model: type[Entry], shown: type) -> QuerySet:
    """What a dataclass shows of a transfer's entries of one kind, in their order."""
    rows = model.objects.filter(transfer_id=transfer_id).order_by("entry_id")
    return rows.values_list(*(field.name for field in fields(shown)))
