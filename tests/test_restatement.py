"""Restatements: what a revision says otherwise than the one before, and the transfers that caused it; by
numbers made by hand (docs/closing.md has the same example)."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.database import open_ledger
from orchestration.close.read_back import find_differences
from orchestration.close.recomputation import recompute
from orchestration.month_files import RESTATED, RESTATEMENT, RESTATEMENT_COLUMNS
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import read_manifest
from orchestration.reports import CurrencyNotReported, RevisionNotPublished
from orchestration.restatement import (
    Restatement,
    RestatementDiffers,
    Revision,
    RevisionsOutOfOrder,
    opened_restatement,
    write_restatements,
)
from simulator.transfer_files import write_transfers
from tests.closed_programme import Home, current_links, published_bytes, readers_see
from tests.conftest import answer, assert_refused, read_rows, refusal, transfer
from tests.kept_build import KEPT_BUILD, keep_build
from tests.test_close_faults import changed_project, close_on_full_disk
from tests.test_long_programmes import history_of

SEPTEMBER, OCTOBER = "2026-09-10T12:00:00Z", "2026-10-10T12:00:00Z"
MONTHS = ("2026-09", "2026-10")
HEADER = (
    "Relation Reference,Line,Opening Points,Earned Points,Reversal Points,Redeemed Points,Expired Points,"
    "Closing Points,Total Earned Points,Total Reversal Points,Total Redeemed Points,Total Expired Points,"
    "Total Outstanding Points,Transfer ID,Entry,Reason,Cause\r\n"
)


def given(transfer_id: str, reference: str, points: str, day: str, **more: str) -> dict:
    return transfer(transfer_id, relation_reference=reference, points=points, occurred_at=day, **more)


def taken(transfer_id: str, reference: str, points: str, day: str, **more: str) -> dict:
    return given(transfer_id, reference, points, day) | {"style": "deduct", "reason": "redemption"} | more


def bring_in(home: Home, *rows: dict) -> None:
    file = home.path.parent / f"{rows[0]['transfer_id']}.csv"
    answer(home.points("import", str(write_transfers(file, rows))))


@pytest.fixture(scope="module")
def reopened(tmp_path_factory) -> Home:
    """Two months that were closed, and are open again with what came since.

    As issued: in September C-1 earns 100 and C-2 60. In October C-1 spends 30, and 40 of September come late.
    Since then 25 of September came for C-3, and what C-2 earned was revoked in October.
    """
    home = Home(tmp_path_factory.mktemp("reopened") / "home")
    home.path.mkdir()
    bring_in(
        home,
        given("S1", "C-1", "100", SEPTEMBER),
        given("S2", "C-2", "60", SEPTEMBER),
        taken("O1", "C-1", "30", OCTOBER),
        given("O2", "C-1", "7.5", OCTOBER, currency="MILES"),
    )
    answer(home.points("close", "2026-09"))
    bring_in(home, given("L1", "C-1", "40", SEPTEMBER))
    answer(home.points("close", "2026-10"))
    answer(home.points("reopen", "2026-09", "--reason", "September came late"))
    bring_in(
        home,
        given("N1", "C-3", "25", SEPTEMBER),
        taken("V1", "C-2", "60", OCTOBER, reason="revocation", reverses_transfer_id="S2"),
    )
    return home


@pytest.fixture(scope="module")
def committed(reopened, tmp_path_factory) -> Home:
    """Both months closed again in one run, which was killed right after its commit."""
    home = reopened.working_copy(tmp_path_factory.mktemp("committed") / "home")
    home.kill_at("committed", "close", "--through", "2026-10")
    return home


@pytest.fixture(scope="module")
def restated(committed, tmp_path_factory) -> Home:
    """That home with both months closed again."""
    return committed.working_copy(tmp_path_factory.mktemp("restated") / "home")


def published(home: Home, name: str, file: str = RESTATEMENT) -> Path:
    return home.path / "published" / name / file


def test_a_restatement_leads_from_one_revision_to_the_next(restated):
    """docs/design.md, section 9. October: C-1's 40 were earned there and are in its opening now, 100 + 40."""
    assert published(restated, "2026-09/r2").read_bytes().decode() == HEADER + "".join(
        f"{line}\r\n"
        for line in (
            "C-1,revision 1,0,100,0,0,0,100,100,0,0,0,100,,,,",
            "C-1,transfer,0,40,0,0,0,40,40,0,0,0,40,L1,8,rule_credit,moved from 2026-10 to 2026-09",
            "C-1,revision 2,0,140,0,0,0,140,140,0,0,0,140,,,,",
            "C-1,difference,0,40,0,0,0,40,40,0,0,0,40,,,,",
            "C-3,revision 1,0,0,0,0,0,0,0,0,0,0,0,,,,not in revision 1",
            "C-3,transfer,0,25,0,0,0,25,25,0,0,0,25,N1,13,rule_credit,recorded since",
            "C-3,revision 2,0,25,0,0,0,25,25,0,0,0,25,,,,",
            "C-3,difference,0,25,0,0,0,25,25,0,0,0,25,,,,",
        )
    )
    assert published(restated, "2026-10/r2").read_bytes().decode() == HEADER + "".join(
        f"{line}\r\n"
        for line in (
            "C-1,revision 1,100,40,0,30,0,110,140,0,30,0,110,,,,",
            "C-1,transfer,40,-40,0,0,0,0,0,0,0,0,0,L1,8,rule_credit,moved from 2026-10 to 2026-09",
            "C-1,revision 2,140,0,0,30,0,110,140,0,30,0,110,,,,",
            "C-1,difference,40,-40,0,0,0,0,0,0,0,0,0,,,,",
            "C-2,revision 1,60,0,0,0,0,60,60,0,0,0,60,,,,",
            "C-2,transfer,0,0,60,0,0,-60,0,60,0,0,-60,V1,14,revocation,recorded since",
            "C-2,revision 2,60,0,60,0,0,0,60,60,0,0,0,,,,",
            "C-2,difference,0,0,60,0,0,-60,0,60,0,0,-60,,,,",
            "C-3,revision 1,0,0,0,0,0,0,0,0,0,0,0,,,,not in revision 1",
            "C-3,transfer,25,0,0,0,0,25,25,0,0,0,25,N1,13,rule_credit,recorded since",
            "C-3,revision 2,25,0,0,0,0,25,25,0,0,0,25,,,,",
            "C-3,difference,25,0,0,0,0,25,25,0,0,0,25,,,,",
        )
    )


