"""`points verify`: a change of the database by hand is found, and where (docs/cases.md, X11)."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from django.db import connection

from ledger.anchors import AnchorUnreadable, LedgerReplaced, write_anchor
from ledger.append import appending
from ledger.database import Ledger, LedgerEmpty, LedgerMissing, LedgerNotReached
from ledger.digests import digest_columns, entry_digest, link_digest
from ledger.errors import PointsError
from ledger.guards import LedgerUnguarded
from ledger.links import ledger_head
from ledger.models import AccountEvent, Comment, StatusChange, Transfer
from ledger.upkeep.verification import (
    EntryAltered,
    EntryRemoved,
    EntrySlippedIn,
    LedgerDamaged,
    LedgerUnreadable,
    LinkBroken,
    verify,
)
from tests.conftest import answer, assert_refused, ledger_transfer

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_home):
    """Seven entries in three commits: 1 to 3, 4 to 6, and 7."""
    ledger = ledger_home.open(clock=lambda: NOON)
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))
        appender.append(ledger_transfer("T2", points=Decimal(20)))
        appender.append(ledger_transfer("T3", status="pending"))
    with appending(ledger) as appender:
        appender.append(StatusChange(transfer_id="T3", status="approved", changed_at=NOON))
        appender.append(Comment(transfer_id="T1", text="Asked for by phone"))
        appender.append(ledger_transfer("T6"))
    with appending(ledger) as appender:
        appender.append(AccountEvent(event_id="E7", relation_reference="C-1", event="open", occurred_at=NOON))
    return ledger


def failure(ledger: Ledger, error: type[PointsError]) -> PointsError:
    """What verify ends with, which must be an ``error``."""
    with pytest.raises(error) as raised:
        verify(ledger.settings)
    return raised.value


@pytest.fixture
def tamper(ledger, ledger_home):
    """Execute a statement as the owner of the database can: past its guards, which stay as they were.

    First `points verify` is clean, so that what it finds afterwards is what was done.
    """
    found = verify(ledger.settings)
    assert (found.entries, found.links, found.head) == (7, 3, ledger_head())
    owner_url = ledger_home.environment.get("POINTS_DATABASE_OWNER_URL")

    def in_postgresql(statement: str, *values: object) -> None:
        with psycopg.connect(owner_url) as connected:
            connected.execute("set session_replication_role = replica")
            connected.execute(statement.replace("?", "%s"), values)

    def in_sqlite(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(ledger_home.home / "ledger.sqlite3", isolation_level=None)) as connected:
            triggers = connected.execute(
                "select name, sql from sqlite_master where type = 'trigger' and tbl_name <> 'sign_offs'"
            ).fetchall()
            for name, _ in triggers:
                connected.execute(f"drop trigger {name}")
            connected.execute(statement, values)
            for _, sql in triggers:
                connected.execute(sql)

    return in_postgresql if owner_url else in_sqlite


def stored(model, entry_id: int) -> list:
    """The values that an entry's digest covers, as the database keeps them."""
    with connection.cursor() as cursor:
        columns = ", ".join(digest_columns(model))
        cursor.execute(f"select {columns} from {model._meta.db_table} where entry_id = %s", [entry_id])
        return list(cursor.fetchone())


@pytest.mark.parametrize(
    ("statement", "entry_id", "kind", "transfer_id"),
    [
        ("update transfers set points = points + 1 where entry_id = 2", 2, "transfer", "T2"),
        ("update transfers set comment = 'Agreed' where entry_id = 1", 1, "transfer", "T1"),
        ("update transfers set recorded_by = 'eve' where entry_id = 6", 6, "transfer", "T6"),
        ("update transfers set recorded_at = recorded_at - 1 where entry_id = 6", 6, "transfer", "T6"),
        ("update transfers set transfer_id = 'T9' where entry_id = 3", 3, "transfer", "T9"),
        ("update transfers set relation_reference = 'C-2'", 1, "transfer", "T1"),
        ("update status_changes set status = 'cancelled'", 4, "status_change", "T3"),
        ("update comments set text = ''", 5, "comment", "T1"),
        ("update account_events set event = 'close'", 7, "account_event", None),
    ],
)
def test_an_altered_entry_is_named(ledger, tamper, statement, entry_id, kind, transfer_id):
    """docs/cases.md, X11."""
    tamper(statement)
    found = failure(ledger, EntryAltered)
    assert (found.first_entry_id, found.kind, found.transfer_id) == (
        entry_id,
        kind,
        transfer_id,
    )


