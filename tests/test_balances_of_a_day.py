"""Balances as of the end of a day, and as they were known at the end of one, on both databases."""

import json
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from random import Random

import pytest

from ledger import kept_balances
from ledger.acts.decisions import approve
from ledger.acts.revocations import revoke
from ledger.links import ledger_head
from ledger.lists import streaming
from ledger.lists.balance_lists import (
    BALANCE_COLUMNS,
    SORTS,
    count_balances,
    every_listed_balance,
    list_balances,
    selected_balances,
)
from ledger.models import AccountEvent
from ledger.moments import DateBeforeFirst, DateInFuture, DateInvalid, Moment, moment_of
from ledger.relations import UnknownRelation
from tests.conftest import answer, assert_refused, postgresql_in_ci
from tests.hostile_world import ACTS, DRAWN, RELATIONS, HostileWorld
from tests.plain_ledger import PlainLedger
from tests.test_balances import a_transfer, an_event, chosen, clock_at, content, pages, record

ZONE = {"POINTS_TIME_ZONE": "Europe/Berlin"}


def berlin(text: str) -> datetime:
    """A wall clock of October or November 2026 in Berlin: +01:00 from 25 October on, +02:00 before."""
    hours = 2 if text < "2026-10-25" else 1
    return (datetime.fromisoformat(text) - timedelta(hours=hours)).replace(tzinfo=UTC)


def an_autumn(ledger_home):
    """A ledger of which each day's balances can be worked out by head; its clock stands at 20 November.

    | recorded | | occurred | of |
    |---|---|---|---|
    | 1 October | T1 gives 100 | 1 October | C-1 |
    | 10 October | T2 deducts 40, pending; approved on 2 November | 10 October | C-1 |
    | 20 October | T3 gives 25, dated ahead | 5 November | C-1 |
    | 20 October | T4 deducts 10, dated ahead | 5 November | C-1 |
    | 31 October, 23:30 | T5 gives 7 | 31 October, 23:59:59.999999 | C-2 |
    | 3 November | T6 deducts 30, late | 30 October | C-1 |
    | 5 November | T7 deducts 20 | 5 November | C-1 |
    | 6 November | T7 is revoked | 6 November | C-1 |
    | 7 November | T8 gives 1 | 1 November, 00:00 | C-2 |
    | 8 November | C-2's account is closed | 8 November | C-2 |
    """
    shown, clock = clock_at()
    ledger = ledger_home.open(clock=clock, **ZONE)

    def at(text: str, *entries) -> None:
        shown.append(berlin(text))
        record(ledger, *entries)

    at("2026-10-01T12:00", a_transfer("T1", "C-1", "100", occurred_at=berlin("2026-10-01T10:00")))
    waiting = {"status": "pending", "occurred_at": berlin("2026-10-10T09:00")}
    at("2026-10-10T12:00", a_transfer("T2", "C-1", "40", "deduct", **waiting))
    ahead = {"occurred_at": berlin("2026-11-05T00:00")}
    at(
        "2026-10-20T12:00",
        a_transfer("T3", "C-1", "25", **ahead),
        a_transfer("T4", "C-1", "10", "deduct", **ahead),
    )
    last = berlin("2026-10-31T23:59:59.999999")
    at("2026-10-31T23:30", a_transfer("T5", "C-2", "7", occurred_at=last))
    shown.append(berlin("2026-11-02T12:00"))
    approve(replace(ledger, user="bob"), ["T2"], allow_negative=True)
    at("2026-11-03T12:00", a_transfer("T6", "C-1", "30", "deduct", occurred_at=berlin("2026-10-30T12:00")))
    at("2026-11-05T12:00", a_transfer("T7", "C-1", "20", "deduct", occurred_at=berlin("2026-11-05T11:00")))
    shown.append(berlin("2026-11-06T12:00"))
    revoke(ledger, ["T7"])
    at("2026-11-07T12:00", a_transfer("T8", "C-2", "1", occurred_at=berlin("2026-11-01T00:00")))
    at("2026-11-08T12:00", an_event("C-2", "close", berlin("2026-11-08T12:00")))
    shown.append(berlin("2026-11-20T12:00"))
    return ledger


