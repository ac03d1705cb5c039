"""``python -m benchmarks.list_latency``: how long a balance and a page of a list take.

The ledger, by default 2 million customers with 10 million transfers, is loaded past the service layer: its
entries carry no digests, everything else is as an import would leave it. Then this process asks what `points
balances` and `points transfers` ask, and the same of plain DuckDB SQL over a Parquet file of the same
transfers, which is what a ratio is against; at the end it imports a tenth as many transfers again, and asks
for the first page after that. Prints tables in Markdown for RESULTS.md.
"""

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import duckdb
from django.db import connection

from benchmarks.databases import databases
from ledger.append import appending
from ledger.cut import freeze
from ledger.database import Ledger, connected_to, open_ledger
from ledger.files.imports import import_file
from ledger.lists.balance_lists import list_balances
from ledger.lists.transfer_lists import list_transfers
from ledger.models import Batch, ChainLink, Transfer
from ledger.settings import PROJECT_ROOT, Settings
from simulator.many_transfers import DAYS, FIRST_DAY, RAW_COLUMNS, select_transfers, write_query

ROWS_PER_INSERT = 50_000
BATCH_ID = "B-1"

TRANSFER_COLUMNS = (
    "entry_id, recorded_at, recorded_by, digest, transfer_id, relation_reference, currency, style, points,"
    " reason, status, occurred_at, reverses_transfer_id, batch_id, external_reference, comment"
)
STATUS_CHANGE_COLUMNS = (
    "entry_id, recorded_at, recorded_by, digest, transfer_id, status, changed_at, batch_id, comment"
)


def write_input(folder: Path, transfers: int, relations: int) -> None:
    """The rows of the two tables as Parquet: transfers over 36 months, and their approvals."""
    recorded = (
        f"epoch_us(timestamp '{FIRST_DAY}' + interval {DAYS} day) as recorded_at, 'benchmark' as recorded_by"
    )
    query = select_transfers(transfers, relations)
    write_query(
        folder / "transfers.parquet",
        f"select number + 1 as entry_id, {recorded}, transfer_id, relation_reference, currency, style,"
        " cast(points * 10000 as bigint) as points, reason, status, epoch_us(occurred_at) as occurred_at,"
        f" coalesce(reverses_transfer_id, '') as reverses_transfer_id from ({query})",
    )
    write_query(
        folder / "status_changes.parquet",
        f"select {transfers} + row_number() over (order by number) as entry_id, {recorded}, transfer_id,"
        f" 'approved' as status, epoch_us(approved_at) as changed_at from ({query})"
        " where approved_at is not null",
    )


def load(folder: Path) -> None:
    """Put the rows of the two Parquet files into the empty ledger of this process, indexes last."""
    with _without_guards("transfers", "status_changes", "batches", "chain_links"):
        last = max(
            _insert(
                "transfers",
                TRANSFER_COLUMNS,
                "select entry_id, recorded_at, recorded_by, transfer_id, relation_reference, currency, style,"
                f" points, reason, status, occurred_at, reverses_transfer_id, '{BATCH_ID}',"
                " case when entry_id % 10 = 0 then 'ORDER-' || entry_id else '' end, ''"
                f" from read_parquet('{folder}/transfers.parquet') order by entry_id",
            ),
            _insert(
                "status_changes",
                STATUS_CHANGE_COLUMNS,
                "select entry_id, recorded_at, recorded_by, transfer_id, status, changed_at, '', ''"
                f" from read_parquet('{folder}/status_changes.parquet') order by entry_id",
            ),
        )
        batch = Batch(
            batch_id=BATCH_ID, origin="import", last_entry_id=last, row_count=last, added_count=last
        )
        batch.entry_id, batch.recorded_by, batch.digest = 1, "benchmark", bytes(32)
        batch.recorded_at = datetime.now(UTC)
        batch.save(force_insert=True)
        ChainLink.objects.create(first_entry_id=1, last_entry_id=last, digest=bytes(32))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("vacuum analyze")


def _insert(table: str, columns: str, query: str) -> int:
    """Insert the rows of a DuckDB query, whose first column is the entry; return the last entry."""
    last = 0
    with duckdb.connect() as source, connection.cursor() as cursor:
        rows = source.execute(query)
        if connection.vendor == "postgresql":
            with cursor.copy(f"copy {table} ({columns}) from stdin") as copy:
                while batch := rows.fetchmany(ROWS_PER_INSERT):
                    for row in batch:
                        copy.write_row((*row[:3], bytes(32), *row[3:]))
                    last = batch[-1][0]
            return last
        marks = ", ".join("?" * (columns.count(",") + 1))
        raw = connection.connection
        raw.execute("begin immediate")
        while batch := rows.fetchmany(ROWS_PER_INSERT):
            raw.executemany(
                f"insert into {table} ({columns}) values ({marks})",
                ((*row[:3], bytes(32), *row[3:]) for row in batch),
            )
            last = batch[-1][0]
        raw.execute("commit")
    return last