@pytest.mark.parametrize(
    ("statement", "first", "last"),
    [
        ("delete from transfers where entry_id = 2", 2, 2),
        ("delete from transfers", 1, 3),
        ("delete from account_events", 7, 7),
    ],
)
def test_a_removed_entry_is_named(ledger, tamper, statement, first, last):
    """docs/cases.md, X11."""
    tamper(statement)
    found = failure(ledger, EntryRemoved)
    assert (found.first_entry_id, found.last_entry_id) == (first, last)


def forge(tamper, entry_id: int, comment_on: str = "T1") -> None:
    """Slip in a comment with a digest of its own."""
    values = [0, "eve", comment_on, "Forged"]
    tamper(
        "insert into comments (entry_id, digest, recorded_at, recorded_by, transfer_id, text)"
        " values (?, ?, ?, ?, ?, ?)",
        entry_id,
        entry_digest("comment", entry_id, values),
        *values,
    )


@pytest.mark.parametrize("entry_id", [8, 0, -5, 100])
def test_an_entry_slipped_in_beyond_the_chain_is_named(ledger, tamper, entry_id):
    """docs/cases.md, X11."""
    forge(tamper, entry_id)
    found = failure(ledger, EntrySlippedIn)
    assert found.first_entry_id == entry_id
    assert found.kind == "comment"


def test_an_entry_slipped_in_under_a_number_that_is_taken_is_named(ledger, tamper):
    """docs/cases.md, X11."""
    forge(tamper, 2)
    assert failure(ledger, EntrySlippedIn).first_entry_id == 2


def test_of_two_entries_with_one_number_the_one_with_a_false_digest_is_named(ledger, tamper):
    tamper(
        "insert into comments (entry_id, digest, recorded_at, recorded_by, transfer_id, text)"
        " select entry_id, digest, recorded_at, recorded_by, transfer_id, 'Forged' from transfers"
        " where entry_id = 2"
    )
    found = failure(ledger, EntrySlippedIn)
    assert (found.first_entry_id, found.kind) == (2, "comment")


def test_two_entries_that_changed_places_are_named(ledger, tamper):
    """docs/cases.md, X11."""
    tamper("update transfers set entry_id = 1000 where entry_id = 1")
    tamper("update transfers set entry_id = 1 where entry_id = 2")
    tamper("update transfers set entry_id = 2 where entry_id = 1000")
    found = failure(ledger, EntryAltered)
    assert (found.first_entry_id, found.transfer_id) == (1, "T2")


def alter_points_and_digest(tamper, entry_id: int) -> None:
    values = stored(Transfer, entry_id)
    values[digest_columns(Transfer).index("points")] = 99
    tamper(
        "update transfers set points = 99, digest = ? where entry_id = ?",
        entry_digest("transfer", entry_id, values),
        entry_id,
    )


def test_an_alteration_whose_digest_was_computed_again_shows_at_its_link(ledger, tamper):
    """docs/cases.md, X11."""
    alter_points_and_digest(tamper, 2)
    found = failure(ledger, LinkBroken)
    assert (found.first_entry_id, found.last_entry_id) == (1, 3)


def test_in_a_commit_of_one_entry_the_link_names_that_entry(ledger, tamper):
    """docs/cases.md, X11."""
    values = stored(AccountEvent, 7)
    values[digest_columns(AccountEvent).index("event")] = "close"
    tamper("update account_events set event = 'close', digest = ?", entry_digest("account_event", 7, values))
    found = failure(ledger, LinkBroken)
    assert (found.first_entry_id, found.kind) == (7, "account_event")


def test_an_alteration_whose_link_was_computed_again_shows_at_the_next_link(ledger, tamper):
    """docs/cases.md, X11."""
    alter_points_and_digest(tamper, 2)
    rewrite_link(tamper, 1, 3, bytes(32))
    found = failure(ledger, LinkBroken)
    assert (found.first_entry_id, found.last_entry_id) == (4, 6)


