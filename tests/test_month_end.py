"""What finance asks of months: `points report` in parts, `points compare`; by numbers made by hand."""

import csv
import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from ledger.lists.paging import SortUnknown
from ledger.settings import MonthInvalid, Settings
from orchestration import statements
from orchestration.month_comparison import MonthsOutOfOrder
from orchestration.month_files import OUTSTANDING_POINTS, POINTS_ROLL_FORWARD, PROGRAMME_POINTS
from orchestration.reports import CurrencyNotReported, MonthNotBuilt
from orchestration.statements import NoStatement, StatementBackwards, StatementDiffers, read_statement
from simulator.transfer_files import write_transfers
from tests.conftest import answer, assert_refused, read_rows, transfer


def taken(transfer_id: str, reference: str, points: str, day: str, reason: str = "redemption") -> dict:
    row = given(transfer_id, reference, points, day)
    return row | {"style": "deduct", "reason": reason}


def given(transfer_id: str, reference: str, points: str, day: str, **more: str) -> dict:
    return transfer(transfer_id, relation_reference=reference, points=points, occurred_at=day, **more)


FLAGS = ("is_newcomer", "is_closed_since", "is_below_zero_since")
JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-10T12:00:00Z" for month in (1, 2, 3))


@pytest.fixture(scope="module")
def months(points, tmp_path_factory) -> Path:
    """Two closed months and a built one of a small programme.

    January: C-1 has 100, C-2 50, C-3 20. February: C-1 spends 30 and has 70; C-2 spends 60 and has -10; C-3
    takes its 20 along as its account is closed; C-40 is new with 500. March: C-1 gets 5.5.
    """
    home = tmp_path_factory.mktemp("months") / "home"
    home.mkdir()
    rows = [
        given("J1", "C-1", "100", JANUARY),
        given("J2", "C-2", "50", JANUARY),
        given("J3", "C-3", "20", JANUARY),
        taken("F1", "C-1", "30", FEBRUARY),
        taken("F2", "C-2", "60", FEBRUARY),
        taken("F3", "C-3", "20", FEBRUARY, reason="account_closure"),
        given("F4", "C-40", "500", FEBRUARY),
        given("F5", "C-1", "7.5", FEBRUARY, currency="MILES"),
        given("M1", "C-1", "5.5", MARCH),
    ]
    answer(points("import", str(write_transfers(home.parent / "rows.csv", rows)), home=home))
    answer(points("close", "--through", "2026-02", home=home))
    answer(points("build", "--through", "2026-03", home=home))
    return home


@pytest.fixture
def ask(points, months) -> Callable[..., str]:
    """What a command answers of these months."""
    return lambda *arguments: answer(points(*arguments, home=months))


def current(home: Path, month: str, file: str) -> Path:
    return home / "published" / month / "current" / file


def compared(ask: Callable[..., str], *arguments: str) -> dict:
    return json.loads(ask("compare", *arguments, "--json"))


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ([], OUTSTANDING_POINTS),
        (["--roll-forward"], POINTS_ROLL_FORWARD),
        (["--programme"], PROGRAMME_POINTS),
    ],
)
def test_each_table_of_a_month_is_shown_and_printed(ask, months, options, file):
    """docs/design.md, section 10: ``--csv`` gives the bytes of the table's file, ``--json`` the same rows."""
    path = current(months, "2026-02", file)
    assert ask("report", "2026-02", *options, "--csv") == path.read_text()
    rows = json.loads(ask("report", "2026-02", *options, "--json"))["rows"]
    printed = [["" if value is None else value for value in row.values()] for row in rows]
    assert printed == [list(row.values()) for row in read_rows(path)]
    screen = ask("report", "2026-02", *options)
    assert file in screen
    assert all(row[0] in screen for row in printed)


