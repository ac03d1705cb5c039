"""Deciding on what waits: approve, hold, release, cancel (docs/design.md, section 5; docs/cases.md, C6
and C11).

Waiting are pending transfers, transfers on hold, and requests to open or close an account.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.acts.accounts import AccountOutcome, approve_request, decline_request
from ledger.acts.approval import check_approver
from ledger.acts.pairs import asked_parts
from ledger.acts.spendable import SpendablePoints
from ledger.acts.transfer_requests import checked_note
from ledger.append import Appender, appending
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import UnknownTransfer, known_events, known_transfers, new_id
from ledger.models import WAITING, AccountEvent, StatusChange, Transfer
from ledger.refusals import Problem, refuse
from ledger.relations import AccountClosed, closed_references
from ledger.statuses import current_statuses
from ledger.unrevoked import RevocationTrees


class StatusTransitionRefused(PointsError):
    """Only what is pending or on hold can be decided on; approved and cancelled are final
    (docs/cases.md, C6)."""

    code = "STATUS_TRANSITION"

    def __init__(self, transfer_id: str, status: str, wanted: str) -> None:
        remedy = (
            f"undo it with `points revoke {transfer_id}`"
            if status == "approved"
            else "record what is meant as a new transfer"
        )
        super().__init__(f"{transfer_id} is {status}, which is final, and cannot become {wanted}; {remedy}.")


class RequestCannotBeHeld(PointsError):
    """An account's opening or closing is approved or declined, nothing between."""

    code = "STATUS_TRANSITION"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"{request_id} asks for an account to be opened or closed and cannot be put on hold; approve or"
            " cancel it."
        )


@dataclass(frozen=True)
class Decision:
    """The result for one id: its current ``status``, and whether it already had that status.

    ``account`` is there where the id is an account's request and not a transfer's.
    """

    identifier: str
    status: str
    was_known: bool
    account: AccountOutcome | None = None


def approve(
    ledger: Ledger,
    identifiers: Sequence[str],
    *,
    comment: str = "",
    allow_negative: bool = False,
    cancel_pending: bool = False,
    dry_run: bool = False,
) -> tuple[Decision, ...]:
    """Approve what another person entered; all or none. Approving an approved transfer changes nothing. Of a
    move, as with every decision, either id stands for both transfers, and both are in the answer.

    Gives count before deducts: with 0 spendable points, approving a deduct of 50 and a give of 80 together
    succeeds. ``allow_negative`` lets a deduct exceed the spendable points, ``cancel_pending`` cancels the
    waiting transfers of an account that is closed. Raises `UnknownTransfer`,
    `StatusTransitionRefused`, `ApprovalByItsAuthor`, `AccountClosed`, `RevokedBeyondOriginal`,
    `NotEnoughPoints`, `RequestSettled`, `AccountInUse`; or `SeveralRefused` with every problem.
    """
    return _decide(ledger, identifiers, "approved", comment, dry_run, allow_negative, cancel_pending)


def hold(
    ledger: Ledger, identifiers: Sequence[str], *, comment: str = "", dry_run: bool = False
) -> tuple[Decision, ...]:
    """Put pending transfers on hold; all or none. Raises `UnknownTransfer`, `StatusTransitionRefused`,
    `RequestCannotBeHeld`; or `SeveralRefused`."""
    return _decide(ledger, identifiers, "on_hold", comment, dry_run)


def release(
    ledger: Ledger, identifiers: Sequence[str], *, comment: str = "", dry_run: bool = False
) -> tuple[Decision, ...]:
    """Make held transfers pending again; all or none. Raises what `hold` raises."""
    return _decide(ledger, identifiers, "pending", comment, dry_run)


def cancel(
    ledger: Ledger, identifiers: Sequence[str], *, comment: str = "", dry_run: bool = False
) -> tuple[Decision, ...]:
    """Cancel what waits, for good; all or none. Raises `UnknownTransfer`, `StatusTransitionRefused`,
    `RequestSettled`; or `SeveralRefused`."""
    return _decide(ledger, identifiers, "cancelled", comment, dry_run)


