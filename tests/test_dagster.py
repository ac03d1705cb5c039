"""Dagster's face of the build: what it shows, when it runs, and that it publishes what the command would."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ledger.anchors import Head, read_anchor, write_anchor
from ledger.append import appending
from ledger.links import ledger_head
from ledger.settings import PROJECT_ROOT, Settings
from orchestration import build, runs
from orchestration.assets.provisional_checks import check_provisional, provisional_check_specs
from orchestration.dbt.invocation import DbtFailed, NodeProgress
from orchestration.dbt.manifest import read_manifest
from orchestration.definitions import define
from orchestration.partitions import define_report_months
from orchestration.required_tests import required_tests
from orchestration.required_tests import tests_in_manifest as data_tests
from orchestration.run_lock import run_lock
from orchestration.schedules import define_build_months_daily
from simulator.transfer_files import write_transfers
from tests.conftest import LedgerHome, ledger_transfer, transfer

SOURCES = [
    "inbox",
    "ledger",
    "ledger/transfers",
    "ledger/status_changes",
    "ledger/account_events",
    "ledger/closes",
    "files/transfers",
    "closed_month/balances",
    "closed_month/unposted_transfers",
    "closed_month/related_transfers",
    "closed_month/related_status_changes",
]
# Those of the files.
FILES = [
    "provisional/discrepancies_parquet",
    "provisional/outstanding_points_by_month_parquet",
    "provisional/outstanding_points_csv",
    "provisional/outstanding_points_xlsx",
    "provisional/outstanding_points_xml",
    "provisional/points_movements_by_month_parquet",
    "provisional/points_roll_forward_csv",
    "provisional/posted_transfers_parquet",
    "provisional/programme_points_by_month_parquet",
    "provisional/programme_points_csv",
    "provisional/provisional_duckdb",
    "provisional/quarantined_transfers_csv",
    "provisional/transfer_history_parquet",
    "provisional/unposted_transfers_parquet",
    "published/close",
    "published/discrepancies_parquet",
    "published/evidence_zip",
    "published/manifest_json",
    "published/outstanding_points_by_month_parquet",
    "published/outstanding_points_csv",
    "published/outstanding_points_duckdb",
    "published/outstanding_points_xlsx",
    "published/outstanding_points_xml",
    "published/points_movements_by_month_parquet",
    "published/points_roll_forward_csv",
    "published/posted_transfers_parquet",
    "published/programme_points_by_month_parquet",
    "published/programme_points_csv",
    "published/restatement_csv",
    "published/unposted_transfers_parquet",
]

FILE_CHECK_NAMES = [
    "provisional/outstanding_points_by_month_parquet:adds_up_to_the_programme",
    "provisional/outstanding_points_csv:equation_holds",
    "provisional/outstanding_points_csv:header_is_the_documented_one",
    "provisional/outstanding_points_csv:last_line_ends_with_crlf",
    "provisional/outstanding_points_csv:rows_are_those_of_the_mart",
    "provisional/outstanding_points_xlsx:is_whole",
    "provisional/outstanding_points_xml:is_whole",
    "provisional/points_roll_forward_csv:header_is_the_documented_one",
    "provisional/points_roll_forward_csv:last_line_ends_with_crlf",
    "provisional/points_roll_forward_csv:rows_are_those_of_the_mart",
    "provisional/programme_points_csv:header_is_the_documented_one",
    "provisional/programme_points_csv:last_line_ends_with_crlf",
    "provisional/provisional_duckdb:readers_see_the_month",
]

PUBLISHED_CHECK_NAMES = [
    "published/discrepancies_parquet:is_as_published",
    "published/evidence_zip:is_as_published",
    "published/manifest_json:is_the_one_that_the_ledger_names",
    "published/manifest_json:names_the_month_before",
    "published/outstanding_points_by_month_parquet:is_as_published",
    "published/outstanding_points_csv:is_as_published",
    "published/outstanding_points_duckdb:holds_the_issued_months",
    "published/outstanding_points_xlsx:is_as_published",
    "published/outstanding_points_xml:is_as_published",
    "published/points_movements_by_month_parquet:is_as_published",
    "published/points_roll_forward_csv:is_as_published",
    "published/posted_transfers_parquet:is_as_published",
    "published/programme_points_by_month_parquet:is_as_published",
    "published/programme_points_csv:is_as_published",
    "published/restatement_csv:is_as_published",
    "published/unposted_transfers_parquet:is_as_published",
]


def make_settings(home: Path, **environment: str) -> Settings:
    """Settings of a programme in ``home``, of nothing but what is named."""
    return Settings.from_environment({"POINTS_HOME": str(home), **environment})


@pytest.fixture(scope="module")
def definitions(tmp_path_factory) -> dg.Definitions:
    """The definitions of a programme whose home is not there."""
    return define(make_settings(tmp_path_factory.mktemp("nothing") / "home"))


@dataclass(frozen=True)
class Programme:
    """A programme with a file of transfers, run through Dagster within this process."""

    settings: Settings

    @property
    def provisional(self) -> Path:
        """What readers see."""
        return self.settings.home / "provisional"

    def run(
        self, month: str, assets: list[str] | None = None, wait_seconds: float = 0.0
    ) -> dg.ExecuteInProcessResult:
        """Run ``build_months`` for a partition, whole or some assets of it."""
        job = define(self.settings).resolve_job_def("build_months")
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                instance=instance,
                partition_key=month,
                asset_selection=assets and [dg.AssetKey.from_user_string(name) for name in assets],
                run_config={"ops": {"report_months": {"config": {"wait_seconds": wait_seconds}}}},
                raise_on_error=False,
            )


def write_programme(folder: Path) -> Programme:
    """A programme of two customers, two currencies and two months, and a row that is set aside."""
    transfers = write_transfers(
        folder / "transfers.csv",
        [
            transfer("T-1", occurred_at="2026-01-05T10:00:00Z", currency="POINTS", comment=""),
            transfer("T-2", style="deduct", points="30", reason="redemption"),
            transfer("T-3", relation_reference="C|2", points="12.5", reason="manual_credit"),
            transfer("T-4", currency="MILES", points="7"),
            transfer("T-5", reason="none", comment="[x](y) | <b>\n`z`"),
        ],
    )
    return Programme(make_settings(folder / "home", POINTS_TRANSFERS=str(transfers)))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Programme, dg.ExecuteInProcessResult]:
    """A programme, built through March, and what Dagster says of it."""
    programme = write_programme(tmp_path_factory.mktemp("built"))
    result = programme.run("2026-03-01")
    assert result.success, failure_of(result)
    return programme, result


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The sentence with which the run's only step failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    """The metadata of an asset that the run made."""
    key = dg.AssetKey.from_user_string(asset)
    (event,) = [event for event in result.get_asset_materialization_events() if event.asset_key == key]
    return {name: value.value for name, value in event.materialization.metadata.items()}


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Hold that no file of ``folder`` and not the run that it stands for is another after the body."""

    def state() -> tuple[Path, dict[Path, bytes]]:
        return folder.resolve(), {path: path.read_bytes() for path in folder.rglob("*.*")}

    before = state()
    assert before[1]
    yield
    assert state() == before


