"""`points reconcile`: a month's balances beside those of another system, by numbers made by hand."""

import csv
import gzip
import io
import json
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.files.transfers_file import TransfersFileRefused
from ledger.settings import Settings
from orchestration.reconciliation import BalancesRefused, Group, ProvesNothing, Reconciliation, reconciled
from orchestration.reports import CurrencyNotReported, RevisionNotPublished
from simulator.transfer_files import write_transfers
from tests.conftest import answer, refusal, transfer

MONTH = "2026-01"
NOTHING = Group(0, Decimal(0), Decimal(0))


@pytest.fixture(scope="module")
def home(points, tmp_path_factory) -> Path:
    """A closed month: C-1 has 70, C-2 -10, C-3 0, C-40 500, and C-1 7.5 MILES too."""
    home = tmp_path_factory.mktemp("reconciled") / "home"
    home.mkdir()
    rows = [
        transfer("T1", relation_reference="C-1", points="70"),
        transfer("T2", relation_reference="C-2", points="10", style="deduct", reason="redemption"),
        transfer("T3", relation_reference="C-3", points="5"),
        transfer("T4", relation_reference="C-3", points="5", style="deduct", reason="redemption"),
        transfer("T5", relation_reference="C-40", points="500"),
        transfer("T6", relation_reference="C-1", points="7.5", currency="MILES"),
    ]
    rows = [row | {"occurred_at": f"{MONTH}-10T12:00:00Z"} for row in rows]
    answer(points("import", str(write_transfers(home.parent / "rows.csv", rows)), home=home))
    answer(points("close", MONTH, home=home))
    return home


def compare(home: Path, path: Path, columns: Mapping[str, str] | None = None, **options) -> Reconciliation:
    """What comes out, with the items kept."""
    settings = Settings.from_environment({"POINTS_HOME": str(home)})
    with reconciled(settings, MONTH, path, columns or {}, **options) as found:
        vars(found)["kept"] = list(found.items())
        return found


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


def group(count: int, here: str, there: str) -> Group:
    return Group(count, Decimal(here), Decimal(there))


def test_it_is_tied_out_where_all_is_equal_to_the_last_digit(points, home, tmp_path):
    """Who has nothing here may be left out there, and who has nothing there is no difference here."""
    lines = ("card,town,saldo", "C-2,Ulm,-10.000000", "C-40,Ulm,500", "C-1,Bonn,70.0", "C-99,Bonn,0")
    path = write(tmp_path / "shop.csv", *lines)
    command = ["reconcile", MONTH, str(path), "--relation", "card", "--points", "saldo"]
    assert answer(points(*command, home=home)).endswith("\nTied out.\n")
    found = json.loads(answer(points(*command, "--json", home=home)))
    assert found["tied_out"] is True
    (currency,) = found["currencies"]
    assert currency["currency"] == "POINTS"
    figures = {"count": 5, "points_here": "560", "points_there": "560", "difference": "0"}
    assert currency["matched"] == currency["total"] == figures
    assert found["largest"] == []


def test_each_difference_is_in_one_group_and_the_largest_comes_first(points, home, tmp_path):
    """Here 560 = -10 matched + 70 + 500; there 460.5 = -10 + 20 + 450.5."""
    path = write(tmp_path / "a.csv", "relation_reference,points", "C-2,-10", "C-40,450.5", "C-77,20")
    found = compare(home, path)
    (currency,) = found.currencies
    assert currency.groups == {
        "matched": group(2, "-10", "-10"),
        "missing_there": group(1, "70", "0"),
        "missing_here": group(1, "0", "20"),
        "different": group(1, "500", "450.5"),
        "total": group(5, "560", "460.5"),
    }
    assert not found.is_tied_out
    printed = points("reconcile", MONTH, str(path), "--csv", home=home)
    assert printed.returncode == 1
    assert list(csv.reader(io.StringIO(printed.stdout))) == [
        ["kind", "currency", "relation_reference", "points_here", "points_there", "difference"],
        ["missing_there", "POINTS", "C-1", "70", "", "70"],
        ["different", "POINTS", "C-40", "500", "450.5", "49.5"],
        ["missing_here", "POINTS", "C-77", "", "20", "-20"],
    ]
    shown = points("reconcile", MONTH, str(path), "--rows", "1", home=home)
    assert shown.stdout.endswith("\nNot tied out.\n")
    assert "C-1 " in shown.stdout
    assert "C-77" not in shown.stdout


