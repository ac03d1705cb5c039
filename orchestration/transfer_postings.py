"""To which bucket and month transfers posted, as the newest build has it: models alone classify."""

from collections.abc import Mapping
from pathlib import Path

from ledger.anchors import read_anchor
from ledger.lists.list_requests import parse_month
from ledger.lists.transfer_lists import BuildNeeded
from ledger.lists.transfer_search import Postings
from orchestration.month_files import PROVISIONAL, named
from orchestration.reports import MonthNotBuilt

FILTERS_OF_A_BUILD = ("bucket", "posted_month")
_POSTED = named("posted_transfers.parquet", PROVISIONAL)


def find_postings(home: Path, filters: Mapping[str, str]) -> Postings | None:
    """What the filters of a list of transfers need of the newest build; None where they need nothing.

    Raises `BuildNeeded` where there is no build of the home's ledger, and `MonthNotBuilt`.
    """
    asked = [name for name in FILTERS_OF_A_BUILD if filters.get(name)]
    if not asked:
        return None
    # The folder of the run, so that a build that ends meanwhile changes nothing.
    folder = (home / "provisional").resolve()
    months = sorted(path.parent.name for path in folder.glob(f"*/{_POSTED}"))
    if not months:
        raise BuildNeeded(asked, "there is none yet")
    anchor = read_anchor(folder)
    if anchor is None:
        raise BuildNeeded(asked, "the newest was made of files instead of the ledger")
    if filters.get("posted_month"):
        month = parse_month("posted_month", filters["posted_month"])
        if month not in months:
            raise MonthNotBuilt(month, home, months)
        months = [month]
    return Postings(tuple(folder / month / _POSTED for month in months), anchor.entry_id)