def test_a_restatement_stands_beside_each_revision_after_the_first(restated):
    """docs/design.md, section 9: in its manifest; of another currency too, where nothing changed."""
    named = {
        closed.name: sorted(
            name
            for name in read_manifest(
                revision_folder(restated.path, closed.report_month, closed.revision), closed.manifest_sha256
            )["files"]
            if name.startswith("restatement")
        )
        for closed in restated.history().closes
    }
    assert named == {
        "2026-09/r1": [],
        "2026-10/r1": [],
        "2026-09/r2": [RESTATEMENT],
        "2026-10/r2": ["restatement.MILES.csv", RESTATEMENT],
    }
    assert published(restated, "2026-10/r2", "restatement.MILES.csv").read_bytes().decode() == HEADER


def test_two_revisions_are_compared_by_the_command(restated):
    """docs/design.md, section 10: what it prints is the file, and what it shows adds up to it."""
    for month in MONTHS:
        compare = ("report", month, "--compare", "1", "2")
        file = published(restated, f"{month}/r2")
        assert answer(restated.points(*compare, "--csv")) == file.read_text()
        found = json.loads(answer(restated.points(*compare, "--json")))
        printed = [["" if value is None else str(value) for value in row.values()] for row in found["rows"]]
        assert printed == [list(row.values()) for row in read_rows(file)]
        assert list(found["rows"][0]) == list(RESTATEMENT_COLUMNS.values())
        names = [name for name in found["programme"][0] if name.endswith("_points")]
        lines = [[Decimal(line[name]) for name in names] for line in found["programme"]]
        first, *causes, last, difference = lines
        assert [sum(column) for column in zip(first, *causes, strict=True)] == last
        assert [sum(column) for column in zip(*causes, strict=True)] == difference
        screen = answer(restated.points(*compare))
        assert all(row["Relation Reference"] in screen for row in read_rows(file))
        assert "moved from 2026-10 to 2026-09" in screen
    assert [
        [line[name] for name in ("line", "transfers", "opening_points", "reversal_points", "closing_points")]
        for line in found["programme"]
    ] == [
        ["revision 1", None, "160", "0", "170"],
        ["moved from 2026-10 to 2026-09", 1, "40", "0", "0"],
        ["recorded since", 2, "25", "60", "-35"],
        ["revision 2", None, "225", "60", "135"],
        ["difference", None, "65", "60", "-35"],
    ]


