"""Many transfers in one request, all or nothing (docs/design.md, section 10; docs/cases.md, C7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from ledger.acts.pairs import is_give_of_pair
from ledger.acts.repeated_customers import RepeatedCustomer, find_repeated_customers, find_repeated_rows
from ledger.acts.transfer_requests import TransferRequest, checked_move, checked_transfer
from ledger.acts.transfers import (
    JudgedTransfers,
    RecordedTransfer,
    append_transfers,
    judge_transfers,
)
from ledger.amounts import summed
from ledger.append import appending
from ledger.data_files import connect, fetch_rows
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import Difference, IdConflict, given_or_new_id, known_batch
from ledger.models import Batch, Transfer
from ledger.refusals import Problem, SeveralRefused
from ledger.rules import check_identifier

_NEEDED = ("relation_reference", "points")
_OPTIONAL = (
    *("transfer_id", "style", "reason", "currency", "occurred_at"),
    *("external_reference", "comment", "to_relation_reference"),
)


class WrongFieldCount(PointsError):
    """A row of a file has more or fewer fields than its header (docs/cases.md, F7)."""

    code = "FIELDS"

    def __init__(self) -> None:
        super().__init__("FIELDS: the row has more or fewer fields than the header; give it as many.")


@dataclass(frozen=True)
class MassRow:
    """One transfer of a mass.

    ``line`` is that of the file, or the position from 1; ``place`` says it for people. ``error`` is why it is
    no row at all.
    """

    line: int
    place: str
    request: TransferRequest
    error: PointsError | None = None


@dataclass(frozen=True)
class MassFile:
    """A file of transfers as it was sent; ``sha256`` is hexadecimal."""

    name: str
    sha256: str
    rows: tuple[MassRow, ...]


@dataclass(frozen=True)
class MassOutcome:
    """The result of a mass; ``batch_id`` is empty where every row was known and nothing was recorded."""

    mass_id: str
    batch_id: str
    transfers: tuple[RecordedTransfer, ...]

    @property
    def added_count(self) -> int:
        """How many transfers the request added."""
        return sum(not transfer.was_known for transfer in self.transfers)

    @property
    def repeated_customers(self) -> tuple[RepeatedCustomer, ...]:
        """The customers that have more than one of its transfers (docs/cases.md, C15)."""
        return find_repeated_customers(self.transfers)

    @property
    def points_by_currency(self) -> dict[str, Decimal]:
        """The points of all its transfers, given, deducted or moved, by currency; a move counts once."""
        counted = (transfer for transfer in self.transfers if not is_give_of_pair(transfer))
        return summed((transfer.currency, transfer.points) for transfer in counted)


def mass_rows(request: TransferRequest, relation_references: Sequence[str]) -> tuple[MassRow, ...]:
    """The same transfer for each of the customers."""
    return tuple(
        MassRow(position, reference, replace(request, relation_reference=reference))
        for position, reference in enumerate(relation_references, 1)
    )


def read_mass_file(path: Path, defaults: TransferRequest) -> MassFile:
    """The transfers of a CSV, CSV.gz or Parquet file; a value that a row lacks comes from ``defaults``.

    Columns: relation_reference and points; style, unless ``defaults`` say it; transfer_id, reason, currency,
    occurred_at, external_reference and comment where wanted. A row that has a to_relation_reference is a
    move: it has no style, and neither style nor reason of ``defaults`` are for it. Raises
    `TransfersFileRefused` (docs/cases.md, F1 to F14).
    """
    # A single transfer must not wait for DuckDB to be imported.
    from ledger.files.file_rows import FileShape, load_rows
    from ledger.files.transfers_file import TransfersFileRefused, sent_file

    shape = FileShape(_NEEDED, _OPTIONAL)
    with connect() as database:
        loaded = load_rows(database, sent_file(path), shape)
        if not (defaults.style or {"style", "to_relation_reference"} & set(loaded.columns)):
            raise TransfersFileRefused(
                "HEADER",
                str(path),
                "has neither a column 'style' nor 'to_relation_reference'",
                "add style for what is given or deducted, or to_relation_reference for what is moved",
            )
        columns = ("row_number", "has_wrong_field_count", *shape.columns)
        found = list(fetch_rows(database, f"select {', '.join(columns)} from sent_rows order by row_number"))
    lines = loaded.lines(range(1, loaded.row_count + 1))
    rows = []
    for number, has_wrong_field_count, *values in found:
        said = {name: value for name, value in zip(shape.columns, values, strict=True) if value}
        # A required value that the row lacks stays empty, and is refused as empty.
        own = {"relation_reference": "", "points": ""} | said
        if "to_relation_reference" in said:
            own = {"style": "", "reason": ""} | own
        request = replace(defaults, **own)
        error = WrongFieldCount() if has_wrong_field_count else None
        rows.append(MassRow(lines[number], f"line {lines[number]:,}", request, error))
    return MassFile(path.name, loaded.sha256, tuple(rows))


def record_mass(
    ledger: Ledger,
    rows: Sequence[MassRow],
    *,
    mass_id: str = "",
    file_name: str = "",
    file_sha256: str = "",
    new: bool = False,
    allow_negative: bool = False,
    once_each: bool = False,
    dry_run: bool = False,
) -> MassOutcome:
    """Record every row as a transfer, or none.

    A row without a ``transfer_id`` of its own gets ``<mass_id>-<line>``; the ids of a move's two transfers
    begin with it. ``mass_id``, made where it is empty, is also the batch's. What the rows give and deduct is
    held against balances and the approval limit together. With ``once_each`` a customer may stand in one row
    alone. Raises `SeveralRefused` with every bad row; `IdConflict` where ``mass_id`` names another mass.
    """
    mass_id = given_or_new_id(mass_id, "M")
    transfers, problems = _checked_rows(ledger, rows, mass_id)
    if once_each:
        repeated = find_repeated_rows((row.place, transfer) for row, transfer in transfers)
        problems += [(transfers[position][0], error) for position, error in repeated.items()]
    says_when = all(transfer.occurred_at is not None for _, transfer in transfers)
    with appending(ledger, dry_run, says_when) as appender:
        judged = judge_transfers(
            appender, [transfer for _, transfer in transfers], new=new, allow_negative=allow_negative
        )
        problems += [(transfers[position][0], error) for position, error in judged.problems]
        # One of each row, which may be a move of two transfers; even a single one is reported with its line.
        by_line = {row.line: (row, error) for row, error in reversed(problems)}
        if by_line:
            found = (Problem(row.place, error) for _, (row, error) in sorted(by_line.items()))
            raise SeveralRefused(found, len(rows))
        is_known = _check_mass_id(mass_id, judged)
        batch_id = mass_id if is_known or judged.fresh else ""
        batches = {}
        if judged.fresh:
            batch = _batch(mass_id, judged, file_name, file_sha256)
            batches = {judged.fresh[0].transfer_id: batch}
        return MassOutcome(mass_id, batch_id, append_transfers(appender, judged, batches))


def _checked_rows(
    ledger: Ledger, rows: Sequence[MassRow], mass_id: str
) -> tuple[list[tuple[MassRow, Transfer]], list[tuple[MassRow, PointsError]]]:
    """The transfers of good rows, of a move its two, each with its row; and what is wrong with the others."""
    transfers, problems = [], []
    for row in rows:
        try:
            if row.error:
                raise row.error
            request = row.request
            if not request.transfer_id:
                row_id = check_identifier("TRANSFER_ID", "transfer_id", f"{mass_id}-{row.line}")
                request = replace(request, transfer_id=row_id)
            if request.to_relation_reference:
                transfers += [(row, half) for half in checked_move(ledger, request)]
            else:
                transfers.append((row, checked_transfer(ledger, request)))
        except PointsError as error:
            problems.append((row, error))
    return transfers, problems


def _check_mass_id(mass_id: str, judged: JudgedTransfers) -> bool:
    """Whether the mass is known; raises `IdConflict` where its id is, and it is not the very same mass."""
    known = known_batch(mass_id, "mass")
    if known is None:
        return False
    if judged.fresh or known.row_count != len(judged.asked):
        added = f"{len(judged.asked):,} rows, {len(judged.fresh):,} of them new"
        raise IdConflict(mass_id, [Difference("the mass", f"{known.row_count:,} rows", added)])
    return True


def _batch(mass_id: str, judged: JudgedTransfers, file_name: str, file_sha256: str) -> Batch:
    return Batch(
        batch_id=mass_id,
        origin="mass",
        file_name=file_name,
        file_sha256=file_sha256,
        row_count=len(judged.asked),
        added_count=len(judged.fresh),
        duplicate_count=len(judged.asked) - len(judged.fresh),
    )
