"""Opening and closing accounts (docs/design.md, section 5)."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ledger.acts.accounts import AccountInUse, close_account, open_account
from ledger.acts.revocations import revoke
from ledger.acts.transfers import deduct, give
from ledger.append import appending
from ledger.balances import balances_of
from ledger.identifiers import IdConflict
from ledger.links import ledger_head
from ledger.models import AccountEvent, Batch, Transfer
from ledger.relations import AccountClosed, UnknownRelation, closed_references, known_references
from ledger.rules import ValueRefused
from ledger.statuses import current_statuses
from tests.conftest import assert_refused, ledger_transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    return ledger_home.open(clock=lambda: NOW)


def balances(relation: str) -> dict[str, Decimal]:
    return {currency: found.approved_points for (_, currency), found in balances_of([relation], NOW).items()}


def is_closed(relation: str) -> bool:
    return bool(closed_references([relation]))


def test_opening_makes_a_customer_known(ledger):
    outcome = open_account(ledger, "C-1", event_id="A-1", comment="signed up")
    assert (outcome.event_id, outcome.event, outcome.was_known) == ("A-1", "open", False)
    assert known_references(["C-1", "C-2"]) == {"C-1"}
    kept = AccountEvent.objects.get()
    assert (kept.event_id, kept.event, kept.occurred_at) == ("A-1", "open", NOW)
    assert (kept.comment, kept.recorded_by) == ("signed up", "ada")
    give(ledger, "C-1", "5")
    assert open_account(ledger, "C-1").was_known
    assert ledger_head().entry_id == 2
    with pytest.raises(ValueRefused):
        open_account(ledger, "=C-1")


def test_closing_brings_every_currency_to_zero_in_one_transaction(ledger):
    give(ledger, "C-1", "100", new=True)
    deduct(ledger, "C-1", "7.5", currency="MILES", allow_negative=True)
    outcome = close_account(ledger, "C-1", event_id="A-1")
    assert balances("C-1") == {"POINTS": 0, "MILES": 0}
    assert is_closed("C-1")
    assert [
        (closing.transfer_id, closing.style, closing.points, closing.currency)
        for closing in outcome.transfers
    ] == [("A-1-MILES", "give", Decimal("7.5"), "MILES"), ("A-1-POINTS", "deduct", 100, "POINTS")]
    kept = list(Transfer.objects.filter(reason="account_closure").order_by("entry_id"))
    assert {transfer.batch_id for transfer in kept} == {"A-1"}
    batch = Batch.objects.get()
    event = AccountEvent.objects.get()
    assert (batch.origin, batch.row_count, batch.added_count) == ("account_closure", 2, 2)
    assert (batch.entry_id, batch.last_entry_id) == (3, event.entry_id)
    assert (event.event, event.event_id, event.batch_id) == ("close", "A-1", "A-1")


def test_a_single_currency_needs_no_batch_and_an_empty_account_no_transfer(ledger):
    give(ledger, "C-1", "100", new=True)
    assert len(close_account(ledger, "C-1").transfers) == 1
    open_account(ledger, "C-2")
    assert close_account(ledger, "C-2").transfers == ()
    assert not Batch.objects.exists()
    assert closed_references(["C-1", "C-2"]) == {"C-1", "C-2"}


def test_a_balance_beyond_one_transfer_is_closed_by_several(ledger):
    """docs/cases.md, R7."""
    for _ in range(2):
        give(ledger, "C-1", "99999999999999.9999", new=True)
    assert len(close_account(ledger, "C-1").transfers) == 2
    assert balances("C-1") == {"POINTS": 0}


def test_a_closed_account_takes_nothing_until_it_is_opened_again(ledger):
    """docs/cases.md, R17."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    give(ledger, "C-1", "1", transfer_id="T-2")
    close_account(ledger, "C-1")
    for act in (
        lambda: give(ledger, "C-1", "5", new=True),
        lambda: deduct(ledger, "C-1", "5", allow_negative=True),
        lambda: revoke(ledger, ["T-1"], allow_negative=True),
    ):
        with pytest.raises(AccountClosed) as refused:
            act()
        assert refused.value.relation_reference == "C-1"
    assert open_account(ledger, "C-1").event == "open"
    give(ledger, "C-1", "5")
    assert close_account(ledger, "C-1").transfers[0].points == 5
    assert is_closed("C-1")


def test_a_closed_account_is_closed_once(ledger):
    """docs/cases.md, C8."""
    give(ledger, "C-1", "100", new=True)
    first = close_account(ledger, "C-1", event_id="A-1")
    head = ledger_head()
    for again in (close_account(ledger, "C-1", event_id="A-1"), close_account(ledger, "C-1")):
        assert again.was_known
        assert (again.event, again.event_id) == ("close", "A-1")
    assert [transfer.transfer_id for transfer in close_account(ledger, "C-1", event_id="A-1").transfers] == [
        transfer.transfer_id for transfer in first.transfers
    ]
    assert ledger_head() == head


