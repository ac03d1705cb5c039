"""Reads a list of any length as of one moment, in bounded memory, without holding others up.

PostgreSQL gives the rows of one query through a cursor, all as of its beginning. In SQLite an open query
keeps every writer waiting, so its rows go into a file at once, and are handed out from there.
"""

import pickle
import tempfile
from collections.abc import Iterator
from itertools import chain

from django.db import connection
from django.db.models import QuerySet

from ledger.chunks import chunks
from ledger.database import Ledger
from ledger.work_folders import work_folder

ROWS_PER_READ = 5_000


def streamed(ledger: Ledger, values: QuerySet) -> Iterator[tuple]:
    """The tuples of ``values``, a `values_list`, read by one query."""
    rows = values.iterator(ROWS_PER_READ)
    if connection.vendor == "postgresql":
        yield from rows
        return
    with work_folder(ledger.settings.home) as folder, tempfile.TemporaryFile(dir=folder) as spool:
        parts = 0
        for part in chunks(rows, ROWS_PER_READ):
            pickle.dump(part, spool, pickle.HIGHEST_PROTOCOL)
            parts += 1
        spool.seek(0)
        # A file without a name, which this process alone has written.
        yield from chain.from_iterable(pickle.load(spool) for _ in range(parts))