def rewrite_link(tamper, first: int, last: int, previous: bytes) -> bytes:
    """Compute a link anew over the digests that stand there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select digest from (select entry_id, digest from transfers union all"
            " select entry_id, digest from status_changes union all select entry_id, digest from comments"
            " union all select entry_id, digest from account_events) as entries"
            " where entry_id between %s and %s order by entry_id",
            [first, last],
        )
        digest = link_digest(previous, first, last, [bytes(row[0]) for row in cursor.fetchall()])
    tamper("update chain_links set digest = ? where last_entry_id = ?", digest, last)
    return digest


def test_a_chain_computed_again_to_its_end_is_not_the_one_that_the_home_remembers(ledger, tamper):
    """docs/cases.md, X11 and X12."""
    remember_head(ledger)
    alter_points_and_digest(tamper, 2)
    digest = rewrite_link(tamper, 1, 3, bytes(32))
    digest = rewrite_link(tamper, 4, 6, digest)
    rewrite_link(tamper, 7, 7, digest)
    found = failure(ledger, LedgerReplaced)
    assert (found.entry_id, found.head_entry_id) == (7, 7)


def remember_head(ledger) -> None:
    cut = ledger.settings.home / "cut"
    cut.mkdir(parents=True)
    write_anchor(cut, ledger_head())


def test_a_tail_removed_with_its_link_is_missed_by_what_the_home_remembers(ledger, tamper):
    """docs/cases.md, X11 and X12."""
    remember_head(ledger)
    assert verify(ledger.settings).anchors == (ledger.settings.home / "cut", ledger.settings.home)
    tamper("delete from account_events")
    tamper("delete from chain_links where last_entry_id = 7")
    assert failure(ledger, LedgerReplaced).head_entry_id == 6


@pytest.mark.parametrize(
    ("statement", "first", "last"),
    [
        ("delete from chain_links where last_entry_id = 3", 1, 3),
        ("delete from chain_links where last_entry_id = 6", 4, 6),
        ("update chain_links set first_entry_id = 2 where first_entry_id = 1", 1, 1),
        ("update chain_links set first_entry_id = 5 where first_entry_id = 4", 4, 4),
        ("update chain_links set first_entry_id = 0 where first_entry_id = 1", 0, 3),
        ("update chain_links set last_entry_id = 5 where last_entry_id = 6", 4, 5),
    ],
)
def test_links_that_do_not_tile_the_entries_are_named(ledger, tamper, statement, first, last):
    tamper(statement)
    found = failure(ledger, LinkBroken)
    assert (found.first_entry_id, found.last_entry_id) == (first, last)


def test_entries_without_their_newest_link_stand_after_the_end_of_the_chain(ledger, tamper):
    tamper("delete from chain_links where last_entry_id = 7")
    assert failure(ledger, EntrySlippedIn).first_entry_id == 7
    tamper("delete from chain_links")
    assert failure(ledger, EntrySlippedIn).first_entry_id == 1


@pytest.mark.parametrize(
    ("assignment", "finding"),
    [
        ("points = 'many'", "its points is str 'many', where a whole number was recorded"),
        ("points = 12.5", "its points is float 12.5"),
        ("points = x'31'", "its points is bytes b'1'"),
        ("comment = x'00ff'", "its comment is bytes"),
        ("comment = cast(x'c328' as text)", "not UTF-8"),
        ("comment = 'a' || char(31) || 'b'", "unit separator"),
        ("digest = 'text'", "its digest is str"),
        ("digest = x''", "do not give the digest"),
    ],
)
def test_a_value_of_another_type_is_named(ledger, tamper, assignment, finding):
    """A column of SQLite takes any type."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's columns are typed.")
    tamper(f"update transfers set {assignment} where entry_id = 2")
    found = failure(ledger, EntryAltered)
    assert found.first_entry_id == 2
    assert finding in str(found)


@pytest.mark.parametrize("entry_id", ["'seven'", "x'07'", "6.5"])
def test_an_entry_cannot_be_given_a_number_of_another_type(ledger, tamper, entry_id):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's columns are typed.")
    with pytest.raises(sqlite3.IntegrityError, match="datatype mismatch"):
        tamper(f"update account_events set entry_id = {entry_id}")


def test_a_text_that_was_moved_to_another_column_is_named(ledger, tamper):
    """A unit separator in a text would let two different entries have one digest."""
    values = dict(zip(digest_columns(Transfer), stored(Transfer, 2), strict=True))
    assert values["external_reference"] == values["comment"] == ""
    tamper("update transfers set batch_id = ? where entry_id = 2", "\x1f")
    found = failure(ledger, EntryAltered)
    assert (found.first_entry_id, found.kind) == (2, "transfer")


def test_a_guard_that_is_gone_changed_or_unknown_is_named(ledger, tamper, ledger_home):
    if connection.vendor == "sqlite":
        statements = {
            "transfers_no_update is missing": "drop trigger transfers_no_update",
            "transfers_no_delete is changed": "create trigger transfers_no_delete before delete on transfers"
            " when 0 begin select raise(abort, ''); end",
            "transfers_sly is unknown": "create trigger transfers_sly after insert on transfers"
            " begin select 1; end",
        }
        connected = sqlite3.connect(ledger.settings.home / "ledger.sqlite3", isolation_level=None)
        connected.execute("drop trigger transfers_no_delete")
    else:
        statements = {
            "comments_append_only is missing": "drop trigger comments_append_only on comments",
            "transfers_append_only is switched off": "alter table transfers disable trigger"
            " transfers_append_only",
            "refuse_change is changed": "create or replace function refuse_change() returns trigger"
            " language plpgsql as $$ begin return null; end $$",
            "batches_sly is unknown": "create rule batches_sly as on insert to batches do instead nothing",
        }
        connected = psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True)
    with closing(connected):
        for statement in statements.values():
            connected.execute(statement)
    found = failure(ledger, LedgerUnguarded)
    assert {str(finding) for finding in found.unguarded} == set(statements)


