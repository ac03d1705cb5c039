"""Finds the first entry that was altered, removed or inserted by hand (docs/design.md, section 5;
docs/cases.md, X11).

Every entry's digest is computed again from what the database holds, ids are counted, and the links of the
chain are followed over them. Entries are read in short ranges of ids, so that writers go on and memory stays
small, up to where the chain ended when the reading began. A change whose digests and links were all computed
again is found by what the home holds outside the database (`ledger.anchors`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.db import DatabaseError, OperationalError, connection
from django.db.models import BigIntegerField

from ledger.anchors import Head, anchored_folders, check_anchors
from ledger.clocks import Setbacks, find_setbacks
from ledger.database import Ledger, LedgerNotReached
from ledger.digests import (
    ENTRIES_PER_LINK,
    NO_LINK,
    SEPARATOR,
    digest_columns,
    entry_digest,
    link_digest,
)
from ledger.errors import PointsError, first_line
from ledger.guards import LedgerUnguarded, find_unguarded
from ledger.models import ENTRY_MODELS, LEDGER_TABLES, ChainLink, Entry, Transfer
from ledger.settings import Settings
from ledger.upkeep.inspection import open_as_it_stands, refuse_as_empty, unapplied_migrations

_IDS_PER_READ = 10_000
_LINKS_PER_READ = 10_000
_LINKS = ChainLink._meta.db_table

# Before the first entry.
BEGINNING = Head(0, NO_LINK)

# A row as `_Walk` reads it: its entry_id, its digest, then the columns that the digest covers.
Row = tuple


class LedgerOfEarlierVersion(PointsError):
    """A ledger that no command of this version has opened yet; nothing is wrong with it."""

    code = "LEDGER_VERSION"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The ledger in {place} is of an earlier version and lacks tables of this one, which `points"
            " verify` does not make; run `points balances`, which does, and verify again."
        )


class LedgerDamaged(PointsError):
    """The ledger does not hold what was recorded in it.

    ``first_entry_id`` and ``last_entry_id`` are where (the same, where it is one entry); ``kind`` is the
    entry's kind and ``transfer_id`` its transfer's, each None where it is unknown or has none.
    """

    code = "LEDGER_DAMAGED"

    def __init__(
        self,
        place: str,
        finding: str,
        first_entry_id: object = None,
        last_entry_id: object = None,
        kind: str | None = None,
        transfer_id: str | None = None,
    ) -> None:
        super().__init__(
            f"The ledger in {place} does not hold what was recorded: {finding}; keep it as it is for the"
            " investigation, and restore the newest backup that `points verify` finds whole."
        )
        self.last_entry_id = first_entry_id if last_entry_id is None else last_entry_id

    def of(self, place: str) -> "LedgerDamaged":
        """The same finding in the ledger of which the one that was looked at is a copy."""
        return type(self)(
            place, self.finding, self.first_entry_id, self.last_entry_id, self.kind, self.transfer_id
        )


class EntryAltered(LedgerDamaged):
    """An entry's values are not those it was recorded with."""


class EntryRemoved(LedgerDamaged):
    """An entry is not there any more."""


class EntrySlippedIn(LedgerDamaged):
    """An entry stands where none was recorded."""


class LinkBroken(LedgerDamaged):
    """Entries do not give the chain's digest, though each by itself gives its own."""


class LedgerUnreadable(LedgerDamaged):
    """The database itself cannot read some of it."""


@dataclass(frozen=True)
class Verification:
    """A ledger that holds what was recorded: how many entries and links were looked at, up to which head.

    ``anchors`` are the folders of the home that remember a head, which is in the chain. ``setbacks`` are
    entries that a clock has dated below the one before; they are what was recorded all the same.
    """

    place: str
    entries: int
    links: int
    head: Head
    anchors: tuple[Path, ...]
    setbacks: Setbacks


