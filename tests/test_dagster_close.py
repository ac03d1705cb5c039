"""Dagster's face of the close: what is due, the tick that closes it, what is shown and what is checked."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from ledger.acts.decisions import approve
from ledger.anchors import Head, write_anchor
from ledger.append import appending
from ledger.closes import read_history
from ledger.database import Ledger
from ledger.models import Close, Entry, QuarantinedRow
from ledger.settings import SettingInvalid, Settings
from orchestration.assets.published_checks import attribute, find_broken_links, judge
from orchestration.close.closing import close_months
from orchestration.close.due_months import (
    close_due_months,
    describe_open,
    find_due_months,
)
from orchestration.close.gate import QuarantineNotAccepted
from orchestration.close.reopening import reopen_months
from orchestration.definitions import define
from orchestration.published.database import find_database_damage
from orchestration.published.layout import database_file
from orchestration.run_lock import run_lock
from tests.conftest import PROJECT_ROOT, LedgerHome, ledger_transfer
from tests.test_dagster import failure_of, make_settings, metadata_of

# Six o'clock on the first day on which September is due, with two days of grace.
TICK = "2025-10-03T06:00:00+00:00"
MONTHS = ["2025-07", "2025-08", "2025-09"]
FILES = [
    "outstanding_points_csv",
    "points_roll_forward_csv",
    "programme_points_csv",
    "outstanding_points_xml",
    "outstanding_points_xlsx",
    "outstanding_points_by_month_parquet",
    "points_movements_by_month_parquet",
    "programme_points_by_month_parquet",
    "discrepancies_parquet",
    "posted_transfers_parquet",
    "evidence_zip",
    "manifest_json",
]


def at(text: str) -> datetime:
    """An instant; without a zone, in UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def record(ledger: Ledger, *entries: Entry) -> None:
    """Append entries in one transaction."""
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


def give_once_a_month(home: LedgerHome, *months: str, currency: str = "POINTS") -> None:
    """Record ten points for C-1 on the tenth of each month."""
    record(
        home.open(),
        *(
            ledger_transfer(
                f"T-{month}-{currency}", points="10", currency=currency, occurred_at=at(f"{month}-10T12:00")
            )
            for month in months
        ),
    )


@dataclass(frozen=True)
class Scheduled:
    """A programme as the scheduler runs it, within this process and with an instance of its own."""

    settings: Settings
    instance: dg.DagsterInstance

    def tick(self, schedule: str, at: str) -> dg.RunRequest | dg.SkipReason:
        """What a schedule asks for at a tick; no job is run yet."""
        context = dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=datetime.fromisoformat(at)
        )
        return define(self.settings).resolve_schedule_def(schedule)(context)

    def run(self, job: str, config: dict | None = None) -> dg.ExecuteInProcessResult:
        """Run a job to its end."""
        return (
            define(self.settings)
            .resolve_job_def(job)
            .execute_in_process(instance=self.instance, run_config=config, raise_on_error=False)
        )

    def close_at(self, tick: str) -> dg.ExecuteInProcessResult:
        """Evaluate the schedule of the close at a tick, and run what it asks for."""
        request = self.tick("close_months_daily", tick)
        assert isinstance(request, dg.RunRequest), request
        return self.run("close_months", request.run_config)

    def partitions(self, asset: str) -> set[str]:
        """The partitions of an asset that Dagster shows as made."""
        return self.instance.get_materialized_partitions(dg.AssetKey.from_user_string(asset))


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(scope="module")
def caught_up(tmp_path_factory):
    """Three months that a stopped scheduler missed, and the run of the next tick."""
    home = LedgerHome(tmp_path_factory.mktemp("missed") / "home")
    give_once_a_month(home, *MONTHS)
    give_once_a_month(home, "2025-08", currency="MILES")
    with dg.DagsterInstance.ephemeral() as ephemeral:
        scheduled = Scheduled(home.settings(), ephemeral)
        yield scheduled, scheduled.close_at(TICK)


