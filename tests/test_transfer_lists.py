"""Lists of transfers: every filter, every order, page by page, and one transfer whole, on both databases."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import duckdb
import pytest

from ledger.anchors import write_anchor
from ledger.append import appending
from ledger.cut import freeze
from ledger.identifiers import UnknownTransfer
from ledger.links import ledger_head
from ledger.lists import streaming, transfer_lists
from ledger.lists.filters import FilterInvalid, FilterUnknown
from ledger.lists.paging import CursorInvalid, SortUnknown
from ledger.lists.transfer_details import read_transfer
from ledger.lists.transfer_lists import (
    SORTS,
    BuildNeeded,
    TransferFilters,
    count_transfers,
    every_listed_transfer,
    list_transfers,
    selected_transfers,
)
from ledger.models import Batch, Comment, StatusChange, Transfer
from orchestration.reports import MonthNotBuilt
from orchestration.transfer_postings import find_postings
from tests.conftest import answer, assert_refused, ledger_transfer, postgresql_in_ci

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def a_transfer(transfer_id: str, relation: str, points: str, style: str = "give", **values) -> Transfer:
    return ledger_transfer(transfer_id, relation_reference=relation, points=points, style=style, **values)


def a_revocation(transfer_id: str, original: str, points: str, style: str = "deduct", **values) -> Transfer:
    details = {"reason": "revocation", "reverses_transfer_id": original, **values}
    return a_transfer(transfer_id, "C-1", points, style, **details)


def a_change(transfer_id: str, status: str) -> StatusChange:
    return StatusChange(transfer_id=transfer_id, status=status, changed_at=NOON)


def record(ledger, *entries) -> None:
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


A_DAY = timedelta(days=1)
FIRST_ENTRIES = [
    a_transfer("T1", "C-1", "100", reason="rule_credit", occurred_at=NOON - 3 * A_DAY),
    a_transfer("T2", "C-1", "30.5", "deduct", reason="redemption", occurred_at=NOON - 2 * A_DAY),
    a_transfer("T3", "C-2", "7", currency="MILES", external_reference="ORDER-7"),
    a_transfer("T4", "C-2", "50", status="pending"),
    a_transfer("T5", "C-2", "50", "deduct", status="on_hold"),
    a_transfer("T6", "D_3", "0.0001", status="pending"),
    Batch(batch_id="B-1", origin="mass", last_entry_id=9, row_count=2, added_count=2),
    a_transfer("T8", "D_3", "80", batch_id="B-1", occurred_at=NOON + A_DAY),
    a_transfer("T9", "D-4", "9", batch_id="B-1", status="cancelled"),
]
LATER_ENTRIES = [
    a_change("T4", "approved"),
    a_change("T6", "cancelled"),
    a_revocation("R1", "T1", "40"),
    a_revocation("R2", "T2", "30.5", "give"),
    a_revocation("R3", "R2", "30.5", "deduct"),
    a_revocation("R4", "T4", "50", status="pending"),
    a_change("R4", "cancelled"),
    a_transfer("T17", "C-1", "12"),
]


@pytest.fixture(params=["ledger", "cut and ledger", "cut, asked for few at first, and ledger"])
def programme(request, ledger_home, monkeypatch):
    """A ledger, looked through as a small one is, and as a large one whose newest entries no cut has."""
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES)
    if request.param != "ledger":
        monkeypatch.setattr(transfer_lists, "ENTRIES_IN_LEDGER", 0)
        freeze(ledger)
    if "few" in request.param:
        monkeypatch.setattr(transfer_lists, "_LOOKED_AT_FIRST", 2)
    record(ledger, *LATER_ENTRIES)
    return ledger


def ids(ledger, filters, sort="-entry_id", **options) -> list[str]:
    return [row.transfer_id for row in list_transfers(ledger, filters, sort, **options).rows]


FILTERS_AND_WHAT_THEY_LEAVE = [
    ({"relation": "C-1"}, {"T1", "T2", "R1", "R2", "R3", "R4", "T17"}),
    ({"relation_prefix": "D"}, {"T6", "T8", "T9"}),
    ({"relation_prefix": "D_"}, {"T6", "T8"}),
    ({"status": "approved", "relation_prefix": "C-2"}, {"T3", "T4"}),
    ({"status": "on_hold"}, {"T5"}),
    ({"status": "pending"}, set()),
    ({"status": "cancelled"}, {"T6", "T9", "R4"}),
    ({"reason": "revocation", "style": "give"}, {"R2"}),
    ({"currency": "MILES"}, {"T3"}),
    ({"batch": "B-1"}, {"T8", "T9"}),
    ({"batch": "B-2"}, set()),
    ({"external_reference": "ORDER-7"}, {"T3"}),
    ({"external_reference": "ORDER"}, set()),
    ({"from": "2026-03-11"}, {"T8"}),
    ({"to": "2026-03-07"}, {"T1"}),
    ({"from": "2026-03-08", "to": "2026-03-09"}, {"T2"}),
    ({"from": "2026-03-07T12:00:00Z", "to": "2026-03-08T12:00:00Z"}, {"T1"}),
    ({"min_points": "50", "max_points": "99.9999"}, {"T4", "T5", "T8", "R4"}),
    ({"max_points": "0.0001"}, {"T6"}),
    # R3 revokes R2 whole, so that nothing of T2 is revoked; R4 was cancelled, so that T4 is not either.
    ({"revoked": "true"}, {"T1", "R2"}),
    ({"revoked": "false", "relation": "C-1"}, {"T2", "R1", "R3", "R4", "T17"}),
    ({"revoked": "true", "style": "deduct"}, set()),
]


@postgresql_in_ci
def test_a_filter_leaves_what_it_says_in_every_order(programme):
    everything = {row.transfer_id: row for row in every_listed_transfer(programme, {})}
    for filters, left in FILTERS_AND_WHAT_THEY_LEAVE:
        assert count_transfers(programme, filters) == len(left), filters
    for (filters, left), field, sign in product(FILTERS_AND_WHAT_THEY_LEAVE, SORTS, ("", "-")):
        expected = sorted(
            left,
            key=lambda name: (getattr(everything[name], field), everything[name].entry_id),
            reverse=bool(sign),
        )
        assert ids(programme, filters, sign + field) == expected, (filters, sign + field)
        exported = every_listed_transfer(programme, filters, sign + field)
        assert [row.transfer_id for row in exported] == expected, (filters, sign + field)


# On which page a row is, is known after the database was asked: PostgreSQL gives every order once.
@pytest.mark.parametrize(
    ("ledger_home", "size"),
    [*(("sqlite", size) for size in (2, 5, 13)), pytest.param("postgresql", 5, marks=pytest.mark.slow)],
    indirect=["ledger_home"],
)
def test_pages_follow_each_other_without_a_gap_or_a_repetition(programme, size):
    for field, sign in product(SORTS, ("", "-")):
        for filters in ({}, {"revoked": "false"}, {"revoked": "true"}, {"relation_prefix": "C"}):
            whole = [row.transfer_id for row in every_listed_transfer(programme, filters, sign + field)]
            page = list_transfers(programme, filters, sign + field, size)
            assert page.previous_cursor is None
            seen = page.rows
            while page.next_cursor:
                page = list_transfers(programme, filters, sign + field, size, after=page.next_cursor)
                seen += page.rows
            assert [row.transfer_id for row in seen] == whole
            seen = page.rows
            while page.previous_cursor:
                page = list_transfers(programme, filters, sign + field, size, before=page.previous_cursor)
                seen = page.rows + seen
            assert [row.transfer_id for row in seen] == whole


def test_a_page_goes_on_where_the_one_before_ended_though_entries_came_between(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES)
    first = list_transfers(ledger, {}, limit=3)
    record(ledger, *LATER_ENTRIES)
    assert [row.transfer_id for row in first.rows] == ["T9", "T8", "T6"]
    assert ids(ledger, {}, after=first.next_cursor, limit=3) == ["T5", "T4", "T3"]


def test_what_is_recorded_during_an_export_is_not_in_it(ledger_home, monkeypatch):
    for module in (streaming, transfer_lists):
        monkeypatch.setattr(module, "ROWS_PER_READ", 1)
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES)
    exported = every_listed_transfer(ledger, {}, "relation_reference")
    first = next(exported)
    record(ledger, a_transfer("T99", "C-9", "1"))
    assert [row.transfer_id for row in [first, *exported]] == ["T1", "T2", "T3", "T4", "T5", "T9", "T6", "T8"]
    assert "T99" in ids(ledger, {})


def test_a_date_is_its_day_in_the_programmes_zone(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON, POINTS_TIME_ZONE="America/New_York")
    # On 8 March 2026 the clocks of New York went from 02:00 to 03:00: that day had 23 hours.
    midnight = datetime(2026, 3, 8, 5, tzinfo=UTC)
    record(
        ledger,
        a_transfer("before", "C-1", "1", occurred_at=midnight - timedelta(microseconds=1)),
        a_transfer("first", "C-1", "1", occurred_at=midnight),
        a_transfer("last", "C-1", "1", occurred_at=midnight + timedelta(hours=23, microseconds=-1)),
        a_transfer("after", "C-1", "1", occurred_at=midnight + timedelta(hours=23)),
    )
    assert ids(ledger, {"from": "2026-03-08", "to": "2026-03-08"}, "entry_id") == ["first", "last"]
    assert ids(ledger, {"from": "2026-03-08T01:00:00", "to": "2026-03-09T00:00:00"}) == ["last"]
    assert ids(ledger, {"to": "2199-12-31"}, "entry_id") == ["before", "first", "last", "after"]


def test_statuses_and_revocations_of_now_are_found_in_a_cut_of_before(programme):
    record(programme, a_change("T5", "pending"), a_revocation("R5", "T3", "7", currency="MILES"))
    assert ids(programme, {"status": "pending"}) == ["T5"]
    assert ids(programme, {"status": "on_hold"}) == []
    assert ids(programme, {"revoked": "true"}) == ["R2", "T3", "T1"]


def test_a_large_ledger_is_frozen_where_the_cut_lags_behind(ledger_home, monkeypatch):
    monkeypatch.setattr(transfer_lists, "ENTRIES_IN_LEDGER", 0)
    monkeypatch.setattr(transfer_lists, "ENTRIES_BESIDE_CUT", 10)
    ledger = ledger_home.open(clock=lambda: NOON)
    frozen = []

    def noted_freeze(ledger):
        frozen.append(freeze(ledger).head.entry_id)

    record(ledger, *FIRST_ENTRIES)
    assert ids(ledger, {}, "points", freeze=noted_freeze)[0] == "T6"
    record(ledger, *LATER_ENTRIES, *(a_transfer(f"V{number}", "C-1", "1") for number in range(3)))
    assert len(ids(ledger, {}, "points", freeze=noted_freeze)) == 16
    assert frozen == [20]


@pytest.mark.parametrize("ledger_home", ["sqlite"], indirect=True)
def test_indexes_lead_to_what_is_looked_up_most(ledger_home):
    ledger = ledger_home.open()
    for filters, index in (
        ({"external_reference": "ORDER-7"}, "transfers_of_reference"),
        ({"relation": "C-1"}, "transfers_of_relation"),
        ({"status": "pending"}, "transfers_first_waiting"),
    ):
        rows = TransferFilters(filters, ledger.settings.zone).queryset().order_by("-entry_id")
        assert index in rows[:51].explain(), filters


def test_references_that_begin_alike_are_kept_apart_however_long_they_are(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    long = "ö" * 6_000
    record(
        ledger,
        *(a_transfer(f"T{number}", "C-1", "1", external_reference=f"{long}{number}") for number in range(3)),
    )
    assert ids(ledger, {"external_reference": f"{long}1"}) == ["T1"]
    assert ids(ledger, {"external_reference": long}) == []


def test_quotes_semicolons_and_percent_signs_mean_nothing_but_themselves(programme):
    """docs/cases.md, C9."""
    for text, name, sort in product(
        ["C-1' or '1'='1", "C;drop table transfers", "%", "C-_", '"', "\\", "--"],
        ("relation", "relation_prefix", "batch", "external_reference"),
        ("-entry_id", "points", "relation_reference"),
    ):
        assert ids(programme, {name: text}, sort) == [], (name, text, sort)
    assert len(ids(programme, {})) == 13


def test_filters_and_orders_that_are_not_known_are_refused_by_name(programme):
    """docs/cases.md, C9."""
    with pytest.raises(FilterUnknown) as unknown:
        list_transfers(programme, {'colour"; --': "x"})
    assert unknown.value.name == 'colour"; --'
    with pytest.raises(SortUnknown) as unsorted:
        list_transfers(programme, {}, "-recorded_by")
    assert unsorted.value.name == "recorded_by"
    for name, value in [
        ("status", "approved'"),
        ("reason", "rule_credit;"),
        ("style", "take"),
        ("currency", "%"),
        ("from", "2026-02-30"),
        ("from", "10.03.2026"),
        ("to", "2026-03-10T24:00:00"),
        ("to", "9999-12-31"),
        ("min_points", "1_000"),
        ("max_points", "100000000000000"),
        ("revoked", "maybe"),
        ("bucket", "spent"),
        ("posted_month", "2026-13"),
        ("batch", "B-1\x1b"),
    ]:
        with pytest.raises(FilterInvalid) as invalid:
            list_transfers(programme, {name: value})
        assert (invalid.value.name, invalid.value.value) == (name, value)
    for limit in (0, 1_001):
        with pytest.raises(FilterInvalid) as invalid:
            list_transfers(programme, {}, limit=limit)
        assert invalid.value.name == "limit"


def test_a_forged_cursor_is_refused(programme):
    for cursor in ("x", "WyJwb2ludHMiLDFd", "WyJwb2ludHMiLDFlMzAsMV0", "[" * 9999, "ž"):
        with pytest.raises(CursorInvalid):
            list_transfers(programme, {}, "points", after=cursor)
    assert list_transfers(programme, {}, "points", after="") == list_transfers(programme, {}, "points")
    assert len(list_transfers(programme, {}, "points").rows) == 13


def test_one_transfer_is_shown_with_its_history_its_notes_and_its_relatives(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES, *LATER_ENTRIES, Comment(transfer_id="T2", text="asked the shop"))
    details = read_transfer(ledger, "T2")
    assert details.transfer.unrevoked_points == Decimal("30.5")
    assert [(r.depth, r.transfer.transfer_id) for r in details.revoked_by] == [(1, "R2"), (2, "R3")]
    assert [note.text for note in details.notes] == ["asked the shop"]
    last = read_transfer(ledger, "R3")
    assert [original.transfer_id for original in last.revokes] == ["R2", "T2"]
    assert not last.is_circular
    waited = read_transfer(ledger, "T4")
    assert [(event.entry_id, event.status) for event in waited.statuses] == [(4, "pending"), (10, "approved")]
    with pytest.raises(UnknownTransfer):
        read_transfer(ledger, "T404")


def test_a_chain_of_a_thousand_revocations_and_a_circle_end(ledger_home):
    """docs/cases.md, R15."""
    ledger = ledger_home.open(clock=lambda: NOON)
    record(
        ledger,
        a_transfer("D0", "C-1", "1"),
        *(a_revocation(f"D{n}", f"D{n - 1}", "1", ("give", "deduct")[n % 2]) for n in range(1, 1_000)),
        a_revocation("A", "Z", "1"),
        a_revocation("Z", "A", "1"),
        a_revocation("B", "A", "1"),
        a_revocation("O", "missing", "1"),
    )
    assert [r.depth for r in read_transfer(ledger, "D0").revoked_by] == list(range(1, 1_000))
    assert len(read_transfer(ledger, "D999").revokes) == 999
    circle = read_transfer(ledger, "B")
    assert [original.transfer_id for original in circle.revokes] == ["A", "Z"]
    assert circle.is_circular
    assert {r.transfer.transfer_id for r in read_transfer(ledger, "A").revoked_by} == {"Z", "B"}
    assert read_transfer(ledger, "O").missing_original == "missing"


def test_a_selection_is_of_known_transfers_each_once(programme):
    assert [row.transfer_id for row in selected_transfers(["T3", "T1", "T3"])] == ["T3", "T1"]
    with pytest.raises(UnknownTransfer) as unknown:
        selected_transfers(["T1", "T404"])
    assert unknown.value.transfer_id == "T404"


def write_postings(ledger, month: str, posted: dict[str, str]) -> None:
    """What a build of the ledger writes of the transfers that it posted, by id with their buckets."""
    folder = ledger.settings.home / "provisional" / month
    folder.mkdir(parents=True)
    rows = [
        (
            *(row.transfer_id, row.entry_id, row.relation_reference, row.currency, row.style, row.points),
            *(row.reason, posted[row.transfer_id], row.occurred_at.replace(tzinfo=None)),
        )
        for row in selected_transfers(list(posted))
    ]
    with duckdb.connect() as duck:
        duck.execute(
            "create table posted (transfer_id varchar, entry_id bigint, relation_reference varchar,"
            " currency varchar, style varchar, points decimal(18, 4), reason varchar, bucket varchar,"
            " occurred_at timestamp)"
        )
        duck.executemany("insert into posted values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        duck.execute(f"copy posted to '{folder}/provisional_posted_transfers.parquet' (format parquet)")
    write_anchor(folder.parent, ledger_head())


def test_bucket_and_posted_month_are_those_of_the_newest_build(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES)
    write_postings(ledger, "2026-02", {"T1": "earned", "T2": "redeemed"})
    write_postings(ledger, "2026-03", {"T3": "earned", "T8": "earned"})
    record(ledger, *LATER_ENTRIES)

    def found(filters: dict[str, str], sort: str = "entry_id", limit: int = 50) -> list[str]:
        postings = find_postings(ledger, filters)
        assert postings.entry_id == 9
        page = list_transfers(ledger, filters, sort, limit, postings=postings)
        exported = every_listed_transfer(ledger, filters, sort, postings=postings)
        assert [row.transfer_id for row in exported][:limit] == [row.transfer_id for row in page.rows]
        return [row.transfer_id for row in page.rows]

    assert found({"bucket": "earned"}) == ["T1", "T3", "T8"]
    assert found({"bucket": "earned"}, "-points", limit=2) == ["T1", "T8"]
    assert found({"bucket": "earned", "posted_month": "2026-03"}) == ["T3", "T8"]
    assert found({"posted_month": "2026-02", "relation": "C-1", "min_points": "31"}) == ["T1"]
    assert found({"bucket": "earned", "batch": "B-1"}) == ["T8"]
    assert found({"bucket": "earned", "revoked": "true"}) == ["T1"]
    assert found({"bucket": "earned", "status": "pending"}) == []
    assert found({"bucket": "reversal"}) == []
    with pytest.raises(MonthNotBuilt) as refused:
        find_postings(ledger, {"posted_month": "2026-04"})
    assert refused.value.month == "2026-04"


def test_without_a_build_of_this_ledger_bucket_and_posted_month_are_refused(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES)
    with pytest.raises(BuildNeeded) as needed:
        find_postings(ledger, {"bucket": "earned"})
    assert needed.value.filters == ("bucket",)
    with pytest.raises(BuildNeeded):
        list_transfers(ledger, {"posted_month": "2026-03"})
    write_postings(ledger, "2026-03", {"T1": "earned"})
    (ledger.settings.home / "provisional" / "ledger_head.json").unlink()
    with pytest.raises(BuildNeeded) as needed:
        find_postings(ledger, {"posted_month": "2026-03"})
    assert needed.value.filters == ("posted_month",)
    assert find_postings(ledger, {"relation": "C-1"}) is None


def test_the_command_lists_shows_and_says_as_of_which_entry(ledger_home, points):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES, *LATER_ENTRIES)

    def transfers(*arguments: str):
        return points("transfers", *arguments, home=ledger_home.home, **ledger_home.environment)

    page = json.loads(transfers("--relation", "C-1", "--limit", "2", "--json").stdout)
    assert [row["transfer_id"] for row in page["rows"]] == ["T17", "R4"]
    following = json.loads(
        transfers("--relation", "C-1", "--limit", "2", "--json", "--after", page["next"]).stdout
    )
    assert [row["transfer_id"] for row in following["rows"]] == ["R3", "R2"]
    assert f"--after {page['next']}" in transfers("--relation", "C-1", "--limit", "2").stdout
    shown = transfers("R3").stdout
    assert shown.index("R2") < shown.index("T2")
    whole = json.loads(transfers("T1", "--json").stdout)
    assert whole["unrevoked_points"] == "60"
    assert [revocation["transfer_id"] for revocation in whole["revoked_by"]] == ["R1"]
    with pytest.raises(BuildNeeded) as needed:
        find_postings(ledger, {"bucket": "earned"})
    assert_refused(transfers("--bucket", "earned"), needed.value)
    assert transfers("T1", "--status", "approved").returncode == 2


@pytest.mark.slow
def test_a_real_build_answers_for_bucket_and_month(ledger_home, points):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, *FIRST_ENTRIES, *LATER_ENTRIES)
    answer(points("build", home=ledger_home.home, **ledger_home.environment))
    filters = {"bucket": "reversal", "posted_month": "2026-03"}
    postings = find_postings(ledger, filters)
    assert ids(ledger, filters, postings=postings) == ["R1"]
    assert postings.entry_id == ledger_head().entry_id
