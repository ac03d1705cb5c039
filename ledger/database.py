"""Opens the ledger that Django is configured for (`ledger.databases`).

Opening it brings the schema up to date and checks that it is the ledger that the home was built on; a ledger
that is missing or older than that is refused, never silently begun anew (docs/cases.md, X12).
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import ConnectionDoesNotExist, load_backend

from ledger.anchors import check_anchors, first_trace
from ledger.databases import OWNER_DB_ALIAS, database_place, databases, ledger_place, sqlite_file
from ledger.errors import PointsError, first_line
from ledger.guards import GUARDED_TABLES
from ledger.locks import open_lock
from ledger.models import KEPT_TABLES, LEDGER_TABLES, ChainLink
from ledger.seals import check_seals
from ledger.settings import Settings

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


class AnotherHome(PointsError):
    """A process that was started for one ledger is asked for another."""

    code = "ANOTHER_HOME"

    def __init__(self, place: str, own: str) -> None:
        super().__init__(
            f"This process was started for {f'the ledger in {own}' if own else 'no ledger'}, so it does not"
            f" open the one in {place}; start another process, with the POINTS_ settings of that one."
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


def open_ledger(settings: Settings, create: bool = False) -> Ledger:
    """Return the ledger of ``settings``, which is that of the process (`connect`).

    ``create`` begins one where there is none yet. Raises `AnotherHome` where it is not; `LedgerEmpty` where
    there is none and none is to be begun; `LedgerMissing` and `LedgerReplaced` where the home was built on
    another; `SealBroken` where a setting is not what the first close sealed; `LedgerSchemaOutdated` and
    `LedgerNotReached`.
    """
    place = ledger_place(settings)
    try:
        connect(settings)
        try:
            _begin(settings, create)
        except ProgrammingError:
            if OWNER_DB_ALIAS not in databases(settings):
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
        _refuse_missing(settings)
        if not create:
            raise LedgerEmpty(ledger_place(settings))
        settings.home.mkdir(parents=True, exist_ok=True)
    if _lacks_migrations():
        _migrate(settings)


def connect(settings: Settings) -> None:
    """Make this thread's connection ready for the ledger of ``settings``; make and check nothing in it.

    One that was left broken, or for longer than CONN_MAX_AGE, is made anew, as Django does before a request.
    Raises `AnotherHome` where Django was configured for another ledger.
    """
    for alias, wanted in databases(settings).items():
        found = connected.settings_dict if (connected := _connection(alias)) else {}
        if any(found.get(key) != value for key, value in wanted.items()):
            raise AnotherHome(ledger_place(settings), database_place(connection.settings_dict))
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


@contextmanager
def connected_to(settings: Settings) -> Iterator[None]:
    """Let this thread alone work on the ledger of ``settings`` for the body, and then on its own again.

    For what makes or looks at a ledger beside the process's own: the demo, a backup's copy, and the home of
    `points doctor`, of whose settings not all need be valid.
    """
    own = {alias: own for alias in (DEFAULT_DB_ALIAS, OWNER_DB_ALIAS) if (own := _connection(alias))}
    for alias in own:
        del connections[alias]
    configured = connections.configure_settings(databases(settings))
    for alias, configuration in configured.items():
        connections[alias] = load_backend(configuration["ENGINE"]).DatabaseWrapper(configuration, alias)
    try:
        yield
    finally:
        for alias in configured:
            connections[alias].close()
            del connections[alias]
        for alias, connected in own.items():
            connections[alias] = connected


def _connection(alias: str) -> BaseDatabaseWrapper | None:
    """This thread's connection of that name; None where there is none."""
    try:
        return connections[alias]
    except ConnectionDoesNotExist:
        return None


def _is_begun(settings: Settings, alias: str = DEFAULT_DB_ALIAS) -> bool:
    if not settings.database_url and not sqlite_file(settings).exists():
        return False  # connecting would make the file
    has_table = ChainLink._meta.db_table in connections[alias].introspection.table_names()
    return has_table and ChainLink.objects.using(alias).exists()


def _refuse_missing(settings: Settings) -> None:
    if trace := first_trace(settings.home):
        raise LedgerMissing(ledger_place(settings), trace)


def _lacks_migrations() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _migrate(settings: Settings) -> None:
    """Bring the tables up to date."""
    with migrating(settings) as alias:
        executor = MigrationExecutor(connections[alias])
        targets = executor.loader.graph.leaf_nodes()
        if executor.migration_plan(targets):
            executor.migrate(targets)


@contextmanager
def migrating(settings: Settings) -> Iterator[str]:
    """Let the body alone bring the tables up to date through the connection of the name that it gets.

    It is their owner's where POINTS_DATABASE_OWNER_URL names one, who then lets the application read and
    append. Raises `LedgerMissing` and `LedgerSchemaOutdated`.
    """
    alias = OWNER_DB_ALIAS if OWNER_DB_ALIAS in databases(settings) else DEFAULT_DB_ALIAS
    owner = connections[alias]
    try:
        if not _is_begun(settings, alias):
            _refuse_missing(settings)
            settings.home.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(settings, owner):
            yield alias
            if alias == OWNER_DB_ALIAS:
                _grant_to_application(owner, connection.settings_dict["USER"])
    except (ProgrammingError, MigrationSchemaMissing) as error:
        if "permission denied" not in str(error) and "must be owner" not in str(error):
            raise
        raise LedgerSchemaOutdated(ledger_place(settings)) from error
    finally:
        if alias == OWNER_DB_ALIAS:
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
    """Let ``user`` read and append, and change what is kept beside the entries; at no moment less, for others
    are at work."""
    role = owner.ops.quote_name(user)
    with transaction.atomic(using=owner.alias), owner.cursor() as cursor:
        cursor.execute(f"revoke all on {', '.join(GUARDED_TABLES)} from {role}")
        cursor.execute(f"grant select, insert on {', '.join(LEDGER_TABLES)} to {role}")
        cursor.execute(f"grant select, insert, update, delete on {', '.join(KEPT_TABLES)} to {role}")
        cursor.execute(f"grant select on django_migrations to {role}")