def closed_months(home: LedgerHome) -> list[str]:
    """The closes in the ledger, in the order of their entries."""
    home.open()
    return [closed.name for closed in read_history().closes]


# Which months are due.


@pytest.mark.parametrize(
    ("days", "now", "due"),
    [
        ("2", "2025-10-01T06:00", ["2025-08"]),
        ("2", "2025-10-02T23:59", ["2025-08"]),
        ("2", "2025-10-03T00:00", ["2025-08", "2025-09"]),
        ("0", "2025-09-30T23:59", ["2025-08"]),
        ("0", "2025-10-01T06:00", ["2025-08", "2025-09"]),
        ("28", "2025-10-28T23:59", ["2025-08"]),
        ("28", "2025-10-29T00:00", ["2025-08", "2025-09"]),
    ],
)
def test_a_month_is_due_when_the_days_of_grace_after_its_end_are_over(ledger_home, days, now, due):
    give_once_a_month(ledger_home, "2025-08")
    found = find_due_months(ledger_home.settings(POINTS_CLOSE_AFTER_DAYS=days), at(now))
    assert list(found.months) == due


def test_the_days_of_grace_are_two_unless_the_setting_says_otherwise(tmp_path):
    assert make_settings(tmp_path).close_after_days == 2
    for days in ("-1", "29", "1.5", "two", "02"):
        with pytest.raises(SettingInvalid) as refused:
            make_settings(tmp_path, POINTS_CLOSE_AFTER_DAYS=days)
        assert (refused.value.name, refused.value.value) == ("POINTS_CLOSE_AFTER_DAYS", days)


@pytest.mark.parametrize(
    ("zone", "start_day", "due_at"),
    [
        ("Pacific/Auckland", "1", "2025-09-02T00:00+12:00"),
        ("America/New_York", "1", "2025-09-02T00:00-04:00"),
        ("America/New_York", "15", "2025-09-16T00:00-04:00"),
    ],
)
def test_a_month_ends_in_the_programmes_zone_and_on_its_day(tmp_path, zone, start_day, due_at):
    home = LedgerHome(tmp_path / "home", {"POINTS_TIME_ZONE": zone, "POINTS_MONTH_START_DAY": start_day})
    record(home.open(), ledger_transfer("T-1", occurred_at=at("2025-08-20T12:00")))
    settings = home.settings(POINTS_CLOSE_AFTER_DAYS="1")
    due = datetime.fromisoformat(due_at)
    assert not find_due_months(settings, due.replace(day=due.day - 1, hour=23)).months
    assert list(find_due_months(settings, due).months) == ["2025-08"]


def test_a_programme_begins_with_the_first_transfer_that_took_effect(ledger_home):
    ledger = ledger_home.open(clock=lambda: at("2025-09-20T12:00"))
    record(ledger, ledger_transfer("T-1", occurred_at=at("2025-06-10T12:00"), status="pending"))
    settings = ledger_home.settings()
    assert find_due_months(settings, at(TICK)).reason == "No transfer has been approved yet."
    approve(replace(ledger_home.open(user="bob"), clock=ledger.clock), ["T-1"])
    assert list(find_due_months(settings, at(TICK)).months) == ["2025-09"]
    record(ledger, ledger_transfer("T-2", occurred_at=at("2025-08-10T12:00")))
    assert list(find_due_months(settings, at(TICK)).months) == ["2025-08", "2025-09"]
    later = ledger_home.settings(POINTS_FIRST_MONTH="2025-09")
    assert list(find_due_months(later, at(TICK)).months) == ["2025-09"]


def test_where_nothing_is_due_it_is_said_why_and_is_no_error(ledger_home):
    settings = ledger_home.settings()
    assert close_due_months(settings, at(TICK)) is None
    assert find_due_months(settings, at(TICK)).reason.startswith("There is no ledger in ")
    assert not ledger_home.home.exists()
    files = ledger_home.settings(POINTS_TRANSFERS="transfers.csv")
    assert find_due_months(files, at(TICK)).reason.startswith("POINTS_TRANSFERS names files")
    give_once_a_month(ledger_home, "2025-10")
    assert close_due_months(settings, at(TICK)) is None
    reason = find_due_months(settings, at(TICK)).reason
    assert reason == "2025-10, the oldest open month, is due at 2025-11-03 00:00 UTC."
    assert closed_months(ledger_home) == []


