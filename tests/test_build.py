"""`points build`: months from a file of transfers, written whole or not at all."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.settings import MonthInvalid
from orchestration.build import NothingToBuild
from orchestration.reports import MonthNotBuilt
from simulator.transfer_files import write_transfers
from tests.conftest import answer, assert_refused, read_rows, refusal, transfer


@pytest.fixture(scope="module")
def built(points, tmp_path_factory) -> Path:
    """A home with a build of three months, two currencies and a row of each kind of outcome."""
    home = tmp_path_factory.mktemp("built") / "home"
    rows = [
        transfer("T-1", relation_reference="C-10", points="100.50", occurred_at="2026-01-10T12:00:00Z"),
        transfer("T-2", relation_reference="C-10", style="deduct", reason="redemption", points="30"),
        transfer("T-3", relation_reference="C-9", points="12.3400", occurred_at="2026-01-10T12:00:00Z"),
        transfer("T-4", relation_reference="c-1", points="7", occurred_at="2026-01-31T23:59:59Z"),
        transfer("T-5", relation_reference="C-10", currency="MILES", points="5", status="approved"),
        transfer("T-6", relation_reference="C-9", status="pending", points="8"),
        transfer("T-7", relation_reference="C-9", style="deduct", reason="redemption", points="20"),
    ]
    transfers = write_transfers(home.parent / "transfers.csv", rows)
    result = answer(points("build", home=home, transfers=transfers))
    assert "C-10" in result
    return home


def test_the_report_has_its_header_crlf_byte_order_and_no_trailing_zeros(built):
    assert (built / "provisional/2026-03/provisional_outstanding_points.csv").read_bytes() == (
        b"Relation Reference,Total Earned Points,Total Reversal Points,Total Redeemed Points,"
        b"Total Expired Points,Total Outstanding Points\r\n"
        b"C-10,100.5,0,30,0,70.5\r\n"
        b"C-9,12.34,0,20,0,-7.66\r\n"
        b"c-1,7,0,0,0,7\r\n"
    )


def test_the_roll_forward_shows_the_movement_of_the_month(built):
    assert (built / "provisional/2026-03/provisional_points_roll_forward.csv").read_bytes() == (
        b"Relation Reference,Opening Points,Earned Points,Reversal Points,Redeemed Points,"
        b"Expired Points,Closing Points\r\n"
        b"C-10,100.5,0,0,30,0,70.5\r\n"
        b"C-9,12.34,0,0,20,0,-7.66\r\n"
        b"c-1,7,0,0,0,0,7\r\n"
    )


def test_a_quiet_month_has_its_files_and_carries_every_balance(built):
    rows = read_rows(built / "provisional/2026-02/provisional_points_roll_forward.csv")
    assert [(row["Relation Reference"], row["Opening Points"], row["Closing Points"]) for row in rows] == [
        ("C-10", "100.5", "100.5"),
        ("C-9", "12.34", "12.34"),
        ("c-1", "7", "7"),
    ]


def test_another_currency_has_files_of_its_own_from_its_first_row_on(built):
    assert not (built / "provisional/2026-02/provisional_outstanding_points.MILES.csv").exists()
    assert read_rows(built / "provisional/2026-03/provisional_outstanding_points.MILES.csv") == [
        {
            "Relation Reference": "C-10",
            "Total Earned Points": "5",
            "Total Reversal Points": "0",
            "Total Redeemed Points": "0",
            "Total Expired Points": "0",
            "Total Outstanding Points": "5",
        }
    ]


def test_what_waits_is_in_no_balance_and_stands_in_the_unposted_transfers_of_the_last_month(built):
    query = "select transfer_id, status from read_parquet(?)"
    last = built / "provisional/2026-03/provisional_unposted_transfers.parquet"
    assert duckdb.sql(query, params=[str(last)]).fetchall() == [("T-6", "pending")]
    assert not (built / "provisional/2026-02/provisional_unposted_transfers.parquet").exists()


def test_every_file_and_table_of_a_build_says_that_it_is_provisional(built):
    files = {path for path in (built / "provisional").rglob("*") if path.is_file()}
    assert {file.name for file in files if not file.name.startswith("provisional")} <= {"ledger_head.json"}
    for file in (built / "provisional").rglob("*.parquet"):
        metadata = duckdb.sql("select key, value from parquet_kv_metadata(?)", params=[str(file)]).fetchall()
        assert (b"status", b"provisional") in metadata, file
    with duckdb.connect(str(built / "provisional/provisional.duckdb"), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("show tables").fetchall()]
        assert "outstanding_points_by_month" in tables
        for table in tables:
            found = connection.execute(f"select distinct publication_status from {table}").fetchall()
            assert found in ([("provisional",)], []), table


def test_the_history_of_every_transfer_that_was_read_is_in_the_database_of_a_build(built):
    with duckdb.connect(str(built / "provisional/provisional.duckdb"), read_only=True) as connection:
        history = connection.execute(
            "select publication_status, transfer_id, disposition, strftime(posting_month, '%Y-%m'), bucket"
            " from transfer_history order by all"
        ).fetchall()
    assert history == [
        ("provisional", "T-1", "posted", "2026-01", "earned"),
        ("provisional", "T-2", "posted", "2026-03", "redeemed"),
        ("provisional", "T-3", "posted", "2026-01", "earned"),
        ("provisional", "T-4", "posted", "2026-01", "earned"),
        ("provisional", "T-5", "posted", "2026-03", "earned"),
        ("provisional", "T-6", "pending", None, None),
        ("provisional", "T-7", "posted", "2026-03", "redeemed"),
    ]


def test_points_are_exact_decimals_in_every_parquet_file(built):
    for file in (built / "provisional").glob("*/*.parquet"):
        types = duckdb.sql("describe select * from read_parquet(?)", params=[str(file)]).fetchall()
        for name, kind, *_ in types:
            assert kind not in ("DOUBLE", "FLOAT"), (file, name)
            if name.endswith("_points"):
                assert kind == "DECIMAL(38,4)", (file, name)


def test_a_refused_build_leaves_what_readers_have(built, points, tmp_path):
    before = (built / "provisional").resolve()
    broken = tmp_path / "broken.csv"
    broken.write_text("transfer_id;points\n", encoding="utf-8")
    result = points("build", home=built, transfers=broken)
    assert result.returncode == 1
    assert (built / "provisional").resolve() == before
    assert (before / "2026-03/provisional_outstanding_points.csv").exists()


def test_a_build_again_gives_the_same_bytes_in_every_zone_and_locale_of_the_machine(built, points):
    """docs/cases.md, F10 and X17."""
    old = (built / "provisional").resolve()
    transfers = built.parent / "transfers.csv"
    answer(points("build", home=built, transfers=transfers, TZ="Asia/Tokyo", LC_ALL="C", LANG="tr_TR.UTF-8"))
    new = (built / "provisional").resolve()
    assert new != old
    csvs = sorted(path.relative_to(old) for path in old.glob("*/*.csv"))
    assert csvs == sorted(path.relative_to(new) for path in new.glob("*/*.csv"))
    for name in csvs:
        assert (old / name).read_bytes() == (new / name).read_bytes(), name
    for name in (path.relative_to(old) for path in old.glob("*/*.parquet")):
        left, right = (
            duckdb.sql("select * from read_parquet(?)", params=[str(folder / name)]).fetchall()
            for folder in (old, new)
        )
        assert left == right, name


def test_the_months_and_a_report_are_shown_and_printed_for_programs(built, points):
    months = json.loads(points("months", "--json", home=built).stdout)
    assert [month["report_month"] for month in months if month["currency"] == "POINTS"] == [
        "2026-01",
        "2026-02",
        "2026-03",
    ]
    assert months[-1]["closing_points"] == "69.84"
    printed = json.loads(points("report", "2026-03", "--json", home=built).stdout)
    assert printed["rows"][1] == {
        "relation_reference": "C-9",
        "total_earned_points": "12.34",
        "total_reversal_points": "0",
        "total_redeemed_points": "20",
        "total_expired_points": "0",
        "total_outstanding_points": "-7.66",
    }
    screen = points("report", "2026-03", home=built).stdout
    assert "-7.66" in screen
    assert "outstanding_points.csv" in screen
    as_csv = points("report", "2026-03", "--csv", home=built).stdout
    assert as_csv.splitlines()[1] == "C-10,100.5,0,30,0,70.5"


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-1", "2026-01\n", "٢٠٢٦-٠١", "../x", "2026-01/../2026-02", ""]
)
def test_a_month_that_is_none_is_refused_and_never_a_path(built, points, month):
    """docs/cases.md, C1."""
    for arguments in (["report", month], ["build", "--through", month]):
        result = points(*arguments, home=built, transfers=built.parent / "transfers.csv")
        assert_refused(result, MonthInvalid(month))


def test_a_build_prints_its_months_for_programs(built, points):
    transfers = built.parent / "transfers.csv"
    lines = points("build", "--csv", home=built, transfers=transfers).stdout.splitlines()
    assert lines[0] == "report_month,folder,relations,posted_transfers,closing_points"
    assert [line.split(",")[0] for line in lines[1:]] == ["2026-01", "2026-02", "2026-03"]
    assert lines[-1].endswith(",3,2,69.84")


def test_a_month_without_a_report_is_refused_saying_which_there_are(built, points):
    missing = MonthNotBuilt("2025-12", built, ["2026-01", "2026-02", "2026-03"])
    assert_refused(points("report", "2025-12", home=built), missing)


def test_without_transfers_nothing_is_built_from_the_sample(points, tmp_path):
    assert_refused(points("build", home=tmp_path / "home"), NothingToBuild(tmp_path / "home"))
    assert not (tmp_path / "home" / "provisional").exists()


def test_a_span_of_more_than_240_months_is_refused_naming_the_transfer(points, tmp_path):
    """docs/cases.md, R22."""
    rows = [transfer("T-1"), transfer("T-FAR", occurred_at="2190-01-01T00:00:00Z")]
    transfers = write_transfers(tmp_path / "transfers.csv", rows)
    result = points("build", home=tmp_path / "home", transfers=transfers)
    sentence = refusal(result).strip().splitlines()[-1]
    assert sentence.startswith("SPAN: ")
    assert "T-FAR" in sentence
    answer(points("build", "--through", "2026-04", home=tmp_path / "home", transfers=transfers))


@pytest.mark.slow
def test_the_airline_programme_comes_out_as_computed_elsewhere(points, airline, tmp_path):
    home = tmp_path / "home"
    answer(points("build", "--through", "2018-12", home=home, transfers=airline / "transfers.csv.gz"))
    assert_airline_figures(
        {path.name: path for path in (home / "provisional").glob("????-??")}, airline, "provisional_"
    )


def assert_airline_figures(folders: Mapping[str, Path], airline: Path, prefix: str = "") -> None:
    """Every month of the airline, by its name, is what was computed elsewhere, to the last customer.

    The names of its files begin with ``prefix``.
    """
    expected = {row["report_month"]: row for row in read_rows(airline / "expected_by_month.csv")}
    assert sorted(folders) == sorted(expected)
    names = [
        "earned_points",
        "reversal_points",
        "redeemed_points",
        "expired_points",
        "total_outstanding_points",
    ]
    for month, row in expected.items():
        folder = folders[month]
        found = duckdb.sql(
            f"select {', '.join(names)}, nonzero_relation_count, negative_relation_count"
            " from read_parquet(?)",
            params=[str(folder / f"{prefix}programme_points_by_month.parquet")],
        ).fetchall()
        counts = [int(row["relations_not_zero"]), int(row["relations_negative"])]
        assert found == [(*(Decimal(row[name]) for name in names), *counts)], month
        roll_forward = read_rows(folder / f"{prefix}points_roll_forward.csv")
        assert sum(Decimal(line["Closing Points"]) for line in roll_forward) == Decimal(
            row["total_outstanding_points"]
        )
    balances = {
        line["Relation Reference"]: line["Total Outstanding Points"]
        for line in read_rows(folders["2018-12"] / f"{prefix}outstanding_points.csv")
    }
    everybody = duckdb.sql(
        "select * from read_csv(?, all_varchar = true)",
        params=[str(airline / "expected_balances_2018-12.csv.gz")],
    ).fetchall()
    assert len(balances) == 15_236
    assert {relation: balances.get(relation, "0") for relation, _ in everybody} == dict(everybody)
