"""Undoing approved transfers by opposite ones (docs/design.md, section 5; docs/cases.md, C5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ledger.acts.pairs import REVOCATION, asked_parts, pair_batch, pair_ids
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfer_requests import checked_note, differences_from
from ledger.acts.transfers import RecordedTransfer, append_transfers, judge_transfers
from ledger.amounts import points_text
from ledger.append import appending
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import IdConflict, UnknownTransfer, given_or_new_id, known_batch, known_transfers
from ledger.models import Batch, Transfer
from ledger.refusals import Problem, refuse
from ledger.rules import check_identifier, parse_points
from ledger.statuses import Standing, current_standings
from ledger.unrevoked import RevocationTrees

_OPPOSITE = {"give": "deduct", "deduct": "give"}


class RevocationOfUnapproved(PointsError):
    """Only what is approved counts, so only that can be revoked."""

    code = "NOT_APPROVED"

    def __init__(self, transfer_id: str, status: str) -> None:
        remedy = (
            "there is nothing to revoke"
            if status == "cancelled"
            else f"cancel it instead, with `points cancel {transfer_id}`"
        )
        super().__init__(f"{transfer_id} is {status} and counts in no balance; {remedy}.")


class TransferAlreadyRevoked(PointsError):
    """The transfer is already revoked in full."""

    code = "REVOKED"

    def __init__(self, transfer_id: str) -> None:
        super().__init__(
            f"{transfer_id} is already revoked, and nothing of it is left; to bring it back, revoke its"
            " revocation."
        )


class RevocationTooLarge(PointsError):
    """The revocation exceeds the unrevoked points of the transfer."""

    code = "REVOKED"

    def __init__(self, transfer_id: str, points: Decimal, unrevoked_points: Decimal) -> None:
        super().__init__(
            f"Of {transfer_id} {points_text(unrevoked_points)} points are left, so {points_text(points)}"
            f" cannot be revoked; revoke at most what is left, with {_partly(transfer_id, unrevoked_points)}."
        )


class UndoneTwice(PointsError):
    """Revoking this transfer would revoke an earlier one of its chain again, beyond its unrevoked points
    (docs/cases.md, C13)."""

    code = "REVOKED"

    def __init__(self, transfer_id: str, undone_transfer_id: str, unrevoked_points: Decimal) -> None:
        left = (
            f"{points_text(unrevoked_points)} points are left" if unrevoked_points > 0 else "nothing is left"
        )
        remedy = "there is nothing to take back any more"
        if unrevoked_points > 0:
            remedy = f"revoke at most these, with {_partly(transfer_id, unrevoked_points)}"
        super().__init__(
            f"{transfer_id} cannot be revoked, because that would undo {undone_transfer_id} again, of which"
            f" {left}; {remedy}."
        )


class RevokedPointsSpent(NotEnoughPoints):
    """What is to be revoked was spent, wholly or in part."""

    def __init__(
        self,
        transfer_id: str,
        relation_reference: str,
        currency: str,
        points: Decimal,
        spendable_points: Decimal,
    ) -> None:
        partly = f"revoke these alone, with {_partly(transfer_id, spendable_points)}, or "
        remedy = f"{partly if spendable_points > 0 else ''}say --allow-negative"
        super().__init__(relation_reference, currency, points, spendable_points, remedy)


class RevocationAmbiguous(PointsError):
    """One number of points was given for the revocation of several transfers, other than the two of a
    move."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"Points can be said for one transfer, but {count} were named; revoke them one after the other."
        )


def _partly(transfer_id: str, points: Decimal) -> str:
    return f"`points revoke {transfer_id} --points {points_text(points)}`"


def revoke(
    ledger: Ledger,
    transfer_ids: Sequence[str],
    points: Decimal | str | None = None,
    *,
    revocation_id: str = "",
    comment: str = "",
    allow_negative: bool = False,
    dry_run: bool = False,
) -> tuple[RecordedTransfer, ...]:
    """Undo approved transfers, all of what is left of each or ``points`` of a single one; all or none.

    Returns the revocations. Both transfers of a move are revoked together, by either id and in a batch of
    their own; so is the revocation of a move. ``revocation_id`` makes the request repeatable: it is the
    revocation's id, or, where several transfers are revoked, what their ids begin with. Raises
    `RevocationAmbiguous`, `ValueRefused`, `UnknownTransfer`, `RevocationOfUnapproved`,
    `TransferAlreadyRevoked`, `RevocationTooLarge`, `UndoneTwice`, `IdConflict`, `AccountClosed`,
    `RevokedPointsSpent`; or `SeveralRefused`.
    """
    asked_points = None if points is None else parse_points(points)
    checked_note("comment", comment)
    with appending(ledger, dry_run) as appender:
        undoings = _undoings(transfer_ids, revocation_id)
        if points is not None and len(undoings) > 1:
            raise RevocationAmbiguous(len(undoings))
        originals = [original for undoing in undoings for original in undoing.originals]
        standings = current_standings(originals)
        already = known_transfers(identifier for undoing in undoings for identifier in undoing.revocation_ids)
        trees = RevocationTrees(originals, upwards=True)
        problems: dict[str, PointsError] = {}
        asked: list[Transfer] = []
        batches: dict[str, Batch] = {}
        undoing_of: dict[str, str] = {}
        for undoing in undoings:
            try:
                revocations = _revocations_of_one(undoing, asked_points, comment, already, trees, standings)
                if undoing.is_pair and known_batch(undoing.revocation_id, REVOCATION) is None:
                    batches[undoing.revocation_ids[0]] = pair_batch(undoing.revocation_id, REVOCATION)
            except PointsError as error:
                problems[undoing.transfer_id] = error
                continue
            for revocation in revocations:
                undoing_of[revocation.transfer_id] = undoing.transfer_id
                asked.append(revocation)
                if revocation.transfer_id in already:
                    continue
                effective_at = standings[revocation.reverses_transfer_id].effective_at
                if effective_at > appender.recorded_at:
                    # Both take effect together, so that nothing is to be spent in between
                    # (docs/cases.md, R26).
                    revocation.occurred_at = effective_at
                # Whether it will wait shows when all are known; what is left is as of before the request.
                trees.add(
                    revocation.transfer_id, revocation.reverses_transfer_id, revocation.points, "pending"
                )
        fresh = [revocation for revocation in asked if revocation.transfer_id not in already]
        judged = judge_transfers(appender, fresh, new=True, allow_negative=allow_negative)
        for position, error in judged.problems:
            # What is wrong with a move is said once.
            if isinstance(error, NotEnoughPoints):
                error = RevokedPointsSpent(
                    fresh[position].reverses_transfer_id,
                    *(error.relation_reference, error.currency, error.points, error.spendable_points),
                )
            problems.setdefault(undoing_of[fresh[position].transfer_id], error)
        refuse(
            [
                Problem(undoing.transfer_id, problems[undoing.transfer_id])
                for undoing in undoings
                if undoing.transfer_id in problems
            ],
            len(undoings),
        )
        judged.asked, judged.known = asked, already
        return append_transfers(appender, judged, batches)


