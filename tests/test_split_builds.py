"""The central equality: months built from the first entry, or from what a close handed on, are the same.

A ledger is filled from a seed, and its months are closed: the first, the second, then two at once, and
these once more after a reopening. Builds look at it as closes would: one of everything; one of what the
second close saw; one that goes on from there; one that goes on from that; and one that goes back to the
older balances and makes closed months again (docs/design.md, sections 3 and 6). POINTS_TEST_SEED plays other
ledgers, one for each number in it.
"""

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.append import Appender, appending
from ledger.cut import cut_folder, freeze
from ledger.database import Ledger
from ledger.links import ledger_head
from ledger.models import AccountEvent, Close, StatusChange, Transfer
from ledger.related_transfers import write_related
from tests.conftest import PROJECT_ROOT, LedgerHome, run_dbt

pytestmark = pytest.mark.slow

SEEDS = [int(seed) for seed in os.environ.get("POINTS_TEST_SEED", "8 7").split()]
CALENDARS = [("UTC", 1), ("America/New_York", 15), ("Europe/Berlin", 28)]
MONTHS = ["2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06"]
FIRST_BASE, SECOND_BASE = "2026-02", "2026-04"
STEPS_IN_MONTH = 200
STEPS_IN_COMMIT = 10
REASONS = [
    ("rule_credit", "give"),
    ("tier_bonus", "give"),
    ("admin_adjustment", "deduct"),
    ("redemption", "deduct"),
    ("expiry", "deduct"),
]
# From this month on an expiry counts in another bucket; its revocations follow the original.
CHANGED_RULE = "expiry,deduct,redeemed,2026-03,false,Points expired\n"
OPPOSITE = {"give": "deduct", "deduct": "give"}
WAITING = ("pending", "on_hold")


