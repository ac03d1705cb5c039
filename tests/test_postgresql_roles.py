"""What the role of the application may not do in PostgreSQL, and what `points doctor` says that it may."""

from collections.abc import Callable

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from ledger.append import appending
from ledger.digests import NO_LINK, digest_of, link_digest
from ledger.guards import LedgerUnguarded
from ledger.links import ledger_head
from ledger.models import ChainLink, Comment, Entry
from ledger.upkeep.privileges import find_excessive_privileges
from ledger.upkeep.verification import verify
from tests.conftest import ledger_transfer

pytestmark = pytest.mark.parametrize("ledger_home", ["postgresql"], indirect=True)
ROLE = "points_application"


@pytest.fixture
def ledger(ledger_home):
    """A ledger of two entries in one link, opened as the application's role."""
    ledger = ledger_home.open()
    with appending(ledger) as appender:
        appender.append(ledger_transfer("T1"))
        appender.append(ledger_transfer("T2"))
    return ledger


@pytest.fixture
def by_owner(ledger_home):
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_OWNER_URL"], autocommit=True) as owner:
        yield owner.execute


def insert(entry: Entry, entry_id: int) -> bytes:
    """Insert an entry as a program would that goes around `appending`; return its digest, which is right."""
    entry.entry_id = entry_id
    entry.recorded_at = entry.recorded_at or ledger_transfer("T").occurred_at
    entry.recorded_by = "somebody"
    entry.digest = digest_of(entry)
    entry.save(force_insert=True)
    return entry.digest


def link(first: int, last: int, digests: list[bytes], previous: bytes | None = None) -> None:
    previous = ledger_head().chain_digest if previous is None else previous
    digest = link_digest(previous, first, last, digests)
    ChainLink.objects.create(first_entry_id=first, last_entry_id=last, digest=digest)


def comment() -> Comment:
    return Comment(transfer_id="T1", text="")


def an_entry_far_above() -> None:
    insert(ledger_transfer("T9"), 9_000_000)


def an_entry_without_a_link() -> None:
    insert(ledger_transfer("T3"), 3)


def an_entry_with_the_number_of_another() -> None:
    insert(comment(), 1)


def an_entry_below_the_first() -> None:
    insert(comment(), 0)


def a_gap_within_a_link() -> None:
    link(3, 5, [insert(ledger_transfer("T3"), 3), insert(ledger_transfer("T5"), 5)])


def a_gap_hidden_by_a_double() -> None:
    link(
        3,
        5,
        [
            insert(entry, number)
            for entry, number in ((ledger_transfer("T3"), 3), (comment(), 3), (ledger_transfer("T5"), 5))
        ],
    )


def a_gap_between_links() -> None:
    link(4, 4, [insert(ledger_transfer("T4"), 4)], previous=NO_LINK)


def a_link_over_what_another_link_holds() -> None:
    link(2, 3, [insert(ledger_transfer("T3"), 3)])


def a_link_without_entries() -> None:
    link(3, 3, [])


def a_link_that_ends_before_it_begins() -> None:
    link(3, 0, [])


def a_link_of_other_digests() -> None:
    insert(ledger_transfer("T3"), 3)
    link(3, 3, [bytes(32)])


def a_link_that_does_not_follow_from_the_head() -> None:
    link(3, 3, [insert(ledger_transfer("T3"), 3)], previous=bytes(32))


def a_link_of_too_many_entries() -> None:
    link(3, 1_003, [insert(ledger_transfer(f"T{number}"), number) for number in range(3, 1_004)])


def a_number_of_another_after_one_that_is_right() -> None:
    link(3, 3, [insert(ledger_transfer("T3"), 3)])
    insert(comment(), 1)


def a_second_entry_without_a_link() -> None:
    link(3, 3, [insert(ledger_transfer("T3"), 3)])
    insert(ledger_transfer("T4"), 4)


