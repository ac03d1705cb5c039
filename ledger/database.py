"""Where the ledger is kept: SQLite in the home, or the PostgreSQL that POINTS_DATABASE_URL names.

Opening it brings the schema up to date and checks that it is the ledger that the home was built on; a ledger
that is missing or older than that is refused, never silently begun anew (docs/cases.md, X12).
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, DatabaseError, ProgrammingError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.db.migrations.executor import MigrationExecutor

from ledger.anchors import check_anchors, first_trace
from ledger.errors import PointsError, first_line
from ledger.guards import GUARDED_TABLES
from ledger.locks import open_lock
from ledger.models import LEDGER_TABLES, ChainLink
from ledger.seals import check_seals
from ledger.settings import Settings

# An import of millions of rows holds the only writer's place in SQLite; others wait as long as people would.
_WAIT_SECONDS = 60
# The owner's connection has a name of its own, so that no thread ever gets it for the application's.
_OWNER = "owner"
# Not the number that `ledger.append` locks writers by.
_MIGRATIONS_LOCK = 7_043_112_021


class LedgerMissing(PointsError):
    """There is no ledger, but the home holds what was made from one."""

    code = "LEDGER_MISSING"

    def __init__(self, place: str, trace: Path) -> None:
        super().__init__(
            f"The ledger is missing: {place} holds none, but {trace} was made from one; restore the ledger"
            " from its backup, or set POINTS_HOME to an empty folder to begin another programme."
        )
        self.place = place
        self.trace = trace


class LedgerEmpty(PointsError):
    """Nothing has been recorded yet."""

    code = "LEDGER_EMPTY"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"There is no ledger in {place} yet; begin one with `points import FILE`, `points give … --new`"
            " or `points demo`."
        )


class LedgerSchemaOutdated(PointsError):
    """The database's tables are missing or of an earlier version, and this user may not change them."""

    code = "LEDGER_SCHEMA"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The tables of the ledger in {place} are missing or of an earlier version, and the user of"
            " POINTS_DATABASE_URL may not make them; run the same once with"
            " POINTS_DATABASE_OWNER_URL set to their owner."
        )


class LedgerNotReached(PointsError):
    """The database of the ledger does not answer."""

    code = "LEDGER_NOT_REACHED"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(
            f"The ledger in {place} cannot be reached: {problem}; nothing was recorded, so fix that and run"
            " the same command again."
        )


@dataclass(frozen=True)
class Ledger:
    """An open ledger: its settings, who acts on it, and the clock that entries are dated by."""

    settings: Settings
    user: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def place(self) -> str:
        """Where it is kept, for people; without a password."""
        return ledger_place(self.settings)


def ledger_place(settings: Settings) -> str:
    """Where the ledger of these settings is kept, for people; without a password."""
    if not settings.database_url:
        return str(sqlite_file(settings))
    parameters = _postgresql(settings.database_url)
    return f"PostgreSQL database {parameters['NAME']} on {parameters['HOST'] or 'the local server'}"


def sqlite_file(settings: Settings) -> Path:
    """The file of a ledger in SQLite."""
    return settings.home / "ledger.sqlite3"


def open_ledger(settings: Settings, create: bool = False) -> Ledger:
    """Connect this process to the ledger of ``settings`` and return it.

    ``create`` begins one where there is none yet. Raises `LedgerEmpty` where there is none and none is to be
    begun; `LedgerMissing` and `LedgerReplaced` where the home was built on another; `SealBroken` where a
    setting is not what the first close sealed; `LedgerSchemaOutdated` and `LedgerNotReached`.
    """
    place = ledger_place(settings)
    try:
        connect(settings)
        try:
            _begin(settings, create)
        except ProgrammingError:
            if not settings.database_owner_url:
                raise
            # The owner has made the tables, but the application may not read them yet: another first command
            # is about to say so, or was cut off.
            _migrate(settings)
            _begin(settings, create)
        check_anchors(settings.home, place)
        check_seals(settings)
    except DatabaseError as error:
        raise LedgerNotReached(place, first_line(error)) from error
    return Ledger(settings, settings.user)


