"""Pages of a list by key: what comes after a row, or before it, however many rows there are.

A cursor is the key of a row: the value that the list is ordered by, and what tells rows of the same value
apart. It needs no counting and no offset, and stays right while rows are added.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import BigIntegerField, BooleanField, F, Field, Func, Model, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan

from ledger.errors import PointsError
from ledger.fields import PointsField
from ledger.lists.filters import SUM_DIGITS, FilterInvalid

MAX_PAGE_SIZE = 1_000
DEFAULT_PAGE_SIZE = 50

Row = TypeVar("Row")


class SortUnknown(PointsError):
    """The list cannot be sorted by that."""

    code = "SORT_UNKNOWN"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"The list cannot be sorted by {name!r}; sort by {', '.join(known)}, with a - before it for the"
            " largest first."
        )


class CursorInvalid(PointsError):
    """The way to another page was not given by a page of the same list in the same order."""

    code = "CURSOR"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} leads to no page of this list in this order; take what another page gave, with the"
            " same order, or leave it out for the first page."
        )


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list; the cursors lead to those after and before them, None where there are none."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None = None


@dataclass(frozen=True)
class Order:
    """An order of rows by one field of ``model``, and by its key among those of the same value."""

    model: type[Model]
    field: str
    descending: bool
    key: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """All that tells rows apart, in this order."""
        return tuple(dict.fromkeys((self.field, *self.key)))

    @property
    def text(self) -> str:
        """As it is asked for."""
        return f"-{self.field}" if self.descending else self.field

    def key_of(self, row: object) -> list:
        """What `fields` are in a row."""
        return [getattr(row, field) for field in self.fields]

    def applied(self, rows: QuerySet, backwards: bool = False) -> QuerySet:
        """``rows`` in this order, or ``backwards`` in the opposite one."""
        sign = "-" if self.descending != backwards else ""
        return rows.order_by(*(f"{sign}{field}" for field in self.fields))

    def beyond(self, rows: QuerySet, cursor: str, backwards: bool = False) -> QuerySet:
        """Those of ``rows`` that come after the row of a ``cursor``, or ``backwards`` before it; raise
        `CursorInvalid`."""
        lookup = LessThan if self.descending != backwards else GreaterThan
        values = _RowValue(*map(Value, self.values(cursor), self._columns))
        return rows.filter(lookup(_RowValue(*map(F, self.fields)), values))

    def values(self, cursor: str) -> list:
        """What `fields` are in the row of a ``cursor``; raises `CursorInvalid`."""
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            made_for, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if made_for != self.text:
                raise ValueError
            return [_checked(column, value) for column, value in zip(self._columns, values, strict=True)]
        except (ValueError, TypeError, ArithmeticError, RecursionError, binascii.Error):
            raise CursorInvalid(cursor) from None

    @property
    def _columns(self) -> list[Field]:
        return [self.model._meta.get_field(field) for field in self.fields]

    def cursor(self, row: Model) -> str:
        """The place of ``row``, as text that needs no quoting in a URL or on a command line."""
        keyed = zip(self._columns, self.key_of(row), strict=True)
        values = [column.get_prep_value(value) for column, value in keyed]
        content = json.dumps([self.text, *values], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


class _RowValue(Func):
    """Several values that are compared as one, as an index holds them: (a, b) > (x, y)."""

    template = "(%(expressions)s)"
    output_field = BooleanField()


def parse_order(text: str, model: type[Model], known: Sequence[str], key: tuple[str, ...]) -> Order:
    """``field``, or ``-field`` for the largest first; raise `SortUnknown`."""
    field = text.removeprefix("-")
    if field not in known:
        raise SortUnknown(field, known)
    return Order(model, field, text.startswith("-"), key)


# Reads a number of rows beyond a cursor (empty: from the beginning), backwards or not; gives them as the list
# shows them, and the cursor to go on from, empty at the end.
Read = Callable[[str, bool, int], tuple[list, str]]


def reading(rows: QuerySet, order: Order, listed: Callable[[QuerySet], list] = list) -> Read:
    """Reads ``rows`` in ``order``; ``listed`` makes rows of the list out of some of them."""

    def read(cursor: str, backwards: bool, size: int) -> tuple[list, str]:
        beyond = order.beyond(rows, cursor, backwards) if cursor else rows
        part = listed(order.applied(beyond, backwards)[:size])
        return part, order.cursor(part[-1]) if len(part) == size else ""

    return read


def read_page(
    read: Read,
    order: Order,
    limit: int,
    after: str,
    before: str,
    is_wanted: Callable[[object], bool] = lambda row: True,
) -> Page:
    """At most ``limit`` rows after the cursor ``after``, or the last ones before ``before``.

    Where not all rows are wanted (``is_wanted``), more are read. Raises `FilterInvalid` for a limit that no
    page has, and `CursorInvalid`.
    """
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise FilterInvalid("limit", str(limit), f"from 1 to {MAX_PAGE_SIZE:,} rows")
    backwards = bool(before)
    part, cursor = read(before or after, backwards, limit + 1)
    found = list(filter(is_wanted, part))
    while cursor and len(found) <= limit:
        part, cursor = read(cursor, backwards, MAX_PAGE_SIZE)
        found += filter(is_wanted, part)
    shown = found[:limit][::-1] if backwards else found[:limit]
    has_more = len(found) > limit
    return Page(
        shown,
        order.cursor(shown[-1]) if shown and (has_more or backwards) else None,
        order.cursor(shown[0]) if shown and (has_more if backwards else after) else None,
    )


def _checked(column: Field, value: object) -> object:
    """A value of a cursor, as the database keeps it, as one of ``column``; raise `ValueError` where it cannot
    be one."""
    if isinstance(column, BigIntegerField):
        # Sums that are added up may be larger than what is kept.
        largest = 10 ** (SUM_DIGITS + 4) if isinstance(column, PointsField) else 2**63
        if type(value) is not int or abs(value) >= largest:
            raise ValueError
    elif not isinstance(value, str) or not value.isprintable() or len(value) > 128:
        raise ValueError
    from_database = getattr(column, "from_db_value", None)
    return from_database(value, None, None) if from_database else value
