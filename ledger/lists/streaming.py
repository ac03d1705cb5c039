"""Reads a list of any length as of one moment, in bounded memory, without holding others up, and sorts one.

PostgreSQL gives the rows of one query through a cursor, all as of its beginning. In SQLite an open query
keeps every writer waiting, so its rows go into a file at once, and are handed out from there.
"""

import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import IO, TypeVar

from django.db import connection
from django.db.models import QuerySet

from ledger.chunks import chunks
from ledger.database import Ledger
from ledger.work_folders import work_folder

ROWS_PER_READ = 5_000
# So many of a list are sorted in memory at once.
ROWS_PER_SORT = 100_000
_ROWS_PER_MERGE = 500

Row = TypeVar("Row")


def streamed(ledger: Ledger, values: QuerySet) -> Iterator[tuple]:
    """The tuples of ``values``, a `values_list`, read by one query."""
    if connection.vendor == "postgresql":
        yield from values.iterator(ROWS_PER_READ)
        return
    compiler = values.query.get_compiler(connection=connection)
    with work_folder(ledger.settings.home) as folder, tempfile.TemporaryFile(dir=folder) as spool:
        parts = 0
        with connection.cursor() as cursor:
            cursor.execute(*compiler.as_sql())
            # As SQLite gives them: numbers and texts take a fraction of the time of decimals and instants.
            while part := cursor.fetchmany(ROWS_PER_READ):
                pickle.dump(part, spool, pickle.HIGHEST_PROTOCOL)
                parts += 1
        spool.seek(0)
        # A file without a name, which this process alone has written.
        read = (pickle.load(spool) for _ in range(parts))
        yield from compiler.results_iter(read, tuple_expected=True)


def in_order(
    ledger: Ledger, rows: Iterable[Row], key: Callable[[Row], object], descending: bool
) -> Iterator[Row]:
    """``rows``, which no index orders, by their ``key``: parts that memory holds are sorted one by one, lie
    in files, and are merged."""
    with work_folder(ledger.settings.home) as folder, ExitStack() as spools:
        parts = []
        for part in chunks(rows, ROWS_PER_SORT):
            spool = spools.enter_context(tempfile.TemporaryFile(dir=folder))
            for some in chunks(sorted(part, key=key, reverse=descending), _ROWS_PER_MERGE):
                pickle.dump(some, spool, pickle.HIGHEST_PROTOCOL)
            parts.append(_read_again(spool))
        yield from heapq.merge(*parts, key=key, reverse=descending)


def _read_again(spool: IO[bytes]) -> Iterator:
    """What was put into a file without a name, some at a time."""
    end = spool.tell()
    spool.seek(0)
    while spool.tell() < end:
        yield from pickle.load(spool)