def _begin(settings: Settings, create: bool) -> None:
    """Refuse where there is no ledger, or make its tables, and bring those that are there up to date."""
    if not _is_begun(settings):
        place = ledger_place(settings)
        trace = first_trace(settings.home)
        if trace:
            raise LedgerMissing(place, trace)
        if not create:
            raise LedgerEmpty(place)
        settings.home.mkdir(parents=True, exist_ok=True)
    if _lacks_migrations():
        _migrate(settings)


def connect(settings: Settings) -> None:
    """Point Django's default connection of this process at the ledger, making and checking nothing."""
    configurations = {"default": _configuration(settings, settings.database_url)}
    if settings.database_owner_url:
        configurations[_OWNER] = _configuration(settings, settings.database_owner_url)
    for opened in connections.all(initialized_only=True):
        opened.close()
        del connections[opened.alias]
    connections.databases.pop(_OWNER, None)
    connections.databases.update(connections.configure_settings(configurations))


def _configuration(settings: Settings, url: str | None) -> dict:
    if url:
        return _postgresql(url)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(sqlite_file(settings)),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": _WAIT_SECONDS,
            # The write-ahead log of the SQLite that comes with Python 3.11 can lose commits.
            "init_command": "pragma journal_mode = delete; pragma synchronous = full;"
            " pragma cache_size = -65536",
        },
    }


def _is_begun(settings: Settings) -> bool:
    if not settings.database_url and not sqlite_file(settings).exists():
        return False  # connecting would make the file
    return ChainLink._meta.db_table in connection.introspection.table_names() and _head_exists()


def _head_exists() -> bool:
    return ChainLink.objects.exists()


def _lacks_migrations() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _migrate(settings: Settings) -> None:
    """Bring the tables up to date, as their owner where POINTS_DATABASE_OWNER_URL names one."""
    owner = connections[_OWNER if settings.database_owner_url else DEFAULT_DB_ALIAS]
    try:
        with _one_at_a_time(settings, owner):
            executor = MigrationExecutor(owner)
            targets = executor.loader.graph.leaf_nodes()
            if executor.migration_plan(targets):
                executor.migrate(targets)
            if settings.database_owner_url:
                _grant_to_application(owner, connection.settings_dict["USER"])
    except (ProgrammingError, MigrationSchemaMissing) as error:
        if "permission denied" not in str(error) and "must be owner" not in str(error):
            raise
        raise LedgerSchemaOutdated(ledger_place(settings)) from error
    finally:
        if owner.alias == _OWNER:
            owner.close()


@contextmanager
def _one_at_a_time(settings: Settings, owner: BaseDatabaseWrapper) -> Iterator[None]:
    """Keep others from making tables meanwhile: two first commands at once would each begin to."""
    if owner.vendor == "postgresql":
        with owner.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [_MIGRATIONS_LOCK])
            try:
                yield
            finally:
                cursor.execute("select pg_advisory_unlock(%s)", [_MIGRATIONS_LOCK])
    else:
        with open_lock(settings.home / "ledger.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _grant_to_application(owner: BaseDatabaseWrapper, user: str) -> None:
    """Let ``user`` read and append, and nothing else; at no moment less, for others are at work."""
    role = owner.ops.quote_name(user)
    with transaction.atomic(using=owner.alias), owner.cursor() as cursor:
        cursor.execute(f"revoke all on {', '.join(GUARDED_TABLES)} from {role}")
        cursor.execute(f"grant select, insert on {', '.join(LEDGER_TABLES)} to {role}")
        cursor.execute(f"grant select on django_migrations to {role}")


def _postgresql(url: str) -> dict:
    from psycopg import IsolationLevel
    from psycopg.conninfo import conninfo_to_dict

    parameters = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parameters.pop("dbname", ""),
        "USER": parameters.pop("user", ""),
        "PASSWORD": parameters.pop("password", ""),
        "HOST": parameters.pop("host", ""),
        "PORT": parameters.pop("port", ""),
        # Under a stricter level a writer would see the ledger as of before its turn.
        "OPTIONS": {**parameters, "isolation_level": IsolationLevel.READ_COMMITTED},
    }
