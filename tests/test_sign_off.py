"""`points affirm`, `sign-off`, and reopening what is signed off: who may vouch for a month, and for what."""

import json
from pathlib import Path

import duckdb
import pytest

from ledger.certifications import AFFIRMED, entries_about, statements
from ledger.closes import ClosedMonth
from ledger.models import SignOff
from ledger.upkeep.verification import verify
from orchestration.close.closing import close_months
from orchestration.close.reopening import reopen_months
from orchestration.close.sign_off import (
    AlreadySignedOff,
    NotAffirmed,
    NotAffirmedByCloser,
    NotIssued,
    NotTiedOut,
    SignedByWhoPrepared,
    affirm_month,
    sign_off_month,
)
from orchestration.reconciliation import reconciled, record_reconciliation
from orchestration.reports import list_months
from orchestration.upkeep.verification import verify_all
from tests.closed_programme import CLOSED, Home
from tests.conftest import answer, refusal

MONTH = CLOSED[1]
NO_SHOP = "The shop keeps no balances."


@pytest.fixture
def home(copied) -> Home:
    """A copy of the small programme, whose second month is closed anew by ada."""
    reopen_months(copied.settings(), MONTH, "to be closed by ada")
    close_months(copied.settings(), MONTH)
    return copied


def month_of(home: Home) -> ClosedMonth:
    return home.history().issued[MONTH]


def signed(home: Home) -> Home:
    affirm_month(home.settings(), MONTH)
    sign_off_month(home.settings(POINTS_USER="bob"), MONTH, NO_SHOP)
    return home


def balances(home: Home, path: Path, more: str = "") -> Path:
    """A shop's file with what every customer has here, and what is put below."""
    mart = home.path / "published" / MONTH / "r2" / "outstanding_points_by_month.parquet"
    rows = duckdb.sql(
        f"select relation_reference, total_outstanding_points, currency from '{mart}'"
    ).fetchall()
    lines = ["relation_reference,points,currency", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join([*lines, more]).strip() + "\n", encoding="utf-8")
    return path


def tie_out(home: Home, path: Path) -> None:
    settings = home.settings()
    with reconciled(settings, MONTH, path, {}) as found:
        record_reconciliation(settings, found, "cards at midnight")


def test_closer_and_signer_each_affirm_every_statement(home):
    signed(home)
    affirmed = [(entry.recorded_by, entry.subject) for entry in entries_about(month_of(home), AFFIRMED)]
    assert affirmed == [(name, statement) for name in ("ada", "bob") for statement in statements()]
    texts = [json.loads(entry.content)["text"] for entry in entries_about(month_of(home), AFFIRMED)]
    assert texts == list(statements().values()) * 2
    line = next(line for line in list_months(home.settings()) if line.report_month == MONTH)
    assert (line.status, line.signed_off_by, line.closed_by) == ("signed_off", "bob", "ada")
    with duckdb.connect(
        str(home.path / "published" / "outstanding_points.duckdb"), read_only=True
    ) as readers:
        assert ("signed_off", "bob") in readers.execute(
            "select status, signed_off_by from published_months"
        ).fetchall()
    verify_all(home.settings())


def test_a_second_time_adds_nothing(home):
    for _ in range(2):
        affirm_month(home.settings(POINTS_USER=" ADA"), MONTH)
    assert len(entries_about(month_of(home), AFFIRMED)) == len(statements())
    sign_off_month(home.settings(POINTS_USER="bob"), MONTH, NO_SHOP)
    with pytest.raises(AlreadySignedOff):
        sign_off_month(home.settings(POINTS_USER="eve"), MONTH, NO_SHOP)
    with pytest.raises(AlreadySignedOff):
        affirm_month(home.settings(), MONTH)
    assert SignOff.objects.count() == 1


@pytest.mark.parametrize("user", ["ada", "Ada "])
def test_who_closed_a_month_does_not_sign_it_off(home, user):
    for prepare in (lambda: None, lambda: affirm_month(home.settings(), MONTH)):
        prepare()
        with pytest.raises(SignedByWhoPrepared):
            sign_off_month(home.settings(POINTS_USER=user), MONTH, NO_SHOP)
    assert not SignOff.objects.exists()


def test_what_the_closer_has_not_affirmed_is_not_signed_off(home, monkeypatch):
    bob = home.settings(POINTS_USER="bob")
    with pytest.raises(NotAffirmed):
        sign_off_month(bob, MONTH, NO_SHOP)
    with pytest.raises(NotAffirmedByCloser):
        affirm_month(bob, MONTH)
    affirm_month(home.settings(), MONTH)
    # A statement that came since.
    monkeypatch.setattr("ledger.certifications.statements", lambda: {**statements(), "new": "It is so."})
    with pytest.raises(NotAffirmed):
        sign_off_month(bob, MONTH, NO_SHOP)


