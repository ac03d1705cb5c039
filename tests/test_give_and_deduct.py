"""Giving and deducting by hand (docs/design.md, section 5), and notes beside it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ledger.acts.comments import LONGEST_COMMENT, CommentInvalid, add_comment
from ledger.acts.decisions import approve
from ledger.acts.revocations import revoke
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfer_requests import ReasonNotByHand
from ledger.acts.transfers import deduct, give
from ledger.append import appending
from ledger.balances import balances_of
from ledger.database import LedgerEmpty
from ledger.databases import ledger_place
from ledger.identifiers import IdConflict, UnknownTransfer
from ledger.links import ledger_head
from ledger.lists.balance_lists import list_balances
from ledger.models import Comment, Transfer
from ledger.relations import UnknownRelation
from ledger.rules import ValueRefused, check_identifier
from tests.conftest import answer, assert_refused, ledger_transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    return ledger_home.open(clock=lambda: NOW)


def spendable(relation: str, currency: str = "POINTS") -> Decimal:
    return balances_of([relation], NOW)[relation, currency].spendable_points


def test_what_is_not_said_is_filled_in(ledger):
    given = give(ledger, "C-1", "12.50", new=True)
    kept = Transfer.objects.get()
    assert (kept.transfer_id, kept.points, kept.style) == (given.transfer_id, Decimal("12.5"), "give")
    assert (kept.reason, kept.currency, kept.status) == ("admin_adjustment", "POINTS", "approved")
    assert (kept.occurred_at, kept.recorded_at, kept.recorded_by) == (NOW, NOW, "ada")
    assert check_identifier("TRANSFER_ID", "transfer_id", given.transfer_id)
    assert not given.was_known


def test_in_its_turn_a_give_asks_little(ledger):
    """All other writers wait meanwhile. Of PostgreSQL one statement is the lock, which SQLite has with the
    first."""
    statements = 7 if connection.vendor == "sqlite" else 8
    for following in (0, 3):
        give(ledger, "C-1", "1", new=True)
        with CaptureQueriesContext(connection) as asked:
            give(ledger, "C-1", "1", new=True)
        assert len(asked) == statements + following, [query["sql"] for query in asked.captured_queries]
        # From now on there are kept balances, which it brings along.
        list_balances(ledger, {})


def test_what_is_said_is_kept(ledger):
    give(
        ledger,
        "C-1",
        Decimal("1E+2"),
        new=True,
        reason="manual_credit",
        currency="MILES",
        status="on_hold",
        occurred_at="2026-03-01 10:00:00+02:00",
        transfer_id="T-1",
        external_reference="ORDER-7",
        comment='=HYPERLINK("x")\n<b>😀</b>',
    )
    kept = Transfer.objects.get()
    assert (kept.transfer_id, kept.points, kept.currency) == ("T-1", Decimal(100), "MILES")
    assert (kept.reason, kept.status) == ("manual_credit", "on_hold")
    assert kept.occurred_at == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert (kept.external_reference, kept.comment) == ("ORDER-7", '=HYPERLINK("x")\n<b>😀</b>')


def test_an_instant_without_offset_is_read_in_the_programmes_zone(ledger_home):
    """docs/cases.md, R10."""
    ledger = ledger_home.open(POINTS_TIME_ZONE="Europe/Berlin")
    given = give(ledger, "C-1", "1", new=True, occurred_at="2026-07-01T00:30:00")
    assert given.occurred_at == datetime(2026, 6, 30, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "points", ["1e3", "1_000", "1,000", "0x10", " 10 ", "NaN", "-5", "0", "1.23456", "١٠", "100000000000000"]
)
def test_points_are_plain_positive_decimals(ledger, points):
    """docs/cases.md, R6 and R7."""
    with pytest.raises(ValueRefused) as refused:
        give(ledger, "C-1", points, new=True)
    assert (refused.value.code, refused.value.value) == ("POINTS", points)
    assert ledger_head().entry_id == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("transfer_id", "=1+1"),
        ("transfer_id", "T 1"),
        ("currency", "EUROS"),
        ("status", "cancelled"),
        ("status", "open"),
        ("reason", "because"),
        ("occurred_at", "2026-02-30T00:00:00Z"),
        ("occurred_at", "2026-03-10"),
        ("comment", "a\x00b"),
        ("comment", "a\udcffb"),
        ("external_reference", "a\x1fb"),
        ("external_reference", "a\x85b"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(ledger, column, value):
    """docs/cases.md, R4, R8, R9 and F11, as far as commands go."""
    with pytest.raises(ValueRefused) as refused:
        give(ledger, "C-1", "5", new=True, **{column: value})
    assert refused.value.column == column
    assert ledger_head().entry_id == 0


def test_only_reasons_for_people_may_be_chosen(ledger):
    with pytest.raises(ReasonNotByHand) as refused:
        give(ledger, "C-1", "5", reason="expiry", new=True)
    assert refused.value.allowed == ("manual_credit", "admin_adjustment", "redemption")
    with pytest.raises(ValueRefused) as unknown:
        deduct(ledger, "C-1", "5", reason="manual_credit_", new=True)
    assert (unknown.value.column, unknown.value.value) == ("reason", "manual_credit_")
    with pytest.raises(ReasonNotByHand):
        deduct(ledger, "C-1", "5", reason="manual_credit", new=True)


def test_an_unknown_relation_reference_is_refused_unless_new(ledger):
    with pytest.raises(UnknownRelation) as refused:
        give(ledger, "C-1", "5")
    assert refused.value.relation_reference == "C-1"
    give(ledger, "C-1", "5", new=True)
    give(ledger, "C-1", "5")
    assert spendable("C-1") == 10


def test_the_same_request_twice_is_one_transfer(ledger):
    """docs/cases.md, C8 and R18."""
    first = give(ledger, "C-1", "10", new=True, transfer_id="T-1", occurred_at="2026-03-01T00:00:00Z")
    again = give(
        ledger,
        "C-1",
        "10.0000",
        transfer_id="T-1",
        occurred_at="2026-03-01T05:30:00+05:30",
        status="pending",
        comment="another",
    )
    assert again.was_known
    assert (again.transfer_id, again.points, again.status, again.comment) == ("T-1", 10, "approved", "")
    assert again.occurred_at == first.occurred_at
    # What a repetition leaves out is no other content.
    assert give(ledger, "C-1", "10", transfer_id="T-1").was_known
    assert ledger_head().entry_id == 1


def test_a_repetition_is_answered_after_any_later_entry(ledger):
    give(ledger, "C-1", "10", new=True)
    deduct(ledger, "C-1", "10", transfer_id="D-1")
    assert deduct(ledger, "C-1", "10", transfer_id="D-1").was_known
    assert spendable("C-1") == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("points", "11"),
        ("relation_reference", "C-2"),
        ("currency", "MILES"),
        ("reason", "manual_credit"),
        ("occurred_at", "2026-03-02T00:00:00Z"),
        ("external_reference", "ORDER-8"),
    ],
)
def test_an_id_with_other_content_is_refused_naming_what_differs(ledger, column, value):
    """docs/cases.md, R3."""
    said = {"relation_reference": "C-1", "points": "10", "transfer_id": "T-1"}
    give(ledger, **said, new=True, external_reference="ORDER-7")
    with pytest.raises(IdConflict) as refused:
        give(ledger, **(said | {column: value}), new=True)
    assert refused.value.code == "ID_CONFLICT"
    assert [difference.column for difference in refused.value.differences] == [column]
    assert ledger_head().entry_id == 1


def test_a_deduct_must_fit_what_is_spendable(ledger):
    """docs/cases.md, R16."""
    give(ledger, "C-1", "100", new=True)
    give(ledger, "C-1", "1000", status="pending")
    give(ledger, "C-1", "1000", occurred_at=NOW + timedelta(seconds=1))
    give(ledger, "C-1", "1000", currency="MILES")
    deduct(ledger, "C-1", "30", status="pending")
    deduct(ledger, "C-1", "20", status="on_hold")
    with pytest.raises(NotEnoughPoints) as refused:
        deduct(ledger, "C-1", "50.0001")
    assert refused.value.spendable_points == 50
    deduct(ledger, "C-1", "50")
    deduct(ledger, "C-1", "7", allow_negative=True)
    assert spendable("C-1") == -7


def test_a_dry_run_tries_everything_and_keeps_nothing(ledger):
    tried = give(ledger, "C-1", "5", new=True, dry_run=True)
    assert tried.points == 5
    with pytest.raises(UnknownRelation):
        give(ledger, "C-1", "5", dry_run=True)
    assert ledger_head().entry_id == 0


def test_a_comment_is_added_to_a_transfer_once(ledger, ledger_home):
    """docs/cases.md, C8 and R23."""
    give(ledger, "C-1", "5", new=True, transfer_id="T-1")
    assert not add_comment(ledger, "T-1", "=cmd()\n<i>").was_known
    assert add_comment(ledger, "T-1", "=cmd()\n<i>").was_known
    bob = ledger_home.open(user="bob")
    assert not add_comment(bob, "T-1", "=cmd()\n<i>").was_known
    assert list(Comment.objects.order_by("entry_id").values_list("text", "recorded_by")) == [
        ("=cmd()\n<i>", "ada"),
        ("=cmd()\n<i>", "bob"),
    ]


def test_a_comment_says_something_about_something(ledger):
    give(ledger, "C-1", "5", new=True, transfer_id="T-1")
    for text in ("", " \n", "x" * (LONGEST_COMMENT + 1)):
        with pytest.raises(CommentInvalid):
            add_comment(ledger, "T-1", text)
    with pytest.raises(ValueRefused) as refused:
        add_comment(ledger, "T-1", "a\x07")
    assert refused.value.code == "CONTROL_CHAR"
    with pytest.raises(UnknownTransfer):
        add_comment(ledger, "T-2", "hello")


@pytest.mark.parametrize(
    "command",
    [
        *("give", "deduct", "mass", "approve", "hold", "cancel", "revoke", "comment"),
        *("account open", "account close"),
    ],
)
def test_every_act_explains_itself_with_an_example(points, tmp_path, command):
    result = answer(points(*command.split(), "--help", home=tmp_path / "home"))
    assert f"points {command}" in result.split("Example: ")[1]
    for option in ("--dry-run", "--json"):
        assert option in result


def test_the_command_answers_people_and_programs(points, ledger_home):
    def run(*arguments):
        return points(*arguments, home=ledger_home.home, POINTS_USER="ada", **ledger_home.environment)

    assert_refused(run("give", "C-1", "50"), LedgerEmpty(ledger_place(ledger_home.settings())))
    tried = answer(run("give", "C-1", "50", "--new", "--id", "T-1", "--dry-run"))
    assert "nothing was recorded" in tried
    given = json.loads(answer(run("give", "C-1", "50", "--new", "--id", "T-1", "--json")))
    assert (given["transfer_id"], given["points"], given["recorded"]) == ("T-1", "50", True)
    again = answer(run("give", "C-1", "50", "--id", "T-1"))
    assert again == ("Given: 50 POINTS to C-1, transfer T-1 (approved). It was recorded before.\n")
    short = run("deduct", "C-1", "50.5")
    assert short.returncode == 1
    assert short.stderr == (
        "C-1 has 50 POINTS to spend, so 50.5 cannot be deducted; deduct less, or say --allow-negative.\n"
    )
    assert run("comment", "T-1", "late flight").stdout == "Noted beside T-1: late flight\n"
    assert run("give", "C-1").returncode == 2


def test_what_is_deducted_ahead_is_reserved_unless_it_expires(ledger):
    """docs/design.md, section 5 (spendable): 100 less 30 that will be redeemed; what will expire may be spent
    before, and of a give ahead that is revoked nothing was there to be spent."""
    later = NOW + timedelta(days=5)

    give(ledger, "C-1", "100", new=True)
    deduct(ledger, "C-1", "30", reason="redemption", occurred_at=later, transfer_id="D-1")
    assert spendable("C-1") == 70
    with pytest.raises(NotEnoughPoints) as refused:
        deduct(ledger, "C-1", "70.0001")
    assert refused.value.spendable_points == 70
    with appending(ledger) as appender:
        appender.append(ledger_transfer("E-1", "40", style="deduct", reason="expiry", occurred_at=later))
    assert spendable("C-1") == 70
    assert balances_of(["C-1"], later)["C-1", "POINTS"].spendable_points == 30
    give(ledger, "C-1", "500", occurred_at=later, transfer_id="G-1")
    deduct(ledger, "C-1", "70")
    # It takes nothing that is there, so it fits although nothing is.
    revoke(ledger, ["G-1"])
    assert spendable("C-1") == 0
    revoke(ledger, ["D-1"], "10", revocation_id="R-1")
    assert spendable("C-1") == 10
    deduct(ledger, "C-1", "10")
    # To revoke that would take what has been spent since.
    with pytest.raises(NotEnoughPoints):
        revoke(ledger, ["R-1"])


def test_an_approval_ahead_reserves_what_waiting_had(ledger, ledger_home):
    """docs/design.md, section 5 (spendable)."""
    later = NOW + timedelta(days=5)
    give(ledger, "C-1", "100", new=True)
    deduct(ledger, "C-1", "100", status="pending", occurred_at=later, transfer_id="D-1")
    bob = ledger_home.open("bob", clock=lambda: NOW)
    approve(bob, ["D-1"])
    with pytest.raises(NotEnoughPoints):
        deduct(ledger, "C-1", "0.0001")
    careful = ledger_home.open(clock=lambda: NOW, POINTS_APPROVAL_ABOVE="50")
    revoke(careful, ["D-1"], revocation_id="R-1")
    with pytest.raises(NotEnoughPoints):
        deduct(ledger, "C-1", "0.0001")
    approve(bob, ["R-1"])
    deduct(ledger, "C-1", "100")