def balances(ledger, as_of: str = "", known_at: str = "") -> dict[str, tuple]:
    """Approved, pending deducted, later and spendable points by relation reference, and ``closed``."""
    moment = moment_of(ledger, as_of, known_at)
    return {
        row.relation_reference: (
            *map(
                int,
                (
                    row.approved_points,
                    row.pending_deducted_points,
                    row.later_points,
                    row.spendable_points,
                ),
            ),
            *(["closed"] if row.is_account_closed else []),
        )
        for row in list_balances(ledger, {}, moment=moment).rows
    }


def test_a_day_ends_on_what_had_taken_effect_by_all_that_is_known(ledger_home):
    """T2, approved on 2 November, is ahead on 31 October, and T6, which came late, has counted: 100 − 30 are
    70; T2 (−40), T3 and T4 are later; T2 and T4 reserve 50. T7 and T8 were not there."""
    ledger = an_autumn(ledger_home)
    assert balances(ledger, as_of="2026-10-31") == {"C-1": (70, 0, -25, 20), "C-2": (7, 0, 0, 7)}
    # T8 occurred with 1 November; T2 was approved on the 2nd.
    assert balances(ledger, as_of="2026-11-01") == {"C-1": (70, 0, -25, 20), "C-2": (8, 0, 0, 8)}
    assert balances(ledger, as_of="2026-11-02") == {"C-1": (30, 0, 15, 20), "C-2": (8, 0, 0, 8)}
    # T7 is there from the 5th; its revocation took effect on the 6th.
    assert balances(ledger, as_of="2026-11-05") == {"C-1": (25, 0, 0, 25), "C-2": (8, 0, 0, 8)}
    assert balances(ledger, as_of="2026-11-06") == {"C-1": (45, 0, 0, 45), "C-2": (8, 0, 0, 8)}
    assert balances(ledger, as_of="2026-11-08") == {"C-1": (45, 0, 0, 45), "C-2": (8, 0, 0, 8, "closed")}
    assert balances(ledger, as_of="2026-10-01") == {"C-1": (100, 0, 0, 100)}


def test_what_was_known_at_a_day_is_what_the_list_said_then(ledger_home):
    """On 31 October T2 still waited and T6 had not come: 100, of which T2 and T4 reserve 50."""
    ledger = an_autumn(ledger_home)
    assert balances(ledger, known_at="2026-10-31") == {"C-1": (100, 40, 15, 50), "C-2": (7, 0, 0, 7)}
    assert balances(ledger, known_at="2026-11-02") == {"C-1": (60, 0, 15, 50), "C-2": (7, 0, 0, 7)}
    assert balances(ledger, known_at="2026-11-05") == {"C-1": (25, 0, 0, 25), "C-2": (7, 0, 0, 7)}
    # A day without entries, and one that is not over: the newest.
    assert balances(ledger, known_at="2026-11-19") == balances(ledger, known_at="2026-11-08")
    assert balances(ledger, known_at="2026-11-20") == balances(ledger, as_of="2026-11-20")


def test_both_dates_together_are_an_entry_and_an_instant(ledger_home):
    """What 31 October ended on, as one knew it on 4 November: T6 had come, T2 had been approved, T8 had not
    come. And what 5 November was to end on, as one knew it on 31 October, when T2 waited."""
    ledger = an_autumn(ledger_home)
    assert balances(ledger, "2026-10-31", "2026-11-04") == {"C-1": (70, 0, -25, 20), "C-2": (7, 0, 0, 7)}
    assert balances(ledger, "2026-11-01", "2026-11-04") == {"C-1": (70, 0, -25, 20), "C-2": (7, 0, 0, 7)}
    # That C-2's account was closed on the 8th was not known on the 7th.
    assert balances(ledger, "2026-11-08", "2026-11-07")["C-2"] == (8, 0, 0, 8)
    assert balances(ledger, "2026-11-05", "2026-10-31") == {"C-1": (115, 40, 0, 75), "C-2": (7, 0, 0, 7)}