def test_a_month_is_overdue_a_day_after_it_was_due(ledger_home):
    give_once_a_month(ledger_home, "2025-08")
    settings = ledger_home.settings()
    assert list(find_due_months(settings, at("2025-10-03T23:59")).overdue) == ["2025-08"]
    overdue = find_due_months(settings, at("2025-10-04T00:00")).overdue
    assert list(overdue) == ["2025-08", "2025-09"]
    assert describe_open(overdue, settings) == (
        "2025-08 ended on 2025-08-31 and is not closed, nor is 2025-09."
    )


def test_a_month_that_was_reopened_is_due_with_those_after_it(ledger_home):
    record(ledger_home.open(clock=lambda: at("2025-07-10T12:00")), ledger_transfer("T-1"))
    closed = {
        "revision": 1,
        "cutoff_entry_id": 1,
        "manifest_sha256": "0" * 64,
    }
    seals = '{"time_zone":"UTC","month_start_day":1,"first_month":"2025-07","default_currency":"POINTS"}'
    record(
        ledger_home.open(clock=lambda: at("2025-09-20T12:00")),
        Close(event="close", report_month="2025-07", seals=seals, **closed),
        Close(event="close", report_month="2025-08", **closed),
    )
    settings = ledger_home.settings()
    assert list(find_due_months(settings, at(TICK)).months) == ["2025-09"]
    record(
        ledger_home.open(clock=lambda: at("2025-10-02T12:00")),
        Close(event="reopen", report_month="2025-08", reason="Partner sent August anew", **closed),
    )
    assert list(find_due_months(settings, at(TICK)).months) == ["2025-08", "2025-09"]


# The tick.


def test_the_close_ticks_daily_at_six_in_the_programmes_zone_and_a_lost_run_is_given_up(tmp_path):
    definitions = define(make_settings(tmp_path, POINTS_TIME_ZONE="Asia/Kolkata"))
    for name, cron in (("close_months_daily", "0 6 * * *"), ("verify_published_daily", "0 5 * * *")):
        schedule = definitions.resolve_schedule_def(name)
        assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "Asia/Kolkata")
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    for name in ("close_months", "verify_published"):
        assert definitions.resolve_job_def(name).tags["dagster/max_runtime"] == "14400"


def test_a_tick_at_which_nothing_is_due_starts_no_run(tmp_path, instance):
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, "2025-09")
    skipped = Scheduled(home.settings(), instance).tick("close_months_daily", "2025-10-02T06:00:00+00:00")
    assert isinstance(skipped, dg.SkipReason)
    assert "2025-09, the oldest open month, is due at 2025-10-03 00:00 UTC" in skipped.skip_message


def test_a_tick_that_cannot_see_what_is_due_starts_the_run_that_says_so(tmp_path, instance):
    """docs/cases.md, X12: the home was built on a ledger that is gone."""
    write_anchor(tmp_path, Head(1, bytes(32)))
    result = Scheduled(make_settings(tmp_path), instance).close_at(TICK)
    assert not result.success
    assert failure_of(result).startswith("The ledger is missing: ")


def test_a_close_by_hand_when_nothing_is_due_says_so_and_is_no_failure(tmp_path, instance):
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, "2999-01")
    assert Scheduled(home.settings(), instance).run("close_months").success
    assert closed_months(home) == []


