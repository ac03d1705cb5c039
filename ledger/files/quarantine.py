"""Bad rows of imported files: kept as they were sent, listed while they are open, dismissed with a reason.

Rows of history, which are not bad, are kept beside them (docs/cases.md, R25)."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from ledger.append import appending
from ledger.chunks import chunks, found_by
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.models import Batch, QuarantineDismissal, QuarantinedRow, StatusChange, Transfer
from ledger.rules import check_text, is_identifier

# The code of rows with a status from before the transfer's last one: they need no correction.
HISTORY = "HISTORY"
_ROWS_PER_QUERY = 1_000


class QuarantinedRowUnknown(PointsError):
    """No quarantined row has that entry."""

    code = "UNKNOWN_ENTRY"

    def __init__(self, entry_id: int) -> None:
        super().__init__(
            f"Entry {entry_id:,} is no quarantined row; `points quarantine` lists those that are open."
        )


class QuarantinedRowSettled(PointsError):
    """A quarantined row is open no more: it was dismissed, or its transfer was accepted since."""

    code = "ALREADY_SETTLED"

    def __init__(self, entry_id: int, finding: str) -> None:
        super().__init__(
            f"Quarantined row {entry_id:,} is settled: {finding}; there is nothing left to dismiss."
        )


class ReasonMissing(PointsError):
    """A quarantined row is to be dismissed without a reason."""

    code = "REASON_MISSING"

    def __init__(self, entry_id: int) -> None:
        super().__init__(f"Say why quarantined row {entry_id:,} will not come again, with --reason TEXT.")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A bad row as it is kept: ``row`` is a JSON object of what was sent, ``transfer_id`` as it was sent.

    ``row_number`` and ``line`` are where it stands in its file. ``code`` is that of the first rule that it
    breaks, ``column`` has every bad column (``points, occurred_at``), ``expected`` a line for each.
    """

    row_number: int
    line: int
    transfer_id: str
    row: str
    code: str
    column: str
    expected: str

    @property
    def known_id(self) -> str:
        """The ``transfer_id`` where it may be one, else empty: what no transfer can have settles nothing."""
        return self.transfer_id if is_identifier(self.transfer_id) else ""


@dataclass(frozen=True)
class BadValue:
    """A bad column of a row, '' where it is the row as a whole: what was sent, and what was expected."""

    column: str
    value: str
    expected: str


@dataclass(frozen=True)
class OpenRow:
    """A quarantined row that is open; ``row`` is a JSON object of what was sent, ``values`` the same read.

    ``bad_values`` are its bad columns, one at least; ``column``, ``value`` and ``expected`` have all of them
    in one text.
    """

    entry_id: int
    recorded_at: datetime
    batch_id: str
    file_name: str
    line: int
    transfer_id: str
    code: str
    bad_values: tuple[BadValue, ...]
    row: str
    values: dict[str, str]

    @property
    def column(self) -> str:
        return ", ".join(bad.column for bad in self.bad_values)

    @property
    def value(self) -> str:
        return "; ".join(bad.value for bad in self.bad_values)

    @property
    def expected(self) -> str:
        return "; ".join(bad.expected for bad in self.bad_values)


def open_quarantined_rows(upto_entry_id: int | None = None) -> QuerySet[QuarantinedRow]:
    """The rows that are open, or were when the ledger stood at an entry: not dismissed, and no row of their
    ``transfer_id`` was accepted since. Those of history never are."""
    later = {"transfer_id": OuterRef("transfer_id"), "entry_id__gt": OuterRef("entry_id")}
    dismissals = QuarantineDismissal.objects.upto(upto_entry_id)
    changes = StatusChange.objects.upto(upto_entry_id).filter(**later)
    rows = QuarantinedRow.objects.upto(upto_entry_id).filter(
        ~Exists(dismissals.filter(quarantined_entry_id=OuterRef("entry_id"))),
        ~Exists(Transfer.objects.upto(upto_entry_id).filter(**later)),
        ~Exists(changes.exclude(batch_id="")),
    )
    return rows.exclude(code=HISTORY)


def list_open_rows(ledger: Ledger) -> Iterator[OpenRow]:
    """The open rows in the order of their entries.

    They are read page by page: a long read of SQLite would keep writers waiting.
    """
    after = 0
    while page := list(
        open_quarantined_rows().filter(entry_id__gt=after).order_by("entry_id")[:_ROWS_PER_QUERY]
    ):
        batch_ids = {row.batch_id for row in page}
        files = dict(Batch.objects.filter(batch_id__in=batch_ids).values_list("batch_id", "file_name"))
        for row in page:
            values = json.loads(row.row)
            yield OpenRow(
                entry_id=row.entry_id,
                recorded_at=row.recorded_at,
                batch_id=row.batch_id,
                file_name=files.get(row.batch_id, ""),
                line=row.line,
                transfer_id=values.get("transfer_id", ""),
                code=row.code,
                bad_values=tuple(
                    BadValue(column, values.get(column, ""), expected)
                    for column, expected in zip(row.column.split(", "), row.expected.split("\n"), strict=True)
                ),
                row=row.row,
                values=values,
            )
        after = page[-1].entry_id


def dismiss(ledger: Ledger, entry_id: int, reason: str) -> QuarantineDismissal:
    """Record why a quarantined row will not be corrected, and return that entry.

    Raises `ReasonMissing`, `QuarantinedRowUnknown`, `QuarantinedRowSettled`, and `ValueRefused` where the
    reason holds control characters.
    """
    reason = check_text("reason", reason.strip())
    if not reason:
        raise ReasonMissing(entry_id)
    with appending(ledger) as appender:
        row = QuarantinedRow.objects.filter(entry_id=entry_id).first()
        if row is None:
            raise QuarantinedRowUnknown(entry_id)
        earlier = QuarantineDismissal.objects.filter(quarantined_entry_id=entry_id).first()
        if earlier:
            raise QuarantinedRowSettled(
                entry_id, f"{earlier.recorded_by} dismissed it because of {earlier.reason!r}"
            )
        if row.code == HISTORY:
            raise QuarantinedRowSettled(entry_id, "it is history, which changes nothing")
        if not open_quarantined_rows().filter(entry_id=entry_id).exists():
            raise QuarantinedRowSettled(entry_id, f"a row of transfer {row.transfer_id} was accepted since")
        return appender.append(QuarantineDismissal(quarantined_entry_id=entry_id, reason=reason))


def rows_to_keep(rows: Iterable[Quarantined]) -> set[int]:
    """The row numbers of those ``rows`` that are not kept already, each once.

    Rows of the same text and the same code are the same.
    """
    wanted: set[int] = set()
    seen: set[bytes] = set()
    looked_up: set[str] = set()
    for page in chunks(rows):
        ids = {row.known_id for row in page} - looked_up
        looked_up |= ids
        before = found_by(QuarantinedRow.objects.values_list("row", "code"), "transfer_id", ids)
        seen.update(_key(row, code) for row, code in before)
        for row in page:
            key = _key(row.row, row.code)
            if key not in seen:
                seen.add(key)
                wanted.add(row.row_number)
    return wanted


def _key(row: str, code: str) -> bytes:
    return hashlib.sha256(f"{code}\n{row}".encode()).digest()