def test_restated_customers_are_chosen(restated):
    compare = ("report", "2026-10", "--compare", "1", "2")
    lines = answer(restated.points(*compare, "--relation", "C-2", "--csv")).splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["C-2", line] for line in ("revision 1", "transfer", "revision 2", "difference")
    ]
    found = json.loads(answer(restated.points(*compare, "--relation-prefix", "C-4", "--json")))
    assert found["rows"] == []
    shown = answer(restated.points(*compare, "--rows", "1"))
    assert "C-1" in shown
    assert "C-2" not in shown
    assert "… and 2 more" in shown
    assert "3 relation references restated" in shown
    assert "V1" not in answer(restated.points(*compare, "--rows", "0"))


def test_what_cannot_be_compared_is_refused(restated):
    for revisions, error in (
        (("2", "1"), RevisionsOutOfOrder("2026-09", 2, 1)),
        (("2", "2"), RevisionsOutOfOrder("2026-09", 2, 2)),
        (("1", "3"), RevisionNotPublished("2026-09", 3, ["r1", "r2"])),
        (("0", "2"), RevisionNotPublished("2026-09", 0, ["r1", "r2"])),
        (("1", "2", "--currency", "MILES"), CurrencyNotReported("2026-09", "MILES", ["POINTS"])),
    ):
        assert_refused(restated.points("report", "2026-09", "--compare", *revisions), error)
    for options in (
        ("--revision", "1"),
        ("--roll-forward",),
        ("--programme",),
        ("--xml",),
        ("--xlsx", "september.xlsx"),
        ("--sort", "closing_points"),
    ):
        refused = restated.points("report", "2026-09", "--compare", "1", "2", *options)
        assert (refused.returncode, refused.stdout) == (2, ""), options


def restatements(home: Home) -> dict[str, bytes]:
    return {name: content for name, content in published_bytes(home).items() if "/restatement" in name}


@pytest.mark.slow
def test_months_closed_again_one_by_one_are_restated_alike(reopened, restated, tmp_path):
    """In the second run September/r2 is no part of the run; computed again, it is."""
    home = reopened.working_copy(tmp_path / "home")
    for month in MONTHS:
        answer(home.points("close", month))
    assert len(restatements(home)) == 3
    # Its manifest differs, for the cutoff of October is another.
    assert restatements(home) == restatements(restated)
    for closed_again in (home, restated):
        found = recompute(open_ledger(closed_again.settings()))
        assert (found.revisions, found.files, found.figures, found.notes) == (4, [], [], [])


def test_what_a_killed_restatement_left_is_in_nobodys_way(reopened, restated, tmp_path):
    """docs/cases.md, X4: it has not happened, and what is closed then is the same to the byte."""
    home = reopened.working_copy(tmp_path / "home")
    before = published_bytes(home)
    home.kill_at("restatements written", "close", "--through", "2026-10")
    kept = {KEPT_BUILD: str(keep_build(home.path, tmp_path))}
    assert (len(list(home.path.glob("runs/*/published/*/r2/restatement.csv"))), restatements(home)) == (2, {})
    answer(home.points("transfers"))
    assert published_bytes(home) == before
    assert current_links(home) == dict.fromkeys(MONTHS, "r1")
    answer(home.points("close", "--through", "2026-10", **kept))
    assert published_bytes(home) == published_bytes(restated)


@pytest.mark.slow
def test_on_a_full_disk_a_restatement_has_not_happened_and_says_why(reopened, disk):
    """docs/cases.md, X5: what is written next are the restatements."""
    home = reopened.working_copy(disk.folder / "home")
    before = published_bytes(home)
    close_on_full_disk(home, disk, "files written", through="2026-10")
    assert list(home.path.glob("runs/*/published/*/r2/manifest.json")) == []
    answer(home.points("transfers"))
    assert published_bytes(home) == before
    assert current_links(home) == dict.fromkeys(MONTHS, "r1")


def test_a_restatement_whose_run_is_gone_is_made_again_to_the_byte(committed, restated, tmp_path):
    """docs/cases.md, X19: of the revisions that it was made of."""
    home = committed.copy(tmp_path / "home")
    kept = {KEPT_BUILD: str(keep_build(home.path, tmp_path))}
    shutil.rmtree(home.path / "runs")
    answer(home.points("months", **kept))
    assert restatements(home)
    assert published_bytes(home) == published_bytes(restated)
    assert readers_see(home) == dict.fromkeys(MONTHS, (2, "issued"))