@contextmanager
def _without_guards(*tables: str):
    """Take off indexes, and the triggers that look at each row or link; put them back after the body."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "select 'drop index ' || indexname, indexdef from pg_indexes where tablename = any(%s)"
                " and indexname not in (select conname from pg_constraint)"
                " union all select format('alter table %%s disable trigger %%I', tgrelid::regclass, tgname),"
                " format('alter table %%s enable trigger %%I', tgrelid::regclass, tgname)"
                " from pg_trigger where tgrelid = any(%s::regclass[]) and not tgisinternal",
                [list(tables), list(tables)],
            )
        else:
            marks = ", ".join(["%s"] * len(tables))
            cursor.execute(
                "select 'drop ' || type || ' ' || name, sql from sqlite_master"
                f" where tbl_name in ({marks}) and type in ('index', 'trigger') and sql is not null",
                tables,
            )
        found = cursor.fetchall()
        for drop, _ in found:
            cursor.execute(drop)
        yield
        for _, create in found:
            cursor.execute(create.replace("%", "%%"))


@dataclass(frozen=True)
class Question:
    """What is asked of a list, and how plain SQL says it of the relation ``balances`` or ``transfers``."""

    filters: dict[str, str]
    sort: str
    plain: str

    @property
    def name(self) -> str:
        """How the command says it."""
        options = [f"--{name.replace('_', '-')} {value}" for name, value in self.filters.items()]
        return " ".join([*options, f"--sort {self.sort}"])


BALANCE_QUESTIONS = [
    Question({}, "relation_reference", "order by relation_reference, currency"),
    Question({}, "-relation_reference", "order by relation_reference desc, currency desc"),
    Question(
        {"relation_prefix": "C-12"},
        "relation_reference",
        "where starts_with(relation_reference, 'C-12') order by relation_reference, currency",
    ),
    Question({"currency": "MILES"}, "relation_reference", "where currency = 'MILES' order by 1, 2"),
    Question({}, "-approved_points", "order by approved_points desc, 1 desc, 2 desc"),
    Question({}, "spendable_points", "order by spendable_points, 1, 2"),
    Question({}, "-pending_given_points", "order by pending_given_points desc, 1 desc, 2 desc"),
    Question(
        {"min": "100", "max": "200"},
        "-approved_points",
        "where approved_points between 100 and 200 order by approved_points desc, 1 desc, 2 desc",
    ),
    Question({"negative": "true"}, "relation_reference", "where approved_points < 0 order by 1, 2"),
]

TRANSFER_QUESTIONS = [
    Question({}, "-entry_id", "order by entry_id desc"),
    Question({}, "transfer_id", "order by transfer_id"),
    Question(
        {"relation": "C-0000000"}, "-entry_id", "where relation_reference = 'C-0000000' order by 1 desc"
    ),
    Question({"batch": BATCH_ID}, "-entry_id", "order by entry_id desc"),
    Question({"external_reference": "ORDER-70"}, "-entry_id", "where entry_id = 70 order by entry_id desc"),
    Question({}, "-points", "order by points desc, entry_id desc"),
    Question({}, "occurred_at", "order by occurred_at, entry_id"),
    Question({"status": "pending"}, "-entry_id", "where status_now = 'pending' order by entry_id desc"),
    Question({"reason": "expiry"}, "points", "where reason = 'expiry' order by points, entry_id"),
    Question(
        {"from": "2024-01-01", "to": "2024-01-31", "style": "deduct"},
        "-points",
        "where style = 'deduct' and occurred_at >= epoch_us(timestamp '2024-01-01')"
        " and occurred_at < epoch_us(timestamp '2024-02-01') order by points desc, entry_id desc",
    ),
    Question(
        {"revoked": "true"},
        "-points",
        "where transfer_id in (select reverses_transfer_id from transfers where reverses_transfer_id <> '')"
        " order by points desc, entry_id desc",
    ),
]

PLAIN_VIEWS = """
    create view transfers as
    select t.*, coalesce(c.status, t.status) as status_now
    from read_parquet('{folder}/transfers.parquet') as t
    left join read_parquet('{folder}/status_changes.parquet') as c using (transfer_id);
    create view balances as
    select
        relation_reference,
        currency,
        sum(case when status_now <> 'approved' then 0 when style = 'give' then points else -points end)
            / 10000 as approved_points,
        sum(case when status_now = 'pending' and style = 'give' then points else 0 end) / 10000
            as pending_given_points,
        sum(case
            when status_now = 'approved' and style = 'give' then points
            when status_now in ('approved', 'pending') and style = 'deduct' then -points
            else 0
        end) / 10000 as spendable_points
    from transfers
    group by relation_reference, currency;
"""


def milliseconds(asked: Callable[[], object], times: int) -> list[float]:
    """How long each of some calls took."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        asked()
        taken.append(1_000 * (time.perf_counter() - started))
    return taken


