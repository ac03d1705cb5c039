"""One transfer whole: its history, its notes, what it revokes and what revokes it, to any depth."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from ledger.database import Ledger
from ledger.lists.transfer_lists import ListedTransfer, read_transfers, selected_transfers
from ledger.models import Comment, StatusChange

# Only a revocation undoes what it points to. Where files made a circle, `union` ends it: each transfer comes
# once.
_REVOKED = """
    with recursive originals (transfer_id, reverses_transfer_id) as (
        select transfer_id, case when reason = 'revocation' then reverses_transfer_id else '' end
        from transfers
        where transfer_id = %s
        union
        select t.transfer_id, case when t.reason = 'revocation' then t.reverses_transfer_id else '' end
        from originals as o
        inner join transfers as t on t.transfer_id = o.reverses_transfer_id
    )
    select transfer_id, reverses_transfer_id from originals
"""
_REVOKING = """
    with recursive revocations (transfer_id, reverses_transfer_id) as (
        select transfer_id, reverses_transfer_id from transfers where transfer_id = %s
        union
        select t.transfer_id, t.reverses_transfer_id
        from revocations as r
        inner join transfers as t on t.reverses_transfer_id = r.transfer_id
        where not (t.reverses_transfer_id = '') and t.reason = 'revocation'
    )
    select transfer_id, reverses_transfer_id from revocations
"""


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

    ``statuses`` begin with its first. ``revokes`` are the transfers that it undoes, the nearest first;
    ``missing_original`` is what the last of them points to and the ledger does not have, ``is_circular`` says
    that they lead back to one of them, as files can make them. ``revoked_by`` lists each revocation before
    its own.
    """

    transfer: ListedTransfer
    statuses: list[StatusEvent]
    notes: list[Note]
    revokes: list[ListedTransfer]
    missing_original: str
    is_circular: bool
    revoked_by: list[Revocation]


def read_transfer(ledger: Ledger, transfer_id: str) -> TransferDetails:
    """The transfer of that id; raise `UnknownTransfer`."""
    (transfer,) = selected_transfers([transfer_id])
    originals, missing, is_circular = _originals(transfer_id)
    revocations = _revocations(transfer_id)
    related = [*originals, *(revocation for _, revocation in revocations)]
    found = {other.transfer_id: other for other in read_transfers(dict.fromkeys(related))}
    return TransferDetails(
        transfer=transfer,
        statuses=_statuses(transfer),
        notes=[
            Note(note.entry_id, note.text, note.recorded_at, note.recorded_by)
            for note in Comment.objects.filter(transfer_id=transfer_id).order_by("entry_id")
        ],
        revokes=[found[original] for original in originals],
        missing_original=missing,
        is_circular=is_circular,
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
    changes = StatusChange.objects.filter(transfer_id=transfer.transfer_id).order_by("entry_id")
    return [
        first,
        *(
            StatusEvent(
                change.entry_id,
                change.status,
                change.changed_at,
                change.recorded_at,
                change.recorded_by,
                change.comment,
            )
            for change in changes
        ),
    ]


def _originals(transfer_id: str) -> tuple[list[str], str, bool]:
    """What a transfer undoes, the nearest first; the id of one that is missing; whether there is a circle."""
    original_of = _links(_REVOKED, transfer_id)
    walked = {transfer_id: None}
    current = transfer_id
    while current := original_of[current]:
        if current not in original_of:
            return list(walked)[1:], current, False
        if current in walked:
            return list(walked)[1:], "", True
        walked[current] = None
    return list(walked)[1:], "", False


def _revocations(transfer_id: str) -> list[tuple[int, str]]:
    """What undoes a transfer, with the depth, each before its own revocations."""
    revocations_of: dict[str, list[str]] = {}
    for revocation, original in _links(_REVOKING, transfer_id).items():
        if revocation != transfer_id:
            revocations_of.setdefault(original, []).append(revocation)
    found: list[tuple[int, str]] = []
    waiting = [(1, revocation) for revocation in reversed(revocations_of.get(transfer_id, []))]
    while waiting:
        depth, revocation = waiting.pop()
        found.append((depth, revocation))
        waiting += [(depth + 1, below) for below in reversed(revocations_of.get(revocation, []))]
    return found


def _links(query: str, transfer_id: str) -> dict[str, str]:
    """What each of the transfers found points to, empty for nothing."""
    with connection.cursor() as cursor:
        cursor.execute(query, [transfer_id])
        return dict(cursor.fetchall())
