"""A close on a full disk, without its database server, with tests taken away, and on another machine.

docs/cases.md, X5, X13, X16 and X17.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.closed_programme import (
    CLOSED,
    NEXT,
    OLD,
    Home,
    assert_as_it_was,
    assert_closed,
    assert_sound,
    begin_programme,
    processes_of,
    readers_see,
    wait_until_stopped,
)
from tests.conftest import PROJECT_ROOT, answer, in_ci_but, new_postgresql_database, refusal
from tests.small_disks import SmallDisk, SmallFiles


@pytest.fixture(scope="module")
def home_on_disk(programme, disk) -> Home:
    """A home on the small disk, in which every close is cut off by it until the last one."""
    return programme.working_copy(disk.folder / "home")


def close_on_full_disk(
    home: Home, disk: SmallDisk | SmallFiles, step: str, room: int = 0, through: str = NEXT
) -> str:
    """Close, with ``room`` bytes left from ``step`` on; return the sentence, which names the want of room."""
    process = home.start("close", "--through", through, POINTS_FAIL_AT=f"{step}:stop")
    wait_until_stopped(process)
    disk.leave(room, [process.pid, *processes_of(home)])
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate()
    disk.make_room()
    errors = refusal(subprocess.CompletedProcess(process.args, process.returncode, output, errors))
    # The progress bar may stand before it.
    sentence = errors.strip().splitlines()[-1]
    assert any(cause in sentence for cause in disk.sentences), errors
    return sentence


WRITTEN_AFTER = [
    *("opened", "frozen", "model built", "models built"),
    *("restatements written", "evidence written", "read back", "announced"),
]


@pytest.mark.parametrize("step", in_ci_but(["announced"], WRITTEN_AFTER))
def test_on_a_full_disk_a_close_has_not_happened_and_says_why(home_on_disk, disk, programme, step):
    """docs/cases.md, X5."""
    close_on_full_disk(home_on_disk, disk, step)
    assert_as_it_was(home_on_disk, programme)
    answer(home_on_disk.points("transfers"))
    assert_sound(home_on_disk)


@pytest.mark.parametrize("room", [pytest.param(0, marks=pytest.mark.slow), 300_000])
def test_on_a_disk_that_is_full_after_the_commit_the_month_is_closed_and_readers_get_it_later(
    home_on_disk, disk, undisturbed, room
):
    """docs/cases.md, X5, X19 and X25; all that failed before it has left nothing that is in the way.

    With a little room the readers' database is begun, and is not whole.
    """
    home = home_on_disk.working_copy(disk.folder / f"another_{room}")
    reported = close_on_full_disk(home, disk, "committed", room)
    assert "What the ledger says is closed stays closed, but it could not be given to readers" in reported
    assert list(home.history().in_force) == [*CLOSED, NEXT]
    assert readers_see(home) == OLD
    answer(home.points("transfers"))
    assert_closed(home, undisturbed)


def test_a_command_that_cannot_finish_a_close_says_so_and_does_its_own_work(home_on_disk, disk, undisturbed):
    """docs/cases.md, X5 and X19."""
    home = home_on_disk.working_copy(disk.folder / "third")
    home.kill_at("current swapped", "close", NEXT)
    process = home.start("transfers", "E1-1", POINTS_FAIL_AT="months moved:stop")
    wait_until_stopped(process)
    disk.leave(0, [process.pid, *processes_of(home)])
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate()
    disk.make_room()
    assert process.returncode == 0
    assert "E1-1" in output
    assert any(cause in errors for cause in disk.sentences), errors
    assert readers_see(home) == OLD
    answer(home.points("transfers"))
    assert_closed(home, undisturbed)


@contextmanager
def changed_project(folder: Path) -> Iterator[Callable[[str, Callable[[str], str]], None]]:
    """A copy of the project to be changed: takes a file of it, and what is made of its text."""
    for name in ("console", "dbt_project", "ledger", "orchestration", "seeds", "tests/data"):
        shutil.copytree(
            PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "target")
        )
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copyfile(PROJECT_ROOT / name, folder / name)

    def change(name: str, edit: Callable[[str], str]) -> None:
        path = folder / name
        before = path.read_text(encoding="utf-8")
        assert edit(before) != before, f"{name} has no such text"
        path.write_text(edit(before), encoding="utf-8")

    yield change


def close_with(project: Path, home: Home) -> str:
    """Close with the code and models of another project folder, which is refused; return what it says."""
    return refusal(
        subprocess.run(
            [sys.executable, "-m", "console.points", "close", NEXT],
            env={**os.environ, "POINTS_HOME": str(home.path), "PYTHONPATH": str(project)},
            cwd=project,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    )


SINGULAR = "tests/data/assert_{}.sql"
TRUTH_3 = "truth_3_closing_is_outstanding"
TRUTH_4 = "truth_4_opening_is_closing_of_month_before"
TRUTH_5 = "truth_5_every_row_is_counted_once"
TRUTH_6 = "truth_6_movement_is_sum_of_signed_points"


@pytest.mark.slow
def test_a_required_test_that_is_gone_or_only_warns_stops_a_close_by_name(copied, programme, tmp_path):
    """docs/cases.md, X13: deleted, switched off, deselected, and made to warn of what it finds."""
    project = tmp_path / "project"
    with changed_project(project) as change:
        (project / SINGULAR.format(TRUTH_4)).unlink()
        change(SINGULAR.format(TRUTH_6), lambda text: "{{ config(enabled=false) }}\n" + text)
        change(SINGULAR.format(TRUTH_5), lambda text: "{{ config(severity='warn') }}\nselect 1 as row")
        change(
            "orchestration/runs.py",
            lambda text: text.replace('["build", ', f'["build", "--exclude", "{TRUTH_3}", '),
        )
    reported = close_with(project, copied)
    for problem in (
        f"assert_{TRUTH_4} did not run",
        f"assert_{TRUTH_6} did not run",
        f"assert_{TRUTH_5} ended as warn",
        f"{TRUTH_3} did not run",
    ):
        assert problem in reported
    assert_as_it_was(copied, programme)
    assert_sound(copied)


def test_a_test_that_fails_stops_a_close_by_name(copied, programme, tmp_path):
    """docs/cases.md, X13."""
    project = tmp_path / "project"
    with changed_project(project) as change:
        change(SINGULAR.format(TRUTH_5), lambda text: "select 1 as row")
    reported = close_with(project, copied)
    assert f"dbt did not pass test assert_{TRUTH_5}; nothing was written" in reported
    assert "Got 1 result, configured to fail if != 0" in reported
    # What it says to type shows the rows that the test found.
    ((command, log),) = re.findall(
        r"To run its query again: (.+)[.] All that dbt said is in (.+)[.]", reported
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shown = subprocess.run(
        command, shell=True, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert "row" in shown.stdout
    assert "Got 1 result, configured to fail if != 0" in Path(log).read_text(encoding="utf-8")
    assert_as_it_was(copied, programme)
    assert_sound(copied)


def close_with_server(home: Home, step: str, happens: Callable[[], None]) -> subprocess.CompletedProcess:
    """Close the first month; at ``step`` something happens to the server."""
    process = home.start("close", CLOSED[0], POINTS_FAIL_AT=f"{step}:stop")
    wait_until_stopped(process)
    with ExitStack() as stack:
        stack.callback(process.send_signal, signal.SIGCONT)
        happens()
    output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.mark.slow
def test_a_server_that_dies_before_the_commit_leaves_the_month_open(server, tmp_path):
    """docs/cases.md, X16."""
    home = begin_programme(tmp_path / "home", new_postgresql_database(server.server.get_uri()))
    assert "did not confirm what was to be recorded" in refusal(
        close_with_server(home, "appended", server.die)
    )
    refusal(home.points("close", CLOSED[0]))
    server.come_back()
    assert home.history().closes == ()
    answer(home.points("close", CLOSED[0]))
    assert readers_see(home) == {CLOSED[0]: (1, "issued")}
    assert_sound(home, {CLOSED[0]: 1})


@pytest.mark.slow
def test_a_server_that_dies_after_the_commit_has_the_month_closed_once(server, tmp_path):
    """docs/cases.md, X16: readers get it with the next command after the server is back."""
    home = begin_programme(tmp_path / "home", new_postgresql_database(server.server.get_uri()))
    refusal(close_with_server(home, "committed", server.die))
    assert len(refusal(home.points("transfers")).splitlines()) == 1
    assert readers_see(home) == {}
    server.come_back()
    answer(home.points("close", CLOSED[0]))
    assert readers_see(home) == {CLOSED[0]: (1, "issued")}
    assert_sound(home, {CLOSED[0]: 1})


@pytest.mark.slow
def test_a_server_that_is_started_again_while_the_models_are_built_disturbs_nothing(server, tmp_path):
    """docs/cases.md, X16: a close needs it before and after, and may take long between."""
    home = begin_programme(tmp_path / "home", new_postgresql_database(server.server.get_uri()))

    def start_again() -> None:
        server.die()
        server.come_back()

    answer(close_with_server(home, "models built", start_again))
    assert readers_see(home) == {CLOSED[0]: (1, "issued")}
    assert_sound(home, {CLOSED[0]: 1})


@pytest.mark.slow
def test_the_machines_zone_and_language_change_no_byte(copied, undisturbed):
    """docs/cases.md, X17: the same cutoff gives the same manifest, which names the hash of every file."""
    answer(copied.points("close", NEXT, TZ="Asia/Kathmandu", LANG="tr_TR.UTF-8", LC_ALL="C", PYTHONUTF8="0"))
    assert_closed(copied, undisturbed)