def test_quarantined_rows_fail_the_run_with_the_sentence_of_the_command(tmp_path, instance):
    """docs/cases.md, C18."""
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, *MONTHS)
    bad = QuarantinedRow(batch_id="B1", line=2, transfer_id="BAD", row="{}", code="POINTS", expected="points")
    record(home.open(), bad)
    result = Scheduled(home.settings(), instance).close_at(TICK)
    assert not result.success
    assert failure_of(result) == QuarantineNotAccepted(1).sentence
    assert closed_months(home) == []


def test_a_close_that_is_refused_fails_the_run_with_its_sentence_and_closes_no_month(tmp_path, instance):
    home = LedgerHome(tmp_path / "home", {"POINTS_FIRST_MONTH": "2025-06"})
    give_once_a_month(home, *MONTHS)
    result = Scheduled(home.settings(), instance).close_at(TICK)
    assert not result.success
    assert failure_of(result).startswith("The first month cannot be 2025-06: ")
    assert closed_months(home) == []
    assert not result.get_asset_materialization_events()


def test_a_close_while_another_run_goes_on_says_who_holds_the_home(tmp_path, instance):
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, *MONTHS)
    config = {"ops": {"closed_months": {"config": {"due_at": TICK, "wait_seconds": 0.0}}}}
    with run_lock(home.home, "points build"):
        result = Scheduled(home.settings(), instance).run("close_months", config)
    assert f"points build, process {os.getpid()}" in failure_of(result)
    assert closed_months(home) == []


@pytest.mark.parametrize("due_at", ["2999-02-03T06:00:00+00:00", "2999-02-03"])
def test_no_month_is_closed_as_of_an_instant_that_is_ahead(tmp_path, instance, due_at):
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, *MONTHS)
    config = {"ops": {"closed_months": {"config": {"due_at": due_at}}}}
    result = Scheduled(home.settings(), instance).run("close_months", config)
    assert failure_of(result).startswith("No month is closed as of 2999-02-03 ")
    assert closed_months(home) == []


@pytest.mark.slow
def test_a_close_whose_audit_refuses_closes_no_month(tmp_path, instance, monkeypatch):
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, *MONTHS)
    monkeypatch.setattr(
        "orchestration.close.prepared_months.required_tests", lambda: ["test.points.deleted_test"]
    )
    result = Scheduled(home.settings(), instance).close_at(TICK)
    assert "deleted_test did not run" in failure_of(result)
    assert closed_months(home) == []
    assert not result.get_asset_materialization_events()
    assert not (home.home / "published").exists()


@pytest.mark.slow
def test_months_that_a_stopped_scheduler_missed_are_closed_in_order_by_the_next_tick(caught_up):
    """docs/cases.md, X15."""
    scheduled, result = caught_up
    assert result.success, failure_of(result)
    home = LedgerHome(scheduled.settings.home)
    assert closed_months(home) == [f"{month}/r1" for month in MONTHS]
    history = read_history()
    assert len({closed.cutoff_entry_id for closed in history.closes}) == 1
    skipped = scheduled.tick("close_months_daily", "2025-10-04T06:00:00+00:00")
    assert "2025-10, the oldest open month, is due at 2025-11-03" in skipped.skip_message


@pytest.mark.slow
def test_ticks_that_are_made_up_for_each_close_what_was_due_at_theirs(tmp_path, instance):
    """docs/cases.md, X15, where the daemon does go through the ticks that it missed."""
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, *MONTHS)
    scheduled = Scheduled(home.settings(), instance)
    for tick, months in (("2025-09-03T06:00:00+00:00", MONTHS[:2]), (TICK, MONTHS)):
        result = scheduled.close_at(tick)
        assert result.success, failure_of(result)
        assert closed_months(home) == [f"{month}/r1" for month in months]


# What Dagster shows.


@pytest.mark.slow
def test_the_files_of_every_closed_month_are_shown(caught_up):
    scheduled, result = caught_up
    for name in FILES:
        assert scheduled.partitions(f"published/{name}") == {f"{month}-01" for month in MONTHS}, name
    assert scheduled.partitions("published/unposted_transfers_parquet") == {"2025-09-01"}
    shown = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert "published/outstanding_points_duckdb" in shown