def test_each_currency_is_tied_out_by_itself(home, tmp_path):
    lines = ("relation_reference,points,unit", "C-1,70,POINTS", "C-1,7.5,MILES", "C-1,3,CHIPS")
    path = write(tmp_path / "a.csv", *lines, "C-2,-10,POINTS", "C-40,500,")
    found = compare(home, path, {"unit": "currency"})
    assert {one.currency: one.is_tied_out for one in found.currencies} == {
        "CHIPS": False,
        "MILES": True,
        "POINTS": True,
    }
    assert found.kept == [("missing_here", "CHIPS", "C-1", None, Decimal(3), Decimal(-3))]


def test_a_file_of_one_currency_is_compared_with_that_alone(home, tmp_path):
    path = write(tmp_path / "a.csv", "relation_reference,points", "C-1,7.5")
    assert compare(home, path, currency="MILES").is_tied_out
    assert not compare(home, path).is_tied_out
    with pytest.raises(CurrencyNotReported):
        compare(home, path, currency="CHIPS")
    with pytest.raises(RevisionNotPublished):
        compare(home, path, revision=2)


def test_parquet_is_compared_too(home, tmp_path):
    path = tmp_path / "a.parquet"
    balances = "('C-1', 70), ('C-2', -10), ('C-40', 500)) as balances(card, saldo)"
    duckdb.sql(f"copy (select card, saldo::decimal(18, 2) as saldo from (values {balances}) to '{path}'")
    assert compare(home, path, {"card": "relation_reference", "saldo": "points"}).is_tied_out


@pytest.mark.parametrize("name", ["outstanding_points.csv", "outstanding_points_by_month.parquet"])
@pytest.mark.parametrize("is_altered", [False, True])
def test_a_file_of_this_project_proves_nothing(points, home, tmp_path, name, is_altered):
    """Known by its bytes, and by its columns where somebody saved it anew."""
    published = home / "published" / MONTH / "r1" / name
    columns = {"Relation Reference": "relation_reference", "Total Outstanding Points": "points"}
    path = published
    if published.suffix == ".parquet":
        columns = {"total_outstanding_points": "points"}
        if is_altered:
            path = tmp_path / name
            duckdb.sql(f"copy (from '{published}' where relation_reference <> 'C-1') to '{path}'")
    elif is_altered:
        path = tmp_path / name
        path.write_bytes(published.read_bytes().replace(b"\r\n", b"\n"))
    with pytest.raises(ProvesNothing):
        compare(home, path, columns)


def test_a_list_of_balances_from_here_proves_nothing(points, home, tmp_path):
    path = tmp_path / "balances.csv"
    path.write_text(answer(points("balances", "--csv", home=home)), encoding="utf-8")
    with pytest.raises(ProvesNothing):
        compare(home, path, {"approved_points": "points"})


