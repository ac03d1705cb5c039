"""`points explain` and `points sample`: the transfers behind the numbers of a month's report, and a sample of
them, on numbers made by hand."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from console.output import print_json, print_json_rows
from ledger.data_files import connect
from ledger.settings import Settings
from orchestration import explanations
from orchestration.explanations import (
    ExplanationDiffers,
    LineNotReported,
    NotInReport,
    explain_line,
    explain_row,
)
from orchestration.month_files import PROGRAMME_POINTS
from orchestration.posted_transfers import COLUMNS, fetch_transfers, posted_transfers
from orchestration.reports import RevisionNotPublished
from orchestration.samples import draw_sample, sample_columns
from simulator.transfer_files import write_transfers
from tests.conftest import PROJECT_ROOT, answer, assert_refused, read_rows, transfer

PAGE = (PROJECT_ROOT / "docs/month_end.md").read_text(encoding="utf-8")
# When the example was recorded, which is another time in each run.
_RECORDED = re.compile(r"[0-9-]{10} [0-9:]{5}, ada")


def given(transfer_id: str, points: str, day: str, **more: str) -> dict:
    return transfer(transfer_id, points=points, occurred_at=f"{day}T12:00:00Z", **more)


def taken(transfer_id: str, points: str, day: str, reason: str = "redemption", **more: str) -> dict:
    return given(transfer_id, points, day, style="deduct", reason=reason, **more)


# What docs/month_end.md describes; J3 and M5 wait.
UNTIL_FEBRUARY = [
    given("J1", "100", "2026-01-10"),
    given("J2", "40", "2026-01-12", external_reference="Order 17"),
    given("J3", "12", "2026-01-15", status="pending", comment="To be looked at"),
    given("J4", "50", "2026-01-15", relation_reference="C-2"),
    taken("F1", "30", "2026-02-03"),
    taken("F2", "40", "2026-02-14", "revocation", reverses_transfer_id="J2", comment="=Returned"),
]
LATER = [
    given("L1", "8", "2026-02-20"),
    given("M1", "5.5", "2026-03-02"),
    given("M2", "30", "2026-03-04", reason="revocation", reverses_transfer_id="F1"),
    given("M3", "15", "2026-03-05", reason="revocation", reverses_transfer_id="F2"),
    taken("M4", "20", "2026-03-31", "expiry"),
    taken("M5", "3", "2026-03-31", status="pending"),
    given("M6", "7", "2026-03-08", relation_reference="C-2"),
    given("M7", "50", "2026-03-09", reason="tier_bonus", relation_reference="C-2"),
]


@pytest.fixture(scope="module")
def closed(points, tmp_path_factory) -> Path:
    """January with February, closed in one go, and March, closed after what came late."""
    home = tmp_path_factory.mktemp("explained") / "home"
    home.mkdir()
    for number, (rows, month) in enumerate(((UNTIL_FEBRUARY, "2026-02"), (LATER, "2026-03"))):
        file = write_transfers(home.parent / f"{number}.csv", rows)
        answer(points("import", str(file), home=home, POINTS_USER="ada"))
        answer(points("close", "--through", month, home=home))
    return home


@pytest.fixture
def ask(points, closed) -> Callable[..., str]:
    """What `points explain` answers of these months."""
    return lambda *arguments: answer(points("explain", *arguments, home=closed))


def settings_of(home: Path) -> Settings:
    return Settings.from_environment({"POINTS_HOME": str(home)})


def figures_of(found: dict) -> dict[str, tuple[str, int]]:
    return {figure["name"]: (figure["points"], figure["transfer_count"]) for figure in found["figures"]}


@pytest.mark.parametrize(
    "command",
    [
        "explain 2026-03 C-1",
        "explain 2026-03 --bucket earned --reason rule_credit",
        "sample 2026-03 --seed 4711 --size 3 --by-points",
    ],
)
def test_the_page_shows_what_the_command_says(points, closed, command):
    def known(text: str) -> list[str]:
        lines = (line.rstrip() for line in _RECORDED.sub("ada", text).splitlines())
        return [line for line in lines if line.strip("─ ")]

    shown = PAGE.partition(f"$ points {command}\n")[2].partition("```")[0]
    assert known(shown) == known(answer(points(*command.split(), home=closed)))


def test_every_number_of_a_row_is_the_sum_of_its_transfers(ask):
    """100 + 40 - 40 - 30 = 70 as March begins; 70 + 13.5 + 15 + 30 - 20 = 108.5 as it ends."""
    found = json.loads(ask("2026-03", "C-1", "--json"))
    assert (found["relation_reference"], found["status"], found["revision"]) == ("C-1", "issued", 1)
    assert figures_of(found) == {
        "opening_points": ("70", 4),
        "earned_points": ("13.5", 2),
        "reversal_points": ("-15", 1),
        "redeemed_points": ("-30", 1),
        "expired_points": ("20", 1),
        "closing_points": ("108.5", 9),
        "total_earned_points": ("153.5", 4),
        "total_reversal_points": ("25", 2),
        "total_redeemed_points": ("0", 2),
        "total_expired_points": ("20", 1),
        "total_outstanding_points": ("108.5", 9),
    }
    added = {}
    for subtotal in found["subtotals"]:
        of_bucket = [
            Decimal(one["bucket_points"])
            for one in found["transfers"]
            if (one["bucket"], one["report_month"]) == (subtotal["bucket"], subtotal["report_month"])
        ]
        assert (sum(of_bucket), len(of_bucket)) == (
            Decimal(subtotal["bucket_points"]),
            subtotal["transfer_count"],
        )
        added[subtotal["bucket"], subtotal["report_month"]] = subtotal["bucket_points"]
    assert added == {
        ("earned", "2026-01"): "140",
        ("earned", "2026-03"): "13.5",
        ("reversal", "2026-02"): "40",
        ("reversal", "2026-03"): "-15",
        ("redeemed", "2026-02"): "30",
        ("redeemed", "2026-03"): "-30",
        ("expired", "2026-03"): "20",
    }


def test_each_transfer_is_named_once_with_its_chain_and_where_it_came_from(ask):
    """docs/cases.md, R23: what came with it is no formula in CSV."""
    rows = list(csv.DictReader(ask("2026-03", "C-1", "--csv").splitlines()))
    assert [
        tuple(row[name] for name in ("bucket", "report_month", "transfer_id", "bucket_points", "is_late"))
        for row in rows
    ] == [
        ("earned", "2026-01", "J1", "100", "false"),
        ("earned", "2026-01", "J2", "40", "false"),
        ("earned", "2026-03", "L1", "8", "true"),
        ("earned", "2026-03", "M1", "5.5", "false"),
        ("reversal", "2026-02", "F2", "40", "false"),
        ("reversal", "2026-03", "M3", "-15", "false"),
        ("redeemed", "2026-02", "F1", "30", "false"),
        ("redeemed", "2026-03", "M2", "-30", "false"),
        ("expired", "2026-03", "M4", "20", "false"),
    ]
    by_id = {row["transfer_id"]: row for row in rows}
    assert {name: (row["revokes"], row["revoked_by"]) for name, row in by_id.items()} == {
        **dict.fromkeys(("J1", "L1", "M1", "M4"), ("", "")),
        "J2": ("", "F2"),
        "F2": ("J2", "M3"),
        "M3": ("F2 J2", ""),
        "F1": ("", "M2"),
        "M2": ("F1", ""),
    }
    assert (by_id["F2"]["comment"], by_id["J2"]["external_reference"]) == ("'=Returned", "Order 17")
    assert {row["recorded_by"] for row in rows} == {"ada"}
    assert by_id["M3"]["signed_points"] == "15"
    # As February's report knew it, nothing had been given back.
    rows = csv.DictReader(ask("2026-02", "C-1", "--csv").splitlines())
    assert {row["transfer_id"]: row["revoked_by"] for row in rows} == {
        "J1": "",
        "J2": "F2",
        "F1": "",
        "F2": "",
    }
    chains = {
        one["transfer_id"]: one["revokes"] for one in json.loads(ask("2026-03", "C-1", "--json"))["transfers"]
    }
    assert (chains["M3"], chains["J1"]) == (["F2", "J2"], [])


def test_what_waits_is_named_where_it_was_kept(ask):
    """January was closed with February, and only the last month of a close has what it left for later."""
    kept = {}
    for month in ("2026-01", "2026-02", "2026-03"):
        waiting = json.loads(ask(month, "C-1", "--json"))["waiting"]
        there = waiting["transfers"]
        kept[month] = (
            waiting["pending_given_points"],
            waiting["pending_deducted_points"],
            there and [(one["transfer_id"], one["points"], one["comment"]) for one in there],
        )
    first = ("J3", "12", "To be looked at")
    assert kept == {
        "2026-01": ("12", "0", None),
        "2026-02": ("12", "0", [first]),
        "2026-03": ("12", "3", [first, ("M5", "3", None)]),
    }
    assert "is not kept of 2026-01" in ask("2026-01", "C-1")
    nothing = json.loads(ask("2026-01", "C-2", "--json"))["waiting"]
    assert nothing == {"pending_given_points": "0", "pending_deducted_points": "0", "transfers": []}
    assert "Waiting" not in ask("2026-01", "C-2")


def test_a_screen_shows_the_newest_and_what_the_older_add_up_to(ask):
    """Of nine transfers the newest is the expiry; the four earned before add up to 153.5."""
    screen = ask("2026-03", "C-1", "--rows", "1")
    assert re.search(r"4 older +153\.5 +--csv has all", screen)
    assert re.search(r"M4 +expiry +20 ", screen)
    assert "M3" not in screen
    screen = ask("2026-03", "--bucket", "earned", "--rows", "1")
    assert re.search(r"3 older +20\.5 +--csv has all", screen)
    assert re.search(r"M7 +tier_bonus +50 ", screen)
    assert re.search(r"4 transfers +70\.5", screen)


def test_every_line_of_the_roll_forward_is_the_sum_of_its_transfers(ask, closed):
    """March: 8 + 5.5 + 7 = 20.5 by rule_credit, 50 of tier_bonus, 70.5 earned in all."""
    lines = read_rows(closed / "published" / "2026-03" / "current" / PROGRAMME_POINTS)
    explained = 0
    for line in lines:
        bucket = re.fullmatch("(Earned|Reversal|Redeemed|Expired) Points", line["Line"].removeprefix("All "))
        if not bucket:
            continue
        arguments = ["--bucket", bucket[1].lower()]
        if line["Reason"]:
            arguments += ["--reason", line["Reason"]]
        found = json.loads(ask("2026-03", *arguments, "--json"))
        of_line = [Decimal(one["bucket_points"]) for one in found["transfers"]]
        assert found["bucket_points"] == line["Points"]
        assert (sum(of_line), len(of_line)) == (Decimal(line["Points"]), found["transfer_count"])
        assert line["Transfers"] in ("", str(found["transfer_count"]))
        assert {one["report_month"] for one in found["transfers"]} <= {"2026-03"}
        explained += 1
    assert explained == 9
    rows = csv.DictReader(ask("2026-03", "--bucket", "reversal", "--csv").splitlines())
    assert [(row["relation_reference"], row["transfer_id"], row["revokes"]) for row in rows] == [
        ("C-1", "M3", "F2 J2")
    ]
    heading, *none = ask("2026-01", "--bucket", "expired", "--csv").splitlines()
    assert heading.startswith("bucket,report_month,relation_reference,")
    assert none == []


def test_an_explanation_says_what_there_is_not(points, closed):
    lines = ["earned, rule_credit", "earned, tier_bonus", "expired, expiry", "redeemed, revocation"]
    lines += ["reversal, revocation"]
    for arguments, refusal in (
        (["2026-03", "C-404"], NotInReport("2026-03", "C-404", "POINTS")),
        (["2026-03", "--bucket", "burned"], LineNotReported("2026-03", "burned", None, lines)),
        (
            ["2026-03", "--bucket", "earned", "--reason", "expiry"],
            LineNotReported("2026-03", "earned", "expiry", lines),
        ),
        (["2026-03", "C-1", "--revision", "2"], RevisionNotPublished("2026-03", 2, ["r1"])),
    ):
        assert_refused(points("explain", *arguments, home=closed), refusal)


@pytest.mark.parametrize("arguments", [[], ["C-1", "--bucket", "earned"], ["C-1", "--reason", "expiry"]])
def test_an_explanation_is_of_a_customer_or_of_a_line(points, closed, arguments):
    refused = points("explain", "2026-03", *arguments, home=closed)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_transfers_that_do_not_add_up_to_the_report_explain_nothing(closed, monkeypatch):
    """One month short, and one transfer of a line short, as where a file of a build was altered."""
    whole = explanations.find_to_date
    with monkeypatch.context() as patch:
        patch.setattr(explanations, "find_to_date", lambda *asked: whole(*asked)[1:])
        with pytest.raises(ExplanationDiffers) as refused:
            explain_row(settings_of(closed), "2026-03", "C-1")
    said = ExplanationDiffers("2026-03", "opening_points", "C-1", Decimal(-70), Decimal("70.0000"))
    assert refused.value.sentence == said.sentence
    all_of = explanations.posted_transfers
    without = "transfer_id <> 'M7'"
    monkeypatch.setattr(
        explanations, "posted_transfers", lambda files, where: all_of(files, f"{where} and {without}")
    )
    with pytest.raises(ExplanationDiffers) as refused:
        explain_line(settings_of(closed), "2026-03", "earned")
    assert refused.value.sentence == ExplanationDiffers("2026-03", "transfer_count", "earned", 3, 4).sentence


def test_transfers_that_wait_are_held_against_the_report_too(closed, monkeypatch):
    monkeypatch.setattr(explanations, "month_of", lambda instant, settings: "2026-04")
    with pytest.raises(ExplanationDiffers) as refused:
        explain_row(settings_of(closed), "2026-03", "C-1")
    said = ExplanationDiffers("2026-03", "pending_given_points", "C-1", Decimal(0), Decimal(12))
    assert refused.value.sentence == said.sentence


@pytest.mark.slow
def test_each_revision_is_explained_by_what_it_was_made_from(points, closed, tmp_path):
    """February closes anew with 25 points that came late and the 8 that had come late before."""
    home = tmp_path / "home"
    shutil.copytree(closed, home, symlinks=True)

    def total(*arguments: str) -> tuple[str, str]:
        figures = figures_of(json.loads(answer(points("explain", *arguments, "C-1", "--json", home=home))))
        return figures["opening_points"][0], figures["closing_points"][0]

    answer(points("build", "--through", "2026-04", home=home))
    answer(points("reopen", "2026-02", "--reason", "C-1 called", home=home))
    late = write_transfers(tmp_path / "late.csv", [given("F9", "25", "2026-02-11")])
    answer(points("import", str(late), home=home))
    answer(points("close", "2026-02", home=home))
    # February's second revision waits for March's: all that readers have is what it was.
    assert total("2026-02") == total("2026-02", "--revision", "1") == ("140", "70")
    assert total("2026-02", "--revision", "2") == ("140", "103")
    assert total("2026-03") == ("70", "108.5")
    # April was built on the first close of March, which is in force no longer.
    assert total("2026-04") == ("108.5", "108.5")
    answer(points("close", "2026-03", home=home))
    assert total("2026-03") == ("103", "133.5")
    assert total("2026-03", "--revision", "1") == ("70", "108.5")
    assert total("2026-04") == ("108.5", "108.5")
    answer(points("build", "--through", "2026-04", home=home))
    assert total("2026-04") == ("133.5", "133.5")


@pytest.fixture(scope="module")
def raw(points, tmp_path_factory) -> Path:
    """A build of a raw file, in which revocations are what no ledger takes: of another customer's, of nothing
    that is there, and of one another in a circle."""
    home = tmp_path_factory.mktemp("raw") / "home"
    home.mkdir()
    revoking = {"reason": "revocation"}
    rows = [
        given("T1", "100", "2026-01-10"),
        taken("R1", "60", "2026-01-11", relation_reference="C-2", reverses_transfer_id="T1", **revoking),
        given("R2", "25", "2026-02-12", relation_reference="C-3", reverses_transfer_id="R1", **revoking),
        taken("R3", "5", "2026-02-13", reverses_transfer_id="T404", **revoking),
        given("A", "1", "2026-02-14", reverses_transfer_id="B", **revoking),
        taken("B", "1", "2026-02-15", reverses_transfer_id="A", **revoking),
    ]
    file = write_transfers(home.parent / "rows.csv", rows)
    answer(points("build", "--through", "2026-02", home=home, transfers=file))
    return home


def test_chains_lead_where_revocations_lead(raw):
    """T1 is revoked by R1 of another customer, which R2 revokes of a third; A and B revoke one another."""
    chains = {
        one.transfer_id: (one.revokes, one.revoked_by)
        for relation in ("C-1", "C-2", "C-3")
        for one in explain_row(settings_of(raw), "2026-02", relation).transfers.read()
    }
    assert chains == {
        "T1": ((), ("R1",)),
        "R1": (("T1",), ("R2",)),
        "R2": (("R1", "T1"), ()),
        "R3": (("T404",), ()),
        "A": (("B",), ("B",)),
        "B": (("A",), ("A",)),
    }


def test_months_of_before_say_nothing_of_what_they_did_not_keep(tmp_path):
    file = tmp_path / "posted_transfers.parquet"
    duckdb.sql(
        "select 'T1' as transfer_id, 'C-1' as relation_reference, 'deduct' as style,"
        " 3::decimal(18, 4) as points, 'redemption' as reason, 'redeemed' as bucket,"
        " date '2026-01-01' as posting_month, false as is_late,"
        " timestamp '2026-01-10 12:00' as occurred_at, timestamp '2026-01-10 12:00' as effective_at,"
        " 1 as effective_entry_id, null::varchar as reverses_transfer_id"
    ).write_parquet(str(file))
    with connect() as duck:
        query = f"select {', '.join(COLUMNS)} from {posted_transfers([file], 'true')}"
        (found,) = fetch_transfers(duck, query)
    assert (found["signed_points"], found["bucket_points"]) == (Decimal(-3), Decimal(3))
    later = ("recorded_at", "recorded_by", "batch_id", "external_reference", "comment")
    assert {found[name] for name in later} == {None}


@pytest.mark.parametrize("rows", [[], [{"a": "1"}], [{"a": "x\u202e\n"}, {"b": ["1", "2"], "c": []}]])
def test_rows_of_json_that_are_printed_one_by_one_are_those_of_all_at_once(capsys, rows):
    answer = {"month": "2026-03\u202e", "none": None, "sums": [{"of": "1"}]}
    print_json_rows(answer, "rows", iter(rows))
    one_by_one = capsys.readouterr().out
    print_json(answer | {"rows": rows})
    assert one_by_one == capsys.readouterr().out


_OF_CUSTOMERS = {
    "transfer_id": "relation_reference",
    "cast(points * 10000 as hugeint)": "cast(abs(total_outstanding_points) * 10000 as hugeint)",
    "posted_transfers.parquet": "outstanding_points_by_month.parquet",
}


@pytest.mark.parametrize("of", ["transfers", "customers"])
@pytest.mark.parametrize(("seed", "size"), [(4711, 3), (0, 1), (7, 5), (2**70, 25)])
def test_whoever_follows_the_page_draws_the_same(closed, monkeypatch, of, seed, size):
    section = PAGE.partition("\n## A sample for an auditor\n")[2].partition("\n## ")[0]
    in_order, by_points = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert max(len([line for line in code.splitlines() if line]) for code in (in_order, by_points)) <= 10
    changes = {"seed, size = 4711, 3": f"seed, size = {seed}, {size}"}
    changes |= _OF_CUSTOMERS if of == "customers" else {}
    for before, after in changes.items():
        assert before in in_order
        in_order = in_order.replace(before, after)
    monkeypatch.chdir(closed)
    known = {}
    for code, is_by_points in ((in_order, False), (by_points, True)):
        exec(code, known)
        sample = draw_sample(settings_of(closed), "2026-03", size, seed, of, is_by_points)
        identifier = sample_columns(of)[0]
        assert [row[identifier] for row in sample.rows] == known["drawn"]
        assert (sample.population_count, sample.population_points) == (
            (7, Decimal("135.5")) if of == "transfers" else (2, Decimal("215.5"))
        )


def test_what_is_larger_than_the_distance_between_two_marks_is_drawn_for_certain(closed):
    """135.5 / 3 is less than the 50 of M7, which is hit once or twice; 135.5 / 10 is less than its third."""
    for seed in range(20):
        three, ten = (
            {
                row["transfer_id"]: row["hits"]
                for row in draw_sample(settings_of(closed), "2026-03", size, seed, by_points=True).rows
            }
            for size in (3, 10)
        )
        assert (sum(three.values()), sum(ten.values())) == (3, 10)
        assert three["M7"] in (1, 2)
        assert ten["M7"] in (3, 4)


def test_a_sample_is_printed_whole(points, closed):
    """docs/cases.md, R23."""
    draw = ("sample", "2026-02", "--seed", "1", "--size", "5")
    rows = list(csv.DictReader(answer(points(*draw, "--csv", home=closed)).splitlines()))
    found = json.loads(answer(points(*draw, "--json", home=closed)))
    assert [row["transfer_id"] for row in rows] == [row["transfer_id"] for row in found["rows"]]
    assert {row["transfer_id"]: row["comment"] for row in rows} == {"F1": "", "F2": "'=Returned"}
    assert (found["population_count"], found["population_points"], found["seed"]) == (2, "70", 1)
    customers = json.loads(answer(points(*draw, "--of", "customers", "--json", home=closed)))
    assert {row["relation_reference"]: row["total_outstanding_points"] for row in customers["rows"]} == {
        "C-1": "70",
        "C-2": "50",
    }
