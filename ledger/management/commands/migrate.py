"""``manage.py migrate``: Django's, by whoever may change the tables of the ledger."""

from typing import Any

from django.core.management.commands import migrate
from django.db import DatabaseError
from django.db.migrations.exceptions import IrreversibleError

from ledger.database import LedgerNotReached, migrating
from ledger.databases import ledger_place
from ledger.errors import PointsError, first_line
from ledger.settings import project_settings


class MigrationIrreversible(PointsError):
    """The tables are to be made those of an earlier version, or unmade."""

    code = "MIGRATION_IRREVERSIBLE"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The tables of the ledger in {place} cannot go back to an earlier version, because entries are"
            " never taken away, so nothing was changed: for an earlier version of this project restore a"
            " backup that it made into a home of its own; for an empty ledger set POINTS_HOME to an empty"
            " folder."
        )


class Command(migrate.Command):
    """Brings the tables of the ledger up to date, as a first command of `points` does."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; raise `LedgerMissing`, `LedgerSchemaOutdated`, `LedgerNotReached` or
        `MigrationIrreversible`."""
        settings = project_settings()
        try:
            with migrating(settings) as alias:
                super().handle(*args, **{**options, "database": alias})
        except IrreversibleError as error:
            raise MigrationIrreversible(ledger_place(settings)) from error
        except DatabaseError as error:
            raise LedgerNotReached(ledger_place(settings), first_line(error)) from error
