"""Lists of balances: right at every moment, in every order, with every filter, on both databases."""

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest

from ledger import kept_balances
from ledger.append import appending
from ledger.balances import Balance, balances_of
from ledger.kept_balances import AMOUNTS
from ledger.lists import balance_lists
from ledger.lists.balance_lists import (
    BALANCE_COLUMNS,
    SORTS,
    count_balances,
    every_listed_balance,
    list_balances,
    selected_balances,
)
from ledger.lists.filters import FilterInvalid, FilterUnknown
from ledger.lists.paging import CursorInvalid, SortUnknown
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


@pytest.fixture(params=["brought along", "left behind", "thrown away"])
def way(request, monkeypatch) -> str:
    """The three ways in which balances are kept, which must not differ."""
    if request.param == "left behind":
        monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
    if request.param == "thrown away":

        def made_anew(ledger) -> int:
            kept_balances.throw_away(ledger)
            return kept_balances.bring_up_to_date(ledger)

        monkeypatch.setattr(balance_lists, "bring_up_to_date", made_anew)
    return request.param


def content(rows) -> list[tuple]:
    return [tuple(getattr(row, column) for column in BALANCE_COLUMNS) for row in rows]


def amounts(ledger, sort: str, filters=None, **options) -> list[tuple[str, str, Decimal]]:
    field = sort.removeprefix("-")
    page = list_balances(ledger, filters or {}, sort, **options)
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


# What each filter of a list of balances asks of a row.
FILTERS = {
    "relation": lambda row, value: row.relation_reference == value,
    "relation_prefix": lambda row, value: row.relation_reference.startswith(value),
    "currency": lambda row, value: row.currency == value,
    "min": lambda row, value: row.approved_points >= Decimal(value),
    "max": lambda row, value: row.approved_points <= Decimal(value),
    "closed": lambda row, value: row.is_account_closed == (value == "true"),
    "negative": lambda row, value: (row.approved_points < 0) == (value == "true"),
}


def chosen(rows: Iterable[Balance], wanted: Mapping[str, str], sort: str) -> list[Balance]:
    """The rows that a list with these filters gives, in its order."""
    return sorted(
        (row for row in rows if all(FILTERS[name](row, text) for name, text in wanted.items())),
        key=lambda row: (getattr(row, sort.removeprefix("-")), row.relation_reference, row.currency),
        reverse=sort.startswith("-"),
    )


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
    list_balances(ledger, {}, "-approved_points")
    record(ledger, *entries[100:])
    everything = list(every_listed_balance(ledger, {}))
    expected_keys = set(balances_of({row.relation_reference for row in everything}, NOON))
    assert expected_keys <= {(row.relation_reference, row.currency) for row in everything}
    found = transfers_ahead(sorted({row.relation_reference for row in everything}), NOON)
    kinds = {(row.reserves, row.first is row.transfer) for row in found}
    assert kinds == set(product([True, False], repeat=2))
    asked = [
        {"relation_prefix": "D"},
        {"currency": "MILES"},
        {"min": "-10.25", "max": "200"},
        {"closed": "true"},
        {"closed": "false", "negative": "true", "relation_prefix": "C-1"},
        {"relation": "C-07"},
        {"relation": "C-08", "currency": "POINTS", "min": "0"},
    ]
    for position, sort in enumerate([sign + field for field in SORTS for sign in ("", "-")]):
        for wanted in ({}, asked[position % len(asked)]):
            expected = chosen(everything, wanted, sort)
            assert content(pages(ledger, wanted, sort, 29)) == content(expected), (way, seed, sort, wanted)
            assert content(pages(ledger, wanted, sort, 29, back=True)) == content(expected)
            assert content(every_listed_balance(ledger, wanted, sort)) == content(expected)
            assert count_balances(ledger, wanted) == len(expected)


def pages(ledger, filters: dict[str, str], sort: str, size: int, back: bool = False, **options) -> list:
    """The rows of all pages, each asked for by the cursor of the one before; or, from the last one ``back``,
    by that of the one after."""
    found, page = [], list_balances(ledger, filters, sort, size, **options)
    while True:
        found.append(page.rows)
        if page.next_cursor is None:
            break
        assert len(page.rows) == size
        page = list_balances(ledger, filters, sort, size, after=page.next_cursor, **options)
    if back:
        found = [page.rows]
        while page.previous_cursor is not None:
            page = list_balances(ledger, filters, sort, size, before=page.previous_cursor, **options)
            found.insert(0, page.rows)
    return [row for rows in found for row in rows]


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
