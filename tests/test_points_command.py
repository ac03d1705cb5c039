"""The manners of the command (docs/design.md, section 10)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from console.app import app
from console.demo_home import DemoHomeTaken
from console.help_panels import ACTING, FILES, LOOKING, MONTHS, UPKEEP
from ledger.settings import SettingInvalid, Settings
from orchestration.reports import MonthNotBuilt
from orchestration.run_lock import RunInProgress, run_lock
from simulator.transfer_files import write_transfers
from tests.conftest import answer, assert_refused, refusal, transfer


def every_command(group, *names: str) -> list[str]:
    """Each command of the program by its words, those of groups as well."""
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += every_command(command, *names, name)
        else:
            found.append(" ".join((*names, name)))
    return found


@pytest.mark.parametrize("command", every_command(typer.main.get_command(app)))
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Example: " in result.stdout
    assert f"points {command}" in result.stdout.split("Example: ")[1]


def test_help_shows_every_command_in_a_group_with_its_whole_summary():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert max(map(len, shown.splitlines())) <= 80
    titles = [line.removesuffix(":") for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Options", LOOKING, ACTING, FILES, MONTHS, UPKEEP]
    commands = typer.main.get_command(app).commands
    for name, command in commands.items():
        assert command.rich_help_panel in titles, name
        (summary,) = re.findall(rf"^  {name} +((?:.|\n {{9,}})+)", shown, re.MULTILINE)
        assert " ".join(summary.split()) == command.get_short_help_str(limit=1_000)


def test_an_unknown_option_is_a_matter_of_usage(points, tmp_path):
    assert points("months", "--upside-down", home=tmp_path / "home").returncode == 2


def test_nothing_built_yet_is_nothing_to_show_and_no_failure(points, tmp_path):
    result = points("months", home=tmp_path / "home")
    assert result.returncode == 0
    assert "points build" in result.stdout
    assert json.loads(points("months", "--json", home=tmp_path / "home").stdout) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTS_TIME_ZONE", "Mars/Olympus"),
        ("POINTS_TIME_ZONE", "../etc/passwd"),
        ("POINTS_MONTH_START_DAY", "29"),
        ("POINTS_MONTH_START_DAY", "1.0"),
        ("POINTS_DEFAULT_CURRENCY", "pts"),
        ("POINTS_DEFAULT_CURRENCY", "POINT"),
        ("POINTS_FIRST_MONTH", "2026-13"),
        ("POINTS_HOME", __file__),
        ("POINTS_HOME", "home?"),
        ("POINTS_HOME", "back\\slash"),
        ("POINTS_HOME", "two\nlines"),
        ("POINTS_HOME", "a line\n"),
        ("POINTS_HOME", "two\u2028lines"),
        ("POINTS_PROGRAMME_NAME", "two\nlines"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(points, tmp_path, name, value):
    """docs/cases.md, S7, of homes."""
    with pytest.raises(SettingInvalid) as refused:
        Settings.from_environment({name: value})
    assert (refused.value.name, refused.value.value) == (name, value)
    assert_refused(points("months", home=tmp_path / "home", **{name: value}), refused.value)


def test_the_demo_is_written_to_a_home_of_its_own_and_again_with_the_same_bytes(points, tmp_path):
    home = tmp_path / "home"
    assert points("demo", home=home).returncode == 0
    first = (home / "demo" / "transfers.csv").read_bytes()
    assert points("demo", home=home).returncode == 0
    assert (home / "demo" / "transfers.csv").read_bytes() == first


def test_the_demo_says_where_it_is_for_programs(points, tmp_path):
    home = tmp_path / "home"
    made = json.loads(answer(points("demo", "--json", home=home)))
    assert made["home"] == str(home / "demo")
    assert Path(made["transfers"]).exists()
    lines = points("demo", "--csv", home=home).stdout.splitlines()
    assert lines[0] == "home,transfers,rows,first_month,last_month"
    assert lines[1].endswith(f",{made['rows']},2025-09,2026-10")


def test_the_demo_leaves_the_ledger_of_others_alone(points, tmp_path):
    home = tmp_path / "home"
    result = points("demo", home=home, POINTS_DATABASE_URL="postgresql://nobody@nowhere.invalid/points")
    following = f"`POINTS_HOME={home}/demo POINTS_DATABASE_URL= points close --through 2026-10`"
    assert following in answer(result)
    assert (home / "demo" / "ledger.sqlite3").exists()


@pytest.mark.parametrize("name", ["ledger.sqlite3", "accounts.xlsx"])
def test_the_demo_never_goes_where_other_things_are(points, tmp_path, name):
    home = tmp_path / "home" / "demo"
    home.mkdir(parents=True)
    (home / name).touch()
    assert_refused(points("demo", home=tmp_path / "home"), DemoHomeTaken(home, name))
    assert not (home / "transfers.csv").exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "give C-1 5",
            "There is no ledger in {home}/ledger.sqlite3 yet; begin one with `points import FILE`,"
            " `points give … --new` or `points demo`.",
        ),
        (
            "build",
            "There are no transfers to build from: the ledger of {home} holds none yet, and POINTS_TRANSFERS"
            " names no file; run `points import FILE` or `points give … --new`, set POINTS_TRANSFERS to a CSV"
            " or Parquet file, or try `points demo`.",
        ),
        ("report 2026-13", "'2026-13' is no report month; write one as YYYY-MM, like 2026-10."),
        (
            "reopen 2026-01",
            '2026-01 is not reopened without a reason; say why: `points reopen 2026-01 --reason "…"`.',
        ),
        ("import absent.csv", "NOT_FOUND: absent.csv is not there; check its name."),
        (
            "export-database x.duckdb",
            "No month of {home} has been closed yet; close one with `points close`.",
        ),
    ],
)
def test_people_read_one_sentence_that_names_the_way_out(points, tmp_path, command, sentence):
    """Other tests compare with the error itself, by its class and facts."""
    home = tmp_path / "home"
    assert refusal(points(*command.split(), home=home)) == f"{sentence.format(home=home)}\n"


def test_a_second_run_in_a_home_says_who_holds_it(points, tmp_path):
    """docs/cases.md, X6, as far as a build goes."""
    transfers = write_transfers(tmp_path / "transfers.csv", [transfer("T-1")])
    home = tmp_path / "home"
    with run_lock(home, "the test"):
        with pytest.raises(RunInProgress) as refused, run_lock(home, "another"):
            pass
        assert refused.value.holder == f"the test, process {os.getpid()}"
        assert_refused(points("build", home=home, transfers=transfers), refused.value)


@pytest.mark.slow
def test_a_killed_build_takes_its_dbt_with_it_and_the_next_one_works(points, tmp_path):
    """docs/cases.md, X2 and X3, as far as a build goes."""
    transfers = write_transfers(tmp_path / "transfers.csv", [transfer("T-1")])
    home = tmp_path / "home"
    process = subprocess.Popen(
        [Path(sys.executable).with_name("points"), "build"],
        env={**os.environ, "POINTS_HOME": str(home), "POINTS_TRANSFERS": str(transfers)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    child = _wait_for_child(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
    assert not (home / "provisional").exists()
    result = points("build", home=home, transfers=transfers)
    assert result.returncode == 0, result.stderr
    assert (home / "provisional/2026-03/provisional_outstanding_points.csv").exists()


def _wait_for_child(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    if not children.exists():
        pytest.skip("This system does not say in /proc which processes are whose.")
    for _ in range(300):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.1)
    raise AssertionError("dbt did not start")


@pytest.mark.parametrize(
    "command", ["transfers", "balances", "revoke", "approve", "hold", "cancel", "comment"]
)
def test_an_id_that_is_no_text_is_unknown_and_no_traceback(points, tmp_path, command):
    home = tmp_path / "home"
    assert points("give", "C-1", "1", "--new", home=home).returncode == 0
    text = ["a note"] if command == "comment" else []
    result = points(command, b"C\xe9", *text, home=home)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_answer_is_printed_in_every_locale(points, tmp_path):
    """docs/cases.md, X17."""
    result = points(
        "give",
        "C-1",
        "1",
        "--new",
        "--comment",
        "😀",
        "--json",
        home=tmp_path / "home",
        PYTHONIOENCODING="latin-1",
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["comment"] == "😀"


def test_csv_of_an_act_carries_no_formula(points, tmp_path):
    """docs/cases.md, R23."""
    result = points("give", "C-1", "1", "--new", "--comment", "=1+1", "--csv", home=tmp_path / "home")
    assert "'=1+1" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["months", "--json", "--csv"],
        ["months", "--csv", "--json"],
        ["report", "2026-01", "--xml", "--csv"],
        ["transfers", "--json", "--csv"],
        ["transfers", "--csv", "--xml"],
        ["balances", "--xml", "--json"],
    ],
)
def test_one_form_is_printed_at_a_time(points, tmp_path, arguments):
    refused = points(*arguments, home=tmp_path / "home")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "print one of JSON, CSV and XML at a time" in refused.stderr


def test_points_with_a_sign_are_refused_for_what_they_are(points, tmp_path):
    home = tmp_path / "home"
    refused = points("give", "C-1", "-5", "--new", home=home)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "-5 has a sign; `points give` adds points, `points deduct` takes them away" in refused.stderr
    assert points("give", "C-1", "5", "--new", "--comment", "-5", home=home).returncode == 0


def test_a_month_before_all_that_were_built_is_not_to_be_built(points, tmp_path):
    home, transfers = tmp_path / "home", tmp_path / "transfers.csv"
    write_transfers(transfers, [transfer("T-1", occurred_at="2026-03-01T10:00:00Z")])
    built = points("build", home=home, transfers=transfers)
    assert "Built 1 month, 2026-03; " in built.stdout, built.stderr
    refused = points("report", "2026-01", home=home, transfers=transfers)
    assert_refused(refused, MonthNotBuilt("2026-01", home, ["2026-03"]))
    assert "points build" not in refused.stderr
    assert "points build" in MonthNotBuilt("2026-04", home, ["2026-03"]).sentence