@pytest.mark.slow
def test_restatements_come_back_with_all_that_was_published(restated, tmp_path):
    """docs/cases.md, X19: first revisions first, for the others are held against them."""
    home = restated.copy(tmp_path / "home")
    for folder in ("runs", "published"):
        shutil.rmtree(home.path / folder)
    answer(home.points("months"))
    assert published_bytes(home) == published_bytes(restated)


def test_a_restatement_that_does_not_read_back_is_found(restated, tmp_path):
    """docs/cases.md, X25: a transfer left out, a figure that is another, a header, an end."""
    folder = tmp_path / "2026-10" / "r2"
    shutil.copytree(published(restated, "2026-10/r2").parent, folder)
    assert list(find_differences(tmp_path)) == []
    folder.chmod(0o755)
    whole = (folder / RESTATEMENT).read_bytes()
    lines = whole.splitlines(keepends=True)
    left_out = b"".join(line for line in lines if b",V1," not in line)
    of_other_mart = whole.replace(b"C-1,revision 1,100,40,", b"C-1,revision 1,101,40,").replace(
        b"C-1,revision 2,140,0,", b"C-1,revision 2,141,0,"
    )
    for content, check in (
        (left_out, "transfers_explain_the_difference"),
        (whole.replace(b"difference,40,", b"difference,41,"), "transfers_explain_the_difference"),
        (whole.replace(b"C-2,revision 1,", b"C-2,revision 2,", 1), "transfers_explain_the_difference"),
        (of_other_mart, "newest_lines_are_those_of_the_mart"),
        (whole.replace(b"Cause", b"Reasons", 1), "header_is_the_documented_one"),
        (whole[:-2], "last_line_ends_with_crlf"),
    ):
        assert content != whole
        _replace(folder, content)
        found = list(find_differences(tmp_path))
        assert any(f"{RESTATEMENT}, {check}:" in difference for difference in found), (check, found)


def test_a_restatement_that_was_altered_is_named(restated, tmp_path):
    """docs/cases.md, X10."""
    home = restated.working_copy(tmp_path / "home")
    file = published(home, "2026-10/r2")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"V1", b"V2"))
    assert str(file) in refusal(home.points("verify"))


def _replace(folder: Path, content: bytes) -> None:
    """Put another restatement into a revision, and its hash into the manifest, as where it was written so."""
    for name in (RESTATEMENT, "manifest.json"):
        (folder / name).chmod(0o644)
    (folder / RESTATEMENT).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][RESTATEMENT] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


# Restatements of files made by hand, where the ledger and its models would not let it come to that.

# The figures of a customer: opening, earned, reversal, redeemed, expired, closing; then the totals.
BALANCES_1 = {
    "C-1": "0 10 0 0 0 10 10 0 0 0 10",
    "C-2": "0 5 0 0 0 5 5 0 0 0 5",
    "C-4": "20 0 0 0 0 20 20 0 0 0 20",
    "C-9": "0 7 0 0 0 7 7 0 0 0 7",
}
BALANCES_2 = {
    "C-1": "0 0 0 -10 0 10 0 0 -10 0 10",
    "C-3": "0 3 0 0 0 3 3 0 0 0 3",
    "C-4": "20 0 4 0 0 16 20 4 0 0 16",
    "C-8": "0 0 0 0 0 0 0 0 0 0 0",
    "C-9": "0 7 0 0 0 7 7 0 0 0 7",
}
# Customer, style, points, bucket; the entry that a transfer is, which is its id, and the one that made it
# effective.
POSTED = {
    "2026-09/r1": {(1, 1): ("C-4", "give", 20, "earned")},
    "2026-10/r1": {
        (2, 2): ("C-1", "give", 10, "earned"),
        (3, 3): ("C-2", "give", 5, "earned"),
        (4, 4): ("C-9", "give", 7, "earned"),
    },
    "2026-11/r1": {
        (21, 21): ("C-4", "deduct", 4, "earned"),
        (22, 22): ("C-7", "give", 50, "earned"),
    },
    "2026-08/r2": {(1, 1): ("C-4", "give", 20, "earned")},
    "2026-09/r2": {},
    "2026-10/r2": {
        (2, 2): ("C-1", "give", 10, "redeemed"),
        (6, 32): ("C-3", "give", 3, "earned"),
        (21, 21): ("C-4", "deduct", 4, "reversal"),
        (31, 31): ("C-9", "give", 7, "earned"),
    },
}
CUTOFF = 10  # of 2026-10/r1


