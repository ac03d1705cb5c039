"""Which customers' accounts the ledger knows, and which of them are closed (docs/design.md, section 5)."""

from collections.abc import Iterable
from datetime import datetime

from ledger.chunks import chunks, found_by
from ledger.errors import PointsError
from ledger.models import AccountEvent, Transfer
from ledger.rules import is_identifier
from ledger.statuses import current_standings


class UnknownRelation(PointsError):
    """No entry names the relation reference."""

    code = "UNKNOWN_RELATION"

    def __init__(self, relation_reference: str, may_be_new: bool = False) -> None:
        way_out = ", or say --new where it is a new one" if may_be_new else ""
        super().__init__(
            f"The ledger does not know the relation reference {relation_reference}; check it{way_out}."
        )


class AccountClosed(PointsError):
    """A closed account takes nothing by command until it is opened again (docs/cases.md, R17)."""

    code = "ACCOUNT_CLOSED"

    def __init__(self, relation_reference: str) -> None:
        super().__init__(
            f"The account of {relation_reference} is closed and takes nothing; open it again with"
            f" `points account open {relation_reference}`."
        )


def known_references(references: Iterable[str]) -> set[str]:
    """Those of the relation ``references`` that have a transfer or an account event."""
    known: set[str] = set()
    for chunk in chunks(filter(is_identifier, references)):
        for model in (Transfer, AccountEvent):
            found = model.objects.filter(relation_reference__in=chunk).order_by()
            known.update(found.values_list("relation_reference", flat=True).distinct())
    return known


def closed_references(references: Iterable[str]) -> set[str]:
    """Those of the relation ``references`` whose account is closed: the last that opened or closed it, by
    when it occurred and then by ``entry_id``, closed it."""
    return {
        reference
        for reference, events in account_history(references).items()
        if max(events, key=lambda event: event[:2])[2] == "close"
    }


def account_history(references: Iterable[str]) -> dict[str, list[tuple[datetime, int, str]]]:
    """What opened and closed the accounts of ``references``: (instant, ``entry_id``, ``open`` or ``close``).

    An approved transfer of the reason account_closure closes the account too, wherever it came from.
    """
    history: dict[str, list[tuple[datetime, int, str]]] = {}
    references = list(references)
    events = AccountEvent.objects.filter(event__in=["open", "close"])
    for event in found_by(events, "relation_reference", references):
        history.setdefault(event.relation_reference, []).append(
            (event.occurred_at, event.entry_id, event.event)
        )
    transfers = Transfer.objects.filter(reason="account_closure")
    closures = list(found_by(transfers, "relation_reference", references))
    standings = current_standings(closures)
    for closure in closures:
        standing = standings[closure.transfer_id]
        if standing.effective_at is not None:
            history.setdefault(closure.relation_reference, []).append(
                (standing.effective_at, standing.entry_id, "close")
            )
    return history
