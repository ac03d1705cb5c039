"""What is asked of a list, as forms: each filter is a field by name, and what it cannot be is a named error
(docs/cases.md, C9).

Filters come as text, from a query string or the options of a command; empty text asks nothing. Names of
columns are this project's own; values are only ever bound.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import and_, eq, ge, gt, le, lt
from typing import ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q

from ledger.errors import PointsError
from ledger.rules import ValueRefused, check_text, parse_instant
from ledger.settings import MonthInvalid, check_month
from ledger.zones import Zone

_LOOKUPS = {"=": "exact", ">=": "gte", "<=": "lte", "<": "lt", ">": "gt"}
_OPERATORS = {"=": eq, ">=": ge, "<=": le, "<": lt, ">": gt}
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
# The digits before the point that a sum of 38 has, and those of one transfer.
SUM_DIGITS = 34
POINTS_DIGITS = 14


class FilterUnknown(PointsError):
    """No filter of the list has that name."""

    code = "FILTER_UNKNOWN"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no filter {name!r}; filter by {', '.join(known)}.")


class FilterInvalid(PointsError):
    """A filter has a value that it cannot have."""

    code = "FILTER"

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"The filter {name} is {value!r}, but must be {expected}.")


class TextFilter(forms.CharField):
    """Text, taken as it is."""

    expected = "text without control characters"

    def __init__(self) -> None:
        super().__init__(required=False, strip=False)

    def clean(self, value: str) -> object:
        if not value:
            return None
        try:
            check_text("", value).encode("utf-8")
            return self.parsed(value)
        except (ValueRefused, ValueError, MonthInvalid):
            raise ValidationError(self.expected) from None

    def parsed(self, value: str) -> object:
        """The value that ``value`` is; raises `ValueError`, `ValueRefused` or `MonthInvalid`."""
        return value


class ChoiceFilter(TextFilter):
    """One of the words in ``known``."""

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__()
        self.known = tuple(known)
        self.expected = f"one of {', '.join(self.known)}"

    def parsed(self, value: str) -> str:
        if value not in self.known:
            raise ValueError
        return value


class YesNoFilter(ChoiceFilter):
    """``true`` or ``false``."""

    def __init__(self) -> None:
        super().__init__(("true", "false"))

    def parsed(self, value: str) -> bool:
        return super().parsed(value) == "true"


class PointsFilter(TextFilter):
    """Exact points of at most ``digits`` before the point and four after it."""

    def __init__(self, digits: int, signed: bool = False) -> None:
        super().__init__()
        self.pattern = rf"{'-?' if signed else ''}[0-9]{{1,{digits}}}(\.[0-9]{{1,4}})?"
        self.expected = (
            f"a number of points like 12.5, at most {digits} digits before the point and 4 after it"
        )

    def parsed(self, value: str) -> Decimal:
        if not re.fullmatch(self.pattern, value):
            raise ValueError
        return Decimal(value)


class MonthFilter(TextFilter):
    """A report month, ``YYYY-MM``."""

    expected = "a report month, YYYY-MM"

    def parsed(self, value: str) -> str:
        return check_month(value)


class MomentFilter(TextFilter):
    """An instant, or a date of ``zone``, which begins with its day; where it ``is_end``, it includes that
    day."""

    expected = "a date like 2026-10-31 or an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199"

    def __init__(self, zone: Zone, is_end: bool = False) -> None:
        super().__init__()
        self.zone = zone
        self.days_on = 1 if is_end else 0

    def parsed(self, value: str) -> datetime:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return parse_instant("", value, self.zone)
        parse_instant("", f"{value}T00:00:00", self.zone)  # its years are those of a transfer
        return self.zone.to_utc(datetime.fromisoformat(value) + timedelta(days=self.days_on))


class ListForm(forms.Form):
    """The filters of a list; ``compared`` has those that compare a column with a value, and how."""

    compared: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def asked(self) -> dict[str, object]:
        """What the filters ask, by name, those alone that ask something; raises `FilterUnknown` and
        `FilterInvalid`."""
        for name in self.data:
            if name not in self.fields:
                raise FilterUnknown(name, self.fields)
        for name, errors in self.errors.items():
            raise FilterInvalid(name, self.data[name], errors[0])
        return {name: value for name, value in self.cleaned_data.items() if value is not None}

    def conditions(self) -> list["Condition"]:
        """What is asked of columns, one by one; raises `FilterUnknown` and `FilterInvalid`."""
        conditions: list[Condition] = []
        for name, value in self.asked().items():
            if name == "relation_prefix":
                conditions += beginning_with("relation_reference", value)
            elif name in self.compared:
                conditions.append(Condition(*self.compared[name], value))
        return conditions


@dataclass(frozen=True)
class Condition:
    """That a row's ``column`` compares with ``value``: ``=``, ``>=``, ``<=``, ``<`` or ``>``."""

    column: str
    comparison: str
    value: object

    def holds_for(self, row: object) -> bool:
        """Whether it holds for the attribute of ``row`` of that name."""
        return _OPERATORS[self.comparison](getattr(row, self.column), self.value)

    def in_django(self) -> Q:
        """For a queryset whose model has the column."""
        return Q(**{f"{self.column}__{_LOOKUPS[self.comparison]}": self.value})


def beginning_with(column: str, prefix: str) -> list[Condition]:
    """That text begins with ``prefix``, as a range, so that an index leads to it and no character of it means
    anything else."""
    conditions = [Condition(column, ">=", prefix)]
    following = _following(prefix)
    return [*conditions, Condition(column, "<", following)] if following else conditions


def all_of(conditions: Iterable[Condition]) -> Q:
    """That each of ``conditions`` holds."""
    return reduce(and_, (condition.in_django() for condition in conditions), Q())


def _following(prefix: str) -> str:
    """The first text after every one that begins with ``prefix``; empty where nothing can follow."""
    kept = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not kept:
        return ""
    code_point = ord(kept[-1]) + 1
    if code_point in _SURROGATES:
        code_point = _SURROGATES.stop
    return kept[:-1] + chr(code_point)