@pytest.mark.slow
def test_a_file_is_shown_with_what_the_ledger_and_its_manifest_say_of_it(caught_up):
    scheduled, result = caught_up
    path = scheduled.settings.home / "published" / "2025-08" / "r1" / "outstanding_points.csv"
    (facts,) = [
        {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["published", "outstanding_points_csv"])
        and event.partition == "2025-08-01"
    ]
    assert facts["path"] == str(path)
    assert facts["bytes"] == path.stat().st_size
    assert facts["revision"] == 1
    assert facts["cutoff"] == "entry 4"
    assert facts["dagster/row_count"] == 1
    assert "- POINTS: closing_points 20" in facts["control totals"].splitlines()
    assert facts["files of other currencies"] == "outstanding_points.MILES.csv"
    sha256 = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]
    assert facts["SHA-256"] == sha256
    database = metadata_of(result, "published/outstanding_points_duckdb")
    assert database["months"].splitlines()[0].startswith("- 2025-07, revision 1, issued")


@pytest.mark.slow
def test_months_that_the_command_closed_are_shown_by_the_next_verification_and_once(caught_up):
    scheduled, _ = caught_up
    with dg.DagsterInstance.ephemeral() as fresh:
        another = Scheduled(scheduled.settings, fresh)
        assert another.run("verify_published").success
        for name in FILES:
            assert another.partitions(f"published/{name}") == {f"{month}-01" for month in MONTHS}, name
        assert another.run("verify_published").get_asset_materialization_events() == []


def test_nothing_that_is_final_can_be_materialised_by_hand(tmp_path):
    graph = define(make_settings(tmp_path)).resolve_asset_graph()
    published = [key for key in graph.get_all_asset_keys() if key.path[0] == "published"]
    assert len(published) == 16
    assert not set(published) & graph.executable_asset_keys


