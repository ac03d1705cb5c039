"""Exact points: their sums; and as text, with other values, for sentences, answers and exports."""

from collections.abc import Hashable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def points_text(points: Decimal) -> str:
    """Points without trailing zeros and without an exponent: ``100``, ``12.5``, ``0``, ``-3``."""
    text = f"{points:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def value_text(value: object) -> str:
    """A value as exports and answers show it: exact points without trailing zeros, instants in UTC."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return points_text(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def summed(amounts: Iterable[tuple[Key, Decimal]]) -> dict[Key, Decimal]:
    """The sums of points by their key, in the order in which the keys first come."""
    sums: dict[Key, Decimal] = {}
    for key, points in amounts:
        sums[key] = sums.get(key, Decimal(0)) + points
    return sums
