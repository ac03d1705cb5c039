"""Moving points from one account to another (docs/design.md, section 5)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Unpack

from ledger.acts.accounts import AccountOutcome, close_emptied_account, repeated_event
from ledger.acts.pairs import MOVE, pair_batch, pair_ids
from ledger.acts.transfer_requests import TransferDetails, TransferRequest, checked_move
from ledger.acts.transfers import JudgedTransfers, RecordedTransfer, append_transfers, judge_transfers
from ledger.amounts import points_text
from ledger.append import Appender, appending
from ledger.balances import balances_of
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import Difference, IdConflict, given_or_new_id, known_batch, known_transfers
from ledger.models import Transfer
from ledger.refusals import Problem, refuse
from ledger.relations import UnknownRelation, known_references
from ledger.rules import parse_points


class NothingToMove(PointsError):
    """All spendable points are to be moved, and there are none."""

    code = "NOTHING_TO_MOVE"

    def __init__(self, relation_reference: str, currency: str, spendable_points: Decimal) -> None:
        super().__init__(
            f"{relation_reference} has {points_text(spendable_points)} {currency} to spend, so there is"
            " nothing to move; look at it with `points balances`, or say another --currency."
        )


class ClosingWaitsForMove(PointsError):
    """An account is to be closed in the same step as a move that waits for another person."""

    code = "ACCOUNT_IN_USE"

    def __init__(self, relation_reference: str) -> None:
        super().__init__(
            f"The move would wait for another person's approval, so the account of {relation_reference}"
            " cannot be closed in the same step; move without --close, and close the account once the move"
            " is approved."
        )


@dataclass(frozen=True)
class MoveOutcome:
    """A move as the ledger has it after a request.

    ``move_id`` is the batch's too; ``account`` is there where the emptied account is closed with it.
    """

    move_id: str
    deducted: RecordedTransfer
    given: RecordedTransfer
    account: AccountOutcome | None = None

    @property
    def was_known(self) -> bool:
        """Whether the request was a repetition and added nothing."""
        return self.deducted.was_known


def move_points(
    ledger: Ledger,
    from_relation: str,
    to_relation: str,
    points: Decimal | str | None = None,
    *,
    new: bool = False,
    close: bool = False,
    allow_negative: bool = False,
    dry_run: bool = False,
    **details: Unpack[TransferDetails],
) -> MoveOutcome:
    """Move ``points``, or all that may be spent, of one currency from one account to another.

    The two transfers are ``<id>-1``, the deduct, and ``<id>-2``, the give; ``details`` are those of
    `TransferRequest`, but for the reason, and ``transfer_id`` is the id of the move. ``new`` allows that the
    ledger does not know ``to_relation``; ``close`` closes the account that the move empties. Above
    POINTS_APPROVAL_ABOVE both wait. Raises `ValueRefused`, `MoveToItself`, `IdConflict`, `UnknownRelation`,
    `AccountClosed`, `NothingToMove` and `NotEnoughPoints`; where it is to be closed also
    `ClosingWaitsForMove`, `AccountInUse` and `AccountNotEmptied`.
    """
    move_id = given_or_new_id(details.get("transfer_id", ""), "M")
    request = TransferRequest(
        from_relation,
        "",
        points,
        to_relation_reference=to_relation,
        **{**details, "transfer_id": move_id},
    )
    deduct, give = checked_move(ledger, request)
    with appending(ledger, dry_run, says_when=deduct.occurred_at is not None) as appender:
        known = known_transfers(pair_ids(move_id)).get(deduct.transfer_id)
        if known is None and not known_references([from_relation]):
            # Not even with ``new``: an account without any points has none to give.
            raise UnknownRelation(from_relation)
        if deduct.points is None:
            # Of a repetition any points agree: it moves what was there at the time.
            moved = known.points if known else _all_points(appender, deduct)
            deduct.points = give.points = moved
        judged = judge_transfers(appender, [deduct, give], new=new, allow_negative=allow_negative)
        refuse((Problem(move_id, error) for _, error in judged.problems), part_count=1)
        _check_move_id(move_id, judged)
        answers = append_transfers(appender, judged, {deduct.transfer_id: pair_batch(move_id, MOVE)})
        account = _close(appender, move_id, answers[0], deduct.comment) if close else None
        return MoveOutcome(move_id, *answers, account)


def _all_points(appender: Appender, deduct: Transfer) -> Decimal:
    key = (deduct.relation_reference, deduct.currency)
    found = balances_of([deduct.relation_reference], appender.recorded_at).get(key)
    spendable = found.spendable_points if found else Decimal(0)
    if spendable <= 0:
        raise NothingToMove(*key, spendable)
    return parse_points(spendable)


def _check_move_id(move_id: str, judged: JudgedTransfers) -> None:
    if known_batch(move_id, MOVE) and judged.fresh:
        raise IdConflict(move_id, [Difference("the move", "of other transfers", "new")])


def _close(appender: Appender, move_id: str, deducted: RecordedTransfer, comment: str) -> AccountOutcome:
    event_id, reference = f"{move_id}-close", deducted.relation_reference
    if deducted.was_known:
        if closed := repeated_event(event_id, reference, "close"):
            return closed
        raise IdConflict(move_id, [Difference("closing the account", "no", "yes")])
    if deducted.is_waiting:
        raise ClosingWaitsForMove(reference)
    return close_emptied_account(appender, reference, event_id, comment)