# What is checked.


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Whether each check of a run passed."""
    return {
        f"{evaluation.asset_key.path[-1]}:{evaluation.check_name}": evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


@pytest.mark.slow
def test_the_run_that_closes_checks_what_it_published(caught_up):
    _, result = caught_up
    assert len(verdicts(result)) == 16
    assert all(verdicts(result).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("2025-07/r1/outstanding_points.csv", {"outstanding_points_csv:is_as_published"}),
        ("2025-08/r1/outstanding_points.MILES.csv", {"outstanding_points_csv:is_as_published"}),
        ("2025-09/r1/unposted_transfers.parquet", {"unposted_transfers_parquet:is_as_published"}),
        ("2025-08/r1/manifest.json", {"manifest_json:is_the_one_that_the_ledger_names"}),
        ("outstanding_points.duckdb", {"outstanding_points_duckdb:holds_the_issued_months"}),
    ],
)
def test_one_flipped_byte_fails_its_check_and_the_run(caught_up, tmp_path, instance, name, failing):
    """docs/cases.md, X10."""
    home = copied(caught_up, tmp_path)
    path = home.home / "published" / name
    whole = bytearray(path.read_bytes())
    # Beyond what DuckDB itself would stumble over.
    position = whole.index(b"2025-07") if name.endswith(".duckdb") else len(whole) // 2
    whole[position] ^= 1
    path.resolve().chmod(0o644)
    path.write_bytes(whole)
    result = Scheduled(home.settings(), instance).run("verify_published")
    assert not result.success
    assert path.name in failure_of(result)
    assert {check for check, passed in verdicts(result).items() if not passed} == failing


@pytest.mark.slow
def test_files_and_months_that_no_close_names_fail_the_check_of_the_manifest(caught_up, tmp_path, instance):
    home = copied(caught_up, tmp_path)
    (home.home / "published" / "2025-07" / "r1" / "notes.txt").write_text("mine", encoding="utf-8")
    result = Scheduled(home.settings(), instance).run("verify_published")
    assert "notes.txt is in no manifest" in failure_of(result)
    assert not verdicts(result)["manifest_json:is_the_one_that_the_ledger_names"]


@pytest.mark.slow
def test_a_manifest_that_names_another_before_it_fails_its_check(caught_up):
    scheduled, _ = caught_up
    LedgerHome(scheduled.settings.home).open()
    history = read_history()
    assert list(find_broken_links(scheduled.settings.home, history, history.closes)) == []
    another = replace(history.closes[0], manifest_sha256="0" * 64)
    altered = replace(history, closes=(another, *history.closes[1:]))
    (found,) = find_broken_links(scheduled.settings.home, altered, history.closes)
    assert found.damage.path.parent == scheduled.settings.home / "published" / "2025-08" / "r1"
    without_july = replace(history, closes=history.closes[1:])
    (found,) = find_broken_links(scheduled.settings.home, without_july, history.closes)
    failed = [evaluation for evaluation in judge([found], history.closes) if not evaluation.passed]
    assert [evaluation.check_name for evaluation in failed] == ["names_the_month_before"]


@pytest.mark.slow
def test_a_database_of_other_months_than_were_issued_fails_its_check(caught_up):
    scheduled, _ = caught_up
    LedgerHome(scheduled.settings.home).open()
    history = read_history()
    assert list(find_database_damage(scheduled.settings.home, history)) == []
    fewer = replace(history, issued={"2025-07": history.issued["2025-07"]})
    found = attribute(list(find_database_damage(scheduled.settings.home, fewer)))
    failed = [evaluation for evaluation in judge(found, history.closes) if not evaluation.passed]
    assert [evaluation.check_name for evaluation in failed] == ["holds_the_issued_months"]


def test_a_programme_without_a_ledger_has_nothing_to_verify(tmp_path, instance):
    result = Scheduled(make_settings(tmp_path / "home"), instance).run("verify_published")
    assert result.success
    assert all(verdicts(result).values())
    assert not (tmp_path / "home").exists()


def copied(caught_up: tuple[Scheduled, dg.ExecuteInProcessResult], tmp_path: Path) -> LedgerHome:
    """The caught-up home in another place, brought to rights there (docs/cases.md, X20)."""
    scheduled, _ = caught_up
    home = LedgerHome(tmp_path / "home")
    shutil.copytree(scheduled.settings.home, home.home, symlinks=True)
    with dg.DagsterInstance.ephemeral() as fresh:
        assert Scheduled(home.settings(), fresh).run("verify_published").success
    assert str(home.home) in str(database_file(home.home))
    return home


# What needs no Dagster.


def test_the_close_imports_nothing_of_dagster(tmp_path):
    program = (
        "import sys; import orchestration.close.due_months, orchestration.alerts, console.commands.closes;"
        " import orchestration.upkeep.verification; assert 'dagster' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, check=True, timeout=60)
    ending = (
        "import sys\nfrom console.points import main\ntry:\n    main()\nfinally:\n"
        "    assert 'dagster' not in sys.modules\n    assert 'orchestration.close.closing' in sys.modules"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    home = LedgerHome(tmp_path / "home")
    give_once_a_month(home, "2999-01")
    result = subprocess.run(
        [sys.executable, "-c", ending, "close"],
        cwd=PROJECT_ROOT,
        env={**environment, "POINTS_HOME": str(home.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "2999-01" in result.stdout


@pytest.mark.slow
def test_a_reopened_month_is_due_and_its_next_revision_is_shown(caught_up, tmp_path, instance):
    home = copied(caught_up, tmp_path)
    settings = home.settings()
    reopen_months(settings, "2025-09", "Partner sent September anew")
    assert "2025-09" in find_due_months(settings).months
    close_months(settings, "2025-09")
    result = Scheduled(settings, instance).run("verify_published")
    assert result.success, failure_of(result)
    # Of revisions after the first alone there is a restatement.
    for name in ("manifest_json", "restatement_csv"):
        (facts,) = [
            event.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key.path[-1] == name and event.partition == "2025-09-01"
        ]
        assert facts["revision"].value == 2
