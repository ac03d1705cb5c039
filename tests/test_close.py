"""`points close`, `reopen`, `months`, `export-database`: what closes, in what order, and what readers get."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import openpyxl
import pytest
from lxml import etree

from ledger.amounts import value_text
from ledger.data_files import connect, read_parquet
from ledger.database import LedgerEmpty
from ledger.lists.transfer_lists import BUCKETS
from ledger.seals import SealBroken
from ledger.settings import MonthInvalid, Settings
from orchestration import month_files, month_xlsx
from orchestration.build import build_months
from orchestration.close.closing import CloseNeedsLedger, NothingToClose
from orchestration.close.months_to_close import (
    EarlierMonthOpen,
    FirstMonthTooEarly,
    MonthBeforeFirst,
)
from orchestration.close.read_back import find_differences, run_reader
from orchestration.close.reopening import MonthNeverClosed, ReasonMissing
from orchestration.explanations import explain_row
from orchestration.exports import ExportTargetTaken
from orchestration.month_files import (
    BASIS,
    OUTSTANDING_POINTS,
    POINTS_COLUMNS,
    POINTS_ROLL_FORWARD,
    RELATION_COLUMNS,
    RESTATEMENT,
)
from orchestration.month_xml import SCHEMA
from orchestration.published.database import _customer_point_balances
from orchestration.published.layout import DATABASE_REMEDY
from orchestration.published.manifests import PublishedDamaged, read_manifest
from orchestration.reports import Report, RevisionNotPublished, read_report
from orchestration.statements import read_statement
from simulator.transfer_files import write_transfers
from tests.conftest import PROJECT_ROOT, Points, answer, assert_refused, read_rows, refusal, transfer
from tests.test_build import assert_airline_figures

PARQUET_FILES = [
    "outstanding_points_by_month.parquet",
    "points_movements_by_month.parquet",
    "programme_points_by_month.parquet",
    "discrepancies.parquet",
    "posted_transfers.parquet",
]
CSV_FILES = ["outstanding_points.csv", "points_roll_forward.csv", "programme_points.csv"]


def rows_of(path: Path) -> list[tuple]:
    return duckdb.sql(f"select * from read_parquet('{path}') order by all").fetchall()


def revision(home: Path, name: str) -> Path:
    """The folder of ``2026-01/r1``."""
    return home / "published" / name


def contents(folder: Path, prefix: str = "") -> dict[str, object]:
    """What a month's files, whose names begin with ``prefix``, say: CSV bytes and Parquet rows."""
    csv_files = {path.name.removeprefix(prefix): path.read_bytes() for path in folder.glob(f"{prefix}*.csv")}
    return {**csv_files, **{name: rows_of(folder / f"{prefix}{name}") for name in PARQUET_FILES}}


def texts_of_close(home: Path, month: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in revision(home, f"{month}/r1").glob("*.x*")}


