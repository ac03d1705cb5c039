"""Announces what became of months, by the ways of alerts: issued, signed off, reopened.

Each goes by each way once; the receipts stand in the ledger (`ledger.receipts`). A way that has announced
nothing yet begins with the newest. What is said has totals and the names of those who act, and no customer's
reference (docs/design.md, section 9).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ledger.closes import ClosedMonth, CloseHistory
from ledger.database import Ledger
from ledger.receipts import ANNOUNCED, receipts, record_receipt
from orchestration.alerts import (
    ISSUED,
    REOPENED,
    SIGNED_OFF,
    Alert,
    AlertNotDelivered,
    configured_ways,
)

_SAYS = {
    ISSUED: "{by} closed {name}",
    SIGNED_OFF: "{by} signed off {name}, which {closed_by} closed",
    REOPENED: "{by} reopened {name}, which readers keep until it is closed again",
}


@dataclass(frozen=True)
class MonthEvent:
    """What became of a revision, by which entry, when and by whom."""

    event: str
    closed: ClosedMonth
    entry_id: int
    at: datetime
    by: str


@dataclass(frozen=True)
class Announced:
    """What was announced of a revision, by which way."""

    month: str
    event: str
    way: str


def announce_due(ledger: Ledger, history: CloseHistory) -> Iterator[Announced | AlertNotDelivered]:
    """Announce by each way what is due, the oldest first; a way that fails has the rest due later."""
    for way, send in configured_ways(ledger.settings).items():
        for event in find_announcements(history, way):
            try:
                send(ledger.settings, _alert(event))
            except AlertNotDelivered as error:
                yield error
                break
            content = {"entry_id": event.entry_id}
            record_receipt(ledger, event.closed, ANNOUNCED, _subject(way, event), content)
            yield Announced(event.closed.name, event.event, way)


def find_announcements(history: CloseHistory, way: str) -> list[MonthEvent]:
    """What is to be announced by a way, in the order of the entries."""
    events, had = _events(history), receipts(ANNOUNCED)
    announced = [event for event in events if (event.closed.manifest_sha256, _subject(way, event)) in had]
    current = [
        event
        for event in events
        if event.event != ISSUED or history.issued.get(event.closed.report_month) == event.closed
    ]
    if not announced:
        return current[-1:]
    return [event for event in current if event.entry_id >= announced[0].entry_id and event not in announced]


def _events(history: CloseHistory) -> list[MonthEvent]:
    """All that became of months, in the order of the entries."""
    revisions = {(closed.report_month, closed.revision): closed for closed in history.closes}
    events = [
        MonthEvent(ISSUED, closed, closed.entry_id, closed.closed_at, closed.closed_by)
        for closed in history.closes
    ]
    events += [
        MonthEvent(
            SIGNED_OFF,
            revisions[about],
            signature.entry_id,
            signature.signed_off_at,
            signature.signed_off_by,
        )
        for about, signature in history.signatures.items()
    ]
    events += [
        MonthEvent(
            REOPENED,
            revisions[reopening.report_month, reopening.revision],
            reopening.entry_id,
            reopening.reopened_at,
            reopening.reopened_by,
        )
        for reopening in history.reopenings
    ]
    return sorted(events, key=lambda event: event.entry_id)


def _subject(way: str, event: MonthEvent) -> str:
    return f"{way} {event.event}"


def _alert(event: MonthEvent) -> Alert:
    closed = event.closed
    sums = [
        f"{totals['closing_points']} {currency} of {totals['relation_references']:,} customers"
        for currency, totals in closed.control_totals.items()
    ]
    says = _SAYS[event.event].format(name=closed.name, by=event.by, closed_by=closed.closed_by)
    return Alert(
        event=event.event,
        sentence=f"{says}: {' and '.join(sums)} outstanding." if sums else f"{says}.",
        at=event.at,
        month=closed.name,
        facts=_facts(event),
    )


def _facts(event: MonthEvent) -> Mapping[str, object]:
    closed = event.closed
    return {
        "report_month": closed.report_month,
        "revision": closed.revision,
        "by": event.by,
        "closed_by": closed.closed_by,
        "manifest_sha256": closed.manifest_sha256,
        "control_totals": closed.control_totals,
    }
