"""`points reconcile`: a month's balances beside those of another system, by numbers made by hand."""

import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.database import open_ledger
from ledger.files.transfers_file import TransfersFileRefused
from ledger.models import MonthEndEntry
from ledger.reconciliation_items import ItemUnknown, TooManyItems, note_item, open_items
from ledger.settings import Settings
from orchestration.close.sign_off import NotIssued
from orchestration.reconciliation import (
    BalancesRefused,
    Group,
    ProvesNothing,
    Reconciliation,
    reconciled,
    record_reconciliation,
)
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
        "explained": NOTHING,
    }
    assert not found.is_tied_out
    printed = points("reconcile", MONTH, str(path), "--csv", home=home)
    assert printed.returncode == 1
    assert list(csv.reader(io.StringIO(printed.stdout))) == [
        [
            *("kind", "currency", "relation_reference", "points_here", "points_there", "difference"),
            *("category", "comment", "owner", "since_month"),
        ],
        ["missing_there", "POINTS", "C-1", "70", "", "70", "", "", "", ""],
        ["different", "POINTS", "C-40", "500", "450.5", "49.5", "", "", "", ""],
        ["missing_here", "POINTS", "C-77", "", "20", "-20", "", "", "", ""],
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
    assert [item[:6] for item in found.kept] == [
        ("missing_here", "CHIPS", "C-1", None, Decimal(3), Decimal(-3))
    ]


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


@pytest.fixture
def two_months(home, points, tmp_path) -> Path:
    """A copy in which February is closed too: C-1 has 80 in it, and the others what they had."""
    copy = tmp_path / "home"
    shutil.copytree(home, copy, symlinks=True)
    row = transfer("T7", relation_reference="C-1", points="10") | {"occurred_at": "2026-02-10T12:00:00Z"}
    answer(points("import", str(write_transfers(tmp_path / "february.csv", [row])), home=copy))
    answer(points("close", "2026-02", home=copy))
    return copy


def tie_out(home: Path, month: str, path: Path) -> Reconciliation:
    """What comes out of a run that is recorded, under the explanations that there were."""
    settings = Settings.from_environment({"POINTS_HOME": str(home), "POINTS_USER": "ada"})
    with reconciled(settings, month, path, {}) as found:
        record_reconciliation(settings, found, "cards at midnight")
        return found


def explain(home: Path, reference: str, **said: str) -> None:
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(home), "POINTS_USER": "bob"}))
    note_item(ledger, "POINTS", reference, **said)


def differences() -> dict[str, Decimal]:
    return {item.relation_reference: item.difference for item in open_items().values()}


def test_items_carry_to_the_next_month_and_close_themselves(two_months, tmp_path):
    """January: C-1 has 70 here and 60 there, C-40 is not there. February: C-1 has 80 and 70, the same 10, and
    C-40 is there; C-2 has -10 here and -12 there."""
    january = write(tmp_path / "jan.csv", HEADER, "C-1,60", "C-2,-10")
    february = write(tmp_path / "feb.csv", HEADER, "C-1,70", "C-2,-12", "C-40,500")
    tie_out(two_months, "2026-01", january)
    assert differences() == {"C-1": Decimal(10), "C-40": Decimal(500)}
    explain(two_months, "C-1", category="timing", comment="Bought at midnight", owner="eve")
    tie_out(two_months, "2026-02", february)
    assert differences() == {"C-1": Decimal(10), "C-2": Decimal(2)}
    first, second = open_items().values()
    assert (first.since_month, first.report_month, first.owner) == ("2026-01", "2026-02", "eve")
    assert (first.category, second.since_month) == ("timing", "2026-02")
    tie_out(two_months, "2026-02", write(tmp_path / "at_last.csv", HEADER, "C-1,80", "C-2,-10", "C-40,500"))
    assert open_items() == {}


def test_what_is_explained_ties_out_until_it_changes(two_months, tmp_path):
    """C-1 has 70 here and 60 there, which is explained; then 65 there, which is not."""
    path = write(tmp_path / "a.csv", HEADER, "C-1,60", "C-2,-10", "C-40,500")
    assert not tie_out(two_months, "2026-01", path).is_tied_out
    explain(two_months, "C-1", comment="Looking into it", owner="eve")
    assert not tie_out(two_months, "2026-01", path).is_tied_out
    explain(two_months, "C-1", category="amount")
    (currency,) = (found := tie_out(two_months, "2026-01", path)).currencies
    assert found.is_tied_out
    assert currency.explained == currency.different == group(1, "70", "60")
    (item,) = open_items().values()
    assert (item.category, item.comment, item.owner) == ("amount", "Looking into it", "eve")
    other = write(tmp_path / "b.csv", HEADER, "C-1,65", "C-2,-10", "C-40,500")
    for _ in range(2):
        assert not tie_out(two_months, "2026-01", other).is_tied_out
    assert next(iter(open_items().values())).category == ""


def test_a_run_of_one_currency_closes_no_item_of_another(two_months, tmp_path):
    tie_out(two_months, "2026-01", write(tmp_path / "a.csv", HEADER, "C-1,60", "C-2,-10", "C-40,500"))
    settings = Settings.from_environment({"POINTS_HOME": str(two_months)})
    with reconciled(
        settings, MONTH, write(tmp_path / "m.csv", HEADER, "C-1,7.5"), {}, currency="MILES"
    ) as found:
        record_reconciliation(settings, found)
    assert differences() == {"C-1": Decimal(10)}


def test_more_items_than_anybody_looks_at_are_not_kept(two_months, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestration.reconciliation.MOST_ITEMS", 1)
    path = write(tmp_path / "a.csv", HEADER, "C-1,60", "C-2,-10", "C-40,501")
    with pytest.raises(TooManyItems):
        tie_out(two_months, "2026-01", path)
    assert open_items() == {}
    assert not MonthEndEntry.objects.exists()


def test_what_is_closed_is_recorded_and_what_is_open_is_explained(points, home, two_months, tmp_path):
    path = write(tmp_path / "a.csv", HEADER, "C-1,60", "C-2,-10", "C-40,500")
    answer(points("build", "--through", "2026-03", home=two_months))
    with pytest.raises(NotIssued):
        tie_out(two_months, "2026-03", path)
    tie_out(two_months, "2026-01", path)
    with pytest.raises(ItemUnknown):
        explain(two_months, "C-2", category="timing")
    answer(points("items", "C-1", "--category", "basis", "--comment", "=1+1", home=two_months))
    (row,) = json.loads(answer(points("items", "--json", home=two_months)))
    assert (row["difference"], row["category"], row["since_month"]) == ("10", "basis", "2026-01")
    assert "'=1+1" in answer(points("items", "--csv", home=two_months))
    assert "basis" in answer(points("items", home=two_months))
    assert answer(points("items", home=home)) == "No item is open.\n"
    assert points("items", "--category", "basis", home=home).returncode == 2
    answer(points("verify", home=two_months))
