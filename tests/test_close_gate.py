"""The gate of `points close`: what it shows, what refuses it, and that a dry run changes nothing."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from console.gate_screen import gate_facts, show_gate
from console.tables import Screen
from ledger.closes import ClosedMonth, CloseHistory
from ledger.data_files import connect
from ledger.models import Batch
from ledger.settings import Settings, discrepancies_at_close
from orchestration.close import gate
from orchestration.close.closing import close_months
from orchestration.close.gate import (
    AcceptanceWithoutReason,
    ActionUnknown,
    DiscrepancyBlocks,
    Gate,
    Lateness,
    QuarantineNotAccepted,
    UsualFile,
)
from orchestration.published.layout import published_folder, revision_folder
from orchestration.published.manifests import read_manifest
from simulator.transfer_files import write_transfers
from tests.closed_programme import NEXT, Home, published_bytes
from tests.conftest import PROJECT_ROOT, answer, assert_refused, ledger_transfer, transfer
from tests.test_balances import record

WHY = "Two tickets of a test flight; they never flew"


def quarantine_two(home: Home) -> None:
    """Two rows of a file that break a rule, beside a good one."""
    rows = [
        transfer("GOOD", occurred_at="2025-03-04T12:00:00Z"),
        transfer("BAD-1", points="x", occurred_at="2025-03-04T12:00:00Z"),
        transfer("BAD-2", occurred_at="4 March"),
    ]
    file = write_transfers(home.path.parent / "march.csv", rows)
    answer(home.points("import", str(file), "--quarantine"))


def state(home: Home) -> tuple:
    """What a close would change: the ledger's closes, the published bytes, and where readers' links lead."""
    links = {
        str(path): path.readlink() for path in published_folder(home.path).rglob("*") if path.is_symlink()
    }
    return home.history(), published_bytes(home), links


def test_quarantined_rows_block_a_close_until_it_says_why_and_the_manifest_keeps_it(copied):
    """docs/cases.md, C18. Two rows are bad; the close goes without them, for a reason, and its files that are
    lost after the commit are made again with the same manifest, though the rows were dismissed meanwhile."""
    quarantine_two(copied)
    before = state(copied)
    assert_refused(copied.points("close"), QuarantineNotAccepted(2))
    assert_refused(copied.points("close", "--accept-quarantined", " "), AcceptanceWithoutReason())
    assert state(copied) == before
    copied.kill_at("committed", "close", "--accept-quarantined", f" {WHY} ")
    shutil.rmtree(copied.path / "runs")
    with_rows = [row["entry_id"] for row in json.loads(answer(copied.points("quarantine", "--json")))]
    for entry_id in with_rows:
        answer(copied.points("quarantine", "dismiss", str(entry_id), "--reason", "never flew"))
    answer(copied.points("months"))
    closed = copied.history().in_force[NEXT]
    assert closed.quarantine_accepted == WHY
    manifest = read_manifest(revision_folder(copied.path, NEXT, 1), closed.manifest_sha256)
    assert manifest["quarantine_accepted"] == {"rows": 2, "reason": WHY}
    # Dismissed, they block nothing.
    answer(copied.points("close"))
    later = copied.history().in_force["2025-04"]
    assert later.quarantine_accepted == ""
    folder = revision_folder(copied.path, "2025-04", 1)
    assert read_manifest(folder, later.manifest_sha256)["quarantine_accepted"] is None


def test_rows_that_came_again_put_right_block_nothing_and_no_reason_is_kept(copied):
    """docs/cases.md, R21."""
    quarantine_two(copied)
    rows = [transfer(f"BAD-{n}", occurred_at="2025-03-04T12:00:00Z") for n in (1, 2)]
    answer(copied.points("import", str(write_transfers(copied.path.parent / "again.csv", rows))))
    answer(copied.points("close", "--accept-quarantined", WHY))
    assert copied.history().in_force[NEXT].quarantine_accepted == ""


def test_a_dry_run_shows_what_is_open_and_changes_nothing(copied):
    """Exit 1, with the sentence of the close, where that would be refused; else 0."""
    before = state(copied)
    runs = sorted((copied.path / "runs").iterdir())
    said = json.loads(answer(copied.points("close", "--dry-run", "--json")))
    assert (said["closed"], said["tried"], said["refusals"]) == ([], [f"{NEXT}/r1"], [])
    assert {row["kind"] for row in said["gate"]["discrepancies"]} == {"late_posting"}
    # Of March's customers C-3 has 9 points that wait, and so of February; January's were approved since.
    waiting = [(row["status"], row["count"], row["given_points"]) for row in said["gate"]["waiting"]]
    assert waiting == [("pending", 2, "18")]
    quarantine_two(copied)
    result = copied.points("close", "--dry-run")
    assert result.returncode == 1
    assert result.stderr.endswith(f"{QuarantineNotAccepted(2)}\n")
    assert f"{NEXT}/r1" in result.stdout
    assert "late_posting" in result.stdout
    answer(copied.points("close", "--dry-run", "--accept-quarantined", WHY))
    assert state(copied) == before
    assert sorted((copied.path / "runs").iterdir()) == runs


def test_a_kind_of_discrepancy_is_ignored_shown_or_blocks_as_the_project_says(copied, monkeypatch):
    """docs/cases.md, C19."""
    settings = copied.settings()
    before = state(copied)
    says = {**discrepancies_at_close()}
    monkeypatch.setattr(gate, "discrepancies_at_close", lambda: says)
    says["late_posting"] = "block"
    with pytest.raises(DiscrepancyBlocks) as refused:
        close_months(settings)
    (row,) = close_months(settings, dry_run=True).gate.discrepancies
    assert (row.kind, row.action) == ("late_posting", "block")
    assert refused.value.sentence == DiscrepancyBlocks(NEXT, "late_posting", row.count).sentence
    assert close_months(settings, dry_run=True).refusals == [refused.value.sentence]
    says["late_posting"] = "forbid"
    with pytest.raises(ActionUnknown):
        close_months(settings)
    assert state(copied) == before
    del says["late_posting"]
    closing = close_months(settings)
    assert [closed.name for closed in closing.closed] == [f"{NEXT}/r1"]
    assert [row.action for row in closing.gate.discrepancies] == ["warn"]


def test_dbt_project_says_of_every_kind_what_a_close_does():
    text = (PROJECT_ROOT / "dbt_project/models/marts/discrepancies.yml").read_text(encoding="utf-8")
    (model,) = yaml.safe_load(text)["models"]
    (column,) = (each for each in model["columns"] if each["name"] == "discrepancy")
    (test,) = (each["values_in"] for each in column["data_tests"])
    assert list(discrepancies_at_close()) == test["arguments"]["values"]
    assert set(discrepancies_at_close().values()) <= set(gate.ACTIONS)


NO_CLOSES = CloseHistory((), (), {}, {})


def test_what_waits_is_shown_by_status_and_currency_since_when(tmp_path):
    """P1 gives 10 and P2 deducts 4, which occurred on 2 and 3 March; P3 is on hold; P5 is of April, and P6 is
    approved and takes effect then."""
    rows = [
        ("P1", "POINTS", "give", 10, "pending", 2),
        ("P2", "POINTS", "deduct", 4, "pending", 3),
        ("P3", "MILES", "give", 7, "on_hold", 2),
        ("P5", "POINTS", "give", 99, "pending", 32),
        ("P6", "POINTS", "give", 5, "approved", 31),
    ]
    file = tmp_path / "unposted_transfers.parquet"
    with connect() as duck:
        duck.execute(
            "create table sent (id text, currency text, style text, points decimal(18, 4),"
            " status text, occurred integer)"
        )
        duck.executemany("insert into sent values (?, ?, ?, ?, ?, ?)", rows)
        march = "timestamp '2026-02-28 12:00:00' + interval 1 day *"
        duck.execute(
            f"copy (select *, {march} occurred as occurred_at from sent) to '{file}' (format parquet)"
        )
        found = gate._waiting(duck, file, datetime(2026, 4, 1, tzinfo=UTC))
    assert [tuple(vars(row).values()) for row in found] == [
        ("on_hold", "MILES", 1, Decimal(7), Decimal(0), datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ("pending", "POINTS", 2, Decimal(10), Decimal(4), datetime(2026, 3, 2, 12, tzinfo=UTC)),
    ]


def closes_at(*cutoffs: int) -> CloseHistory:
    """Months from 2025-01 on, closed at these cutoffs."""
    closed = [
        ClosedMonth(f"2025-{n:02}", 1, cutoff, cutoff, "", datetime(2025, n + 1, 3, tzinfo=UTC), "ada", {})
        for n, cutoff in enumerate(cutoffs, start=1)
    ]
    return CloseHistory(tuple(closed), (), {each.report_month: each for each in closed}, {})


def test_a_file_that_came_before_each_of_three_closes_is_missed(ledger_home):
    """The partner sends one file a month, the shop two; the test file came once. Before this close only one
    of the shop's has come."""
    ledger = ledger_home.open(clock=lambda: datetime(2025, 5, 3, 12, tzinfo=UTC))
    names = [
        *("partner_01.csv", "shop-2025-01-10.csv", "shop-2025-01-20.csv"),
        *("partner_02.csv", "shop-2025-02-10.csv", "shop-2025-02-20.csv", "test.csv"),
        *("partner_03.csv", "shop-2025-03-10.csv", "shop-2025-03-20.csv", "shop-2025-03-21.csv"),
        *("shop-2025-04-10.csv", "new.csv"),
        "partner_04.csv",
    ]
    record(
        ledger,
        ledger_transfer("T1"),
        *(
            Batch(
                batch_id=f"B{n}", origin="import", file_name=name, last_entry_id=n, row_count=1, added_count=1
            )
            for n, name in enumerate(names, start=2)
        ),
    )
    found = gate._missing_files(closes_at(1, 4, 8, 12), 14)
    assert [(row.pattern, row.usual_count, row.count, row.newest_name) for row in found] == [
        ("partner_#.csv", 1, 0, "partner_03.csv"),
        ("shop-#-#-#.csv", 2, 1, "shop-2025-04-10.csv"),
    ]
    assert [row.pattern for row in gate._missing_files(closes_at(1, 4, 8, 12), 15)] == ["shop-#-#-#.csv"]
    assert gate._missing_files(closes_at(1, 4, 8), 14) == []


