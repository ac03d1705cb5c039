"""`points doctor`: what is wrong and what to do, above all when nothing else works."""

import fcntl
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from ledger.acts.decisions import cancel, hold, release
from ledger.acts.transfers import give
from ledger.anchors import write_anchor
from ledger.append import appending
from ledger.database import LedgerMissing
from ledger.databases import ledger_place
from ledger.links import ledger_head
from ledger.lists.transfer_lists import list_transfers
from ledger.models import Close, QuarantineDismissal, QuarantinedRow, Transfer
from ledger.upkeep.health import examine_ledger
from ledger.upkeep.verification import LedgerDamaged, LedgerOfEarlierVersion, verify
from orchestration.database_file import new_database
from orchestration.provisional import DATABASE_NAME, NAMES
from orchestration.published.layout import ANNOUNCEMENT_NAME
from orchestration.run_lock import run_lock
from orchestration.upkeep.doctor import examine
from tests.conftest import LedgerHome, answer, ledger_transfer


def verdicts(findings) -> dict[str, str]:
    """The worst verdict on each subject."""
    worst = {}
    for finding in findings:
        if worst.get(finding.subject) != "problem":
            worst[finding.subject] = finding.verdict
    return worst


def about(findings, subject: str):
    return next(finding for finding in findings if finding.subject == subject)


@pytest.fixture
def ledger(ledger_home):
    ledger = ledger_home.open()
    give(ledger, "C-1", "10", new=True)
    give(ledger, "C-1", "5", status="pending")
    return ledger


def test_a_sound_ledger_has_nothing_wrong(ledger):
    facts, findings = examine_ledger(ledger.settings)
    assert set(verdicts(findings).values()) == {"ok"}
    assert (facts.place, facts.head_entry_id) == (ledger.place, 2)
    assert facts.chain_digest == ledger_head().chain_digest.hex()
    assert facts.entries["transfer"] == 2
    assert facts.size > 0
    waiting = about(findings, "waiting")
    assert waiting.sentence.startswith("Waiting for a decision: pending transfers 1, on hold 0, ")
    assert "on_hold" not in waiting.advice


def test_what_waits_is_counted_as_the_lists_show_it(ledger):
    """The advice names the lists, and each has as many transfers as are counted."""
    for transfer_id in ("H-1", "H-2", "H-3"):
        give(ledger, "C-1", "5", status="pending", transfer_id=transfer_id)
    hold(ledger, ["H-1", "H-2"])
    release(ledger, ["H-2"])
    give(ledger, "C-1", "5", status="on_hold")
    _, findings = examine_ledger(ledger.settings)
    waiting = about(findings, "waiting")
    listed = re.findall(r"`points transfers --status (\w+)`", waiting.advice)
    assert listed == ["pending", "on_hold"]
    counted = re.findall(r"(?:pending transfers|on hold) (\d+)", waiting.sentence)
    assert list(map(int, counted)) == [
        len(list_transfers(ledger, {"status": status}).rows) for status in listed
    ]


def test_what_waited_and_was_decided_waits_no_more(ledger):
    cancel(ledger, [Transfer.objects.get(status="pending").transfer_id])
    _, findings = examine_ledger(ledger.settings)
    said = about(findings, "waiting").sentence
    assert said.startswith("Waiting for a decision: pending transfers 0, on hold 0, ")


def test_without_a_ledger_it_says_how_to_begin_one_and_makes_none(bare_home):
    facts, findings = examine_ledger(bare_home.settings())
    assert facts is None
    assert verdicts(findings) == {"ledger": "ok"}
    assert not bare_home.home.exists()


