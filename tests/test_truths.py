"""Each dbt test catches what it is there for: the sample is built once, and damaged for each case.

A case is a sentence, the test that must fail, and the SQL that does the damage. The test's own
compiled SQL then runs against a damaged copy of the database, without dbt.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from tests.sample_build import SampleBuild

Copy = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]

TRUTH_1 = "truth_1_outstanding_is_earned_less_the_rest"
TRUTH_2 = "truth_2_closing_is_opening_plus_movement"
TRUTH_3 = "truth_3_closing_is_outstanding"
TRUTH_4 = "assert_truth_4_opening_is_closing_of_month_before"
TRUTH_5 = "assert_truth_5_every_row_is_counted_once"
TRUTH_6 = "assert_truth_6_movement_is_sum_of_signed_points"
MOVEMENTS = "assert_movements_add_up_to_balances"
PROGRAMME = "assert_balances_add_up_to_programme"
CUSTOMERS = "assert_transfers_add_up_to_customer_balances"
RELATED = "assert_related_transfers_are_of_earlier_months"

# HAL has points from January on and a circle of revocations in February; then come quiet months.
QUIET = "relation_reference = 'HAL' and report_month = '2026-03-01'"
ANNA = "relation_reference = 'ANNA' and report_month = '2026-02-01'"


@dataclass(frozen=True)
class Case:
    """What is damaged, the dbt test that must say so, and the SQL that does it."""

    sentence: str
    test: str
    damage: str


def update(mart: str, change: str, where: str) -> str:
    """SQL that changes rows."""
    return f"update {mart} set {change} where {where}"


def delete(mart: str, where: str) -> str:
    """SQL that removes rows."""
    return f"delete from {mart} where {where}"


def double(mart: str, where: str) -> str:
    """SQL that writes rows a second time."""
    return f"insert into {mart} select * from {mart} where {where}"


BALANCES = "outstanding_points_by_month"

CASES = [
    Case(
        "a total that is one ten-thousandth too high",
        TRUTH_1,
        update(BALANCES, "total_earned_points = total_earned_points + 0.0001", ANNA),
    ),
    Case("a total that is null", TRUTH_1, update(BALANCES, "total_expired_points = null", ANNA)),
    Case(
        "totals that are null on both sides of the equation",
        TRUTH_1,
        update(BALANCES, "total_expired_points = null, total_outstanding_points = null", ANNA),
    ),
    Case(
        "a movement that is one ten-thousandth too low",
        TRUTH_2,
        update(BALANCES, "redeemed_points = redeemed_points - 0.0001", ANNA),
    ),
    Case("an opening that is null", TRUTH_2, update(BALANCES, "opening_points = null", ANNA)),
    Case(
        "opening and closing shifted together",
        TRUTH_3,
        update(
            BALANCES,
            "opening_points = opening_points + 1, closing_points = closing_points + 1",
            ANNA,
        ),
    ),
    Case("a closing that is null", TRUTH_3, update(BALANCES, "closing_points = null", ANNA)),
    Case(
        "opening and closing of a quiet month shifted together",
        TRUTH_4,
        update(
            BALANCES,
            "opening_points = opening_points + 1, closing_points = closing_points + 1",
            QUIET,
        ),
    ),
    Case("a quiet month that is missing", TRUTH_4, delete(BALANCES, QUIET)),
    Case(
        "a last month that is missing for everybody",
        TRUTH_4,
        delete(BALANCES, "report_month = '2026-04-01'"),
    ),
    Case("an opening that is null", TRUTH_4, update(BALANCES, "opening_points = null", QUIET)),
    Case(
        "a new pair that does not open at zero",
        TRUTH_4,
        update(BALANCES, "opening_points = 1", "relation_reference = 'KIM' and opening_points = 0"),
    ),
    Case(
        "balances handed in that are no opening",
        TRUTH_4,
        """insert into stg_closed_month__balances
        values ('2025-11-01', 'POINTS', 'ZOE', 5, 0, 0, 0, 5, false)""",
    ),
    Case(
        "balances handed in that the first month opens without",
        TRUTH_4,
        """insert into stg_closed_month__balances
        values ('2025-11-01', 'POINTS', 'CARA', 5, 0, 0, 0, 5, false)""",
    ),
    Case(
        "a row of the source that staging lost",
        TRUTH_5,
        delete("stg_files__transfer_rows", "transfer_id = 'S-001'"),
    ),
    Case(
        "a row of the source that staging lost, with its transfer",
        TRUTH_5,
        delete("stg_files__transfer_rows", "transfer_id = 'S-001'")
        + "; "
        + delete("transfer_history", "transfer_id = 'S-001'")
        + "; "
        + delete("int_transfers_united", "transfer_id = 'S-001'")
        + """; update points_movements_by_month set transfer_count = transfer_count - 1
        where relation_reference = 'ANNA' and reason = 'rule_credit'""",
    ),
    Case(
        "a transfer that the history lost",
        TRUTH_5,
        delete("transfer_history", "transfer_id = 'S-033'"),
    ),
    Case(
        "a transfer that stands twice in the history",
        TRUTH_5,
        double("transfer_history", "transfer_id = 'S-033'"),
    ),
    Case(
        "a repetition that was dropped",
        TRUTH_5,
        delete("stg_files__repeated_rows", "verdict = 'repetition'"),
    ),
    Case(
        "a status change that was dropped",
        TRUTH_5,
        delete("stg_files__repeated_rows", "transfer_id = 'S-029' and verdict = 'status_change'"),
    ),
    Case(
        "a quarantined row that was dropped",
        TRUTH_5,
        delete("quarantined_transfers", "transfer_id = 'S-052'"),
    ),
    Case(
        "points that changed on the way",
        TRUTH_5,
        update("transfer_history", "points = points + 0.0001", "transfer_id = 'S-031'"),
    ),
    Case(
        "points that moved from one reason to another",
        TRUTH_5,
        update("transfer_history", "reason = 'tier_bonus'", "transfer_id = 'S-001'"),
    ),
    Case(
        "a posted transfer without a bucket",
        TRUTH_5,
        update("transfer_history", "bucket = null", "transfer_id = 'S-001'"),
    ),
    Case(
        "a posted transfer in a month that the run does not have",
        TRUTH_5,
        update("transfer_history", "posting_month = '2025-10-01'", "transfer_id = 'S-001'"),
    ),
    Case(
        "a transfer left for later that belongs to a month of the run",
        TRUTH_5,
        update("transfer_history", "disposition = 'later'", "transfer_id = 'S-001'"),
    ),
    Case(
        "a cancelled transfer that posts",
        TRUTH_5,
        update("transfer_history", "posting_month = '2026-03-01'", "transfer_id = 'S-033'"),
    ),
    Case(
        "a transfer without a status",
        TRUTH_5,
        update("transfer_history", "status = null, disposition = null", "transfer_id = 'S-031'"),
    ),
    Case(
        "a movement that counts a transfer twice",
        TRUTH_5,
        update(
            "points_movements_by_month",
            "transfer_count = transfer_count + 1",
            "relation_reference = 'KIM' and reason = 'tier_bonus'",
        ),
    ),
    Case(
        "a transfer left by an earlier close and not read",
        TRUTH_5,
        """insert into stg_closed_month__unposted_transfers by name
        select *, 'pending' as status from int_transfers_united
        where transfer_id = 'S-031'""",
    ),
    Case(
        "a balance that moved without a transfer",
        TRUTH_6,
        update(BALANCES, "closing_points = closing_points + 0.0001", ANNA),
    ),
    Case("a balance that is null", TRUTH_6, update(BALANCES, "closing_points = null", ANNA)),
    Case("a pair that posted and has no row", TRUTH_6, delete(BALANCES, ANNA)),
    Case("an empty mart", TRUTH_6, delete(BALANCES, "true")),
    Case(
        "a transfer that posted and moved nothing",
        TRUTH_6,
        """insert into int_transfers_united by name
        select * replace ('S-999' as transfer_id)
        from int_transfers_united where transfer_id = 'S-050'""",
    ),
    Case(
        "a transfer whose style was turned round",
        TRUTH_6,
        update("int_transfers_united", "style = 'deduct'", "transfer_id = 'S-050'"),
    ),
    Case(
        "an opened account without a row",
        TRUTH_6,
        """insert into int_account_events
        values (1, 'ZOE', 'open', '2026-02-03 00:00:00', '2026-02-01')""",
    ),
    Case(
        "a movement in the wrong bucket",
        MOVEMENTS,
        update(
            "points_movements_by_month",
            "bucket = 'redeemed'",
            "relation_reference = 'ANNA' and reason = 'admin_adjustment' and bucket = 'reversal'",
        ),
    ),
    Case("a movement in a quiet month", MOVEMENTS, update(BALANCES, "reversal_points = 1", QUIET)),
    Case("a movement that is null", MOVEMENTS, update(BALANCES, "earned_points = null", QUIET)),
    Case("a pair that moved and has no balance", MOVEMENTS, delete(BALANCES, ANNA)),
    Case(
        "a programme's total that is one ten-thousandth too high",
        PROGRAMME,
        update(
            "programme_points_by_month",
            "total_redeemed_points = total_redeemed_points + 0.0001",
            "report_month = '2026-02-01' and currency = 'POINTS'",
        ),
    ),
    Case(
        "a programme's month that is missing",
        PROGRAMME,
        delete("programme_points_by_month", "report_month = '2026-04-01' and currency = 'MILES'"),
    ),
    Case(
        "a customer that the programme counts and no balance shows",
        PROGRAMME,
        delete(BALANCES, QUIET),
    ),
    Case(
        "a programme's number that is null",
        PROGRAMME,
        update("programme_points_by_month", "negative_points = null", "currency = 'MILES'"),
    ),
    Case(
        "a programme that counts a transfer too few",
        PROGRAMME,
        update(
            "programme_points_by_month",
            "posted_transfer_count = posted_transfer_count - 1",
            "report_month = '2026-02-01' and currency = 'POINTS'",
        ),
    ),
    Case(
        "a programme's currency from nowhere",
        PROGRAMME,
        """insert into programme_points_by_month
        select * replace ('GOLD' as currency, 1 as closing_points)
        from programme_points_by_month where currency = 'MILES' limit 1""",
    ),
    Case(
        "a customer with more than was given",
        CUSTOMERS,
        update(
            "customer_point_balances",
            "approved_points = approved_points + 0.0001",
            "relation_reference = 'HAL'",
        ),
    ),
    Case(
        "a customer who is missing",
        CUSTOMERS,
        delete("customer_point_balances", "relation_reference = 'HAL'"),
    ),
    Case(
        "a held deduct that reserves nothing",
        CUSTOMERS,
        update("customer_point_balances", "on_hold_deducted_points = 0", "relation_reference = 'EVA'"),
    ),
    Case(
        "a programme's closing that does not follow from its movement",
        "programme_closing_is_opening_plus_movement",
        update("programme_points_by_month", "expired_points = expired_points + 1", "true"),
    ),
    Case(
        "spendable points that forget what is reserved",
        "spendable_is_approved_less_reserved",
        update("customer_point_balances", "spendable_points = approved_points", "true"),
    ),
    Case(
        "a movement whose bucket has the wrong sign",
        "movements_have_the_sign_of_their_bucket",
        update("points_movements_by_month", "bucket_points = -bucket_points", "true"),
    ),
    Case(
        "balances handed in that contradict themselves",
        "opening_balances_are_earned_less_the_rest",
        """insert into stg_closed_month__balances
        values ('2025-11-01', 'POINTS', 'ZOE', 5, 0, 0, 0, 6, false)""",
    ),
    Case(
        "balances handed in twice",
        "grain_of_opening_balances",
        """insert into stg_closed_month__balances
        select '2025-11-01', 'POINTS', 'ZOE', 5, 0, 0, 0, 5, false from range(2)""",
    ),
    Case("a balance twice", f"grain_of_{BALANCES}", double(BALANCES, QUIET)),
    Case(
        "a balance without a relation reference",
        f"grain_of_{BALANCES}",
        update(BALANCES, "relation_reference = null", QUIET),
    ),
    Case(
        "a movement twice",
        "grain_of_points_movements_by_month",
        double("points_movements_by_month", ANNA),
    ),
    Case(
        "a programme's month twice",
        "grain_of_programme_points_by_month",
        double("programme_points_by_month", "currency = 'MILES'"),
    ),
    Case(
        "a customer twice",
        "grain_of_customer_point_balances",
        double("customer_point_balances", "relation_reference = 'HAL'"),
    ),
    Case(
        "a transfer twice in the history",
        "grain_of_transfer_history",
        double("transfer_history", "transfer_id = 'S-001'"),
    ),
    Case(
        "a transfer classified twice",
        "grain_of_int_transfers_classified",
        double("int_transfers_classified", "transfer_id = 'S-001'"),
    ),
    Case(
        "a revocation with two roots",
        "grain_of_int_revocation_chains",
        double("int_revocation_chains", "transfer_id = 'S-009'"),
    ),
    Case(
        "a related transfer that posts in a month of the run",
        RELATED,
        """insert into int_transfers_linked by name
        select 'OLD' as transfer_id, date '2026-02-01' as posting_month, true as is_related_only""",
    ),
    Case(
        "a related transfer that waits still",
        RELATED,
        """insert into int_transfers_linked by name
        select 'OLD' as transfer_id, 'on_hold' as status, true as is_related_only""",
    ),
    Case(
        "a related transfer that the run counts",
        RELATED,
        """insert into int_transfers_linked by name
        select 'S-001' as transfer_id, date '2025-01-01' as posting_month, true as is_related_only""",
    ),
    Case(
        "a month with two closes in force",
        "grain_of_int_report_months",
        double("int_report_months", "report_month = '2026-02-01'"),
    ),
    Case(
        "a discrepancy twice",
        "grain_of_discrepancies",
        double("discrepancies", "discrepancy = 'orphan_revocation'"),
    ),
    Case(
        "a discrepancy of a balance twice, without a transfer to distinguish the two",
        "grain_of_discrepancies",
        double("discrepancies", "discrepancy = 'negative_outstanding'"),
    ),
    Case(
        "a rule twice",
        "grain_of_transfer_reasons",
        double("transfer_reasons", "reason = 'redemption'"),
    ),
    Case(
        "a currency twice",
        "grain_of_points_currencies",
        double("points_currencies", "currency = 'MILES'"),
    ),
    Case(
        "pending points that are null",
        f"no_nulls_in_{BALANCES}",
        update(BALANCES, "pending_given_points = null", ANNA),
    ),
    Case(
        "an account neither open nor closed",
        f"no_nulls_in_{BALANCES}",
        update(BALANCES, "is_account_closed = null", ANNA),
    ),
    Case(
        "a movement of null points",
        "no_nulls_in_points_movements_by_month",
        update("points_movements_by_month", "bucket_points = null", ANNA),
    ),
    Case(
        "a programme without a count of late transfers",
        "no_nulls_in_programme_points_by_month",
        update("programme_points_by_month", "late_transfer_count = null", "currency = 'MILES'"),
    ),
    Case(
        "a customer without spendable points",
        "no_nulls_in_customer_point_balances",
        update("customer_point_balances", "spendable_points = null", "true"),
    ),
    Case(
        "a transfer without a disposition",
        "no_nulls_in_transfer_history",
        update("transfer_history", "disposition = null", "transfer_id = 'S-001'"),
    ),
    Case(
        "a quarantined row without a reason",
        "no_nulls_in_quarantined_transfers",
        update("quarantined_transfers", "rejection_code = null", "transfer_id = 'S-052'"),
    ),
    Case(
        "a discrepancy of null points",
        "no_nulls_in_discrepancies",
        update("discrepancies", "points = null", "true"),
    ),
    Case(
        "a reason that does not say who may choose it",
        "no_nulls_in_transfer_reasons",
        update("transfer_reasons", "by_hand = null", "reason = 'redemption'"),
    ),
    Case(
        "a movement in an unknown bucket",
        "buckets_of_points_movements_by_month",
        update("points_movements_by_month", "bucket = 'lost'", ANNA),
    ),
    Case(
        "a movement in no bucket",
        "buckets_of_points_movements_by_month",
        update("points_movements_by_month", "bucket = null", ANNA),
    ),
    Case(
        "a posted transfer without a bucket",
        "every_posted_transfer_has_a_bucket",
        update("transfer_history", "bucket = null", "transfer_id = 'S-001'"),
    ),
    Case(
        "a discrepancy of an unknown kind",
        "kinds_of_discrepancies",
        update("discrepancies", "discrepancy = 'odd'", "true"),
    ),
    Case(
        "a discrepancy of no severity",
        "severities_of_discrepancies",
        update("discrepancies", "severity = null", "true"),
    ),
    Case(
        "an account that is neither opened nor closed by its event",
        "events_of_int_account_events",
        update("int_account_events", "event = 'closed'", "true"),
    ),
    Case(
        "a rule for an unknown style",
        "styles_of_transfer_reasons",
        update("transfer_reasons", "style = 'take'", "reason = 'expiry'"),
    ),
    Case(
        "a rule for no bucket",
        "buckets_of_transfer_reasons",
        update("transfer_reasons", "bucket = null", "reason = 'expiry'"),
    ),
    Case(
        "a rule from a month that is none",
        "months_of_transfer_reasons",
        update("transfer_reasons", "from_month = '2026-13'", "reason = 'expiry'"),
    ),
    Case(
        "a rule from a day, not a month",
        "months_of_transfer_reasons",
        update("transfer_reasons", "from_month = '2026-01-01'", "reason = 'expiry'"),
    ),
    Case(
        "a currency in small letters",
        "codes_of_points_currencies",
        update("points_currencies", "currency = 'miles'", "currency = 'MILES'"),
    ),
    Case(
        "a currency without a code",
        "codes_of_points_currencies",
        update("points_currencies", "currency = null", "currency = 'MILES'"),
    ),
    Case(
        "two rules of the same reason, style and month",
        "bucket_rules_do_not_overlap",
        double("transfer_reasons", "reason = 'redemption'"),
    ),
    Case(
        "two rules that hold at once",
        "bucket_rules_do_not_overlap",
        """insert into stg_seeds__bucket_rules
        values ('expiry', 'deduct', 'redeemed', '2026-02-01', '2026-03-01')""",
    ),
    Case(
        "an account closed twice at a time",
        "account_closures_do_not_overlap",
        """insert into int_account_closures
        values ('CARA', '2026-04-01', '2026-05-01')""",
    ),
]


@pytest.fixture
def copy(sample: SampleBuild, tmp_path: Path) -> Copy:
    """A way to open a copy of the sample, in which compiled SQL finds its relations."""

    @contextmanager
    def open_copy() -> Iterator[duckdb.DuckDBPyConnection]:
        database = tmp_path / sample.database.name
        shutil.copyfile(sample.database, database)
        with duckdb.connect(database, config={"threads": 1}) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield connection

    return open_copy


def make_table_of_view(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Put a table with a view's rows in its place, so that they can be damaged."""
    connection.execute(f"create table frozen as select * from {name}")
    connection.execute(f"drop view {name}")
    connection.execute(f"alter table frozen rename to {name}")


def test_every_test_passes_on_the_sample_as_it_is(sample: SampleBuild, copy: Copy) -> None:
    with copy() as connection:
        failing = {
            name: rows
            for name, sql in sample.get_test_sql().items()
            if (rows := connection.execute(sql).fetchall())
        }
    assert failing == {}


def test_every_test_has_a_case_that_it_must_catch(sample: SampleBuild) -> None:
    assert {case.test for case in CASES} == set(sample.get_test_sql())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.test} catches {case.sentence}")
def test_damage_is_caught(case: Case, sample: SampleBuild, copy: Copy) -> None:
    with copy() as connection:
        views = connection.execute("select view_name from duckdb_views() where not internal")
        for (name,) in views.fetchall():
            if name in case.damage.split():
                make_table_of_view(connection, name)
        connection.execute(case.damage)
        found = connection.execute(sample.get_test_sql()[case.test]).fetchall()
    assert found, f"{case.test} does not catch {case.sentence}"
