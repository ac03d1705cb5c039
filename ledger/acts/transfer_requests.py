"""A person's request to give or deduct points, and its validation (docs/design.md, section 5).

The command line and the console pass on what was typed; it is validated here, once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from ledger.acts.pairs import MOVE_REASON, pair_ids
from ledger.amounts import points_text
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import Difference, differences_of
from ledger.models import STYLES, Transfer
from ledger.rules import (
    ValueRefused,
    check_currency,
    check_identifier,
    check_text,
    parse_instant,
    parse_points,
    reasons,
)

DEFAULT_REASON = "admin_adjustment"
# The statuses that a request may have; recording a transfer as cancelled would serve no purpose.
_FIRST_STATUSES = ("approved", "pending", "on_hold")


class ReasonNotByHand(PointsError):
    """The reason exists, but people may not choose it."""

    code = "REASON"

    def __init__(self, reason: str, style: str, allowed: tuple[str, ...]) -> None:
        other_way = ", or move them with `points move`" if reason == MOVE_REASON else ""
        super().__init__(
            f"REASON: {reason} is not a reason that people may choose to {style} points; choose one of"
            f" {', '.join(allowed)}{other_way}."
        )


class MoveToItself(PointsError):
    """Points are to be moved from an account to the same one."""

    code = "SAME_ACCOUNT"

    def __init__(self, relation_reference: str) -> None:
        super().__init__(
            f"The points of {relation_reference} are to be moved to the same account, which would change"
            " nothing; name another one."
        )


class TransferDetails(TypedDict, total=False):
    """The optional values of a transfer, besides its customer, style and points; see `TransferRequest`."""

    reason: str
    currency: str
    status: str
    occurred_at: datetime | str | None
    transfer_id: str
    external_reference: str
    comment: str


@dataclass(frozen=True)
class TransferRequest:
    """One requested transfer, not validated yet.

    Empty text means not given: ``currency`` is then the programme's default, ``transfer_id`` is generated.
    An ``occurred_at`` without an offset is local time in POINTS_TIME_ZONE; None is now. With a
    ``to_relation_reference`` it is a move, which has neither style nor reason of its own; its ``transfer_id``
    is what the ids of the two begin with, and ``points`` may be None for all that there are.
    """

    relation_reference: str
    style: str
    points: Decimal | str | None
    reason: str = ""
    currency: str = ""
    status: str = ""
    occurred_at: datetime | str | None = None
    transfer_id: str = ""
    external_reference: str = ""
    comment: str = ""
    to_relation_reference: str = ""


def checked_transfer(ledger: Ledger, request: TransferRequest) -> Transfer:
    """The transfer that is asked for, not recorded yet.

    Values that are not given, and are only known when it is recorded, stay open: ``transfer_id`` is empty,
    ``occurred_at`` None. Raises `ValueRefused` or `ReasonNotByHand` for the first value that breaks a rule.
    """
    return _checked(ledger, request, _checked_style(request), _checked_reason)


def checked_move(ledger: Ledger, request: TransferRequest) -> tuple[Transfer, Transfer]:
    """The deduct and the give of the move that is asked for, not recorded yet.

    The request has a ``transfer_id``; ``points`` stay open where it has none. Raises `ValueRefused` or
    `MoveToItself`.
    """
    if request.style:
        raise ValueRefused("STYLE", "style", request.style, "empty where points are moved")
    deduct = _checked(ledger, request, "deduct", _checked_move_reason)
    to_reference = check_identifier(
        "RELATION_REFERENCE", "to_relation_reference", request.to_relation_reference
    )
    if to_reference == deduct.relation_reference:
        raise MoveToItself(to_reference)
    give = _checked(ledger, replace(request, relation_reference=to_reference), "give", _checked_move_reason)
    for half, its_id in zip((deduct, give), pair_ids(request.transfer_id), strict=True):
        half.transfer_id = check_identifier("TRANSFER_ID", "transfer_id", its_id)
    return deduct, give


def _checked(
    ledger: Ledger, request: TransferRequest, style: str, checked_reason: Callable[[str, str], str]
) -> Transfer:
    if request.transfer_id:
        check_identifier("TRANSFER_ID", "transfer_id", request.transfer_id)
    check_identifier("RELATION_REFERENCE", "relation_reference", request.relation_reference)
    currency = check_currency(request.currency or ledger.settings.default_currency)
    points = None if request.points is None else parse_points(request.points)
    status = request.status or "approved"
    if status not in _FIRST_STATUSES:
        raise ValueRefused("STATUS", "status", status, f"one of {', '.join(_FIRST_STATUSES)}")
    return Transfer(
        transfer_id=request.transfer_id,
        relation_reference=request.relation_reference,
        currency=currency,
        style=style,
        points=points,
        reason=checked_reason(request.reason, style),
        status=status,
        occurred_at=_checked_instant(ledger, request.occurred_at),
        external_reference=checked_note("external_reference", request.external_reference),
        comment=checked_note("comment", request.comment),
    )


def checked_note(column: str, text: str) -> str:
    """Return ``text`` where it may be kept and exported; raise `ValueRefused` (docs/cases.md, F11)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueRefused("ENCODING", column, text, "UTF-8 text") from None
    return check_text(column, text)


def differences_from(known: Transfer, asked: Transfer) -> list[Difference]:
    """The differences between a requested transfer and the recorded one with its id.

    ``comment``, status and values that are not given do not count (docs/design.md, section 5).
    """
    columns = ["relation_reference", "currency", "style", "points", "reason", "reverses_transfer_id"]
    if asked.occurred_at is not None:
        columns.append("occurred_at")
    if asked.external_reference:
        columns.append("external_reference")
    return differences_of(_content(known, columns), _content(asked, columns))


def _content(transfer: Transfer, columns: list[str]) -> dict[str, object]:
    content = {column: getattr(transfer, column) for column in columns}
    content["points"] = points_text(transfer.points)
    return content


def _checked_style(request: TransferRequest) -> str:
    if request.style not in STYLES:
        raise ValueRefused("STYLE", "style", request.style, "give or deduct")
    return request.style


def _checked_move_reason(reason: str, _: str) -> str:
    if reason not in ("", MOVE_REASON):
        raise ValueRefused("REASON", "reason", reason, f"empty, or {MOVE_REASON}, where points are moved")
    return MOVE_REASON


def _checked_reason(given: str, style: str) -> str:
    reason = given or DEFAULT_REASON
    known = reasons()
    allowed = tuple(code for (code, of_style), rule in known.items() if of_style == style and rule.by_hand)
    if reason in allowed:
        return reason
    if any(code == reason for code, _ in known):
        raise ReasonNotByHand(reason, style, allowed)
    raise ValueRefused("REASON", "reason", reason, f"one of {', '.join(allowed)}")


def _checked_instant(ledger: Ledger, instant: datetime | str | None) -> datetime | None:
    if not instant:
        return None
    text = instant.isoformat() if isinstance(instant, datetime) else instant
    return parse_instant("occurred_at", text, ledger.settings.zone)
