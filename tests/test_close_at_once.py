"""Closes beside other closes, beside writers without pause, and beside readers: docs/cases.md, X6, X7
and X8."""

import itertools
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from ledger.acts.transfers import give
from ledger.database import connected_to, open_ledger
from ledger.databases import ledger_place
from ledger.links import ledger_head
from ledger.models import Transfer
from orchestration.close.commit import CloseOvertaken
from orchestration.published.layout import database_file, published_folder
from orchestration.run_lock import RunInProgress
from tests.closed_programme import (
    CLOSED,
    NEW_REVISIONS,
    NEXT,
    Home,
    assert_sound,
    begin_programme,
    current_links,
    published_bytes,
    readers_see,
    wait_until_stopped,
)
from tests.conftest import answer, assert_refused, new_postgresql_database

MONTHS = (*CLOSED, NEXT)
# What waits for another process fails the test instead of waiting for ever.
MOST_SECONDS = 300

processes = multiprocessing.get_context("spawn")


def test_while_one_close_goes_on_another_is_refused_and_names_it(copied):
    """docs/cases.md, X6; commands that only record or list do not wait."""
    first = copied.start("close", NEXT, POINTS_FAIL_AT="model built:stop")
    wait_until_stopped(first)
    for command in (["close", NEXT], ["close"], ["reopen", CLOSED[1], "--reason", "Sent anew"], ["build"]):
        running = RunInProgress(copied.path, f"points close, process {first.pid}")
        assert_refused(copied.points(*command), running)
    answer(copied.points("give", "C-1", "5"))
    answer(copied.points("months"))
    first.send_signal(signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    answer(copied.points("close", NEXT))
    assert_sound(copied, NEW_REVISIONS)


@pytest.mark.slow
def test_two_closes_that_start_together_close_the_month_once(copied):
    """docs/cases.md, X6."""
    both = [copied.start("close", NEXT) for _ in range(2)]
    errors = [process.communicate() for process in both]
    outputs = "".join(output for output, _ in errors)
    assert outputs.count("Closed 1 month") == 1, errors
    for process, (output, error) in zip(both, errors, strict=True):
        assert process.returncode == 0 or "Another run is going on" in error, (output, error)
    assert_sound(copied, NEW_REVISIONS)


@pytest.mark.slow
def test_two_homes_of_one_ledger_close_a_month_once_and_publish_the_same(postgresql_server, tmp_path):
    """docs/cases.md, X6: no lock of the file system lies between them, only the ledger's own."""
    one = begin_programme(tmp_path / "one", new_postgresql_database(postgresql_server))
    other = Home(tmp_path / "other", one.environment)
    late = one.start("close", CLOSED[0], POINTS_FAIL_AT="announced:stop")
    wait_until_stopped(late)
    assert "Closed 1 month" in answer(other.points("close", CLOSED[0]))
    late.send_signal(signal.SIGCONT)
    _, errors = late.communicate()
    assert late.returncode == 1
    assert errors.strip().splitlines()[-1] == str(CloseOvertaken(ledger_place(one.settings())))
    answer(one.points("close", CLOSED[0]))
    assert published_bytes(one) == published_bytes(other)
    for home in (one, other):
        assert readers_see(home) == {CLOSED[0]: (1, "issued")}
        assert_sound(home, {CLOSED[0]: 1})


def write_on(home: Home, writer: str, stop, written) -> None:
    """Give points without pause until stopped: in months that are closed, open and closing just now."""
    settings = home.settings(POINTS_USER=writer)
    with connected_to(settings):
        ledger = open_ledger(settings)
        instants = [datetime(2025, month, day, tzinfo=UTC) for day in (3, 17) for month in range(1, 6)]
        for number, instant in enumerate(itertools.cycle(instants), start=1):
            give(
                ledger,
                f"C-{number % 9}",
                "1.5",
                new=True,
                transfer_id=f"{writer}-{number}",
                occurred_at=instant + timedelta(minutes=number),
            )
            if stop.wait(0.02):
                written.put(number)
                return


@contextmanager
def writers(home: Home, count: int) -> Iterator[list[int]]:
    """Processes that write while the body runs; the list then says how many transfers each has given."""
    stop, written = processes.Event(), processes.Queue()
    names = [f"writer-{number}" for number in range(count)]
    started = [
        processes.Process(target=write_on, args=(home, name, stop, written), daemon=True) for name in names
    ]
    for process in started:
        process.start()
    totals: list[int] = []
    try:
        yield totals
    finally:
        stop.set()
        totals += [written.get(timeout=MOST_SECONDS) for _ in started]
        for process in started:
            process.join(MOST_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_arrives_while_months_close_is_in_one_of_them_or_left_for_later(request, tmp_path, database):
    """docs/cases.md, X7."""
    environment = {}
    if database == "postgresql":
        environment = new_postgresql_database(request.getfixturevalue("postgresql_server"))
    home = begin_programme(tmp_path / "home", environment)
    with writers(home, 2) as totals:
        for month in (CLOSED[-1], NEXT):
            answer(home.points("close", "--through", month))
    assert all(total > 20 for total in totals), totals
    history = home.history()
    closes = [history.in_force[month] for month in MONTHS]
    cutoffs = sorted({closed.cutoff_entry_id for closed in closes})
    assert [closed.cutoff_entry_id for closed in closes] == [cutoffs[0], *cutoffs]
    # The writers were at work before, between and after.
    recorded = dict(Transfer.objects.values_list("transfer_id", "entry_id"))
    assert sum(totals) == sum(transfer_id.startswith("writer-") for transfer_id in recorded)
    written = [entry for transfer_id, entry in recorded.items() if transfer_id.startswith("writer-")]
    for earlier, later in itertools.pairwise((*cutoffs, ledger_head().entry_id)):
        assert any(earlier < entry <= later for entry in written)

    folders = [published_folder(home.path) / closed.name for closed in closes]
    posted = [transfer_ids(folder / "posted_transfers.parquet") for folder in folders]
    unposted = transfer_ids(folders[-1] / "unposted_transfers.parquet")
    seen = sorted(itertools.chain(*posted, unposted))
    assert seen == sorted(name for name, entry in recorded.items() if entry <= cutoffs[-1])
    answer(home.points("verify", "--full"))
    assert_sound(home, NEW_REVISIONS)


def transfer_ids(path) -> list[str]:
    rows = duckdb.sql(f"select transfer_id from read_parquet('{path}')").fetchall()
    return [transfer_id for (transfer_id,) in rows]


TOTALS = (
    "select strftime(months.report_month, '%Y-%m'), months.revision, months.status,"
    " count(*), sum(balances.closing_points)"
    " from published_months as months"
    " inner join outstanding_points_by_month as balances on balances.report_month = months.report_month"
    " group by all order by all"
)


def read_on(home: Home, stop, observed) -> None:
    """Hold the database open from the beginning, open it anew again and again, and report what was seen."""
    with duckdb.connect(str(database_file(home.path)), read_only=True) as held:
        first = held.execute(TOTALS).fetchall()
        seen = [readers_see(home)]
        observed.put(None)
        questions, is_last = 0, False
        while not is_last:
            # Once more after the last change, which may have come just now.
            is_last = stop.wait(0.3)
            assert held.execute(TOTALS).fetchall() == first
            now = readers_see(home)
            if now != seen[-1]:
                seen.append(now)
            questions += 1
        observed.put((questions, seen))


@pytest.mark.long
def test_a_reader_sees_whole_sets_only_through_ten_changes(copied):
    """docs/cases.md, X8: three closes, and reopenings, each of which gives readers another database."""
    stop, observed = processes.Event(), processes.Queue()
    reader = processes.Process(target=read_on, args=(copied, stop, observed), daemon=True)
    reader.start()
    observed.get(timeout=MOST_SECONDS)
    states = [readers_see(copied)]
    links = [current_links(copied)]

    def change(*arguments: str) -> None:
        answer(copied.points(*arguments))
        states.append(readers_see(copied))
        links.append(current_links(copied))

    change("close", NEXT)
    for again in range(2):
        for month in reversed(MONTHS[again:]):
            change("reopen", month, "--reason", "Sent anew")
        change("close", "--through", NEXT)
    change("reopen", NEXT, "--reason", "Sent anew")
    change("reopen", CLOSED[1], "--reason", "Sent anew")
    stop.set()
    questions, seen = observed.get(timeout=MOST_SECONDS)
    reader.join(MOST_SECONDS)
    assert reader.exitcode == 0
    assert len(states) > 10
    assert questions > 20
    # In order, and nothing between: a set that was never issued as a whole is in no list of ours.
    following = iter(states)
    assert all(state in following for state in seen), (seen, states)
    assert (seen[0], seen[-1]) == (states[0], states[-1])
    # Links go over with a close that completes the set, never with a reopening.
    assert [link[NEXT] for link in links[1:]] == ["r1", "r1", "r1", "r1", "r2", "r2", "r2", "r3", "r3", "r3"]
