"""Which customers' accounts the ledger knows, and which of them are closed (docs/design.md, section 5)."""

from collections.abc import Iterable
from datetime import datetime

from ledger.chunks import found_by, found_in
from ledger.errors import PointsError
from ledger.fields import from_microseconds
from ledger.models import Transfer
from ledger.rules import is_identifier
from ledger.statuses import current_standings

# Every request asks these in its turn at the ledger, so each is one statement.
_KNOWN = """
    select relation_reference from transfers where relation_reference in ({values}) {upto}
    union
    select relation_reference from account_events where relation_reference in ({values}) {upto}
"""
_HISTORY = """
    select relation_reference, occurred_at, entry_id, event, null as transfer_id
    from account_events
    where relation_reference in ({values}) and event in ('open', 'close')
    union all
    select relation_reference, occurred_at, entry_id, 'close', transfer_id
    from transfers
    where relation_reference in ({values}) and reason = 'account_closure'
"""


class UnknownRelation(PointsError):
    """No entry names the relation reference."""

    code = "UNKNOWN_RELATION"

    def __init__(
        self, relation_reference: str, may_be_new: bool = False, upto_entry_id: int | None = None
    ) -> None:
        way_out = ", or say --new where it is a new one" if may_be_new else ""
        known = "does not" if upto_entry_id is None else f"up to entry {upto_entry_id:,} did not"
        super().__init__(
            f"The ledger {known} know the relation reference {relation_reference}; check it{way_out}."
        )


class AccountClosed(PointsError):
    """A closed account takes nothing by command until it is opened again (docs/cases.md, R17)."""

    code = "ACCOUNT_CLOSED"

    def __init__(self, relation_reference: str) -> None:
        super().__init__(
            f"The account of {relation_reference} is closed and takes nothing; open it again with"
            f" `points account open {relation_reference}`."
        )


def known_references(references: Iterable[str], upto_entry_id: int | None = None) -> set[str]:
    """Those of the relation ``references`` that have a transfer or an account event, or had one at an
    entry."""
    query = _KNOWN.replace("{upto}", "" if upto_entry_id is None else f"and entry_id <= {upto_entry_id}")
    return {reference for (reference,) in found_in(query, filter(is_identifier, references))}


def closed_references(references: Iterable[str]) -> set[str]:
    """Those of the relation ``references`` whose account is closed: the last that opened or closed it, by
    when it occurred and then by ``entry_id``, closed it."""
    return _closed(account_history(references))


def closed_by(references: Iterable[str], instant: datetime, upto_entry_id: int) -> set[str]:
    """Those whose account was closed at ``instant``, as the ledger stood at an entry: as at a month's end
    (docs/design.md, section 8), what occurred later had not happened yet."""
    history = account_history(references, upto_entry_id)
    by_then = {
        reference: [event for event in events if event[0] <= instant] for reference, events in history.items()
    }
    return _closed(by_then)


def _closed(history: dict[str, list[tuple[datetime, int, str]]]) -> set[str]:
    return {
        reference
        for reference, events in history.items()
        if events and max(events, key=lambda event: event[:2])[2] == "close"
    }


def account_history(
    references: Iterable[str], upto_entry_id: int | None = None
) -> dict[str, list[tuple[datetime, int, str]]]:
    """What opened and closed the accounts of ``references``: (instant, ``entry_id``, ``open`` or ``close``),
    as the ledger stands, or stood at an entry.

    An approved transfer of the reason account_closure closes the account too, wherever it came from.
    """
    history: dict[str, list[tuple[datetime, int, str]]] = {}
    closure_ids = []
    for reference, occurred_at, entry_id, event, transfer_id in found_in(_HISTORY, references):
        if upto_entry_id is not None and entry_id > upto_entry_id:
            continue
        if transfer_id is None:
            history.setdefault(reference, []).append((from_microseconds(occurred_at), entry_id, event))
        else:
            closure_ids.append(transfer_id)
    closures = list(found_by(Transfer.objects.all(), "transfer_id", closure_ids))
    standings = current_standings(closures, upto_entry_id)
    for closure in closures:
        standing = standings[closure.transfer_id]
        if standing.effective_at is not None:
            history.setdefault(closure.relation_reference, []).append(
                (standing.effective_at, standing.entry_id, "close")
            )
    return history
