"""What is asked of a list: filters, an order and a page, each refused by name where it is not known
(docs/cases.md, C9).

Filters come as text by name, as a query string or the options of a command give them, and become conditions:
a column, a comparison and a value. Names of columns and comparisons are this project's own; values are only
ever bound.
"""

import base64
import binascii
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Generic, TypeVar

from ledger.errors import PointsError
from ledger.rules import ValueRefused, check_text, parse_instant
from ledger.settings import MonthInvalid, check_month
from ledger.zones import Zone

MAX_PAGE_SIZE = 1_000
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_COMPARISONS = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}

Row = TypeVar("Row")


class FilterUnknown(PointsError):
    """No filter of the list has that name."""

    code = "FILTER_UNKNOWN"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no filter {name!r}; filter by {', '.join(known)}.")
        self.name = name


class FilterInvalid(PointsError):
    """A filter has a value that it cannot have."""

    code = "FILTER"

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"The filter {name} is {value!r}, but must be {expected}.")
        self.name = name
        self.value = value
        self.expected = expected


class SortUnknown(PointsError):
    """The list cannot be sorted by that."""

    code = "SORT_UNKNOWN"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"The list cannot be sorted by {name!r}; sort by {', '.join(known)}, with a - before it for the"
            " largest first."
        )
        self.name = name


class CursorInvalid(PointsError):
    """The way to the next page was not given by a page of the same list in the same order."""

    code = "CURSOR"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} leads to no page of this list in this order; take what the page before gave, with the"
            " same order, or leave it out for the first page."
        )
        self.text = text


@dataclass(frozen=True)
class Condition:
    """A row's ``column`` compared with ``value``; ``comparison`` is a key of `_COMPARISONS`."""

    column: str
    comparison: str
    value: object

    def matches(self, row: object) -> bool:
        """Whether the attribute of ``row`` named like the column holds to it."""
        return _COMPARISONS[self.comparison](getattr(row, self.column), self.value)


@dataclass(frozen=True)
class Sort:
    """An order of rows by one field; equal ones follow the list's own order, in the same direction."""

    field: str
    descending: bool

    @property
    def direction(self) -> str:
        """How SQL says it."""
        return "desc" if self.descending else "asc"

    @property
    def beyond(self) -> str:
        """The comparison that holds for all rows that come later in this order."""
        return "<" if self.descending else ">"


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list; ``next_cursor`` leads to those after them, None where there are none."""

    rows: list[Row]
    next_cursor: str | None


def check_filters(filters: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """The filters that say something; raise `FilterUnknown` or, for text that no value can be,
    `FilterInvalid`."""
    known = tuple(known)
    for name, value in filters.items():
        if name not in known:
            raise FilterUnknown(name, known)
        try:
            check_text(name, value).encode("utf-8")
        except (ValueRefused, UnicodeEncodeError):
            raise FilterInvalid(name, value, "text without control characters") from None
    return {name: value for name, value in filters.items() if value}


def parse_sort(text: str, known: Iterable[str]) -> Sort:
    """``field``, or ``-field`` for the largest first; raise `SortUnknown`."""
    known = tuple(known)
    field = text.removeprefix("-")
    if field not in known:
        raise SortUnknown(field, known)
    return Sort(field, descending=text.startswith("-"))


def check_page_size(limit: int) -> int:
    """Return ``limit`` where a page may be so long; raise `FilterInvalid`."""
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise FilterInvalid("limit", str(limit), f"from 1 to {MAX_PAGE_SIZE:,} rows")
    return limit


def prefix_conditions(column: str, prefix: str) -> list[Condition]:
    """That text begins with ``prefix``, as a range, so that no character of it means anything else."""
    conditions = [Condition(column, ">=", prefix)]
    following = _following(prefix)
    return [*conditions, Condition(column, "<", following)] if following else conditions


def _following(prefix: str) -> str:
    """The first text after every one that begins with ``prefix``; empty where nothing can follow."""
    kept = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not kept:
        return ""
    code_point = ord(kept[-1]) + 1
    if code_point in _SURROGATES:
        code_point = _SURROGATES.stop
    return kept[:-1] + chr(code_point)


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    """Return ``value`` where it is one of ``known``; raise `FilterInvalid`."""
    known = tuple(known)
    if value not in known:
        raise FilterInvalid(name, value, f"one of {', '.join(known)}")
    return value


def yes_or_no(name: str, value: str) -> bool:
    """``true`` or ``false``; raise `FilterInvalid`."""
    return one_of(name, value, ("true", "false")) == "true"


def parse_amount(name: str, value: str, digits: int, signed: bool = False) -> Decimal:
    """Points of at most ``digits`` before the point and four after it; raise `FilterInvalid`."""
    sign = "-?" if signed else ""
    if not re.fullmatch(rf"{sign}[0-9]{{1,{digits}}}(\.[0-9]{{1,4}})?", value):
        expected = f"a number of points like 12.5, at most {digits} digits before the point and 4 after it"
        raise FilterInvalid(name, value, expected)
    return Decimal(value)


def parse_month(name: str, value: str) -> str:
    """A report month, ``YYYY-MM``; raise `FilterInvalid`."""
    try:
        return check_month(value)
    except MonthInvalid:
        raise FilterInvalid(name, value, "a report month, YYYY-MM") from None


def parse_start(name: str, value: str, zone: Zone) -> datetime:
    """The instant from which rows count: a date begins with its day in ``zone``."""
    return _parse_moment(name, value, zone, days_on=0)


def parse_end(name: str, value: str, zone: Zone) -> datetime:
    """The instant before which rows count; a date includes its whole day in ``zone``."""
    return _parse_moment(name, value, zone, days_on=1)


def _parse_moment(name: str, value: str, zone: Zone, days_on: int) -> datetime:
    expected = "a date like 2026-10-31 or an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199"
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return parse_instant(name, value, zone)
        parse_instant(name, f"{value}T00:00:00", zone)  # its years are those of a transfer
        return zone.to_utc(datetime.fromisoformat(value) + timedelta(days=days_on))
    except (ValueRefused, ValueError):
        raise FilterInvalid(name, value, expected) from None


def encode_cursor(sort_text: str, values: Iterable[object]) -> str:
    """The end of a page, as text that needs no quoting in a URL or on a command line."""
    content = json.dumps([sort_text, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_cursor(text: str, sort_text: str, checks: Iterable[Callable[[object], bool]]) -> list:
    """The values that `encode_cursor` took, each validated by the check at its position in ``checks``.

    Raises `CursorInvalid` where the cursor is of another order, or was not made by `encode_cursor`.
    """
    checks = list(checks)
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        made_for, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        is_right = made_for == sort_text and len(values) == len(checks)
        if not is_right or not all(check(value) for check, value in zip(checks, values, strict=True)):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise CursorInvalid(text) from None
    return values


def is_code(value: object) -> bool:
    """Whether a cursor's value may be text of the ledger."""
    return isinstance(value, str) and value.isprintable() and len(value) <= 128


def is_stored_number(value: object) -> bool:
    """Whether a cursor's value may be a whole number of the database."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