def _decide(
    ledger: Ledger,
    identifiers: Sequence[str],
    wanted: str,
    comment: str,
    dry_run: bool,
    allow_negative: bool = False,
    cancel_pending: bool = False,
) -> tuple[Decision, ...]:
    checked_note("comment", comment)
    with appending(ledger, dry_run) as appender:
        # Both transfers of a move are decided on together, by either id.
        parts = asked_parts(identifiers, known_transfers(identifiers))
        transfers = {transfer.transfer_id: transfer for part in parts.values() for transfer in part}
        requests = {
            identifier: event
            for identifier, event in known_events(set(parts) - set(transfers)).items()
            if event.event.endswith("_requested")
        }
        decisions: dict[str, Decision] = {}
        problems: dict[str, PointsError] = {}

        def attempt(identifier: str, act: Callable[[], Decision]) -> None:
            # What is appended before a problem shows up goes with the transaction.
            try:
                decisions[identifier] = act()
            except PointsError as error:
                problems[identifier] = error

        moves = _TransferMoves(appender, list(transfers.values()), wanted, comment, allow_negative)
        for transfer in moves.in_order:
            attempt(transfer.transfer_id, lambda transfer=transfer: moves.move(transfer))
        for identifier, request in requests.items():
            attempt(
                identifier,
                lambda request=request: _decide_request(appender, request, wanted, comment, cancel_pending),
            )
        for identifier in parts:
            if identifier not in transfers and identifier not in requests:
                problems[identifier] = UnknownTransfer(identifier)
        ids_of = {
            identifier: [transfer.transfer_id for transfer in part] or [identifier]
            for identifier, part in parts.items()
        }
        # What is wrong with a move is said once.
        first = {
            identifier: next((problems[each] for each in ids if each in problems), None)
            for identifier, ids in ids_of.items()
        }
        refuse([Problem(identifier, error) for identifier, error in first.items() if error], len(parts))
        return tuple(decisions[each] for ids in ids_of.values() for each in ids)


class _TransferMoves:
    """Moves transfers of one request to the status that is wanted."""

    def __init__(
        self,
        appender: Appender,
        transfers: list[Transfer],
        wanted: str,
        comment: str,
        allow_negative: bool,
    ) -> None:
        self._appender = appender
        self._wanted = wanted
        self._comment = comment
        self._statuses = current_statuses(transfers)
        self._closed: set[str] = set()
        self._spendable: SpendablePoints | None = None
        self._trees = RevocationTrees(())
        if wanted == "approved":
            revocations = [transfer for transfer in transfers if transfer.revokes_transfer_id]
            self._trees = RevocationTrees(revocations, upwards=True)
            references = {transfer.relation_reference for transfer in transfers}
            self._closed = closed_references(references)
            if not allow_negative:
                self._spendable = SpendablePoints(references, appender.recorded_at)
        self.in_order = sorted(transfers, key=lambda transfer: transfer.style != "give")

    def move(self, transfer: Transfer) -> Decision:
        """Append one change of status, or nothing where the transfer has it already."""
        status = self._statuses[transfer.transfer_id]
        if status == self._wanted:
            return Decision(transfer.transfer_id, status, was_known=True)
        if status not in WAITING:
            raise StatusTransitionRefused(transfer.transfer_id, status, self._wanted)
        if self._wanted == "approved":
            self._check_approval(transfer)
        self._appender.append(
            StatusChange(
                transfer_id=transfer.transfer_id,
                status=self._wanted,
                changed_at=self._appender.recorded_at,
                comment=self._comment,
            )
        )
        if self._wanted == "approved" and transfer.reason == "account_closure":
            self._close_account(transfer)
        return Decision(transfer.transfer_id, self._wanted, was_known=False)

    def _close_account(self, closure: Transfer) -> None:
        """Record that an account closure from a file has taken effect, as its import would have done."""
        event_id = f"close-of-{closure.transfer_id}"
        self._appender.append(
            AccountEvent(
                # The event that opened or closed an account may already have that id.
                event_id=new_id("A") if known_events([event_id]) else event_id,
                relation_reference=closure.relation_reference,
                event="close",
                occurred_at=max(closure.occurred_at, self._appender.recorded_at),
                comment=self._comment,
            )
        )

    def _check_approval(self, transfer: Transfer) -> None:
        check_approver(self._appender.ledger, transfer, transfer.transfer_id)
        if transfer.relation_reference in self._closed:
            raise AccountClosed(transfer.relation_reference)
        if transfer.revokes_transfer_id:
            self._trees.check_approval(transfer)
        if self._spendable is None:
            return
        if transfer.style == "give":
            self._spendable.give(transfer)
        else:
            self._spendable.approve(transfer)


def _decide_request(
    appender: Appender, request: AccountEvent, wanted: str, comment: str, cancel_pending: bool
) -> Decision:
    if wanted == "approved":
        outcome = approve_request(appender, request, comment, cancel_pending)
    elif wanted == "cancelled":
        outcome = decline_request(appender, request, comment)
    else:
        raise RequestCannotBeHeld(request.event_id)
    return Decision(request.event_id, wanted, outcome.was_known, outcome)
