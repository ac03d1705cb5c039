"""Kept balances: thrown away, altered, left behind or broken off, they change no answer."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ledger import kept_balances
from ledger.acts.transfers import give
from ledger.append import appending
from ledger.kept_balances import (
    BalanceDiffers,
    BalancesBehind,
    bring_up_to_date,
    check_kept_balances,
    throw_away,
)
from ledger.lists.balance_lists import list_balances, selected_balances
from ledger.models import BalanceHead, KeptBalance, StatusChange
from orchestration.upkeep.verification import verify_all
from tests.conftest import PROJECT_ROOT, answer, ledger_transfer

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def a_transfer(transfer_id: str, relation: str, points: str, style: str = "give", **values):
    return ledger_transfer(
        transfer_id,
        relation_reference=relation,
        points=points,
        style=style,
        **{"occurred_at": NOON - timedelta(days=1), **values},
    )


def record(ledger, *entries) -> None:
    with appending(ledger) as appender:
        for entry in entries:
            appender.append(entry)


def listed(ledger) -> list[tuple[str, Decimal]]:
    return [(row.relation_reference, row.spendable_points) for row in list_balances(ledger, {}).rows]


@pytest.fixture
def ledger(ledger_home):
    ledger = ledger_home.open(clock=lambda: NOON)
    record(ledger, a_transfer("T1", "C-1", "10"), a_transfer("T2", "C-2", "20", status="pending"))
    return ledger


def test_a_small_request_brings_them_along_and_a_large_one_leaves_them_to_the_next_who_asks(
    ledger, monkeypatch
):
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    record(ledger, a_transfer("T3", "C-1", "5"))
    assert BalanceHead.objects.get().entry_id == 3
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 1)
    record(
        ledger,
        a_transfer("T4", "C-1", "5"),
        StatusChange(transfer_id="T2", status="approved", changed_at=NOON),
    )
    record(ledger, a_transfer("T5", "C-3", "1"))
    assert BalanceHead.objects.get().entry_id == 3
    assert listed(ledger) == [("C-1", 20), ("C-2", 20), ("C-3", 1)]
    assert BalanceHead.objects.get().entry_id == 6


@pytest.mark.parametrize("step", ["_add_up", "_to_count_anew", "_count_anew"])
def test_whatever_breaks_off_at_any_step_leaves_entries_and_balances_together(ledger, monkeypatch, step):
    """docs/cases.md, X33."""
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(kept_balances, step, killed)
        with pytest.raises(Killed):
            record(ledger, a_transfer("T3", "C-1", "5"))
        assert BalanceHead.objects.get().entry_id == 2
        patched.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
        record(ledger, a_transfer("T4", "C-1", "7"))
        with pytest.raises(Killed):
            listed(ledger)
    assert BalanceHead.objects.get().entry_id == 2
    assert listed(ledger) == [("C-1", 17), ("C-2", 0)]
    assert check_kept_balances(ledger) == 3


def test_a_process_killed_while_it_brings_them_up_to_date_has_changed_nothing(ledger_home, monkeypatch):
    """docs/cases.md, X33."""
    ledger = ledger_home.open(clock=lambda: NOON)
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
    record(ledger, *(a_transfer(f"T{number}", f"C-{number:02d}", "1") for number in range(50)))
    connection.close()
    code = (
        "import os, signal\n"
        "from ledger import kept_balances\n"
        "from ledger.database import open_ledger\n"
        "from ledger.settings import Settings\n"
        "kept_balances._to_count_anew = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        "kept_balances.bring_up_to_date(open_ledger(Settings.from_environment()))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "POINTS_HOME": str(ledger_home.home), **ledger_home.environment},
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert (BalanceHead.objects.get().entry_id, KeptBalance.objects.count()) == (0, 0)
    assert len(listed(ledger)) == 50


def test_an_altered_or_missing_balance_is_named_and_made_anew(ledger_home, ledger, points):
    """docs/cases.md, X33."""
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    assert verify_all(ledger.settings).notes == []
    for alter in (
        lambda: KeptBalance.objects.filter(relation_reference="C-1").update(spendable_points=11),
        lambda: KeptBalance.objects.filter(relation_reference="C-1").delete(),
    ):
        alter()
        with pytest.raises(BalanceDiffers) as found:
            verify_all(ledger.settings)
        assert found.value.relation_reference == "C-1"
        verified = points("verify", "--json", home=ledger_home.home, **ledger_home.environment)
        assert json.loads(verified.stdout)["code"] == BalanceDiffers.code
        answer(points("verify", "--rebuild", home=ledger_home.home, **ledger_home.environment))
        assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    connection.close()


def test_balances_of_another_chain_are_thrown_away(ledger):
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    KeptBalance.objects.filter(relation_reference="C-1").update(approved_points=11, spendable_points=11)
    BalanceHead.objects.update(chain_digest=b"\1" * 32)
    record(ledger, a_transfer("T3", "C-2", "5"))
    assert listed(ledger) == [("C-1", 10), ("C-2", 5)]


def test_kept_balances_of_before_are_said_to_be_so_by_verify(ledger, monkeypatch):
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
    record(ledger, a_transfer("T3", "C-1", "5"))
    throw_away(ledger)
    assert len(verify_all(ledger.settings).notes) == 1
    bring_up_to_date(ledger)
    assert verify_all(ledger.settings).notes == []


@pytest.mark.parametrize("ledger_home", ["postgresql"], indirect=True)
def test_balances_are_in_no_log_of_postgresql_and_are_added_up_again_after_a_crash(ledger_home, ledger):
    """A server that stopped halfway begins with both tables empty."""
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    tables = ["balance_heads", "kept_balances"]
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True) as owner:
        in_no_log = owner.execute("select relname from pg_class where relpersistence = 'u' and relkind = 'r'")
        assert sorted(name for (name,) in in_no_log) == tables
        owner.execute("truncate kept_balances, balance_heads")
    record(ledger, a_transfer("T3", "C-2", "5"))
    assert len(verify_all(ledger.settings).notes) == 1
    assert listed(ledger) == [("C-1", 10), ("C-2", 5)]
    record(ledger, a_transfer("T4", "C-2", "5"))
    assert BalanceHead.objects.get().entry_id == 4
    assert verify_all(ledger.settings).notes == []


@pytest.mark.parametrize("ledger_home", ["postgresql"], indirect=True)
def test_what_is_added_up_is_not_looked_up_in_the_table_that_it_goes_into(ledger):
    """PostgreSQL plans for the table as it was: looked into for each row that was added, one that was empty
    was read whole two million times."""
    throw_away(ledger)
    with CaptureQueriesContext(connection) as asked:
        bring_up_to_date(ledger)
    (adding,) = [query["sql"] for query in asked if "insert into kept_balances" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"explain {adding}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "CTE closed" in plan
    assert not re.search(r"SubPlan [0-9]+\n.*kept_balances", plan), plan


@pytest.mark.parametrize("ledger_home", ["postgresql"], indirect=True)
def test_who_may_only_read_is_refused_a_list_that_is_behind_and_gets_customers_added_up(
    ledger_home, ledger, monkeypatch
):
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
    record(ledger, a_transfer("T3", "C-1", "5"))
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("revoke insert, update, delete on kept_balances, balance_heads from points_application")
        with pytest.raises(BalancesBehind) as refused:
            list_balances(ledger, {})
        assert refused.value.entry_id == 2
        assert [row.spendable_points for row in selected_balances(ledger, ["C-1"])] == [15]
        owner.execute("grant insert, update, delete on kept_balances, balance_heads to points_application")
    assert listed(ledger) == [("C-1", 15), ("C-2", 0)]


@pytest.mark.parametrize("ledger_home", ["sqlite"], indirect=True)
def test_a_ledger_that_may_only_be_read_is_refused_a_list_that_is_behind(ledger_home, ledger, monkeypatch):
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", 0)
    record(ledger, a_transfer("T3", "C-1", "5"))
    with connection.cursor() as cursor:
        cursor.execute("pragma query_only = on")
    with pytest.raises(BalancesBehind):
        list_balances(ledger, {})
    assert [row.spendable_points for row in selected_balances(ledger, ["C-1"])] == [15]
    connection.close()


@pytest.mark.parametrize("ledger_home", ["postgresql"], indirect=True)
def test_another_at_work_on_them_holds_no_writer_up(ledger_home, ledger):
    """A writer leaves them to the next who asks, where another process holds them."""
    assert listed(ledger) == [("C-1", 10), ("C-2", 0)]
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_URL"]) as other:
        other.execute("select from balance_heads for update")
        give(ledger, "C-1", "5")
        assert BalanceHead.objects.get().entry_id == 2
    assert listed(ledger) == [("C-1", 15), ("C-2", 0)]


def test_what_hangs_on_another_customers_transfer_is_added_up_when_it_is_shown(ledger):
    """docs/cases.md, R15 and R26. A file lets C-1 revoke C-2's deduct, which waits and is dated ahead: C-1's
    balance then changes with an entry of C-2's."""
    tomorrow = NOON + timedelta(days=1)
    record(
        ledger,
        a_transfer("D", "C-2", "4", "deduct", status="pending", occurred_at=tomorrow),
        a_transfer(
            "R", "C-1", "4", "give", reason="revocation", reverses_transfer_id="D", occurred_at=tomorrow
        ),
        a_transfer(
            "Q", "C-1", "3", "deduct", reason="revocation", reverses_transfer_id="R", occurred_at=tomorrow
        ),
    )
    assert listed(ledger) == sorted(
        (row.relation_reference, row.spendable_points) for row in selected_balances(ledger, ["C-1", "C-2"])
    )
    record(ledger, StatusChange(transfer_id="D", status="approved", changed_at=NOON))
    assert listed(ledger) == sorted(
        (row.relation_reference, row.spendable_points) for row in selected_balances(ledger, ["C-1", "C-2"])
    )
    assert not KeptBalance.objects.get(relation_reference="C-1").is_exact


