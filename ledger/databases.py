"""Which database the ledger of given settings is: SQLite in the home, or the PostgreSQL that
POINTS_DATABASE_URL names. Django's ``DATABASES``, of nothing but the settings.
"""

from pathlib import Path
from typing import Any

from django.db import DEFAULT_DB_ALIAS

from ledger.settings import Settings

# The owner's connection has a name of its own, so that no thread ever gets it for the application's.
OWNER_DB_ALIAS = "owner"
# An import of millions of rows holds the only writer's place in SQLite; others wait as long as people would.
_WAIT_SECONDS = 60


def databases(settings: Settings) -> dict[str, dict[str, Any]]:
    """Django's ``DATABASES`` for these settings: ``default``, and of a PostgreSQL whose
    POINTS_DATABASE_OWNER_URL is set, ``owner`` too."""
    if not settings.database_url:
        return {DEFAULT_DB_ALIAS: _sqlite(sqlite_file(settings))}
    found = {DEFAULT_DB_ALIAS: _postgresql(settings.database_url)}
    if settings.database_owner_url:
        found[OWNER_DB_ALIAS] = _postgresql(settings.database_owner_url)
    return found


def sqlite_file(settings: Settings) -> Path:
    """The file of a ledger in SQLite."""
    return settings.home / "ledger.sqlite3"


def ledger_place(settings: Settings) -> str:
    """Where the ledger of these settings is kept, for people; without a password."""
    return database_place(databases(settings)[DEFAULT_DB_ALIAS])


def database_place(configuration: dict[str, Any]) -> str:
    """Where one of Django's databases is, for people, without a password; empty for no database."""
    if not configuration["ENGINE"].endswith("postgresql"):
        return str(configuration["NAME"])
    return f"PostgreSQL database {configuration['NAME']} on {configuration['HOST'] or 'the local server'}"


def _sqlite(file: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": _WAIT_SECONDS,
            # The write-ahead log of the SQLite that comes with Python 3.11 can lose commits.
            "init_command": "pragma journal_mode = delete; pragma synchronous = full;"
            " pragma cache_size = -65536",
        },
    }


def _postgresql(url: str) -> dict[str, Any]:
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
