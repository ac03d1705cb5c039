"""What tests ask of a process that is started for one home: ``python -m tests.one_home NAME``.

In the process of the tests any home may be opened, and Django is set up for none.
"""

import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfers import deduct, give
from ledger.database import AnotherHome, connected_to, open_ledger
from ledger.databases import ledger_place
from ledger.files.imports import import_file
from ledger.guards import find_unguarded
from ledger.lists.balance_lists import list_balances
from ledger.models import Transfer
from ledger.settings import Settings, project_settings
from ledger.upkeep.inspection import open_as_it_stands

THREADS = 16
ROUNDS = 3
TO_SPEND = 20
MOST_SECONDS = 120


def work_in_threads() -> None:
    """Sixteen threads give, deduct and read at once, each as whoever opens the ledger anew for a request."""
    give(open_ledger(project_settings(), create=True), "SPENT", str(TO_SPEND), new=True)
    start = Barrier(THREADS)

    def work(thread: int) -> Counter[str]:
        done: Counter[str] = Counter()
        for number in range(ROUNDS):
            start.wait(MOST_SECONDS)
            ledger = open_ledger(project_settings())
            own = give(ledger, f"C-{thread}", "1", new=True, transfer_id=f"{thread}-{number}")
            done["own"] += not own.was_known
            done["same"] += not give(ledger, "SHARED", "1", new=True, transfer_id=f"same-{number}").was_known
            with suppress(NotEnoughPoints):
                deduct(ledger, "SPENT", "1")
                done["spent"] += 1
            assert Transfer.objects.filter(relation_reference=f"C-{thread}").count() == number + 1
            (balance,) = list_balances(ledger, {"relation": f"C-{thread}"}).rows
            assert balance.spendable_points == number + 1
        used.add(id(connections[DEFAULT_DB_ALIAS]))
        connection.close()
        return done

    used: set[int] = set()
    with ThreadPoolExecutor(THREADS) as pool:
        done = sum(pool.map(work, range(THREADS)), Counter())
    print(json.dumps({**done, "connections": len(used)}))


def begin_in_threads() -> None:
    """Sixteen threads begin the ledger at once, and record its first entries."""
    start = Barrier(THREADS)

    def work(thread: int) -> None:
        start.wait(MOST_SECONDS)
        give(open_ledger(project_settings(), create=True), f"C-{thread}", "1", new=True)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def open_another_home() -> None:
    """Open the process's own ledger, and then others; what the environment says later counts for nothing."""
    own = project_settings()
    ledger = open_ledger(own, create=True)
    give(ledger, "C-1", "1", new=True)
    home = Settings.from_environment({"POINTS_HOME": f"{own.home}-2"})
    server = Settings.from_environment({"POINTS_DATABASE_URL": "postgresql://ada@there/points"})
    for opening in (
        partial(open_ledger, home, create=True),
        partial(open_ledger, server),
        partial(open_as_it_stands, server),
    ):
        with pytest.raises(AnotherHome) as refused:
            opening()
        assert (refused.value.place, refused.value.own) == (ledger_place(opening.args[0]), ledger.place)
    assert not home.home.exists()
    os.environ["POINTS_HOME"] = str(home.home)
    give(open_ledger(project_settings()), "C-1", "1")
    assert Transfer.objects.count() == 2


def connect_one_thread() -> None:
    """Work on another ledger within `connected_to`, where other threads go on with the process's own."""
    ledger = open_ledger(project_settings(), create=True)
    give(ledger, "C-1", "1", new=True)
    other = Settings.from_environment({"POINTS_HOME": f"{ledger.settings.home}-2"})
    file = Path(f"{ledger.settings.home}.csv")
    rows = [f"T-{number},C-9,give,10,rule_credit,2026-03-10T12:00:00Z" for number in range(3)]
    columns = "transfer_id,relation_reference,style,points,reason,occurred_at"
    file.write_text("\n".join((columns, *rows, "")), encoding="utf-8")
    with ThreadPoolExecutor(1) as elsewhere:
        with connected_to(other):
            # An import makes its rows in another thread.
            import_file(open_ledger(other, create=True), file)
            assert Transfer.objects.count() == len(rows)
            assert find_unguarded() == []
            with pytest.raises(AnotherHome):
                open_ledger(ledger.settings)
            assert elsewhere.submit(lambda: Transfer.objects.count()).result() == 1
        elsewhere.submit(lambda: connection.close()).result()
    assert Transfer.objects.count() == 1
    give(open_ledger(ledger.settings), "C-1", "1")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
