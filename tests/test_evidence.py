"""What a close keeps for an auditor, and the package that `points evidence` makes of it."""

import html
import json
import re
import subprocess
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from orchestration.close.evidence import EVIDENCE
from orchestration.evidence_package import MonthNotIssued
from orchestration.exports import ExportTargetTaken
from orchestration.published.layout import published_folder
from orchestration.published.manifests import read_manifest
from orchestration.reports import RevisionNotPublished
from orchestration.required_tests import required_tests
from orchestration.upkeep.verification import PublishedUnsound
from tests.closed_programme import CLOSED, NEXT, Home
from tests.conftest import PROJECT_ROOT, answer, assert_refused


@pytest.fixture(scope="module")
def closed(programme, tmp_path_factory) -> Home:
    """A home whose third month is closed too; its first waits to be restated."""
    home = programme.working_copy(tmp_path_factory.mktemp("evidence") / "home")
    answer(home.points("close", NEXT, POINTS_USER="ada"))
    return home


def read_zip(file: Path) -> dict[str, str]:
    with zipfile.ZipFile(file) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def kept(home: Home, month: str, revision: int = 1) -> dict[str, str]:
    return read_zip(published_folder(home.path) / month / f"r{revision}" / EVIDENCE)


def test_a_close_keeps_how_it_was_made(closed):
    """SQL of every model and required test as it ran, the rules, the settings, gate, verdicts, recount."""
    found = kept(closed, NEXT)
    verdicts = json.loads(found["verdicts.json"])
    assert {verdicts[test] for test in required_tests()} == {"pass"}
    ran = {Path(name).stem for name in found if name.startswith("sql/")}
    for unique_id in verdicts:
        kind, _, name, *_ = unique_id.split(".")
        if kind in ("model", "test"):
            assert name in ran, unique_id
    assert (
        "from read_parquet(['cut/transfers/*.parquet']"
        in found["sql/outstanding_points/dbt_project/models/staging/stg_ledger__transfers.sql"]
    )
    for name in ("transfer_reasons.csv", "points_currencies.csv"):
        assert found[f"seeds/{name}"] == (PROJECT_ROOT / "seeds" / name).read_text(encoding="utf-8")
    settings = json.loads(found["settings.json"])
    assert settings["POINTS_THROUGH_MONTH"] == NEXT
    assert settings["POINTS_TIME_ZONE"] == "UTC"
    # Of March 2 × 9 points wait; what is late is known.
    gate = json.loads(found["gate.json"])
    assert [(row["status"], row["count"], row["given_points"]) for row in gate["waiting"]] == [
        ("pending", 2, "18")
    ]
    assert {row["kind"] for row in gate["discrepancies"]} == {"late_posting"}
    recount = json.loads(found["recount.json"])
    manifest = read_manifest(published_folder(closed.path) / NEXT / "r1")
    assert recount["control_totals"] == manifest["control_totals"]
    assert recount["rows_of_the_run"]["posted_transfers"] == f"{manifest['counts']['posted_transfers']}"
    (months,) = [figures for figures in recount["figures"] if figures["model"] == "report_months"]
    assert months["groups"] == [{"report_month": NEXT, "rows": 1, "cutoff_entry_id": None}]


def test_nothing_of_the_machine_or_of_secrets_is_kept(closed):
    """The home, the project's folder, the user and the machine's share stand in no file of the evidence."""
    said = "\n".join(kept(closed, NEXT).values())
    for text in (str(closed.path), str(PROJECT_ROOT), "POINTS_USER", "MEMORY_LIMIT", "DATABASE_URL"):
        assert text not in said, text


