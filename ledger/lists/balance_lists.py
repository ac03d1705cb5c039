"""Lists of customers' balances: filtered, ordered, page by page, and right the moment after a transfer.

They read `ledger.kept_balances`, which are brought up to date first. Among sums beyond 400,000,000,000,000
points, which are kept as that, the order is that of the relation references. Lists of another moment than
this one are added up from the ledger, customer by customer, and keep nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from heapq import nlargest, nsmallest
from itertools import islice
from operator import gt, lt
from typing import ClassVar

from django.db.models import QuerySet

from ledger.chunks import VALUES_PER_QUERY, chunks
from ledger.database import Ledger
from ledger.fields import from_units
from ledger.kept_balances import AMOUNTS, LARGEST_UNITS, bring_up_to_date, counted_balances
from ledger.lists.filters import (
    SUM_DIGITS,
    ChoiceFilter,
    Condition,
    ListForm,
    PointsFilter,
    TextFilter,
    YesNoFilter,
    all_of,
)
from ledger.lists.paging import DEFAULT_PAGE_SIZE, Order, Page, Read, parse_order, read_page, reading
from ledger.lists.streaming import in_order, streamed
from ledger.models import AccountEvent, KeptBalance, Transfer
from ledger.moments import Moment
from ledger.relations import UnknownRelation, known_references
from ledger.rules import currencies

SORTS = ("relation_reference", *AMOUNTS)
DEFAULT_SORT = "relation_reference"
# The columns of the mart customer_point_balances, and `later_points`.
BALANCE_COLUMNS = (
    "relation_reference",
    "currency",
    "approved_points",
    "pending_given_points",
    "pending_deducted_points",
    "on_hold_given_points",
    "on_hold_deducted_points",
    "spendable_points",
    "later_points",
    "is_account_closed",
)


class BalanceFilters(ListForm):
    """What balances are wanted."""

    compared: ClassVar = {
        "relation": ("relation_reference", "="),
        "currency": ("currency", "="),
        "min": ("approved_points", ">="),
        "max": ("approved_points", "<="),
        "closed": ("is_account_closed", "="),
    }

    def __init__(self, filters: Mapping[str, str]) -> None:
        super().__init__(filters)
        self.fields |= {
            "relation": TextFilter(),
            "relation_prefix": TextFilter(),
            "currency": ChoiceFilter(currencies()),
            "min": PointsFilter(SUM_DIGITS, signed=True),
            "max": PointsFilter(SUM_DIGITS, signed=True),
            "closed": YesNoFilter(),
            "negative": YesNoFilter(),
        }

    def conditions(self) -> list[Condition]:
        """What is asked; raises `FilterUnknown` and `FilterInvalid`."""
        conditions = super().conditions()
        if (is_negative := self.asked().get("negative")) is not None:
            conditions.append(Condition("approved_points", "<" if is_negative else ">=", Decimal(0)))
        return conditions

    def queryset(self) -> QuerySet[KeptBalance]:
        """The kept balances that are asked for; of those beyond the largest sum, all that may be."""
        largest = from_units(LARGEST_UNITS)
        return KeptBalance.objects.filter(
            all_of(
                replace(condition, value=max(-largest, min(largest, condition.value)))
                if isinstance(condition.value, Decimal)
                else condition
                for condition in self.conditions()
            )
        )

    def takes(self, balance: KeptBalance) -> bool:
        """Whether ``balance``, added up, is asked for."""
        return all(condition.holds_for(balance) for condition in self.conditions())


def list_balances(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    limit: int = DEFAULT_PAGE_SIZE,
    after: str = "",
    before: str = "",
    moment: Moment | None = None,
) -> Page[KeptBalance]:
    """A page of at most ``limit`` balances after, or before, a cursor, as of now or of a ``moment``.

    ``filters`` are text by name (`BalanceFilters`); ``sort`` is one of `SORTS`, with a ``-`` before it for
    the largest first. Raises `FilterUnknown`, `FilterInvalid`, `SortUnknown`, `CursorInvalid`,
    `BalancesBehind` and `LedgerBusy`.
    """
    form, order = _asked(filters, sort)
    if moment or form.asked().get("relation"):
        # Of one customer nothing needs to be up to date.
        counted = _reading_counted(ledger, form, order, moment or Moment(ledger.clock()))
        return read_page(counted, order, limit, after, before)
    bring_up_to_date(ledger)
    page = read_page(reading(form.queryset(), order), order, limit, after, before)
    return Page(list(_exact(ledger, form, page.rows)), page.next_cursor, page.previous_cursor)


def count_balances(ledger: Ledger, filters: Mapping[str, str], moment: Moment | None = None) -> int:
    """How many balances a list has; raises what `list_balances` does."""
    form = BalanceFilters(filters)
    rows = form.queryset()
    if moment:
        return sum(1 for _ in _counted(ledger, form, moment))
    bring_up_to_date(ledger)
    return rows.count()


def every_listed_balance(
    ledger: Ledger, filters: Mapping[str, str], sort: str = DEFAULT_SORT, moment: Moment | None = None
) -> Iterator[KeptBalance]:
    """All balances of the list at one moment, in its order and in bounded memory; arguments and errors are
    those of `list_balances`, which are raised before the first row."""
    form, order = _asked(filters, sort)
    rows = form.queryset()
    if moment:
        if order.field == DEFAULT_SORT:
            return _counted(ledger, form, moment, order.descending)
        return in_order(ledger, _counted(ledger, form, moment), order.key_of, order.descending)
    bring_up_to_date(ledger)
    columns = (*BALANCE_COLUMNS, "is_exact")
    found = streamed(ledger, order.applied(rows).values_list(*columns))
    return _exact(ledger, form, (KeptBalance(**dict(zip(columns, row, strict=True))) for row in found))


def selected_balances(
    ledger: Ledger, references: Sequence[str], moment: Moment | None = None
) -> list[KeptBalance]:
    """The balances of the relation ``references``, as of now or of a ``moment``, added up from the ledger, in
    their order; raise `UnknownRelation`."""
    moment = moment or Moment(ledger.clock())
    known = known_references(references, moment.upto_entry_id)
    for reference in references:
        if reference not in known:
            raise UnknownRelation(reference, upto_entry_id=moment.upto_entry_id)
    return _added_up(ledger, references, moment)


def _asked(filters: Mapping[str, str], sort: str) -> tuple[BalanceFilters, Order]:
    order = parse_order(sort, KeptBalance, SORTS, ("relation_reference", "currency"))
    return BalanceFilters(filters), order


def _reading_counted(ledger: Ledger, form: BalanceFilters, order: Order, moment: Moment) -> Read:
    """Reads balances that are added up; by relation reference no more of them than a page needs."""

    def read(cursor: str, backwards: bool, size: int) -> tuple[list[KeptBalance], str]:
        descending = order.descending != backwards
        beyond = lt if descending else gt
        place = order.values(cursor) if cursor else None
        is_by_key = order.field == DEFAULT_SORT
        start = place[0] if place and is_by_key else ""
        found = _counted(ledger, form, moment, descending and is_by_key, start)
        rows = (row for row in found if place is None or beyond(order.key_of(row), place))
        if is_by_key:
            part = list(islice(rows, size))
        else:
            part = (nlargest if descending else nsmallest)(size, rows, key=order.key_of)
        return part, order.cursor(part[-1]) if len(part) == size else ""

    return read


def _counted(
    ledger: Ledger, form: BalanceFilters, moment: Moment, descending: bool = False, start: str = ""
) -> Iterator[KeptBalance]:
    """The balances that are asked for, by relation reference from that of ``start`` on and currency, added up
    for some customers at a time."""
    for references in chunks(_references(form, moment, descending, start)):
        rows = _added_up(ledger, references, moment)
        yield from filter(form.takes, reversed(rows) if descending else rows)


def _added_up(ledger: Ledger, references: Sequence[str], moment: Moment) -> list[KeptBalance]:
    """The balances of ``references`` by reference and currency."""
    default_currency = ledger.settings.default_currency
    counted = counted_balances(references, moment.now, default_currency, moment.upto_entry_id)
    return sorted(counted, key=lambda balance: (balance.relation_reference, balance.currency))


def _references(form: BalanceFilters, moment: Moment, descending: bool, start: str) -> Iterator[str]:
    """The relation references that may be asked for, from ``start`` on, in their order."""
    if reference := form.asked().get("relation"):
        yield reference
        return
    of_references = [asked for asked in form.conditions() if asked.column == "relation_reference"]
    comparison = "<=" if descending else ">="
    while True:
        bounds = [*of_references, *([Condition("relation_reference", comparison, start)] if start else [])]
        found: set[str] = set()
        for rows in (Transfer.objects.upto(moment.upto_entry_id), _openings(moment)):
            named = rows.filter(all_of(bounds)).values_list("relation_reference", flat=True).distinct()
            found |= set(named.order_by(f"{'-' * descending}relation_reference")[:VALUES_PER_QUERY])
        part = sorted(found, reverse=descending)[:VALUES_PER_QUERY]
        yield from part
        if len(part) < VALUES_PER_QUERY:
            return
        start, comparison = part[-1], comparison[0]


def _openings(moment: Moment) -> QuerySet[AccountEvent]:
    """What gave a customer a balance without any transfer."""
    return AccountEvent.objects.upto(moment.upto_entry_id).filter(event="open")


def _exact(ledger: Ledger, form: BalanceFilters, rows: Iterable[KeptBalance]) -> Iterator[KeptBalance]:
    """``rows``, those that are not kept exactly added up from the ledger, and left out where their sum is
    not what is asked for."""
    for row in rows:
        if row.is_exact:
            yield row
            continue
        counted = counted_balances([row.relation_reference], ledger.clock(), ledger.settings.default_currency)
        for balance in counted:
            if balance.currency == row.currency and form.takes(balance):
                yield balance
