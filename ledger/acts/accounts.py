"""Opening and closing customers' accounts (docs/design.md, section 5)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ledger.acts.approval import check_approver, exceeds_limit
from ledger.acts.pairs import other_halves
from ledger.acts.transfer_requests import checked_note
from ledger.acts.transfers import RecordedTransfer, recorded, recorded_before
from ledger.amounts import points_text, summed
from ledger.append import Appender, appending
from ledger.balances import Balance, balances_of
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import (
    Difference,
    IdConflict,
    check_unused_by_transfers,
    given_or_new_id,
    known_events,
    new_id,
)
from ledger.models import WAITING, AccountEvent, Batch, StatusChange, Transfer
from ledger.relations import UnknownRelation, account_history, closed_references, known_references
from ledger.rules import check_identifier
from ledger.statuses import current_statuses
from ledger.transfers_ahead import TransferAhead, transfers_ahead

# The most that one transfer can hold; a larger balance is closed by several.
_LARGEST_POINTS = Decimal("99999999999999.9999")
_NAMED_IN_SENTENCE = 5


class AccountInUse(PointsError):
    """An account cannot be closed while it has a transfer that is pending, on hold, or dated in the future
    and not revoked (docs/cases.md, R26)."""

    code = "ACCOUNT_IN_USE"

    def __init__(
        self, relation_reference: str, waiting: list[str], later: list[str], may_cancel: bool = True
    ) -> None:
        parts, remedies = [], []
        if waiting:
            parts.append(f"pending or on hold: {_named(waiting)}")
            remedies.append("decide on what waits" + (", or say --cancel-pending" if may_cancel else ""))
        if later:
            parts.append(f"dated in the future: {_named(later)}")
            remedies.append("revoke what is dated in the future")
        super().__init__(
            f"The account of {relation_reference} cannot be closed because of transfers"
            f" {', and '.join(parts)}; {', and '.join(remedies)}."
        )
        self.waiting_transfer_ids = tuple(waiting)
        self.later_transfer_ids = tuple(later)

    @property
    def transfer_ids(self) -> tuple[str, ...]:
        """Every transfer that is in the way."""
        return self.waiting_transfer_ids + self.later_transfer_ids


class AccountNotEmptied(PointsError):
    """An account is to be closed with the move that empties it, but something of it is left."""

    code = "NOT_EMPTIED"

    def __init__(self, relation_reference: str, points_by_currency: dict[str, Decimal]) -> None:
        left = ", ".join(f"{points_text(points)} {code}" for code, points in points_by_currency.items())
        super().__init__(
            f"The account of {relation_reference} would still have {left}, so it cannot be closed with the"
            " move; move that too, or close the account afterwards with"
            f" `points account close {relation_reference}`, which lets it expire."
        )


class RequestSettled(PointsError):
    """The request to open or close an account was already decided, or no longer applies."""

    code = "STATUS_TRANSITION"

    def __init__(self, request_id: str, finding: str, remedy: str) -> None:
        super().__init__(f"The request {request_id} {finding}; {remedy}.")


@dataclass(frozen=True)
class AccountOutcome:
    """The result of opening or closing an account.

    ``event_id`` is the event that made it so; of a request that waits, the id which another person approves.
    ``event`` is ``open``, ``close``, ``open_requested``, ``close_requested`` or ``declined``; it is the last
    one where there was nothing to do, and empty where the account is open without one. ``transfers`` brought
    it to zero, ``cancelled`` names those that waited.
    """

    relation_reference: str
    event_id: str
    event: str
    was_known: bool = False
    transfers: tuple[RecordedTransfer, ...] = ()
    cancelled: tuple[str, ...] = ()

    @property
    def is_waiting(self) -> bool:
        """Whether another person has yet to approve it."""
        return self.event in ("open_requested", "close_requested")


def open_account(
    ledger: Ledger,
    relation_reference: str,
    *,
    event_id: str = "",
    comment: str = "",
    dry_run: bool = False,
) -> AccountOutcome:
    """Make an account known, or open a closed one again; of an open one, there is nothing to do.

    Where POINTS_APPROVAL_ABOVE is set, opening a closed account waits for another person. Raises
    `ValueRefused` and `IdConflict`.
    """
    event_id, is_given = _checked(relation_reference, event_id, comment)
    with appending(ledger, dry_run) as appender:
        if is_given and (known := repeated_event(event_id, relation_reference, "open")):
            return known
        is_closed = bool(closed_references([relation_reference]))
        if not is_closed and known_references([relation_reference]):
            return _nothing_to_do(relation_reference)
        request = _waiting_request(relation_reference, "open_requested")
        if is_closed and ledger.settings.approval_above is not None:
            if request:
                return _outcome(request, was_known=True)
            event = "open_requested"
        else:
            event = "open"
        return _outcome(_append_event(appender, event_id, relation_reference, event, comment, request))


def close_account(
    ledger: Ledger,
    relation_reference: str,
    *,
    cancel_pending: bool = False,
    event_id: str = "",
    comment: str = "",
    dry_run: bool = False,
) -> AccountOutcome:
    """Bring every currency of an account to zero and close it; of a closed one, there is nothing to do.

    ``cancel_pending`` cancels what waits. What takes or gives more than POINTS_APPROVAL_ABOVE waits for
    another person; nothing else is recorded then. Raises `ValueRefused`, `IdConflict`, `UnknownRelation` and
    `AccountInUse`.
    """
    event_id, is_given = _checked(relation_reference, event_id, comment)
    with appending(ledger, dry_run) as appender:
        if is_given and (known := repeated_event(event_id, relation_reference, "close")):
            return known
        if not known_references([relation_reference]):
            raise UnknownRelation(relation_reference)
        if closed_references([relation_reference]):
            return _nothing_to_do(relation_reference)
        waiting = _check_not_in_use(relation_reference, appender.recorded_at, cancel_pending)
        request = _waiting_request(relation_reference, "close_requested")
        amounts = (
            (found.currency, abs(found.approved_points)) for found in _balances(appender, relation_reference)
        )
        if exceeds_limit(ledger, amounts):
            if request:
                return _outcome(request, was_known=True)
            return _outcome(_append_event(appender, event_id, relation_reference, "close_requested", comment))
        return _carry_out_closing(appender, relation_reference, event_id, comment, waiting, request)


def close_emptied_account(
    appender: Appender, relation_reference: str, event_id: str, comment: str
) -> AccountOutcome:
    """Close an account from which all points were moved in this transaction.

    What `close_account` would refuse is refused, and that anything is left. Raises `IdConflict`,
    `AccountInUse` and `AccountNotEmptied`.
    """
    check_unused_by_transfers(event_id)
    waiting = _check_not_in_use(relation_reference, appender.recorded_at)
    balances = _balances(appender, relation_reference)
    left = {found.currency: found.approved_points for found in balances if found.approved_points}
    if left:
        raise AccountNotEmptied(relation_reference, left)
    request = _waiting_request(relation_reference, "close_requested")
    return _carry_out_closing(appender, relation_reference, event_id, comment, waiting, request)


def approve_request(
    appender: Appender, request: AccountEvent, comment: str, cancel_pending: bool
) -> AccountOutcome:
    """Carry out, as of now, the opening or closing that another person asked for.

    Raises `ApprovalByItsAuthor`, `RequestSettled` and `AccountInUse`.
    """
    relation_reference = request.relation_reference
    settling = settlement(request)
    event = request.event.removesuffix("_requested")
    if settling and settling.event == event:
        return _outcome(settling, was_known=True)
    if settling:
        raise RequestSettled(request.event_id, "was declined", "ask for it again")
    check_approver(appender.ledger, request, request.event_id)
    is_closed = bool(closed_references([relation_reference]))
    if is_closed == (event == "close"):
        state = "closed" if is_closed else "open"
        raise RequestSettled(
            request.event_id,
            f"comes too late, since the account of {relation_reference} is {state}",
            f"decline it with `points cancel {request.event_id}`",
        )
    if event == "open":
        return _outcome(_append_event(appender, new_id("A"), relation_reference, "open", comment, request))
    waiting = _check_not_in_use(relation_reference, appender.recorded_at, cancel_pending)
    return _carry_out_closing(appender, relation_reference, new_id("A"), comment, waiting, request)


def decline_request(appender: Appender, request: AccountEvent, comment: str) -> AccountOutcome:
    """Decline the request to open or close the account. Raises `RequestSettled`."""
    settling = settlement(request)
    if settling and settling.event == "declined":
        return _outcome(settling, was_known=True)
    if settling:
        remedy = "what it did is undone by opening or closing the account"
        raise RequestSettled(request.event_id, "was approved", remedy)
    reference = request.relation_reference
    return _outcome(_append_event(appender, new_id("A"), reference, "declined", comment, request))


def settlement(request: AccountEvent) -> AccountEvent | None:
    """The event that approved or declined a request; None while it waits."""
    of_relation = AccountEvent.objects.filter(relation_reference=request.relation_reference)
    return of_relation.filter(request_id=request.event_id).order_by("-entry_id").first()


def _checked(relation_reference: str, event_id: str, comment: str) -> tuple[str, bool]:
    check_identifier("RELATION_REFERENCE", "relation_reference", relation_reference)
    checked_note("comment", comment)
    return given_or_new_id(event_id, "A"), bool(event_id)


def repeated_event(event_id: str, relation_reference: str, act: str) -> AccountOutcome | None:
    """What the same request did before; None where the id is new. Raises `IdConflict`."""
    known = known_events([event_id]).get(event_id)
    if known is None:
        check_unused_by_transfers(event_id)
        return None
    differences = []
    if known.relation_reference != relation_reference:
        differences.append(Difference("relation_reference", known.relation_reference, relation_reference))
    if known.event not in (act, f"{act}_requested"):
        differences.append(Difference("event", known.event, act))
    if differences:
        raise IdConflict(event_id, differences)
    now = (settlement(known) or known) if known.event.endswith("_requested") else known
    closing = Transfer.objects.filter(
        relation_reference=relation_reference,
        reason="account_closure",
        transfer_id__startswith=f"{now.event_id}-",
    ).order_by("entry_id")
    return _outcome(now, was_known=True, transfers=recorded_before(closing))


def _nothing_to_do(relation_reference: str) -> AccountOutcome:
    last = (
        AccountEvent.objects.filter(relation_reference=relation_reference, event__in=["open", "close"])
        .order_by("-occurred_at", "-entry_id")
        .first()
    )
    return _outcome(last, was_known=True) if last else AccountOutcome(relation_reference, "", "", True)


def _outcome(
    event: AccountEvent,
    was_known: bool = False,
    transfers: tuple[RecordedTransfer, ...] = (),
    cancelled: tuple[str, ...] = (),
) -> AccountOutcome:
    return AccountOutcome(
        event.relation_reference, event.event_id, event.event, was_known, transfers, cancelled
    )


def _waiting_request(relation_reference: str, event: str) -> AccountEvent | None:
    """The undecided request of that kind."""
    of_relation = AccountEvent.objects.filter(relation_reference=relation_reference)
    settled = of_relation.exclude(request_id="").values("request_id")
    return of_relation.filter(event=event).exclude(event_id__in=settled).order_by("entry_id").first()


def _balances(appender: Appender, relation_reference: str) -> list[Balance]:
    balances = balances_of([relation_reference], appender.recorded_at)
    return [balances[key] for key in sorted(balances)]


def _check_not_in_use(
    relation_reference: str, now: datetime, cancel_pending: bool | None = None
) -> list[str]:
    """The waiting transfers, which are to be cancelled, and the other halves of those that are of a move.

    Raises `AccountInUse` where a transfer prevents the closure. ``cancel_pending`` is None where it may not
    be said.
    """
    candidates = Transfer.objects.filter(relation_reference=relation_reference, status__in=WAITING)
    by_id = {transfer.transfer_id: transfer for transfer in candidates.order_by("entry_id")}
    statuses = current_statuses(by_id.values())
    waiting = [transfer_id for transfer_id, status in statuses.items() if status in WAITING]
    later = _unrevoked_ahead(relation_reference, now)
    if later or (waiting and not cancel_pending):
        may_cancel = cancel_pending is not None
        raise AccountInUse(relation_reference, [] if cancel_pending else waiting, later, may_cancel)
    halves = other_halves(by_id[transfer_id] for transfer_id in waiting)
    return list(dict.fromkeys([*waiting, *(half.transfer_id for half in halves.values())]))


def _unrevoked_ahead(relation_reference: str, now: datetime) -> list[str]:
    """The transfers ahead that will still change the balance, because they are not fully revoked by transfers
    with effect at the same instant. A give of 100 for 1 May and its full revocation for 1 May leave none."""
    ahead = transfers_ahead([relation_reference], now)

    def taking_effect_together(found: TransferAhead) -> tuple[str, str, datetime]:
        return found.transfer.currency, found.first.transfer_id, found.effective_at

    sums = summed((taking_effect_together(found), found.signed_points) for found in ahead)
    return [found.transfer.transfer_id for found in ahead if sums[taking_effect_together(found)]]


def _carry_out_closing(
    appender: Appender,
    relation_reference: str,
    event_id: str,
    comment: str,
    waiting: list[str],
    request: AccountEvent | None,
) -> AccountOutcome:
    for transfer_id in waiting:
        appender.append(
            StatusChange(transfer_id=transfer_id, status="cancelled", changed_at=appender.recorded_at)
        )
    balances = _balances(appender, relation_reference)
    closing = list(_closing_transfers(relation_reference, event_id, balances, appender.recorded_at))
    batch_id = event_id if len(closing) > 1 else ""
    for transfer in closing:
        check_identifier("ID", "id", transfer.transfer_id)
        transfer.batch_id = batch_id
    if batch_id:
        appender.append(
            Batch(
                batch_id=batch_id,
                origin="account_closure",
                # Itself, its transfers, and the event that closes the account.
                last_entry_id=appender.next_entry_id + len(closing) + 1,
                row_count=len(closing),
                added_count=len(closing),
            )
        )
    for transfer in closing:
        appender.append(transfer)
    event = _append_event(appender, event_id, relation_reference, "close", comment, request, batch_id)
    return _outcome(event, transfers=recorded(closing, {}), cancelled=tuple(waiting))


def _closing_transfers(
    relation_reference: str, event_id: str, balances: list[Balance], now: datetime
) -> Iterator[Transfer]:
    for balance in balances:
        remaining = abs(balance.approved_points)
        part = 1
        while remaining:
            points = min(remaining, _LARGEST_POINTS)
            yield Transfer(
                transfer_id=f"{event_id}-{balance.currency}{f'-{part}' if part > 1 else ''}",
                relation_reference=relation_reference,
                currency=balance.currency,
                style="deduct" if balance.approved_points > 0 else "give",
                points=points,
                reason="account_closure",
                status="approved",
                occurred_at=now,
            )
            remaining -= points
            part += 1


def _append_event(
    appender: Appender,
    event_id: str,
    relation_reference: str,
    event: str,
    comment: str,
    request: AccountEvent | None = None,
    batch_id: str = "",
) -> AccountEvent:
    # Another machine's clock, or a file, may have dated an earlier event later than now.
    known = account_history([relation_reference]).get(relation_reference, [])
    occurred_at = max([appender.recorded_at, *(instant for instant, _, _ in known)])
    return appender.append(
        AccountEvent(
            event_id=event_id,
            relation_reference=relation_reference,
            event=event,
            occurred_at=occurred_at,
            request_id=request.event_id if request else "",
            batch_id=batch_id,
            comment=comment,
        )
    )


def _named(transfer_ids: list[str]) -> str:
    named = ", ".join(transfer_ids[:_NAMED_IN_SENTENCE])
    more = len(transfer_ids) - _NAMED_IN_SENTENCE
    return f"{named} and {more:,} more" if more > 0 else named