def test_the_highest_entry_by_a_day_is_known_then_though_a_clock_was_set_back(ledger_home):
    """docs/cases.md, X28 and C17."""
    shown, clock = clock_at()
    ledger = ledger_home.open(clock=clock)
    for day, name in ((1, "T1"), (5, "T2"), (3, "T3"), (6, "T4")):
        shown.append(datetime(2026, 3, day, 12, tzinfo=UTC))
        record(ledger, a_transfer(name, "C-1", "1", occurred_at=datetime(2026, 3, 1, tzinfo=UTC)))
    known = {day: moment_of(ledger, "", f"2026-03-0{day}").upto_entry_id for day in range(1, 7)}
    assert known == {1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 4}


def test_today_is_the_list_of_this_moment(ledger_home):
    ledger = an_autumn(ledger_home)
    now = content(every_listed_balance(ledger, {}))
    for dates in (("2026-11-20", ""), ("", "2026-11-20"), ("2026-11-20", "2026-11-20")):
        assert content(every_listed_balance(ledger, {}, moment=moment_of(ledger, *dates))) == now


def test_what_is_no_day_or_before_or_after_all_is_refused_by_name(ledger_home):
    """docs/cases.md, C17."""
    ledger = ledger_home.open(clock=lambda: berlin("2026-11-20T00:00"), **ZONE)
    with pytest.raises(DateBeforeFirst):
        moment_of(ledger, "", "2026-11-20")
    with pytest.raises(DateBeforeFirst):
        moment_of(ledger, "2026-11-20", "")
    ledger = an_autumn(ledger_home)
    for text in (
        "2026-02-30",
        "2026-2-3",
        "20261031",
        "2026-10-31T00:00:00Z",
        "1989-12-31",
        "2200-01-01",
        "x",
    ):
        for dates in ((text, ""), ("", text), ("2026-10-31", text)):
            with pytest.raises(DateInvalid):
                moment_of(ledger, *dates)
    for dates in (("2026-11-21", ""), ("", "2026-11-21"), ("2199-12-31", "2026-10-31")):
        with pytest.raises(DateInFuture):
            moment_of(ledger, *dates)
    for dates in (("2026-09-30", ""), ("", "2026-09-30"), ("2026-09-30", "2026-10-31")):
        with pytest.raises(DateBeforeFirst):
            moment_of(ledger, *dates)
    moment_of(ledger, "2026-10-01", "2026-10-01")


def test_the_command_lists_selects_and_exports_balances_of_a_day(ledger_home, points):
    ledger = an_autumn(ledger_home)

    def asked(*arguments: str):
        return points("balances", *arguments, home=ledger_home.home, **ledger_home.environment, **ZONE)

    both = ("--as-of", "2026-10-31", "--known-at", "2026-11-04")
    screen = answer(asked(*both))
    assert "2026-10-31 23:59:59" in screen
    assert "Europe/Berlin" in screen
    said = json.loads(answer(asked(*both, "--min", "10", "--sort", "-later_points", "--json")))
    assert said["as_of"] == "2026-10-31T22:59:59.999999Z"
    assert said["upto_entry_id"] == 7
    assert [(row["relation_reference"], row["approved_points"]) for row in said["rows"]] == [("C-1", "70")]
    assert answer(asked(*both, "--sort", "-relation_reference", "--csv")).splitlines() == [
        ",".join(BALANCE_COLUMNS),
        "C-2,POINTS,7,0,0,0,0,7,0,false",
        "C-1,POINTS,70,0,0,0,0,20,-25,false",
    ]
    selected = answer(asked("C-2", "--known-at", "2026-11-04", "--csv"))
    assert selected.splitlines()[1:] == ["C-2,POINTS,7,0,0,0,0,7,0,false"]
    assert "<relation_reference>C-2<" in answer(asked("--relation", "C-2", "--as-of", "2026-10-31", "--xml"))
    assert_refused(asked("C-2", "--known-at", "2026-10-20"), UnknownRelation("C-2", upto_entry_id=4))
    assert_refused(asked("--as-of", "2026-02-30"), DateInvalid("--as-of", "2026-02-30"))
    assert selected_balances(ledger, ["C-2"], moment_of(ledger, "2026-10-20", "")) == []