def test_a_missing_ledger_is_a_problem(ledger):
    """docs/cases.md, X12."""
    home = ledger.settings.home
    (home / "cut").mkdir(parents=True)
    write_anchor(home / "cut", ledger_head())
    _, findings = examine_ledger(ledger.settings)
    assert about(findings, "cut").sentence.endswith("entries recorded since: 0.")
    give(ledger, "C-1", "1")
    _, findings = examine_ledger(ledger.settings)
    assert "entries recorded since: 1." in about(findings, "cut").sentence
    connection.close()
    if connection.vendor == "postgresql":
        return
    (home / "ledger.sqlite3").unlink()
    facts, findings = examine_ledger(ledger.settings)
    assert facts is None
    assert verdicts(findings) == {"ledger": "problem"}
    missing = LedgerMissing(ledger_place(ledger.settings), home / "cut")
    assert findings[0].sentence == str(missing)


def test_a_clock_behind_the_newest_entry_is_a_warning(ledger_home):
    ledger = ledger_home.open(clock=lambda: datetime.now(UTC) + timedelta(days=1))
    give(ledger, "C-1", "10", new=True)
    _, findings = examine_ledger(ledger.settings)
    assert verdicts(findings)["clock"] == "warning"
    assert "clock of this machine" in about(findings, "clock").advice


def test_open_quarantined_rows_are_a_warning(ledger):
    def quarantined(transfer_id: str, line: int) -> QuarantinedRow:
        return QuarantinedRow(
            batch_id="B-1",
            line=line,
            transfer_id=transfer_id,
            row="{}",
            code="POINTS",
            expected="more than zero",
        )

    with appending(ledger) as appender:
        appender.append(quarantined("Q1", 2))
        appender.append(quarantined("", 3))
        appender.append(quarantined("Q3", 4))
    _, findings = examine_ledger(ledger.settings)
    assert about(findings, "quarantine").sentence.endswith("in no balance: 3.")
    give(ledger, "C-1", "1", transfer_id="Q1")
    with appending(ledger) as appender:
        appender.append(QuarantineDismissal(quarantined_entry_id=4, reason="Sent by mistake"))
    _, findings = examine_ledger(ledger.settings)
    assert about(findings, "quarantine").sentence.endswith("in no balance: 1.")
    assert verdicts(findings)["quarantine"] == "warning"


def test_guards_that_are_gone_are_a_problem_with_the_statements_that_make_them_again(ledger, ledger_home):
    if connection.vendor == "sqlite":
        owner = sqlite3.connect(ledger.settings.home / "ledger.sqlite3", isolation_level=None)
        drop = "drop trigger transfers_no_update"
    else:
        owner = psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True)
        drop = "drop trigger transfers_append_only on transfers"
    with closing(owner):
        owner.execute(drop)
        _, findings = examine_ledger(ledger.settings)
        found = about(findings, "guards")
        assert found.verdict == "problem"
        for statement in found.statements:
            owner.execute(statement)
    _, findings = examine_ledger(ledger.settings)
    assert verdicts(findings)["guards"] == "ok"


def test_what_the_application_user_may_beyond_appending_is_reported(ledger, ledger_home):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no users.")
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("grant update, truncate on transfers to points_application")
        owner.execute("alter role points_application createrole")
        _, findings = examine_ledger(ledger.settings)
        found = about(findings, "database")
        assert found.verdict == "problem"
        assert "can make roles; may truncate, update on transfers" in found.sentence
        for statement in found.statements:
            owner.execute(statement)
    _, findings = examine_ledger(ledger.settings)
    assert verdicts(findings)["database"] == "ok"
    as_owner = ledger_home.settings(POINTS_DATABASE_URL=ledger_home.environment["POINTS_DATABASE_OWNER_URL"])
    _, findings = examine_ledger(as_owner)
    assert verdicts(findings)["database"] == "warning"
    assert "is a superuser" in about(findings, "database").sentence


def test_tables_of_another_version_are_reported(ledger, ledger_home):
    if connection.vendor == "postgresql":
        owner = psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True)
    else:
        owner = sqlite3.connect(ledger.settings.home / "ledger.sqlite3", isolation_level=None)
    now = "'2027-01-01 00:00:00+00'"
    with closing(owner):
        owner.execute(
            f"insert into django_migrations (app, name, applied) values ('ledger', '0999_later', {now})"
        )
        facts, findings = examine_ledger(ledger.settings)
        assert facts is None
        assert verdicts(findings) == {"schema": "problem"}
        assert "0999_later" in findings[0].sentence
        owner.execute("delete from django_migrations where name in ('0999_later', '0002_append_only')")
    _, findings = examine_ledger(ledger.settings)
    assert verdicts(findings)["schema"] == "warning"


