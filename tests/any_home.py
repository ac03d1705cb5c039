"""What no process but one of tests may do: work on the ledgers of many homes, one after the other."""

from django.db import connections

from ledger import database
from ledger.database import AnotherHome, connect
from ledger.databases import databases
from ledger.settings import Settings
from ledger.upkeep import inspection


def allow_any_home() -> None:
    """Let this process open the ledger of any settings, also after another's."""
    # In every module that has a name for it.
    for module in (database, inspection):
        module.connect = _connect_anew


def _connect_anew(settings: Settings) -> None:
    try:
        connect(settings)
    except AnotherHome:
        for opened in connections.all(initialized_only=True):
            opened.close()
            del connections[opened.alias]
        connections.settings.clear()
        connections.settings.update(connections.configure_settings(databases(settings)))
