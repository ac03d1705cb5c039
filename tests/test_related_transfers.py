"""The related transfers that are passed to a build that starts after a close, for its revocations."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ledger import related_transfers
from ledger.append import appending
from ledger.cut import cut_folder, freeze
from ledger.database import Ledger
from ledger.links import ledger_head
from ledger.models import Entry, StatusChange, Transfer
from ledger.related_transfers import RelatedTransfersNotWritten, write_related
from tests.conftest import ledger_transfer

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    return ledger_home.open(clock=lambda: NOON)


def a_transfer(transfer_id: str, reverses: str = "", **values) -> Transfer:
    revocation = {"style": "deduct", "reason": "revocation", "reverses_transfer_id": reverses}
    instant = NOON - timedelta(microseconds=1)
    return ledger_transfer(
        transfer_id, **{"occurred_at": instant, **(revocation if reverses else {}), **values}
    )


def a_change(transfer_id: str, status: str) -> StatusChange:
    return StatusChange(transfer_id=transfer_id, status=status, changed_at=NOON)


class Run:
    """A run over a ledger that is filled in steps: what came before the cutoff, the run's own, and later."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.folder = folder
        self.transfers = folder / "related.parquet"
        self.status_changes = folder / "related_status_changes.parquet"

    def record(self, *entries: Entry) -> int:
        """Append entries; return the last one's id."""
        with appending(self.ledger) as appender:
            for entry in entries:
                appender.append(entry)
        return ledger_head().entry_id

    def before(self, *entries: Entry) -> None:
        self.cutoff = self.record(*entries)

    def own(self, *entries: Entry) -> None:
        self.upto = self.record(*entries)

    def write(self, *unposted: tuple[str, str | None]) -> int:
        """Write the files; ``unposted`` are ids, each with what it undoes."""
        freeze(self.ledger)
        unposted_file = self.folder / "unposted.parquet"
        with duckdb.connect() as duck:
            duck.execute("create table unposted (transfer_id text, reverses_transfer_id text, reason text)")
            for row in unposted:
                duck.execute("insert into unposted values (?, ?, 'revocation')", row)
            duck.execute(f"copy unposted to '{unposted_file}'")
        return write_related(
            self.ledger,
            cut_folder(self.ledger.settings.home),
            unposted_file if unposted else None,
            self.cutoff,
            self.upto,
            self.transfers,
            self.status_changes,
        )

    def ids(self) -> list[str]:
        return [transfer_id for (transfer_id,) in read(self.transfers, "transfer_id")]


@pytest.fixture
def run(ledger, tmp_path) -> Run:
    return Run(ledger, tmp_path)


def read(file: Path, columns: str = "*", where: str = "true") -> list[tuple]:
    return duckdb.sql(f"select {columns} from read_parquet('{file}') where {where}").fetchall()


def types(file: Path) -> list[tuple[str, str]]:
    described = duckdb.sql(f"describe select * from read_parquet('{file}')").fetchall()
    return [(name, kind) for name, kind, *_ in described]


def test_it_goes_up_to_what_is_undone_and_down_to_all_that_undoes_it(run):
    run.before(
        a_transfer("unrelated"),
        a_transfer("of-unrelated", "unrelated"),
        a_transfer("root"),
        a_transfer("sibling", "root"),
        a_transfer("of-sibling", "sibling", status="cancelled"),
        a_transfer("r-1", "root"),
        a_transfer("r-2", "r-1"),
    )
    run.own(a_transfer("r-3", "r-2"), a_transfer("plain"))
    assert run.write() == 5
    assert run.ids() == ["root", "sibling", "of-sibling", "r-1", "r-2"]


def test_rows_are_those_of_the_cut_value_by_value_and_with_its_types(run):
    run.before(
        a_transfer("T-1", points=Decimal("99999999999999.9999"), comment='a "b", c\n', batch_id="B-1"),
        a_transfer("R-1", "T-1", status="pending", points=Decimal("0.0001"), external_reference="0042"),
        a_change("R-1", "on_hold"),
        a_change("R-1", "approved"),
    )
    run.own(a_transfer("R-2", "R-1"))
    assert run.write() == 2
    for part, file in (("transfers", run.transfers), ("status_changes", run.status_changes)):
        segments = cut_folder(run.ledger.settings.home) / part / "*.parquet"
        assert read(file) == read(segments, where=f"entry_id <= {run.cutoff}")
        assert types(file) == types(segments)


def test_where_nothing_is_related_the_files_are_there_and_have_their_columns(run):
    run.before(a_transfer("T-1"), a_transfer("R-1", "T-1"))
    run.own(a_transfer("T-2"), a_transfer("R-2", "T-2"), a_transfer("R-3", "nowhere"))
    assert run.write() == 0
    for part, file in (("transfers", run.transfers), ("status_changes", run.status_changes)):
        assert types(file) == types(cut_folder(run.ledger.settings.home) / part / "*.parquet")
        assert read(file) == []


