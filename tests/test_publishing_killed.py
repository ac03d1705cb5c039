"""Publishing killed with -9 at every step after the commit: the next command of any kind finishes it.

docs/cases.md, X2, X4 and X19. The steps are those of `orchestration.fail_points`.
"""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from orchestration.close.publication import MonthsToBeMade, finish_if_needed
from orchestration.close.reopening import MonthNeverClosed
from orchestration.runs import new_run_folder
from tests.closed_programme import (
    AFTER_COMMIT,
    CLOSED,
    COMMANDS,
    NEW,
    NEW_REVISIONS,
    NEXT,
    OLD,
    Home,
    assert_as_it_was,
    assert_closed,
    assert_sound,
    current_links,
    published_bytes,
    readers_see,
)
from tests.conftest import answer, assert_refused, in_ci_but
from tests.kept_build import KEPT_BUILD, keep_build


@pytest.fixture(scope="module")
def killed_at_commit(programme, tmp_path_factory) -> Home:
    """A home whose close was killed right after its commit."""
    home = programme.working_copy(tmp_path_factory.mktemp("committed") / "home")
    home.kill_at("committed", "close", NEXT)
    assert list(home.history().in_force) == [*CLOSED, NEXT]
    assert readers_see(home) == OLD
    home.copy(home.path.parent / "snapshot")
    return home


@pytest.fixture
def committed(killed_at_commit) -> Home:
    """That home as it was then, at its own path: a home that was moved would be repaired for that reason
    alone."""
    home = killed_at_commit
    shutil.rmtree(home.path)
    return Home(home.path.parent / "snapshot").copy(home.path)


@pytest.mark.parametrize("step", in_ci_but(["committed", "current swapped", "finished"], AFTER_COMMIT))
def test_killed_after_the_commit_the_next_command_of_any_kind_finishes_it(committed, undisturbed, step):
    """docs/cases.md, X4 and X19."""
    position = AFTER_COMMIT.index(step)
    if step != "committed":
        committed.kill_at(step, *COMMANDS[-1 - position % len(COMMANDS)])
        assert readers_see(committed) == (NEW if position >= AFTER_COMMIT.index("database swapped") else OLD)
    answer(committed.points(*COMMANDS[position % len(COMMANDS)]))
    answer(committed.points("close", NEXT))
    assert_closed(committed, undisturbed)


def test_a_committed_close_whose_run_is_gone_is_made_again_to_the_byte(committed, undisturbed, tmp_path):
    """docs/cases.md, X19: the ledger names the hash of the manifest, and what is made again must have it.

    What needs none of its files only says that they are lacking, and goes on.
    """
    shutil.rmtree(committed.path / "runs")
    shutil.rmtree(committed.path / "cut")
    # What is recorded since is beyond the cutoff.
    for command in (["give", "C-1", "5", "--id", "MEANWHILE"], ["transfers"], ["balances"]):
        done = committed.points(*command)
        answer(done)
        assert done.stderr == f"{MonthsToBeMade(committed.path, [committed.history().in_force[NEXT]])}\n"
    committed.kill_at("models built", "months")
    assert readers_see(committed) == OLD
    kept = {KEPT_BUILD: str(keep_build(committed.path, tmp_path))}
    done = committed.points("months", **kept)
    answer(done)
    assert "made again from the ledger first" in done.stderr
    assert_closed(committed, undisturbed)


def test_prepared_files_that_were_altered_after_their_commit_are_made_again(committed, undisturbed, tmp_path):
    """docs/cases.md, S24: of the same size too."""
    kept = {KEPT_BUILD: str(keep_build(committed.path, tmp_path))}
    (altered,) = committed.path.glob(f"runs/*/published/{NEXT}/r1/outstanding_points.csv")
    altered.chmod(0o644)
    altered.write_bytes(altered.read_bytes().replace(b"C-1,", b"C-7,"))
    answer(committed.points("months", **kept))
    assert_closed(committed, undisturbed)


REOPENED = {CLOSED[0]: (1, "issued"), CLOSED[1]: (1, "reopened")}


@pytest.mark.parametrize("step", ["announced", "appended"])
def test_killed_before_its_commit_a_reopening_has_not_happened(copied, programme, step):
    """docs/cases.md, X2."""
    copied.kill_at(step, "reopen", CLOSED[1], "--reason", "Sent anew")
    answer(copied.points("transfers"))
    assert_as_it_was(copied, programme)
    assert_sound(copied)


