"""What does not match between a month's balances and another system's, kept from run to run until it does
(docs/design.md, section 10).

An item is of a customer in a currency. It opens with the first recorded run that finds a difference, carries
to later months, changes where the difference does, and closes with the first run of that currency that finds
none. A category explains the difference that it was given for: where that changes, it has to be given again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ledger.acts.transfer_requests import checked_note
from ledger.amounts import value_text
from ledger.append import Appender, appending
from ledger.certifications import content_text, record
from ledger.closes import ClosedMonth, read_history
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.models import MonthEndEntry

# Events of `MonthEndEntry`; the subject is the currency, a space, and the relation reference.
OPENED, CHANGED, NOTED, CLOSED = "item_opened", "item_changed", "item_noted", "item_closed"
_FIGURES = ("points_here", "points_there", "difference")
# More is a file of something else, and nobody looks at it item by item.
MOST_ITEMS = 10_000

Key = tuple[str, str]


class TooManyItems(PointsError):
    """More differences than anybody looks at are to be kept."""

    code = "TOO_MANY_ITEMS"

    def __init__(self, count: int) -> None:
        super().__init__(
            f"Nothing was recorded: {count:,} customers differ, and more than {MOST_ITEMS:,} are no items"
            " that anybody explains; look at the file, its columns, its currency and its day, and reconcile"
            " again."
        )


class ItemUnknown(PointsError):
    """There is no such open item."""

    code = "UNKNOWN_ITEM"

    def __init__(self, currency: str, relation_reference: str) -> None:
        super().__init__(
            f"No item of {relation_reference} in {currency} is open; `points items` lists those that are."
        )


@dataclass(frozen=True)
class Item:
    """An open item. Points are exact, None on the side that lacks the customer; it is open since the run at
    ``since``, of ``since_month``. ``category`` is empty until somebody explains the ``difference``."""

    currency: str
    relation_reference: str
    points_here: Decimal | None
    points_there: Decimal | None
    difference: Decimal
    since: datetime
    since_month: str
    report_month: str
    category: str = ""
    comment: str = ""
    owner: str = ""


ITEM_FIELDS = tuple(Item.__dataclass_fields__)


def open_items() -> dict[Key, Item]:
    """The open items of the ledger, by currency and relation reference, in that order."""
    items: dict[Key, Item] = {}
    events = (OPENED, CHANGED, NOTED, CLOSED)
    for entry in MonthEndEntry.objects.filter(event__in=events).order_by("entry_id").iterator():
        key, said = _key(entry.subject), json.loads(entry.content)
        if entry.event == OPENED:
            figures = _figures(said)
            items[key] = Item(*key, *figures, entry.recorded_at, entry.report_month, entry.report_month)
        elif entry.event == CHANGED:
            here, there, difference = _figures(said)
            changed = {"points_here": here, "points_there": there, "report_month": entry.report_month}
            if difference != items[key].difference:
                changed |= {"difference": difference, "category": ""}
            items[key] = replace(items[key], **changed)
        elif entry.event == NOTED:
            items[key] = replace(items[key], **said)
        else:
            del items[key]
    return dict(sorted(items.items()))


def follow_items(
    appender: Appender, closed: ClosedMonth, currencies: Iterable[str], found: Mapping[Key, tuple]
) -> None:
    """Append what a run says of items: ``found`` has the points here and there and their difference of each
    customer that differs in one of the ``currencies`` that were compared."""
    before, compared = open_items(), set(currencies)
    rows = []
    for key, figures in sorted(found.items()):
        item = before.get(key)
        if item is None or (item.points_here, item.points_there, item.difference) != figures:
            said = {
                name: None if value is None else value_text(value)
                for name, value in zip(_FIGURES, figures, strict=True)
            }
            rows.append((OPENED if item is None else CHANGED, key, said))
    rows += [(CLOSED, key, {}) for key in before if key not in found and key[0] in compared]
    about = (closed.report_month, closed.revision, closed.manifest_sha256)
    appender.append_rows(
        MonthEndEntry, ((event, *about, " ".join(key), content_text(said)) for event, key, said in rows)
    )


def note_item(
    ledger: Ledger,
    currency: str,
    relation_reference: str,
    category: str = "",
    comment: str = "",
    owner: str = "",
) -> Item:
    """Say what an open item's difference comes from (timing, missing, amount or basis) or who looks after it;
    what is not said stays. Raises `ItemUnknown`, and `ValueRefused` for text that may not be kept."""
    key = (currency, relation_reference)
    said = {
        name: checked_note(name, text.strip())
        for name, text in (("category", category), ("comment", comment), ("owner", owner))
        if text.strip()
    }
    with appending(ledger) as appender:
        item = open_items().get(key)
        if item is None:
            raise ItemUnknown(currency, relation_reference)
        # It stays about the month in which it was found.
        found = [closed for closed in read_history().closes if closed.report_month == item.report_month][-1]
        record(appender, found, NOTED, said, " ".join(key))
    return replace(item, **said)


def _key(subject: str) -> Key:
    currency, _, relation_reference = subject.partition(" ")
    return currency, relation_reference


def _figures(said: Mapping[str, str | None]) -> tuple:
    return tuple(None if said[name] is None else Decimal(said[name]) for name in _FIGURES)