def test_what_the_close_left_unposted_leads_on_but_is_not_handed_in_twice(run):
    run.before(
        a_transfer("root"),
        a_transfer("waits", "root", status="pending"),
        a_transfer("of-waiting", "waits"),
        a_transfer("T-1", status="pending"),
        a_transfer("R-1", "T-1"),
        a_transfer("T-2"),
        a_transfer("later", "T-2"),
        a_change("waits", "on_hold"),
    )
    run.own(a_transfer("R-2", "T-1"), a_change("waits", "approved"))
    assert run.write(("waits", "root"), ("T-1", None), ("later", "T-2")) == 4
    assert run.ids() == ["root", "of-waiting", "R-1", "T-2"]
    assert read(run.status_changes) == []


def test_what_comes_after_the_runs_last_entry_is_not_there(run):
    run.before(a_transfer("T-1"), a_transfer("R-1", "T-1"), a_transfer("T-3"), a_transfer("R-3", "P-1"))
    run.own(a_transfer("R-2", "T-1"), a_transfer("R-4", "R-3"))
    # Seen from here, R-4 belongs to the chain of T-3, and R-5 to that of T-1.
    run.record(a_transfer("P-1", "T-3"), a_transfer("R-5", "T-1"))
    assert run.write() == 3
    assert run.ids() == ["T-1", "R-1", "R-3"]


def test_an_original_that_came_after_its_revocation_joins_the_two(run):
    """docs/cases.md, R14."""
    run.before(a_transfer("T-1"), a_transfer("R-1", "T-1"), a_transfer("orphan", "P-1"))
    run.own(a_transfer("P-1", "R-1"))
    run.write()
    assert run.ids() == ["T-1", "R-1", "orphan"]


def test_circles_end(run):
    """docs/cases.md, R15."""
    run.before(
        a_transfer("A", "C"),
        a_transfer("B", "A"),
        a_transfer("hangs", "B"),
        a_transfer("of-itself", "of-itself"),
    )
    run.own(a_transfer("C", "B"), a_transfer("D", "of-itself"))
    run.write()
    assert run.ids() == ["A", "B", "hangs", "of-itself"]


def test_only_changes_up_to_the_cutoff_are_written(run):
    run.before(
        a_transfer("T-1", status="pending"),
        a_change("T-1", "approved"),
        a_transfer("T-2", status="pending"),
        a_change("T-2", "approved"),
    )
    run.own(a_transfer("R-1", "T-1"), a_change("T-1", "cancelled"))
    run.write()
    assert read(run.status_changes, "entry_id, transfer_id, status") == [(2, "T-1", "approved")]


def test_more_than_one_query_holds_are_found_in_order(run):
    run.before(
        *(a_transfer(f"T-{n}", status="pending" if n % 2 else "approved") for n in range(1_200)),
        *(a_change(f"T-{n}", "approved") for n in range(1, 1_200, 2)),
    )
    run.own(*(a_transfer(f"R-{n}", f"T-{n}") for n in reversed(range(1_200))))
    assert run.write() == 1_200
    assert run.ids() == [f"T-{n}" for n in range(1_200)]
    assert len(read(run.status_changes)) == 600


def test_what_it_asks_of_the_ledger_does_not_follow_history(run):
    run.before(a_transfer("T-1"), a_transfer("R-1", "T-1"))
    run.own(a_transfer("R-2", "T-1"))
    freeze(run.ledger)
    with CaptureQueriesContext(connection) as few:
        run.write()
    run.before(*(a_transfer(f"H-{n}", f"H-{n - 1}" if n % 3 else "") for n in range(3_000)))
    run.own(a_transfer("R-3", "T-1"))
    freeze(run.ledger)
    with CaptureQueriesContext(connection) as many:
        run.write()
    assert run.ids() == ["T-1", "R-1", "R-2"]
    assert len(many) == len(few)


def test_what_the_run_reads_itself_is_not_asked_of_the_ledger(run, monkeypatch):
    """But what hangs on it from before is found (docs/cases.md, R14)."""
    asked = []
    known = related_transfers.known_transfers
    monkeypatch.setattr(related_transfers, "known_transfers", lambda ids: asked.extend(ids) or known(ids))
    run.before(a_transfer("T-1"), a_transfer("early", "O-2"), a_transfer("earlier", "early"))
    run.own(
        *(a_transfer(f"O-{n}") for n in range(5)),
        *(a_transfer(f"R-{n}", f"O-{n}") for n in range(5)),
        a_transfer("R-T-1", "T-1"),
        a_transfer("R-R-0", "R-0"),
    )
    run.write()
    assert run.ids() == ["T-1", "early", "earlier"]
    assert asked == ["T-1"]


def test_files_that_cannot_be_written_are_refused_in_one_sentence(run):
    run.before(a_transfer("T-1"))
    run.own(a_transfer("R-1", "T-1"))
    run.transfers = run.folder / "missing" / "related.parquet"
    with pytest.raises(RelatedTransfersNotWritten) as refused:
        run.write()
    assert refused.value.file == run.transfers
