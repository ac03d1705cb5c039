"""The only way into the ledger: one transaction, one writer at a time, ids without gaps, chained.

Writers are serialised by the database (SQLite: one writer; PostgreSQL: a lock held to the commit), so that
the order of ``entry_id`` is the order of commits, and a cut up to some entry misses nothing below it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from ledger.anchors import Head, read_anchor, write_anchor
from ledger.bulk_insert import insert_entry, insert_rows
from ledger.chunks import chunks
from ledger.clocks import NEWEST_RECORDED_AT, ClockFarOff, is_far_off, warn_of_setback
from ledger.database import Ledger
from ledger.digests import ENTRIES_PER_LINK, NO_LINK, digest_of, entry_digest, link_digest
from ledger.fields import from_microseconds, to_microseconds
from ledger.guards import check_guards
from ledger.kept_balances import follow
from ledger.links import ledger_head
from ledger.models import Entry
from ledger.writers_queue import writers_queue

# Any number does, so long as no other program takes advisory locks in the ledger's database.
_WRITERS_LOCK = 7_043_112_020
_ROWS_PER_INSERT = 10_000
# What each writer does in its turn, while all others wait, is plain SQL, and little: to put a statement
# together by Django's means takes more of a processor than the database takes to answer it.
_INSERT_LINK = "insert into chain_links (last_entry_id, first_entry_id, digest) values (%s, %s, %s)"
_BEFORE = f"""
    select
        link.last_entry_id,
        link.digest,
        ({NEWEST_RECORDED_AT}),
        kept.entry_id = link.last_entry_id and kept.chain_digest = link.digest and kept.default_currency = %s
    from (select 1 as one) as always
    left join (
        select last_entry_id, digest from chain_links order by last_entry_id desc limit 1
    ) as link on true
    left join balance_heads as kept on true
"""
# Each thread's connection whose database was seen to be guarded since it was made.
_guarded: WeakSet[BaseDatabaseWrapper] = WeakSet()


@receiver(connection_created)
def _forget_guards(connection: BaseDatabaseWrapper, **_: object) -> None:
    _guarded.discard(connection)


class Appender:
    """Appends entries within one transaction; `appending` makes one.

    ``recorded_at`` is the same for every entry of the transaction; ``next_entry_id`` is what the next gets.
    """

    def __init__(self, ledger: Ledger, head: Head) -> None:
        self.ledger = ledger
        self.recorded_at: datetime = ledger.clock()
        self.next_entry_id = head.entry_id + 1
        self._chain_digest = head.chain_digest
        self._link_starts_at = self.next_entry_id
        self._digests: list[bytes] = []

    @property
    def head(self) -> Head:
        """The end of the ledger with all that was appended up to the last link."""
        return Head(self._link_starts_at - 1, self._chain_digest)

    def append(self, entry: Entry) -> Entry:
        """Give ``entry`` its id, time, author and digest, and insert it."""
        entry.entry_id = self.next_entry_id
        entry.recorded_at = self.recorded_at
        entry.recorded_by = self.ledger.user
        entry.digest = digest_of(entry)
        insert_entry(entry)
        self.note_digests([entry.digest])
        return entry

    def append_rows(self, model: type[Entry], rows: Iterable[tuple]) -> None:
        """Append many entries of one kind; each row has the values of the model's own columns as the
        database keeps them."""
        recorded = (to_microseconds(self.recorded_at), self.ledger.user)
        for chunk in chunks(rows, _ROWS_PER_INSERT):
            entries = []
            for entry_id, values in enumerate(chunk, self.next_entry_id):
                digest = entry_digest(model.kind, entry_id, (*recorded, *values))
                entries.append((entry_id, *recorded, digest, *values))
            insert_rows(model, entries)
            self.note_digests([entry[3] for entry in entries])

    def note_digests(self, digests: Sequence[bytes]) -> None:
        """Take the digests of the next entries in their order, which were inserted."""
        position = 0
        while position < len(digests):
            part = digests[position : position + ENTRIES_PER_LINK - len(self._digests)]
            self._digests += part
            self.next_entry_id += len(part)
            position += len(part)
            if len(self._digests) == ENTRIES_PER_LINK:
                self.write_link()

    def write_link(self) -> None:
        """Chain what was appended since the last link."""
        if not self._digests:
            return
        last_entry_id = self.next_entry_id - 1
        self._chain_digest = link_digest(
            self._chain_digest, self._link_starts_at, last_entry_id, self._digests
        )
        with connection.cursor() as cursor:
            cursor.execute(_INSERT_LINK, [last_entry_id, self._link_starts_at, self._chain_digest])
        self._link_starts_at = self.next_entry_id
        self._digests.clear()


@contextmanager
def appending(ledger: Ledger, dry_run: bool = False, says_when: bool = False) -> Iterator[Appender]:
    """One transaction that appends: all of its entries, or none where anything is raised.

    With ``dry_run`` everything is tried and nothing kept. ``says_when`` is of an act that takes nothing from
    the clock but when it is recorded. Raises `LedgerBusy`, `LedgerUnguarded` where the database would not
    refuse a change of what is appended, and `ClockFarOff`.
    """
    with writers_queue(ledger):
        with transaction.atomic(durable=True):
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("select pg_advisory_xact_lock(%s)", [_WRITERS_LOCK])
            if (connected := connections[DEFAULT_DB_ALIAS]) not in _guarded:
                check_guards(ledger.place)
                _guarded.add(connected)
            before, newest, are_balances_kept = _before(ledger)
            appender = Appender(ledger, before)
            if not says_when and is_far_off(ledger, appender.recorded_at, newest):
                raise ClockFarOff(appender.recorded_at, newest)
            yield appender
            appender.write_link()
            if are_balances_kept:
                follow(ledger, before, appender.head, appender.recorded_at)
            if dry_run:
                transaction.set_rollback(True)
        if appender.head != before and not dry_run:
            warn_of_setback(appender.recorded_at, newest)
        _remember_beginning(ledger.settings.home)


def _before(ledger: Ledger) -> tuple[Head, datetime | None, bool]:
    """The end of the ledger, when its newest entry was recorded, and whether kept balances hold up to it."""
    with connection.cursor() as cursor:
        cursor.execute(_BEFORE, [ledger.settings.default_currency])
        entry_id, digest, recorded_at, are_balances_kept = cursor.fetchone()
    head = Head(entry_id, bytes(digest)) if entry_id else Head(0, NO_LINK)
    return head, None if recorded_at is None else from_microseconds(recorded_at), bool(are_balances_kept)


def _remember_beginning(home: Path) -> None:
    """Leave in ``home`` that it has a ledger, so that a lost one is missed even before a build."""
    if read_anchor(home) is None and (head := ledger_head()).entry_id:
        home.mkdir(parents=True, exist_ok=True)
        write_anchor(home, head)
