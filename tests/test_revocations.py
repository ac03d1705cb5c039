"""Undoing approved transfers by opposite ones (docs/design.md, section 5; docs/cases.md, C5)."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ledger.acts.decisions import approve, cancel, hold, release
from ledger.acts.revocations import (
    RevocationAmbiguous,
    RevocationOfUnapproved,
    RevocationTooLarge,
    RevokedPointsSpent,
    TransferAlreadyRevoked,
    UndoneTwice,
    revoke,
)
from ledger.acts.spendable import NotEnoughPoints
from ledger.acts.transfers import deduct, give
from ledger.append import appending
from ledger.balances import balances_of
from ledger.identifiers import IdConflict, UnknownTransfer
from ledger.links import ledger_head
from ledger.lists.transfer_details import read_transfer
from ledger.lists.transfer_lists import list_transfers
from ledger.models import Transfer
from ledger.refusals import SeveralRefused
from ledger.unrevoked import RevokedBeyondOriginal, unrevoked_points
from tests.conftest import answer, assert_refused, ledger_transfer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    return ledger_home.open(clock=lambda: NOW)


def left(transfer_id: str) -> Decimal:
    return unrevoked_points([transfer_id])[transfer_id]


def from_elsewhere(transfer_id: str, points: str, reverses: str, **values) -> Transfer:
    """A revocation as a file may bring it."""
    revocation = {"style": "deduct", "reason": "revocation", "reverses_transfer_id": reverses}
    return ledger_transfer(transfer_id, points, **{**revocation, **values})


def test_a_revocation_is_the_opposite_transfer(ledger):
    give(ledger, "C-1", "100", new=True, currency="MILES", transfer_id="T-1")
    (revocation,) = revoke(ledger, ["T-1"], comment="wrong customer")
    kept = Transfer.objects.get(transfer_id=revocation.transfer_id)
    assert (kept.style, kept.points, kept.reason) == ("deduct", 100, "revocation")
    assert (kept.reverses_transfer_id, kept.relation_reference, kept.currency) == ("T-1", "C-1", "MILES")
    assert (kept.status, kept.occurred_at, kept.recorded_by) == ("approved", NOW, "ada")
    assert kept.comment == "wrong customer"


def test_twice_or_more_than_is_left_is_refused_naming_what_is_left(ledger):
    """docs/cases.md, C5 and R15."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    revoke(ledger, ["T-1"], "60")
    with pytest.raises(RevocationTooLarge) as refused:
        revoke(ledger, ["T-1"], "40.0001")
    assert refused.value.unrevoked_points == 40
    (rest,) = revoke(ledger, ["T-1"])
    assert rest.points == 40
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ledger, ["T-1"])
    assert ledger_head().entry_id == 3


def test_only_what_is_approved_and_known_can_be_revoked(ledger, ledger_home):
    """docs/cases.md, C5 and R15."""
    give(ledger, "C-1", "100", new=True, status="pending", transfer_id="T-1")
    with pytest.raises(RevocationOfUnapproved) as refused:
        revoke(ledger, ["T-1"])
    assert (refused.value.transfer_id, refused.value.status) == ("T-1", "pending")
    cancel(ledger, ["T-1"])
    with pytest.raises(RevocationOfUnapproved) as refused:
        revoke(ledger, ["T-1"])
    assert (refused.value.transfer_id, refused.value.status) == ("T-1", "cancelled")
    with pytest.raises(UnknownTransfer):
        revoke(ledger, ["T-2"])
    give(ledger, "C-1", "100", status="on_hold", transfer_id="T-3")
    approve(ledger_home.open(user="bob", clock=lambda: NOW), ["T-3"])
    assert revoke(ledger, ["T-3"])[0].points == 100


