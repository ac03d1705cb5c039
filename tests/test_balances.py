"""Lists of balances: right at every moment, in every order, with every filter, on both databases."""

import json
import os
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest

from ledger.append import appending, ledger_head
from ledger.balances import balances_of
from ledger.cut import freeze
from ledger.lists import balance_snapshots
from ledger.lists.balance_lists import AMOUNTS, SORTS, every_listed_balance, list_balances, selected_balances
from ledger.lists.list_requests import CursorInvalid, FilterInvalid, FilterUnknown, SortUnknown
from ledger.models import AccountEvent, StatusChange, Transfer
from ledger.relations import UnknownRelation
from ledger.transfers_ahead import transfers_ahead
from tests.conftest import answer, assert_refused, ledger_transfer, postgresql_in_ci

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
LARGEST = "99999999999999.9999"


def a_transfer(transfer_id: str, relation: str, points: str, style: str = "give", **values) -> Transfer:
    values = {"occurred_at": NOON - timedelta(days=1), **values}
    return ledger_transfer(transfer_id, relation_reference=relation, points=points, style=style, **values)


def a_change(transfer_id: str, status: str, changed_at: datetime = NOON) -> StatusChange:
    return StatusChange(transfer_id=transfer_id, status=status, changed_at=changed_at)


def an_event(relation: str, event: str, at: datetime = NOON) -> AccountEvent:
    return AccountEvent(
        event_id=f"{relation}-{event}-{at:%d}", relation_reference=relation, event=event, occurred_at=at
    )


def record(ledger, *entries) -> None:
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


def clock_at(*instants: datetime):
    """A clock that shows the last of some instants; the list may be added to."""
    shown = list(instants)
    return shown, lambda: shown[-1]


@pytest.fixture(params=["recounted", "kept", "from the cut"])
def way(request, monkeypatch) -> str:
    """The three ways in which a list by amounts knows every balance, which must not differ."""
    if request.param != "recounted":
        monkeypatch.setattr(balance_snapshots, "_KEEP_FROM", 0)
    if request.param == "from the cut":
        monkeypatch.setattr(balance_snapshots, "_FROM_CUT_FROM", 0)
    return request.param


def amounts(ledger, sort: str, filters=None, **options) -> list[tuple[str, str, Decimal]]:
    field = sort.removeprefix("-")
    page = list_balances(ledger, filters or {}, sort, freeze=freeze, **options)
    return [(row.relation_reference, row.currency, getattr(row, field)) for row in page.rows]


A_PROGRAMME = [
    a_transfer("T1", "C-1", "100"),
    a_transfer("T2", "C-1", "30.5", "deduct"),
    a_transfer("T3", "C-1", "7", currency="MILES"),
    a_transfer("T4", "C-2", "50", status="pending"),
    a_transfer("T5", "C-2", "20", "deduct", status="on_hold"),
    a_transfer("T6", "C-3", "5", "deduct"),
    a_transfer("T7", "C-4", "80", occurred_at=NOON + timedelta(days=3)),
    a_transfer("T8", "C-5", "9", status="cancelled"),
    a_transfer("T9", "C-6", "60"),
    a_transfer("T10", "C-6", "60", "deduct", reason="account_closure"),
    an_event("C-6", "close"),
    an_event("C-7", "open"),
    a_transfer("T11", "D_8", "1"),
]


