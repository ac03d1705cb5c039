"""The ledger itself: what the databases refuse, ids without gaps, digests and the chain."""

import os
import subprocess
import sys
from decimal import Decimal

import duckdb
import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from ledger.append import appending
from ledger.database import LedgerEmpty, LedgerMissing, LedgerSchemaOutdated, open_ledger
from ledger.digests import digest_columns, digest_of, digest_sql, entry_digest
from ledger.links import ledger_head
from ledger.models import ENTRY_MODELS, ChainLink, Transfer
from tests.conftest import PROJECT_ROOT, ledger_transfer


def append_all(appender, *transfer_ids: str) -> None:
    for transfer_id in transfer_ids:
        appender.append(ledger_transfer(transfer_id))


def test_entries_are_numbered_without_gaps_in_commit_order(ledger_home):
    ledger = ledger_home.open()
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))
        appender.append(ledger_transfer("T2"))
    with pytest.raises(DatabaseError), appending(ledger) as appender:
        append_all(appender, "lost", "lost")
    with appending(ledger, dry_run=True) as appender:
        appender.append(ledger_transfer("tried"))
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T3"))
    assert list(Transfer.objects.order_by("entry_id").values_list("entry_id", "transfer_id")) == [
        (1, "T1"),
        (2, "T2"),
        (3, "T3"),
    ]
    assert list(
        ChainLink.objects.order_by("last_entry_id").values_list("first_entry_id", "last_entry_id")
    ) == [
        (1, 2),
        (3, 3),
    ]
    assert ledger_head().entry_id == 3


@pytest.mark.parametrize("points", ["0.0001", "99999999999999.9999", "12.5"])
def test_points_are_kept_exactly(ledger_home, points):
    ledger = ledger_home.open()
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1", points=points))
    found = Transfer.objects.get(transfer_id="T1")
    assert found.points == Decimal(points)
    assert digest_of(found) == bytes(found.digest)
    with connection.cursor() as cursor:
        cursor.execute("select points from transfers")
        assert cursor.fetchone() == (int(Decimal(points) * 10_000),)


def test_the_database_refuses_everything_but_appends(ledger_home):
    ledger = ledger_home.open()
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))
    statements = ["update transfers set points = points + 1", "delete from transfers"]
    for model in (*ENTRY_MODELS, ChainLink):
        statements.append(f"delete from {model._meta.db_table} where 1 = 1")
    if connection.vendor == "postgresql":
        statements += [f"truncate {model._meta.db_table}" for model in (*ENTRY_MODELS, ChainLink)]
    else:
        statements += [
            "insert or replace into transfers select * from transfers",
            "update or replace transfers set points = 1",
            "replace into transfers select entry_id + 1, recorded_at, recorded_by, digest, transfer_id,"
            " relation_reference, currency, style, points, reason, status, occurred_at,"
            " reverses_transfer_id, batch_id, external_reference, comment from transfers",
            "insert or replace into chain_links select * from chain_links",
            # By the number that SQLite itself gives a row, under an entry_id and a transfer_id that are free.
            "insert or replace into transfers (entry_id, rowid, recorded_at, recorded_by, digest,"
            " transfer_id, relation_reference, currency, style, points, reason, status, occurred_at,"
            " reverses_transfer_id, batch_id, external_reference, comment) select entry_id + 1, 1,"
            " recorded_at, recorded_by, digest, 'T2', relation_reference, currency, style, points * 100,"
            " reason, status, occurred_at, '', '', '', '' from transfers",
        ]
    for statement in statements:
        if connection.vendor == "sqlite" and statement.startswith("delete") and "1 = 1" in statement:
            table = statement.split()[2]
            with connection.cursor() as cursor:
                cursor.execute(f"select count(*) from {table}")
                if cursor.fetchone() == (0,):
                    continue  # a trigger for each row has no row to refuse
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert Transfer.objects.get().points == Decimal("1.5")


def test_the_application_user_of_postgresql_may_read_and_append_alone(ledger_home):
    ledger_home.open()
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no users.")
    with connection.cursor() as cursor:
        for model in (*ENTRY_MODELS, ChainLink):
            for privilege in ("update", "delete", "truncate"):
                cursor.execute(
                    "select has_table_privilege(current_user, %s, %s)", [model._meta.db_table, privilege]
                )
                assert cursor.fetchone() == (False,), (model, privilege)


def test_a_point_cannot_be_a_fraction_of_a_unit_or_a_text(ledger_home):
    ledger_home.open()
    # PostgreSQL's column is of whole numbers, and makes one of a fraction.
    fraction = ["1.5"] if connection.vendor == "sqlite" else []
    for points in [*fraction, "'x'", "0", "-1"]:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "insert into transfers (entry_id, recorded_at, recorded_by, digest, transfer_id,"
                " relation_reference, currency, style, points, reason, status, occurred_at,"
                " reverses_transfer_id, batch_id, external_reference, comment) values"
                f" (1, 0, 'x', '', 'T', 'C', 'POINTS', 'give', {points}, 'rule_credit', 'approved', 0,"
                " '', '', '', '')"
            )


def test_reading_where_there_is_no_ledger_says_so_and_makes_none(bare_home):
    with pytest.raises(LedgerEmpty):
        open_ledger(bare_home.settings())
    assert not bare_home.home.exists()


def test_first_commands_at_once_begin_one_ledger_together(bare_home):
    environment = {"POINTS_HOME": str(bare_home.home), **bare_home.environment}
    beginning = (
        "import os; from ledger.database import open_ledger; from ledger.settings import Settings;"
        " open_ledger(Settings.from_environment(os.environ), create=True)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", beginning], env={**os.environ, **environment}, cwd=PROJECT_ROOT
        )
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]


def test_an_owner_cut_off_before_the_grants_is_made_good_by_the_next_command(ledger_home):
    ledger_home.open()
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no users.")
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"]) as owner:
        owner.execute("revoke all on all tables in schema public from points_application")
    ledger = ledger_home.open()
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))


def test_a_text_that_could_give_two_entries_one_digest_is_not_recorded(ledger_home):
    ledger = ledger_home.open()
    with pytest.raises(ValueError, match="unit separator"), appending(ledger) as appender:
        appender.append(ledger_transfer("T1", comment="a\x1fb"))
    assert not Transfer.objects.exists()


def test_digests_in_duckdb_are_those_of_python(ledger_home):
    for model in ENTRY_MODELS:
        columns = ["entry_id", *digest_columns(model)]
        values = [number if number % 2 else f"ä{number}" for number in range(1, len(columns) + 1)]
        selected = ", ".join(f'? as "{name}"' for name in columns)
        found = duckdb.execute(f"select {digest_sql(model)} from (select {selected})", values).fetchone()[0]
        assert found == entry_digest(model.kind, values[0], values[1:]), model


def test_a_ledger_that_was_lost_before_anything_was_built_is_missed(ledger_home):
    """docs/cases.md, X12: never silently begun anew."""
    ledger = ledger_home.open()
    if connection.vendor != "sqlite":
        pytest.skip("The database of a team is not in the home.")
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))
    (ledger_home.home / "ledger.sqlite3").unlink()
    with pytest.raises(LedgerMissing):
        ledger_home.open()


def test_tables_that_the_application_may_not_make_are_asked_of_their_owner(bare_home):
    settings = bare_home.settings(POINTS_DATABASE_OWNER_URL="")
    if not settings.database_url:
        pytest.skip("SQLite has no users.")
    with pytest.raises(LedgerSchemaOutdated):
        open_ledger(settings, create=True)