def test_an_events_id_stands_for_one_thing(ledger):
    """docs/cases.md, R3."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    open_account(ledger, "C-2", event_id="A-1")
    for act in (
        lambda: close_account(ledger, "C-2", event_id="A-1"),
        lambda: open_account(ledger, "C-3", event_id="A-1"),
        lambda: open_account(ledger, "C-3", event_id="T-1"),
        lambda: give(ledger, "C-1", "1", transfer_id="A-1"),
    ):
        with pytest.raises(IdConflict):
            act()
    assert ledger_head().entry_id == 2


def test_what_waits_is_in_the_way_unless_it_may_be_cancelled(ledger):
    give(ledger, "C-1", "100", new=True)
    give(ledger, "C-1", "5", status="pending", transfer_id="T-1")
    deduct(ledger, "C-1", "60", status="on_hold", transfer_id="T-2")
    with pytest.raises(AccountInUse) as refused:
        close_account(ledger, "C-1")
    assert refused.value.transfer_ids == ("T-1", "T-2")
    outcome = close_account(ledger, "C-1", cancel_pending=True)
    assert outcome.cancelled == ("T-1", "T-2")
    assert set(current_statuses(Transfer.objects.filter(transfer_id__in=["T-1", "T-2"])).values()) == {
        "cancelled"
    }
    assert outcome.transfers[0].points == 100


def test_a_transfer_dated_in_the_future_prevents_a_closure_with_every_option(ledger):
    give(ledger, "C-1", "100", new=True)
    give(ledger, "C-1", "5", occurred_at=NOW + timedelta(days=1), transfer_id="T-1")
    deduct(ledger, "C-1", "5", occurred_at=NOW + timedelta(days=2), transfer_id="T-2")
    give(ledger, "C-1", "5", status="pending", transfer_id="T-3")
    head = ledger_head()
    with pytest.raises(AccountInUse) as refused:
        close_account(ledger, "C-1", cancel_pending=True)
    assert refused.value.later_transfer_ids == ("T-1", "T-2")
    assert ledger_head() == head


def test_what_is_dated_in_the_future_and_revoked_is_not_in_the_way(ledger):
    """docs/cases.md, R26: a give dated 2195 by a typo keeps the account only until all of it is revoked, with
    effect at the same time; and a deduct likewise, which reserves its points until then."""
    typo = datetime(2195, 3, 10, tzinfo=UTC)
    give(ledger, "C-1", "100", new=True)
    give(ledger, "C-1", "500", occurred_at=typo, transfer_id="T-1")
    (revocation,) = revoke(ledger, ["T-1"], "400", revocation_id="R-1")
    assert revocation.occurred_at == typo
    with pytest.raises(AccountInUse) as refused:
        close_account(ledger, "C-1")
    assert refused.value.later_transfer_ids == ("T-1", "R-1")
    revoke(ledger, ["T-1"], revocation_id="R-2")
    deduct(ledger, "C-1", "30", occurred_at=typo, transfer_id="T-2")
    assert balances_of(["C-1"], NOW)["C-1", "POINTS"].spendable_points == 70
    with pytest.raises(AccountInUse):
        close_account(ledger, "C-1")
    revoke(ledger, ["T-2"], revocation_id="R-3")
    assert balances_of(["C-1"], NOW)["C-1", "POINTS"].spendable_points == 100
    outcome = close_account(ledger, "C-1")
    assert [transfer.points for transfer in outcome.transfers] == [100]
    for instant in (NOW, typo - timedelta(seconds=1), typo):
        assert balances_of(["C-1"], instant)["C-1", "POINTS"].approved_points == 0


def test_a_revocation_that_takes_effect_at_another_time_leaves_the_account_in_use(ledger):
    """docs/cases.md, R26, as a file may have it: until then the balance would not be zero."""
    give(ledger, "C-1", "100", new=True, occurred_at=NOW + timedelta(days=9), transfer_id="T-1")
    with appending(ledger) as appender:
        appender.append(
            ledger_transfer("R-1", "100", style="deduct", reason="revocation", reverses_transfer_id="T-1")
        )
    with pytest.raises(AccountInUse) as refused:
        close_account(ledger, "C-1")
    assert refused.value.later_transfer_ids == ("T-1",)


def test_what_the_ledger_does_not_know_cannot_be_closed(ledger):
    with pytest.raises(UnknownRelation):
        close_account(ledger, "C-1")


def test_an_imported_closure_closes_too_and_opening_undoes_it(ledger):
    """The file's clock may be ahead of ours."""
    with appending(ledger) as appender:
        closing = {"style": "deduct", "reason": "account_closure", "occurred_at": NOW + timedelta(hours=1)}
        appender.append(ledger_transfer("T-1", "5", **closing))
    assert is_closed("C-1")
    with pytest.raises(AccountClosed):
        give(ledger, "C-1", "5")
    assert open_account(ledger, "C-1").event == "open"
    assert not is_closed("C-1")
    give(ledger, "C-1", "5")


def test_a_dry_run_closes_nothing(ledger):
    give(ledger, "C-1", "100", new=True)
    assert close_account(ledger, "C-1", dry_run=True).transfers[0].points == 100
    assert not is_closed("C-1")


def test_the_command_opens_and_closes(points, ledger_home):
    def run(*arguments):
        return points("account", *arguments, home=ledger_home.home, **ledger_home.environment)

    assert run("open", "C-1", "--id", "A-1").stdout == "The account of C-1 is now open, event A-1.\n"
    give(ledger_home.open(), "C-1", "12.5", transfer_id="T-1")
    closed = run("close", "C-1", "--id", "A-2")
    assert closed.stdout == (
        "The account of C-1 is now closed, event A-2.\n"
        "Deducted: 12.5 POINTS from C-1, transfer A-2-POINTS (approved).\n"
    )
    answer = json.loads(run("close", "C-1", "--json").stdout)
    assert (answer["event"], answer["id"], answer["already_recorded"]) == ("close", "A-2", True)
    assert_refused(run("close", "C-9"), UnknownRelation("C-9"))