HEADER = "relation_reference,points"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.csv", b"", "FILE_EMPTY"),
        ("a.csv", f"{HEADER}\nC-\u00e9,1\n".encode("cp1252"), "ENCODING"),
        ("a.csv", b"relation_reference,saldo\nC-1,1\n", "HEADER"),
        ("a.csv", f"{HEADER},points\nC-1,1,1\n".encode(), "HEADER"),
        ("a.csv", f"{HEADER}\nC-1,1\n".replace(",", ";").encode(), "HEADER"),
        ("a.csv", f'{HEADER}\n"C-1,1\nC-2,2\n'.encode(), "QUOTE"),
        ("a.csv", f"{HEADER}\nC-1,1\nC-2".encode(), "TRUNCATED"),
        ("a.csv", gzip.compress(f"{HEADER}\nC-1,1\n".encode(), mtime=0), "NOT_CSV"),
        ("a.xlsx", b"PK\x03\x04", "NOT_CSV"),
        ("a.parquet", b"PAR1" + b"\x00" * 100 + b"PAR1", "PARQUET"),
    ],
)
def test_a_file_that_is_no_rows_is_refused(home, tmp_path, name, content, code):
    """docs/cases.md, F1, F3, F5, F6, F8, F9, F12 and F14."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TransfersFileRefused) as refused:
        compare(home, tmp_path / name)
    assert refused.value.code == code


def test_what_is_no_file_or_has_floats_is_refused(points, home, tmp_path):
    """docs/cases.md, F13, F14 and F18."""
    os.mkfifo(tmp_path / "pipe.csv")
    duckdb.sql(f"copy (select 'C-1' as relation_reference, 1.5::double as points) to '{tmp_path}/a.parquet'")
    (tmp_path / "points=1").mkdir()
    below = write(tmp_path / "points=1" / "a.csv", "relation_reference,saldo", "C-1,1")
    for path in (tmp_path, tmp_path / "pipe.csv", tmp_path / "absent.csv", tmp_path / "a.parquet", below):
        with pytest.raises(TransfersFileRefused):
            compare(home, path)
    assert str(tmp_path / "absent.csv") in refusal(
        points("reconcile", MONTH, str(tmp_path / "absent.csv"), home=home)
    )


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}\nC-1,70\n",
        f"{HEADER}\r\nC-1,70\n",
        f"{HEADER}\rC-1,70\r",
        f"note,{HEADER}\n{'x' * 3_000_000},C-1,70\n",
    ],
)
def test_marks_line_ends_and_long_fields_change_nothing(home, tmp_path, content):
    """docs/cases.md, F4, F16 and F20."""
    (tmp_path / "a.csv").write_bytes(content.encode())
    (currency,) = compare(home, tmp_path / "a.csv").currencies
    assert currency.matched == group(2, "70", "70")


def test_a_file_of_no_rows_ties_nothing_out(home, tmp_path):
    """docs/cases.md, F2 and F17."""
    path = tmp_path / "a.parquet"
    columns = "select 'C-1' as relation_reference, 70 as points, null::integer as currency"
    duckdb.sql(f"copy ({columns}) to '{path}'")
    assert compare(home, path).currencies[0].matched == group(2, "70", "70")
    (currency,) = compare(home, write(tmp_path / "a.csv", HEADER)).currencies
    assert currency.groups["total"] == group(4, "560", "0")


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        (("C-1,70", "C-2,1,000"), ("line 3", "as many fields")),
        (("C-1,70", ",5", "C-4,x"), ("2 of its 3 rows are", "line 3")),
        (("C-1,1e3",), ("line 2", "'1e3'")),
        (("C-1,0.12345",), ("'0.12345'",)),
        (("C-1,",), ("line 2",)),
        (("C-1,\u0661",), ("line 2",)),
        (("C-\x01,5",), ("line 2",)),
        (("C-1,70", "C-2,-10", "C-1,70"), ("C-1", "lines 2 and 4")),
    ],
)
def test_rows_that_are_no_balances_are_refused_whole(home, tmp_path, lines, facts):
    """docs/cases.md, F7 and F11; a customer with two balances in one currency has none."""
    with pytest.raises(BalancesRefused) as refused:
        compare(home, write(tmp_path / "a.csv", HEADER, *lines))
    assert all(fact in str(refused.value) for fact in facts), str(refused.value)


def test_many_digits_stay_exact(home, tmp_path):
    path = write(tmp_path / "a.csv", HEADER, "C-77,123456789012345678901234567890.0001", "C-78,-0.0001")
    found = compare(home, path)
    assert found.currencies[0].missing_here == group(2, "0", "123456789012345678901234567890")
    assert [item[4] for item in found.kept if item[0] == "missing_here"] == [
        Decimal("123456789012345678901234567890.0001"),
        Decimal("-0.0001"),
    ]