def test_a_balance_separates_what_counts_what_waits_and_what_comes_later(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    rows = {(row.relation_reference, row.currency): row for row in list_balances(ledger, {}).rows}
    assert list(rows) == [
        ("C-1", "MILES"),
        ("C-1", "POINTS"),
        ("C-2", "POINTS"),
        ("C-3", "POINTS"),
        ("C-4", "POINTS"),
        ("C-5", "POINTS"),
        ("C-6", "POINTS"),
        ("C-7", "POINTS"),
        ("D_8", "POINTS"),
    ]
    assert rows["C-1", "POINTS"].approved_points == Decimal("69.5")
    assert rows["C-2", "POINTS"].pending_given_points == 50
    assert rows["C-2", "POINTS"].on_hold_deducted_points == 20
    assert rows["C-2", "POINTS"].spendable_points == -20
    assert rows["C-4", "POINTS"].approved_points == 0
    assert rows["C-4", "POINTS"].later_points == 80
    assert [key[0] for key, row in rows.items() if row.is_account_closed] == ["C-6"]
    assert all(getattr(rows["C-7", "POINTS"], name) == 0 for name in AMOUNTS)


@postgresql_in_ci
def test_every_page_in_every_order_and_with_every_filter_is_what_adding_up_says(ledger_home, way):
    seed = 20260310
    chance = random.Random(seed)
    ledger = ledger_home.open(clock=lambda: NOON)
    entries = []
    made = []
    for number in range(150):
        relation = f"{chance.choice('CD')}-{chance.randrange(40):02d}"
        status = chance.choice(["approved"] * 4 + ["pending", "on_hold", "cancelled"])
        values = {
            "relation_reference": relation,
            "points": str(Decimal(chance.randrange(1, 50_000)) / 100),
            "style": chance.choice(["give", "deduct"]),
            "currency": chance.choice(["POINTS", "POINTS", "MILES"]),
            "reason": chance.choice(["admin_adjustment"] * 7 + ["expiry"] * 2 + ["account_closure"]),
            "occurred_at": NOON + timedelta(hours=chance.choice([chance.randrange(-500, 50), 20])),
        }
        ahead = [transfer for transfer in made if transfer.occurred_at > NOON]
        if ahead and number % 2:
            # What revokes what has not taken effect, and mostly takes effect with it.
            original = chance.choice([*ahead[-3:], *made[-3:]])
            values |= {
                "relation_reference": original.relation_reference,
                "style": "give" if original.style == "deduct" else "deduct",
                "currency": original.currency,
                "reason": "revocation",
                "reverses_transfer_id": original.transfer_id,
                "occurred_at": original.occurred_at,
            }
            relation = original.relation_reference
        made.append(ledger_transfer(f"T{number}", **values, status=status))
        entries.append(made[-1])
        if status in ("pending", "on_hold") and chance.random() < 0.5:
            change = a_change(f"T{number}", chance.choice(["approved", "cancelled"]))
            change.changed_at += timedelta(hours=chance.randrange(-9, 9))
            entries.append(change)
        if chance.random() < 0.1:
            entries.append(an_event(relation, chance.choice(["open", "close"]), NOON + timedelta(number)))
    record(ledger, *entries[:100])
    list_balances(ledger, {}, "-approved_points", freeze=freeze)
    record(ledger, *entries[100:])
    everything = list(every_listed_balance(ledger, {}))
    expected_keys = set(balances_of({row.relation_reference for row in everything}, NOON))
    assert expected_keys <= {(row.relation_reference, row.currency) for row in everything}
    found = transfers_ahead(sorted({row.relation_reference for row in everything}), NOON)
    kinds = {(row.reserves, row.first is row.transfer) for row in found}
    assert kinds == set(product([True, False], repeat=2))
    filters = {
        "relation_prefix": lambda row, value: row.relation_reference.startswith(value),
        "currency": lambda row, value: row.currency == value,
        "min": lambda row, value: row.approved_points >= Decimal(value),
        "max": lambda row, value: row.approved_points <= Decimal(value),
        "closed": lambda row, value: row.is_account_closed == (value == "true"),
        "negative": lambda row, value: (row.approved_points < 0) == (value == "true"),
    }
    asked = [
        {"relation_prefix": "D"},
        {"currency": "MILES"},
        {"min": "-10.25", "max": "200"},
        {"closed": "true"},
        {"closed": "false", "negative": "true", "relation_prefix": "C-1"},
    ]
    for position, sort in enumerate([sign + field for field in SORTS for sign in ("", "-")]):
        for wanted in ({}, asked[position % len(asked)]):
            field = sort.removeprefix("-")
            expected = sorted(
                (row for row in everything if all(filters[name](row, text) for name, text in wanted.items())),
                key=lambda row: (getattr(row, field), row.relation_reference, row.currency),
                reverse=sort.startswith("-"),
            )
            assert pages(ledger, wanted, sort, 29) == expected, (way, seed, sort, wanted)
            assert list(every_listed_balance(ledger, wanted, sort, freeze)) == expected


def pages(ledger, filters: dict[str, str], sort: str, size: int) -> list:
    """The rows of all pages, each asked for by the cursor of the one before."""
    rows, cursor = [], None
    while True:
        page = list_balances(ledger, filters, sort, size, cursor, freeze)
        rows += page.rows
        cursor = page.next_cursor
        if cursor is None:
            return rows
        assert len(page.rows) == size


def test_a_list_is_right_the_moment_after_each_entry(ledger_home, way):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, a_transfer("T1", "C-1", "10"), a_transfer("T2", "C-2", "20"))
    assert amounts(ledger, "-approved_points") == [("C-2", "POINTS", 20), ("C-1", "POINTS", 10)]
    record(ledger, a_transfer("T3", "C-1", "30", status="pending"))
    assert amounts(ledger, "-approved_points") == [("C-2", "POINTS", 20), ("C-1", "POINTS", 10)]
    record(ledger, a_change("T3", "approved"))
    assert amounts(ledger, "-approved_points") == [("C-1", "POINTS", 40), ("C-2", "POINTS", 20)]
    record(ledger, an_event("C-2", "close"))
    assert amounts(ledger, "approved_points", {"closed": "true"}) == [("C-2", "POINTS", 20)]
    record(ledger, an_event("C-3", "open"))
    assert amounts(ledger, "approved_points")[0] == ("C-3", "POINTS", 0)


