"""Lists of transfers: filtered, ordered, page by page, each row as the ledger has it when it is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from itertools import islice

from django.db import connection

from ledger.acts.revocations import UnknownTransfer, unrevoked_points
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.fields import from_microseconds, from_units
from ledger.lists.cut_files import Freeze
from ledger.lists.list_requests import (
    Condition,
    Page,
    Sort,
    check_filters,
    check_page_size,
    decode_cursor,
    encode_cursor,
    is_code,
    is_stored_number,
    one_of,
    parse_amount,
    parse_end,
    parse_month,
    parse_sort,
    parse_start,
    prefix_conditions,
    yes_or_no,
)
from ledger.lists.transfer_search import SORTS, Key, Postings, Question, find_keys
from ledger.models import STATUSES, STYLES, Batch
from ledger.rules import currencies, is_identifier, reasons

FILTERS = (
    "relation",
    "relation_prefix",
    "status",
    "reason",
    "style",
    "bucket",
    "currency",
    "batch",
    "from",
    "to",
    "min_points",
    "max_points",
    "posted_month",
    "revoked",
)
BUCKETS = ("earned", "reversal", "redeemed", "expired")
DEFAULT_SORT = "-entry_id"
DEFAULT_PAGE_SIZE = 50

_POINTS_DIGITS = 14
_ROWS_PER_READ = 500

_ROWS = """
    select
        t.entry_id, t.transfer_id, t.relation_reference, t.currency, t.style, t.points, t.reason,
        coalesce(
            (
                select c.status from status_changes as c
                where c.transfer_id = t.transfer_id
                order by c.entry_id desc
                limit 1
            ),
            t.status
        ),
        t.status, t.occurred_at, t.recorded_at, t.recorded_by, t.reverses_transfer_id, t.batch_id,
        t.external_reference, t.comment
    from transfers as t
    where t.{column} in ({values})
