"""A close killed with -9 at every step: readers have the old set or the new, whole, and nothing twice.

CASES.md, X2, X3, X4 and X19. The steps are those of `orchestration.fail_points`.
"""

import errno
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from orchestration.close.finishing import finish_if_needed
from orchestration.fail_points import FAIL_POINTS
from orchestration.runs import new_run_folder
from tests.closed_programme import (
    CLOSED,
    NEXT,
    Home,
    answer,
    assert_sound,
    begin_programme,
    close_first_months,
    current_links,
    leftovers,
    processes_of,
    published_bytes,
    readers_see,
    refusal,
    wait_until_stopped,
)
from tests.conftest import new_postgresql_database

_COMMIT = FAIL_POINTS.index("committed")
BEFORE, AFTER = FAIL_POINTS[:_COMMIT], FAIL_POINTS[_COMMIT:]
OLD = {month: (1, "issued") for month in CLOSED}
NEW = {**OLD, NEXT: (1, "issued")}
LATEST = {**dict.fromkeys(CLOSED, 1), NEXT: 1}
# Any of them finishes what was cut off; the last ones would add to what they may not.
COMMANDS = [
    ["transfers"],
    ["months"],
    ["report", CLOSED[0]],
    ["balances", "--limit", "1"],
    ["doctor"],
    ["verify"],
    ["give", "C-1", "5", "--id", "MEANWHILE"],
    ["cut"],
]