def bytes_of(folder: Path) -> dict[str, str]:
    """The hash of every file of a folder, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def import_rows(points: Points, home: Path, rows: list[dict[str, str]]) -> None:
    home.mkdir(exist_ok=True)
    path = write_transfers(home.parent / "rows.csv", rows)
    answer(points("import", str(path), home=home))


def month_rows(month: int) -> list[dict[str, str]]:
    """A month of a small programme: earned, redeemed, in a second currency, and pending."""
    day = f"2026-{month:02d}-10T12:00:00Z"
    return [
        transfer(f"E{month}", points="100", occurred_at=day),
        transfer(f"R{month}", points="30", style="deduct", reason="redemption", occurred_at=day),
        transfer(f"M{month}", relation_reference="C&2", points="7.5", currency="MILES", occurred_at=day),
        transfer(f"P{month}", relation_reference="C-3", points="9", status="pending", occurred_at=day),
    ]


@pytest.fixture(scope="module")
def small(points, tmp_path_factory) -> Path:
    """A home with four months of transfers, the first two closed in one go and the third after it."""
    home = tmp_path_factory.mktemp("small") / "home"
    import_rows(points, home, [row for month in (1, 2, 3, 4) for row in month_rows(month)])
    programme = 'A "B" & <C>'
    answer(
        points(
            *("close", "--through", "2026-02"), home=home, POINTS_USER="ada", POINTS_PROGRAMME_NAME=programme
        )
    )
    answer(points("close", home=home, POINTS_USER="bob"))
    return home


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "2026-01\n", "٢٠٢٦-٠١", "../x"])
@pytest.mark.parametrize("arguments", [["close"], ["close", "--through"], ["reopen"], ["report"]])
def test_what_is_no_month_is_refused_and_never_a_path(points, small, month, arguments):
    """docs/cases.md, C1."""
    assert_refused(points(*arguments, month, home=small), MonthInvalid(month))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["2026-05"], EarlierMonthOpen("2026-05", "2026-04")),
        (["2199-01"], EarlierMonthOpen("2199-01", "2026-04")),
        (["2025-12"], MonthBeforeFirst("2025-12", "2026-01")),
        (["--first-month", "2026-02"], SealBroken("--first-month", "2026-02", "2026-01")),
    ],
)
def test_a_month_closes_once_it_has_ended_and_in_order(points, small, arguments, error):
    """docs/cases.md, C2."""
    assert_refused(points("close", *arguments, home=small), error)
    # The first month of those that has not ended, which is the one of today.
    assert " has not ended: it does so at " in refusal(points("close", "--through", "2199-01", home=small))
    assert not revision(small, "2026-04").exists()


@pytest.mark.parametrize("arguments", [["2026-02"], ["--through", "2026-03"]])
def test_a_closed_month_is_not_closed_again(points, small, arguments):
    """docs/cases.md, C3."""
    before = bytes_of(revision(small, "2026-02/r1"))
    result = answer(points("close", *arguments, home=small))
    assert f"{arguments[-1]} is closed already, with revision 1 of" in result
    assert not revision(small, "2026-02/r2").exists()
    assert bytes_of(revision(small, "2026-02/r1")) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["2026-02"], ReasonMissing("2026-02")),
        (["2026-02", "--reason", "  "], ReasonMissing("2026-02")),
        (["2026-04", "--reason", "why not"], MonthNeverClosed("2026-04", "2026-03")),
    ],
)
def test_reopening_needs_a_reason_and_a_closed_month(points, small, arguments, error):
    """docs/cases.md, C4."""
    assert_refused(points("reopen", *arguments, home=small), error)
    assert "reopened" not in answer(points("months", home=small))


def test_a_close_takes_a_month_or_an_end_but_not_both(points, small):
    assert points("close", "2026-04", "--through", "2026-04", home=small).returncode == 2


def test_months_are_not_closed_from_files(points, small, airline):
    file = airline / "transfers.csv.gz"
    assert_refused(points("close", home=small, transfers=file), CloseNeedsLedger(str(file)))


def test_there_is_nothing_to_close_without_an_approved_transfer(points, tmp_path):
    home = tmp_path / "home"
    ledger = str(home / "ledger.sqlite3")
    assert_refused(points("close", home=home), LedgerEmpty(ledger))
    import_rows(points, home, [month_rows(1)[3]])
    assert_refused(points("close", home=home), NothingToClose(ledger))


def test_a_month_is_published_whole(small):
    """docs/design.md, section 9: the files, their names and the link."""
    assert {path.name for path in revision(small, "2026-01/r1").iterdir()} == {
        *(f"{Path(name).stem}{currency}.csv" for name in CSV_FILES for currency in ("", ".MILES")),
        *(f"outstanding_points{currency}.{form}" for currency in ("", ".MILES") for form in ("xml", "xlsx")),
        *PARQUET_FILES,
        "evidence.zip",
        "manifest.json",
    }
    # What a run left over is written for its last month.
    assert (revision(small, "2026-02/r1") / "unposted_transfers.parquet").exists()
    assert revision(small, "2026-01/current").resolve() == revision(small, "2026-01/r1").resolve()
    assert not (small / "unfinished_close.json").exists()
    assert revision(small, "2026-01/r1").stat().st_mode & 0o777 == 0o500
    for path in revision(small, "2026-01/r1").iterdir():
        assert path.stat().st_mode & 0o777 == 0o400, path


def test_what_a_month_left_unposted_is_in_the_next_one(small):
    waiting = {row[0] for row in rows_of(revision(small, "2026-02/r1") / "unposted_transfers.parquet")}
    assert waiting == {"P1", "P2", "P3", "P4", "E3", "R3", "M3", "E4", "R4", "M4"}
    assert read_rows(revision(small, "2026-03/r1") / "points_roll_forward.csv")[0] == {
        "Relation Reference": "C-1",
        "Opening Points": "140",
        "Earned Points": "100",
        "Reversal Points": "0",
        "Redeemed Points": "30",
        "Expired Points": "0",
        "Closing Points": "210",
    }


def test_a_manifest_says_what_its_month_is_made_of(points, small):
    folder = revision(small, "2026-03/r1")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["report_month"] == "2026-03"
    assert (manifest["period_start_date"], manifest["period_end_date"]) == ("2026-03-01", "2026-03-31")
    assert manifest["sealed_settings"] == {
        "time_zone": "UTC",
        "month_start_day": 1,
        "first_month": "2026-01",
        "default_currency": "POINTS",
    }
    assert manifest["control_totals"]["POINTS"] == {
        "relation_references": 1,
        "posted_transfers": 2,
        "opening_points": "140",
        "earned_points": "100",
        "reversal_points": "0",
        "redeemed_points": "30",
        "expired_points": "0",
        "closing_points": "210",
        "pending": {"transfers": 3, "given_points": "27", "deducted_points": "0"},
        "on_hold": {"transfers": 0, "given_points": "0", "deducted_points": "0"},
        "cancelled": {"transfers": 0, "given_points": "0", "deducted_points": "0"},
        "later": {"transfers": 2, "given_points": "100", "deducted_points": "30"},
    }
    assert manifest["counts"]["posted_transfers"] == 3
    hashes = bytes_of(folder)
    hashes.pop("manifest.json")
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == hashes
    before = (revision(small, "2026-02/r1") / "manifest.json").read_bytes()
    assert manifest["previous_manifest_sha256"] == hashlib.sha256(before).hexdigest()
    assert set(manifest["tests"].values()) == {"pass"}
    assert str(small) not in json.dumps(manifest)


def test_readers_have_a_database_over_the_published_files(small):
    """docs/design.md, section 9: views with the revision and the days of each month."""
    with duckdb.connect(str(small / "published/outstanding_points.duckdb"), read_only=True) as connection:
        months = connection.execute(
            "select strftime(report_month, '%Y-%m'), revision, status, closed_by, signed_off_by,"
            " period_end_date::varchar from published_months order by 1"
        ).fetchall()
        assert months == [
            ("2026-01", 1, "issued", "ada", None, "2026-01-31"),
            ("2026-02", 1, "issued", "ada", None, "2026-02-28"),
            ("2026-03", 1, "issued", "bob", None, "2026-03-31"),
        ]
        balances = connection.execute(
            "select strftime(report_month, '%Y-%m'), revision, period_start_date::varchar, closing_points"
            " from outstanding_points_by_month where currency = 'POINTS' order by 1"
        ).fetchall()
        assert balances == [
            ("2026-01", 1, "2026-01-01", Decimal(70)),
            ("2026-02", 1, "2026-02-01", Decimal(140)),
            ("2026-03", 1, "2026-03-01", Decimal(210)),
        ]
        now = connection.execute(
            "select currency, relation_reference, approved_points, pending_given_points, spendable_points"
            " from customer_point_balances order by all"
        ).fetchall()
        assert now == [
            ("MILES", "C&2", Decimal("22.5"), Decimal(0), Decimal("22.5")),
            # Of it, 30 are deducted in April already.
            ("POINTS", "C-1", Decimal(210), Decimal(0), Decimal(180)),
            ("POINTS", "C-3", Decimal(0), Decimal(36), Decimal(0)),
        ]


def test_the_database_can_be_carried_away(points, small, tmp_path):
    file = tmp_path / "copy.duckdb"
    exported = json.loads(answer(points("export-database", str(file), "--json", home=small)))
    with duckdb.connect(str(file), read_only=True) as connection:
        for table in exported["tables"]:
            (rows,) = connection.execute(f"select count(*) from {table['table']}").fetchone()
            assert rows == table["rows"], table
        (kinds,) = connection.execute(
            "select count(*) from information_schema.tables where table_type = 'VIEW'"
        ).fetchone()
    assert kinds == 0
    assert {"published_months", "outstanding_points_by_month"} <= {
        name["table"] for name in exported["tables"]
    }
    before = file.read_bytes()
    assert_refused(points("export-database", str(file), home=small), ExportTargetTaken(file))
    assert file.read_bytes() == before


def test_a_damaged_database_is_a_sentence_and_made_again(points, small, tmp_path):
    """docs/cases.md, X9."""
    home = tmp_path / "home"
    shutil.copytree(small, home, symlinks=True)
    answer(points("months", home=home))
    link = home / "published/outstanding_points.duckdb"
    file = link.resolve()
    file.chmod(0o644)
    file.write_bytes(b"no database")
    for command in (["months"], ["export-database", "copy.duckdb"]):
        assert_refused(points(*command, home=home), PublishedDamaged(link, "was altered", DATABASE_REMEDY))
    file.unlink()
    assert "2026-03" in answer(points("months", home=home))


def test_a_build_keeps_no_large_workbook_and_makes_one_when_asked(small, tmp_path, monkeypatch):
    monkeypatch.setattr(month_files, "MOST_ROWS_OF_A_PROVISIONAL_WORKBOOK", 0)
    home, file = tmp_path / "home", tmp_path / "april.xlsx"
    shutil.copytree(small, home, symlinks=True)
    settings = Settings.from_environment({"POINTS_HOME": str(home)})
    build_months(settings, "2026-04")
    kept = {path.name for path in (home / "provisional" / "2026-04").glob("*.xlsx")}
    assert kept == set()
    read_report(settings, "2026-04").write_xlsx(file)
    assert len(list(month_xlsx.data_rows(file))) > 2


def test_what_is_closed_has_the_workbooks_of_a_close(small, tmp_path, monkeypatch):
    """A close keeps larger ones than a build, and its read-back looks for those."""
    shutil.copytree(revision(small, "2026-03/r1"), tmp_path / "2026-03" / "r1")
    monkeypatch.setattr(month_files, "MOST_ROWS_OF_A_PROVISIONAL_WORKBOOK", 0)
    assert list(find_differences(tmp_path)) == []
    monkeypatch.setattr(month_files, "MOST_ROWS_OF_A_WORKBOOK", 0)
    assert len(list(find_differences(tmp_path))) == 2


@pytest.mark.slow
def test_lost_publications_come_back_before_they_are_shown(points, small, tmp_path):
    """docs/cases.md, X9: the ledger knows them by their hash, and nothing more is closed for it."""
    home = tmp_path / "home"
    shutil.copytree(small, home, symlinks=True)
    before = {name: bytes_of(revision(home, name)) for name in ("2026-01/r1", "2026-02/r1", "2026-03/r1")}
    shutil.rmtree(home / "published")
    shutil.rmtree(home / "runs")
    assert answer(points("months", home=home)).count("issued, r1") == 6
    assert {name: bytes_of(revision(home, name)) for name in before} == before
    assert not revision(home, "2026-04").exists()


def test_a_foreign_file_beside_a_revision_is_no_revision_and_is_named(points, small, tmp_path):
    """docs/cases.md, S6."""
    home = tmp_path / "home"
    shutil.copytree(small, home, symlinks=True)
    shutil.copytree(revision(home, "2026-01/r1"), revision(home, "2026-01/r1.bak"))
    (home / "published/2026 board pack").mkdir()
    assert_refused(
        points("report", "2026-01", "--revision", "7", home=home), RevisionNotPublished("2026-01", 7, ["r1"])
    )
    verified = points("verify", "--json", home=home)
    assert verified.returncode == 1
    damaged = {damage["path"] for damage in json.loads(verified.stdout)["published"]}
    assert damaged == {f"{home}/published/2026 board pack", f"{home}/published/2026-01/r1.bak"}


def with_manifest_of(folder: Path, name: str) -> None:
    """Let a month's manifest name a file as it now is, as if it had been written so."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    file = folder / name
    manifest["files"][name] = {"sha256": bytes_of(folder)[name], "bytes": file.stat().st_size}
    path.chmod(0o644)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "query", "finding"),
    [
        ("unposted_transfers.parquet", "disposition <> 'later' or transfer_id <> 'E3'", "has transfers"),
        ("posted_transfers.parquet", "transfer_id <> 'R2'", "has posted_transfers 1 in POINTS"),
        ("outstanding_points_by_month.parquet", "relation_reference <> 'C-1'", "has relation_references 0"),
    ],
)
def test_a_file_that_lost_a_row_does_not_read_back(small, tmp_path, name, query, finding):
    prepared = tmp_path / "prepared"
    folder = prepared / "2026-02/r1"
    shutil.copytree(revision(small, "2026-02/r1"), folder)
    assert list(find_differences(prepared)) == []
    kept = duckdb.sql(f"select * from read_parquet('{folder / name}') where {query}")
    kept.write_parquet(str(tmp_path / "less.parquet"))
    (folder / name).unlink()
    shutil.move(tmp_path / "less.parquet", folder / name)
    with_manifest_of(folder, name)
    assert any(finding in difference for difference in find_differences(prepared))


