"""Lists of customers' balances: filtered, ordered, page by page, and right the moment after a transfer.

They read `ledger.kept_balances`, which are brought up to date first. Among sums beyond 400,000,000,000,000
points, which are kept as that, the order is that of the relation references.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from operator import gt, lt
from typing import ClassVar

from django.db.models import QuerySet

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
from ledger.lists.streaming import streamed
from ledger.models import KeptBalance
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
) -> Page[KeptBalance]:
    """A page of at most ``limit`` balances after, or before, a cursor, as of now.

    ``filters`` are text by name (`BalanceFilters`); ``sort`` is one of `SORTS`, with a ``-`` before it for
    the largest first. Raises `FilterUnknown`, `FilterInvalid`, `SortUnknown`, `CursorInvalid`,
    `BalancesBehind` and `LedgerBusy`.
    """
    form, order = _asked(filters, sort)
    if reference := form.asked().get("relation"):
        read = _reading_one(ledger, form, order, reference)
    else:
        bring_up_to_date(ledger)
        read = reading(form.queryset(), order)
    page = read_page(read, order, limit, after, before)
    return Page(list(_exact(ledger, form, page.rows)), page.next_cursor, page.previous_cursor)


def count_balances(ledger: Ledger, filters: Mapping[str, str]) -> int:
    """How many balances a list has; raises what `list_balances` does."""
    rows = BalanceFilters(filters).queryset()
    bring_up_to_date(ledger)
    return rows.count()


def every_listed_balance(
    ledger: Ledger, filters: Mapping[str, str], sort: str = DEFAULT_SORT
) -> Iterator[KeptBalance]:
    """All balances of the list at one moment, in its order and in bounded memory; arguments and errors are
    those of `list_balances`, which are raised before the first row."""
    form, order = _asked(filters, sort)
    rows = form.queryset()
    bring_up_to_date(ledger)
    columns = (*BALANCE_COLUMNS, "is_exact")
    found = streamed(ledger, order.applied(rows).values_list(*columns))
    return _exact(ledger, form, (KeptBalance(**dict(zip(columns, row, strict=True))) for row in found))


def selected_balances(ledger: Ledger, references: Sequence[str]) -> list[KeptBalance]:
    """The balances of the relation ``references``, added up from the ledger, in their order; raise
    `UnknownRelation`."""
    known = known_references(references)
    for reference in references:
        if reference not in known:
            raise UnknownRelation(reference)
    counted = counted_balances(references, ledger.clock(), ledger.settings.default_currency)
    return sorted(counted, key=lambda balance: (balance.relation_reference, balance.currency))


def _asked(filters: Mapping[str, str], sort: str) -> tuple[BalanceFilters, Order]:
    order = parse_order(sort, KeptBalance, SORTS, ("relation_reference", "currency"))
    return BalanceFilters(filters), order


def _reading_one(ledger: Ledger, form: BalanceFilters, order: Order, reference: str) -> Read:
    """Reads the few balances of one customer, added up: for these nothing needs to be up to date."""
    counted = counted_balances([reference], ledger.clock(), ledger.settings.default_currency)
    rows = sorted(filter(form.takes, counted), key=order.key_of, reverse=order.descending)

    def read(cursor: str, backwards: bool, size: int) -> tuple[list[KeptBalance], str]:
        ordered = rows[::-1] if backwards else rows
        if cursor:
            beyond = lt if order.descending != backwards else gt
            place = order.values(cursor)
            ordered = [row for row in ordered if beyond(order.key_of(row), place)]
        return ordered[:size], order.cursor(ordered[size - 1]) if len(ordered) > size else ""

    return read


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