@dataclass
class World:
    """What is in the ledger, as far as later entries hang on it."""

    dice: random.Random
    start_day: int
    transfers: dict[str, Transfer] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    # Originals that revocations name before they are there, with the revocation.
    promised: dict[str, str] = field(default_factory=dict)
    cutoffs: dict[str, int] = field(default_factory=dict)

    def starts(self, month: str) -> datetime:
        return datetime.strptime(month, "%Y-%m").replace(day=self.start_day, tzinfo=UTC)

    def step(self, appender: Appender) -> None:
        """Append one thing that may happen, with what the ledger appends beside it."""
        acts = [
            (0.16, self.settle),
            (0.05, self.open_or_close),
            (0.05, self.close_by_transfer),
            (0.30, self.revoke),
            (0.06, self.promise),
            (0.06, self.keep_promise),
            (0.32, self.give_or_deduct),
        ]
        act = self.dice.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act(appender)

    def settle(self, appender: Appender) -> None:
        if not self.waiting:
            return
        transfer = self.transfers[self.waiting.pop(self.dice.randrange(len(self.waiting)))]
        status = self.dice.choice(["approved", "approved", "cancelled", "on_hold", "pending"])
        # A file may date a change, so that it takes effect in a month that was closed before.
        days = self.dice.choice([0, 0, 0, 2, 40])
        changed_at = appender.recorded_at - timedelta(days=days)
        appender.append(StatusChange(transfer_id=transfer.transfer_id, status=status, changed_at=changed_at))
        if status in WAITING:
            self.waiting.append(transfer.transfer_id)
        elif status == "approved" and transfer.reason == "account_closure":
            self.append_event(
                appender, transfer.relation_reference, "close", max(transfer.occurred_at, changed_at)
            )

    def open_or_close(self, appender: Appender) -> None:
        instant = appender.recorded_at + timedelta(days=self.dice.choice([0, 0, -1, -35, -70, 10, 45]))
        self.append_event(appender, self.a_relation(), self.dice.choice(["open", "close"]), instant)

    def append_event(self, appender: Appender, relation: str, event: str, instant: datetime) -> None:
        appender.append(
            AccountEvent(
                event_id=f"A-{appender.next_entry_id}",
                relation_reference=relation,
                event=event,
                occurred_at=instant,
            )
        )

    def close_by_transfer(self, appender: Appender) -> None:
        transfer = self.append_transfer(
            appender, reason="account_closure", style=self.dice.choice(["give", "deduct"])
        )
        if transfer.status == "approved":
            self.append_event(appender, transfer.relation_reference, "close", transfer.occurred_at)

    def give_or_deduct(self, appender: Appender) -> None:
        reason, style = self.dice.choice(REASONS)
        values = {}
        if self.transfers and self.dice.random() < 0.05:
            # From before there was a rule: only a revocation revokes.
            values["reverses_transfer_id"] = self.dice.choice(list(self.transfers))
        self.append_transfer(appender, reason=reason, style=style, **values)

    def revoke(self, appender: Appender) -> None:
        """Revoke something: lately recorded, or of any age, or a revocation; a little, all, or too much."""
        known = list(self.transfers.values())
        if not known:
            return
        revocations = [transfer for transfer in known if transfer.revokes_transfer_id]
        ahead = [transfer for transfer in known if transfer.occurred_at > appender.recorded_at]
        closures = [transfer for transfer in known if transfer.reason == "account_closure"]
        pools = [known[-30:], known, revocations, revocations[-10:], ahead, closures]
        original = self.dice.choice(self.dice.choice(pools) or known)
        share = Decimal(self.dice.choice(["0.3", "0.5", "0.9", "1", "1", "1.2"]))
        values = {
            "relation_reference": original.relation_reference,
            "currency": original.currency,
            "style": OPPOSITE[original.style],
            "points": max(round(original.points * share, 4), Decimal("0.0001")),
        }
        if original.occurred_at > appender.recorded_at and self.dice.random() < 0.8:
            # As a command does it: both take effect together.
            values["occurred_at"] = original.occurred_at
        if self.dice.random() < 0.08:
            other = self.dice.choice(["relation_reference", "currency", "style"])
            values[other] = {
                "relation_reference": self.a_relation(),
                "currency": "MILES",
                "style": original.style,
            }[other]
        self.append_transfer(
            appender, reason="revocation", reverses_transfer_id=original.transfer_id, **values
        )

    def promise(self, appender: Appender) -> None:
        """Revoke what is not there yet."""
        original_id = f"P-{appender.next_entry_id}"
        revocation = self.append_transfer(
            appender,
            reason="revocation",
            style=self.dice.choice(["give", "deduct"]),
            reverses_transfer_id=original_id,
        )
        self.promised[original_id] = revocation.transfer_id

    def keep_promise(self, appender: Appender) -> None:
        """Append what an orphan revokes: a plain transfer, a revocation, or one that closes a circle."""
        if not self.promised:
            return
        original_id = self.dice.choice(list(self.promised))
        orphan = self.transfers[self.promised.pop(original_id)]
        kind = self.dice.random()
        values = {"transfer_id": original_id, "relation_reference": orphan.relation_reference}
        style = OPPOSITE[orphan.style]
        if kind < 0.5:
            reason = "rule_credit" if style == "give" else "expiry"
            self.append_transfer(appender, reason=reason, style=style, **values)
            return
        if kind < 0.75:
            # The orphan itself, or what revokes it, to some depth.
            reversed_id = orphan.transfer_id
            while self.dice.random() < 0.6:
                below = [
                    transfer.transfer_id
                    for transfer in self.transfers.values()
                    if transfer.revokes_transfer_id == reversed_id
                ]
                if not below:
                    break
                reversed_id = self.dice.choice(below)
        elif kind < 0.85:
            reversed_id = original_id
        else:
            reversed_id = self.dice.choice(list(self.transfers))
        self.append_transfer(
            appender, reason="revocation", style=style, reverses_transfer_id=reversed_id, **values
        )

    def append_transfer(self, appender: Appender, **values) -> Transfer:
        days = self.dice.choice([0, 0, 0, 1, 3, 40, 100] + ([-5, -40] if self.dice.random() < 0.1 else []))
        defaults = {
            "transfer_id": f"T-{appender.next_entry_id:05d}",
            "relation_reference": self.a_relation(),
            "currency": self.dice.choice(["POINTS", "POINTS", "POINTS", "MILES"]),
            "points": Decimal(self.dice.randrange(1, 2_000_000)).scaleb(-4),
            "status": self.dice.choice(["approved"] * 8 + ["pending", "on_hold", "cancelled"]),
            "occurred_at": appender.recorded_at - timedelta(days=days),
        }
        transfer = Transfer(**{**defaults, **values})
        appender.append(transfer)
        self.transfers[transfer.transfer_id] = transfer
        if transfer.status in WAITING:
            self.waiting.append(transfer.transfer_id)
        return transfer

    def a_relation(self) -> str:
        return f"C-{self.dice.randrange(25):02d}"