"""


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


def list_transfers(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    limit: int = DEFAULT_PAGE_SIZE,
    after: str | None = None,
    postings: Postings | None = None,
    freeze: Freeze | None = None,
) -> Page[ListedTransfer]:
    """A page of at most ``limit`` transfers after the cursor ``after``.

    ``filters`` are text by name (`FILTERS`); a date alone in ``from`` and ``to`` is its whole day in the
    programme's zone, an instant in ``to`` is the first one left out. ``sort`` is one of
    `transfer_search.SORTS`, with a ``-`` before it for the largest first. ``postings`` are a build's,
    needed by ``bucket`` and ``posted_month``. ``freeze`` brings the cut of a large ledger up to date; without
    it, what the cut lacks is looked for in the ledger. Raises `FilterUnknown`, `FilterInvalid`,
    `SortUnknown`, `CursorInvalid` and `BuildNeeded`.
    """
    request = _parse(ledger, filters, sort, postings)
    check_page_size(limit)
    key = _decode_key(after, request.order, sort) if after else None
    found = list(islice(_transfers(ledger, request, key, limit + 1, postings, freeze), limit + 1))
    rows = [transfer for _, transfer in found[:limit]]
    return Page(rows, encode_cursor(sort, found[limit - 1][0]) if len(found) > limit else None)


def every_listed_transfer(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    postings: Postings | None = None,
    freeze: Freeze | None = None,
) -> Iterator[ListedTransfer]:
    """All transfers of the list, in its order and in bounded memory; what is recorded later is left out.

    Arguments and errors are those of `list_transfers`, which are raised before the first row.
    """
    request = _parse(ledger, filters, sort, postings)
    return (transfer for _, transfer in _transfers(ledger, request, None, None, postings, freeze))


def selected_transfers(transfer_ids: Sequence[str]) -> list[ListedTransfer]:
    """The transfers of these ids, in their order, each once; raise `UnknownTransfer`."""
    wanted = list(dict.fromkeys(transfer_ids))
    found = {transfer.transfer_id: transfer for transfer in read_transfers("transfer_id", wanted)}
    for transfer_id in wanted:
        if transfer_id not in found:
            raise UnknownTransfer(transfer_id)
    return [found[transfer_id] for transfer_id in wanted]


def read_transfers(column: str, values: Iterable[object]) -> list[ListedTransfer]:
    """The transfers whose ``column``, `entry_id` or `transfer_id`, is one of ``values``, in no order."""
    wanted = list(filter(is_identifier, values) if column == "transfer_id" else values)
    found: list[ListedTransfer] = []
    for start in range(0, len(wanted), _ROWS_PER_READ):
        chunk = wanted[start : start + _ROWS_PER_READ]
        query = _ROWS.format(column=column, values=", ".join(["%s"] * len(chunk)))
        with connection.cursor() as cursor:
            cursor.execute(query, chunk)
            rows = cursor.fetchall()
        unrevoked = unrevoked_points(row[1] for row in rows)
        found += (_listed(row, unrevoked[row[1]]) for row in rows)
    return found


def _listed(row: tuple, unrevoked: Decimal) -> ListedTransfer:
    points = from_units(row[5])
    return ListedTransfer(
        *row[:5],
        points,
        *row[6:9],
        from_microseconds(row[9]),
        from_microseconds(row[10]),
        *row[11:13],
        points - unrevoked,
        *row[13:],
    )


@dataclass(frozen=True)
class _Request:
    """What is asked: ``conditions`` lead to the entries, ``checks`` are held against each row then read."""

    conditions: tuple[Condition, ...]
    checks: tuple[Condition, ...]
    order: Sort


def _parse(ledger: Ledger, filters: Mapping[str, str], sort: str, postings: Postings | None) -> _Request:
    conditions: list[Condition] = []
    checks: list[Condition] = []
    zone = ledger.settings.zone
    known = check_filters(filters, FILTERS)
    for name, value in known.items():
        match name:
            case "relation":
                conditions.append(Condition("relation_reference", "=", value))
            case "relation_prefix":
                conditions += prefix_conditions("relation_reference", value)
            case "status":
                conditions.append(Condition("status", "=", one_of(name, value, STATUSES)))
                if value != "approved":
                    # Approved is final, so that only few need a look.
                    conditions.append(Condition("began_unapproved", "=", True))
            case "reason":
                known_reasons = sorted({reason for reason, _ in reasons()})
                conditions.append(Condition("reason", "=", one_of(name, value, known_reasons)))
            case "style":
                conditions.append(Condition("style", "=", one_of(name, value, STYLES)))
            case "bucket":
                conditions.append(Condition("bucket", "=", one_of(name, value, BUCKETS)))
            case "currency":
                conditions.append(Condition("currency", "=", one_of(name, value, currencies())))
            case "batch":
                found = _batch_conditions(value)
                # A build's files do not name batches, but entries.
                conditions += found[1:] if postings else found
                checks += found[:1] if postings else []
            case "from":
                conditions.append(Condition("occurred_at", ">=", parse_start(name, value, zone)))
            case "to":
                conditions.append(Condition("occurred_at", "<", parse_end(name, value, zone)))
            case "min_points":
                conditions.append(Condition("points", ">=", parse_amount(name, value, _POINTS_DIGITS)))
            case "max_points":
                conditions.append(Condition("points", "<=", parse_amount(name, value, _POINTS_DIGITS)))
            case "posted_month":
                parse_month(name, value)
            case "revoked":
                is_revoked = yes_or_no(name, value)
                # A revocation may itself be revoked or cancelled: what is left, only the row says.
                checks.append(Condition("is_revoked", "=", is_revoked))
                if is_revoked:
                    conditions.append(Condition("has_revocations", "=", True))
    order = parse_sort(sort, SORTS)
    by_build = [name for name in ("bucket", "posted_month") if name in known]
    if by_build and postings is None:
        raise BuildNeeded(by_build, "none was named")
    return _Request(tuple(conditions), tuple(checks), order)


def _batch_conditions(batch_id: str) -> list[Condition]:
    """That a transfer is of a batch; and, where it is known, between which entries those are."""
    conditions = [Condition("batch_id", "=", batch_id)]
    batch = Batch.objects.filter(batch_id=batch_id).first()
    if batch:
        conditions.append(Condition("entry_id", ">=", batch.entry_id))
        conditions.append(Condition("entry_id", "<=", batch.last_entry_id))
    return conditions


def _transfers(
    ledger: Ledger,
    request: _Request,
    after: Key | None,
    wanted: int | None,
    postings: Postings | None,
    freeze: Freeze | None,
) -> Iterator[tuple[Key, ListedTransfer]]:
    """The transfers after a key, each with its own; ``wanted`` is how many are needed, None for all."""
    question = Question(request.conditions, request.order)
    # Where not all that are found will do, more of them are looked for at once.
    likely = max(wanted, _ROWS_PER_READ) if wanted and request.checks else wanted
    keys = find_keys(ledger, question, after, likely, postings, freeze)
    while chunk := list(islice(keys, wanted or _ROWS_PER_READ)):
        found = {
            transfer.entry_id: transfer
            for transfer in read_transfers("entry_id", [entry_id for _, entry_id in chunk])
        }
        for key in chunk:
            if all(check.matches(found[key[1]]) for check in request.checks):
                yield key, found[key[1]]


def _decode_key(text: str, order: Sort, sort: str) -> Key:
    is_value = is_code if SORTS[order.field] is str else is_stored_number
    value, entry_id = decode_cursor(text, sort, (is_value, is_stored_number))
    return value, entry_id