@pytest.mark.parametrize("step", ["link prepared", *AFTER_COMMIT[AFTER_COMMIT.index("database begun") :]])
def test_readers_see_a_reopening_that_was_killed_after_its_commit(copied, programme, step):
    """docs/cases.md, X2: they keep every file, and the next command of any kind flags those that are
    reopened."""
    copied.kill_at("committed", "reopen", CLOSED[1], "--reason", "Sent anew")
    copied.kill_at(step, "transfers")
    assert readers_see(copied) in (OLD, REOPENED)
    answer(copied.points(*COMMANDS[AFTER_COMMIT.index(step) % len(COMMANDS)]))
    assert readers_see(copied) == REOPENED
    assert list(copied.history().in_force) == list(CLOSED[:1])
    assert published_bytes(copied) == published_bytes(programme)
    assert current_links(copied) == dict.fromkeys(CLOSED, "r1")
    again = copied.points("reopen", CLOSED[1], "--reason", "Sent anew")
    assert_refused(again, MonthNeverClosed(CLOSED[1], CLOSED[0]))
    assert_sound(copied)


def test_readers_never_learn_of_a_month_before_all_of_its_files_are_there(committed):
    """docs/cases.md, X4: between the rename and the pointers."""
    committed.kill_at("months moved", "months")
    assert (committed.path / "published" / NEXT / "r1" / "manifest.json").exists()
    assert current_links(committed) == dict.fromkeys(CLOSED, "r1")
    assert readers_see(committed) == OLD
    months = {row["report_month"] for row in json.loads(answer(committed.points("months", "--json")))}
    assert months == set(NEW_REVISIONS)


@pytest.fixture(scope="module")
def killed_at_restatement(programme, tmp_path_factory) -> Home:
    """A home whose close of two reopened months and a new one was killed right after its commit."""
    home = programme.working_copy(tmp_path_factory.mktemp("restated") / "home")
    for month in reversed(CLOSED):
        answer(home.points("reopen", month, "--reason", "Sent anew"))
    home.kill_at("committed", "close", "--through", NEXT)
    home.copy(home.path.parent / "snapshot")
    return home


@pytest.mark.parametrize(
    "step",
    in_ci_but(
        ["current swapped"],
        [
            "months moved",
            "link prepared",
            "current swapped",
            "database written",
            "database swapped",
            "anchored",
        ],
    ),
)
def test_killed_between_links_readers_have_the_old_set_or_the_new_one(killed_at_restatement, step):
    """docs/cases.md, X26: months closed again together, with a new one, and the database over them."""
    home = killed_at_restatement
    shutil.rmtree(home.path)
    Home(home.path.parent / "snapshot").copy(home.path)
    home.kill_at(step, "transfers")
    is_new = AFTER_COMMIT.index(step) >= AFTER_COMMIT.index("database swapped")
    new = {**dict.fromkeys(CLOSED, "r2"), NEXT: "r1"}
    assert current_links(home) == (new if is_new else dict.fromkeys(CLOSED, "r1"))
    shown = {month: f"r{revision}" for month, (revision, _) in readers_see(home).items()}
    assert shown == current_links(home)
    answer(home.points("transfers"))
    assert current_links(home) == new
    assert_sound(home, {**dict.fromkeys(CLOSED, 2), NEXT: 1})


def test_readers_folder_may_lie_on_another_file_system(committed, undisturbed, monkeypatch):
    """docs/cases.md, X19: a rename is refused there, and the month is committed already."""
    rename = os.rename

    def refuse_across(source: Path, target: Path) -> None:
        if "runs" in Path(source).parts and "published" in Path(target).relative_to(committed.path).parts[:1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_across)
    finish_if_needed(committed.settings())
    assert_closed(committed, undisturbed)


def test_what_a_close_has_prepared_is_kept_until_readers_have_it(committed, undisturbed):
    """docs/cases.md, X19: a command that cannot finish it goes on with its own work, and may begin runs."""
    for _ in range(3):
        new_run_folder(committed.path)
    assert len(list(committed.path.glob(f"runs/*/published/{NEXT}/r1/manifest.json"))) == 1
    finish_if_needed(committed.settings())
    assert published_bytes(committed) == undisturbed
    new_run_folder(committed.path)
    assert len(list((committed.path / "runs").iterdir())) == 2
