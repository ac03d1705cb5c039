"""Lists of transfers: filtered, ordered, page by page, each row as the ledger has it when it is asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, islice
from typing import ClassVar

from django.db import connection
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from ledger.chunks import chunks
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import UnknownTransfer
from ledger.links import ledger_head
from ledger.lists.filters import (
    POINTS_DIGITS,
    ChoiceFilter,
    Condition,
    ListForm,
    MomentFilter,
    MonthFilter,
    PointsFilter,
    TextFilter,
    YesNoFilter,
    all_of,
)
from ledger.lists.paging import DEFAULT_PAGE_SIZE, Order, Page, Read, parse_order, read_page, reading
from ledger.lists.parquet_search import FileSearch, Postings, cut_files
from ledger.lists.streaming import ROWS_PER_READ, streamed
from ledger.models import INDEXED_CHARACTERS, STATUSES, STYLES, Batch, Transfer
from ledger.rules import currencies, is_identifier, reasons
from ledger.statuses import began_unapproved, with_standing
from ledger.unrevoked import has_revocations, unrevoked_points
from ledger.zones import Zone

# Brings the cut up to the ledger's end, where it can: a build holds the lock that this needs.
Freeze = Callable[[Ledger], object]

# So many entries the database looks through as fast as DuckDB is ready to begin.
ENTRIES_IN_LEDGER = 200_000
# Of so many transfers at most the ledger is asked one by one whether they are revoked.
_LOOKED_AT_FIRST = 2_000
# So many may have come since the ledger was last frozen.
ENTRIES_BESIDE_CUT = 100_000
SORTS = ("entry_id", "occurred_at", "points", "relation_reference", "transfer_id")
DEFAULT_SORT = "-entry_id"
BUCKETS = ("earned", "reversal", "redeemed", "expired")


class BuildNeeded(PointsError):
    """A filter asks what only a build of months knows, and there is none of this ledger."""

    code = "BUILD_NEEDED"

    def __init__(self, filters: Sequence[str], finding: str) -> None:
        super().__init__(
            f"To which bucket and month a transfer posts, a build of the months says, and {finding}; run"
            f" `points build`, or leave out the filter {' and '.join(filters)}."
        )
        self.filters = tuple(filters)


@dataclass(frozen=True)
class ListedTransfer:
    """A transfer in its current state: ``status`` is its newest, ``revoked_points`` what is revoked of it."""

    entry_id: int
    transfer_id: str
    relation_reference: str
    currency: str
    style: str
    points: Decimal
    reason: str
    status: str
    first_status: str
    occurred_at: datetime
    recorded_at: datetime
    recorded_by: str
    reverses_transfer_id: str
    revoked_points: Decimal
    batch_id: str
    external_reference: str
    comment: str

    @property
    def unrevoked_points(self) -> Decimal:
        """What is left to revoke; below zero where files revoked more than there was."""
        return self.points - self.revoked_points

    @property
    def is_revoked(self) -> bool:
        """Whether any of it is revoked now."""
        return self.revoked_points != 0


TRANSFER_COLUMNS = tuple(field.name for field in fields(ListedTransfer))
# What of them the query of a list gives.
_QUERIED = {"status": "current_status", "first_status": "status"}
_COLUMNS = tuple(_QUERIED.get(name, name) for name in TRANSFER_COLUMNS if name != "revoked_points")
_REVOKED_POINTS = TRANSFER_COLUMNS.index("revoked_points")
_ID, _POINTS = _COLUMNS.index("transfer_id"), _COLUMNS.index("points")


class TransferFilters(ListForm):
    """What transfers are wanted; dates are those of ``zone``. Those that compare are of columns that never
    change."""

    compared: ClassVar = {
        "relation": ("relation_reference", "="),
        "reason": ("reason", "="),
        "style": ("style", "="),
        "currency": ("currency", "="),
        "from": ("occurred_at", ">="),
        "to": ("occurred_at", "<"),
        "min_points": ("points", ">="),
        "max_points": ("points", "<="),
    }

    def __init__(self, filters: Mapping[str, str], zone: Zone) -> None:
        super().__init__(filters)
        self.fields |= {
            "relation": TextFilter(),
            "relation_prefix": TextFilter(),
            "external_reference": TextFilter(),
            "status": ChoiceFilter(STATUSES),
            "reason": ChoiceFilter(sorted({reason for reason, _ in reasons()})),
            "style": ChoiceFilter(STYLES),
            "bucket": ChoiceFilter(BUCKETS),
            "currency": ChoiceFilter(currencies()),
            "batch": TextFilter(),
            "from": MomentFilter(zone),
            "to": MomentFilter(zone, is_end=True),
            "min_points": PointsFilter(POINTS_DIGITS),
            "max_points": PointsFilter(POINTS_DIGITS),
            "posted_month": MonthFilter(),
            "revoked": YesNoFilter(),
        }

    def is_indexed(self, order: Order) -> bool:
        """Whether the ledger's indexes lead to the rows in ``order`` without a look at all of them."""
        asked = set(self.asked())
        if asked & {"relation", "batch", "external_reference"} or self.asked().get("status") in _FEW:
            return True
        if order.field == "relation_reference":
            return asked <= {"relation_prefix"}
        return not asked and order.field in ("entry_id", "transfer_id")

    def queryset(self) -> QuerySet[Transfer]:
        """The transfers that are asked for, with how they stand; of those that are (not) revoked all that may
        be. Raises `FilterUnknown` and `FilterInvalid`."""
        rows = with_standing(Transfer.objects.filter(all_of(self.conditions())))
        asked = self.asked()
        if batch_id := asked.get("batch"):
            rows = rows.filter(_of_batch(batch_id))
        if reference := asked.get("external_reference"):
            rows = rows.filter(_has_reference(reference))
        if status := asked.get("status"):
            rows = rows.filter(current_status=status)
            if status != "approved":
                # Approved is final, so that only few need a look.
                rows = began_unapproved(rows)
        if asked.get("revoked"):
            rows = rows.filter(has_revocations())
        return rows

    def takes(self, transfer: ListedTransfer) -> bool:
        """Whether ``transfer`` is as it is wanted where only the row itself says: a revocation may itself be
        revoked or cancelled."""
        is_revoked = self.asked().get("revoked")
        return is_revoked is None or transfer.is_revoked == is_revoked