def test_a_process_of_its_own_reads_back_and_starts_without_django(programme, tmp_path):
    """It starts with every close, and Django would be half of what it takes."""
    prepared = tmp_path / "prepared"
    shutil.copytree(programme.path / "published" / "2025-02", prepared / "2025-02")
    finished = run_reader(prepared)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    gone = prepared / "2025-02" / "r1" / "outstanding_points.csv"
    gone.unlink()
    (said,) = run_reader(prepared).stdout.splitlines()
    assert said.startswith(f"{gone} ")
    imported = subprocess.run(
        [sys.executable, "-c", "import orchestration.close.read_back, sys; print(*sys.modules)"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "django" not in imported.stdout.split()


def test_a_report_whose_equation_does_not_hold_does_not_read_back(small, tmp_path):
    prepared = tmp_path / "prepared"
    folder = prepared / "2026-02/r1"
    shutil.copytree(revision(small, "2026-02/r1"), folder)
    report = folder / "outstanding_points.csv"
    text = report.read_text(encoding="utf-8")
    report.unlink()
    report.write_text(text.replace("C-1,200,0,60,0,140", "C-1,200,0,60,60,140"), encoding="utf-8", newline="")
    with_manifest_of(folder, report.name)
    differences = " ".join(find_differences(prepared))
    assert "1 rows where it does not hold" in differences
    assert "1 rows that are other ones" in differences


def test_an_account_is_closed_in_every_currency(tmp_path):
    """Also in one of which only something waits."""
    duckdb.sql(
        "select 'POINTS' as currency, 'C-1' as relation_reference, 0::decimal(38, 4) as closing_points,"
        " true as is_account_closed"
    ).write_parquet(str(tmp_path / "outstanding_points_by_month.parquet"))
    with duckdb.connect() as connection:
        connection.execute(
            "create table unposted_transfers as select 'T-1' as transfer_id, 'MILES' as currency,"
            " 'C-1' as relation_reference, 'pending' as status, 'give' as style, 5::decimal(18, 4) as points,"
            " 'rule_credit' as reason, null::varchar as reverses_transfer_id"
        )
        connection.execute(_customer_point_balances(tmp_path))
        closed = connection.execute(
            "select currency, is_account_closed from customer_point_balances order by 1"
        ).fetchall()
    assert closed == [("MILES", True), ("POINTS", True)]


def test_what_was_closed_is_what_a_build_from_the_first_entry_gives(points, small):
    answer(points("build", "--from-first-entry", "--through", "2026-03", home=small))
    for month in ("2026-01", "2026-02", "2026-03"):
        built, closed = small / "provisional" / month, revision(small, f"{month}/r1")
        assert contents(built, "provisional_") == contents(closed)


def test_reports_of_closed_months_are_the_published_ones(points, small):
    published = (revision(small, "2026-03/r1") / "outstanding_points.csv").read_bytes().decode()
    assert answer(points("report", "2026-03", "--csv", home=small)).replace("\n", "\r\n") == published
    shown = json.loads(answer(points("report", "2026-03", "--json", home=small)))
    assert (shown["status"], shown["revision"]) == ("issued", 1)
    assert_refused(
        points("report", "2026-03", "--revision", "2", home=small), RevisionNotPublished("2026-03", 2, ["r1"])
    )


def test_xml_is_valid_and_says_what_the_marts_say_and_the_facts_of_the_month(points, small):
    """docs/design.md, section 9: both tables, in each currency, of closed months."""
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    for month, currency, name in (
        ("2026-02", "POINTS", "outstanding_points.xml"),
        ("2026-03", "MILES", "outstanding_points.MILES.xml"),
    ):
        folder = revision(small, f"{month}/r1")
        document = (folder / name).read_bytes()
        root = etree.fromstring(document)
        schema.assertValid(root)
        manifest = read_manifest(folder)
        facts = ("programme", "report_month", "period_start_date", "period_end_date", "revision")
        assert dict(root.attrib) == {
            **{fact: str(manifest[fact]) for fact in facts},
            "status": "closed",
            "currency": currency,
            "basis": BASIS,
        }
        columns = ["relation_reference", *POINTS_COLUMNS]
        balances = read_parquet(folder / "outstanding_points_by_month.parquet")
        with connect() as duck:
            rows = duck.execute(
                f"select {', '.join(columns)} from {balances} where currency = ? order by relation_reference",
                [currency],
            ).fetchall()
        assert [[relation.get(column) for column in columns] for relation in root] == [
            [value_text(value) for value in row] for row in rows
        ]
        printed = points("report", month, "--xml", "--currency", currency, home=small)
        assert answer(printed).encode() == document
        for changed in (
            document.replace(b' closing_points="', b' closing="'),
            document.replace(b"<relation ", b"<relation kind='x' ", 1),
            document.replace(b"/></outstanding", b"/><relation/></outstanding").replace(b'="0"', b'="0.0"'),
        ):
            assert not schema.validate(etree.fromstring(changed))


def test_the_workbook_says_what_the_marts_say(points, small, tmp_path):
    """docs/design.md, section 9: a control sheet, the report and the roll-forward."""
    folder, file = revision(small, "2026-03/r1"), tmp_path / "march.xlsx"
    assert answer(points("report", "2026-03", "--xlsx", str(file), home=small)) == f"Written: {file}\n"
    assert file.read_bytes() == (folder / "outstanding_points.xlsx").read_bytes()
    assert_refused(points("report", "2026-03", "--xlsx", str(file), home=small), ExportTargetTaken(file))
    book = openpyxl.load_workbook(file)
    balances = read_parquet(folder / "outstanding_points_by_month.parquet")
    for name, csv_file in (("Report", OUTSTANDING_POINTS), ("Roll-forward", POINTS_ROLL_FORWARD)):
        columns = RELATION_COLUMNS[csv_file]
        headings, *rows = book[name].values
        assert list(headings) == list(columns)
        with connect() as duck:
            kept = duck.execute(
                f"select {', '.join(columns.values())} from {balances} where currency = 'POINTS'"
                " order by relation_reference"
            ).fetchall()
        assert [(reference, *map(Decimal, map(str, numbers))) for reference, *numbers in rows] == kept
    control = [row for row in book["Control"].values if any(row)]
    assert control[:8] == [
        ("Programme", "Points programme", None, None),
        ("Report month", "2026-03", None, None),
        ("Period start date", "2026-03-01", None, None),
        ("Period end date", "2026-03-31", None, None),
        ("Status", "closed", None, None),
        ("Revision", "1", None, None),
        ("Currency", "POINTS", None, None),
        ("Basis", BASIS, None, None),
    ]
    assert control[10:16] == [
        ("Previous Closing Points", None, None, 140),
        ("Opening Points", None, None, 140),
        ("Earned Points", "rule_credit", 1, 100),
        ("All Earned Points", None, None, 100),
        ("All Reversal Points", None, None, 0),
        ("Redeemed Points", "redemption", 1, 30),
    ]


def test_what_a_close_made_none_of_is_made_of_its_parquet_files(small, tmp_path, monkeypatch):
    settings = Settings.from_environment({"POINTS_HOME": str(small)})
    for month in ("2026-02", "2026-03"):
        report = read_report(settings, month)
        printed, file = io.BytesIO(), tmp_path / f"{month}.xlsx"
        monkeypatch.setattr(Report, "_kept", lambda report, name: None)
        report.write_xml(printed)
        report.write_xlsx(file)
        folder = revision(small, f"{month}/r1")
        assert printed.getvalue() == (folder / "outstanding_points.xml").read_bytes()
        assert file.read_bytes() == (folder / "outstanding_points.xlsx").read_bytes()


@pytest.mark.slow
def test_the_first_close_may_say_that_the_programme_begins_later(points, tmp_path):
    """docs/design.md, section 6: what is earlier posts to the first month."""
    home = tmp_path / "home"
    import_rows(points, home, [row for month in (1, 2, 3) for row in month_rows(month)])
    refused = points("close", "--first-month", "2025-12", home=home)
    assert_refused(refused, FirstMonthTooEarly("2025-12", "2026-01"))
    answer(points("close", "--first-month", "2026-02", home=home))
    assert not revision(home, "2026-01").exists()
    posted = {row[0] for row in rows_of(revision(home, "2026-02/r1") / "posted_transfers.parquet")}
    assert posted == {"E1", "R1", "M1", "E2", "R2", "M2"}
    answer(points("close", home=home))
    assert {row[0] for row in rows_of(revision(home, "2026-03/r1") / "posted_transfers.parquet")} == {
        "E3",
        "R3",
        "M3",
    }


@pytest.mark.slow
def test_what_comes_late_posts_to_the_first_open_month_and_is_marked(points, small, tmp_path):
    """docs/cases.md, R13: earlier months stay as they are, to the byte; reopened, they come out with it."""
    home = tmp_path / "home"
    shutil.copytree(small, home, symlinks=True)
    before = {name: bytes_of(revision(home, name)) for name in ("2026-01/r1", "2026-02/r1", "2026-03/r1")}
    import_rows(points, home, [transfer("L2", points="11", occurred_at="2026-02-20T12:00:00Z")])
    answer(points("approve", "P1", home=home, POINTS_USER="eve"))
    answer(points("close", home=home))
    posted = duckdb.sql(
        f"select transfer_id, is_late from '{revision(home, '2026-04/r1')}/posted_transfers.parquet'"
    ).fetchall()
    assert sorted(posted) == [("E4", False), ("L2", True), ("M4", False), ("R4", False)]
    assert {name: bytes_of(revision(home, name)) for name in before} == before

    reopened = json.loads(
        answer(points("reopen", "2026-02", "--reason", "L2 came late", "--json", home=home))
    )
    assert [month["report_month"] for month in reopened["reopened"]] == ["2026-02", "2026-03", "2026-04"]
    database = home / "published/outstanding_points.duckdb"

    def months() -> list[tuple]:
        with duckdb.connect(str(database), read_only=True) as connection:
            return connection.execute(
                "select strftime(report_month, '%m'), revision, status from published_months order by 1"
            ).fetchall()

    assert months() == [
        ("01", 1, "issued"),
        ("02", 1, "reopened"),
        ("03", 1, "reopened"),
        ("04", 1, "reopened"),
    ]
    answer(points("close", home=home))
    # One of three is closed again: readers keep the whole set that they had.
    assert months()[1:] == [("02", 1, "reopened"), ("03", 1, "reopened"), ("04", 1, "reopened")]
    assert revision(home, "2026-02/current").resolve().name == "r1"
    again = points("close", "--through", "2026-04", home=home)
    assert "Closed 2 months, 2026-03/r2 to 2026-04/r2" in answer(again)
    assert months()[1:] == [("02", 2, "issued"), ("03", 2, "issued"), ("04", 2, "issued")]
    assert revision(home, "2026-02/current").resolve().name == "r2"
    late = duckdb.sql(
        f"select is_late from '{revision(home, '2026-02/r2')}/posted_transfers.parquet'"
        " where transfer_id = 'L2'"
    ).fetchall()
    assert late == [(False,)]
    assert {name: bytes_of(revision(home, name)) for name in before} == before
    assert answer(points("report", "2026-02", "--revision", "1", "--csv", home=home)).startswith("Relation")
    assert "all 7 come out the same" in answer(points("verify", "--full", home=home))


@pytest.mark.slow
def test_a_rule_changed_for_past_months_shows_and_changes_nothing(small, tmp_path):
    """docs/cases.md, X14: in a copy of the project whose seeds say otherwise."""
    project, home = tmp_path / "project", tmp_path / "home"
    shutil.copytree(
        PROJECT_ROOT,
        project,
        ignore=shutil.ignore_patterns(".*", "var", "target", "logs", "tests", "__pycache__"),
    )
    shutil.copytree(PROJECT_ROOT / "tests" / "data", project / "tests" / "data")
    shutil.copytree(small, home, symlinks=True)
    before = bytes_of(revision(home, "2026-01/r1"))
    rules = project / "seeds" / "transfer_reasons.csv"
    text = rules.read_text(encoding="utf-8")
    changed = text.replace("redemption,deduct,redeemed", "redemption,deduct,expired")
    assert changed != text
    rules.write_text(changed, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "console.points", "verify", "--full", "--json"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "POINTS_HOME": str(home), "POINTS_TRANSFERS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    found = json.loads(result.stdout)
    assert found["verdict"] == "recomputed_otherwise"
    assert {
        "report_month": "2026-01",
        "revision": 1,
        "currency": "POINTS",
        "figure": "redeemed_points",
        "published": "30",
        "recomputed": "0",
    } in found["figures"]
    assert bytes_of(revision(home, "2026-01/r1")) == before


@pytest.mark.slow
def test_months_closed_in_one_go_one_by_one_or_in_pairs_are_the_same(points, demo_home, tmp_path):
    """And as a build from scratch gives them: the project's central test."""
    demo = demo_home.home
    accepting = ("--accept-quarantined", "bad rows of the demo")
    months = ["2025-09", "2025-10", "2025-11"]
    homes = {way: tmp_path / way for way in ("in_one_go", "one_by_one", "in_a_pair")}
    for way, base, through in (
        ("in_one_go", demo, months[2]),
        ("one_by_one", demo, months[0]),
        ("in_a_pair", homes["one_by_one"], months[2]),
    ):
        shutil.copytree(base, homes[way], symlinks=True)
        answer(points("close", "--through", through, *accepting, home=homes[way]))
    for month in months[1:]:
        answer(points("close", month, *accepting, home=homes["one_by_one"]))
    answer(points("build", "--through", months[-1], home=demo))
    for month in months:
        scratch = contents(demo / "provisional" / month, "provisional_")
        assert len(scratch) >= len(CSV_FILES) + len(PARQUET_FILES)
        for way, home in homes.items():
            assert contents(revision(home, f"{month}/r1")) == scratch, (way, month)
        # XML and workbooks say of themselves that they are closed.
        first, *others = (texts_of_close(home, month) for home in homes.values())
        assert {"outstanding_points.xml", "outstanding_points.xlsx"} <= first.keys()
        assert others == [first] * len(others)


@pytest.fixture(scope="module")
def airline_closed(points, airline_home, tmp_path_factory) -> Path:
    """The airline with its 24 months closed; for reading alone."""
    home = tmp_path_factory.mktemp("airline_closed") / "home"
    shutil.copytree(airline_home, home, symlinks=True)
    assert "Closed 24 months" in answer(points("close", "--through", "2018-12", home=home))
    return home


@pytest.mark.slow
def test_the_airline_closes_as_computed_elsewhere(airline, airline_closed):
    folders = {path.name: path / "current" for path in (airline_closed / "published").glob("????-??")}
    assert_airline_figures(folders, airline)


def assert_restated(home: Path, late: list[dict]) -> None:
    """The restatements of the months from August on add up to exactly the late rows; what November/r1 counted
    of them stands in its opening now."""
    points = {row["transfer_id"]: Decimal(row["points"]) for row in late}
    for month, count in ((8, 376), (9, 438), (10, 500), (11, 500)):
        rows = read_rows(revision(home, f"2018-{month:02d}/r2") / RESTATEMENT)
        lines = {
            line: [row for row in rows if row["Line"] == line]
            for line in ("revision 1", "transfer", "revision 2", "difference")
        }
        counted = {row["Transfer ID"] for row in lines["transfer"]}
        assert (len(lines["transfer"]), len(counted), counted <= set(points)) == (count, count, True)
        assert {row["Cause"] for row in lines["transfer"]} == {
            f"moved from 2018-11 to 2018-{posted:02d}" for posted in range(8, min(month, 10) + 1)
        }
        late_points = sum(points[transfer_id] for transfer_id in counted)
        moved = {name: {line: sum_of(of_line, name) for line, of_line in lines.items()} for name in rows[0]}
        for column, sums in moved.items():
            if column.endswith("Points"):
                assert sums["transfer"] == sums["difference"], (month, column)
                assert sums["revision 1"] + sums["transfer"] == sums["revision 2"], (month, column)
        closing = 0 if month == 11 else late_points
        assert moved["Closing Points"]["difference"] == moved["Total Earned Points"]["difference"] == closing
        assert moved["Total Outstanding Points"]["difference"] == closing
        opening = sum(
            points[row["Transfer ID"]]
            for row in lines["transfer"]
            if not row["Cause"].endswith(f"{month:02d}")
        )
        assert moved["Opening Points"]["difference"] == opening
        assert moved["Earned Points"]["difference"] == closing - opening


def sum_of(rows: list[dict], column: str) -> Decimal:
    return (
        sum((Decimal(row[column]) for row in rows), Decimal(0)) if column.endswith("Points") else Decimal(0)
    )


@pytest.mark.slow
def test_statement_explanation_and_report_agree_for_a_hundred_customers_of_the_airline(airline_closed):
    """docs/design.md, section 10: of each in one month of four, to the last digit."""
    settings = Settings.from_environment({"POINTS_HOME": str(airline_closed)})
    columns = [*RELATION_COLUMNS[OUTSTANDING_POINTS].values()][1:]
    for seed, month in enumerate(("2017-03", "2017-09", "2018-03", "2018-12")):
        rows = {row[0]: row[1:] for row in read_report(settings, month).table().rows()}
        for relation in random.Random(seed).sample(sorted(rows), 25):
            explained = explain_row(settings, month, relation)
            assert tuple(map(explained.points, columns)) == rows[relation], relation
            transfers = list(explained.transfers.read())
            stated = read_statement(settings, relation, last=month)
            assert stated.months[-1].closing_points == explained.points("closing_points")
            assert sorted(transfer.transfer_id for transfer in transfers) == sorted(
                line.transfer_id for of_month in stated.months for line in of_month.lines
            )
            for bucket in BUCKETS:
                counted = sum(one.bucket_points for one in transfers if one.bucket == bucket)
                assert counted == explained.points(f"total_{bucket}_points"), (relation, bucket)


@pytest.mark.long
@pytest.mark.slow
def test_late_rows_of_the_airline_move_no_closed_month_until_it_is_reopened(
    points, airline, airline_home, tmp_path
):
    """docs/cases.md, R13, with 500 rows that come late."""
    home = tmp_path / "home"
    shutil.copytree(airline_home, home, symlinks=True)
    answer(points("close", "--through", "2018-10", home=home))
    before = {f"{path.parent.name}/r1": bytes_of(path) for path in sorted((home / "published").glob("*/r1"))}
    members = duckdb.sql(
        "select distinct relation_reference from read_csv(?, all_varchar = true) order by 1 limit 500",
        params=[str(airline / "transfers.csv.gz")],
    ).fetchall()
    late = [
        transfer(
            f"late-{number:03d}",
            relation_reference=members[number][0],
            points=f"{number + 1}.25",
            occurred_at=f"2018-{3 + number % 8:02d}-15T08:00:00Z",
        )
        for number in range(500)
    ]
    import_rows(points, home, late)
    answer(points("close", "2018-11", home=home))
    assert {name: bytes_of(revision(home, name)) for name in before} == before
    query = (
        "select count(*), count(*) filter (is_late), sum(points)"
        f" from '{revision(home, '{}')}/posted_transfers.parquet' where transfer_id like 'late-%'"
    )
    late_sum = sum(Decimal(row["points"]) for row in late)
    assert duckdb.sql(query.format("2018-11/r1")).fetchall() == [(500, 500, late_sum)]

    answer(points("reopen", "2018-08", "--reason", "500 rows came late", home=home))
    answer(points("close", "--through", "2018-11", home=home))
    revised = sorted(f"{path.parent.name}" for path in (home / "published").glob("*/r2"))
    assert revised == ["2018-08", "2018-09", "2018-10", "2018-11"]
    assert {name: bytes_of(revision(home, name)) for name in before} == before
    # What belongs to months that stayed closed shows in the first reopened one.
    marked = [duckdb.sql(query.format(f"2018-{month:02d}/r2")).fetchall()[0][:2] for month in (8, 9, 10, 11)]
    assert [count for count, _ in marked] == [376, 62, 62, 0]
    assert [late_count for _, late_count in marked] == [314, 0, 0, 0]
    assert_restated(home, late)
    assert "all 27 come out the same" in answer(points("verify", "--full", home=home))