def test_rows_of_a_report_are_chosen_and_sorted(points, ask, months):
    """What is printed has the form of the file, of some rows in another order."""
    heading, *lines = current(months, "2026-02", OUTSTANDING_POINTS).read_text().splitlines()
    assert [line.split(",")[-1] for line in lines] == ["70", "-10", "0", "500"]

    def printed(*options: str) -> list[str]:
        shown_heading, *rows = answer(
            points("report", "2026-02", *options, "--csv", home=months)
        ).splitlines()
        assert shown_heading == heading
        return rows

    assert printed("--relation", "C-1") == lines[:1]
    assert printed("--relation", "C-404") == []
    assert printed("--relation-prefix", "C-4") == lines[3:]
    assert printed("--relation-prefix", "c") == []
    assert printed("--sort", "relation_reference") == lines
    assert printed("--sort", "total_outstanding_points") == [lines[number] for number in (1, 2, 0, 3)]
    assert printed("--sort", "-total_earned_points") == [lines[number] for number in (3, 0, 1, 2)]
    both = ("--relation-prefix", "C-", "--sort", "-closing_points")
    found = json.loads(ask("report", "2026-02", "--roll-forward", *both, "--json"))
    assert [row["closing_points"] for row in found["rows"]] == ["500", "70", "0", "-10"]
    shown = answer(
        points("report", "2026-02", "--sort", "-total_outstanding_points", "--rows", "1", home=months)
    )
    assert "C-40" in shown
    assert "C-1" not in shown
    assert "… and 3 more" in shown
    missing = ask("report", "2026-02", "--relation", "C-404")
    assert "No relation reference is like that." in missing
    known = ["relation_reference", "opening_points", "earned_points", "reversal_points", "redeemed_points"]
    assert_refused(
        points("report", "2026-02", "--roll-forward", "--sort", "total_points", home=months),
        SortUnknown("total_points", [*known, "expired_points", "closing_points"]),
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--roll-forward", "--programme"], "one of --roll-forward and --programme"),
        (["--programme", "--relation", "C-1"], "the programme's lines are of no customer"),
        (["--programme", "--sort", "points"], "the programme's lines are of no customer"),
        (["--xml", "--roll-forward"], "XML and workbooks hold the month whole"),
        (["--xlsx", "march.xlsx", "--relation", "C-1"], "XML and workbooks hold the month whole"),
        (["--xlsx", "march.xlsx", "--csv"], "one at a time"),
    ],
)
def test_what_a_report_cannot_be_at_once_is_refused(points, months, options, why):
    refused = points("report", "2026-02", *options, home=months)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert why in " ".join(refused.stderr.replace("│", "").split())


def test_what_moved_the_points_since_the_month_before(ask):
    """170 + 500 - 30 - 60 - 20 = 560."""
    found = compared(ask, "2026-02")
    moved = [tuple(movement.values()) for movement in found.pop("movements")]
    assert moved == [
        ("earned", "rule_credit", 1, "500"),
        ("redeemed", "redemption", 2, "-90"),
        ("expired", "account_closure", 1, "-20"),
    ]
    gained, lost = found.pop("gained_most"), found.pop("lost_most")
    assert found == {
        "report_month": "2026-02",
        "earlier_month": "2026-01",
        "currency": "POINTS",
        "earlier_points": "170",
        "restated_points": "0",
        "points": "560",
        "newcomers": {"count": 1, "points": "500"},
        "closed_accounts": {"count": 1, "points": "0"},
        "below_zero": {"count": 1, "points": "-10"},
    }
    assert [tuple(change.values()) for change in gained] == [("C-40", "0", "500", "500", True, False, False)]
    assert [tuple(change.values()) for change in lost] == [
        ("C-2", "50", "-10", "-60", False, False, True),
        ("C-1", "100", "70", "-30", False, False, False),
        ("C-3", "20", "0", "-20", False, True, False),
    ]
    one = compared(ask, "2026-02", "--rows", "1")
    assert [change["relation_reference"] for change in one["lost_most"]] == ["C-2"]
    screen = ask("compare", "2026-02")
    for said in (
        "Closing 2026-01",
        "170",
        "-90",
        "560",
        "below zero: 1 relation reference, -10 points.",
    ):
        assert said in screen
    assert "Closed anew" not in screen


