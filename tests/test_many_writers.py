"""Thirty-two real processes at once on one ledger: nothing lost, nothing doubled (docs/cases.md, C8)."""

import fcntl
import multiprocessing
from collections.abc import Callable
from dataclasses import replace

import pytest

from ledger import writers_queue
from ledger.acts.accounts import close_account
from ledger.acts.revocations import revoke
from ledger.acts.transfers import give
from ledger.database import Ledger, connected_to, open_ledger
from ledger.errors import PointsError
from ledger.models import ENTRY_MODELS, AccountEvent, ChainLink, Transfer
from ledger.settings import Settings
from ledger.unrevoked import unrevoked_points

WRITERS = 32
OWN_TRANSFERS = 3
MOST_SECONDS = 120


def revoke_all(ledger: Ledger) -> bool:
    return not revoke(ledger, ["T-1"])[0].was_known


def revoke_a_tenth(ledger: Ledger) -> bool:
    return not revoke(ledger, ["T-2"], "10")[0].was_known


def give_the_same(ledger: Ledger) -> bool:
    return not give(ledger, "C-1", "7", transfer_id="SAME").was_known


def give_ones_own(ledger: Ledger) -> bool:
    for number in range(OWN_TRANSFERS):
        give(ledger, "C-2", "1", transfer_id=f"{ledger.user}-{number}")
    return True


def close_the_account(ledger: Ledger) -> bool:
    return not close_account(ledger, "C-1").was_known


ACTS: tuple[Callable[[Ledger], bool], ...] = (
    revoke_all,
    revoke_a_tenth,
    give_the_same,
    give_ones_own,
    close_the_account,
)


def write(settings: Settings, start, answers) -> None:
    """One process: do each act when all the others do it, and return whether it added anything."""
    with connected_to(settings):
        ledger = open_ledger(settings)
        for act in ACTS:
            start.wait(MOST_SECONDS)
            try:
                answers.put((act.__name__, "added" if act(ledger) else "known"))
            except PointsError as error:
                answers.put((act.__name__, error.code))


def test_of_many_writers_at_once_each_is_answered_rightly(ledger_home):
    ledger = ledger_home.open()
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    give(ledger, "C-1", "100", transfer_id="T-2")
    give(ledger, "C-2", "1000", new=True)

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    start, answers = processes.Barrier(WRITERS), processes.Queue()
    writers = [
        processes.Process(
            target=write, args=(replace(ledger.settings, user=f"writer-{number}"), start, answers)
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    outcomes: dict[str, list[str]] = {act.__name__: [] for act in ACTS}
    for _ in range(WRITERS * len(ACTS)):
        name, outcome = answers.get(timeout=MOST_SECONDS)
        outcomes[name].append(outcome)
    for writer in writers:
        writer.join(MOST_SECONDS)
        assert writer.exitcode == 0

    def tally(act: Callable) -> dict[str, int]:
        return {outcome: outcomes[act.__name__].count(outcome) for outcome in set(outcomes[act.__name__])}

    assert tally(revoke_all) == {"added": 1, "REVOKED": WRITERS - 1}
    assert tally(revoke_a_tenth) == {"added": 10, "REVOKED": WRITERS - 10}
    assert tally(give_the_same) == {"added": 1, "known": WRITERS - 1}
    assert tally(give_ones_own) == {"added": WRITERS}
    assert tally(close_the_account) == {"added": 1, "known": WRITERS - 1}

    assert unrevoked_points(["T-1", "T-2"]) == {"T-1": 0, "T-2": 0}
    assert Transfer.objects.filter(transfer_id="SAME").count() == 1
    assert Transfer.objects.filter(relation_reference="C-2").count() == 1 + WRITERS * OWN_TRANSFERS
    assert AccountEvent.objects.filter(event="close").count() == 1
    entry_ids = sorted(
        entry_id for model in ENTRY_MODELS for entry_id in model.objects.values_list("entry_id", flat=True)
    )
    # The account's closing transfer and event come last.
    assert entry_ids == list(range(1, 1 + 3 + 1 + 10 + 1 + WRITERS * OWN_TRANSFERS + 2))
    spans = list(ChainLink.objects.order_by("last_entry_id").values_list("first_entry_id", "last_entry_id"))
    assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]


def test_a_writer_that_waits_too_long_is_refused_and_nothing_is_recorded(tmp_path, monkeypatch):
    """docs/cases.md, C8: where SQLite's only writer does not end."""
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(tmp_path)}), create=True)
    monkeypatch.setattr(writers_queue, "_WAIT_SECONDS", 0)
    with open(tmp_path / ".ledger.queue", "ab") as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        with pytest.raises(writers_queue.LedgerBusy):
            give(ledger, "C-1", "5", new=True)
    assert not give(ledger, "C-1", "5", new=True).was_known