def test_of_a_scheduled_close_any_other_than_the_signer_affirms(copied):
    reopen_months(copied.settings(), MONTH, "to be closed by the schedule")
    close_months(copied.settings(POINTS_USER="schedule"), MONTH)
    with pytest.raises(NotAffirmed):
        sign_off_month(copied.settings(POINTS_USER="bob"), MONTH, NO_SHOP)
    affirm_month(copied.settings(POINTS_USER="eve"), MONTH)
    with pytest.raises(SignedByWhoPrepared):
        sign_off_month(copied.settings(POINTS_USER="Eve"), MONTH, NO_SHOP)
    assert sign_off_month(copied.settings(POINTS_USER="bob"), MONTH, NO_SHOP).affirmed_by == "eve"


def test_it_takes_a_tied_out_reconciliation_or_a_reason_why_there_is_none(home, tmp_path):
    affirm_month(home.settings(), MONTH)
    bob = home.settings(POINTS_USER="bob")
    for reason in ("", "  "):
        with pytest.raises(NotTiedOut):
            sign_off_month(bob, MONTH, reason)
    tie_out(home, balances(home, tmp_path / "shop.csv"))
    # The newest counts.
    tie_out(home, balances(home, tmp_path / "other.csv", "C-99,5,POINTS"))
    with pytest.raises(NotTiedOut):
        sign_off_month(bob, MONTH)
    tie_out(home, balances(home, tmp_path / "shop.csv"))
    relied = sign_off_month(bob, MONTH)
    assert relied.without_reconciliation == ""
    assert [len(sha256) for sha256 in relied.files_sha256] == [64]


def test_only_what_readers_have_is_signed_off(home):
    for settings in (home.settings(), home.settings(POINTS_USER="bob")):
        with pytest.raises(NotIssued):
            affirm_month(settings, "2025-03")
    reopen_months(home.settings(), MONTH, "again")
    with pytest.raises(NotIssued):
        affirm_month(home.settings(), MONTH)


def test_a_signature_is_void_for_a_new_revision(home):
    signed(home)
    for user in ("ada", "bob"):
        reopen_months(home.settings(POINTS_USER=user), MONTH, "late rows")
    close_months(home.settings(), MONTH)
    assert home.history().status(month_of(home)) == "issued"
    with pytest.raises(NotAffirmed):
        sign_off_month(home.settings(POINTS_USER="bob"), MONTH, NO_SHOP)


def test_reopening_what_is_signed_off_takes_two_people(home):
    """An earlier month takes the signed one with it."""
    signed(home)
    for user in ("bob", "Bob"):
        asked = reopen_months(home.settings(POINTS_USER=user), CLOSED[0], "late rows")
        assert asked.closes == []
        assert [closed.name for closed in asked.signed_off] == [f"{MONTH}/r2"]
    assert home.history().reopened == []
    done = reopen_months(home.settings(), CLOSED[0], "late rows")
    assert [closed.name for closed in done.closes] == [f"{CLOSED[0]}/r1", f"{MONTH}/r2"]
    assert home.history().reopened == list(CLOSED)


def test_commands_say_what_is_affirmed_and_ask(home):
    refused = home.points("affirm", MONTH, POINTS_USER="ada")
    assert refused.returncode == 1
    assert all(text in refused.stdout for text in statements().values())
    assert not entries_about(month_of(home), AFFIRMED)
    answer(home.points("affirm", MONTH, "--yes", POINTS_USER="ada"))
    row = json.loads(
        answer(
            home.points(
                *("sign-off", MONTH, "--yes", "--json", "--without-reconciliation", NO_SHOP),
                POINTS_USER="bob",
            )
        )
    )
    assert (row["signed_off_by"], row["affirmed_by"], row["without_reconciliation"]) == (
        "bob",
        "ada",
        NO_SHOP,
    )
    asked = json.loads(answer(home.points("reopen", MONTH, "--reason", "x", "--json", POINTS_USER="bob")))
    assert asked == {"reopened": [], "waiting_for_second_person": [f"{MONTH}/r2"]}
    verify(home.settings())


@pytest.mark.parametrize(
    "command",
    [["approve", "T-1"], ["affirm", MONTH], ["sign-off", MONTH], ["reopen", MONTH, "--reason", "x"]],
)
def test_with_sign_in_required_the_command_refuses_what_needs_a_person(copied, command):
    assert "POINTS_SIGN_IN_REQUIRED" in refusal(copied.points(*command, POINTS_SIGN_IN_REQUIRED="1"))
    answer(copied.points("months", POINTS_SIGN_IN_REQUIRED="1"))


@pytest.mark.parametrize("user", ["console:ada", " Console:ada"])
def test_names_of_the_console_are_not_claimed(copied, user):
    assert "POINTS_USER" in refusal(copied.points("give", "C-1", "5", POINTS_USER=user))
