"""The audit's recount: it agrees with every sound build, and names what is wrong with a damaged one.

The ledgers of `test_split_builds` and `hostile_world` are recounted as the models build them. Damage is done
by hand to a copy of a build, in all of its tables where each table alone would give it away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb
import pytest

from ledger.append import appending
from ledger.cut import cut_folder, freeze
from ledger.database import Ledger, open_ledger
from ledger.links import ledger_head
from ledger.models import AccountEvent, Entry, StatusChange, Transfer
from ledger.related_transfers import write_related
from ledger.settings import Settings
from orchestration.build import build_months
from orchestration.recount import transfers as recounted_transfers
from orchestration.recount.opening import Opening
from orchestration.recount.recount import Recount, RecountFailed, find_differences, recount
from orchestration.report_calendar import months_between
from orchestration.runs import build_database
from tests.conftest import PROJECT_ROOT, LedgerHome, ledger_transfer
from tests.hostile_world import ACTS, DRAWN, HostileWorld
from tests.test_hostile_world import close_in_ledger
from tests.test_split_builds import (
    CALENDARS,
    FIRST_BASE,
    MONTHS,
    SECOND_BASE,
    SEEDS,
    Builder,
    World,
    fill_ledger,
)


def at(month: int, day: int = 10) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


# Small ledgers, whose totals can be seen at a glance


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return LedgerHome(tmp_path / "home").open(clock=lambda: at(7))


def a_transfer(transfer_id: str, points: str = "1", **values) -> Transfer:
    """A transfer of C-1 in March, but for the values named."""
    return ledger_transfer(transfer_id, points=points, **values)


def record(ledger: Ledger, *entries: Entry) -> None:
    """Append entries in one transaction."""
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


def recount_of(ledger: Ledger, months: Sequence[str], **values) -> Recount:
    """Freeze a ledger and recount it, from its first entry by default."""
    freeze(ledger)
    defaults = {
        "cut": cut_folder(ledger.settings.home),
        "upto_entry_id": ledger_head().entry_id,
        "opening": None,
        "closes": [],
        "first_month": None,
        "settings": ledger.settings,
        "is_close": False,
    }
    return recount(months=months, **{**defaults, **values})


def movements(recounted: Recount, month: str, currency: str = "POINTS") -> dict[str, str]:
    """The movements of a month that are not zero."""
    totals = recounted.control_totals[month][currency]
    buckets = ("earned", "reversal", "redeemed", "expired")
    return {bucket: totals[f"{bucket}_points"] for bucket in buckets if totals[f"{bucket}_points"] != "0"}


def test_the_control_totals_of_a_month_are_counts_and_points_as_text_in_one_order(ledger):
    record(
        ledger,
        a_transfer("T1", "100.25", occurred_at=at(1)),
        a_transfer("T2", "30", style="deduct", reason="redemption", occurred_at=at(2)),
        a_transfer("T3", "8", status="pending", occurred_at=at(2)),
        a_transfer("T4", "5.5", style="deduct", status="on_hold", occurred_at=at(2)),
        a_transfer("T5", "2", status="cancelled", occurred_at=at(1)),
        a_transfer("T6", "7", relation_reference="C-2", occurred_at=at(4)),
        a_transfer("T7", "9", status="pending", occurred_at=at(3)),
        a_transfer("T8", "3", currency="MILES", occurred_at=at(2)),
        AccountEvent(event_id="E1", relation_reference="C-3", event="open", occurred_at=at(2)),
        AccountEvent(event_id="E2", relation_reference="C-4", event="close", occurred_at=at(2)),
    )
    totals = recount_of(ledger, ["2026-01", "2026-02"]).control_totals
    assert list(totals) == ["2026-01", "2026-02"]
    assert list(totals["2026-01"]) == ["POINTS"]
    assert list(totals["2026-02"]) == ["MILES", "POINTS"]
    nothing = {"transfers": 0, "given_points": "0", "deducted_points": "0"}
    assert json.dumps(totals["2026-02"]["POINTS"]) == json.dumps(
        {
            "relation_references": 2,
            "posted_transfers": 1,
            "opening_points": "100.25",
            "earned_points": "0",
            "reversal_points": "0",
            "redeemed_points": "30",
            "expired_points": "0",
            "closing_points": "70.25",
            "pending": {"transfers": 1, "given_points": "8", "deducted_points": "0"},
            "on_hold": {"transfers": 1, "given_points": "0", "deducted_points": "5.5"},
            "cancelled": {"transfers": 1, "given_points": "2", "deducted_points": "0"},
            "later": {"transfers": 1, "given_points": "7", "deducted_points": "0"},
        }
    )
    assert totals["2026-02"]["MILES"]["earned_points"] == "3"
    assert totals["2026-02"]["MILES"]["later"] == nothing


def test_sums_of_the_largest_points_stay_exact(ledger):
    """docs/cases.md, R7."""
    most = "99999999999999.9999"
    record(ledger, *(a_transfer(f"T{n}", most, occurred_at=at(1)) for n in range(30)))
    totals = recount_of(ledger, ["2026-01"]).control_totals["2026-01"]["POINTS"]
    assert totals["closing_points"] == "2999999999999999.997"


def test_what_waited_takes_effect_when_it_is_approved_but_not_before_it_occurred(ledger):
    record(
        ledger,
        a_transfer("T1", "1", status="pending", occurred_at=at(1)),
        a_transfer("T2", "10", status="on_hold", occurred_at=at(3)),
        a_transfer("T3", "100", status="pending", occurred_at=at(1)),
    )
    record(
        ledger,
        StatusChange(transfer_id="T1", status="approved", changed_at=at(2)),
        StatusChange(transfer_id="T2", status="approved", changed_at=at(2)),
        StatusChange(transfer_id="T3", status="on_hold", changed_at=at(2)),
        StatusChange(transfer_id="T3", status="cancelled", changed_at=at(3)),
    )
    recounted = recount_of(ledger, ["2026-01", "2026-02", "2026-03"])
    assert [movements(recounted, f"2026-0{month}") for month in (1, 2, 3)] == [
        {},
        {"earned": "1"},
        {"earned": "10"},
    ]
    assert recounted.control_totals["2026-03"]["POINTS"]["cancelled"]["transfers"] == 1


def test_entries_above_the_cutoff_are_not_there(ledger):
    record(ledger, a_transfer("T1", "1", occurred_at=at(1)), a_transfer("T2", "2", status="pending"))
    cutoff = ledger_head().entry_id
    record(
        ledger,
        a_transfer("T3", "4", occurred_at=at(1)),
        StatusChange(transfer_id="T2", status="approved", changed_at=at(3)),
        AccountEvent(event_id="E1", relation_reference="C-3", event="open", occurred_at=at(1)),
    )
    totals = recount_of(ledger, ["2026-01", "2026-03"], upto_entry_id=cutoff).control_totals
    assert totals["2026-03"]["POINTS"]["closing_points"] == "1"
    assert totals["2026-03"]["POINTS"]["pending"]["transfers"] == 1
    assert totals["2026-03"]["POINTS"]["relation_references"] == 1


def test_what_is_late_posts_to_the_month_after_the_last_closed_one(ledger):
    """docs/cases.md, R13."""
    record(ledger, a_transfer("T1", "1", occurred_at=at(1)))
    record(ledger, a_transfer("T2", "2", occurred_at=at(1)), a_transfer("T3", "4", occurred_at=at(2)))
    record(ledger, a_transfer("T4", "8", occurred_at=at(1)), a_transfer("T5", "16", occurred_at=at(3)))
    closes = [("2026-01", 1), ("2026-02", 3)]
    recounted = recount_of(ledger, ["2026-01", "2026-02", "2026-03"], closes=closes, first_month="2026-01")
    assert [movements(recounted, f"2026-0{month}") for month in (1, 2, 3)] == [
        {"earned": "1"},
        {"earned": "6"},
        {"earned": "24"},
    ]
    assert "pending" not in recounted.control_totals["2026-02"]["POINTS"]
    assert "pending" in recounted.control_totals["2026-03"]["POINTS"]


def test_nothing_posts_before_the_first_month(ledger):
    record(ledger, a_transfer("T1", "1", occurred_at=at(1)), a_transfer("T2", "2", occurred_at=at(3)))
    recounted = recount_of(ledger, ["2026-03"], first_month="2026-03")
    assert movements(recounted, "2026-03") == {"earned": "3"}
    assert recounted.problems == []
    early = recount_of(ledger, ["2026-03"])
    assert early.problems == ["1 transfers post before 2026-03, the first month of the run"]


def revocation(transfer_id: str, reverses: str, style: str = "give", **values):
    values = {"points": "1", "occurred_at": at(2), **values}
    return a_transfer(transfer_id, reason="revocation", style=style, reverses_transfer_id=reverses, **values)


def test_a_revocation_follows_its_original_to_any_depth(ledger):
    record(
        ledger,
        a_transfer("T1", "1", style="deduct", reason="redemption", occurred_at=at(1)),
        *(revocation(f"T{n + 1}", f"T{n}", "give" if n % 2 else "deduct") for n in range(1, 3000)),
    )
    assert movements(recount_of(ledger, ["2026-01", "2026-02"]), "2026-02") == {"redeemed": "-1"}


@pytest.mark.parametrize(
    ("reason", "style", "bucket"),
    [
        ("rule_credit", "give", "reversal"),
        ("admin_adjustment", "deduct", "reversal"),
        ("redemption", "deduct", "redeemed"),
        ("expiry", "deduct", "expired"),
    ],
)
def test_a_revocation_is_undone_in_the_bucket_of_its_original_but_earned_in_reversal(
    ledger, reason, style, bucket
):
    opposite = "deduct" if style == "give" else "give"
    record(
        ledger,
        a_transfer("T1", "8", style=style, reason=reason, occurred_at=at(1)),
        revocation("T2", "T1", opposite, points="4", occurred_at=at(2)),
        revocation("T3", "T2", style, points="3", occurred_at=at(2)),
    )
    sign = "" if opposite == "deduct" else "-"
    assert movements(recount_of(ledger, ["2026-01", "2026-02"]), "2026-02") == {bucket: f"{sign}1"}


def test_a_revocation_in_a_circle_or_of_nothing_known_is_a_reversal(ledger):
    """docs/cases.md, R15."""
    record(
        ledger,
        revocation("T1", "T1"),
        revocation("T2", "T3", points="10"),
        revocation("T3", "T4", points="10"),
        revocation("T4", "T2", points="10"),
        revocation("T5", "T2", points="100"),
        revocation("T6", "nobody-knows", points="1000"),
        revocation("T7", "T6", points="10000"),
        a_transfer("T8", "5", style="deduct", reason="redemption", occurred_at=at(2)),
    )
    recounted = recount_of(ledger, ["2026-02"])
    assert movements(recounted, "2026-02") == {"reversal": "-11131", "redeemed": "5"}
    assert {
        key: rows
        for figures in recounted.figures
        if figures.model == "discrepancies"
        for key, rows in figures.expected.items()
        if rows != (0,)
    } == {("2026-02", "orphan_revocation"): (7,)}


def test_what_a_close_did_not_know_of_an_original_stays_unknown(ledger):
    """docs/design.md, section 7: a link is known up to the smallest cutoff of those walked so far."""
    record(
        ledger,
        revocation("T1", "T9", points="1", occurred_at=at(1)),
        revocation("T2", "T1", "deduct", points="10", occurred_at=at(1)),
        revocation("T3", "T9", points="100", occurred_at=at(2)),
        # January's close knew T3, but not what T3 undoes.
        revocation("T4", "T3", "deduct", points="1000", occurred_at=at(1)),
    )
    cutoff = ledger_head().entry_id
    record(
        ledger,
        a_transfer("T9", "1", style="deduct", reason="redemption", occurred_at=at(2)),
        revocation("T5", "T1", "deduct", points="10000", occurred_at=at(2)),
        revocation("T6", "T9", points="100000", occurred_at=at(2)),
    )
    months = ["2026-01", "2026-02"]
    closed = recount_of(ledger, months, closes=[("2026-01", cutoff)], first_month="2026-01")
    assert movements(closed, "2026-01") == {"reversal": "1009"}
    assert movements(closed, "2026-02") == {"redeemed": "-100099", "reversal": "10000"}
    opened = recount_of(ledger, months)
    assert movements(opened, "2026-01") == {"redeemed": "1009"}
    assert movements(opened, "2026-02") == {"redeemed": "-90099"}


def test_a_rule_holds_from_its_month_on_and_a_revocation_follows_the_original(ledger, tmp_path, monkeypatch):
    rules = tmp_path / "transfer_reasons.csv"
    rules.write_text(
        recounted_transfers.RULES_FILE.read_text(encoding="utf-8")
        + "expiry,deduct,redeemed,2026-02,false,Expired\nexpiry,deduct,reversal,2026-03-01,false,Expired\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(recounted_transfers, "RULES_FILE", rules)
    expiry = {"style": "deduct", "reason": "expiry"}
    record(
        ledger,
        a_transfer("T1", "1", occurred_at=at(1), **expiry),
        a_transfer("T2", "10", occurred_at=at(2), **expiry),
        a_transfer("T3", "100", occurred_at=at(5), **expiry),
        a_transfer("T4", "1000", status="pending", occurred_at=at(1), **expiry),
        revocation("T5", "T1", points="0.5", occurred_at=at(5)),
        revocation("T6", "T4", points="0.25", occurred_at=at(2)),
    )
    cutoff = ledger_head().entry_id
    record(ledger, StatusChange(transfer_id="T4", status="approved", changed_at=at(5)))
    # The close of February knew T4 only as pending since January.
    closes = [("2026-01", cutoff), ("2026-02", cutoff)]
    recounted = recount_of(ledger, months_between("2026-01", "2026-05"), closes=closes, first_month="2026-01")
    assert [movements(recounted, f"2026-0{month}") for month in (1, 2, 5)] == [
        {"expired": "1"},
        {"redeemed": "10", "expired": "-0.25"},
        {"reversal": "1100", "expired": "-0.5"},
    ]


def test_what_cannot_be_read_is_refused_in_a_sentence(ledger, tmp_path):
    record(ledger, a_transfer("T1"))
    with pytest.raises(RecountFailed):
        recount_of(ledger, ["2026-03"], cut=tmp_path / "nowhere")
    recounted = recount_of(ledger, ["2026-03"])
    with pytest.raises(RecountFailed):
        find_differences(recounted, tmp_path / "nothing.duckdb", ["2026-03"])
    assert not (tmp_path / "nothing.duckdb").exists()


def test_every_mart_is_recounted(ledger):
    """Who adds a mart says here what the recount makes of it (docs/design.md, section 9: rows per mart)."""
    record(ledger, a_transfer("T1"))
    marts = {path.stem for path in (PROJECT_ROOT / "dbt_project/models/marts").glob("*.sql")}
    assert set(recount_of(ledger, ["2026-03"]).row_counts) == marts


# Builds


def newest_build(home: Path) -> Path:
    return build_database(sorted(path for path in (home / "runs").iterdir() if path.name.isdigit())[-1])


def months_of(database: Path) -> list[str]:
    with duckdb.connect(str(database), read_only=True) as build:
        rows = build.execute(
            "select strftime(report_month, '%Y-%m') from int_report_months order by 1"
        ).fetchall()
    return [month for (month,) in rows]


@pytest.mark.slow
def test_the_demo_is_built_as_it_is_recounted(points, demo_home):
    assert points("build", home=demo_home.home).returncode == 0
    settings = Settings.from_environment({"POINTS_HOME": str(demo_home.home)})
    ledger = open_ledger(settings)
    database = newest_build(settings.home)
    months = months_of(database)
    assert len(months) == 14
    assert find_differences(recount_of(ledger, months), database, months) == []


@pytest.mark.slow
def test_a_random_history_with_closes_is_built_as_it_is_recounted(tmp_path):
    random = Random(os.environ.get("POINTS_TEST_SEED", "2026"))
    home = LedgerHome(tmp_path / "home")
    world = HostileWorld(home.open(), tmp_path, limit=None)
    closes = []
    for month in (date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)):
        for _ in range(60):
            ACTS[random.choice(DRAWN)](world, random)
        world.now = max(world.now, datetime(month.year, month.month + 1, 3, tzinfo=UTC))
        closes.append((f"{month:%Y-%m}", close_in_ledger(world, month)))
    for _ in range(60):
        ACTS[random.choice(DRAWN)](world, random)
    world.now += timedelta(days=1)
    build_months(home.settings(), through="2026-06", from_first_entry=True)
    months = months_between("2026-01", "2026-06")
    recounted = recount_of(open_ledger(home.settings()), months, closes=closes, first_month="2026-01")
    assert find_differences(recounted, newest_build(home.home), months) == []


@dataclass(frozen=True)
class Split:
    """A ledger with closes, one of them reopened, built from its first entry and from a close's balances.

    ``whole`` reaches to the ledger's end; ``second`` to a later close, from the balances of ``first``.
    """

    world: World
    ledger: Ledger
    builder: Builder
    first: Path
    second: Path
    whole: Path
    first_recount: Recount
    second_recount: Recount
    whole_recount: Recount


def hand_on(base: Path, month: str, folder: Path) -> None:
    """What the close of ``month``, the last one of ``base``, publishes for the next."""
    folder.mkdir()
    with duckdb.connect(str(base), read_only=True) as build:
        build.execute(
            f"copy (from outstanding_points_by_month where report_month = date '{month}-01')"
            f" to '{folder}/outstanding_points_by_month.parquet'"
        )
        build.execute(f"copy (from unposted_transfers) to '{folder}/unposted_transfers.parquet'")


def rules_of(builder: Builder) -> Path:
    return builder.project / "seeds" / "transfer_reasons.csv"


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    folder = tmp_path_factory.mktemp("recount")
    seed = SEEDS[0]
    zone, start_day = CALENDARS[1]
    ledger, world = fill_ledger(LedgerHome(folder / "home"), seed, start_day)
    ledger = replace(ledger, settings=replace(ledger.settings, time_zone=zone, month_start_day=start_day))
    builder = Builder(folder, ledger, zone, start_day)
    cutoffs = world.cutoffs
    with ThreadPoolExecutor(max_workers=2) as pool, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(recounted_transfers, "RULES_FILE", rules_of(builder))
        whole = pool.submit(builder.build, "whole", MONTHS[-1])
        first = builder.build("first", FIRST_BASE, folder / "first")
        first_recount = recount_of(
            ledger,
            months_between(MONTHS[0], FIRST_BASE),
            upto_entry_id=cutoffs[FIRST_BASE],
            closes=[(MONTHS[0], cutoffs[MONTHS[0]])],
            first_month=MONTHS[0],
        )
        second = builder.build_after(
            "second", first, FIRST_BASE, cutoffs[FIRST_BASE], SECOND_BASE, cutoffs[SECOND_BASE]
        )
        handed_on = folder / "handed-on"
        hand_on(first, FIRST_BASE, handed_on)
        second_recount = recount_of(
            ledger,
            months_between("2026-03", SECOND_BASE),
            upto_entry_id=cutoffs[SECOND_BASE],
            opening=Opening(
                FIRST_BASE, cutoffs[FIRST_BASE], handed_on, first_recount.control_totals[FIRST_BASE]
            ),
            closes=[(month, cutoffs[month]) for month in MONTHS[:2]],
            first_month=MONTHS[0],
            related_transfers=folder / "handed-to-second" / "related.parquet",
            related_status_changes=folder / "handed-to-second" / "related_status_changes.parquet",
            is_close=True,
        )
        whole_recount = recount_of(
            ledger, MONTHS, closes=[(month, cutoffs[month]) for month in cutoffs], first_month=MONTHS[0]
        )
        return Split(
            world,
            ledger,
            builder,
            first,
            second,
            whole.result(),
            first_recount,
            second_recount,
            whole_recount,
        )


def test_a_build_of_all_entries_with_a_reopened_month_is_as_it_is_recounted(split):
    assert find_differences(split.whole_recount, split.whole, MONTHS) == []


def test_a_build_up_to_a_close_is_as_it_is_recounted_from_a_cut_that_reaches_further(split):
    assert find_differences(split.first_recount, split.first, MONTHS[:2]) == []


def test_a_build_from_the_balances_of_a_close_is_as_it_is_recounted(split):
    assert find_differences(split.second_recount, split.second, ["2026-03", "2026-04"]) == []


def test_control_totals_are_the_same_from_the_first_entry_and_from_a_closes_balances(
    split, tmp_path, monkeypatch
):
    """Except cancelled transfers, which are counted among those that a run reads."""
    whole = split.whole_recount.control_totals
    for month, by_currency in split.second_recount.control_totals.items():
        for currency, totals in by_currency.items():
            assert {name: totals[name] for name in whole[month][currency]} == whole[month][currency]
    monkeypatch.setattr(recounted_transfers, "RULES_FILE", rules_of(split.builder))
    hand_on(split.second, SECOND_BASE, tmp_path / "handed-on")
    ledger = open_ledger(split.ledger.settings)
    cutoff, head = split.world.cutoffs[SECOND_BASE], ledger_head().entry_id
    related = tmp_path / "related.parquet", tmp_path / "related_status_changes.parquet"
    unposted = tmp_path / "handed-on" / "unposted_transfers.parquet"
    write_related(ledger, cut_folder(ledger.settings.home), unposted, cutoff, head, *related)
    third = recount_of(
        ledger,
        MONTHS[4:],
        opening=Opening(
            SECOND_BASE,
            cutoff,
            tmp_path / "handed-on",
            split.second_recount.control_totals[SECOND_BASE],
        ),
        closes=list(split.world.cutoffs.items()),
        first_month=MONTHS[0],
        related_transfers=related[0],
        related_status_changes=related[1],
    )
    assert third.problems == []
    for month in MONTHS[4:]:
        assert list(third.control_totals[month]) == list(whole[month])
        for currency, totals in third.control_totals[month].items():
            expected = dict(whole[month][currency])
            assert totals.pop("cancelled")["transfers"] < expected.pop("cancelled")["transfers"]
            assert totals == expected


def test_balances_that_are_not_what_their_manifest_says_are_a_difference(ledger, tmp_path):
    """docs/cases.md, X10."""
    record(ledger, a_transfer("T1", "2", occurred_at=at(3)))
    with duckdb.connect() as duck:
        duck.execute(
            "copy (select 'POINTS' as currency, 'C-1' as relation_reference, 5.0 as total_earned_points,"
            " 0.0 as total_reversal_points, 0.0 as total_redeemed_points, 0.0 as total_expired_points,"
            f" false as is_account_closed) to '{tmp_path}/outstanding_points_by_month.parquet'"
        )
        freeze(ledger)
        transfers = cut_folder(ledger.settings.home) / "transfers" / "*.parquet"
        duck.execute(
            "copy (select *, status as first_status, occurred_at as effective_at, entry_id as"
            f" effective_entry_id from '{transfers}' limit 0) to '{tmp_path}/unposted_transfers.parquet'"
        )
    sound, wrong = (
        recount_of(
            ledger,
            ["2026-03"],
            opening=Opening("2026-02", 0, tmp_path, {"POINTS": {"closing_points": closing}}),
            closes=[("2026-02", 0)],
        )
        for closing in ("5", "6")
    )
    assert sound.problems == []
    assert sound.control_totals["2026-03"]["POINTS"]["closing_points"] == "7"
    assert wrong.problems == ["the balances of 2026-02 add up to 5 POINTS, but its manifest says 6"]


# Damage


@dataclass(frozen=True)
class Damage:
    """What is done to a sound build, and the parts of one sentence in which the recount must say so."""

    sentence: str
    sql: str
    said: tuple[str, ...]


def move_redeemed_to_expired(month: str) -> str:
    """SQL that moves a month's movement to another bucket wherever it shows."""
    later = f">= date '{month}-01'"
    balances = [
        f"""
        update {mart} set expired_points = expired_points + redeemed_points, redeemed_points = 0
        where report_month = date '{month}-01';
        update {mart} set
            total_expired_points = total_expired_points + moved.points,
            total_redeemed_points = total_redeemed_points - moved.points
        from moved
        where report_month {later} and moved.currency = {mart}.currency and {condition}
        """
        for mart, condition in (
            ("outstanding_points_by_month", "moved.relation_reference = {mart}.relation_reference"),
            ("programme_points_by_month", "moved.relation_reference is null"),
        )
        for condition in [condition.format(mart=mart)]
    ]
    return ";".join(
        [
            f"""
            create temp table moved as
            select currency, relation_reference, sum(bucket_points) as points
            from points_movements_by_month
            where bucket = 'redeemed' and report_month = date '{month}-01'
            group by grouping sets ((currency, relation_reference), (currency))
            """,
            *balances,
            f"""
            update points_movements_by_month set bucket = 'expired'
            where bucket = 'redeemed' and report_month = date '{month}-01'
            """,
            f"""
            update int_transfers_classified set bucket = 'expired'
            where bucket = 'redeemed' and posting_month = date '{month}-01'
            """,
        ]
    )


