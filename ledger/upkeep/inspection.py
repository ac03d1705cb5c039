"""Opens the ledger unchanged, for inspection: nothing is created, migrated or refused."""

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from ledger.anchors import first_trace
from ledger.database import Ledger, LedgerEmpty, LedgerMissing, LedgerNotReached, connect
from ledger.databases import ledger_place, sqlite_file
from ledger.errors import first_line
from ledger.models import LEDGER_TABLES
from ledger.settings import Settings


def open_as_it_stands(settings: Settings) -> tuple[Ledger, frozenset[str]]:
    """Return the ledger of ``settings``, which is that of the process, and which of its tables are there.

    Raises `AnotherHome`, `LedgerMissing` or `LedgerEmpty` where there is none of them, `LedgerNotReached`.
    """
    place = ledger_place(settings)
    tables: frozenset[str] = frozenset()
    # Connecting to SQLite would make the file.
    if settings.database_url or sqlite_file(settings).exists():
        try:
            connect(settings)
            tables = frozenset(connection.introspection.table_names()).intersection(LEDGER_TABLES)
        except DatabaseError as error:
            raise LedgerNotReached(place, first_line(error)) from error
    if not tables:
        refuse_as_empty(settings)
    return Ledger(settings, settings.user), tables


def unapplied_migrations() -> list[str]:
    """The names of migrations that a ledger of an earlier version lacks; the next command that records, or
    reads as one would, makes them."""
    known, applied = known_and_applied_migrations()
    return sorted(known - applied)


def known_and_applied_migrations() -> tuple[set[str], set[str]]:
    """The names of this program's migrations of the ledger, and of those that made its tables."""
    known = {name for app, name in MigrationLoader(None).disk_migrations if app == "ledger"}
    return known, {
        name for app, name in MigrationRecorder(connection).applied_migrations() if app == "ledger"
    }


def refuse_as_empty(settings: Settings) -> None:
    """Raise `LedgerMissing` where the home was built on a ledger, `LedgerEmpty` otherwise."""
    place = ledger_place(settings)
    trace = first_trace(settings.home)
    raise LedgerMissing(place, trace) if trace else LedgerEmpty(place)