def ask_plainly(folder: Path, relations: int) -> dict[str, float]:
    """Milliseconds of each question in plain SQL, by name; the first is one customer's balance."""
    with duckdb.connect() as duck:
        duck.execute(PLAIN_VIEWS.format(folder=folder))
        one = "select * from balances where relation_reference = ?"
        taken = {
            "one customer": statistics.median(
                milliseconds(lambda: duck.execute(one, [a_customer(relations)]).fetchall(), 5)
            )
        }
        for relation, questions in (("balances", BALANCE_QUESTIONS), ("transfers", TRANSFER_QUESTIONS)):
            for question in questions:
                query = f"select * from {relation} {question.plain} limit 51"
                asked = partial(lambda text: duck.execute(text).fetchall(), query)
                (taken[f"{relation} {question.name}"],) = milliseconds(asked, 1)
    return taken


def a_customer(relations: int) -> str:
    """One as likely as it is to have a transfer."""
    return f"C-{int(relations * random.random() ** 3):07d}"


def measure(ledger: Ledger, relations: int, number_of_transfers: int, plain: dict[str, float]) -> list[str]:
    """Lines of a Markdown table: the median and the slowest of each question, and the ratio."""

    def show(name: str, taken: list[float]) -> None:
        median = statistics.median(taken)
        ratio = f"{median / plain[name]:.3f}" if name in plain else ""
        print(f"| {name} | {median:.1f} | {max(taken):.1f} | {ratio} |", flush=True)

    show(
        "one customer", milliseconds(lambda: list_balances(ledger, {"relation": a_customer(relations)}), 200)
    )
    first_page = partial(list_balances, ledger, {})
    show("(the cut of everything)", milliseconds(lambda: freeze(ledger), 1))
    show("(the first list: every balance is added up)", milliseconds(first_page, 1))
    for name, questions, ask in (
        ("balances", BALANCE_QUESTIONS, list_balances),
        ("transfers", TRANSFER_QUESTIONS, list_transfers),
    ):
        for question in questions:
            options = {"freeze": freeze} if ask is list_transfers else {}
            asked = partial(ask, ledger, question.filters, question.sort, **options)
            show(f"{name} {question.name}", milliseconds(asked, 7))
    for customers, times in ((1, 7), (2_000, 1)):
        taken = []
        for _ in range(times):
            with appending(ledger) as appender:
                for _ in range(customers):
                    appender.append(a_give(appender.next_entry_id, a_customer(relations)))
            taken += milliseconds(first_page, 1)
        more = "1 more transfer" if customers == 1 else f"{customers:,} more transfers"
        show(f"balances, after {more}", taken)
    file = ledger.settings.home / "more.parquet"
    more = number_of_transfers // 10
    write_query(
        file, f"select {RAW_COLUMNS} from ({select_transfers(more, relations, first=number_of_transfers)})"
    )
    show(f"(the import of {more:,} more)", milliseconds(lambda: import_file(ledger, file), 1))
    show("balances, after that", milliseconds(first_page, 1))
    by_points = partial(list_transfers, ledger, {}, "-points", freeze=freeze)
    show("transfers --sort -points, after that", milliseconds(by_points, 1))
    command = [Path(sys.executable).with_name("points"), "balances", "--relation", a_customer(relations)]
    environment = {
        **os.environ,
        "POINTS_HOME": str(ledger.settings.home),
        "POINTS_DATABASE_URL": ledger.settings.database_url or "",
    }
    show(
        "`points balances --relation …`, the whole process",
        milliseconds(
            lambda: subprocess.run(
                command, env=environment, cwd=PROJECT_ROOT, check=True, stdout=subprocess.DEVNULL
            ),
            5,
        ),
    )


def a_give(number: int, relation: str) -> Transfer:
    return Transfer(
        transfer_id=f"benchmark-{number}",
        relation_reference=relation,
        currency="POINTS",
        style="give",
        points=Decimal("12.5"),
        reason="manual_credit",
        status="approved",
        occurred_at=datetime.now(UTC),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.list_latency", description=__doc__)
    parser.add_argument("--transfers", type=int, default=10_000_000)
    parser.add_argument("--relations", type=int, default=2_000_000)
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], action="append")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__};"
        f" {arguments.transfers:,} transfers of {arguments.relations:,} relation references\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="points_bench_") as name:
        folder = Path(name)
        write_input(folder, arguments.transfers, arguments.relations)
        plain = ask_plainly(folder, arguments.relations)
        with databases(folder) as environments:
            for kind in arguments.database or environments:
                settings = Settings.from_environment(environments[kind])
                with connected_to(settings):
                    ledger = open_ledger(settings, create=True)
                    load(folder)
                    print(
                        f"| {kind} | median ms | slowest ms | times plain SQL |\n|---|---|---|---|",
                        flush=True,
                    )
                    measure(ledger, arguments.relations, arguments.transfers, plain)
                    print(flush=True)
                shutil.rmtree(settings.home)


if __name__ == "__main__":
    main()