def test_what_is_appended_meanwhile_is_no_finding(ledger):
    def append(done: int, total: int) -> None:
        assert (done, total) == (7, 7)
        with appending(ledger) as appender:
            appender.append(ledger_transfer("T8"))

    assert verify(ledger.settings, append).entries == 7
    assert verify(ledger.settings).entries == 8


def test_reading_in_parts_finds_the_same(ledger, tamper, monkeypatch):
    """Parts of two entries, pages of one link: what ends in one and begins in another is whole."""
    monkeypatch.setattr("ledger.upkeep.verification._IDS_PER_READ", 2)
    monkeypatch.setattr("ledger.upkeep.verification._LINKS_PER_READ", 1)
    done = []
    assert verify(ledger.settings, lambda *counts: done.append(counts)).links == 3
    assert done == [(2, 7), (4, 7), (6, 7), (7, 7)]
    tamper("delete from comments")
    assert failure(ledger, EntryRemoved).first_entry_id == 5


def test_many_entries_of_one_commit_are_in_links_of_a_thousand(ledger):
    with appending(ledger) as appender:
        for number in range(2_500):
            appender.append(ledger_transfer(f"M{number}"))
    found = verify(ledger.settings)
    assert (found.entries, found.links) == (2_507, 6)


def test_where_nothing_was_recorded_there_is_nothing_to_verify(ledger_home):
    with pytest.raises(LedgerEmpty):
        verify(ledger_home.settings())
    assert not ledger_home.home.exists()
    ledger_home.open()
    with pytest.raises(LedgerEmpty):
        verify(ledger_home.settings())


def test_a_ledger_emptied_behind_what_was_built_on_it_is_missing(ledger, tamper):
    """docs/cases.md, X12."""
    remember_head(ledger)
    for table in ("transfers", "status_changes", "comments", "account_events", "chain_links"):
        tamper(f"delete from {table}")
    assert failure(ledger, LedgerMissing).trace == ledger.settings.home / "cut"


def test_a_table_that_is_gone_is_named(ledger, tamper):
    tamper("drop table sign_offs")
    assert failure(ledger, LedgerDamaged).finding == "the table sign_offs is not there"


def test_a_file_that_is_no_ledger_or_is_damaged_is_a_sentence(ledger):
    if connection.vendor != "sqlite":
        pytest.skip("The files of PostgreSQL are its server's.")
    connection.close()
    file = ledger.settings.home / "ledger.sqlite3"
    whole = file.read_bytes()
    with closing(sqlite3.connect(file)) as connected:
        query = "select rootpage from sqlite_master where name = 'transfers'"
        start = (connected.execute(query).fetchone()[0] - 1) * 4096
    file.write_bytes(whole[:start] + b"x" * 100 + whole[start + 100 :])
    failure(ledger, LedgerUnreadable)
    file.write_bytes(b"Not a database, but a letter. " * 200)
    failure(ledger, LedgerNotReached)
    file.write_bytes(whole)
    assert verify(ledger.settings).entries == 7


def test_an_anchor_that_cannot_be_read_is_named(ledger):
    remember_head(ledger)
    (ledger.settings.home / "cut" / "ledger_head.json").write_text("{}", encoding="utf-8")
    assert failure(ledger, AnchorUnreadable).file == ledger.settings.home / "cut" / "ledger_head.json"


def test_the_command_says_what_it_looked_at_and_names_what_is_wrong(points, ledger, tamper, ledger_home):
    """docs/cases.md, X11."""
    where = {"home": ledger_home.home, **ledger_home.environment}
    clean = points("verify", **where)
    assert "7 entries" in answer(clean)
    found = json.loads(points("verify", "--json", **where).stdout)
    assert (found["verdict"], found["entries"], found["links"]) == ("sound", 7, 3)
    assert found["chain_digest"] == ledger_head().chain_digest.hex()
    tamper("update transfers set points = points * 10 where entry_id = 2")
    result = points("verify", **where)
    assert_refused(result, failure(ledger, EntryAltered))
    result = points("verify", "--json", **where)
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert (
        found["verdict"],
        found["finding"],
        found["first_entry_id"],
        found["kind"],
        found["transfer_id"],
    ) == (
        "damaged",
        "EntryAltered",
        2,
        "transfer",
        "T2",
    )