def verify(settings: Settings, report: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Look at every entry and every link of the ledger; ``report`` takes entries done and in all.

    Raises `LedgerDamaged` (one of its kinds) naming the first finding, `LedgerReplaced` where the chain is
    not the one that the home was built on (docs/cases.md, X12), `LedgerUnguarded` where only the triggers are
    wrong, and what `open_as_it_stands` raises.
    """
    ledger, tables = open_as_it_stands(settings)
    absent = [name for name in LEDGER_TABLES if name not in tables]
    if absent and unapplied_migrations():
        raise LedgerOfEarlierVersion(ledger.place)
    if absent:
        raise LedgerDamaged(ledger.place, f"the table {absent[0]} is not there")
    walk = _Walk(ledger.place)
    head = walk.to_the_end(report)
    if not head.entry_id:
        refuse_as_empty(settings)
    try:
        check_anchors(settings.home, ledger.place)
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerDamaged(
            ledger.place, f"a ledger_head.json in {settings.home} cannot be read ({first_line(error)})"
        ) from error
    unguarded = find_unguarded()
    if unguarded:
        raise LedgerUnguarded(ledger.place, unguarded, is_sound=True)
    return Verification(
        ledger.place,
        head.entry_id,
        walk.chain.links,
        head,
        tuple(anchored_folders(settings.home)),
        find_setbacks() if walk.goes_back else Setbacks(0, None),
    )


def verify_above(
    ledger: Ledger, after: Head, upto: int, report: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Look at the entries above ``after``, where the chain had its digest, up to the entry ``upto``.

    ``report`` takes entries done and in all. Raises `LedgerDamaged` (one of its kinds) or `LedgerNotReached`.
    """
    _Walk(ledger.place, after).to(upto, report)


class _Walk:
    """Reads entries in the order of their ids from ``after`` on, and stops at the first damaged one.

    ``goes_back`` says whether one of them is dated before the one that it follows.
    """

    def __init__(self, place: str, after: Head = BEGINNING) -> None:
        self.place = place
        self.chain = _Chain(place, after)
        self.goes_back = False
        self._done = after.entry_id
        self._recorded_at = 0

    def to_the_end(self, report: Callable[[int, int], None]) -> Head:
        """Look at every entry up to the end of the chain as it is now, and return that end."""
        self._refuse_outside("entry_id < 1 or entry_id is null", "before the first entry")
        newest = _fetch(self.place, f"select max(last_entry_id) from {_LINKS}")[0][0] or 0
        if type(newest) is not int:
            raise LinkBroken(self.place, f"a link of the chain ends at {_shown(newest)}")
        self.to(newest, report)
        # In one statement, so that what is appended just now is no finding.
        self._refuse_outside(
            f"entry_id > (select coalesce(max(last_entry_id), 0) from {_LINKS})", "after the end of the chain"
        )
        return Head(self._done, self.chain.digest)

    def to(self, newest: int, report: Callable[[int, int], None]) -> None:
        """Look at every entry up to ``newest``, which ends a link."""
        first = self._done
        while self._done < newest:
            upto = min(self._done + _IDS_PER_READ, newest)
            self._look_at(self._done, upto)
            self._done = upto
            report(upto - first, newest - first)

    def _look_at(self, after: int, upto: int) -> None:
        """Check the entries above ``after`` up to ``upto``: all at once where none is damaged."""
        found = [(model, self._rows(model, after, upto)) for model in ENTRY_MODELS]
        found = [(model, rows) for model, rows in found if rows]
        in_order = [(row, model) for model, rows in found for row in rows]
        if len(found) > 1:
            in_order.sort(key=lambda entry: entry[0][0])
        is_complete = [row[0] for row, _ in in_order] == list(range(after + 1, upto + 1))
        if is_complete and all(_are_sound(model, rows) for model, rows in found):
            self.chain.take([row[1] for row, _ in in_order])
            recorded = [self._recorded_at, *(row[2] for row, _ in in_order)]
            self.goes_back = self.goes_back or recorded != sorted(recorded)
            self._recorded_at = recorded[-1]
        else:
            self._look_one_by_one(in_order, after + 1, upto)

    def _look_one_by_one(self, in_order: list[tuple[Row, type[Entry]]], expected: int, upto: int) -> None:
        """Raise the error for the first damaged entry; ``expected`` is the first id."""
        for position, (row, model) in enumerate(in_order):
            if position + 1 < len(in_order) and in_order[position + 1][0][0] == row[0]:
                self._refuse_double((row, model), in_order[position + 1])
            if problem := _problem(model, row):
                raise EntryAltered(
                    self.place, f"{_name(model, row)} was altered: {problem}", *_facts(model, row)
                )
            if row[0] > expected:
                self._refuse_gap(expected, row[0] - 1)
            self.chain.take([row[1]])
            expected = row[0] + 1
        if expected <= upto:
            self._refuse_gap(expected, upto)

    def _refuse_gap(self, first: int, last: int) -> None:
        what = f"entry {first:,} was" if first == last else f"the entries {first:,} to {last:,} were"
        raise EntryRemoved(self.place, f"{what} removed", first, last)

    def _refuse_double(self, *entries: tuple[Row, type[Entry]]) -> None:
        forged = [(row, model) for row, model in entries if _problem(model, row)]
        row, model = (forged or entries)[-1]
        which = _name(model, row) if len(forged) == 1 else "one of them"
        names = " and ".join(_name(model, row) for row, model in entries)
        raise EntrySlippedIn(
            self.place, f"{names} have one number, and {which} was slipped in", *_facts(model, row)
        )

    def _refuse_outside(self, condition: str, where: str) -> None:
        """Refuse an entry whose number no recorded entry can have."""
        numbers = " union all ".join(
            f"select {number} as model_number, entry_id from {model._meta.db_table} where {condition}"
            for number, model in enumerate(ENTRY_MODELS)
        )
        found = _fetch(self.place, f"select * from ({numbers}) as outside order by entry_id limit 1")
        for number, entry_id in found:
            model = ENTRY_MODELS[number]
            rows = _fetch(self.place, f"{_selection(model)} where entry_id = %s", [entry_id])
            name = _name(model, rows[0]) if rows else f"an entry numbered {_shown(entry_id)}"
            facts = _facts(model, rows[0]) if rows else ()
            raise EntrySlippedIn(self.place, f"{name} stands {where}, where none was recorded", *facts)

    def _rows(self, model: type[Entry], after: int, upto: int) -> list[Row]:
        return _fetch(
            self.place,
            f"{_selection(model)} where entry_id > %s and entry_id <= %s order by entry_id",
            [after, upto],
        )


class _Chain:
    """Follows the links over the digests of entries, which come in order; ``digest`` is the newest link's."""

    def __init__(self, place: str, after: Head) -> None:
        self.place = place
        self.digest = after.chain_digest
        self.links = 0
        self._first_entry_id = after.entry_id + 1
        self._upcoming = self._read_links(after.entry_id)
        self._link: tuple[int, int, bytes] | None = None
        self._digests: list[bytes] = []

    def take(self, digests: Sequence[bytes]) -> None:
        """Go on with the digests of the next entries; raise `LinkBroken` where a link does not hold them."""
        taken = 0
        while taken < len(digests):
            first, last, digest = self._link = self._link or self._next_link()
            wanted = last - first + 1 - len(self._digests)
            self._digests += digests[taken : taken + wanted]
            taken += wanted
            if len(self._digests) == last - first + 1:
                self._close(first, last, digest)

    def _close(self, first: int, last: int, digest: bytes) -> None:
        if link_digest(self.digest, first, last, self._digests) != digest:
            self._refuse(first, last)
        self.digest = digest
        self.links += 1
        self._first_entry_id = last + 1
        self._link = None
        self._digests.clear()

    def _refuse(self, first: int, last: int) -> None:
        finding = (
            "the link over {} does not follow from it and the link before, so an entry or a link was altered"
            " and a digest computed again"
        )
        if first < last:
            raise LinkBroken(self.place, finding.format(f"the entries {first:,} to {last:,}"), first, last)
        for model in ENTRY_MODELS:
            for row in _fetch(self.place, f"{_selection(model)} where entry_id = %s", [first]):
                raise LinkBroken(self.place, finding.format(_name(model, row)), *_facts(model, row))

    def _next_link(self) -> tuple[int, int, bytes]:
        """The link that begins where the last one ended; raise `LinkBroken` where there is none."""
        expected = self._first_entry_id
        first, last, digest = next(self._upcoming, (None, None, None))
        if [type(value) for value in (first, last, digest)] != [int, int, bytes]:
            raise LinkBroken(self.place, f"entry {expected:,} stands in no link of the chain", expected)
        if first > expected:
            raise LinkBroken(
                self.place,
                f"the link that began with entry {expected:,} was removed or altered",
                expected,
                first - 1,
            )
        if first < expected or not 0 <= last - first < ENTRIES_PER_LINK:
            raise LinkBroken(
                self.place,
                f"a link over the entries {first:,} to {last:,} was slipped in or altered",
                first,
                last,
            )
        return first, last, digest

    def _read_links(self, after: int) -> Iterator[tuple[object, object, object]]:
        while True:
            links = _fetch(
                self.place,
                f"select first_entry_id, last_entry_id, digest from {_LINKS} where last_entry_id > %s"
                f" order by last_entry_id limit {_LINKS_PER_READ}",
                [after],
            )
            if not links:
                return
            yield from links
            after = links[-1][1]


def _selection(model: type[Entry]) -> str:
    columns = ", ".join(map(connection.ops.quote_name, ("entry_id", "digest", *digest_columns(model))))
    return f"select {columns} from {model._meta.db_table}"


def _fetch(place: str, query: str, parameters: Sequence[object] = ()) -> list[Row]:
    """All rows of a short query. A text of SQLite that is not UTF-8 comes with its bytes escaped."""
    try:
        with connection.cursor() as cursor:
            try:
                cursor.execute(query, parameters)
                return cursor.fetchall()
            except OperationalError as error:
                if "Could not decode" not in str(error):
                    raise
                connection.connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                try:
                    return cursor.execute(query, parameters).fetchall()
                finally:
                    connection.connection.text_factory = str
    except DatabaseError as error:
        if connection.vendor == "postgresql" and isinstance(error, OperationalError):
            raise LedgerNotReached(place, first_line(error)) from error
        if "locked" in str(error):
            raise
        raise LedgerUnreadable(place, f"the database cannot read it ({first_line(error)})") from error


def _are_sound(model: type[Entry], rows: list[Row]) -> bool:
    """Whether all of ``rows`` are as they were recorded; column by column, which is quicker."""
    for column, kind in zip(zip(*rows, strict=True), _kinds(model), strict=True):
        if set(map(type, column)) != {kind} or (kind is str and SEPARATOR in "".join(column)):
            return False
    try:
        return all(entry_digest(model.kind, row[0], row[2:]) == row[1] for row in rows)
    except UnicodeEncodeError:
        return False


def _problem(model: type[Entry], row: Row) -> str:
    """What is wrong with one entry; empty where it is as it was recorded."""
    names = ("entry_id", "digest", *digest_columns(model))
    for name, kind, value in zip(names, _kinds(model), row, strict=True):
        if type(value) is not kind:
            return f"its {name} is {_shown(value)}, where {_KIND_NAMES[kind]} was recorded"
        if kind is str and SEPARATOR in value:
            return f"its {name} holds a unit separator, which no text in the ledger may"
    try:
        if entry_digest(model.kind, row[0], row[2:]) != row[1]:
            return "its values do not give the digest that it was recorded with"
    except UnicodeEncodeError:
        return "one of its texts is not UTF-8"
    return ""


_KIND_NAMES = {int: "a whole number", str: "a text", bytes: "a digest"}


@cache
def _kinds(model: type[Entry]) -> tuple[type, ...]:
    """The types in which the databases give a row of ``model``."""
    fields = [model._meta.get_field(name) for name in digest_columns(model)]
    return (int, bytes, *(int if isinstance(field, BigIntegerField) else str for field in fields))


def _name(model: type[Entry], row: Row) -> str:
    """An entry, for people: its number, its kind and the transfer that it is about."""
    _, _, kind, transfer_id = _facts(model, row)
    about = kind.replace("_", " ")
    if transfer_id:
        about += f" {transfer_id}" if model is Transfer else f" of {transfer_id}"
    number = f"{row[0]:,}" if type(row[0]) is int else _shown(row[0])
    return f"entry {number} ({about})"


def _facts(model: type[Entry], row: Row) -> tuple[object, object, str, str | None]:
    """The first and last entry_id, kind and transfer_id of a finding about one entry."""
    transfer_id = None
    if "transfer_id" in digest_columns(model):
        value = row[2 + digest_columns(model).index("transfer_id")]
        transfer_id = value if isinstance(value, str) and value.isprintable() else _shown(value)
    return row[0], row[0], model.kind, transfer_id


def _shown(value: object) -> str:
    """A value of unknown origin, for people; shortened where it is long."""
    if value is None:
        return "empty"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:80] + '…'}"
