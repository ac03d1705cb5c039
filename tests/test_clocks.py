"""A machine's clock that is wrong: a little, with a warning; by far, and nothing is recorded."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ledger.acts.accounts import close_account
from ledger.acts.comments import add_comment
from ledger.acts.decisions import approve, cancel, hold
from ledger.acts.mass import mass_rows, record_mass
from ledger.acts.revocations import revoke
from ledger.acts.transfer_requests import TransferRequest
from ledger.acts.transfers import give
from ledger.append import appending
from ledger.clocks import FAR, ClockFarOff, Setbacks, find_setbacks
from ledger.files.imports import import_file
from ledger.links import ledger_head
from ledger.models import Close, Transfer
from ledger.upkeep.health import examine_ledger
from ledger.upkeep.verification import verify
from orchestration.close.due_months import find_due_months
from orchestration.inbox import import_inbox
from simulator.transfer_files import write_transfers
from tests.conftest import answer, transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AHEAD = datetime(2199, 3, 10, 12, tzinfo=UTC)
BEHIND = datetime(1990, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOW)
    give(ledger, "C-1", "10", new=True, transfer_id="T1")
    give(ledger, "C-1", "5", status="pending", transfer_id="T2")
    return ledger


def at(ledger, now: datetime):
    return replace(ledger, clock=lambda: now)


def test_a_clock_below_the_entry_before_is_recorded_and_said(ledger, caplog):
    """docs/cases.md, S18."""
    give(at(ledger, NOW - timedelta(hours=1)), "C-1", "1", transfer_id="T3")
    assert "It is 2026-03-10 11:00:00 UTC by this machine's clock" in caplog.text
    assert Transfer.objects.get(transfer_id="T3").recorded_at == NOW - timedelta(hours=1)
    caplog.clear()
    give(ledger, "C-1", "1")
    cancel(at(ledger, NOW - timedelta(minutes=1)), ["T2"], dry_run=True)
    assert caplog.text == ""
    add_comment(at(ledger, NOW - timedelta(minutes=1)), "T1", "late")
    assert find_setbacks() == verify(ledger.settings).setbacks == Setbacks(2, 3)
    _, findings = examine_ledger(ledger.settings)
    assert [finding.verdict for finding in findings if finding.subject == "clock"] == ["warning"]


def test_the_command_says_it_and_exits_as_it_did(ledger_home, points):
    """docs/cases.md, S18."""
    give(ledger_home.open(clock=lambda: datetime.now(UTC) + timedelta(days=1)), "C-1", "10", new=True)
    run = {"home": ledger_home.home, **ledger_home.environment}
    given = points("give", "C-1", "5", **run)
    assert given.returncode == 0
    assert "the entry before was recorded at" in given.stderr
    assert len(given.stderr.splitlines()) == 1
    verified = answer(points("verify", **run))
    assert "1 entry is dated before the entry that it follows, entry 2" in verified
    found = json.loads(points("verify", "--json", **run).stdout)
    assert found["clock_setbacks"] == {"count": 1, "first_entry_id": 2}


@pytest.mark.parametrize("now", [AHEAD, BEHIND, NOW + FAR + timedelta(seconds=1)])
def test_what_takes_now_from_a_clock_that_is_far_off_is_refused(ledger, ledger_home, tmp_path, now):
    """docs/cases.md, X28."""
    wrong = at(ledger, now)
    file = write_transfers(tmp_path / "file.csv", [transfer("F1", relation_reference="C-1")])
    request = TransferRequest("", "give", "1")
    for act in (
        lambda: give(wrong, "C-1", "1"),
        lambda: record_mass(wrong, mass_rows(request, ["C-1"])),
        lambda: hold(wrong, ["T2"]),
        lambda: approve(at(ledger_home.open("bob"), now), ["T2"]),
        lambda: revoke(wrong, ["T1"]),
        lambda: close_account(wrong, "C-1", cancel_pending=True),
        lambda: add_comment(wrong, "T1", "x"),
        lambda: import_file(wrong, file),
    ):
        with pytest.raises(ClockFarOff) as refused:
            act()
        assert (refused.value.now, refused.value.newest) == (now, NOW)
    assert ledger_head().entry_id == 2


def test_who_says_when_or_that_the_clock_is_right_goes_on(ledger, ledger_home):
    """docs/cases.md, X28."""
    give(at(ledger, AHEAD), "C-1", "1", occurred_at="2026-03-11T00:00:00Z")
    # Which moved what is compared with: the right clock is now the one that is far off, once.
    with pytest.raises(ClockFarOff):
        give(ledger, "C-1", "1")
    confirmed = at(ledger_home.open(POINTS_CLOCK_CONFIRMED="2026-03-10"), NOW)
    give(confirmed, "C-1", "1")
    give(ledger, "C-1", "1")
    with pytest.raises(ClockFarOff):
        give(at(confirmed, NOW + 2 * FAR), "C-1", "1")
    assert ledger_head().entry_id == 5


def test_what_a_wrong_clock_closed_does_not_make_it_right(ledger):
    """docs/cases.md, X28."""
    with appending(at(ledger, AHEAD), says_when=True) as appender:
        appender.append(Close(event="close", report_month="2026-02", revision=1, cutoff_entry_id=2))
    with pytest.raises(ClockFarOff) as refused:
        give(at(ledger, AHEAD), "C-1", "1")
    assert refused.value.newest == NOW
    give(ledger, "C-1", "1")


def test_the_first_entry_is_of_a_year_that_a_transfer_may_have(ledger_home):
    """docs/cases.md, X28."""
    for year in (1970, 2200):
        with pytest.raises(ClockFarOff) as refused:
            give(
                ledger_home.open(clock=lambda year=year: datetime(year, 1, 1, tzinfo=UTC)),
                "C-1",
                "1",
                new=True,
            )
        assert (refused.value.now.year, refused.value.newest) == (year, None)


def test_a_file_of_the_inbox_waits_until_the_clock_is_right(ledger, monkeypatch):
    """docs/cases.md, X28: nothing is wrong with it."""
    inbox = ledger.settings.home / "inbox"
    inbox.mkdir(parents=True)
    write_transfers(inbox / "file.csv", [transfer("F1", relation_reference="C-1")])
    monkeypatch.setattr("orchestration.inbox.open_ledger", lambda settings, create: at(ledger, AHEAD))
    with pytest.raises(ClockFarOff):
        import_inbox(ledger.settings, clock=lambda: 1e12)
    monkeypatch.setattr("orchestration.inbox.open_ledger", lambda settings, create: ledger)
    (found,) = import_inbox(ledger.settings, clock=lambda: 1e12).files
    assert found.imported.added == 1


def test_no_month_is_due_that_only_a_clock_far_ahead_calls_ended(ledger, caplog):
    """docs/cases.md, X28: months are closed by schedule, without a person to notice."""
    give(at(ledger, NOW), "C-1", "1", occurred_at="2026-01-10T00:00:00Z")
    assert find_due_months(ledger.settings, AHEAD).months == ["2026-01", "2026-02"]
    assert "Which months have ended is judged by that entry." in caplog.text
    assert find_due_months(ledger.settings, NOW + timedelta(days=40)).months == [
        "2026-01",
        "2026-02",
        "2026-03",
    ]
