"""Reads a list of any length as of one moment, in bounded memory, without holding others up.

PostgreSQL gives the rows of one query through a cursor, all as of its beginning. In SQLite an open query
keeps every writer waiting, so its rows go into a file at once, and are handed out from there.
"""

import pickle
import tempfile
from collections.abc import Iterator

from django.db import connection
from django.db.models import QuerySet

from ledger.database import Ledger
from ledger.work_folders import work_folder

ROWS_PER_READ = 5_000


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
