"""Under attack: random sequences of every act, on both databases, against the rules in plain Python.

Hypothesis draws and shrinks them; `pytest --hypothesis-seed=N` plays a run again. A longer history, with
closes in between, is then built by the models; POINTS_TEST_SEED plays another one.
"""

import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import duckdb
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ledger import kept_balances
from ledger.append import appending
from ledger.database import open_ledger
from ledger.links import ledger_head
from ledger.models import Close, Transfer
from orchestration.build import build_months
from tests.conftest import LedgerHome, new_postgresql_database
from tests.hostile_world import ACTS, DRAWN, HostileWorld
from tests.plain_ledger import PlainClose, PlainReport

LIMITS = (None, Decimal(50))
COLUMNS = ("opening", "earned", "reversal", "redeemed", "expired", "closing")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_home(request, tmp_path_factory):
    """Makes a home with an empty ledger, one for each sequence of acts."""

    def make() -> LedgerHome:
        folder = tmp_path_factory.mktemp("world")
        if request.param == "sqlite":
            return LedgerHome(folder / "home")
        return LedgerHome(
            folder / "home", new_postgresql_database(request.getfixturevalue("postgresql_server"))
        )

    return make


@pytest.fixture(autouse=True)
def balances_are_brought_along(monkeypatch):
    """Whether they are, an act of the world changes."""
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 1_000)


def test_random_acts_agree_with_the_rules_in_plain_python(new_home):
    """Balances, statuses, what is left to revoke, closed accounts and refusals, after every act."""

    is_sqlite = not new_home().environment

    class Days(RuleBasedStateMachine):
        @initialize(limit=st.sampled_from(LIMITS))
        def begin(self, limit):
            home = new_home()
            self.world = HostileWorld(home.open(), home.home.parent, limit)

        @rule(act=st.sampled_from(DRAWN), random=st.randoms(use_true_random=False))
        def act(self, act, random):
            ACTS[act](self.world, random)

        @invariant()
        def agrees(self):
            if hasattr(self, "world"):
                self.world.check()

    run_state_machine_as_test(
        Days,
        settings=settings(
            # Fewer on PostgreSQL, for time.
            max_examples=15 if os.environ.get("CI") and is_sqlite else 8,
            stateful_step_count=30,
            deadline=None,
            # CI plays the same days every time, and fails for what was changed; elsewhere they are new.
            derandomize=bool(os.environ.get("CI")),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    ("new_home", "limit"),
    [
        ("sqlite", LIMITS[0]),
        # The models know neither a database nor a limit: the acts that do are above.
        pytest.param("postgresql", LIMITS[1], marks=pytest.mark.slow),
        pytest.param("sqlite", LIMITS[1], marks=pytest.mark.slow),
        pytest.param("postgresql", LIMITS[0], marks=pytest.mark.slow),
    ],
    indirect=["new_home"],
)
def test_a_random_history_with_closes_is_built_as_plain_python_says(new_home, limit):
    """Months, buckets and balances of every customer. Closes are handed to the build (docs/cases.md, R13)."""
    seed = os.environ.get("POINTS_TEST_SEED", "2026")
    random = Random(seed)
    home = new_home()
    world = HostileWorld(home.open(), home.home.parent, limit)
    closes: list[PlainClose] = []
    for month in (date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)):
        for _ in range(60):
            ACTS[random.choice(DRAWN)](world, random)
        world.check()
        ended = datetime(month.year, month.month + 1, 3, tzinfo=UTC)
        world.now = max(world.now, ended)
        closes.append(PlainClose(month, close_in_ledger(world, month)))
    for _ in range(60):
        ACTS[random.choice(DRAWN)](world, random)
    world.now += timedelta(days=1)

    open_ledger(world.ledger.settings)
    head = ledger_head().entry_id
    expected = PlainReport(world.plain, world.entries(), closes, head).rows(through=date(2026, 6, 1))
    build_months(home.settings(), through="2026-06", from_first_entry=True)

    with duckdb.connect(str(home.home / "provisional" / "provisional.duckdb"), read_only=True) as database:
        found = database.execute(
            "select report_month, currency, relation_reference, opening_points, earned_points,"
            " reversal_points, redeemed_points, expired_points, closing_points"
            " from outstanding_points_by_month"
        ).fetchall()
    (build,) = (home.home / "runs").glob("*/build.duckdb")
    with duckdb.connect(str(build), read_only=True) as database:
        unrevoked = database.execute("select transfer_id, unrevoked_points from transfer_history").fetchall()
        spendable = database.execute(
            "select relation_reference, currency, spendable_points from customer_point_balances"
        ).fetchall()
    built = {(row[0], row[1], row[2]): row[3:] for row in found}
    said = {key: tuple(getattr(row, column) for column in COLUMNS) for key, row in expected.items()}
    only_opened = {key for key in set(built) - set(said) if not any(built[key])}
    assert {key: row for key, row in built.items() if key not in only_opened} == said, seed
    assert said, seed
    assert dict(unrevoked) == {key: world.plain.unrevoked(key) for key in world.plain.transfers}, seed
    newest = Transfer.objects.order_by("-entry_id")[0].recorded_at
    assert {(relation, currency): points for relation, currency, points in spendable if points} == {
        pair: points for pair in world.plain.pairs() if (points := world.plain.spendable(*pair, newest))
    }, seed


def close_in_ledger(world: HostileWorld, month: date) -> int:
    """Append the close of a month, as `points close` will; return its cutoff."""
    cutoff = ledger_head().entry_id
    with appending(world.ledger) as appender:
        appender.append(
            Close(event="close", report_month=f"{month:%Y-%m}", revision=1, cutoff_entry_id=cutoff)
        )
    return cutoff
