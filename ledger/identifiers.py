"""Ids of requests: generated where a caller gives none, and refused where one already belongs to another
request.

An id makes a request idempotent: a caller that did not get the answer sends the same request again
(docs/design.md, section 5).
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models import QuerySet

from ledger.chunks import found_by, found_in
from ledger.errors import PointsError
from ledger.models import AccountEvent, Batch, Transfer
from ledger.rules import check_identifier, is_identifier

# Crockford's: no two of them look alike.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_KNOWN = """
    select 'transfer', transfer_id from transfers where transfer_id in ({values})
    union all
    select 'account_event', event_id from account_events where event_id in ({values})
"""


@dataclass(frozen=True)
class Difference:
    """What a request says of a column, and what the ledger has under the same id."""

    column: str
    known: str
    asked: str

    def __str__(self) -> str:
        return f"{self.column} is {self.known} there and {self.asked} here"


class IdConflict(PointsError):
    """An id is known with other content (docs/cases.md, R3)."""

    code = "ID_CONFLICT"

    def __init__(self, identifier: str, differences: Iterable[Difference]) -> None:
        self.differences = tuple(differences)
        super().__init__(
            f"ID_CONFLICT: {identifier} is already recorded with other content"
            f" ({'; '.join(map(str, self.differences))}); use another id for what is another request."
        )


class UnknownTransfer(PointsError):
    """No transfer has the id."""

    code = "UNKNOWN_TRANSFER"

    def __init__(self, transfer_id: str) -> None:
        super().__init__(
            f"No transfer has the id {transfer_id}; look for the right one with `points transfers`."
        )


def new_id(prefix: str) -> str:
    """A new random id that can be read out on the telephone: ``T-4M9Q-07XK-RD5B-HW2Z``."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))
    return "-".join([prefix, *groups])


def given_or_new_id(given: str, prefix: str) -> str:
    """The id that a caller ``given``, checked, or a new one; raises `ValueRefused`."""
    return check_identifier("ID", "id", given) if given else new_id(prefix)


def known_transfers(
    transfer_ids: Iterable[str], among: QuerySet[Transfer] | None = None
) -> dict[str, Transfer]:
    """Those of the transfers that the ledger has, or that are ``among`` some, by ``transfer_id``."""
    rows = Transfer.objects.all() if among is None else among
    found = found_by(rows, "transfer_id", filter(is_identifier, transfer_ids))
    return {transfer.transfer_id: transfer for transfer in found}


def with_originals(
    transfers: Mapping[str, Transfer], among: QuerySet[Transfer] | None = None
) -> dict[str, Transfer]:
    """``transfers``, by ``transfer_id``, and what they revoke, to any depth, as far as the ledger has it, or
    as it is ``among`` some."""
    found = dict(transfers)
    level = found
    while level := known_transfers(
        {each.revokes_transfer_id for each in level.values()} - {"", *found}, among
    ):
        found |= level
    return found


def known_events(event_ids: Iterable[str]) -> dict[str, AccountEvent]:
    """Those of the account events that the ledger has, by ``event_id``."""
    found = found_by(AccountEvent.objects.all(), "event_id", filter(is_identifier, event_ids))
    return {event.event_id: event for event in found}


def known_transfers_and_events(
    identifiers: Iterable[str],
) -> tuple[dict[str, Transfer], dict[str, AccountEvent]]:
    """What `known_transfers` and `known_events` find, at the price of one statement where that is nothing."""
    found: dict[str, list[str]] = {"transfer": [], "account_event": []}
    for kind, identifier in found_in(_KNOWN, filter(is_identifier, identifiers)):
        found[kind].append(identifier)
    return known_transfers(found["transfer"]), known_events(found["account_event"])


def known_batch(batch_id: str, origin: str) -> Batch | None:
    """The batch of that id and ``origin``; raises `IdConflict` where the id is that of another kind."""
    known = Batch.objects.filter(batch_id=batch_id).first()
    kind = f"a batch of {known.origin}" if known else "an account event"
    if (known and known.origin != origin) or (not known and known_events([batch_id])):
        raise IdConflict(batch_id, [Difference("kind", kind, f"a {origin}")])
    return known


def check_unused_by_transfers(identifier: str) -> None:
    """Raise `IdConflict` where a transfer or a batch has the id of an account's event to be."""
    for model, column in ((Transfer, "transfer_id"), (Batch, "batch_id")):
        if model.objects.filter(**{column: identifier}).exists():
            raise IdConflict(identifier, [Difference("kind", f"a {model.kind}", "an account event")])


def differences_of(known: Mapping[str, object], asked: Mapping[str, object]) -> list[Difference]:
    """The columns of ``asked`` that ``known`` has otherwise; both are compared by value."""
    return [
        Difference(column, str(known[column]) or "empty", str(value) or "empty")
        for column, value in asked.items()
        if known[column] != value
    ]