def test_time_alone_makes_a_balance_another_forwards_and_back(ledger_home, way):
    shown, clock = clock_at(NOON)
    ledger = ledger_home.open(clock=clock)
    record(
        ledger,
        a_transfer("T1", "C-1", "10"),
        a_transfer("T2", "C-2", "20", occurred_at=NOON + timedelta(hours=1)),
        a_transfer("T3", "C-2", "1"),
    )
    before = [("C-1", "POINTS", 10), ("C-2", "POINTS", 1)]
    after = [("C-2", "POINTS", 21), ("C-1", "POINTS", 10)]
    for instant, expected in [
        (NOON, before),
        (NOON + timedelta(hours=1), after),
        (NOON, before),
        (NOON + timedelta(hours=2), after),
    ]:
        shown.append(instant)
        assert amounts(ledger, "-approved_points") == expected


def test_sums_of_many_largest_transfers_stay_exact(ledger_home, way):
    """docs/cases.md, R7."""
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *(a_transfer(f"T{number}", "C-1", LARGEST) for number in range(20)))
    record(ledger, a_transfer("U", "C-2", LARGEST), *(a_transfer(f"V{n}", "C-3", "0.0001") for n in range(3)))
    exact = Decimal("1999999999999999.9980")
    assert balances_of(["C-1"], NOON)["C-1", "POINTS"].approved_points == exact
    assert amounts(ledger, "-approved_points", {"min": "0.0003"}) == [
        ("C-1", "POINTS", exact),
        ("C-2", "POINTS", Decimal(LARGEST)),
        ("C-3", "POINTS", Decimal("0.0003")),
    ]
    assert amounts(ledger, "-approved_points", {"min": f"{exact}"}) == [("C-1", "POINTS", exact)]
    assert amounts(ledger, "-approved_points", {"min": "1999999999999999.9981"}) == []


def test_a_snapshot_that_is_damaged_deleted_or_of_another_ledger_changes_nothing(ledger_home, monkeypatch):
    monkeypatch.setattr(balance_snapshots, "_KEEP_FROM", 0)
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, a_transfer("T1", "C-1", "10"))
    expected = [("C-1", "POINTS", 10)]
    assert amounts(ledger, "approved_points") == expected
    (kept,) = (ledger_home.home / "cut" / "balances").glob("*.parquet")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert amounts(ledger, "approved_points") == expected
    kept.unlink()
    assert amounts(ledger, "approved_points") == expected
    kept.write_bytes(whole.replace(ledger_head().chain_digest.hex().encode(), b"0" * 64))
    assert amounts(ledger, "approved_points") == expected


def test_without_a_cut_and_without_a_freeze_the_ledger_answers(ledger_home, monkeypatch):
    monkeypatch.setattr(balance_snapshots, "_FROM_CUT_FROM", 0)
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, a_transfer("T1", "C-1", "10"), a_transfer("T2", "C-2", "20"))
    page = list_balances(ledger, {}, "-approved_points")
    assert [row.relation_reference for row in page.rows] == ["C-2", "C-1"]


def test_old_snapshots_and_unfinished_ones_are_removed(ledger_home, monkeypatch):
    monkeypatch.setattr(balance_snapshots, "_KEEP_FROM", 0)
    ledger = ledger_home.open(clock=lambda: NOON)
    folder = ledger_home.home / "cut" / "balances"
    folder.mkdir(parents=True)
    (folder / ".000000000001.7.unfinished").write_bytes(b"PAR1")
    os.utime(folder / ".000000000001.7.unfinished", (0, 0))
    (folder / ".000000000002.8.unfinished").write_bytes(b"PAR1")
    for number in range(5):
        record(ledger, a_transfer(f"T{number}", f"C-{number}", "10"))
        assert len(amounts(ledger, "approved_points")) == number + 1
    assert sorted(path.name for path in folder.iterdir()) == [
        ".000000000002.8.unfinished",
        "000000000003.parquet",
        "000000000004.parquet",
        "000000000005.parquet",
    ]