def fill_ledger(home: LedgerHome, seed: int, start_day: int) -> tuple[Ledger, World]:
    """A ledger of six months; what stood at the second close is frozen in ``first`` beside the home."""
    world = World(random.Random(seed), start_day)
    ledger = home.open()
    for index, month in enumerate(MONTHS):
        # A month closes two days after its end.
        begins = world.starts(month) + timedelta(days=2)
        ends = world.starts(MONTHS[index + 1]) if index + 1 < len(MONTHS) else begins + timedelta(days=26)
        for step in range(0, STEPS_IN_MONTH, STEPS_IN_COMMIT):
            recorded_at = begins + (ends - begins) * step / STEPS_IN_MONTH
            with appending(replace(ledger, clock=lambda now=recorded_at: now)) as appender:
                for _ in range(STEPS_IN_COMMIT):
                    world.step(appender)
            if month == "2026-05" and step == STEPS_IN_MONTH // 4:
                reopen(ledger, world, "2026-03")
            if month == "2026-05" and step == STEPS_IN_MONTH // 2:
                close(ledger, world, ["2026-03", "2026-04"], revision=2)
        if month == FIRST_BASE:
            freeze(ledger)
            shutil.copytree(cut_folder(home.home), home.home.parent / "first" / "cut")
        if month in ("2026-01", "2026-02"):
            close(ledger, world, [month])
        if month == "2026-04":
            close(ledger, world, ["2026-03", "2026-04"])
    freeze(ledger)
    return ledger, world


def close(ledger: Ledger, world: World, months: list[str], revision: int = 1) -> None:
    """Close months with one cutoff, the ledger's end."""
    cutoff = ledger_head().entry_id
    with appending(ledger) as appender:
        for month in months:
            world.cutoffs[month] = cutoff
            appender.append(
                Close(event="close", report_month=month, revision=revision, cutoff_entry_id=cutoff)
            )


def reopen(ledger: Ledger, world: World, month: str) -> None:
    """Take the close of a month and of every later one out of force."""
    with appending(ledger) as appender:
        appender.append(
            Close(event="reopen", report_month=month, revision=1, cutoff_entry_id=world.cutoffs[month])
        )


@dataclass(frozen=True)
class Builds:
    """What the builds made, and what each began with."""

    world: World
    first: Path
    second: Path
    third: Path
    from_older_balances: Path
    whole: Path
    up_to_first: Path
    related_counts: dict[str, int]