@postgresql_in_ci
def test_every_page_order_and_filter_of_another_moment_is_what_adding_up_says(ledger_home, monkeypatch):
    """Lists page and export what customers' own balances are, however few of them fit into memory at once."""
    monkeypatch.setattr(streaming, "ROWS_PER_SORT", 7)
    monkeypatch.setattr("ledger.lists.balance_lists.VALUES_PER_QUERY", 4)
    seed = 20261031
    chance = Random(seed)
    shown, clock = clock_at()
    ledger = ledger_home.open(clock=clock)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for day in range(12):
        shown.append(start + timedelta(days=day))
        relations = [f"{chance.choice('CD')}-{chance.randrange(14):02}" for _ in range(8)]
        record(
            ledger,
            *(
                a_transfer(
                    f"T{day}-{number}",
                    relation,
                    str(Decimal(chance.randrange(1, 5_000)) / 100),
                    chance.choice(["give", "deduct"]),
                    currency=chance.choice(["POINTS", "POINTS", "MILES"]),
                    status=chance.choice(["approved", "approved", "pending"]),
                    occurred_at=shown[-1] + timedelta(days=chance.randrange(-9, 9)),
                )
                for number, relation in enumerate(relations)
            ),
            an_event(f"E-{day:02}", "open", shown[-1]),
            an_event(relations[0], "close", shown[-1]),
        )
    moment = Moment(start + timedelta(days=8), 70)
    references = sorted(
        {*(f"{c}-{n:02}" for c in "CD" for n in range(14)), *(f"E-{n:02}" for n in range(12))}
    )
    everything = [
        row
        for reference in references
        for row in list_balances(ledger, {"relation": reference}, moment=moment).rows
    ]
    assert len(everything) > 30
    assert any(row.later_points for row in everything)
    asked = [
        {"relation_prefix": "D"},
        {"currency": "MILES"},
        {"min": "-10.25", "max": "20"},
        {"closed": "true"},
        {"closed": "false", "negative": "true", "relation_prefix": "C-0"},
    ]
    for position, sort in enumerate([sign + field for field in SORTS for sign in ("", "-")]):
        for wanted in ({}, asked[position % len(asked)]):
            expected = chosen(everything, wanted, sort)
            question = (seed, sort, wanted)
            assert content(pages(ledger, wanted, sort, 9, moment=moment)) == content(expected), question
            found = pages(ledger, wanted, sort, 9, back=True, moment=moment)
            assert content(found) == content(expected), question
            assert content(every_listed_balance(ledger, wanted, sort, moment)) == content(expected), question
            assert count_balances(ledger, wanted, moment) == len(expected)


class Remembered:
    """What the plain ledger held at an entry, and when each of its transfers was recorded."""

    def __init__(self, world: HostileWorld, recorded_at: dict[str, datetime]) -> None:
        self.entry_id = ledger_head().entry_id
        self.recorded_at = recorded_at
        self.recorded_by = world.now
        self.transfers = [copy(transfer) for transfer in world.plain.transfers.values()]
        self.events = list(world.plain.events)

    def at(self, instant: datetime) -> PlainLedger:
        """What of it had occurred or been recorded by then."""
        plain = PlainLedger(None)
        plain.transfers = {
            transfer.transfer_id: transfer
            for transfer in self.transfers
            if transfer.occurred_at <= instant or self.recorded_at[transfer.transfer_id] <= instant
        }
        plain.events = [event for event in self.events if event.occurred_at <= instant]
        return plain