def test_a_ledger_of_an_earlier_version_is_not_called_damaged(points, tmp_path):
    """Its new table is made by the next command that opens it; where that was made and is gone, something is
    wrong."""
    home = LedgerHome(tmp_path / "home")
    with appending(home.open()) as appender:
        appender.append(ledger_transfer("T1"))
    with closing(sqlite3.connect(home.home / "ledger.sqlite3", isolation_level=None)) as owner:
        owner.execute("drop table month_end_entries")
        with pytest.raises(LedgerDamaged):
            verify(home.settings())
        owner.execute("delete from django_migrations where name = '0008_month_end'")
        with pytest.raises(LedgerOfEarlierVersion):
            verify(home.settings())
        _, findings = examine_ledger(home.settings())
        assert {name for name, verdict in verdicts(findings).items() if verdict == "problem"} == set()
        assert verdicts(findings)["schema"] == "warning"
    answer(points("balances", home=home.home))
    answer(points("verify", home=home.home))


@pytest.mark.parametrize("content", [b"", b"Dear ledger, " * 1_000])
def test_a_file_that_is_no_ledger_is_a_finding_and_no_traceback(points, tmp_path, content):
    home = tmp_path / "home"
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(content)
    result = points("doctor", "--json", home=home)
    assert result.returncode == (1 if content else 0)
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["ledger"] is None
    assert next(finding for finding in found["findings"] if finding["subject"] == "ledger")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:open-sesame@localhost:1/points",
        "postgresql://ada:open-sesame@localhost:port/points",
        "postgresql://ada@localhost:1/points?password=open-sesame",
        "postgresql://ada:open-sesame@[localhost/points",
        "mysql://ada:open-sesame@localhost/points",
        # What looks like a host or a database is a part of the password.
        "postgresql://ada:pa@open-sesame@localhost:1/points",
        "postgresql://ada:1/open-sesame@localhost:1/points",
        "postgresql://ada:1?open-sesame@localhost:1/points",
        "postgresql://ada:1#open-sesame@localhost:1/points",
    ],
)
def test_a_database_that_cannot_be_reached_is_a_problem_and_no_password_is_shown(points, tmp_path, url):
    result = points("doctor", home=tmp_path / "home", POINTS_DATABASE_URL=url)
    assert result.returncode == 1
    assert result.stderr == ""
    assert "problem" in result.stdout
    answered = points("doctor", "--json", home=tmp_path / "home", POINTS_DATABASE_URL=url)
    assert json.loads(answered.stdout)["verdict"] == "problem"
    assert "sesame" not in result.stdout + answered.stdout


def test_settings_are_shown_with_where_they_come_from(points, tmp_path):
    (tmp_path / ".env").write_text(
        "POINTS_PROGRAMME_NAME=Miles & Moor\nPOINTS_TIME_ZONE=Europe/Berlin\n", encoding="utf-8"
    )
    result = points(
        "doctor",
        "--json",
        home=tmp_path / "home",
        POINTS_TIME_ZONE="Asia/Tokyo",
        POINTS_MONTH_START_DAY="31",
        POINTS_TIMEZONE="UTC",
    )
    assert result.returncode == 1
    found = json.loads(result.stdout)
    shown = {setting["name"]: (setting["value"], setting["source"]) for setting in found["settings"]}
    assert shown["POINTS_HOME"] == (str(tmp_path / "home"), "environment")
    assert shown["POINTS_PROGRAMME_NAME"] == ("Miles & Moor", str(tmp_path / ".env"))
    assert shown["POINTS_TIME_ZONE"] == ("Asia/Tokyo", "environment")
    assert shown["POINTS_DEFAULT_CURRENCY"] == ("POINTS", "default")
    sentences = " ".join(
        finding["sentence"] for finding in found["findings"] if finding["subject"] == "settings"
    )
    assert "POINTS_MONTH_START_DAY is '31'" in sentences
    assert "POINTS_TIMEZONE is set, but there is no such setting" in sentences


