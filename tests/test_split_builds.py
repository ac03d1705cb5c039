"""The central equality: months built from the first entry, or from what a close handed on, are the same.

A world of entries is made from a seed, with closes between them. Three builds look at it: one of
everything; one that stops where the third month was closed; one that starts there, from the published
balances, what was left unposted, and the entries after the cutoff (DESIGN.md, sections 3 and 6).
"""

import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from tests.conftest import PROJECT_ROOT

MONTHS = [datetime(2026, month, 1) for month in range(1, 8)]
CLOSED_MONTHS = 3
REASONS = [
    ("rule_credit", "give"),
    ("tier_bonus", "give"),
    ("admin_adjustment", "deduct"),
    ("redemption", "deduct"),
    ("expiry", "deduct"),
]


@dataclass
class World:
    """Rows of the four parts of a cut, and the cutoff of each close."""

    transfers: list[tuple] = field(default_factory=list)
    status_changes: list[tuple] = field(default_factory=list)
    account_events: list[tuple] = field(default_factory=list)
    closes: list[tuple] = field(default_factory=list)
    entry_id: int = 0

    def next_entry(self) -> int:
        self.entry_id += 1
        return self.entry_id


def make_world(seed: int) -> World:
    """Six months of entries; the first three months are closed, each two days after its end."""
    dice = random.Random(seed)
    world = World()
    waiting: list[str] = []
    known: list[tuple[str, str, str, str]] = []
    promised: list[tuple[str, str]] = []
    for index, month in enumerate(MONTHS[:-1]):
        for step in range(400):
            recorded = month + timedelta(days=2) + (MONTHS[index + 1] - month) * step / 400
            occurred = recorded - timedelta(days=dice.choice([0, 0, 0, 1, 3, 40, 100]))
            if dice.random() < 0.02:
                occurred = recorded + timedelta(days=dice.choice([5, 40]))
            kind = dice.random()
            relation = f"C-{dice.randrange(60):03d}"
            if kind < 0.08 and waiting:
                _settle(world, dice, waiting, recorded)
            elif kind < 0.11:
                world.account_events.append(
                    (world.next_entry(), relation, dice.choice(["open", "close"]), recorded)
                )
            else:
                _transfer(world, dice, relation, occurred, recorded, waiting, known, promised)
        if index < CLOSED_MONTHS:
            cutoff = world.entry_id
            world.closes.append((world.next_entry(), "close", month.date(), 1, cutoff))
    return world


def _settle(world: World, dice: random.Random, waiting: list[str], recorded: datetime) -> None:
    transfer_id = waiting.pop(dice.randrange(len(waiting)))
    status = dice.choice(["approved", "approved", "cancelled", "on_hold"])
    world.status_changes.append((world.next_entry(), transfer_id, status, recorded))
    if status == "on_hold":
        waiting.append(transfer_id)


def _transfer(world, dice, relation, occurred, recorded, waiting, known, promised) -> None:
    currency = dice.choice(["POINTS", "POINTS", "POINTS", "MILES"])
    reason, style = dice.choice(REASONS)
    reverses = None
    transfer_id = f"T-{world.entry_id:06d}"
    if promised and dice.random() < 0.3:
        # The original of a revocation that stands before it.
        transfer_id, relation = promised.pop(dice.randrange(len(promised)))
    elif known and dice.random() < 0.3:
        reverses, relation, currency, style = dice.choice(known[-300:])
        reason, style = "revocation", "deduct" if style == "give" else "give"
    elif dice.random() < 0.03:
        reverses, reason, style = f"P-{world.entry_id:06d}", "revocation", "give"
        promised.append((reverses, relation))
    status = dice.choice(["approved"] * 8 + ["pending", "on_hold"])
    world.transfers.append(
        (
            world.next_entry(), transfer_id, relation, currency, style, dice.randrange(1, 10_000_000),
            reason, status, occurred, recorded, reverses,
        )
    )  # fmt: skip
    if status == "approved":
        known.append((transfer_id, relation, currency, style))
    else:
        waiting.append(transfer_id)


LAYOUT = {
    "transfers": "entry_id bigint, transfer_id text, relation_reference text, currency text, style text,"
    " points decimal(18, 4), reason text, status text, occurred_at timestamp, recorded_at timestamp,"
    " reverses_transfer_id text, recorded_by text, batch_id text, external_reference text, comment text",
    "status_changes": "entry_id bigint, transfer_id text, status text, changed_at timestamp",
    "account_events": "entry_id bigint, relation_reference text, event text, occurred_at timestamp",
    "closes": "entry_id bigint, event text, report_month date, revision integer, cutoff_entry_id bigint",
}


