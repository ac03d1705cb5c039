"""A close killed with -9 at every step before its commit, and at the commit: it has happened or it has not.

docs/cases.md, X2, X3 and X4. The steps are those of `orchestration.fail_points`.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.closed_programme import (
    BEFORE_COMMIT,
    CLOSED,
    COMMANDS,
    NEXT,
    Home,
    assert_as_it_was,
    assert_closed,
    assert_sound,
    begin_programme,
    leftovers,
    processes_of,
    readers_see,
    wait_until_stopped,
)
from tests.conftest import answer, in_ci_but, new_postgresql_database
from tests.kept_build import KEPT_BUILD, keep_build


@pytest.fixture(scope="module")
def often_killed(programme, tmp_path_factory) -> Home:
    """One copy, in which the close of the next month is killed again and again before its commit."""
    return programme.working_copy(tmp_path_factory.mktemp("often_killed") / "home")


@pytest.fixture(scope="module")
def build_of_next(often_killed, tmp_path_factory) -> Path:
    """What dbt makes of that month, from a close that was killed right after."""
    often_killed.kill_at("models built", "close", NEXT)
    return keep_build(often_killed.path, tmp_path_factory.mktemp("build_of_next"))


@pytest.mark.parametrize("step", in_ci_but(["opened", "models built", "appended"], BEFORE_COMMIT))
def test_killed_before_the_commit_a_close_has_not_happened(request, often_killed, programme, step):
    """docs/cases.md, X2 and X4. After the models, each takes the build that the first of them made."""
    home = often_killed
    kept = {}
    if BEFORE_COMMIT.index(step) >= BEFORE_COMMIT.index("models built"):
        kept = {KEPT_BUILD: str(request.getfixturevalue("build_of_next"))}
    home.kill_at(step, "close", NEXT, **kept)
    for command in (None, COMMANDS[BEFORE_COMMIT.index(step) % 4]):
        if command:
            answer(home.points(*command))
        assert_as_it_was(home, programme)
    assert leftovers(home) == []


def test_dbt_ends_with_the_close_that_started_it(often_killed, programme):
    """docs/cases.md, X3: only the parent is killed, and what it started may not go on."""
    parent = often_killed.start("close", NEXT, own_dbt=True, POINTS_FAIL_AT="model built:stop")
    wait_until_stopped(parent)
    assert any("orchestration.dbt.child" in arguments for arguments in processes_of(often_killed).values())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while processes_of(often_killed):
        assert time.monotonic() < deadline, processes_of(often_killed)
        time.sleep(0.05)
    # It ended where it was, not when it was done.
    newest = max((often_killed.path / "runs").iterdir())
    assert (newest / "dbt.log").exists()
    assert not (newest / "target" / "run_results.json").exists()
    assert_as_it_was(often_killed, programme)
    answer(often_killed.points("transfers"))
    assert_sound(often_killed)


def test_a_close_whose_dbt_is_killed_publishes_nothing_and_says_so(often_killed, programme):
    """docs/cases.md, X2: the system kills the largest process first, and that is dbt."""
    parent = often_killed.start("close", NEXT, own_dbt=True, POINTS_FAIL_AT="model built:stop")
    wait_until_stopped(parent)
    for child in processes_of(often_killed):
        os.kill(child, signal.SIGKILL)
    parent.send_signal(signal.SIGCONT)
    _, errors = parent.communicate()
    assert parent.returncode == 1
    assert "dbt was killed by signal 9" in errors
    assert_as_it_was(often_killed, programme)
    assert_sound(often_killed)


def test_the_close_after_all_that_killing_gives_the_same_bytes(often_killed, undisturbed):
    """docs/cases.md, X2 and X4: the manifest is the same too, for the cutoff is."""
    answer(often_killed.points("close", NEXT))
    assert_closed(often_killed, undisturbed)
    # Of all those runs the newest two are kept, finished or not.
    assert len(list((often_killed.path / "runs").iterdir())) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("step", ["appended", "committed"])
def test_on_postgresql_a_killed_close_has_happened_or_not(postgresql_server, tmp_path, step):
    """docs/cases.md, X4 and X19: the server itself takes back what was not committed."""
    home = begin_programme(tmp_path / "home", new_postgresql_database(postgresql_server))
    home.kill_at(step, "close", CLOSED[0])
    assert readers_see(home) == {}
    answer(home.points("transfers"))
    assert list(home.history().in_force) == ([] if step == "appended" else [CLOSED[0]])
    kept = {KEPT_BUILD: str(keep_build(home.path, tmp_path))}
    result = answer(home.points("close", CLOSED[0], **kept))
    assert ("Closed 1 month" if step == "appended" else "closed already") in result
    assert readers_see(home) == {CLOSED[0]: (1, "issued")}
    assert_sound(home, {CLOSED[0]: 1})
