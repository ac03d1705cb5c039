"""``manage.py migrate``: Django's, by whoever may change the tables of the ledger."""

from typing import Any

from django.core.management.commands import migrate
from django.db import DatabaseError

from ledger.database import LedgerNotReached, migrating
from ledger.databases import ledger_place
from ledger.errors import first_line
from ledger.settings import project_settings


class Command(migrate.Command):
    """Brings the tables of the ledger up to date, as a first command of `points` does."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; raise `LedgerMissing`, `LedgerSchemaOutdated` or `LedgerNotReached`."""
        settings = project_settings()
        try:
            with migrating(settings) as alias:
                super().handle(*args, **{**options, "database": alias})
        except DatabaseError as error:
            raise LedgerNotReached(ledger_place(settings), first_line(error)) from error