# Only what began by waiting can be any of these.
_FEW = ("pending", "on_hold", "cancelled")


def list_transfers(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    limit: int = DEFAULT_PAGE_SIZE,
    after: str = "",
    before: str = "",
    postings: Postings | None = None,
    freeze: Freeze | None = None,
) -> Page[ListedTransfer]:
    """A page of at most ``limit`` transfers after, or before, a cursor.

    ``filters`` are text by name (`TransferFilters`); a date alone in ``from`` and ``to`` is its whole day in
    the programme's zone, an instant in ``to`` is the first one left out. ``sort`` is one of `SORTS`, with a
    ``-`` before it for the largest first. ``postings``, of closed months or a build, are needed by ``bucket``
    and ``posted_month``. ``freeze`` brings the cut of a large ledger up to date where it lags far behind.
    Raises `FilterUnknown`, `FilterInvalid`, `SortUnknown`, `CursorInvalid` and `BuildNeeded`.
    """
    form, order = _asked(ledger, filters, sort, postings)
    if postings:
        read = _reading_files(form, _in_months(form, order, postings))
    elif search := _in_cut(ledger, form, order, freeze):
        newest = form.queryset().filter(entry_id__gt=search.entry_id)
        read = _merged(_reading_files(form, search), reading(newest, order, _listed), order)
    else:
        read = reading(form.queryset(), order, _listed)
    return read_page(read, order, limit, after, before, form.takes)


def count_transfers(ledger: Ledger, filters: Mapping[str, str], postings: Postings | None = None) -> int:
    """How many transfers a list has; raises what `list_transfers` does."""
    form, _ = _asked(ledger, filters, DEFAULT_SORT, postings)
    if postings or "revoked" in form.asked():
        return sum(1 for _ in every_listed_transfer(ledger, filters, postings=postings))
    return form.queryset().count()