@dataclass(frozen=True)
class _Undoing:
    """What one asked ``transfer_id`` is to have undone: a transfer, both transfers of a move with the give
    first, or nothing where it is unknown. ``revocation_id`` is the new transfer's, or the new batch's."""

    transfer_id: str
    originals: tuple[Transfer, ...]
    revocation_id: str

    @property
    def is_pair(self) -> bool:
        return len(self.originals) == 2

    @property
    def revocation_ids(self) -> tuple[str, ...]:
        """Of a pair the deduct's first, which revokes the give."""
        return pair_ids(self.revocation_id) if self.is_pair else (self.revocation_id,)


def _undoings(transfer_ids: Sequence[str], given_id: str) -> list[_Undoing]:
    """What is asked to be undone, each transfer once, with the ids that the revocations get."""
    parts = asked_parts(transfer_ids, known_transfers(transfer_ids))
    return [
        _Undoing(
            transfer_id,
            tuple(sorted(originals, key=lambda transfer: transfer.style, reverse=True)),
            check_identifier("ID", "id", f"{given_id}-{position}")
            if given_id and len(parts) > 1
            else given_or_new_id(given_id, "M" if len(originals) == 2 else "T"),
        )
        for position, (transfer_id, originals) in enumerate(parts.items(), 1)
    ]


def _revocations_of_one(
    undoing: _Undoing,
    asked_points: Decimal | None,
    comment: str,
    already: dict[str, Transfer],
    trees: RevocationTrees,
    standings: dict[str, Standing],
) -> list[Transfer]:
    """The revocation, or the two, that are asked for; of a repetition they are not to be recorded."""
    if not undoing.originals:
        raise UnknownTransfer(undoing.transfer_id)
    revocations = [
        _revocation_of(original, identifier, asked_points, comment)
        for original, identifier in zip(undoing.originals, undoing.revocation_ids, strict=True)
    ]
    known = [revocation for revocation in revocations if revocation.transfer_id in already]
    for revocation in known:
        _check_repetition(already[revocation.transfer_id], revocation, asked_points)
    if known:
        return revocations
    # As many points of both, also where a file has revoked more of one of them.
    unrevoked, least = min(
        (trees.unrevoked(original.transfer_id), original.transfer_id) for original in undoing.originals
    )
    points = _points_to_revoke(least, standings[least].status, unrevoked, asked_points)
    for original, revocation in zip(undoing.originals, revocations, strict=True):
        revocation.points = points
        revocation.batch_id = undoing.revocation_id if undoing.is_pair else ""
        for undone_id in trees.undone_again(original.transfer_id):
            if points > (left := trees.unrevoked(undone_id)):
                raise UndoneTwice(original.transfer_id, undone_id, left)
    return revocations


def _revocation_of(original: Transfer, revocation_id: str, points: Decimal | None, comment: str) -> Transfer:
    return Transfer(
        transfer_id=revocation_id,
        relation_reference=original.relation_reference,
        currency=original.currency,
        style=_OPPOSITE[original.style],
        points=points,
        reason="revocation",
        status="approved",
        occurred_at=None,
        reverses_transfer_id=original.transfer_id,
        comment=comment,
    )


def _check_repetition(known: Transfer, asked: Transfer, points: Decimal | None) -> None:
    """Raise `IdConflict` where ``known`` is not what the same request would have made. A request without
    points revokes what was left at the time, so then any points agree."""
    if points is None:
        asked.points = known.points
    if differences := differences_from(known, asked):
        raise IdConflict(known.transfer_id, differences)


def _points_to_revoke(transfer_id: str, status: str, unrevoked: Decimal, points: Decimal | None) -> Decimal:
    if status != "approved":
        raise RevocationOfUnapproved(transfer_id, status)
    if unrevoked <= 0:
        raise TransferAlreadyRevoked(transfer_id)
    if points is not None and points > unrevoked:
        raise RevocationTooLarge(transfer_id, points, unrevoked)
    return unrevoked if points is None else points
