"""A build reports the open months, and starts where the next close would (docs/design.md, section 3)."""

import json
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration.build import build_months
from orchestration.close.openings import MonthIsClosed
from orchestration.definitions import define
from orchestration.published.manifests import PublishedDamaged
from simulator.transfer_files import write_transfers
from tests.closed_programme import CLOSED, NEXT, Home, close_next
from tests.conftest import answer, assert_refused, refusal, transfer

pytestmark = pytest.mark.slow

LAST = "2025-04"


def build(home: Home, *options: str) -> dict:
    """What ``points build --json`` says, its months by name alone."""
    built = json.loads(answer(home.points("build", *options, "--json")))
    return {**built, "months": [month["report_month"] for month in built["months"]]}


def csv_files(home: Home) -> dict[str, bytes]:
    """The CSV files of the months of the newest build."""
    folder = (home.path / "provisional").resolve()
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.csv")}


def rows_of(home: Home, mart: str, where: str = "true") -> set[tuple]:
    with duckdb.connect(home.path / "provisional" / "provisional.duckdb", read_only=True) as readers:
        return set(readers.execute(f"select * from {mart} where {where}").fetchall())


def test_a_build_goes_on_from_the_newest_close_with_the_numbers_of_one_from_the_first_entry(copied):
    everything = build(copied, "--from-first-entry")
    assert everything["months"] == [*CLOSED, NEXT, LAST]
    assert everything["opening_month"] is None
    files = csv_files(copied)
    posted = rows_of(copied, "posted_transfers", f"posting_month >= date '{NEXT}-01'")
    found = rows_of(copied, "discrepancies", f"report_month >= date '{NEXT}-01'")
    customers = rows_of(copied, "customer_point_balances")

    open_months = build(copied)
    assert open_months["months"] == [NEXT, LAST]
    assert open_months["opening_month"] == CLOSED[-1]
    assert csv_files(copied) == {
        name: content for name, content in files.items() if name.startswith((NEXT, LAST))
    }
    assert rows_of(copied, "posted_transfers") == posted
    assert rows_of(copied, "discrepancies") == found
    assert rows_of(copied, "customer_point_balances") == customers
    assert "from the close of 2025-02 on" in answer(copied.points("build", "--through", NEXT))


def test_the_first_open_month_is_built_also_where_nothing_is_in_it(tmp_path):
    home = Home(tmp_path / "home")
    rows = [transfer("T1", occurred_at="2025-01-10T12:00:00Z")]
    answer(home.points("import", str(write_transfers(tmp_path / "file.csv", rows))))
    assert "from the first entry on" in answer(home.points("build"))
    answer(home.points("close", "2025-01"))
    assert build(home)["months"] == ["2025-02"]


def test_a_closed_month_is_built_again_only_where_that_is_said(copied):
    refused = copied.points("build", "--through", CLOSED[0])
    assert_refused(refused, MonthIsClosed(CLOSED[0], NEXT))
    assert not (copied.path / "provisional").exists()
    assert build(copied, "--from-first-entry", "--through", CLOSED[0])["months"] == [CLOSED[0]]
    assert "2024-12" in refusal(copied.points("build", "--through", "2024-12"))


def test_a_partition_of_a_closed_month_is_refused(copied):
    job = define(copied.settings()).resolve_job_def("build_months")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, partition_key=f"{CLOSED[-1]}-01", raise_on_error=False
        )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description == str(MonthIsClosed(CLOSED[-1], NEXT))


def test_where_no_close_hands_on_a_build_is_of_all_entries_and_writes_the_open_months(copied):
    close_next(copied)
    answer(copied.points("reopen", CLOSED[-1], "--reason", "a file was missing"))
    built = build(copied)
    assert built["opening_month"] is None
    assert built["months"] == [CLOSED[-1], NEXT, LAST]
    assert min(rows_of(copied, "report_months", "true"))[1].isoformat() == f"{CLOSED[-1]}-01"


def test_what_a_build_starts_from_must_be_as_it_was_published(copied):
    """docs/cases.md, X10."""
    (balances,) = Path(copied.path, "published", CLOSED[-1], "r1").glob("outstanding_points_by_month.parquet")
    balances.chmod(0o600)
    balances.write_bytes(balances.read_bytes()[:-1] + b"!")
    with pytest.raises(PublishedDamaged):
        build_months(copied.settings())
