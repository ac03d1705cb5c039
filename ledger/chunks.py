"""Many values, some at a time: as many as a query takes, or as memory shall hold."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from django.db import connection
from django.db.models import QuerySet

# Fewer than SQLite's limit on the parameters of a query.
VALUES_PER_QUERY = 500

Value = TypeVar("Value")


def chunks(values: Iterable[Value], size: int = VALUES_PER_QUERY) -> Iterator[list[Value]]:
    """``values`` in lists of at most ``size``, in their order."""
    values = iter(values)
    while chunk := list(islice(values, size)):
        yield chunk


def found_by(rows: QuerySet, column: str, values: Iterable[object]) -> Iterator:
    """Those of ``rows`` whose ``column`` is one of ``values``; each part of them in the order of ``rows``."""
    for chunk in chunks(dict.fromkeys(values)):
        yield from rows.filter(**{f"{column}__in": chunk})


def found_in(query: str, values: Iterable[object]) -> Iterator[tuple]:
    """The rows of ``query``, an SQL text that names a list of ``values`` as ``({values})``, as often as it
    likes; some of them at a time."""
    times = query.count("{values}")
    for chunk in chunks(dict.fromkeys(values), VALUES_PER_QUERY // times):
        marks = ", ".join(["%s"] * len(chunk))
        with connection.cursor() as cursor:
            cursor.execute(query.replace("{values}", marks), chunk * times)
            yield from cursor.fetchall()