def in_every_table(sql: str, *tables: str) -> str:
    """``sql`` for each of some tables, which it calls {table}."""
    return ";".join(sql.format(table=table) for table in tables)


CUSTOMER_TABLES = (
    "int_transfers_classified",
    "points_movements_by_month",
    "outstanding_points_by_month",
    "customer_point_balances",
)
A_POSTED_TRANSFER = """
    select min(transfer_id) from int_transfers_classified
    where posting_month = '2026-05-01' and currency = 'POINTS' and bucket = 'earned'
"""

DAMAGES = [
    Damage(
        "a movement moved from redeemed to expired, in every table",
        move_redeemed_to_expired("2026-05"),
        ("programme_points_by_month (2026-05, POINTS) has redeemed_points 0 in the build",),
    ),
    Damage(
        "a transfer counted twice",
        f"""
        insert into int_transfers_classified
        select * from int_transfers_classified where transfer_id = ({A_POSTED_TRANSFER})
        """,
        ("transfer_history has", "rows in the build, but the recount says"),
    ),
    Damage(
        "a transfer counted for another one",
        f"""
        update int_transfers_classified set points = points + 0.0001
        where transfer_id = ({A_POSTED_TRANSFER})
        """,
        ("transfer_history (2026-05, POINTS,", "earned) has points"),
    ),
    Damage(
        "a customer who is in no table",
        in_every_table("delete from {table} where relation_reference = 'C-07'", *CUSTOMER_TABLES),
        ("outstanding_points_by_month (2026-06, POINTS) has rows",),
    ),
    Damage(
        "a customer without a balance of now",
        "delete from customer_point_balances where relation_reference = 'C-07' and currency = 'POINTS'",
        ("customer_point_balances has",),
    ),
    Damage(
        "a balance that is one ten-thousandth too high, and the programme's with it",
        in_every_table(
            """
            update {table} set
                closing_points = closing_points + 0.0001, earned_points = earned_points + 0.0001,
                total_earned_points = total_earned_points + 0.0001,
                total_outstanding_points = total_outstanding_points + 0.0001
            where report_month = '2026-06-01' and currency = 'MILES'
            and (select count(*) from {table} as other
                where other.report_month = {table}.report_month and other.currency = {table}.currency
                and to_json(other)::varchar < to_json({table})::varchar) = 0
            """,
            "outstanding_points_by_month",
            "programme_points_by_month",
        ),
        ("programme_points_by_month (2026-06, MILES) has closing_points",),
    ),
    Damage(
        "a balance that is null",
        """
        update outstanding_points_by_month set opening_points = null
        where report_month = '2026-06-01' and opening_points <> 0 and relation_reference = 'C-07'
        """,
        ("outstanding_points_by_month (2026-06,", "has opening_points"),
    ),
    Damage(
        "a programme's number that is null",
        "update programme_points_by_month set late_points = null where report_month = '2026-05-01'",
        ("programme_points_by_month (2026-05, MILES) has late_points null in the build",),
    ),
    Damage(
        "a currency that the programme does not show",
        "delete from programme_points_by_month where currency = 'MILES' and report_month = '2026-06-01'",
        ("programme_points_by_month (2026-06, MILES) has rows 0 in the build, but the recount says 1",),
    ),
    Damage(
        "a programme that forgets what redemptions gave back",
        "update programme_points_by_month set redemptions_given_back_points = 0",
        ("programme_points_by_month (2026-", "POINTS) has redemptions_given_back_points 0 in the build"),
    ),
    Damage(
        "a movement of another reason",
        """
        update points_movements_by_month set reason = 'campaign_bonus'
        where reason = 'tier_bonus' and report_month = '2026-06-01'
        """,
        ("points_movements_by_month (2026-06, POINTS, earned, tier_bonus) has transfer_count 0",),
    ),
    Damage(
        "two movements that became one",
        """
        create temp table victims as
        select min(rowid) as kept, max(rowid) as lost
        from points_movements_by_month
        where report_month = '2026-06-01' and currency = 'POINTS' and reason = 'rule_credit';
        update points_movements_by_month set
            bucket_points = points_movements_by_month.bucket_points + gone.bucket_points,
            signed_points = points_movements_by_month.signed_points + gone.signed_points,
            transfer_count = points_movements_by_month.transfer_count + gone.transfer_count
        from points_movements_by_month as gone, victims
        where points_movements_by_month.rowid = victims.kept and gone.rowid = victims.lost;
        delete from points_movements_by_month where rowid = (select lost from victims)
        """,
        ("points_movements_by_month (2026-06) has rows",),
    ),
    Damage(
        "late marks that are lost, in every table",
        """
        update int_transfers_classified set is_late = false;
        update programme_points_by_month set late_transfer_count = 0, late_points = 0;
        delete from discrepancies where discrepancy = 'late_posting'
        """,
        ("discrepancies (2026-05, late_posting) has rows 0 in the build, but the recount says",),
    ),
    Damage(
        "one late mark that is lost",
        """
        update int_transfers_classified set is_late = false where transfer_id = (
            select min(transfer_id) from int_transfers_classified where is_late
        )
        """,
        ("transfer_history (2026-0", "has late transfers"),
    ),
    Damage("no discrepancies", "delete from discrepancies", ("discrepancies has 0 rows in the build, but",)),
    *(
        Damage(
            f"a discrepancy that is lost: {kind}",
            f"""
            delete from discrepancies where rowid = (
                select min(rowid) from discrepancies
                where discrepancy = '{kind}' and report_month <= '2026-06-01'
            )
            """,
            ("discrepancies (2026-0", f", {kind}) has rows"),
        )
        for kind in (
            "late_posting",
            "future_dated",
            "orphan_revocation",
            "revocation_of_unapproved",
            "revocation_of_other_relation",
            "revocation_of_other_currency",
            "revocation_of_same_style",
            "negative_outstanding",
        )
    ),
    Damage(
        "a discrepancy that is put off to a month after the run's",
        """
        update discrepancies set report_month = '2030-01-01' where rowid = (
            select min(rowid) from discrepancies where discrepancy = 'future_dated'
        )
        """,
        ("discrepancies (later, ", ", future_dated) has rows 1"),
    ),
    Damage(
        "spendable points without what is reserved ahead",
        """
        delete from int_points_reserved;
        update customer_point_balances set
            spendable_points = spendable_points + reserved_points, reserved_points = 0
        """,
        ("customer_point_balances (POINTS) has spendable_points",),
    ),
    Damage(
        "nothing pending, in every table",
        """
        delete from int_pending_by_month;
        update programme_points_by_month set
            pending_transfer_count = 0, pending_given_points = 0, pending_deducted_points = 0;
        update outstanding_points_by_month set pending_given_points = 0, pending_deducted_points = 0
        """,
        ("programme_points_by_month (2026-06, POINTS) has pending_transfer_count 0 in the build",),
    ),
    Damage(
        "nothing pending of customers, but of the programme",
        "update outstanding_points_by_month set pending_given_points = 0, pending_deducted_points = 0",
        ("outstanding_points_by_month (2026-06, POINTS) has pending_given_points 0 in the build",),
    ),
    *(
        Damage(
            f"what waits shown at another customer, in {mart}",
            f"""
            create temp table waits as
            select relation_reference, {points} as points from {mart}
            where {points} <> 0 and currency = 'POINTS' and {condition}
            order by relation_reference limit 1;
            create temp table other as
            select min(relation_reference) as relation_reference from {mart}
            where {points} = 0 and currency = 'POINTS' and {condition};
            update {mart} set {points} = (select points from waits)
            where relation_reference = (from other) and currency = 'POINTS' and {condition};
            update {mart} set {points} = 0
            where relation_reference = (select relation_reference from waits) and currency = 'POINTS'
                and {condition}
            """,
            (f"{mart} (", "POINTS) has hash of what waits"),
        )
        for mart, points, condition in (
            ("outstanding_points_by_month", "pending_given_points", "report_month = '2026-06-01'"),
            ("customer_point_balances", "on_hold_given_points", "true"),
        )
    ),
    Damage(
        "what is on hold taken for pending",
        """
        update customer_point_balances set
            pending_given_points = pending_given_points + on_hold_given_points, on_hold_given_points = 0
        """,
        ("customer_point_balances (POINTS) has on_hold_given_points 0 in the build",),
    ),
    *(
        Damage(
            f"{damage}, in {mart}",
            f"update {mart} set is_account_closed = {changed} where relation_reference in ("
            f"select min(relation_reference) from {mart} where is_account_closed and {condition})"
            f" and {condition}",
            (f"{mart} (", "POINTS) has hash of closed accounts"),
        )
        for mart, condition in (
            ("outstanding_points_by_month", "report_month = '2026-06-01'"),
            ("customer_point_balances", "true"),
        )
        for damage, changed in (("a closed account shown open", "false"), ("nobody knows", "null"))
    ),
    *(
        Damage(
            f"another account closed in its place, in {mart}",
            f"""
            update {mart} set is_account_closed = not is_account_closed where {condition}
            and relation_reference in (
                select min(relation_reference) from {mart} where {condition} group by is_account_closed
            )
            """,
            (f"{mart} (", "POINTS) has hash of closed accounts"),
        )
        for mart, condition in (
            ("outstanding_points_by_month", "report_month = '2026-06-01'"),
            ("customer_point_balances", "true"),
        )
    ),
    Damage(
        "a pending transfer that was taken for cancelled",
        """
        update int_transfers_classified set status = 'cancelled' where transfer_id = (
            select min(transfer_id) from int_transfers_classified where status = 'pending'
        )
        """,
        ("transfer_history (pending, ", ") has transfers"),
    ),
    Damage(
        "transfers left for later that are lost",
        "delete from int_transfers_classified where posting_month > '2026-06-01'",
        ("transfer_history (later) has transfers 0 in the build, but the recount says",),
    ),
    Damage(
        "a month that is lost",
        in_every_table(
            "delete from {table} where report_month = '2026-06-01'",
            "int_report_months",
            "outstanding_points_by_month",
            "programme_points_by_month",
            "points_movements_by_month",
            "discrepancies",
        ),
        ("report_months has 5 rows in the build, but the recount says 6",),
    ),
    Damage(
        "a month with another cutoff",
        """
        update int_report_months set cutoff_entry_id = cutoff_entry_id - 1
        where report_month = '2026-04-01'
        """,
        ("report_months (2026-04) has cutoff_entry_id",),
    ),
    Damage(
        "a table that is not there",
        "drop table customer_point_balances",
        ("customer_point_balances is not in the build",),
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.sentence)
def test_damage_is_named(damage, split, tmp_path):
    """docs/cases.md, S22."""
    database = tmp_path / split.whole.name
    shutil.copyfile(split.whole, database)
    with duckdb.connect(str(database)) as build:
        build.execute(damage.sql)
    differences = find_differences(split.whole_recount, database, MONTHS)
    assert [difference for difference in differences if all(part in difference for part in damage.said)], (
        differences[:20]
    )


def test_other_months_than_those_asked_for_are_passed_over(split, tmp_path):
    database = tmp_path / split.whole.name
    shutil.copyfile(split.whole, database)
    with duckdb.connect(str(database)) as build:
        build.execute(
            "update programme_points_by_month set closing_points = 0 where report_month = '2026-02-01'"
        )
    assert find_differences(split.whole_recount, database, MONTHS[2:]) == []
    assert find_differences(split.whole_recount, database, MONTHS) != []


@pytest.mark.slow
def test_a_build_of_half_of_the_transfers_is_not_as_it_is_recounted(split):
    """Every test of dbt passes on it, for nothing contradicts anything."""
    half = split.builder.folder / "half"
    shutil.copytree(cut_folder(split.ledger.settings.home), half / "cut")
    for segment in (half / "cut" / "transfers").iterdir():
        whole = segment.rename(half / "whole.parquet")
        with duckdb.connect() as duck:
            duck.execute(f"copy (from '{whole}' where entry_id % 2 = 0 order by entry_id) to '{segment}'")
    database = split.builder.build("half", MONTHS[-1], half)
    differences = "\n".join(find_differences(split.whole_recount, database, MONTHS))
    for said in (
        "transfer_history has",
        "programme_points_by_month (2026-06, POINTS) has closing_points",
    ):
        assert said in differences