def kill_at(home: Home, step: str, *arguments: str) -> None:
    """Run a command that kills itself at ``step``, which it must reach."""
    result = home.points(*arguments, POINTS_FAIL_AT=step)
    assert result.returncode == -signal.SIGKILL, (step, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def programme(tmp_path_factory) -> Home:
    home = begin_programme(tmp_path_factory.mktemp("programme") / "home")
    close_first_months(home)
    return home


@pytest.fixture
def copied(programme, tmp_path) -> Home:
    """A copy of the programme in which everything is as it should be."""
    home = programme.copy(tmp_path / "home")
    answer(home.points("months"))
    return home


@pytest.fixture(scope="module")
def undisturbed(programme, tmp_path_factory) -> dict[str, bytes]:
    """The published files of a close to which nothing happened."""
    home = programme.copy(tmp_path_factory.mktemp("undisturbed") / "home")
    answer(home.points("close", NEXT))
    return published_bytes(home)


@pytest.fixture(scope="module")
def often_killed(programme, tmp_path_factory) -> Home:
    """One copy, in which the close of the next month is killed again and again before its commit."""
    home = programme.copy(tmp_path_factory.mktemp("often_killed") / "home")
    answer(home.points("months"))
    return home


@pytest.mark.parametrize("step", BEFORE)
def test_killed_before_the_commit_a_close_has_not_happened(often_killed, programme, step):
    """CASES.md, X2 and X4."""
    home = often_killed
    kill_at(home, step, "close", NEXT)
    for command in (None, COMMANDS[BEFORE.index(step) % 4]):
        if command:
            answer(home.points(*command))
        assert readers_see(home) == OLD
        assert current_links(home) == dict.fromkeys(CLOSED, "r1")
        assert published_bytes(home) == published_bytes(programme)
        assert list(home.history().in_force) == list(CLOSED)
    assert leftovers(home) == []


def test_the_close_after_all_that_killing_gives_the_same_bytes(often_killed, undisturbed):
    """CASES.md, X2 and X4: the manifest is the same too, for the cutoff is."""
    answer(often_killed.points("close", NEXT))
    assert published_bytes(often_killed) == undisturbed
    assert readers_see(often_killed) == NEW
    assert_sound(often_killed, LATEST)
    # Of all those runs the newest two are kept, whatever became of them.
    assert len(list((often_killed.path / "runs").iterdir())) <= 2


@pytest.fixture(scope="module")
def committed(programme, tmp_path_factory) -> Home:
    """A home whose close was killed right after its commit."""
    home = programme.copy(tmp_path_factory.mktemp("committed") / "home")
    answer(home.points("months"))
    kill_at(home, "committed", "close", NEXT)
    assert list(home.history().in_force) == [*CLOSED, NEXT]
    assert readers_see(home) == OLD
    return home


@pytest.mark.parametrize("step", AFTER)
def test_killed_after_the_commit_the_next_command_of_any_kind_finishes_it(
    committed, undisturbed, tmp_path, step
):
    """CASES.md, X4 and X19."""
    home = committed.copy(tmp_path / "home")
    position = AFTER.index(step)
    if step != "committed":
        kill_at(home, step, *COMMANDS[-1 - position % len(COMMANDS)])
        # Until then readers have a database of the home that this one was copied from, whole as well.
        assert readers_see(home) in (OLD, NEW)
    answer(home.points(*COMMANDS[position % len(COMMANDS)]))
    assert readers_see(home) == NEW
    assert current_links(home) == dict.fromkeys(LATEST, "r1")
    assert published_bytes(home) == undisturbed
    assert "closed already, with revision 1" in answer(home.points("close", NEXT))
    assert_sound(home, LATEST)


def test_a_committed_close_whose_run_is_gone_is_made_again_to_the_byte(committed, undisturbed, tmp_path):
    """CASES.md, X19: the ledger names the hash of the manifest, and what is made again must have it."""
    home = committed.copy(tmp_path / "home")
    shutil.rmtree(home.path / "runs")
    shutil.rmtree(home.path / "cut")
    # What is recorded since is beyond the cutoff.
    kill_at(home, "models built", "give", "C-1", "5", "--id", "MEANWHILE")
    assert readers_see(home) == OLD
    answer(home.points("give", "C-1", "5", "--id", "MEANWHILE"))
    assert published_bytes(home) == undisturbed
    assert readers_see(home) == NEW
    assert_sound(home, LATEST)


@pytest.mark.parametrize("step", ["appended", "committed"])
def test_on_postgresql_a_killed_close_has_happened_or_not(postgresql_server, tmp_path, step):
    """CASES.md, X4 and X19: the server itself takes back what was not committed."""
    home = begin_programme(tmp_path / "home", new_postgresql_database(postgresql_server))
    kill_at(home, step, "close", CLOSED[0])
    assert readers_see(home) == {}
    answer(home.points("transfers"))
    assert list(home.history().in_force) == ([] if step == "appended" else [CLOSED[0]])
    told = answer(home.points("close", CLOSED[0]))
    assert ("Closed 1 month" if step == "appended" else "closed already") in told
    assert readers_see(home) == {CLOSED[0]: (1, "issued")}
    assert_sound(home, {CLOSED[0]: 1})


REOPENED = {CLOSED[0]: (1, "issued"), CLOSED[1]: (1, "reopened")}


@pytest.mark.parametrize("step", ["announced", "appended"])
def test_killed_before_its_commit_a_reopening_has_not_happened(copied, programme, step):
    """CASES.md, X2."""
    kill_at(copied, step, "reopen", CLOSED[1], "--reason", "Sent anew")
    answer(copied.points("transfers"))
    assert readers_see(copied) == OLD
    assert list(copied.history().in_force) == list(CLOSED)
    assert published_bytes(copied) == published_bytes(programme)
    assert_sound(copied, dict.fromkeys(CLOSED, 1))


@pytest.mark.parametrize("step", ["link prepared", *AFTER[AFTER.index("database begun") :]])
def test_readers_are_told_of_a_reopening_that_was_killed_after_its_commit(copied, programme, step):
    """CASES.md, X2: they keep every file, and the next command of any kind flags those that are reopened."""
    kill_at(copied, "committed", "reopen", CLOSED[1], "--reason", "Sent anew")
    kill_at(copied, step, "transfers")
    assert readers_see(copied) in (OLD, REOPENED)
    answer(copied.points(*COMMANDS[AFTER.index(step) % len(COMMANDS)]))
    assert readers_see(copied) == REOPENED
    assert list(copied.history().in_force) == list(CLOSED[:1])
    assert published_bytes(copied) == published_bytes(programme)
    assert current_links(copied) == dict.fromkeys(CLOSED, "r1")
    again = copied.points("reopen", CLOSED[1], "--reason", "Sent anew")
    assert "is not closed, so there is nothing to reopen" in refusal(again)
    assert_sound(copied, dict.fromkeys(CLOSED, 1))


def test_dbt_ends_with_the_close_that_started_it(copied, programme, undisturbed):
    """CASES.md, X3: only the parent is killed, and what it started may not go on."""
    parent = copied.start("close", NEXT, POINTS_FAIL_AT="model built:stop")
    wait_until_stopped(parent)
    assert any("orchestration.dbt_child" in arguments for arguments in processes_of(copied).values())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while processes_of(copied):
        assert time.monotonic() < deadline, processes_of(copied)
        time.sleep(0.05)
    assert published_bytes(copied) == published_bytes(programme)
    assert readers_see(copied) == OLD
    answer(copied.points("close", NEXT))
    assert published_bytes(copied) == undisturbed
    assert_sound(copied, LATEST)


def test_a_close_whose_dbt_is_killed_publishes_nothing_and_says_so(copied, programme):
    """CASES.md, X2: the system kills the largest process first, and that is dbt."""
    parent = copied.start("close", NEXT, POINTS_FAIL_AT="model built:stop")
    wait_until_stopped(parent)
    for child in processes_of(copied):
        os.kill(child, signal.SIGKILL)
    parent.send_signal(signal.SIGCONT)
    _, told = parent.communicate()
    assert parent.returncode == 1
    assert "dbt was killed by signal 9" in told
    assert published_bytes(copied) == published_bytes(programme)
    assert readers_see(copied) == OLD
    assert_sound(copied, dict.fromkeys(CLOSED, 1))


def test_readers_never_learn_of_a_month_before_all_of_its_files_are_there(committed, tmp_path):
    """CASES.md, X4: between the rename and the pointers."""
    home = committed.copy(tmp_path / "home")
    kill_at(home, "months moved", "months")
    assert (home.path / "published" / NEXT / "r1" / "manifest.json").exists()
    assert current_links(home) == dict.fromkeys(CLOSED, "r1")
    assert readers_see(home) == OLD
    months = {row["report_month"] for row in json.loads(answer(home.points("months", "--json")))}
    assert months == set(LATEST)


def test_readers_folder_may_lie_on_another_file_system(committed, undisturbed, tmp_path, monkeypatch):
    """CASES.md, X19: a rename is refused there, and the month is committed already."""
    home = committed.copy(tmp_path / "home")
    rename = os.rename

    def refuse_across(source: Path, target: Path) -> None:
        if "runs" in Path(source).parts and "published" in Path(target).relative_to(home.path).parts[:1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_across)
    finish_if_needed(home.settings())
    assert published_bytes(home) == undisturbed
    assert readers_see(home) == NEW
    assert_sound(home, LATEST)


def test_what_a_close_has_prepared_is_kept_until_readers_have_it(committed, undisturbed, tmp_path):
    """CASES.md, X19: a command that cannot finish it goes on with its own work, and may begin runs."""
    home = committed.copy(tmp_path / "home")
    for _ in range(3):
        new_run_folder(home.path)
    assert len(list(home.path.glob(f"runs/*/published/{NEXT}/r1/manifest.json"))) == 1
    finish_if_needed(home.settings())
    assert published_bytes(home) == undisturbed
    new_run_folder(home.path)
    assert len(list((home.path / "runs").iterdir())) == 2
