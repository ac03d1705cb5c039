"""Freezes the ledger beside the work of others, who hold the lock of the home for as long as they need it."""

from ledger.cut import Cut, freeze
from ledger.database import Ledger
from orchestration.run_lock import RunInProgress, run_lock


def freeze_unless_running(ledger: Ledger) -> Cut | None:
    """Bring the cut up to the ledger's end; None, and nothing done, where another run is going on."""
    try:
        with run_lock(ledger.settings.home, "freezing the ledger for a list"):
            return freeze(ledger)
    except RunInProgress:
        return None
