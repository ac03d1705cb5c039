"""`simulator/many_transfers.py` makes what its docstring promises, and the same everywhere."""

import hashlib

import pytest

from ledger.data_files import connect
from simulator.many_transfers import select_transfers, write_query
from tests.conftest import PROJECT_ROOT, read_rows

COUNT, CUSTOMERS = 20_000, 500


@pytest.fixture(scope="module")
def transfers():
    """A database with the table `transfers`; a revocation stands beside its original in `revoked`."""
    with connect() as database:
        database.execute(f"create table transfers as {select_transfers(COUNT, CUSTOMERS)}")
        database.execute(
            "create view revoked as select revocation, original from transfers as revocation"
            " left join transfers as original on revocation.reverses_transfer_id = original.transfer_id"
            " where revocation.reason = 'revocation'"
        )
        yield database


def test_the_bytes_are_the_golden_ones(tmp_path):
    for random_ids, golden in (
        (False, "022d74377b530d330a93435d0a4005289c7c7df47902f369c9f500d09d365af1"),
        (True, "e7e7946b8042f6be10c1fb3947cbd82e8d1286625baed9ea5838ebadb3cf4c53"),
    ):
        query = select_transfers(1_000, 30, random_ids=random_ids)
        write_query(tmp_path / "rows.csv", query, "format csv, header")
        assert hashlib.sha256((tmp_path / "rows.csv").read_bytes()).hexdigest() == golden, random_ids


def test_a_stretch_is_made_by_itself_as_within_the_whole(transfers):
    stretch = select_transfers(300, CUSTOMERS, first=4_321, long_before=COUNT // 12)
    columns = "* exclude (occurred_at, approved_at)"
    assert transfers.sql(f"select {columns} from ({stretch})").fetchall() == (
        transfers.sql(f"select {columns} from transfers where number between 4321 and 4620").fetchall()
    )


def test_each_revocation_undoes_all_of_a_transfer_once_lately_or_long_ago(transfers):
    assert transfers.sql("select count(*), count(distinct original.transfer_id) from revoked").fetchall() == [
        (COUNT // 10, COUNT // 10)
    ]
    wrong = transfers.sql(
        "select * from revoked where original.reason = 'revocation' or original.status <> 'approved'"
        " or revocation.style = original.style or revocation.points <> original.points"
        " or revocation.relation_reference <> original.relation_reference"
        " or revocation.currency <> original.currency"
    )
    assert wrong.fetchall() == []
    ages = "revocation.number - original.number"
    near, far = transfers.sql(
        f"select count(*) filter ({ages} < 10), count(*) filter ({ages} > 1600) from revoked"
    ).fetchone()
    assert near + far == COUNT // 10
    assert 150 < far < 200
    undone = "select distinct original.reason from revoked where original.reason in ('redemption', 'expiry')"
    assert len(transfers.sql(undone).fetchall()) == 2


def test_reasons_and_currencies_are_those_of_the_seeds_and_fill_every_bucket(transfers):
    seeds = PROJECT_ROOT / "seeds"
    buckets = {
        (row["reason"], row["style"]): row["bucket"] for row in read_rows(seeds / "transfer_reasons.csv")
    }
    made = transfers.sql("select distinct reason, style from transfers").fetchall()
    assert {buckets[kind] for kind in made} == {"earned", "reversal", "redeemed", "expired"}
    currencies = {row["currency"] for row in read_rows(seeds / "points_currencies.csv")}
    assert {name for (name,) in transfers.sql("select currency from transfers").fetchall()} == currencies


def test_few_customers_have_much_and_some_transfers_wait(transfers):
    (share,) = transfers.sql(
        f"select count(*) from transfers where relation_reference < 'C-{CUSTOMERS // 5:07d}'"
    ).fetchone()
    assert 0.55 * COUNT < share < 0.62 * COUNT
    waiting = transfers.sql(
        "select style, count(*), count(approved_at), bool_and(approved_at > occurred_at)"
        " from transfers where status = 'pending' group by style order by style"
    )
    assert waiting.fetchall() == [("deduct", 200, 100, True), ("give", 200, 100, True)]