class Builder:
    """Builds the cut of one ledger, with a rule that changes in the third month."""

    def __init__(self, folder: Path, ledger: Ledger, zone: str, start_day: int) -> None:
        self.folder = folder
        self.ledger = ledger
        self.calendar = {"POINTS_TIME_ZONE": zone, "POINTS_MONTH_START_DAY": str(start_day)}
        self.related_counts: dict[str, int] = {}
        self.project = folder / "project"
        for name in ("dbt_project", "seeds", "tests/data"):
            shutil.copytree(PROJECT_ROOT / name, self.project / name)
        for name in ("dbt_project.yml", "profiles.yml"):
            shutil.copy(PROJECT_ROOT / name, self.project / name)
        with open(self.project / "seeds/transfer_reasons.csv", "a", encoding="utf-8") as rules:
            rules.write(CHANGED_RULE)
        self.parsed = self.run("parsed", {}, "parse")

    def build(self, name: str, through: str, home: Path | None = None, **settings: str) -> Path:
        """Build a home's cut, by default the ledger's, with every data test; return the database."""
        settings |= {"POINTS_HOME": str(home or self.ledger.settings.home), "POINTS_THROUGH_MONTH": through}
        return self.run(name, settings, "build", "--exclude-resource-type", "unit_test") / "build.duckdb"

    def run(self, name: str, settings: dict[str, str], *arguments: str) -> Path:
        """Run dbt in a folder of its own and return it; only the first run parses the project."""
        folder = self.folder / f"dbt-{name}"
        target = folder / "target"
        target.mkdir(parents=True)
        if name != "parsed":
            shutil.copy(self.parsed / "target/partial_parse.msgpack", target)
        result = run_dbt(
            [
                *arguments, "--no-use-colors",
                "--project-dir", str(self.project), "--profiles-dir", str(self.project),
                "--target-path", str(target), "--log-path", str(folder),
            ],
            {**self.calendar, "POINTS_BUILD_DATABASE": "build.duckdb", **settings},
            folder,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout[-4000:]
        return folder

    def build_after(
        self, name: str, base: Path, month: str, cutoff: int, through: str, upto: int | None = None
    ) -> Path:
        """Build from what the close of ``month``, the last one of ``base``, hands on."""
        handed_on = self.folder / f"handed-to-{name}"
        handed_on.mkdir()
        with duckdb.connect(str(base), read_only=True) as connection:
            connection.execute(
                "copy (select * from outstanding_points_by_month"
                f" where report_month = date '{month}-01') to '{handed_on}/balances.parquet'"
            )
            connection.execute(f"copy (from unposted_transfers) to '{handed_on}/unposted.parquet'")
        self.related_counts[name] = write_related(
            self.ledger,
            cut_folder(self.ledger.settings.home),
            handed_on / "unposted.parquet",
            cutoff,
            upto or ledger_head().entry_id,
            handed_on / "related.parquet",
            handed_on / "related_status_changes.parquet",
        )
        return self.build(
            name,
            through,
            POINTS_OPENING_CUTOFF=str(cutoff),
            POINTS_OPENING_BALANCES=str(handed_on / "balances.parquet"),
            POINTS_UNPOSTED_TRANSFERS=str(handed_on / "unposted.parquet"),
            POINTS_RELATED_TRANSFERS=str(handed_on / "related.parquet"),
            POINTS_RELATED_STATUS_CHANGES=str(handed_on / "related_status_changes.parquet"),
            **({"POINTS_UPTO_ENTRY_ID": str(upto)} if upto else {}),
        )


@pytest.fixture(scope="module", params=SEEDS)
def builds(request, tmp_path_factory) -> Builds:
    folder = tmp_path_factory.mktemp("split")
    zone, start_day = CALENDARS[request.param % len(CALENDARS)]
    ledger, world = fill_ledger(LedgerHome(folder / "home"), request.param, start_day)
    builder = Builder(folder, ledger, zone, start_day)
    first_cutoff, second_cutoff = world.cutoffs[FIRST_BASE], world.cutoffs[SECOND_BASE]
    with ThreadPoolExecutor(max_workers=2) as pool:
        whole = pool.submit(builder.build, "whole", MONTHS[-1])
        first = builder.build("first", FIRST_BASE, folder / "first")
        second = builder.build_after("second", first, FIRST_BASE, first_cutoff, SECOND_BASE, second_cutoff)
        third = builder.build_after("third", second, SECOND_BASE, second_cutoff, MONTHS[-1])
        older = builder.build_after("older", first, FIRST_BASE, first_cutoff, MONTHS[-1])
        up_to_first = builder.build("upto", FIRST_BASE, POINTS_UPTO_ENTRY_ID=str(first_cutoff))
        return Builds(world, first, second, third, older, whole.result(), up_to_first, builder.related_counts)


MARTS = [
    "outstanding_points_by_month",
    "points_movements_by_month",
    "programme_points_by_month",
    "discrepancies",
]
MONTHLY = [
    *(f"select * from {mart}" for mart in MARTS),
    "select posting_month as report_month, transfer_id, bucket, is_late, effective_entry_id, settled_entry_id"
    " from int_transfers_classified",
    "select * from int_report_months",
]


def rows(database: Path, query: str, months: str) -> list[tuple]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(
            f"select * from ({query}) where strftime(report_month, '%Y-%m') {months} order by all"
        ).fetchall()


def assert_equal_rows(found: list[tuple], expected: list[tuple]) -> None:
    """Equal, or the few rows that are not: pytest's own comparison of thousands takes minutes."""
    assert expected
    differing = set(found) ^ set(expected)
    assert sorted(map(str, differing))[:10] == []
    assert len(found) == len(expected)


@pytest.mark.parametrize("query", MONTHLY)
def test_months_built_from_opening_balances_equal_those_built_from_the_first_entry(builds, query):
    later = f"> '{SECOND_BASE}'"
    assert_equal_rows(rows(builds.third, query, later), rows(builds.whole, query, later))


@pytest.mark.parametrize("query", MONTHLY)
def test_closed_months_made_again_from_older_balances_equal_those_built_from_the_first_entry(builds, query):
    later = f"> '{FIRST_BASE}'"
    assert_equal_rows(rows(builds.from_older_balances, query, later), rows(builds.whole, query, later))


@pytest.mark.parametrize("query", MONTHLY[:-1])
def test_nothing_that_comes_later_changes_a_closed_month(builds, query):
    first = f"<= '{FIRST_BASE}'"
    assert_equal_rows(rows(builds.whole, query, first), rows(builds.first, query, first))
    second = f"between '2026-03' and '{SECOND_BASE}'"
    assert_equal_rows(rows(builds.whole, query, second), rows(builds.second, query, second))


def test_the_balances_of_now_are_the_same_both_ways(builds):
    # A customer with only cancelled transfers before the balances is not in a build that starts with them.
    query = (
        "select * from customer_point_balances where approved_points <> 0 or spendable_points <> 0"
        " or pending_given_points + pending_deducted_points <> 0"
        " or on_hold_given_points + on_hold_deducted_points <> 0"
    )
    with duckdb.connect(str(builds.whole), read_only=True) as connection:
        whole = connection.execute(query).fetchall()
    for database in (builds.third, builds.from_older_balances):
        with duckdb.connect(str(database), read_only=True) as connection:
            assert_equal_rows(connection.execute(query).fetchall(), whole)


def test_a_build_up_to_an_entry_is_that_of_a_cut_that_ends_there(builds):
    with duckdb.connect(str(builds.first), read_only=True) as connection:
        relations = [
            name
            for (name,) in connection.execute(
                "select table_name from information_schema.tables where table_name like 'int_%'"
                " or table_name like 'stg_%' and table_name <> 'stg_seeds__bucket_rules'"
                " or table_type = 'BASE TABLE'"
            ).fetchall()
        ]
    assert len(relations) > 20
    for name in relations:
        found = []
        for database in (builds.up_to_first, builds.first):
            with duckdb.connect(str(database), read_only=True) as connection:
                found.append(connection.execute(f"select * from {name} order by all").fetchall())
        assert found[0] == found[1], name


KINDS = {
    "orphan_revocation",
    "revocation_of_unapproved",
    "revocation_of_other_relation",
    "revocation_of_other_currency",
    "revocation_of_same_style",
    "excessive_revocation",
    "negative_outstanding",
    "activity_after_closure",
    "late_posting",
    "future_dated",
}


def test_the_world_holds_what_the_equality_is_about(builds):
    with duckdb.connect(str(builds.from_older_balances), read_only=True) as connection:
        found = connection.execute("select distinct discrepancy from discrepancies").fetchall()
        deepest, ended = connection.execute(
            "select max(depth), count(known_until_entry_id) from int_revocation_lineage"
        ).fetchone()
        late, handed_in, of_related, closures_before = connection.execute(
            "select count(*) filter (is_late), count(*) filter (was_left_unposted),"
            " count(*) filter (reverses_transfer_id in"
            " (select transfer_id from stg_closed_month__related_transfers)),"
            " (select count(*) from stg_closed_month__related_transfers where reason = 'account_closure')"
            " from int_transfers_classified"
        ).fetchone()
        across = connection.execute(
            "select count(*) from int_transfers_linked anti join int_revocation_chains using (transfer_id)"
            " where reason = 'revocation' and is_related_only"
        ).fetchone()[0]
        changes = connection.execute(
            "select count(*) from int_status_changes_united where transfer_id in"
            " (select transfer_id from stg_closed_month__related_transfers)"
        ).fetchone()[0]
        reserved, freed, links = connection.execute(
            "select (select count(*) from int_points_reserved),"
            " count(*) filter (reason = 'revocation' and occurred_at > recorded_at),"
            " count(*) filter (reason <> 'revocation' and reverses_transfer_id is not null)"
            " from int_transfers_classified"
        ).fetchone()
    assert {kind for (kind,) in found} == KINDS
    assert deepest >= 5
    assert min(late, handed_in, of_related, ended, changes, *builds.related_counts.values()) > 3
    assert min(across, closures_before, reserved, freed, links) > 0
