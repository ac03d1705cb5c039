"""The only way into the ledger: one transaction, one writer at a time, ids without gaps, chained.

Writers are serialised by the database (SQLite: one writer; PostgreSQL: a lock held to the commit), so that
the order of ``entry_id`` is the order of commits, and a cut up to some entry misses nothing below it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection, transaction

from ledger.anchors import Head
from ledger.database import Ledger
from ledger.digests import ENTRIES_PER_LINK, NO_LINK, digest_of, link_digest
from ledger.models import ChainLink, Entry

# Any number does, so long as no other program takes advisory locks in the ledger's database.
_WRITERS_LOCK = 7_043_112_020


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

    def append(self, entry: Entry) -> Entry:
        """Give ``entry`` its id, time, author and digest, and insert it."""
        entry.entry_id = self.next_entry_id
        entry.recorded_at = self.recorded_at
        entry.recorded_by = self.ledger.user
        entry.digest = digest_of(entry)
        entry.save(force_insert=True)
        self.note_digest(entry.digest)
        return entry

    def note_digest(self, digest: bytes) -> None:
        """Take the digest of the next entry, which a bulk load inserts itself."""
        self.next_entry_id += 1
        self._digests.append(digest)
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
        ChainLink.objects.create(
            last_entry_id=last_entry_id, first_entry_id=self._link_starts_at, digest=self._chain_digest
        )
        self._link_starts_at = self.next_entry_id
        self._digests.clear()


@contextmanager
def appending(ledger: Ledger, dry_run: bool = False) -> Iterator[Appender]:
    """One transaction that appends: all of its entries, or none where anything is raised.

    With ``dry_run`` everything is tried and nothing kept.
    """
    with transaction.atomic(durable=True):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_xact_lock(%s)", [_WRITERS_LOCK])
        appender = Appender(ledger, ledger_head())
        yield appender
        appender.write_link()
        if dry_run:
            transaction.set_rollback(True)


def ledger_head() -> Head:
    """The end of the ledger as this transaction sees it."""
    newest = ChainLink.objects.order_by("-last_entry_id").first()
    return Head(newest.last_entry_id, bytes(newest.digest)) if newest else Head(0, NO_LINK)
