"""Moving points between accounts: two transfers that stand and fall together (docs/design.md, section 5)."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ledger.acts.accounts import (
    AccountInUse,
    AccountNotEmptied,
    close_account,
    open_account,
)
from ledger.acts.approval import ApprovalByItsAuthor
from ledger.acts.decisions import StatusTransitionRefused, approve, cancel, hold, release
from ledger.acts.mass import read_mass_file, record_mass
from ledger.acts.moves import ClosingWaitsForMove, NothingToMove, move_points
from ledger.acts.revocations import (
    RevocationAmbiguous,
    RevocationTooLarge,
    TransferAlreadyRevoked,
    UndoneTwice,
    revoke,
)
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfer_requests import MoveToItself, ReasonNotByHand, TransferRequest
from ledger.acts.transfers import deduct, give
from ledger.balances import balances_of
from ledger.files.imports import ImportRefused, import_file
from ledger.files.transfers_file import TransfersFileRefused
from ledger.identifiers import IdConflict
from ledger.links import ledger_head
from ledger.models import AccountEvent, Batch, Transfer
from ledger.refusals import SeveralRefused
from ledger.relations import AccountClosed, UnknownRelation, closed_references
from ledger.rules import ValueRefused
from ledger.statuses import current_statuses
from simulator.transfer_files import write_transfers
from tests.conftest import answer, assert_refused, transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MOVE = "transfer_between_accounts"
BOTH = ("MV-1", "MV-2")


@pytest.fixture
def ada(ledger_home):
    return ledger_home.open(user="ada", clock=lambda: NOW)


@pytest.fixture
def bob(ada):
    return replace(ada, user="bob")


@pytest.fixture
def limited(ada, ledger_home):
    """Ada, whose requests above 1,000 points wait for another person."""
    return ledger_home.open(user="ada", clock=lambda: NOW, POINTS_APPROVAL_ABOVE="1000")


def spendable(relation: str, currency: str = "POINTS") -> Decimal:
    found = balances_of([relation], NOW).get((relation, currency))
    return found.spendable_points if found else Decimal(0)


def statuses(*transfer_ids: str) -> set[str]:
    return set(current_statuses(Transfer.objects.filter(transfer_id__in=transfer_ids)).values())


def record_rows(ledger, folder, text: str, defaults=TransferRequest("", "", ""), **options):  # noqa: B008
    path = folder / "mass.csv"
    path.write_text(text, encoding="utf-8")
    return record_mass(ledger, read_mass_file(path, defaults).rows, mass_id="M", **options)


# What a move is


def test_a_move_is_a_deduct_and_a_give_in_one_batch(ada):
    give(ada, "C-1", "100", new=True)
    moved = move_points(
        ada, "C-1", "C-2", "40", new=True, transfer_id="MV", comment="joined", external_reference="TICKET-7"
    )
    assert (moved.move_id, moved.was_known, moved.account) == ("MV", False, None)
    columns = ("entry_id", "transfer_id", "relation_reference", "style", "points", "reason", "batch_id")
    assert list(Transfer.objects.filter(batch_id="MV").order_by("entry_id").values_list(*columns)) == [
        (3, "MV-1", "C-1", "deduct", 40, MOVE, "MV"),
        (4, "MV-2", "C-2", "give", 40, MOVE, "MV"),
    ]
    batch = Batch.objects.get()
    assert (batch.origin, batch.entry_id, batch.last_entry_id, batch.row_count) == ("move", 2, 4, 2)
    assert {(half.comment, half.external_reference) for half in (moved.deducted, moved.given)} == {
        ("joined", "TICKET-7")
    }
    assert (spendable("C-1"), spendable("C-2")) == (60, 40)


def test_without_points_all_that_may_be_spent_in_one_currency_is_moved(ada):
    give(ada, "C-1", "100", new=True)
    give(ada, "C-1", "7.5", currency="MILES")
    deduct(ada, "C-1", "30", status="pending")
    deduct(ada, "C-1", "20", occurred_at=NOW + timedelta(days=1))
    assert move_points(ada, "C-1", "C-2", new=True).deducted.points == 50
    assert move_points(ada, "C-1", "C-2", currency="MILES").given.points == Decimal("7.5")
    assert (spendable("C-1"), spendable("C-2"), spendable("C-2", "MILES")) == (0, 50, Decimal("7.5"))
    with pytest.raises(NothingToMove) as refused:
        move_points(ada, "C-1", "C-2")
    assert (refused.value.relation_reference, refused.value.spendable_points) == ("C-1", 0)


def test_a_move_is_repeatable_by_its_id(ada):
    """docs/cases.md, C8, R2 and R3: without points too, whatever is to be spent by then."""
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    give(ada, "C-1", "5")
    head = ledger_head()
    again = move_points(ada, "C-1", "C-2", transfer_id="MV")
    assert (again.was_known, again.deducted.points, again.given.transfer_id) == (True, 100, "MV-2")
    assert move_points(ada, "C-1", "C-2", "100.0", transfer_id="MV").was_known
    for relations, points in ((("C-1", "C-2"), "99"), (("C-1", "C-3"), None), (("C-2", "C-1"), None)):
        with pytest.raises(IdConflict):
            move_points(ada, *relations, points, new=True, transfer_id="MV")
    assert ledger_head() == head


@pytest.mark.parametrize(
    "taken", [lambda ada: open_account(ada, "C-9", event_id="MV"), lambda ada: revoke_move(ada, "MV")]
)
def test_an_id_of_something_else_is_refused(ada, taken):
    """docs/cases.md, R3."""
    give(ada, "C-1", "100", new=True)
    give(ada, "C-2", "100", new=True)
    taken(ada)
    with pytest.raises(IdConflict):
        move_points(ada, "C-1", "C-2", "1", transfer_id="MV")


def revoke_move(ledger, revocation_id):
    move_points(ledger, "C-2", "C-1", "5", transfer_id="OTHER")
    revoke(ledger, ["OTHER-1"], revocation_id=revocation_id)


def test_what_cannot_be_moved_is_refused_and_nothing_recorded(ada):
    """docs/cases.md, C1, R15 to R17."""
    give(ada, "C-1", "100", new=True)
    open_account(ada, "CLOSED")
    close_account(ada, "CLOSED")
    head = ledger_head()
    for error, relations, options in (
        (MoveToItself, ("C-1", "C-1"), {}),
        (UnknownRelation, ("C-1", "C-9"), {}),
        (UnknownRelation, ("C-9", "C-1"), {"new": True, "points": "5", "allow_negative": True}),
        (AccountClosed, ("C-1", "CLOSED"), {}),
        (AccountClosed, ("CLOSED", "C-1"), {"points": "5", "allow_negative": True}),
        (NotEnoughPoints, ("C-1", "C-2"), {"new": True, "points": "100.0001"}),
        (ValueRefused, ("C-1", "=2"), {"new": True}),
        (ValueRefused, ("C-1", "C-2"), {"new": True, "points": "1e3"}),
        (ValueRefused, ("C-1", "C-2"), {"new": True, "reason": "redemption"}),
        (ValueRefused, ("C-1", "C-2"), {"new": True, "transfer_id": "x" * 127}),
    ):
        with pytest.raises(error):
            move_points(ada, *relations, **options)
    assert ledger_head() == head
    move_points(ada, "C-1", "C-2", "150", new=True, allow_negative=True)
    assert (spendable("C-1"), spendable("C-2")) == (-50, 150)


def test_the_reason_of_a_move_is_not_chosen_by_hand(ada, tmp_path):
    for act in (give, deduct):
        with pytest.raises(ReasonNotByHand):
            act(ada, "C-1", "5", reason=MOVE, new=True)
    with pytest.raises(SeveralRefused) as refused:
        record_rows(ada, tmp_path, f"relation_reference,style,points,reason\nC-1,give,5,{MOVE}\n", new=True)
    assert refused.value.codes == {"REASON"}


# Together, by either id


@pytest.mark.parametrize("asked", BOTH)
def test_both_transfers_are_decided_on_by_either_id(ada, bob, asked):
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", "40", new=True, status="pending", transfer_id="MV")
    assert (spendable("C-1"), spendable("C-2")) == (60, 0)
    for act, wanted in ((hold, "on_hold"), (release, "pending")):
        answered = act(ada, [asked])
        assert {decision.identifier for decision in answered} == set(BOTH)
        assert answered[0].identifier == asked
        assert statuses(*BOTH) == {wanted}
    with pytest.raises(ApprovalByItsAuthor):
        approve(ada, [asked])
    assert len(approve(bob, [asked, *BOTH])) == 2
    assert statuses(*BOTH) == {"approved"}
    assert (spendable("C-1"), spendable("C-2")) == (60, 40)
    assert [decision.was_known for decision in approve(bob, [asked])] == [True, True]
    with pytest.raises(StatusTransitionRefused):
        cancel(ada, [asked])


@pytest.mark.parametrize("asked", BOTH)
def test_both_transfers_are_cancelled_by_either_id(ada, asked):
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", new=True, status="on_hold", transfer_id="MV")
    cancel(ada, [asked])
    assert statuses(*BOTH) == {"cancelled"}
    assert spendable("C-1") == 100


def test_neither_is_approved_where_one_of_them_cannot_be(ada, bob):
    give(ada, "C-1", "100", new=True)
    open_account(ada, "C-2")
    move_points(ada, "C-1", "C-2", status="pending", transfer_id="MV")
    close_account(ada, "C-2", cancel_pending=True)
    # What waits of a closed account was cancelled, and with it the other transfer of the move.
    assert statuses(*BOTH) == {"cancelled"}
    assert spendable("C-1") == 100
    open_account(ada, "C-2")
    move_points(ada, "C-1", "C-2", status="pending", transfer_id="MV-B")
    deduct(ada, "C-1", "10", allow_negative=True)
    for asked in ("MV-B-1", "MV-B-2"):
        with pytest.raises(NotEnoughPoints):
            approve(bob, [asked])
    assert statuses("MV-B-1", "MV-B-2") == {"pending"}
    approve(bob, ["MV-B-2"], allow_negative=True)
    assert (spendable("C-1"), spendable("C-2")) == (-10, 100)


def test_a_move_above_the_limit_waits_and_counts_once(limited, bob):
    """docs/cases.md, C11: a deduct and a give of 1,000 move 1,000, not 2,000."""
    give(bob, "C-1", "5000", new=True)
    assert move_points(limited, "C-1", "C-2", "1000", new=True).deducted.status == "approved"
    moved = move_points(limited, "C-1", "C-2", "1000.0001", transfer_id="MV")
    assert (moved.deducted.status, moved.given.status) == ("pending", "pending")
    approve(bob, ["MV-2"])
    assert statuses(*BOTH) == {"approved"}
    revoked = revoke(limited, ["MV-1"], "1000", revocation_id="R")
    assert {revocation.status for revocation in revoked} == {"approved"}


@pytest.mark.parametrize("asked", BOTH)
def test_both_transfers_are_revoked_by_either_id_as_far_as_asked(ada, asked):
    """docs/cases.md, C5."""
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    revoked = revoke(ada, [asked], "30", revocation_id="R")
    assert [(found.transfer_id, found.reverses_transfer_id, found.style) for found in revoked] == [
        ("R-1", "MV-2", "deduct"),
        ("R-2", "MV-1", "give"),
    ]
    assert {(found.points, found.batch_id) for found in revoked} == {(30, "R")}
    assert Batch.objects.get(batch_id="R").origin == "revocation"
    assert (spendable("C-1"), spendable("C-2")) == (30, 70)
    assert all(found.was_known for found in revoke(ada, [asked], "30", revocation_id="R"))
    with pytest.raises(RevocationTooLarge):
        revoke(ada, [asked], "70.0001")
    revoke(ada, [*BOTH])
    assert (spendable("C-1"), spendable("C-2")) == (100, 0)
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ada, [asked])


def test_each_half_of_a_pair_names_the_other(ada, ledger_home, points):
    give(ada, "C-1", "100", new=True, transfer_id="T")
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    revoke(ada, ["MV-1"], "30", revocation_id="R")

    def shown(transfer_id: str, *options: str) -> str:
        asked = points("transfers", transfer_id, *options, home=ledger_home.home, **ledger_home.environment)
        return answer(asked)

    for one, other in (("MV-1", "MV-2"), ("MV-2", "MV-1"), ("R-1", "R-2"), ("R-2", "R-1")):
        assert json.loads(shown(one, "--json"))["other_half"]["transfer_id"] == other
        assert any(other in line for line in shown(one).splitlines() if line.startswith("Other half"))
    assert json.loads(shown("T", "--json"))["other_half"] is None
    assert "Other half" not in shown("T")


@pytest.mark.parametrize("asked", ["R-1", "R-2"])
def test_the_revocation_of_a_move_is_revoked_as_a_pair_too(ada, asked):
    """docs/cases.md, C13."""
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    revoke(ada, ["MV-1"], revocation_id="R")
    again = revoke(ada, [asked], "60", revocation_id="Q")
    pairs = [(found.transfer_id, found.reverses_transfer_id) for found in again]
    assert pairs == [("Q-1", "R-2"), ("Q-2", "R-1")]
    assert (spendable("C-1"), spendable("C-2")) == (40, 60)
    revoke(ada, ["MV-2"], "60")
    with pytest.raises(UndoneTwice):
        revoke(ada, ["Q-2"])


def test_a_revocation_waits_and_is_decided_on_as_a_pair(limited, bob):
    give(bob, "C-1", "5000", new=True)
    move_points(bob, "C-1", "C-2", new=True, transfer_id="MV")
    assert {found.status for found in revoke(limited, ["MV-2"], revocation_id="R")} == {"pending"}
    cancel(limited, ["R-1"])
    assert statuses("R-1", "R-2") == {"cancelled"}
    revoke(limited, ["MV-2"], revocation_id="Q")
    approve(bob, ["Q-2"])
    assert (spendable("C-1"), spendable("C-2")) == (5000, 0)


def test_points_that_are_gone_refuse_the_revocation_of_both(ada):
    give(ada, "C-1", "100", new=True)
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    deduct(ada, "C-2", "50")
    head = ledger_head()
    for asked in BOTH:
        with pytest.raises(NotEnoughPoints) as refused:
            revoke(ada, [asked])
        assert refused.value.relation_reference == "C-2"
    assert ledger_head() == head


def test_moves_and_other_transfers_are_revoked_in_one_request(ada):
    give(ada, "C-1", "100", new=True, transfer_id="T-1")
    give(ada, "C-3", "10", new=True, transfer_id="T-3")
    move_points(ada, "C-1", "C-2", new=True, transfer_id="MV")
    revoked = revoke(ada, ["T-3", "MV-1", "MV-2"], revocation_id="R")
    assert [(found.transfer_id, found.batch_id) for found in revoked] == [
        ("R-1", ""),
        ("R-2-1", "R-2"),
        ("R-2-2", "R-2"),
    ]
    with pytest.raises(RevocationAmbiguous):
        revoke(ada, ["T-1", "MV-1"], "5")


def test_what_is_moved_ahead_takes_effect_and_is_revoked_together(ada):
    """docs/cases.md, R26."""
    give(ada, "C-1", "100", new=True)
    later = NOW + timedelta(days=9)
    move_points(ada, "C-1", "C-2", "40", new=True, occurred_at=later, transfer_id="MV")
    assert (spendable("C-1"), spendable("C-2")) == (60, 0)
    assert {found.occurred_at for found in revoke(ada, ["MV-2"])} == {later}
    assert (spendable("C-1"), spendable("C-2")) == (100, 0)


# Closing what a move empties


def test_an_emptied_account_is_closed_in_the_same_step(ada):
    give(ada, "C-1", "100", new=True)
    moved = move_points(ada, "C-1", "C-2", new=True, close=True, transfer_id="MV")
    assert (moved.account.event, moved.account.event_id, moved.account.transfers) == ("close", "MV-close", ())
    assert closed_references(["C-1"]) == {"C-1"}
    assert not Transfer.objects.filter(reason="account_closure").exists()
    head = ledger_head()
    assert move_points(ada, "C-1", "C-2", close=True, transfer_id="MV").account.was_known
    assert ledger_head() == head
    open_account(ada, "C-1")
    give(ada, "C-1", "1")
    move_points(ada, "C-1", "C-2", transfer_id="MV-B")
    with pytest.raises(IdConflict):
        move_points(ada, "C-1", "C-2", close=True, transfer_id="MV-B")


def test_an_account_that_is_not_emptied_or_in_use_is_not_closed_and_nothing_moved(ada, limited, bob):
    """docs/cases.md, R26."""
    give(ada, "C-1", "2000", new=True)
    give(ada, "C-1", "3", currency="MILES")
    open_account(ada, "C-2")
    head = ledger_head()
    with pytest.raises(AccountNotEmptied) as left:
        move_points(ada, "C-1", "C-2", "1999", close=True)
    assert left.value.points_by_currency == {"MILES": 3, "POINTS": 1}
    with pytest.raises(ClosingWaitsForMove):
        move_points(limited, "C-1", "C-2", close=True)
    assert ledger_head() == head
    move_points(ada, "C-1", "C-2", currency="MILES")
    deduct(ada, "C-1", "5", status="pending", transfer_id="T-1")
    with pytest.raises(AccountInUse) as refused:
        move_points(ada, "C-1", "C-2", close=True)
    assert refused.value.transfer_ids == ("T-1",)
    cancel(ada, ["T-1"])
    with pytest.raises(AccountInUse):
        move_points(ada, "C-1", "C-2", close=True, occurred_at=NOW + timedelta(days=1))
    assert not closed_references(["C-1"])


def test_a_request_to_close_is_settled_by_the_move_that_does_it(limited, bob):
    give(bob, "C-1", "2000", new=True)
    close_account(limited, "C-1", event_id="A-1")
    move_points(bob, "C-1", "C-2", new=True, close=True)
    assert AccountEvent.objects.get(event="close").request_id == "A-1"


# Many at once


def test_a_mass_moves_where_a_row_says_to_whom(ada, tmp_path):
    give(ada, "C-1", "100", new=True)
    outcome = record_rows(
        ada,
        tmp_path,
        "relation_reference,to_relation_reference,style,points,reason,transfer_id\n"
        "C-1,C-2,,40,,\n"
        "C-2,C-3,,40,transfer_between_accounts,OWN\n"
        "C-3,,give,5,manual_credit,\n"
        "C-3,,,1,,\n",
        TransferRequest("", "deduct", "", reason="redemption"),
        new=True,
    )
    assert [(found.transfer_id, found.relation_reference, found.style) for found in outcome.transfers] == [
        ("M-2-1", "C-1", "deduct"),
        ("M-2-2", "C-2", "give"),
        ("OWN-1", "C-2", "deduct"),
        ("OWN-2", "C-3", "give"),
        ("M-4", "C-3", "give"),
        ("M-5", "C-3", "deduct"),
    ]
    assert {found.batch_id for found in outcome.transfers} == {"M"}
    assert outcome.points_by_currency == {"POINTS": 86}
    assert (spendable("C-1"), spendable("C-2"), spendable("C-3")) == (60, 0, 44)
    revoke(ada, ["OWN-2"], "30", revocation_id="R")
    assert (spendable("C-2"), spendable("C-3")) == (30, 14)
    assert spendable("C-1") == 60


def test_the_same_mass_of_moves_again_adds_nothing(ada, tmp_path):
    """docs/cases.md, F10 and R2."""
    give(ada, "C-1", "100", new=True)
    text = "relation_reference,to_relation_reference,points\nC-1,C-2,40\nC-1,C-3,60\n"
    assert record_rows(ada, tmp_path, text, new=True).added_count == 4
    assert record_rows(ada, tmp_path, text).added_count == 0
    with pytest.raises(SeveralRefused) as refused:
        record_rows(ada, tmp_path, text.replace("C-3", "C-2"))
    assert refused.value.codes == {"ID_CONFLICT"}


def test_each_bad_move_of_a_mass_is_reported_once(ada, tmp_path):
    """docs/cases.md, C7."""
    give(ada, "C-1", "100", new=True)
    give(ada, "C-2", "100", new=True)
    with pytest.raises(SeveralRefused) as refused:
        record_rows(
            ada,
            tmp_path,
            "relation_reference,to_relation_reference,style,points,reason\n"
            "C-1,C-1,,5,\n"
            "C-8,C-9,,5,\n"
            "C-1,C-2,give,5,\n"
            "C-1,C-2,,5,redemption\n"
            "C-1,C-2,,500,\n"
            "C-1,,,5,\n"
            "C-1,=2,,5,\n",
        )
    assert [(problem.place, problem.error.code) for problem in refused.value.problems] == [
        ("line 2", "SAME_ACCOUNT"),
        ("line 3", "UNKNOWN_RELATION"),
        ("line 4", "STYLE"),
        ("line 5", "REASON"),
        ("line 6", "NOT_ENOUGH"),
        ("line 7", "STYLE"),
        ("line 8", "RELATION_REFERENCE"),
    ]
    with pytest.raises(TransfersFileRefused):
        record_rows(ada, tmp_path, "relation_reference,points\nC-1,5\n")


def test_the_moves_of_a_mass_are_held_against_the_limit_together(limited, bob, tmp_path):
    give(bob, "C-1", "5000", new=True)
    text = "relation_reference,to_relation_reference,points\nC-1,C-2,500\nC-1,C-3,500\n"
    below = record_rows(limited, tmp_path, text, new=True)
    assert {found.status for found in below.transfers} == {"approved"}
    path = tmp_path / "above.csv"
    path.write_text(text.replace("C-3,500", "C-3,500.0001"), encoding="utf-8")
    rows = read_mass_file(path, TransferRequest("", "", "")).rows
    above = record_mass(limited, rows, mass_id="M-B")
    assert {found.status for found in above.transfers} == {"pending"}
    approve(bob, ["M-B-2-2"])
    assert statuses("M-B-2-1", "M-B-2-2") == {"approved"}
    assert statuses("M-B-3-1", "M-B-3-2") == {"pending"}


# Files


def as_sent(*rows: Transfer) -> list[dict[str, str]]:
    columns = ("transfer_id", "relation_reference", "style", "points", "reason", "occurred_at", "status")
    return [
        {column: str(getattr(row, column)) for column in columns}
        | {"occurred_at": row.occurred_at.isoformat()}
        for row in rows
    ]


def test_a_file_that_repeats_a_move_adds_nothing_and_one_that_brings_or_changes_one_is_refused(ada, tmp_path):
    give(ada, "C-1", "100", new=True, transfer_id="T-1")
    move_points(ada, "C-1", "C-2", "40", new=True, status="pending", transfer_id="MV")
    move_points(ada, "C-1", "C-2", "10", transfer_id="MV-B")
    revoke(ada, ["MV-B-1"], revocation_id="R")
    head = ledger_head()
    sent = as_sent(*Transfer.objects.exclude(reason="revocation"))
    repeated = import_file(ada, write_transfers(tmp_path / "all.csv", sent))
    assert (repeated.duplicates, repeated.added) == (5, 0)

    def refused_by(row: dict[str, str]) -> set[str]:
        path = write_transfers(tmp_path / "one.csv", [transfer("GOOD"), row])
        with pytest.raises(ImportRefused) as refused:
            import_file(ada, path)
        assert refused.value.bad_row_count == 1
        return refused.value.codes

    deducted = sent[1]
    assert refused_by({**deducted, "transfer_id": "NEW"}) == {"REASON"}
    assert refused_by({**deducted, "status": "approved"}) == {"STATUS_TRANSITION"}
    for original in ("MV-1", "MV-B-2", "R-1"):
        row = transfer("UNDO", style="give", reason="revocation", reverses_transfer_id=original)
        assert refused_by(row) == {"REVERSES"}, original
    assert ledger_head() == head

    rows = [{**deducted, "transfer_id": "NEW"}, {**deducted, "status": "approved"}, transfer("GOOD")]
    result = import_file(ada, write_transfers(tmp_path / "some.csv", rows), quarantine=True)
    assert (result.added, result.quarantined) == (1, 2)
    assert statuses(*BOTH) == {"pending"}


def test_as_many_points_of_both_are_revoked_where_a_file_had_revoked_one_beforehand(ada, tmp_path):
    """docs/cases.md, R15: a file's revocation may stand before its original, whose id is then a move's."""
    give(ada, "C-1", "100", new=True)
    row = transfer(
        "UNDO", relation_reference="C-1", reason="revocation", points="30", reverses_transfer_id="MV-1"
    )
    import_file(ada, write_transfers(tmp_path / "early.csv", [row]))
    move_points(ada, "C-1", "C-2", "40", new=True, transfer_id="MV")
    for asked in BOTH:
        with pytest.raises(RevocationTooLarge) as refused:
            revoke(ada, [asked], "11")
        assert refused.value.unrevoked_points == 10
    assert {found.points for found in revoke(ada, ["MV-2"])} == {10}
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ada, ["MV-2"])


# The command


def test_the_command_moves_points(points, ledger_home):
    def run(*arguments):
        return points(*arguments, home=ledger_home.home, **ledger_home.environment)

    run("give", "C-1", "100", "--new")
    moved = run("move", "C-1", "C-2", "--points", "40", "--new", "--id", "MV")
    assert moved.stdout == "Moved: 40 POINTS from C-1 to C-2, transfers MV-1 and MV-2 (approved).\n"
    again = run("move", "C-1", "C-2", "--points", "40", "--id", "MV")
    assert again.stdout == (
        "Moved: 40 POINTS from C-1 to C-2, transfers MV-1 and MV-2 (approved). It was recorded before.\n"
    )
    said = json.loads(run("move", "C-1", "C-2", "--close", "--id", "ALL", "--json").stdout)
    assert (said["move_id"], said["recorded"], said["account"]["event"]) == ("ALL", True, "close")
    assert [row["transfer_id"] for row in said["transfers"]] == ["ALL-1", "ALL-2"]
    revoked = run("revoke", "MV-2", "--points", "5", "--id", "R", "--csv")
    assert_refused(revoked, AccountClosed("C-1"))
    run("account", "open", "C-1")
    rows = csv.DictReader(io.StringIO(run("revoke", "MV-2", "--points", "5", "--id", "R", "--csv").stdout))
    assert [row["transfer_id"] for row in rows] == ["R-1", "R-2"]
    assert_refused(run("move", "C-1", "C-1"), MoveToItself("C-1"))


def test_a_dry_run_of_a_move_keeps_nothing(ada):
    give(ada, "C-1", "100", new=True)
    head = ledger_head()
    assert move_points(ada, "C-1", "C-2", new=True, close=True, dry_run=True).account.event == "close"
    assert ledger_head() == head
    assert not closed_references(["C-1"])