@postgresql_in_ci
def test_a_random_history_is_at_every_entry_and_instant_what_plain_python_says(ledger_home, monkeypatch):
    """Also by dates: at the end of a day the newest entry that was recorded by then is the one known."""
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 1_000)
    random = Random(7)
    world = HostileWorld(ledger_home.open(), ledger_home.home.parent, random.choice([None, Decimal(50)]))
    recorded_at: dict[str, datetime] = {}
    remembered: list[Remembered] = []
    for _ in range(120):
        ACTS[random.choice(DRAWN)](world, random)
        for transfer_id in world.plain.transfers:
            recorded_at.setdefault(transfer_id, world.now)
        remembered.append(Remembered(world, recorded_at))
    assert len(world.plain.transfers) > 30
    begin, end = remembered[0].recorded_by - timedelta(days=45), world.now + timedelta(days=6)
    instants = [random.choice(list(world.plain.transfers.values())).occurred_at for _ in range(10)]
    instants += [begin + (end - begin) * random.random() for _ in range(10)]
    kinds = set()
    for instant, known in product(instants, random.sample(remembered, 6)):
        kinds |= compare(world, Moment(instant, known.entry_id), known.at(instant))
    assert kinds >= {"approved", "waiting", "later", "reserved", "closed"}
    days = [begin + timedelta(days=day) for day in range((world.now - begin).days + 1)]
    for as_of, known_at in product(random.sample(days, 8), random.sample(days, 8)):
        end_of = {
            day: min(
                datetime(day.year, day.month, day.day, tzinfo=UTC)
                + timedelta(days=1)
                - timedelta(microseconds=1),
                world.now,
            )
            for day in (as_of, known_at)
        }
        known = next((each for each in reversed(remembered) if each.recorded_by <= end_of[known_at]), None)
        dates = (f"{as_of:%Y-%m-%d}", f"{known_at:%Y-%m-%d}")
        if (
            known is None
            or not known.entry_id
            or all(transfer.occurred_at > end_of[as_of] for transfer in known.transfers)
        ):
            with pytest.raises(DateBeforeFirst):
                moment_of(world.ledger, *dates)
            continue
        assert moment_of(world.ledger, *dates) == Moment(end_of[as_of], known.entry_id)
        compare(world, moment_of(world.ledger, *dates), known.at(end_of[as_of]))


def compare(world: HostileWorld, moment: Moment, plain: PlainLedger) -> set[str]:
    """Hold the balances of a moment against the plain ledger of then; return what kinds of points there
    were."""
    kinds = set()
    now = moment.now
    rows = {
        (row.relation_reference, row.currency): row
        for row in every_listed_balance(world.ledger, {}, "-approved_points", moment)
    }
    assert set(rows) >= plain.pairs()
    assert {pair[0] for pair in rows} <= {
        *RELATIONS,
        *AccountEvent.objects.values_list("relation_reference", flat=True),
    }
    for pair, row in rows.items():
        later = sum(
            (
                transfer.signed
                for transfer in plain.transfers.values()
                if (transfer.relation, transfer.currency) == pair and plain.is_ahead(transfer, now)
            ),
            Decimal(0),
        )
        said = {
            "approved": plain.balance(*pair, now),
            "waiting": sum(
                plain.waiting(*pair, style, status)
                for style in ("give", "deduct")
                for status in ("pending", "on_hold")
            ),
            "later": later,
            "reserved": plain.reserved_ahead(*pair, now),
            "closed": plain.is_closed(pair[0]),
        }
        waiting = (
            row.pending_given_points
            + row.pending_deducted_points
            + row.on_hold_given_points
            + row.on_hold_deducted_points
        )
        reserved = (
            row.approved_points
            - row.pending_deducted_points
            - row.on_hold_deducted_points
            - row.spendable_points
        )
        found = (row.approved_points, waiting, row.later_points, reserved, row.is_account_closed)
        assert found == tuple(said.values()), (pair, moment)
        kinds |= {kind for kind, value in said.items() if value}
    return kinds