def execute_then(statement: str, attack: Callable[[], None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    attack()


ATTACKS = [
    an_entry_far_above,
    an_entry_without_a_link,
    an_entry_with_the_number_of_another,
    an_entry_below_the_first,
    a_gap_within_a_link,
    a_gap_hidden_by_a_double,
    a_gap_between_links,
    a_link_over_what_another_link_holds,
    a_link_without_entries,
    a_link_that_ends_before_it_begins,
    a_link_of_other_digests,
    a_link_that_does_not_follow_from_the_head,
    a_link_of_too_many_entries,
    a_number_of_another_after_one_that_is_right,
    a_second_entry_without_a_link,
]


def test_what_is_not_chained_to_the_head_is_refused_at_commit(ledger):
    """docs/cases.md, S16."""
    for attack in ATTACKS:
        with pytest.raises(IntegrityError, match="Nothing was recorded: "), transaction.atomic():
            attack()
        assert verify(ledger.settings).head.entry_id == 2, attack
    # Nor is it looked at too early, or through a table of the role's own that hides the ledger's.
    for early in ("set constraints all immediate", "create temp table chain_links (last_entry_id bigint)"):
        with pytest.raises(IntegrityError), transaction.atomic():
            execute_then(early, an_entry_far_above)
    with appending(ledger) as appender:
        for number in range(3, 1_203):
            appender.append(ledger_transfer(f"T{number}"))
    assert verify(ledger.settings).head.entry_id == 1_202


def test_of_two_who_go_around_the_queue_none_leaves_an_entry_without_its_link(ledger, ledger_home):
    """docs/cases.md, S16: each sees the ledger as of before the other."""
    with psycopg.connect(ledger_home.environment["POINTS_DATABASE_URL"]) as other:
        other.execute(
            "insert into comments (entry_id, recorded_at, recorded_by, digest, transfer_id, text)"
            " values (3, 0, 'x', '', 'T1', '')"
        )
        with appending(ledger) as appender:
            appender.append(ledger_transfer("T3"))
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            other.commit()
    assert verify(ledger.settings).head.entry_id == 3


def test_a_transaction_that_was_undone_in_part_is_looked_at_as_it_ends(ledger):
    with transaction.atomic():
        undone = transaction.savepoint()
        an_entry_far_above()
        transaction.savepoint_rollback(undone)
        link(3, 3, [insert(ledger_transfer("T3"), 3)])
    assert verify(ledger.settings).head.entry_id == 3


def test_what_looks_at_commit_is_among_the_guards(ledger, by_owner):
    """docs/cases.md, S9."""
    by_owner("alter table transfers disable trigger transfers_noted")
    by_owner("drop trigger chain_links_checked on unchecked_appends")
    by_owner("alter function note_last_entry_id() security invoker")
    by_owner("alter function check_links() reset search_path")
    with pytest.raises(LedgerUnguarded) as raised:
        verify(ledger.settings)
    assert [str(finding) for finding in raised.value.unguarded] == [
        "chain_links_checked is missing",
        "check_links is changed",
        "note_last_entry_id is changed",
        "transfers_noted is switched off",
    ]


@pytest.fixture
def group(by_owner):
    by_owner("create role points_group")
    yield "points_group"
    by_owner("drop owned by points_group")
    by_owner("drop role points_group")


EXCESSES = {
    "grant update (points) on transfers to {role}": "may update (points) on transfers",
    "grant trigger on closes to public": "may trigger on closes as everybody may",
    "grant delete on unchecked_appends to {role}": "may delete on unchecked_appends",
    "grant insert on django_migrations to {role}": "may insert on django_migrations",
    "grant create on schema public to {role}": "may create on schema public",
    "grant set on parameter session_replication_role to {role}": (
        "may set on parameter session_replication_role"
    ),
    "alter role {role} createrole": "can make roles",
    "alter role {role} bypassrls": "bypasses row security",
    "alter role {role} replication": "can replicate, and read every file of the server",
    "grant pg_write_server_files to {role}": "is a member of pg_write_server_files",
    "grant pg_execute_server_program to {role}": "is a member of pg_execute_server_program",
    "grant pg_write_all_data to {role}": "is a member of pg_write_all_data",
    "grant points_group to {role}; grant truncate on transfers to points_group": (
        "may truncate on transfers as a member of points_group"
    ),
    "grant points_group to {role}; alter role points_group createrole": (
        "can make roles as a member of points_group"
    ),
    "grant points_group to {role}; grant pg_write_server_files to points_group": (
        "is a member of pg_write_server_files"
    ),
}


def test_every_excess_of_the_role_is_reported_with_the_statement_that_revokes_it(ledger, by_owner, group):
    """docs/cases.md, S17."""
    for statement, description in EXCESSES.items():
        by_owner(statement.format(role=ROLE))
        found = find_excessive_privileges()
        assert description in {privilege.description for privilege in found}, (statement, found)
        for privilege in found:
            by_owner(privilege.statement)
        assert find_excessive_privileges() == [], statement
        by_owner("alter role points_group nocreaterole")
        by_owner("drop owned by points_group")
        by_owner("revoke pg_write_server_files from points_group")


def test_a_member_of_the_tables_owner_is_reported(ledger, by_owner, group):
    """docs/cases.md, S17."""
    by_owner("grant points_group to points_application")
    by_owner("alter table transfers owner to points_group")
    try:
        found = find_excessive_privileges()
        assert [privilege.description for privilege in found] == [
            "owns the tables as a member of points_group"
        ]
    finally:
        by_owner("alter table transfers owner to current_user")


def test_a_role_whose_connections_fire_no_trigger_appends_nothing(ledger, ledger_home, by_owner):
    """docs/cases.md, S17."""
    by_owner(f"alter role {ROLE} set session_replication_role = replica")
    try:
        with pytest.raises(LedgerUnguarded) as refused, appending(ledger_home.open()):
            pass
        assert {guard.problem for guard in refused.value.unguarded} == {"switched off"}
    finally:
        by_owner(f"alter role {ROLE} reset session_replication_role")
