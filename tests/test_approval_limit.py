"""POINTS_APPROVAL_ABOVE: what a person enters above it waits for another person (docs/cases.md, C11)."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ledger.acts.accounts import AccountInUse, RequestSettled, close_account, open_account
from ledger.acts.approval import ApprovalByItsAuthor
from ledger.acts.decisions import RequestCannotBeHeld, approve, cancel, hold
from ledger.acts.mass import mass_rows, record_mass
from ledger.acts.revocations import RevocationTooLarge, TransferAlreadyRevoked, revoke
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfer_requests import TransferRequest
from ledger.acts.transfers import deduct, give
from ledger.balances import balances_of
from ledger.files.imports import import_file
from ledger.identifiers import IdConflict
from ledger.links import ledger_head
from ledger.models import AccountEvent, Transfer
from ledger.refusals import SeveralRefused
from ledger.relations import AccountClosed, closed_references
from simulator.transfer_files import write_transfers
from tests.conftest import answer, transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ada(ledger_home):
    return ledger_home.open(user="ada", clock=lambda: NOW, POINTS_APPROVAL_ABOVE="1000")


@pytest.fixture
def bob(ada, ledger_home):
    return ledger_home.open(user="bob", clock=lambda: NOW, POINTS_APPROVAL_ABOVE="1000")


@pytest.fixture
def unlimited(ada, ledger_home):
    return ledger_home.open(user="ada", clock=lambda: NOW)


def approved_points(relation: str) -> Decimal:
    return balances_of([relation], NOW)[relation, "POINTS"].approved_points


def is_closed(relation: str) -> bool:
    return bool(closed_references([relation]))


def test_what_is_above_the_limit_waits_for_another_person(ada, bob):
    """docs/cases.md, C11."""
    assert not give(ada, "C-1", "1000", new=True).is_waiting
    above = give(ada, "C-1", "1000.0001", transfer_id="T-1")
    assert (above.status, above.is_waiting) == ("pending", True)
    assert approved_points("C-1") == 1000
    with pytest.raises(ApprovalByItsAuthor):
        approve(ada, ["T-1"])
    approve(bob, ["T-1"])
    assert approved_points("C-1") == Decimal("2000.0001")
    again = give(ada, "C-1", "1000.0001", transfer_id="T-1")
    assert (again.status, again.was_known) == ("approved", True)


@pytest.mark.parametrize("name", ["ada ", " Ada", "ADA"])
def test_who_writes_his_name_otherwise_is_the_same_person(ada, name):
    """docs/cases.md, S14."""
    give(ada, "C-1", "1000.0001", new=True, transfer_id="T-1")
    with pytest.raises(ApprovalByItsAuthor):
        approve(replace(ada, user=name), ["T-1"])


def test_what_was_to_be_held_stays_on_hold(ada):
    assert give(ada, "C-1", "5000", new=True, status="on_hold").status == "on_hold"


def test_a_mass_is_held_against_the_limit_as_a_whole_by_currency(ada):
    request = TransferRequest("", "give", "400")
    below = record_mass(ada, mass_rows(request, ["C-1", "C-2"]), new=True)
    assert [transfer.status for transfer in below.transfers] == ["approved", "approved"]
    above = record_mass(ada, mass_rows(request, ["C-1", "C-2", "C-3"]), new=True)
    assert {transfer.status for transfer in above.transfers} == {"pending"}
    miles = TransferRequest("", "give", "900", currency="MILES")
    mixed = record_mass(ada, [*mass_rows(request, ["C-1"]), *renumbered(mass_rows(miles, ["C-1"]))])
    assert {transfer.status for transfer in mixed.transfers} == {"approved"}


def renumbered(rows):
    return [type(row)(row.line + 1, row.place, row.request) for row in rows]


def test_revocations_of_one_request_are_held_against_the_limit_together(ada, bob):
    give(ada, "C-1", "600", new=True, transfer_id="T-1")
    give(ada, "C-1", "600", transfer_id="T-2")
    revocations = revoke(ada, ["T-1", "T-2"], revocation_id="R")
    assert {revocation.status for revocation in revocations} == {"pending"}
    # What waits is taken already, so that two of them cannot exceed the original.
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ada, ["T-1"])
    with pytest.raises(SeveralRefused) as refused:
        approve(ada, ["R-1", "R-2"])
    assert refused.value.codes == {"OWN_TRANSFER"}
    approve(bob, ["R-1", "R-2"])
    assert approved_points("C-1") == 0


def test_pending_revocations_leave_the_rest(ada, unlimited):
    give(unlimited, "C-1", "3000", new=True, transfer_id="T-1")
    revoke(ada, ["T-1"], "2000")
    with pytest.raises(RevocationTooLarge) as refused:
        revoke(ada, ["T-1"], "1000.0001")
    assert refused.value.unrevoked_points == 1000


def test_a_pending_deduct_reserves_its_points(ada, unlimited):
    give(unlimited, "C-1", "3000", new=True)
    assert deduct(ada, "C-1", "2500").is_waiting
    with pytest.raises(NotEnoughPoints) as refused:
        deduct(ada, "C-1", "501")
    assert (refused.value.currency, refused.value.spendable_points) == ("POINTS", 500)


def test_a_large_closure_waits_and_is_carried_out_as_of_its_approval(ada, bob, unlimited):
    """docs/cases.md, C11."""
    give(unlimited, "C-1", "1001", new=True)
    head = ledger_head().entry_id
    requested = close_account(ada, "C-1", event_id="A-1")
    assert (requested.event, requested.event_id, requested.is_waiting) == ("close_requested", "A-1", True)
    assert ledger_head().entry_id == head + 1
    assert close_account(bob, "C-1").event_id == "A-1"
    assert ledger_head().entry_id == head + 1
    # It is open until then.
    give(ada, "C-1", "9")
    with pytest.raises(ApprovalByItsAuthor):
        approve(ada, ["A-1"])
    with pytest.raises(RequestCannotBeHeld):
        hold(bob, ["A-1"])
    (decision,) = approve(bob, ["A-1"])
    assert decision.account.transfers[0].points == 1010
    assert is_closed("C-1")
    settled = AccountEvent.objects.get(event="close")
    assert (settled.request_id, settled.recorded_by) == ("A-1", "bob")
    assert Transfer.objects.get(reason="account_closure").recorded_by == "bob"
    assert approve(bob, ["A-1"])[0].was_known
    again = close_account(ada, "C-1", event_id="A-1")
    assert (again.event, again.was_known, len(again.transfers)) == ("close", True, 1)
    with pytest.raises(RequestSettled):
        cancel(bob, ["A-1"])


def test_a_closure_is_held_against_the_limit_by_what_it_takes_or_gives(ada, unlimited):
    deduct(unlimited, "C-1", "1001", new=True, allow_negative=True)
    assert close_account(ada, "C-1").is_waiting
    give(unlimited, "C-2", "1000", new=True)
    give(unlimited, "C-2", "1000", currency="MILES")
    assert close_account(ada, "C-2").event == "close"


def test_a_declined_closure_leaves_the_account_open(ada, bob, unlimited):
    give(unlimited, "C-1", "1001", new=True)
    close_account(ada, "C-1", event_id="A-1")
    cancel(ada, ["A-1"], comment="a mistake")
    assert AccountEvent.objects.get(event="declined").request_id == "A-1"
    assert not is_closed("C-1")
    assert cancel(bob, ["A-1"])[0].was_known
    with pytest.raises(RequestSettled):
        approve(bob, ["A-1"])
    assert close_account(ada, "C-1").event_id != "A-1"


def test_what_has_come_up_since_is_in_the_way_of_an_approval(ada, bob, unlimited):
    give(unlimited, "C-1", "1001", new=True)
    close_account(ada, "C-1", event_id="A-1")
    give(unlimited, "C-1", "5", status="pending", transfer_id="T-1")
    with pytest.raises(AccountInUse):
        approve(bob, ["A-1"])
    (decision,) = approve(bob, ["A-1"], cancel_pending=True)
    assert decision.account.cancelled == ("T-1",)
    assert is_closed("C-1")


def test_a_request_that_comes_too_late_is_refused(ada, bob, unlimited):
    give(unlimited, "C-1", "1001", new=True)
    close_account(ada, "C-1", event_id="A-1")
    # Without a limit it closes at once, and that settles the request.
    close_account(unlimited, "C-1", event_id="A-2")
    assert approve(bob, ["A-1"])[0].was_known
    open_account(unlimited, "C-1")
    assert approve(bob, ["A-1"])[0].was_known
    assert not is_closed("C-1")


def test_opening_a_closed_account_waits_wherever_there_is_a_limit(ada, bob):
    """docs/cases.md, C11."""
    assert open_account(ada, "C-1").event == "open"
    close_account(ada, "C-1")
    requested = open_account(ada, "C-1", event_id="A-1")
    assert (requested.event, requested.is_waiting) == ("open_requested", True)
    with pytest.raises(AccountClosed):
        give(ada, "C-1", "5")
    with pytest.raises(ApprovalByItsAuthor):
        approve(ada, ["A-1"])
    approve(bob, ["A-1"])
    assert not is_closed("C-1")
    give(ada, "C-1", "5")
    # The settled request does not stand for the next one.
    close_account(ada, "C-1")
    assert open_account(ada, "C-1").event_id != "A-1"
    with pytest.raises(IdConflict):
        close_account(ada, "C-1", event_id="A-1")


def test_an_approved_request_does_not_act_twice(ada, bob):
    open_account(ada, "C-1")
    close_account(ada, "C-1")
    open_account(ada, "C-1", event_id="A-1")
    approve(bob, ["A-1"])
    close_account(ada, "C-1")
    head = ledger_head()
    assert approve(bob, ["A-1"])[0].was_known
    assert is_closed("C-1")
    assert ledger_head() == head


def test_the_command_says_that_it_waits(points, ledger_home, unlimited):
    def run(user, *arguments):
        return points(
            *arguments,
            home=ledger_home.home,
            POINTS_USER=user,
            POINTS_APPROVAL_ABOVE="1000",
            **ledger_home.environment,
        )

    assert run("ada", "give", "C-1", "2000", "--new", "--id", "T-1").stdout == (
        "To give: 2000 POINTS to C-1, transfer T-1 (pending). It waits for another person's approval.\n"
    )
    assert run("bob", "approve", "T-1").returncode == 0
    asked = answer(run("ada", "account", "close", "C-1", "--id", "A-1"))
    assert asked == (
        "To close the account of C-1 waits for another person's approval, with `points approve A-1`.\n"
    )
    assert run("ada", "approve", "A-1").returncode == 1
    assert run("bob", "approve", "A-1").stdout.startswith("The account of C-1 is now closed, event A-")


def test_a_file_is_no_way_around_another_person(ada, bob, tmp_path):
    """docs/cases.md, C11: who entered a transfer may not approve it by importing it as approved either."""
    give(ada, "C-1", "5000", transfer_id="T-1", reason="manual_credit", new=True)
    row = transfer("T-1", points="5000", reason="manual_credit", occurred_at=NOW.isoformat())
    path = write_transfers(tmp_path / "a.csv", [{**row, "status": "approved"}])
    for quarantine in (False, True):
        with pytest.raises(ApprovalByItsAuthor):
            import_file(ada, path, quarantine=quarantine)
    assert approved_points("C-1") == 0
    import_file(bob, path)
    assert approved_points("C-1") == 5000
