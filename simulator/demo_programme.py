"""The demo programme: fourteen months of some two thousand customers, as an import file.

The ordinary story is `life`; the first customers (`C-000001` and on) play the `scenes`.
"""

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ledger.disk import sync_file
from simulator.agenda import Agenda
from simulator.dice import Dice
from simulator.feed import Feed
from simulator.life import MemberLife
from simulator.months import ENDS_AT
from simulator.scenes import SCENE_CUSTOMERS, Stage
from simulator.transfer_files import COLUMNS, Row, write_transfers

_SEED = 20_250_901
_CUSTOMERS = 2_000
_RESENT_AT, _RESENT_ROWS = datetime(2026, 3, 2, 4, tzinfo=UTC), 4


def _make_rows() -> list[Row]:
    feed, agenda = Feed(), Agenda(ENDS_AT)
    Stage(feed, agenda).plan_scenes()
    MemberLife(feed, agenda, Dice(_SEED)).plan_members(SCENE_CUSTOMERS + 1, _CUSTOMERS)
    agenda.plan(_RESENT_AT, partial(feed.repeat_newest, _RESENT_ROWS))
    agenda.run()
    return feed.list_rows()


def write_demo_transfers(path: Path) -> int:
    """Write the demo programme to `path` as an import file (docs/design.md, section 5).

    The file is UTF-8 CSV with CRLF and the header `COLUMNS`; one row per transfer, and one more
    for each change of its status, in the order in which they happened; rows that arrive late
    stand at the end. Points are decimal text with up to four places, instants are UTC with `Z`,
    from `FIRST_MONTH` to `LAST_MONTH`. The bytes never differ. Five rows break a rule,
    so an import needs `--quarantine`.

    The file appears whole or not at all: it is written beside `path`, synced and moved there.

    Returns the number of rows, without the header. Raises `OSError` where the folder is missing
    or cannot be written to; nothing is left behind then.
    """
    rows = _make_rows()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        sync_file(write_transfers(unfinished, rows, COLUMNS))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(rows)