def test_runs_and_what_readers_see_of_them_are_reported(tmp_path):
    home = tmp_path / "home"
    environment = {"POINTS_HOME": str(home)}
    assert about(examine(environment, {}, "").findings, "runs").sentence == "Nothing has been built yet."
    month = home / "runs" / "000001" / "provisional" / "2026-03"
    month.mkdir(parents=True)
    os.symlink("runs/000001/provisional", home / "provisional")
    with new_database(month.parent / DATABASE_NAME) as connection:
        for name in NAMES:
            connection.execute(f"create table {name} (report_month date)")
    examination = examine(environment, {}, "")
    assert examination.verdict == "ok"
    assert "2026-03 to 2026-03" in about(examination.findings, "provisional").sentence
    assert "000001" in about(examination.findings, "runs").sentence
    (home / "runs" / "000002").mkdir()
    found = about(examine(environment, {}, "").findings, "runs")
    assert (found.verdict, "000002" in found.sentence) == ("warning", True)
    with new_database(month.parent / DATABASE_NAME):
        pass  # without tables, as a full disk once left it (docs/cases.md, X25)
    found = about(examine(environment, {}, "").findings, "provisional")
    assert (found.verdict, found.sentence) == (
        "problem",
        f"{home / 'provisional' / DATABASE_NAME} cannot be read.",
    )
    shutil.rmtree(month.parent)
    assert about(examine(environment, {}, "").findings, "provisional").verdict == "problem"


def test_a_run_that_is_going_on_is_reported_and_one_that_ended_is_not(tmp_path):
    home = tmp_path / "home"
    environment = {"POINTS_HOME": str(home)}
    with run_lock(home, "points build"):
        (home / "runs" / "000001").mkdir(parents=True)
        findings = examine(environment, {}, "").findings
        assert about(findings, "lock").sentence == f"A run is going on (points build, process {os.getpid()})."
        assert "runs" not in verdicts(findings)
    assert "lock" not in verdicts(examine(environment, {}, "").findings)