def revision(
    folder: Path,
    name: str,
    posted: Mapping[tuple[int, int], tuple],
    balances: Mapping[str, str],
) -> Revision:
    """A revision whose files are made of these rows."""
    folder = folder / name
    folder.mkdir(parents=True)
    month, _, number = name.partition("/r")
    with duckdb.connect() as duck:
        duck.execute(
            "create table posted_transfers (entry_id bigint, effective_entry_id bigint, transfer_id varchar,"
            " relation_reference varchar, currency varchar, style varchar, points decimal(18, 4),"
            " reason varchar, bucket varchar, posting_month date)"
        )
        for (entry_id, effective), (reference, style, points, bucket) in posted.items():
            duck.execute(
                "insert into posted_transfers values (?, ?, ?, ?, 'POINTS', ?, ?, 'rule_credit', ?, ?)",
                [entry_id, effective, f"T{entry_id}", reference, style, points, bucket, f"{month}-01"],
            )
        figures = ", ".join(f"{figure} decimal(38, 4)" for figure in RESTATED)
        duck.execute(
            "create table outstanding_points_by_month"
            f" (currency varchar, relation_reference varchar, {figures})"
        )
        for reference, values in balances.items():
            duck.execute(
                f"insert into outstanding_points_by_month values ('POINTS', ?{', ?' * len(RESTATED)})",
                [reference, *map(Decimal, values.split())],
            )
        duck.execute("create table programme_points_by_month as from outstanding_points_by_month limit 1")
        for mart in ("posted_transfers", "outstanding_points_by_month", "programme_points_by_month"):
            duck.table(mart).write_parquet(str(folder / f"{mart}.parquet"))
    return Revision(month, int(number), CUTOFF if number == "1" else 40, folder.joinpath)


def by_hand(folder: Path, posted: Mapping[str, Mapping], balances: Mapping[str, str] = BALANCES_2):
    """October's restatement of these files."""
    made = {
        name: revision(folder, name, rows, {"2026-10/r1": BALANCES_1, "2026-10/r2": balances}.get(name, {}))
        for name, rows in posted.items()
    }
    return Restatement(
        made["2026-10/r1"],
        made["2026-10/r2"],
        tuple(part for name, part in made.items() if name.endswith("r1")),
        tuple(part for name, part in made.items() if name.endswith("r2")),
    )


def lines_of(rows: Iterable[tuple]) -> list[tuple]:
    """Each line with its figures that are not zero, and what it says of a transfer."""
    said = []
    for row in rows:
        reference, line, *figures, transfer_id, _, _, cause = row
        moved = {
            name.removesuffix("_points"): int(value)
            for name, value in zip(RESTATED, figures, strict=True)
            if value
        }
        said.append((reference, transfer_id or line, moved, cause))
    return said


def test_every_cause_has_its_effect_on_every_column(tmp_path):
    """What moved from one month before to another has none; what stood after October, and may again, neither.
    C-2 is in the first revision alone, C-8's account was opened since; C-9 has the same figures by another
    transfer."""
    with opened_restatement(by_hand(tmp_path, POSTED)) as restated:
        lines = lines_of(restated.rows("POINTS"))
        assert restated.count("POINTS") == 6
    revisions = [line for line in lines if line[1].startswith("revision")]
    assert [line[:2] + line[3:] for line in revisions if line[3]] == [
        ("C-2", "revision 2", "not in revision 2"),
        ("C-3", "revision 1", "not in revision 1"),
        ("C-8", "revision 1", "not in revision 1"),
    ]
    assert [line for line in lines if line[1].startswith("T")] == [
        (
            "C-1",
            "T2",
            {"earned": -10, "redeemed": -10, "total_earned": -10, "total_redeemed": -10},
            "moved from earned to redeemed",
        ),
        (
            "C-2",
            "T3",
            {"earned": -5, "closing": -5, "total_earned": -5, "total_outstanding": -5},
            "no longer posted by 2026-10",
        ),
        (
            "C-3",
            "T6",
            {"earned": 3, "closing": 3, "total_earned": 3, "total_outstanding": 3},
            "approved since",
        ),
        (
            "C-4",
            "T21",
            {"reversal": 4, "closing": -4, "total_reversal": 4, "total_outstanding": -4},
            "moved from 2026-11 to 2026-10 and from earned to reversal",
        ),
        (
            "C-9",
            "T4",
            {"earned": -7, "closing": -7, "total_earned": -7, "total_outstanding": -7},
            "no longer posted by 2026-10",
        ),
        (
            "C-9",
            "T31",
            {"earned": 7, "closing": 7, "total_earned": 7, "total_outstanding": 7},
            "recorded since",
        ),
    ]
    assert [line for line in lines if line[:2] in (("C-8", "difference"), ("C-9", "difference"))] == [
        ("C-8", "difference", {}, None),
        ("C-9", "difference", {}, None),
    ]