@pytest.mark.parametrize("most_at_once", [0, 1_000])
def test_a_first_balance_in_a_currency_knows_that_the_account_is_closed(ledger, monkeypatch, most_at_once):
    """Whether the request that adds it brings it along, or who asks next does."""
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", most_at_once)
    record(ledger, a_transfer("T3", "C-1", "10", "deduct", reason="account_closure"))
    assert [row.is_account_closed for row in list_balances(ledger, {}).rows] == [True, False]
    record(
        ledger,
        a_transfer("T4", "C-1", "5", currency="MILES"),
        a_transfer("T5", "C-2", "5", currency="MILES"),
        a_transfer("T6", "C-3", "5"),
    )
    found = {(row.relation_reference, row.currency): row for row in list_balances(ledger, {}).rows}
    assert {key for key, row in found.items() if row.is_account_closed} == {
        ("C-1", "MILES"),
        ("C-1", "POINTS"),
    }
    assert len(found) == 5
    check_kept_balances(ledger)


@pytest.mark.parametrize("most_at_once", [0, 1_000])
def test_what_cannot_be_added_to_what_is_kept_is_counted_anew(ledger, monkeypatch, most_at_once):
    monkeypatch.setattr(kept_balances, "MOST_ENTRIES_AT_ONCE", most_at_once)
    ahead = NOON + timedelta(days=5)
    record(ledger, a_transfer("T3", "C-1", "4", "deduct", occurred_at=ahead))
    assert listed(ledger) == [("C-1", 6), ("C-2", 0)]
    # A new row with something ahead, one that has it already, and one that comes to have it.
    record(
        ledger,
        a_transfer("T4", "C-3", "7", "deduct", occurred_at=ahead),
        a_transfer("T5", "C-1", "1"),
        a_transfer("T6", "C-2", "3", "deduct", occurred_at=ahead),
    )
    assert listed(ledger) == [("C-1", 7), ("C-2", -3), ("C-3", -7)]
    assert {row.next_effective_at for row in KeptBalance.objects.all()} == {ahead}
    check_kept_balances(ledger)