def every_listed_transfer(
    ledger: Ledger, filters: Mapping[str, str], sort: str = DEFAULT_SORT, postings: Postings | None = None
) -> Iterator[ListedTransfer]:
    """All transfers of the list, in its order and in bounded memory; what is recorded later is left out.

    Arguments and errors are those of `list_transfers`, which are raised before the first row.
    """
    form, order = _asked(ledger, filters, sort, postings)
    rows = form.queryset()
    if postings:
        found = _in_months(form, order, postings).entries("", backwards=False, size=None)
        parts = (_of_entries(rows, entries) for entries in found)
    else:
        parts = map(_with_revoked, chunks(streamed(ledger, _values(order.applied(rows))), ROWS_PER_READ))
    transfers = chain.from_iterable(parts)
    return filter(form.takes, transfers) if "revoked" in form.asked() else transfers


def selected_transfers(transfer_ids: Sequence[str]) -> list[ListedTransfer]:
    """The transfers of these ids, in their order, each once; raise `UnknownTransfer`."""
    wanted = list(dict.fromkeys(transfer_ids))
    found = {transfer.transfer_id: transfer for transfer in read_transfers(wanted)}
    for transfer_id in wanted:
        if transfer_id not in found:
            raise UnknownTransfer(transfer_id)
    return [found[transfer_id] for transfer_id in wanted]


def read_transfers(transfer_ids: Iterable[str]) -> list[ListedTransfer]:
    """The transfers of these ids that the ledger has, in no order."""
    return [
        transfer
        for chunk in chunks(filter(is_identifier, transfer_ids))
        for transfer in _listed(with_standing(Transfer.objects.filter(transfer_id__in=chunk)))
    ]


def _asked(
    ledger: Ledger, filters: Mapping[str, str], sort: str, postings: Postings | None
) -> tuple[TransferFilters, Order]:
    form = TransferFilters(filters, ledger.settings.zone)
    by_build = [name for name in ("bucket", "posted_month") if name in form.asked()]
    order = parse_order(sort, Transfer, SORTS, ("entry_id",))
    if by_build and postings is None:
        raise BuildNeeded(by_build, "none was named")
    return form, order


def _of_batch(batch_id: str) -> Q:
    """Of a batch; and, where it is known, between which entries those are."""
    batch = Batch.objects.filter(batch_id=batch_id).first()
    bounds = Q(entry_id__gte=batch.entry_id, entry_id__lte=batch.last_entry_id) if batch else Q()
    return Q(batch_id=batch_id) & bounds


def _has_reference(reference: str) -> RawSQL:
    """That the external reference is this text, by the index of their beginnings."""
    function = "left(transfers.external_reference, {})"
    if connection.vendor == "sqlite":
        function = "substr(transfers.external_reference, 1, {})"
    beginning = function.format(INDEXED_CHARACTERS)
    # Compared as it is, SQLite would put the text into the first two conditions, and find no index for them.
    return RawSQL(
        f"(not (transfers.external_reference = '') and {beginning} = %s"
        " and transfers.external_reference || '' = %s)",
        [reference[:INDEXED_CHARACTERS], reference],
        output_field=BooleanField(),
    )


def _in_months(form: TransferFilters, order: Order, postings: Postings) -> FileSearch:
    bucket = form.asked().get("bucket")
    conditions = [*form.conditions(), *([Condition("bucket", "=", bucket)] if bucket else [])]
    return FileSearch(postings.files, postings.entry_id, conditions, order)