def test_how_late_past_months_came_says_what_is_still_to_come(ledger_home, tmp_path, monkeypatch):
    """Of January 90 transfers were recorded within it, 6 on 2 February and 4 on 10 February; February's came
    at once, 100, and one so late that it is not looked at. Two days after its end 196 of 200 had come, so 98
    of April now are 2 short."""
    ledger = ledger_home.open()
    rows = [
        *[(date(2025, 1, 10), datetime(2025, 1, 31))] * 90,
        *[(date(2025, 1, 31), datetime(2025, 2, 2, 12))] * 6,
        *[(date(2025, 1, 31), datetime(2025, 2, 10, 12))] * 4,
        *[(date(2025, 2, 1), datetime(2025, 2, 1))] * 100,
        (date(2025, 2, 1), datetime(2025, 6, 1)),
    ]
    with connect() as duck:
        duck.execute("create table posted (effective_at timestamp, recorded_at timestamp)")
        duck.executemany("insert into posted values (?, ?)", rows)
        duck.execute(f"copy posted to '{tmp_path}/posted.parquet' (format parquet)")

    class OnlyFile:
        def path(self, name: str) -> Path:
            return tmp_path / "posted.parquet"

    asked = []
    monkeypatch.setattr(gate, "checked_files", lambda home, month, *_: asked.append(month) or OnlyFile())
    monkeypatch.setattr(gate, "read_parquet", lambda files: f"read_parquet('{tmp_path}/posted.parquet')")
    found = gate._lateness(
        ledger.settings, closes_at(1, 2, 3), "2025-04", datetime(2025, 5, 3, 9, tzinfo=UTC)
    )
    assert asked == ["2025-01", "2025-02", "2025-03"]
    assert found.months == ["2025-01", "2025-02", "2025-03"]
    assert found.days == 2
    assert [found.recorded[days] for days in (0, 1, 2, 7, 10, 30)] == [190, 190, 196, 196, 200, 200]
    assert replace(found, arrived=98).expected == 2
    assert replace(found, arrived=0).expected == 0
    nothing_yet = Lateness([], {0: 0, 30: 5}, "2025-04", 0, 3)
    assert nothing_yet.expected == 0
    # Of January what came in 30 days is not all known at the end of February, by whatever clock.
    years_later = datetime(2029, 5, 3, 9, tzinfo=UTC)
    assert gate._lateness(ledger.settings, closes_at(1), "2025-02", years_later) is None
    assert gate._lateness(ledger.settings, closes_at(1), "2025-03", years_later).months == ["2025-01"]
    assert gate._lateness(ledger.settings, NO_CLOSES, "2025-03", years_later) is None


def test_the_screen_and_json_say_what_usually_comes_and_how_late(capsys):
    """Of 200 transfers of two months 190 had come with the month, 196 two days later; 98 of April now."""
    recorded = dict(zip(gate.LATENESS_DAYS, (190, 190, 196, 196, 196, 196, 200, 200, 200, 200), strict=True))
    missed = UsualFile("partner_#.csv", 1, 0, "partner_03.csv", datetime(2025, 4, 2, 7, 30, tzinfo=UTC))
    seen = Gate(0, None, (missed,), Lateness(["2025-01", "2025-02"], recorded, "2025-04", 2, 98))
    show_gate(Screen(), seen, Settings.from_environment({}).zone)
    shown = capsys.readouterr().out
    assert "partner_03.csv of 2025-04-02 07:30" in shown
    assert ["2", "196", "98.0 %"] in [
        line.strip("│ ").split(" │ ") for line in re.sub(" +", " ", shown).splitlines()
    ]
    assert "2025-04, 2 days after its end, 98 " in shown
    facts = json.loads(json.dumps(gate_facts(seen)))
    assert facts["lateness"]["expected"] == 2
    assert facts["lateness"]["recorded"]["2"] == 196
    assert facts["missing_files"][0]["usual_count"] == 1