def list_seeds_and_models() -> list[str]:
    """The names of what dbt makes."""
    return [
        node["name"]
        for node in read_manifest()["nodes"].values()
        if node["resource_type"] in ("seed", "model") and node["config"]["materialized"] != "ephemeral"
    ]


def test_assets_are_the_sources_the_seeds_the_models_and_the_files(definitions):
    keys = [spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()]
    assert sorted(keys) == sorted([*SOURCES, *list_seeds_and_models(), *FILES])


def test_the_ledger_stands_before_its_cut_and_the_models_behind_it(definitions):
    graph = definitions.resolve_asset_graph()
    ledger = dg.AssetKey(["ledger", "transfers"])
    assert graph.get(ledger).parent_keys == {dg.AssetKey("ledger")}
    assert graph.get(dg.AssetKey("ledger")).parent_keys == {dg.AssetKey("inbox")}
    assert graph.get(dg.AssetKey("stg_ledger__transfers")).parent_keys == {ledger}
    assert not any(graph.get(dg.AssetKey(name.split("/"))).is_materializable for name in SOURCES)


def test_the_published_files_hang_from_the_close_and_the_close_from_the_marts(definitions):
    graph = definitions.resolve_asset_graph()
    close = dg.AssetKey(["published", "close"])
    files = graph.get(close).child_keys
    assert {key.to_user_string() for key in files} == {
        name for name in FILES if re.match(r"published/.*_(csv|parquet|xlsx|xml|zip)$", name)
    }
    assert all(graph.get(key).parent_keys == {close} for key in files)
    marts = {key.to_user_string() for key in graph.get(close).parent_keys}
    assert {"outstanding_points_by_month", "posted_transfers"} <= marts
    assert all("/" not in name for name in marts)
    assert not graph.get(close).is_materializable