def test_a_lock_that_outlives_its_process_is_a_warning(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with open(home / "run.lock", "w", encoding="utf-8") as file:
        file.write("points build, process 999999999")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert about(examine({"POINTS_HOME": str(home)}, {}, "").findings, "lock").verdict == "warning"


def test_more_memory_than_there_is_is_a_warning(tmp_path):
    environment = {"POINTS_HOME": str(tmp_path)}
    for limit, verdict in (("", "ok"), ("500TiB", "warning")):
        found = examine({**environment, "POINTS_MEMORY_LIMIT": limit}, {}, "").findings
        assert about(found, "memory").verdict == verdict


def test_a_full_disk_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestration.upkeep.doctor._NO_SPACE", 10**18)
    monkeypatch.setattr("orchestration.upkeep.doctor._LITTLE_SPACE", 10**18)
    assert about(examine({"POINTS_HOME": str(tmp_path)}, {}, "").findings, "disk").verdict == "problem"


def test_a_month_that_has_ended_and_is_open_is_reported(ledger_home):
    ledger = ledger_home.open()
    environment = {"POINTS_HOME": str(ledger_home.home), **ledger_home.environment}
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    month_before = this_month - timedelta(days=1)

    def record(transfer_id: str, occurred_at: datetime) -> None:
        with appending(ledger) as appender:
            appender.append(ledger_transfer(transfer_id, occurred_at=occurred_at))

    def schedule_finding() -> tuple[str, str]:
        found = about(examine(environment, {}, "").findings, "close")
        return found.verdict, found.sentence

    record("T-1", this_month)
    verdict, sentence = schedule_finding()
    assert verdict == "ok"
    assert f"{this_month:%Y-%m}, the oldest open month, is due at " in sentence
    record("T-2", month_before - timedelta(days=40))
    verdict, sentence = schedule_finding()
    assert verdict == "warning"
    assert sentence.startswith(f"{month_before - timedelta(days=40):%Y-%m} ended on ")


def test_seals_and_a_setting_that_breaks_one_are_reported(ledger_home):
    """docs/cases.md, X18."""
    seals = '{"time_zone":"UTC","month_start_day":1,"first_month":"2026-03","default_currency":"POINTS"}'
    with appending(ledger_home.open()) as appender:
        appender.append(ledger_transfer("T-1"))
        appender.append(
            Close(
                event="close",
                report_month="2026-03",
                revision=1,
                cutoff_entry_id=1,
                manifest_sha256="0" * 64,
                seals=seals,
            )
        )
    environment = {"POINTS_HOME": str(ledger_home.home), **ledger_home.environment}
    assert about(examine(environment, {}, "").findings, "seals").verdict == "ok"
    broken = examine(environment | {"POINTS_TIME_ZONE": "Asia/Tokyo"}, {}, "")
    assert about(broken.findings, "seals").verdict == "problem"
    assert "POINTS_TIME_ZONE is Asia/Tokyo" in about(broken.findings, "seals").sentence


def test_a_close_that_readers_do_not_have_yet_is_reported(ledger):
    environment = {"POINTS_HOME": str(ledger.settings.home)}
    if ledger.settings.database_url:
        environment["POINTS_DATABASE_URL"] = ledger.settings.database_url
    assert "published" not in verdicts(examine(environment, {}, "").findings)
    (ledger.settings.home / ANNOUNCEMENT_NAME).write_text("{}", encoding="utf-8")
    assert verdicts(examine(environment, {}, "").findings)["published"] == "warning"


def test_receivers_of_alerts_are_named_and_no_secret_is_shown(points, tmp_path):
    home = tmp_path / "home"
    assert about(examine({"POINTS_HOME": str(home)}, {}, "").findings, "alerts").advice
    secrets = {
        "POINTS_ALERT_WEBHOOK_URL": "https://ada:open-sesame@hooks.example/services/open-sesame",
        "POINTS_ALERT_EMAIL_TO": "ada@points.example",
        "POINTS_ALERT_SMTP_PASSWORD": "open-sesame",
    }
    output = points("doctor", "--json", home=home, **secrets).stdout
    assert "sesame" not in output + points("doctor", home=home, **secrets).stdout
    found = json.loads(output)
    shown = {setting["name"]: setting["value"] for setting in found["settings"]}
    assert shown["POINTS_ALERT_WEBHOOK_URL"] == "https://hooks.example/…"
    assert shown["POINTS_ALERT_SMTP_PASSWORD"] == "…"
    (alerts,) = [finding for finding in found["findings"] if finding["subject"] == "alerts"]
    assert "the webhook at hooks.example and ada@points.example" in alerts["sentence"]
    bad = points("doctor", "--json", home=home, POINTS_ALERT_WEBHOOK_URL="ftp://open-sesame").stdout
    assert "sesame" not in bad
    assert "POINTS_ALERT_WEBHOOK_URL is '…'" in bad


def test_a_run_whose_months_are_published_has_nothing_left_for_readers(tmp_path):
    home = tmp_path / "home"
    (home / "runs" / "000001" / "published" / "2026-03" / "r1").mkdir(parents=True)
    environment = {"POINTS_HOME": str(home)}
    assert about(examine(environment, {}, "").findings, "runs").verdict == "warning"
    (home / "runs" / "000001" / "published" / "2026-03" / "r1").rmdir()
    assert about(examine(environment, {}, "").findings, "runs").verdict == "ok"


def test_the_command_shows_each_finding_with_what_to_do(points, ledger, ledger_home):
    result = points("doctor", home=ledger_home.home, **ledger_home.environment)
    assert result.returncode == 0, result.stdout
    assert ["POINTS_HOME", str(ledger_home.home), "(environment)"] in map(
        str.split, result.stdout.splitlines()
    )
    assert "ends at entry 2: transfer 2." in result.stdout
    assert result.stderr == ""