def test_a_revocation_may_itself_be_revoked_wholly_or_in_part(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    revoke(ledger, ["T-1"], revocation_id="R-1")
    (back,) = revoke(ledger, ["R-1"], "30", revocation_id="R-2")
    assert back.style == "give"
    assert (left("T-1"), left("R-1"), left("R-2")) == (30, 70, 30)
    revoke(ledger, ["T-1"], "20")
    assert (left("T-1"), left("R-1")) == (10, 70)


def test_what_is_left_is_right_at_a_depth_of_150(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T-0")
    # The rules, which look along the whole chain, are asked for the last three.
    with appending(ledger) as appender:
        for depth in range(1, 148):
            style = "deduct" if depth % 2 else "give"
            appender.append(from_elsewhere(f"T-{depth}", "100", f"T-{depth - 1}", style=style))
    for depth in range(148, 151):
        revoke(ledger, [f"T-{depth - 1}"], revocation_id=f"T-{depth}")
    assert left("T-150") == 100
    assert left("T-149") == 0
    assert left("T-0") == 100
    revoke(ledger, ["T-150"], "1")
    assert left("T-0") == 99
    assert left("T-1") == 1


def test_nothing_is_undone_twice_by_revoking_what_gave_it_back(ledger):
    """docs/cases.md, C13: T is revoked by R, given back by Q, revoked again by S; then Q stays."""
    give(ledger, "C-1", "100", new=True, transfer_id="T")
    give(ledger, "C-1", "500", transfer_id="X")
    revoke(ledger, ["T"], revocation_id="R")
    revoke(ledger, ["R"], revocation_id="Q")
    revoke(ledger, ["T"], "60", revocation_id="S")
    with pytest.raises(UndoneTwice) as refused:
        revoke(ledger, ["Q"])
    assert (refused.value.undone_transfer_id, refused.value.unrevoked_points) == ("T", 40)
    revoke(ledger, ["Q"], "40", revocation_id="P")
    assert (left("T"), left("R"), left("Q"), left("S"), left("P")) == (0, 40, 60, 60, 40)
    with pytest.raises(UndoneTwice) as refused:
        revoke(ledger, ["Q"], "0.0001")
    assert (refused.value.undone_transfer_id, refused.value.unrevoked_points) == ("T", 0)
    # What gives T back is no harm, and then Q may go.
    revoke(ledger, ["S"])
    revoke(ledger, ["Q"])
    assert (left("T"), left("Q")) == (0, 0)


def test_a_revocation_that_waits_gives_nothing_back(ledger, ledger_home):
    """docs/cases.md, C13: R revokes T, and Q, beyond the limit, would revoke R. Until Q is approved T has
    nothing left to revoke, so that it is undone once, whether or not Q is approved."""
    give(ledger, "C-1", "500", new=True, transfer_id="X")
    give(ledger, "C-1", "100", transfer_id="T")
    revoke(ledger, ["T"], revocation_id="R")
    careful = ledger_home.open(clock=lambda: NOW, POINTS_APPROVAL_ABOVE="50")
    (waiting,) = revoke(careful, ["R"], revocation_id="Q")
    assert waiting.is_waiting
    assert (left("T"), left("R"), left("Q")) == (0, 0, 100)
    for act in (lambda: hold(ledger, ["Q"]), lambda: release(ledger, ["Q"]), lambda: None):
        act()
        with pytest.raises(TransferAlreadyRevoked):
            revoke(ledger, ["T"], revocation_id="S")
    cancel(ledger, ["Q"])
    assert balances_of(["C-1"], NOW)["C-1", "POINTS"].approved_points == 500
    revoke(careful, ["R"], revocation_id="Q2")
    approve(ledger_home.open("bob", clock=lambda: NOW), ["Q2"])
    assert left("T") == 100
    # What would take it again counts at once.
    revoke(careful, ["Q2"], revocation_id="P")
    assert (left("T"), left("R"), left("Q2")) == (0, 0, 0)


def test_what_waits_is_not_approved_where_a_file_has_revoked_as_much(ledger, ledger_home):
    """docs/cases.md, C13: the import takes what happened elsewhere, but no approval makes it worse."""
    give(ledger, "C-1", "500", new=True, transfer_id="X")
    give(ledger, "C-1", "100", transfer_id="T")
    revoke(ledger_home.open(clock=lambda: NOW, POINTS_APPROVAL_ABOVE="50"), ["T"], revocation_id="R")
    with appending(ledger) as appender:
        appender.append(from_elsewhere("F", "70", reverses="T"))
    bob = ledger_home.open("bob", clock=lambda: NOW)
    with pytest.raises(RevokedBeyondOriginal) as refused:
        approve(bob, ["R"])
    assert (refused.value.original_id, refused.value.unrevoked_points) == ("T", -70)
    revoke(bob, ["F"])
    assert approve(bob, ["R"])[0].status == "approved"
    assert left("T") == 0
    # Nor does it let take effect what a file revoked of it beforehand, more than there is: Q-2 would give
    # back the 60 that are revoked, and 100 of Q-2 are revoked while it waits.
    give(ledger, "C-1", "60", transfer_id="T-2")
    revoke(ledger, ["T-2"], revocation_id="R-2")
    revoke(ledger_home.open(clock=lambda: NOW, POINTS_APPROVAL_ABOVE="50"), ["R-2"], revocation_id="Q-2")
    with appending(ledger) as appender:
        appender.append(from_elsewhere("F-2", "100", reverses="Q-2"))
    with pytest.raises(RevokedBeyondOriginal) as refused:
        approve(bob, ["Q-2"])
    assert (refused.value.original_id, refused.value.unrevoked_points) == ("T-2", -40)


def test_what_one_request_revokes_gives_nothing_back_within_it(ledger):
    """docs/cases.md, C13: whether the request will wait shows only when all of it is known."""
    give(ledger, "C-1", "100", new=True, transfer_id="T")
    revoke(ledger, ["T"], "70", revocation_id="R")
    revocations = revoke(ledger, ["R", "T"])
    assert [revocation.points for revocation in revocations] == [70, 30]
    assert left("T") == 70


def test_circles_from_files_do_not_hang(ledger):
    """docs/cases.md, R15."""
    with appending(ledger) as appender:
        appender.append(from_elsewhere("A", "10", reverses="B", style="give"))
        appender.append(from_elsewhere("B", "10", reverses="A"))
        appender.append(from_elsewhere("S", "10", reverses="S", style="give"))
    assert left("A") == left("B") == 0
    assert left("S") == 10
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ledger, ["A"])


def test_what_files_revoked_counts_and_what_was_cancelled_does_not(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    with appending(ledger) as appender:
        appender.append(from_elsewhere("R-1", "30", reverses="T-1"))
        appender.append(from_elsewhere("R-2", "20", reverses="T-1", status="pending"))
        appender.append(from_elsewhere("R-3", "7", reverses="T-1", status="cancelled"))
    assert left("T-1") == 50
    cancel(ledger, ["R-2"])
    assert left("T-1") == 70
    with appending(ledger) as appender:
        appender.append(from_elsewhere("R-4", "75", reverses="T-1"))
    assert left("T-1") == -5
    with pytest.raises(TransferAlreadyRevoked):
        revoke(ledger, ["T-1"])


def test_a_link_of_another_reason_that_an_older_ledger_holds_revokes_nothing(ledger):
    """docs/cases.md, R24: give 100, redeem 60, give the 60 back as a redemption with a link; the real
    revocation still finds all of them, and the list says so too."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    deduct(ledger, "C-1", "60", reason="redemption", transfer_id="T-2")
    with appending(ledger) as appender:
        appender.append(from_elsewhere("B-1", "60", reverses="T-2", style="give", reason="redemption"))
    assert left("T-2") == 60
    details = read_transfer(ledger, "T-2")
    assert (details.transfer.is_revoked, details.revoked_by) == (False, [])
    assert read_transfer(ledger, "B-1").revokes == []
    assert list_transfers(ledger, {"revoked": "true"}).rows == []
    revoke(ledger, ["T-2"], revocation_id="R-1")
    assert left("T-2") == 0
    revoke(ledger, ["B-1"])
    assert {row.transfer_id for row in list_transfers(ledger, {"revoked": "true"}).rows} == {"B-1", "T-2"}


def test_revoking_a_give_must_fit_what_is_spendable(ledger):
    """docs/cases.md, R16."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    deduct(ledger, "C-1", "30")
    with pytest.raises(NotEnoughPoints) as refused:
        revoke(ledger, ["T-1"])
    assert refused.value.spendable_points == 70
    assert revoke(ledger, ["T-1"], allow_negative=True)[0].points == 100


def test_many_are_revoked_together_or_not_at_all(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    deduct(ledger, "C-1", "90", transfer_id="T-2")
    with pytest.raises(SeveralRefused) as refused:
        revoke(ledger, ["T-1", "T-9", "T-2", "T-8"])
    assert [problem.place for problem in refused.value.problems] == ["T-9", "T-8"]
    assert ledger_head().entry_id == 2
    # What the revoked deduct gives back is there for the revoked give.
    revocations = revoke(ledger, ["T-1", "T-2", "T-1"], revocation_id="R")
    assert [revocation.transfer_id for revocation in revocations] == ["R-1", "R-2"]
    assert revoke(ledger, ["T-1", "T-2"], revocation_id="R")[1].was_known
    with pytest.raises(RevocationAmbiguous):
        revoke(ledger, ["T-1", "T-2"], "5")


def test_transfers_that_revoke_each_other_are_revoked_in_the_order_named(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T")
    revoke(ledger, ["T"], revocation_id="R")
    revoke(ledger, ["R"], revocation_id="Q")
    with pytest.raises(SeveralRefused) as refused:
        revoke(ledger, ["Q", "T"])
    assert refused.value.codes == {"REVOKED"}


def test_the_same_revocation_twice_is_one(ledger):
    """docs/cases.md, C8."""
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    give(ledger, "C-1", "100", transfer_id="T-2")
    revoke(ledger, ["T-1"], "40", revocation_id="R-1")
    assert revoke(ledger, ["T-1"], "40.0", revocation_id="R-1")[0].was_known
    assert revoke(ledger, ["T-1"], revocation_id="R-1")[0].was_known
    for transfer_ids, points in ((["T-1"], "41"), (["T-2"], "40")):
        with pytest.raises(IdConflict):
            revoke(ledger, transfer_ids, points, revocation_id="R-1")
    assert ledger_head().entry_id == 3


def test_a_dry_run_revokes_nothing(ledger):
    give(ledger, "C-1", "100", new=True, transfer_id="T-1")
    assert revoke(ledger, ["T-1"], dry_run=True)[0].points == 100
    assert left("T-1") == 100


def test_the_command_revokes_and_refuses(points, ledger_home):
    give(ledger_home.open(), "C-1", "100", new=True, transfer_id="T-1")

    def run(*arguments):
        return points("revoke", *arguments, home=ledger_home.home, **ledger_home.environment)

    (made,) = json.loads(run("T-1", "--points", "30", "--id", "R-1", "--json").stdout)
    assert (made["transfer_id"], made["points"], made["reverses_transfer_id"]) == ("R-1", "30", "T-1")
    too_much = run("T-1", "--points", "71")
    assert_refused(too_much, RevocationTooLarge("T-1", Decimal(71), Decimal(70)))
    assert "`points revoke T-1 --points 70`" in too_much.stderr
    answer(points("deduct", "C-1", "60", home=ledger_home.home, **ledger_home.environment))
    spent = run("T-1")
    assert_refused(spent, RevokedPointsSpent("T-1", "C-1", "POINTS", Decimal(70), Decimal(10)))
    assert "`points revoke T-1 --points 10`" in spent.stderr
    several = run("T-8", "T-9")
    assert several.returncode == 1
    assert [line.split(":")[0] for line in several.stderr.splitlines()[:2]] == ["T-8", "T-9"]
    assert run("T-1", "R-1", "--points", "3").returncode == 2
