"""Receipts: where the files of a closed month were delivered to, and what of it people were notified of.

Each is an entry about a revision, by its manifest's hash, so that nothing is done twice and the chain says
what was done (docs/design.md, section 9).
"""

from collections.abc import Mapping

from ledger.append import appending
from ledger.certifications import record
from ledger.closes import ClosedMonth
from ledger.database import Ledger
from ledger.models import MonthEndEntry

# Events of `MonthEndEntry`; the subject is the name of a destination, or the way and what was announced.
DELIVERED = "delivered"
ANNOUNCED = "announced"


def receipts(event: str) -> set[tuple[str, str]]:
    """All receipts of one kind, each the hash of a manifest and a subject."""
    found = MonthEndEntry.objects.filter(event=event).values_list("manifest_sha256", "subject")
    return set(found)


def record_receipt(
    ledger: Ledger, closed: ClosedMonth, event: str, subject: str, content: Mapping[str, object]
) -> None:
    """Append a receipt, unless it is there. Raises what `ledger.append.appending` does."""
    with appending(ledger, says_when=True) as appender:
        if (closed.manifest_sha256, subject) not in receipts(event):
            record(appender, closed, event, content, subject)