def test_every_data_test_of_dbt_and_every_required_one_is_a_check(definitions):
    checks = definitions.resolve_asset_graph().asset_check_keys
    dbt_checks = {key.name for key in checks if len(key.asset_key.path) == 1}
    assert dbt_checks == {unique_id.split(".")[2] for unique_id in data_tests(read_manifest())}
    assert dbt_checks == {unique_id.split(".")[2] for unique_id in required_tests()}
    file_checks = {
        f"{key.asset_key.to_user_string()}:{key.name}" for key in checks if len(key.asset_key.path) > 1
    }
    assert file_checks == {*FILE_CHECK_NAMES, *PUBLISHED_CHECK_NAMES}


def test_a_test_that_reads_several_models_is_a_check_of_the_one_it_names(definitions):
    keys = definitions.resolve_asset_graph().asset_check_keys
    (key,) = [key for key in keys if key.name == "assert_truth_5_every_row_is_counted_once"]
    assert key.asset_key == dg.AssetKey("transfer_history")


def test_definitions_load_without_a_home_and_make_none(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    subprocess.run(
        [sys.executable, "-c", "from orchestration.definitions import defs; defs.resolve_all_asset_specs()"],
        cwd=PROJECT_ROOT,
        env={**environment, "POINTS_HOME": str(tmp_path / "home")},
        check=True,
        timeout=60,
    )
    assert list(tmp_path.iterdir()) == []


def test_no_module_of_the_definitions_reads_a_clock():
    modules = [
        PROJECT_ROOT / "orchestration" / f"{name}.py"
        for name in ("definitions", "partitions", "jobs", "schedules", "sensors", "dbt/manifest")
    ]
    modules += (PROJECT_ROOT / "orchestration" / "assets").glob("*.py")
    for module in modules:
        assert not re.search(r"\b(now|today|utcnow|time|monotonic)\(", module.read_text()), module


def test_dagster_finds_the_definitions_and_the_instance_keeps_to_itself(definitions):
    project = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[tool.dagster]\nmodule_name = "orchestration.definitions"' in project
    instance = yaml.safe_load((PROJECT_ROOT / "orchestration" / "dagster.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    limit = {"key": "points/kind", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    assert instance["concurrency"] == {"runs": {"max_concurrent_runs": 2, "tag_concurrency_limits": [limit]}}
    # What delivers holds up nothing that works on months.
    kinds = {
        name: definitions.resolve_job_def(name).tags["points/kind"]
        for name in ("build_months", "close_months", "verify_published", "deliver_months")
    }
    assert kinds.pop("deliver_months") == "delivery"
    assert set(kinds.values()) == {"months"}
    assert instance["run_monitoring"]["enabled"]


@pytest.mark.parametrize(
    ("start_day", "first", "last_but_one"),
    [
        ("1", "2026-10-01T00:00:00-04:00", "2026-11-01T00:00:00-04:00"),
        ("15", "2026-10-15T00:00:00-04:00", "2026-11-15T00:00:00-05:00"),
    ],
)
def test_a_partition_is_the_report_month_in_the_zone(tmp_path, start_day, first, last_but_one):
    months = define_report_months(
        make_settings(tmp_path, POINTS_TIME_ZONE="America/New_York", POINTS_MONTH_START_DAY=start_day)
    )
    window = months.time_window_for_partition_key("2026-10-01")
    assert window.start == datetime.fromisoformat(first)
    assert window.end == datetime.fromisoformat(last_but_one)


def test_partitions_begin_with_the_first_month_that_is_known(tmp_path):
    assert define_report_months(make_settings(tmp_path)).get_first_partition_key() == "2020-01-01"
    for month in ("2025-11", "2025-09"):
        (tmp_path / "provisional" / month).mkdir(parents=True)
    built = define_report_months(make_settings(tmp_path, POINTS_MONTH_START_DAY="28"))
    assert built.get_first_partition_key() == "2025-09-01"
    partitions = define_report_months(make_settings(tmp_path, POINTS_FIRST_MONTH="2024-02"))
    assert partitions.get_first_partition_key() == "2024-02-01"


@pytest.mark.parametrize(
    ("zone", "start_day", "tick", "month"),
    [
        ("UTC", "1", "2026-10-31T06:00:00+00:00", "2026-10-01"),
        ("UTC", "1", "2026-11-01T06:00:00+00:00", "2026-11-01"),
        ("UTC", "15", "2026-10-14T06:00:00+00:00", "2026-09-01"),
        ("UTC", "15", "2026-10-15T06:00:00+00:00", "2026-10-01"),
        ("UTC", "15", "2027-01-01T06:00:00+00:00", "2026-12-01"),
        ("Pacific/Auckland", "1", "2026-10-31T17:00:00+00:00", "2026-11-01"),
        ("America/New_York", "1", "2026-11-01T11:00:00+00:00", "2026-11-01"),
        ("America/New_York", "15", "2028-03-14T10:00:00+00:00", "2028-02-01"),
    ],
)
def test_the_schedule_asks_for_the_report_month_of_its_tick(tmp_path, zone, start_day, tick, month):
    settings = make_settings(tmp_path, POINTS_TIME_ZONE=zone, POINTS_MONTH_START_DAY=start_day)
    schedule = define_build_months_daily(define_report_months(settings))
    context = dg.build_schedule_context(scheduled_execution_time=datetime.fromisoformat(tick))
    assert schedule(context).partition_key == month


def test_the_schedule_ticks_at_six_in_the_programmes_zone_and_a_lost_run_is_given_up(tmp_path):
    definitions = define(make_settings(tmp_path, POINTS_TIME_ZONE="Asia/Kolkata"))
    schedule = definitions.resolve_schedule_def("build_months_daily")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "Asia/Kolkata")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert definitions.resolve_job_def("build_months").tags["dagster/max_runtime"] == "14400"


def test_a_run_without_transfers_fails_with_the_sentence_of_the_command(tmp_path):
    result = Programme(make_settings(tmp_path)).run("2026-03-01")
    assert not result.success
    assert failure_of(result).startswith("There are no transfers to build from")
    assert not (tmp_path / "runs").exists()


def test_a_run_while_another_builds_says_who_does(tmp_path):
    programme = write_programme(tmp_path)
    with run_lock(programme.settings.home, "points build"):
        result = programme.run("2026-03-01")
    assert not result.success
    assert f"points build, process {os.getpid()}" in failure_of(result)
    assert not (programme.settings.home / "runs").exists()


def test_files_are_not_to_be_had_without_the_tests_behind_them(tmp_path):
    result = write_programme(tmp_path).run("2026-03-01", ["provisional/outstanding_points_csv"])
    assert not result.success
    assert failure_of(result).startswith("Files are written only by a run of everything")


def test_a_dbt_test_that_fails_is_a_failed_check_and_stops_the_files(tmp_path, monkeypatch):
    programme = write_programme(tmp_path)
    shown = programme.provisional.parent / "runs" / "000001"
    (shown / "2026-02").mkdir(parents=True)
    programme.provisional.symlink_to(shown)
    (programme.provisional / "2026-02" / "provisional_outstanding_points.csv").write_text("as it was")
    (failing,) = [test for test in required_tests() if ".truth_1" in test]

    def stream_dbt(arguments, environment, folder, dbt, takes_kept_parse):
        name = failing.split(".")[2]
        yield NodeProgress(failing, name, "test", "fail", 1, 1, seconds=0.5, failed_rows=3)
        raise DbtFailed("dbt did not pass test truth_1.")

    monkeypatch.setattr(runs, "stream_dbt", stream_dbt)
    with unchanged(programme.provisional):
        result = programme.run("2026-03-01")
    assert failure_of(result) == "dbt did not pass test truth_1."
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.asset_key == dg.AssetKey("outstanding_points_by_month")
    assert not evaluation.passed
    assert evaluation.metadata["failed_rows"].value == 3


@pytest.mark.slow
def test_a_run_of_everything_writes_the_bytes_of_the_command(built, tmp_path):
    programme, _ = built
    settings = make_settings(tmp_path / "home", POINTS_TRANSFERS=programme.settings.transfers)
    by_command = build.build_months(settings, "2026-03").folder
    names = sorted(path.relative_to(by_command) for path in by_command.rglob("*.csv"))
    assert Path("2026-03/provisional_outstanding_points.MILES.csv") in names
    assert names == sorted(
        path.relative_to(programme.provisional) for path in programme.provisional.rglob("*.csv")
    )
    for name in names:
        assert (programme.provisional / name).read_bytes() == (by_command / name).read_bytes()


@pytest.mark.slow
def test_a_run_without_files_freezes_the_ledger_and_builds_what_it_froze(tmp_path):
    home = LedgerHome(tmp_path / "home")
    with appending(home.open()) as appender:
        appender.append(ledger_transfer("T-1", points="12.5"))
    programme = Programme(home.settings())
    result = programme.run("2026-03-01")
    assert result.success, failure_of(result)
    assert read_anchor(home.home / "cut") == read_anchor(programme.provisional) == ledger_head()
    observed = {
        event.asset_key.to_user_string(): event.asset_observation_data.asset_observation.metadata[
            "entry_id"
        ].value
        for event in result.get_asset_observation_events()
    }
    cut = [name for name in SOURCES if name.startswith("ledger")]
    assert observed == dict.fromkeys(cut, ledger_head().entry_id)
    facts = metadata_of(result, "provisional/outstanding_points_csv")
    assert facts["first rows"].splitlines()[2:] == ["| C-1 | 12.5 | 0 | 0 | 0 | 12.5 |"]


def test_a_run_whose_ledger_is_missing_is_refused_as_the_command_is(tmp_path):
    """docs/cases.md, X12."""
    (tmp_path / "provisional").mkdir()
    write_anchor(tmp_path / "provisional", Head(1, bytes(32)))
    result = Programme(make_settings(tmp_path)).run("2026-03-01")
    assert not result.success
    assert failure_of(result).startswith("The ledger is missing: ")
    assert not (tmp_path / "runs").exists()


def test_a_sensor_looks_at_the_inbox_unless_it_is_stopped(definitions):
    sensor = definitions.resolve_sensor_def("import_inbox")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.slow
def test_a_run_of_everything_makes_every_asset_and_passes_every_check(built):
    _, result = built
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    provisional = [name for name in FILES if name.startswith("provisional/")]
    assert made == {*list_seeds_and_models(), *provisional}
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == len(required_tests()) + len(FILE_CHECK_NAMES)
    assert all(evaluation.passed for evaluation in evaluations)


@pytest.mark.slow
def test_a_file_shows_its_rows_its_total_and_its_first_rows(built):
    programme, result = built
    facts = metadata_of(result, "provisional/outstanding_points_csv")
    path = programme.provisional / "2026-03" / "provisional_outstanding_points.csv"
    assert facts["path"] == str(path)
    assert facts["bytes"] == path.stat().st_size
    assert facts["dagster/row_count"] == 2
    assert facts["closing points"] == "82.5 POINTS"
    assert facts["report month"] == "2026-03"
    assert facts["first rows"].splitlines()[2:] == [
        "| C-1 | 100 | 0 | 30 | 0 | 70 |",
        r"| C\|2 | 12.5 | 0 | 0 | 0 | 12.5 |",
    ]


@pytest.mark.slow
def test_a_preview_shows_markup_that_was_sent_as_text(built):
    _, result = built
    facts = metadata_of(result, "provisional/quarantined_transfers_csv")
    assert facts["dagster/row_count"] == 1
    assert r"\[x\](y) \| \<b\> \`z\`" in facts["first rows"]


@pytest.mark.slow
def test_the_database_shows_its_tables_and_their_rows(built):
    _, result = built
    rows = metadata_of(result, "provisional/provisional_duckdb")["first rows"].splitlines()
    assert "| report_months | 3 |" in rows
    assert "| outstanding_points_by_month | 5 |" in rows


@pytest.mark.slow
def test_a_required_test_that_did_not_run_stops_the_files(built, monkeypatch):
    programme, _ = built
    with monkeypatch.context() as patch, unchanged(programme.provisional):
        patch.setattr(build, "required_tests", lambda: [*required_tests(), "test.points.deleted_test"])
        result = programme.run("2026-03-01")
    assert not result.success
    assert "deleted_test did not run" in failure_of(result)
    assert not any(
        event.asset_key.path[0] == "provisional" for event in result.get_asset_materialization_events()
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", [None, ["transfer_reasons"]], ids=["all", "a part"])
def test_a_file_that_is_refused_fails_the_run_with_its_sentence(built, tmp_path, part):
    programme, _ = built
    home = tmp_path / "home"
    shutil.copytree(programme.settings.home, home, symlinks=True)
    transfers = write_transfers(tmp_path / "transfers.csv", [transfer("T-1", colour="red")])
    refused = Programme(make_settings(home, POINTS_TRANSFERS=str(transfers)))
    with unchanged(refused.provisional):
        result = refused.run("2026-03-01", part)
    assert not result.success
    assert failure_of(result).startswith(f"HEADER: {transfers} has a column 'colour'")


@pytest.mark.slow
def test_a_part_builds_in_the_development_database_and_publishes_nothing(built):
    programme, _ = built
    with unchanged(programme.provisional):
        runs = sorted((programme.settings.home / "runs").iterdir())
        result = programme.run("2026-03-01", ["transfer_reasons", "stg_seeds__bucket_rules"])
        assert result.success, failure_of(result)
        assert sorted((programme.settings.home / "runs").iterdir()) == runs
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert made == {"transfer_reasons", "stg_seeds__bucket_rules"}
    names = {evaluation.check_name for evaluation in result.get_asset_check_evaluations()}
    assert "grain_of_transfer_reasons" in names
    assert (programme.settings.home / "dev.duckdb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "damage", "failing"),
    [
        (
            "outstanding_points.csv",
            (b"Total Earned Points", b"Earned Points"),
            "header_is_the_documented_one",
        ),
        ("outstanding_points.csv", (b",12.5\r\n", b",12.4\r\n"), "equation_holds"),
        ("points_roll_forward.csv", (b",12.5\r\n", b",12.4\r\n"), "rows_are_those_of_the_mart"),
        ("points_roll_forward.MILES.csv", (b"C-1,0,7,0,0,0,7\r\n", b""), "rows_are_those_of_the_mart"),
        ("points_roll_forward.csv", (b",12.5\r\n", b",twelve\r\n"), "rows_are_those_of_the_mart"),
        ("outstanding_points.xml", (b"</outstanding_points>\n", b""), "is_whole"),
        ("outstanding_points.xlsx", (b"PK\x05\x06", b"PK\x05\x00"), "is_whole"),
        ("programme_points.csv", (b"Zero,,0,0\r\n", b"Zero,,0,0\n"), "last_line_ends_with_crlf"),
    ],
)
def test_a_check_of_a_file_can_fail(built, tmp_path, file, damage, failing):
    programme, _ = built
    shutil.copytree(programme.provisional, tmp_path / "provisional")
    path = tmp_path / "provisional" / "2026-03" / f"provisional_{file}"
    whole = path.read_bytes()
    assert damage[0] in whole
    path.write_bytes(whole.replace(*damage))
    results = check_provisional(
        make_settings(tmp_path), "2026-03", {spec.key for spec in provisional_check_specs()}
    )
    kind = f"provisional/{file.split('.')[0]}_{file.split('.')[-1]}"
    failed = {
        result.check_name
        for result in results
        if not result.passed and result.asset_key.to_user_string() == kind
    }
    assert failing in failed
