"""Approving, holding, releasing and cancelling what waits (docs/design.md, section 5; docs/cases.md, C6
and C11)."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ledger.acts.accounts import open_account
from ledger.acts.approval import ApprovalByItsAuthor
from ledger.acts.decisions import StatusTransitionRefused, approve, cancel, hold, release
from ledger.acts.revocations import revoke
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfers import deduct, give
from ledger.append import appending
from ledger.balances import balances_of
from ledger.identifiers import UnknownTransfer
from ledger.links import ledger_head
from ledger.models import AccountEvent, Batch, StatusChange, Transfer
from ledger.refusals import SeveralRefused
from ledger.relations import AccountClosed, closed_references
from ledger.statuses import current_standings, current_statuses
from tests.conftest import ledger_transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ada(ledger_home):
    return ledger_home.open(user="ada", clock=lambda: NOW)


@pytest.fixture
def bob(ada, ledger_home):
    return ledger_home.open(user="bob", clock=lambda: NOW)


def status_of(transfer_id: str) -> str:
    return current_statuses([Transfer.objects.get(transfer_id=transfer_id)])[transfer_id]


def spendable(relation: str):
    return balances_of([relation], NOW)[relation, "POINTS"].spendable_points


def test_what_waits_moves_between_pending_and_on_hold_until_it_is_decided(ada, bob):
    give(ada, "C-1", "10", new=True, status="pending", transfer_id="T-1")
    for act, status in ((hold, "on_hold"), (release, "pending"), (hold, "on_hold"), (approve, "approved")):
        (decision,) = act(bob, ["T-1"], comment="seen")
        assert (decision.identifier, decision.status, decision.was_known) == ("T-1", status, False)
        assert status_of("T-1") == status
    change = StatusChange.objects.order_by("-entry_id").first()
    assert (change.recorded_by, change.changed_at, change.comment) == ("bob", NOW, "seen")
    assert spendable("C-1") == 10


def test_what_is_decided_already_is_nothing_to_do(ada, bob):
    """docs/cases.md, C8."""
    give(ada, "C-1", "10", new=True, status="pending", transfer_id="T-1")
    give(ada, "C-1", "10", transfer_id="T-2")
    approve(bob, ["T-1", "T-1"])
    head = ledger_head()
    assert [decision.was_known for decision in approve(bob, ["T-1", "T-2"])] == [True, True]
    assert ledger_head() == head


def test_approved_and_cancelled_are_final(ada, bob):
    """docs/cases.md, C6."""
    give(ada, "C-1", "10", new=True, status="pending", transfer_id="cancelled")
    give(ada, "C-1", "10", transfer_id="approved")
    cancel(ada, ["cancelled"])
    for act in (approve, hold, release):
        with pytest.raises(StatusTransitionRefused) as refused:
            act(bob, ["cancelled"])
        assert (refused.value.transfer_id, refused.value.status) == ("cancelled", "cancelled")
    for act in (cancel, hold, release):
        with pytest.raises(StatusTransitionRefused) as refused:
            act(bob, ["approved"])
        assert (refused.value.transfer_id, refused.value.status) == ("approved", "approved")


def test_many_are_decided_together_or_not_at_all(ada, bob):
    for transfer_id in ("T-1", "T-2", "T-3"):
        give(ada, "C-1", "10", new=True, status="pending", transfer_id=transfer_id)
    cancel(ada, ["T-2"])
    head = ledger_head()
    with pytest.raises(SeveralRefused) as refused:
        approve(bob, ["T-9", "T-1", "T-2", "T-3"])
    assert [(problem.place, problem.error.code) for problem in refused.value.problems] == [
        ("T-9", "UNKNOWN_TRANSFER"),
        ("T-2", "STATUS_TRANSITION"),
    ]
    assert ledger_head() == head
    with pytest.raises(UnknownTransfer):
        hold(bob, ["T-9"])
    assert [decision.identifier for decision in approve(bob, ["T-3", "T-1"])] == ["T-3", "T-1"]


def test_an_author_may_not_approve_an_entry_of_their_own(ada, bob):
    """docs/cases.md, C11: also where others held or released it in between."""
    give(ada, "C-1", "10", new=True, status="pending", transfer_id="T-1")
    hold(bob, ["T-1"])
    release(bob, ["T-1"])
    with pytest.raises(ApprovalByItsAuthor) as refused:
        approve(ada, ["T-1"])
    assert (refused.value.code, refused.value.author) == ("OWN_TRANSFER", "ada")
    approve(bob, ["T-1"])
    # A retry has nothing to do, from any user.
    assert approve(ada, ["T-1"])[0].was_known


def test_the_importer_of_a_file_may_approve_what_waits_in_it(ada):
    with appending(ada) as appender:
        appender.append(Batch(batch_id="B", origin="import", last_entry_id=2, row_count=1, added_count=1))
        appender.append(a_pending_deduct("T-1", "10", batch_id="B", style="give"))
    assert approve(ada, ["T-1"])[0].status == "approved"


def a_pending_deduct(transfer_id: str, points: str, **values) -> Transfer:
    pending = {"style": "deduct", "reason": "redemption", "status": "pending"}
    return ledger_transfer(transfer_id, points, **{**pending, **values})


def test_what_a_pending_deduct_reserves_is_its_own_when_it_is_approved(ada, bob):
    give(ada, "C-1", "100", new=True)
    deduct(ada, "C-1", "100", status="pending", transfer_id="D-1")
    assert spendable("C-1") == 0
    approve(bob, ["D-1"])
    assert spendable("C-1") == 0


def test_approving_a_deduct_must_fit_what_is_spendable(ada, bob):
    """docs/cases.md, R16: a file brought more pending deducts than there are points."""
    give(ada, "C-1", "100", new=True)
    with appending(ada) as appender:
        appender.append(a_pending_deduct("D-1", "70"))
        appender.append(a_pending_deduct("D-2", "70"))
    with pytest.raises(NotEnoughPoints) as refused:
        approve(bob, ["D-1"])
    assert refused.value.spendable_points == 30
    cancel(bob, ["D-2"])
    approve(bob, ["D-1"])
    give(ada, "C-1", "40", status="pending", transfer_id="G-1")
    with appending(ada) as appender:
        appender.append(a_pending_deduct("D-3", "70"))
    # Gives count before deducts, in any order.
    approve(bob, ["D-3", "G-1"])
    assert spendable("C-1") == 0
    with appending(ada) as appender:
        appender.append(a_pending_deduct("D-4", "5"))
    approve(bob, ["D-4"], allow_negative=True)
    assert spendable("C-1") == -5


def test_an_approved_give_of_tomorrow_is_not_spendable_today(ada, bob):
    tomorrow = NOW + timedelta(days=1)
    give(ada, "C-1", "50", new=True, status="pending", transfer_id="G-1", occurred_at=tomorrow)
    with appending(ada) as appender:
        appender.append(a_pending_deduct("D-1", "50"))
    with pytest.raises(SeveralRefused) as refused:
        approve(bob, ["G-1", "D-1"])
    assert refused.value.codes == {"NOT_ENOUGH"}


@pytest.mark.parametrize("days", [-1, 1])
def test_an_approved_closure_closes_the_account_when_it_takes_effect(ada, bob, days):
    """As one that a file brings approved: a build that starts after a close has only the event to go by."""
    give(ada, "C-1", "10", new=True)
    occurred_at = NOW + timedelta(days=days)
    closure = a_pending_deduct("T-1", "10", reason="account_closure", occurred_at=occurred_at)
    with appending(ada) as appender:
        appender.append(closure)
    hold(bob, ["T-1"])
    assert not AccountEvent.objects.exists()
    approve(bob, ["T-1"], comment="left us")
    change, event = StatusChange.objects.get(status="approved"), AccountEvent.objects.get()
    assert (event.event_id, event.relation_reference, event.event) == ("close-of-T-1", "C-1", "close")
    assert (event.occurred_at, event.comment) == (max(NOW, occurred_at), "left us")
    assert (event.recorded_by, event.entry_id) == ("bob", change.entry_id + 1)
    standing = current_standings([closure])["T-1"]
    assert (standing.effective_at, standing.entry_id) == (event.occurred_at, change.entry_id)
    assert closed_references(["C-1"]) == {"C-1"}
    head = ledger_head()
    assert approve(bob, ["T-1"])[0].was_known
    assert ledger_head() == head


def test_an_approved_closure_closes_the_account_even_where_its_event_id_is_taken(ada, bob):
    open_account(ada, "C-1", event_id="close-of-T-1")
    with appending(ada) as appender:
        appender.append(a_pending_deduct("T-1", "10", reason="account_closure", style="give"))
    approve(bob, ["T-1"])
    assert [event.event for event in AccountEvent.objects.order_by("entry_id")] == ["open", "close"]


def test_nothing_of_a_closed_account_is_approved_but_it_may_be_cancelled(ada, bob):
    """docs/cases.md, R17: a file brought it after the closure."""
    give(ada, "C-1", "10", new=True)
    with appending(ada) as appender:
        appender.append(
            AccountEvent(event_id="A-1", relation_reference="C-1", event="close", occurred_at=NOW)
        )
        appender.append(a_pending_deduct("D-1", "5"))
    with pytest.raises(AccountClosed):
        approve(bob, ["D-1"])
    cancel(bob, ["D-1"])
    assert status_of("D-1") == "cancelled"


def test_a_cancelled_revocation_can_be_made_again(ada, bob, ledger_home):
    give(ada, "C-1", "100", new=True, transfer_id="T-1")
    limited = ledger_home.open(user="ada", clock=lambda: NOW, POINTS_APPROVAL_ABOVE="50")
    revoke(limited, ["T-1"], revocation_id="R-1")
    cancel(bob, ["R-1"])
    assert revoke(bob, ["T-1"])[0].points == 100


def test_a_dry_run_decides_nothing(ada, bob):
    give(ada, "C-1", "10", new=True, status="pending", transfer_id="T-1")
    assert approve(bob, ["T-1"], dry_run=True)[0].status == "approved"
    assert status_of("T-1") == "pending"


def test_the_command_decides_and_refuses(points, ledger_home, ada):
    for transfer_id in ("T-1", "T-2"):
        give(ada, "C-1", "10", new=True, status="pending", transfer_id=transfer_id)

    def run(user, *arguments):
        return points(*arguments, home=ledger_home.home, POINTS_USER=user, **ledger_home.environment)

    own = run("ada", "approve", "T-1")
    assert (own.returncode, own.stdout) == (1, "")
    assert own.stderr == ("T-1 was entered by ada, who may not approve it as well; ask another person to.\n")
    assert run("bob", "hold", "T-1").stdout == "T-1 is now on_hold.\n"
    assert run("bob", "hold", "T-1", "--release").stdout == "T-1 is now pending.\n"
    answer = json.loads(run("bob", "approve", "T-1", "T-2", "--json").stdout)
    assert [(row["id"], row["status"], row["recorded"]) for row in answer] == [
        ("T-1", "approved", True),
        ("T-2", "approved", True),
    ]
    assert run("bob", "approve", "T-1").stdout == "T-1 was already approved.\n"
    assert run("bob", "cancel", "T-1").returncode == 1