def _in_cut(ledger: Ledger, form: TransferFilters, order: Order, freeze: Freeze | None) -> FileSearch | None:
    """A search in the cut; None where the ledger finds the rows itself: it is small, an index leads to them,
    or there is no cut."""
    newest = ledger_head().entry_id
    if newest <= ENTRIES_IN_LEDGER or form.is_indexed(order):
        return None
    files, entry_id = cut_files(ledger.settings.home)
    if freeze and newest - entry_id > ENTRIES_BESIDE_CUT:
        freeze(ledger)
        files, entry_id = cut_files(ledger.settings.home)
    if not files:
        return None
    are_revoked = form.asked().get("revoked", False)
    since = Transfer.objects.filter(entry_id__gt=entry_id, reason="revocation").order_by()
    also_revoked = list(since.values_list("reverses_transfer_id", flat=True)) if are_revoked else ()
    return FileSearch(files, entry_id, form.conditions(), order, are_revoked, also_revoked)


def _reading_files(form: TransferFilters, search: FileSearch) -> Read:
    rows = form.queryset()

    def entries(search: FileSearch, cursor: str, backwards: bool, size: int) -> list[int]:
        found = search.entries(cursor, backwards, size)
        first = next(found, [])
        found.close()
        return first

    def read(cursor: str, backwards: bool, size: int) -> tuple[list[ListedTransfer], str]:
        if search.are_revoked:
            # Mostly there are enough among the next few, and the ledger's index says of each whether it is.
            some = entries(replace(search, are_revoked=False), cursor, backwards, _LOOKED_AT_FIRST)
            found = list(islice(_each_of_entries(rows, some), size))
            if len(found) == size:
                return found, search.order.cursor(found[-1])
            if len(some) < _LOOKED_AT_FIRST:
                return found, ""
        next_entries = entries(search, cursor, backwards, size)
        is_last = len(next_entries) < size
        last = "" if is_last else search.order.cursor(Transfer.objects.get(entry_id=next_entries[-1]))
        return list(_each_of_entries(rows, next_entries)), last

    return read


def _merged(one: Read, other: Read, order: Order) -> Read:
    """Reads two sets of rows as one."""

    def read(cursor: str, backwards: bool, size: int) -> tuple[list[ListedTransfer], str]:
        descending = order.descending != backwards
        found, ways_on = [], []
        for part, way_on in (one(cursor, backwards, size), other(cursor, backwards, size)):
            found += part
            ways_on += [way_on] if way_on else []
        found.sort(key=order.key_of, reverse=descending)
        if not ways_on:
            return found, ""
        # What lies beyond the nearer of the two ends may lack rows of the other.
        end = (max if descending else min)(map(order.values, ways_on))
        kept = [
            row for row in found if (order.key_of(row) >= end if descending else order.key_of(row) <= end)
        ]
        return kept, next(way_on for way_on in ways_on if order.values(way_on) == end)

    return read


def _each_of_entries(rows: QuerySet[Transfer], entries: Sequence[int]) -> Iterator[ListedTransfer]:
    """Those of ``rows`` whose entries these are, in their order; some at a time."""
    for chunk in chunks(entries):
        yield from _of_entries(rows, chunk)


def _of_entries(rows: QuerySet[Transfer], entries: Sequence[int]) -> list[ListedTransfer]:
    """Those of ``rows`` whose entries these are, in their order."""
    found = {transfer.entry_id: transfer for transfer in _listed(rows.filter(entry_id__in=entries))}
    return [found[entry_id] for entry_id in entries if entry_id in found]


def _listed(rows: QuerySet[Transfer]) -> list[ListedTransfer]:
    """The few rows of a page: PostgreSQL would look for all revocations at once to know which have any."""
    return _with_revoked([(True, *row) for row in rows.values_list(*_COLUMNS)])


def _values(rows: QuerySet[Transfer]) -> QuerySet:
    """The values of many rows, each after whether it has revocations."""
    return rows.annotate(has_revocations=has_revocations()).values_list("has_revocations", *_COLUMNS)


def _with_revoked(part: Sequence[tuple]) -> list[ListedTransfer]:
    """The rows of a list, from what `_values` gives."""
    unrevoked = unrevoked_points(row[_ID] for has_revocations, *row in part if has_revocations)
    return [
        ListedTransfer(
            *row[:_REVOKED_POINTS],
            row[_POINTS] - unrevoked.get(row[_ID], row[_POINTS]),
            *row[_REVOKED_POINTS:],
        )
        for _, *row in part
    ]