def test_months_that_are_compared_may_lie_apart_and_be_open(ask):
    """170 + 500 + 5.5 - 30 - 60 - 20 = 565.5; customers that did not change are not among the changes."""
    found = compared(ask, "2026-03", "2026-01")
    moved = {
        (movement["bucket"], movement["reason"]): movement["signed_points"] for movement in found["movements"]
    }
    assert moved["earned", "rule_credit"] == "505.5"
    assert sum(map(Decimal, moved.values())) + 170 == Decimal(found["points"]) == Decimal("565.5")
    printed = ask("compare", "2026-03", "--csv").splitlines()
    assert list(csv.reader(printed)) == [
        [*("relation_reference", "earlier_points", "points", "change_points"), *FLAGS],
        ["C-1", "70", "75.5", "5.5", "false", "false", "false"],
    ]
    miles = compared(ask, "2026-03", "2026-02", "--currency", "MILES")
    assert (miles["earlier_points"], miles["points"], miles["movements"]) == ("7.5", "7.5", [])


def test_a_comparison_says_what_it_cannot_compare(points, months):
    for month, earlier in (("2026-01", "2026-02"), ("2026-02", "2026-02")):
        assert_refused(points("compare", month, earlier, home=months), MonthsOutOfOrder(month, earlier))
    there = ["2026-01", "2026-02", "2026-03"]
    assert_refused(points("compare", "2026-01", home=months), MonthNotBuilt("2025-12", months, there))
    assert_refused(
        points("compare", "2026-02", "--currency", "MILES", home=months),
        CurrencyNotReported("2026-01", "MILES", ["POINTS"]),
    )


@pytest.mark.slow
def test_a_month_closed_anew_since_a_build_is_said(points, months, tmp_path):
    """March was built on 560; then February was closed anew with the 25 that came late, and has 585."""
    home = tmp_path / "home"
    shutil.copytree(months, home, symlinks=True)
    answer(points("reopen", "2026-02", "--reason", "C-2 called", home=home))
    late = write_transfers(tmp_path / "late.csv", [given("F9", "C-2", "25", FEBRUARY)])
    answer(points("import", str(late), home=home))
    answer(points("close", "2026-02", home=home))
    found = json.loads(answer(points("compare", "2026-03", "--json", home=home)))
    assert (found["earlier_points"], found["restated_points"], found["points"]) == ("585", "-25", "565.5")
    assert "Closed anew in between" in answer(points("compare", "2026-03", home=home))
    statement = json.loads(answer(points("statement", "C-2", "--json", home=home)))
    restated = [month["restated_points"] for month in statement["months"]]
    assert (ends_of(statement)[1:], restated) == (
        [("2026-02", "50", "15"), ("2026-03", "-10", "-10")],
        ["0", "0", "-25"],
    )
    assert "Closed anew before" in answer(points("statement", "C-2", home=home))


def test_a_statement_runs_from_month_to_month_with_every_transfer(ask):
    """100 - 30 = 70 as February ends, and 5.5 more in March."""
    found = json.loads(ask("statement", "C-1", "--json"))
    assert (found["relation_reference"], found["currency"]) == ("C-1", "POINTS")
    lines = [
        (month["status"], *(line[name] for name in ("transfer_id", "bucket", "signed_points", "balance")))
        for month in found["months"]
        for line in month["transfers"]
    ]
    assert lines == [
        ("issued", "J1", "earned", "100", "100"),
        ("issued", "F1", "redeemed", "-30", "70"),
        ("provisional", "M1", "earned", "5.5", "75.5"),
    ]
    assert ends_of(found) == [("2026-01", "0", "100"), ("2026-02", "100", "70"), ("2026-03", "70", "75.5")]
    first = found["months"][0]["transfers"][0]
    assert (first["effective_at"], first["occurred_at"]) == (JANUARY, JANUARY)
    assert first["batch_id"]
    assert first["recorded_by"]
    printed = csv.DictReader(ask("statement", "C-1", "--from", "2026-02", "--csv").splitlines())
    assert [
        tuple(row[name] for name in ("report_month", "transfer_id", "balance", "is_late")) for row in printed
    ] == [
        ("2026-02", "F1", "70", "false"),
        ("2026-03", "M1", "75.5", "false"),
    ]
    screen = ask("statement", "C-1", "--to", "2026-02")
    for said in ("C-1, POINTS", "2026-02 (issued, r1)", "F1", "-30", "70"):
        assert said in screen
    assert "2026-03" not in screen