def test_what_cannot_be_kept_is_answered_all_the_same(ledger_home, monkeypatch):
    monkeypatch.setattr(balance_snapshots, "_KEEP_FROM", 0)
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, a_transfer("T1", "C-1", "10"))
    (ledger_home.home / "cut").write_text("no folder")
    assert amounts(ledger, "approved_points") == [("C-1", "POINTS", 10)]


@pytest.mark.parametrize("prefix", ["D_", "%", "C-1'", "C;drop table transfers", "_", "\U0010ffff", "\ud7ff"])
def test_a_prefix_means_nothing_but_itself(ledger_home, prefix):
    """docs/cases.md, C9."""
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    for sort in ("relation_reference", "-relation_reference", "approved_points"):
        found = list_balances(ledger, {"relation_prefix": prefix}, sort).rows
        assert [row.relation_reference for row in found] == (["D_8"] if prefix == "D_" else [])
    assert list_balances(ledger, {"relation": prefix}).rows == []


def test_filters_and_orders_that_are_not_known_are_refused_by_name(ledger_home):
    """docs/cases.md, C9."""
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    with pytest.raises(FilterUnknown) as unknown:
        list_balances(ledger, {"bucket": "earned"})
    assert unknown.value.name == "bucket"
    with pytest.raises(SortUnknown) as unsorted:
        list_balances(ledger, {}, "-points; drop table transfers")
    assert unsorted.value.name == "points; drop table transfers"
    for name, value in [
        ("currency", "GOLD' or '1'='1"),
        ("min", "1e3"),
        ("max", "٣"),
        ("closed", "yes"),
        ("relation", "C-1\0"),
        ("relation", "\udcff"),
    ]:
        with pytest.raises(FilterInvalid) as invalid:
            list_balances(ledger, {name: value})
        assert (invalid.value.name, invalid.value.value) == (name, value)
    assert len(list_balances(ledger, {"currency": "", "min": ""}).rows) == 9


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "é", "WyJhcHByb3ZlZF9wb2ludHMiLCIxZTMiLCJDLTEiLCJQT0lOVFMiXQ"]
)
def test_a_forged_cursor_is_refused(ledger_home, cursor):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    with pytest.raises(CursorInvalid):
        list_balances(ledger, {}, "approved_points", after=cursor)


def test_a_cursor_of_another_order_is_refused(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    cursor = list_balances(ledger, {}, limit=2).next_cursor
    assert list_balances(ledger, {}, limit=2, after=cursor).rows[0].relation_reference == "C-2"
    with pytest.raises(CursorInvalid):
        list_balances(ledger, {}, "-relation_reference", after=cursor)


def test_a_selection_is_of_known_customers(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)
    found = selected_balances(ledger, ["C-7", "C-1"])
    assert [(row.relation_reference, row.currency) for row in found] == [
        ("C-1", "MILES"),
        ("C-1", "POINTS"),
        ("C-7", "POINTS"),
    ]
    with pytest.raises(UnknownRelation):
        selected_balances(ledger, ["C-1", "C-99"])


def test_the_command_lists_balances_for_people_and_programs(ledger_home, points):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *A_PROGRAMME)

    def balances(*arguments: str):
        return points("balances", *arguments, home=ledger_home.home, **ledger_home.environment)

    shown = balances("--relation", "C-1")
    assert "69.5" in answer(shown)
    first = json.loads(balances("--sort", "-approved_points", "--limit", "1", "--json").stdout)
    assert [row["relation_reference"] for row in first["rows"]] == ["C-4"]  # its day has come since
    second = json.loads(
        balances("--sort", "-approved_points", "--limit", "1", "--json", "--after", first["next"]).stdout
    )
    assert second["rows"][0]["approved_points"] == "69.5"
    with pytest.raises(SortUnknown) as refused:
        list_balances(ledger, {}, "colour")
    assert_refused(balances("--sort", "colour"), refused.value)
    assert balances("C-1", "--negative").returncode == 2