def write_cut(world: World, home: Path, upto: int) -> None:
    """The world's entries up to ``upto`` as a cut in ``home``."""
    for part, columns in LAYOUT.items():
        rows = [row for row in getattr(world, part) if row[0] <= upto]
        (home / "cut" / part).mkdir(parents=True)
        with duckdb.connect() as connection:
            connection.execute(f"create table part ({columns})")
            if rows:
                names = [column.split()[0] for column in columns.replace(", 4)", ")").split(", ")]
                if part == "transfers":
                    rows = [(*row[:5], f"{row[5] / 10_000:.4f}", *row[6:]) for row in rows]
                    names = names[:11]
                marks = ", ".join("?" * len(names))
                connection.executemany(f"insert into part ({', '.join(names)}) values ({marks})", rows)
            connection.execute(f"copy part to '{home}/cut/{part}/000001.parquet'")


def dbt_build(home: Path, **settings: str) -> Path:
    """Build the cut of ``home``, with every data test; return the database."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    result = subprocess.run(
        [
            Path(sys.executable).with_name("dbt"), "build", "--no-use-colors",
            "--exclude-resource-type", "unit_test",
            "--target-path", str(home / "target"), "--log-path", str(home),
        ],
        cwd=PROJECT_ROOT,
        env={**inherited, "POINTS_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:]
    return home / "dev.duckdb"


@pytest.fixture(scope="module")
def builds(tmp_path_factory) -> dict[str, Path]:
    world = make_world(seed=20260101)
    folder = tmp_path_factory.mktemp("split")
    cutoff = world.closes[CLOSED_MONTHS - 1][4]
    close_entry = world.closes[CLOSED_MONTHS - 1][0]

    write_cut(world, folder / "whole", world.entry_id)
    write_cut(world, folder / "first", close_entry)
    write_cut(world, folder / "second", world.entry_id)
    whole = dbt_build(folder / "whole", POINTS_THROUGH_MONTH="2026-06")
    first = dbt_build(folder / "first", POINTS_THROUGH_MONTH="2026-03")
    with duckdb.connect(str(first), read_only=True) as connection:
        connection.execute(
            "copy (select * from outstanding_points_by_month where report_month = '2026-03-01')"
            f" to '{folder}/opening.parquet' (format parquet)"
        )
        connection.execute(
            "copy (select * from transfer_history where disposition in ('pending', 'on_hold', 'later'))"
            f" to '{folder}/unposted.parquet' (format parquet)"
        )
        connection.execute(
            "copy (select history.entry_id, history.transfer_id, relation_reference, currency, style, points,"
            " status, bucket, coalesce(revoked.revoked_points, 0) as revoked_points"
            " from transfer_history as history left join (select transfer_id, sum(revoked_points) as"
            " revoked_points from int_revocation_lineage where posting_month <= '2026-03-01' group by 1)"
            " as revoked on history.transfer_id = revoked.transfer_id where disposition = 'posted')"
            f" to '{folder}/originals.parquet' (format parquet)"
        )
    second = dbt_build(
        folder / "second",
        POINTS_THROUGH_MONTH="2026-06",
        POINTS_OPENING_CUTOFF=str(cutoff),
        POINTS_OPENING_BALANCES=str(folder / "opening.parquet"),
        POINTS_UNPOSTED_TRANSFERS=str(folder / "unposted.parquet"),
        POINTS_ORIGINALS=str(folder / "originals.parquet"),
    )
    return {"whole": whole, "first": first, "second": second}


def rows(database: Path, relation: str, months: str) -> list[tuple]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(
            f"select * from {relation} where report_month {months} order by all"
        ).fetchall()


MARTS = [
    "outstanding_points_by_month",
    "points_movements_by_month",
    "programme_points_by_month",
    "discrepancies",
]


@pytest.mark.parametrize("mart", MARTS)
def test_months_built_from_opening_balances_equal_those_built_from_the_first_entry(builds, mart):
    later = "> date '2026-03-01'"
    whole = rows(builds["whole"], mart, later)
    assert whole
    assert rows(builds["second"], mart, later) == whole


@pytest.mark.parametrize("mart", MARTS)
def test_nothing_that_comes_later_changes_a_closed_month(builds, mart):
    closed = "<= date '2026-03-01'"
    first = rows(builds["first"], mart, closed)
    assert first
    assert rows(builds["whole"], mart, closed) == first


def test_the_balances_of_now_are_the_same_both_ways(builds):
    query = "select * from customer_point_balances order by all"
    with duckdb.connect(str(builds["whole"]), read_only=True) as connection:
        whole = connection.execute(query).fetchall()
    with duckdb.connect(str(builds["second"]), read_only=True) as connection:
        assert connection.execute(query).fetchall() == whole


def test_the_world_holds_what_the_equality_is_about(builds):
    with duckdb.connect(str(builds["second"]), read_only=True) as connection:
        late, handed_in, originals, before_originals = connection.execute(
            "select count(*) filter (is_late), count(*) filter (was_left_unposted),"
            " count(*) filter (reverses_transfer_id in (select transfer_id from stg_points__originals)),"
            " count(*) filter (reverses_transfer_id like 'P-%') from int_transfers_classified"
        ).fetchone()
    assert min(late, handed_in, originals, before_originals) > 5