def test_the_package_shows_completeness_and_accuracy_and_what_came_later(closed, tmp_path):
    shop = tmp_path / "shop.csv"
    rows = json.loads(answer(closed.points("report", NEXT, "--json")))["rows"]
    lines = [f"{row['relation_reference']},{row['total_outstanding_points']}" for row in rows]
    shop.write_text("\n".join(["card,saldo", *lines, ""]), encoding="utf-8")
    columns = ("--relation", "card", "--points", "saldo")
    closed.points("reconcile", NEXT, str(shop), *columns, "--record", POINTS_USER="eve")
    answer(closed.points("affirm", NEXT, "--yes", POINTS_USER="ada"))
    answer(
        closed.points(
            *("sign-off", NEXT, "--yes", "--without-reconciliation", "No shop keeps MILES"), POINTS_USER="bob"
        )
    )
    file = tmp_path / "march.zip"
    said = answer(closed.points("evidence", NEXT, str(file)))
    assert said == f"Written: {file}, the evidence of {NEXT}/r1; begin with index.html in it.\n"
    package = read_zip(file)
    for name, text in kept(closed, NEXT).items():
        assert package[f"as_closed/{name}"] == text, name
    manifest = (published_folder(closed.path) / NEXT / "r1" / "manifest.json").read_text(encoding="utf-8")
    assert package["manifest.json"] == manifest
    entries = [(entry["event"], entry["recorded_by"]) for entry in json.loads(package["entries.json"])]
    assert entries == [
        *[("close", "ada"), ("reconciled", "eve")],
        *[("affirmed", "ada")] * 4,
        *[("affirmed", "bob")] * 4,
        ("sign_off", "bob"),
    ]
    assert json.loads(package["verify.json"])["verdict"] == "sound"
    page = html.unescape(package["index.html"])
    for sentence in (
        "signed off",
        "by bob",
        "1 comparison with another system's balances recorded for this revision",
        "It is the month's first revision",
        "no row of an imported file was in quarantine",
        json.loads(manifest)["ledger_chain_digest"],
        closed.history().in_force[NEXT].manifest_sha256,
    ):
        assert sentence in page, sentence
    assert page.count("<td>pass</td>") == 6
    closing = json.loads(manifest)["control_totals"]["POINTS"]["closing_points"]
    assert f'<td class="number">{Decimal(closing):,}</td>' in page


def test_what_the_page_says_to_recompute_it_comes_out(closed, tmp_path):
    """Its query of DuckDB and its lines of Python, run as they stand on the page."""
    file = tmp_path / "march.zip"
    answer(closed.points("evidence", NEXT, str(file)))
    _, *blocks = html.unescape(read_zip(file)["index.html"]).split("<pre>")
    query, draw = (block.split("</pre>")[0] for block in blocks)
    # Named `duckdb` where it is installed; here its library answers.
    sql = re.search(r'duckdb -c "(.+)"', query, re.DOTALL)[1]
    ask = "import duckdb, sys; print(duckdb.sql(sys.argv[1]).fetchall()[0][0])"
    run = subprocess.run(
        [sys.executable, "-c", ask, sql],
        cwd=published_folder(closed.path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "True\n"
    run = subprocess.run(
        [sys.executable, "-c", f"{draw}\nprint(drawn)"],
        cwd=closed.path,
        capture_output=True,
        text=True,
        check=True,
    )
    sample = json.loads(answer(closed.points("sample", NEXT, "--size", "25", "--seed", "4711", "--json")))
    assert run.stdout == f"{[row['transfer_id'] for row in sample['rows']]}\n"


def test_of_a_reopened_month_each_revision_has_its_own_package(closed, tmp_path):
    home = closed.working_copy(tmp_path / "home")
    reopen = ("reopen", NEXT, "--reason", "Sent anew <b>")
    for user in ("ada", "bob"):
        answer(home.points(*reopen, POINTS_USER=user))
    answer(home.points("give", "C-1", "5", "--id", "ANEW", "--occurred-at", f"{NEXT}-12T12:00:00Z"))
    answer(home.points("close", NEXT))
    answer(home.points("evidence", NEXT))
    second = read_zip(tmp_path / f"evidence_{NEXT}_r2.zip")
    assert "ANEW" in second["restatement.csv"]
    assert "restatement.csv says what changed" in second["index.html"]
    events = [entry["event"] for entry in json.loads(second["entries.json"])]
    assert events == ["close", "reopen", "close"]
    first = json.loads(answer(home.points("evidence", NEXT, "first.zip", "--revision", "1", "--json")))
    assert first["evidence_of_close_kept"] is True
    assert "not in force: the month was reopened" in read_zip(tmp_path / "first.zip")["index.html"]


def test_no_package_is_made_of_what_is_not_closed_or_not_sound_or_over_a_file(closed, tmp_path):
    home = closed.working_copy(tmp_path / "home")
    file = tmp_path / "march.zip"
    assert_refused(home.points("evidence", "2025-04", str(file)), MonthNotIssued("2025-04"))
    result = home.points("evidence", NEXT, str(file), "--revision", "7")
    assert_refused(result, RevisionNotPublished(NEXT, 7, ["r1"]))
    damaged = published_folder(home.path) / CLOSED[0] / "r1" / "outstanding_points.csv"
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    result = home.points("evidence", NEXT, str(file))
    assert result.returncode == 1
    assert result.stderr.startswith("Published files are not what was published: ")
    assert PublishedUnsound.code == "PUBLISHED_DAMAGED"
    assert not file.exists()
    file.write_bytes(b"mine")
    assert_refused(closed.points("evidence", NEXT, str(file)), ExportTargetTaken(file))
    assert file.read_bytes() == b"mine"
