"""Giving and deducting points by hand, one transfer or many in one request (docs/design.md, section 5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Unpack

from ledger.acts.approval import hold_back
from ledger.acts.spendable import NotEnoughPoints, SpendablePoints
from ledger.acts.transfer_requests import TransferDetails, TransferRequest, checked_transfer, differences_from
from ledger.append import Appender, appending
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import Difference, IdConflict, known_transfers_and_events, new_id
from ledger.models import WAITING, Batch, Transfer
from ledger.refusals import Problem, refuse
from ledger.relations import AccountClosed, UnknownRelation, closed_references, known_references
from ledger.statuses import current_statuses


@dataclass(frozen=True)
class RecordedTransfer:
    """A transfer as the ledger has it after a request; ``points`` are exact, instants in UTC.

    ``status`` is the one that it has now. ``was_known`` says that the request was a repetition and added
    nothing.
    """

    transfer_id: str
    relation_reference: str
    currency: str
    style: str
    points: Decimal
    reason: str
    status: str
    occurred_at: datetime
    reverses_transfer_id: str
    batch_id: str
    external_reference: str
    comment: str
    was_known: bool

    @property
    def is_waiting(self) -> bool:
        """Whether another person has yet to approve it."""
        return self.status in WAITING


_COPIED = tuple(field.name for field in fields(RecordedTransfer) if field.name != "was_known")


def give(
    ledger: Ledger,
    relation_reference: str,
    points: Decimal | str,
    *,
    new: bool = False,
    dry_run: bool = False,
    **details: Unpack[TransferDetails],
) -> RecordedTransfer:
    """Give points to a customer; see `record_transfer` for what is refused.

    ``points`` are more than zero, with at most four places. ``details`` are those of `TransferRequest`.
    """
    request = TransferRequest(relation_reference, "give", points, **details)
    return record_transfer(ledger, request, new=new, dry_run=dry_run)


def deduct(
    ledger: Ledger,
    relation_reference: str,
    points: Decimal | str,
    *,
    new: bool = False,
    allow_negative: bool = False,
    dry_run: bool = False,
    **details: Unpack[TransferDetails],
) -> RecordedTransfer:
    """Deduct points from a customer; see `record_transfer` for what is refused.

    ``points`` are more than zero, with at most four places. ``details`` are those of `TransferRequest`.
    """
    request = TransferRequest(relation_reference, "deduct", points, **details)
    return record_transfer(ledger, request, new=new, allow_negative=allow_negative, dry_run=dry_run)


def record_transfer(
    ledger: Ledger,
    request: TransferRequest,
    *,
    new: bool = False,
    allow_negative: bool = False,
    dry_run: bool = False,
) -> RecordedTransfer:
    """Record one transfer that a person asks for.

    ``new`` allows a relation reference that the ledger does not know; ``allow_negative`` a deduct beyond the
    spendable points. Above POINTS_APPROVAL_ABOVE it becomes pending. Raises `ValueRefused`,
    `ReasonNotByHand`, `IdConflict`, `UnknownRelation`, `AccountClosed`, `NotEnoughPoints` or, where
    the request does not say when, `ClockFarOff`.
    """
    transfer = checked_transfer(ledger, request)
    transfer.transfer_id = transfer.transfer_id or new_id("T")
    with appending(ledger, dry_run, says_when=transfer.occurred_at is not None) as appender:
        judged = judge_transfers(appender, [transfer], new=new, allow_negative=allow_negative)
        refuse((Problem(transfer.transfer_id, error) for _, error in judged.problems), part_count=1)
        return append_transfers(appender, judged)[0]


@dataclass
class JudgedTransfers:
    """The transfers of one request, held against the ledger as it is within the transaction.

    ``fresh`` are those to append, ``known`` what the ledger has under the same id and with the same content.
    ``problems`` name the position in ``asked`` of what cannot be recorded.
    """

    asked: Sequence[Transfer]
    fresh: list[Transfer] = field(default_factory=list)
    known: dict[str, Transfer] = field(default_factory=dict)
    problems: list[tuple[int, PointsError]] = field(default_factory=list)


def judge_transfers(
    appender: Appender, asked: Sequence[Transfer], *, new: bool, allow_negative: bool
) -> JudgedTransfers:
    """Check new transfers, whose values are valid, against the ledger; those without a date get the current
    time.

    Every one has its ``transfer_id``. Gives count before deducts, in any order, because the whole request
    takes effect at once: with 0 spendable points, a deduct of 50 and then a give of 80 are accepted.
    """
    judged = JudgedTransfers(asked)
    fresh = _judge_ids(judged)
    references = {transfer.relation_reference for _, transfer in fresh}
    known = references if new else known_references(references)
    closed = closed_references(references)
    allowed = []
    for position, transfer in fresh:
        if transfer.occurred_at is None:
            transfer.occurred_at = appender.recorded_at
        if transfer.relation_reference not in known:
            judged.problems.append((position, UnknownRelation(transfer.relation_reference, may_be_new=True)))
        elif transfer.relation_reference in closed:
            judged.problems.append((position, AccountClosed(transfer.relation_reference)))
        else:
            allowed.append((position, transfer))
    hold_back(appender.ledger, (transfer for _, transfer in allowed))
    if not allow_negative:
        _judge_deducts(judged, allowed, appender.recorded_at)
    judged.fresh = [transfer for _, transfer in allowed]
    judged.problems.sort(key=lambda problem: problem[0])
    return judged


def _judge_ids(judged: JudgedTransfers) -> list[tuple[int, Transfer]]:
    """Separate repetitions and conflicts of ids from new transfers; return the new ones with their
    positions."""
    identifiers = [transfer.transfer_id for transfer in judged.asked]
    first_of_id, events = known_transfers_and_events(identifiers)
    fresh = []
    for position, transfer in enumerate(judged.asked):
        known = first_of_id.setdefault(transfer.transfer_id, transfer)
        if transfer.transfer_id in events:
            differences = [Difference("kind", "an account event", "a transfer")]
        elif known is transfer:
            fresh.append((position, transfer))
            continue
        else:
            differences = differences_from(known, transfer)
        if differences:
            judged.problems.append((position, IdConflict(transfer.transfer_id, differences)))
        else:
            judged.known[transfer.transfer_id] = known
    return fresh


def _judge_deducts(judged: JudgedTransfers, transfers: Iterable[tuple[int, Transfer]], now: datetime) -> None:
    transfers = list(transfers)
    deducts = [(position, transfer) for position, transfer in transfers if transfer.style == "deduct"]
    if not deducts:
        return
    spendable = SpendablePoints({transfer.relation_reference for _, transfer in deducts}, now)
    for _, transfer in transfers:
        if transfer.style == "give" and transfer.status == "approved":
            spendable.give(transfer)
    for position, transfer in deducts:
        try:
            spendable.deduct(transfer, is_waiting=transfer.status in WAITING)
        except NotEnoughPoints as error:
            judged.problems.append((position, error))


def append_transfers(
    appender: Appender, judged: JudgedTransfers, batches: Mapping[str, Batch] | None = None
) -> tuple[RecordedTransfer, ...]:
    """Append what is new, and answer for everything that was asked, in its order.

    Each of ``batches`` goes before the transfer whose id it stands under, and spans the ``added_count``
    transfers from there on, which get its ``batch_id``.
    """
    batch_id, batch_end = "", 0
    for transfer in judged.fresh:
        if batch := (batches or {}).get(transfer.transfer_id):
            batch.last_entry_id = batch_end = appender.next_entry_id + batch.added_count
            batch_id = batch.batch_id
            appender.append(batch)
        if appender.next_entry_id <= batch_end:
            transfer.batch_id = batch_id
        appender.append(transfer)
    return recorded(judged.asked, judged.known)


def recorded(asked: Iterable[Transfer], known: Mapping[str, Transfer]) -> tuple[RecordedTransfer, ...]:
    """How the ledger has each of the transfers that were ``asked`` for; ``known`` are the repeated ones."""
    statuses = current_statuses(known.values())
    answers = []
    for transfer in asked:
        kept = known.get(transfer.transfer_id, transfer)
        values = {name: getattr(kept, name) for name in _COPIED}
        values["status"] = statuses.get(kept.transfer_id, kept.status)
        answers.append(RecordedTransfer(**values, was_known=kept is not transfer))
    return tuple(answers)


def recorded_before(known: Iterable[Transfer]) -> tuple[RecordedTransfer, ...]:
    """How the ledger has each of ``known``, which a repeated request has added before."""
    by_id = {transfer.transfer_id: transfer for transfer in known}
    return recorded((Transfer(transfer_id=transfer_id) for transfer_id in by_id), by_id)