def test_transfers_that_do_not_add_up_to_the_difference_are_no_restatement(tmp_path):
    """A transfer left out; and a customer whose total alone is another, as where a rule changed for months
    that stay closed."""
    left_out = POSTED | {
        "2026-10/r2": {entries: row for entries, row in POSTED["2026-10/r2"].items() if entries[0] != 6}
    }
    other_total = BALANCES_2 | {"C-4": "20 0 4 0 0 16 16 0 0 0 16"}
    both = by_hand(tmp_path / "3", left_out, other_total)
    for restatement, facts in (
        (by_hand(tmp_path / "1", left_out), ("C-3", "POINTS", 0)),
        (by_hand(tmp_path / "2", POSTED, other_total), ("C-4", "POINTS", 0)),
        (both, ("C-3", "POINTS", 1)),
    ):
        refusal = RestatementDiffers("2026-10/r2", 1, "2026-08", *facts)
        with pytest.raises(RestatementDiffers) as refused, opened_restatement(restatement):
            pass
        assert refused.value.sentence == refusal.sentence
        folder = tmp_path / f"out of {facts}"
        folder.mkdir()
        with pytest.raises(RestatementDiffers):
            write_restatements([restatement], {"2026-10": folder}, "POINTS")
        assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_rule_changed_for_months_that_stay_closed_is_no_restatement(tmp_path):
    """docs/cases.md, X14: January and February were closed in one run, so February anew starts from the first
    entry, and its totals to date would hold what January redeemed as expired."""
    home = Home(tmp_path / "home")
    bring_in(
        home,
        given("J1", "C-1", "100", "2026-01-10T12:00:00Z"),
        taken("J2", "C-1", "30", "2026-01-11T12:00:00Z"),
        given("F1", "C-1", "10", "2026-02-10T12:00:00Z"),
    )
    answer(home.points("close", "--through", "2026-02"))
    answer(home.points("reopen", "2026-02", "--reason", "Redemptions expire now"))
    before = published_bytes(home)
    project = tmp_path / "project"
    with changed_project(project) as change:
        change(
            "seeds/transfer_reasons.csv",
            lambda text: text.replace("redemption,deduct,redeemed", "redemption,deduct,expired"),
        )
    refused = subprocess.run(
        [sys.executable, "-m", "console.points", "close"],
        env={**os.environ, "POINTS_HOME": str(home.path), "PYTHONPATH": str(project)},
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert_refused(refused, RestatementDiffers("2026-02/r2", 1, "2026-02", "C-1", "POINTS", 0))
    assert published_bytes(home) == before
    assert list(home.history().in_force) == ["2026-01"]


def test_what_stood_together_is_found_in_the_history_of_closes():
    """docs/design.md, section 6: also where months were reopened one after another, and more than once."""
    once = history_of(("close", 0, 2), ("reopen", 1, 2), ("close", 1, 2))
    assert stands_with(once, "2000-02", 1) == ["2000-01/r1", "2000-02/r1", "2000-03/r1"]
    assert stands_with(once, "2000-03", 1) == ["2000-01/r1", "2000-02/r1", "2000-03/r1"]
    assert stands_with(once, "2000-02", 2) == ["2000-01/r1", "2000-02/r2", "2000-03/r2"]
    # March was reopened first, and stood with February all the same.
    in_steps = history_of(("close", 0, 2), ("reopen", 2, 2), ("reopen", 1, 1), ("close", 1, 2))
    assert stands_with(in_steps, "2000-02", 1) == ["2000-01/r1", "2000-02/r1", "2000-03/r1"]
    # February/r2 never had a March beside it.
    twice = history_of(("close", 0, 2), ("reopen", 1, 2), ("close", 1, 1), ("reopen", 1, 1), ("close", 1, 2))
    assert stands_with(twice, "2000-02", 2) == ["2000-01/r1", "2000-02/r2"]
    assert stands_with(twice, "2000-03", 1) == ["2000-01/r1", "2000-02/r1", "2000-03/r1"]


def stands_with(history, month: str, number: int) -> list[str]:
    (closed,) = (
        closed for closed in history.closes if (closed.report_month, closed.revision) == (month, number)
    )
    return [other.name for other in history.together_with(closed).values()]