def ends_of(statement: dict) -> list[tuple[str, str, str]]:
    return [
        (month["report_month"], month["opening_points"], month["closing_points"])
        for month in statement["months"]
    ]


def test_a_statement_of_another_currency_begins_with_its_first_transfer(ask):
    found = json.loads(ask("statement", "C-1", "--currency", "MILES", "--json"))
    assert ends_of(found) == [("2026-02", "0", "7.5"), ("2026-03", "7.5", "7.5")]


def test_csv_of_nothing_has_its_heading(ask):
    """C-2 has no transfer in March, and no customer's points in MILES changed."""
    (heading,) = ask("statement", "C-2", "--from", "2026-03", "--csv").splitlines()
    assert heading.startswith("report_month,effective_at,transfer_id,reason,bucket,signed_points,balance,")
    (heading,) = ask("compare", "2026-03", "--currency", "MILES", "--csv").splitlines()
    assert heading.startswith("relation_reference,earlier_points,points,change_points,")


def test_an_open_month_is_explained_by_closed_ones_and_the_build(ask):
    """100 - 30 = 70 as March, which is only built, begins; and 5.5 more."""
    found = json.loads(ask("explain", "2026-03", "C-1", "--json"))
    assert (found["status"], found["revision"]) == ("provisional", None)
    points = {figure["name"]: figure["points"] for figure in found["figures"]}
    assert (points["opening_points"], points["earned_points"], points["closing_points"]) == (
        "70",
        "5.5",
        "75.5",
    )
    assert [one["transfer_id"] for one in found["transfers"]] == ["J1", "M1", "F1"]
    miles = json.loads(ask("explain", "2026-03", "C-1", "--currency", "MILES", "--json"))
    assert [(one["transfer_id"], one["bucket_points"]) for one in miles["transfers"]] == [("F5", "7.5")]


def test_a_statement_agrees_with_the_report_for_every_customer(ask, months):
    february = ("--from", "2026-02", "--to", "2026-02", "--json")
    for row in read_rows(current(months, "2026-02", POINTS_ROLL_FORWARD)):
        found = json.loads(ask("statement", row["Relation Reference"], *february))
        assert ends_of(found) == [("2026-02", row["Opening Points"], row["Closing Points"])]


def test_a_statement_says_whom_and_what_it_does_not_know(points, months):
    for arguments, refusal in (
        (["C-404"], NoStatement("C-404", "POINTS", "2026-01", "2026-03")),
        (["C-1", "--from", "2026-03", "--to", "2026-01"], StatementBackwards("2026-03", "2026-01")),
        (["C-1", "--to", "2026-05"], MonthNotBuilt("2026-04", months, ["2026-01", "2026-02", "2026-03"])),
        (["C-1", "--from", "2026-13"], MonthInvalid("2026-13")),
    ):
        assert_refused(points("statement", *arguments, home=months), refusal)


def test_transfers_that_do_not_lead_to_what_a_report_says_are_no_statement(months, monkeypatch):
    """One transfer short, as where a file of a build was altered."""
    whole = statements._posted
    monkeypatch.setattr(statements, "_posted", lambda *asked: {**whole(*asked), "2026-03": []})
    with pytest.raises(StatementDiffers) as refused:
        read_statement(Settings.from_environment({"POINTS_HOME": str(months)}), "C-1")
    said = StatementDiffers("2026-03", "C-1", Decimal(70), Decimal("75.5000"))
    assert refused.value.sentence == said.sentence
