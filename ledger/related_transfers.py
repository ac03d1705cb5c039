"""The transfers of closed months that belong to the revocation chains of a run, for a build that starts
later.

The bucket of a revocation, and the unrevoked points of its original, may depend on transfers that are years
old. The ledger finds them through its indexes, at a cost that grows with the run's revocations and not with
history (docs/design.md, section 3). A revocation of May 2026 that revokes half of a give of June 2023 brings
along that give, and an earlier revocation of it.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import duckdb
from django.db import DatabaseError

from ledger.chunks import chunks, found_by
from ledger.cut import PARTS, TRANSFERS, Part, segment_files
from ledger.data_files import connect, fetch_whole, read_parquet
from ledger.database import Ledger, LedgerNotReached
from ledger.disk import why_not_written
from ledger.errors import PointsError, first_line
from ledger.identifiers import known_transfers
from ledger.models import WAITING, Entry, StatusChange, Transfer
from ledger.sql_text import literal
from ledger.unrevoked import revocations_of

_STATUS_CHANGES = next(part for part in PARTS if part.name == "status_changes")
_ROWS_PER_INSERT = 10_000


class RelatedTransfersNotWritten(PointsError):
    """The files for the build could not be written, or what they are made from could not be read."""

    code = "RELATED_TRANSFERS"

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"The transfers related to this run's revocations could not be written to {file}: {reason};"
            " nothing was lost, so fix that and run the same again."
        )


def write_related(
    ledger: Ledger,
    cut: Path,
    unposted_file: Path | None,
    opening_cutoff: int,
    upto_entry_id: int,
    transfers_file: Path,
    status_changes_file: Path,
) -> int:
    """Write what POINTS_RELATED_TRANSFERS and POINTS_RELATED_STATUS_CHANGES name; return how many transfers.

    The run reads the entries of ``cut`` above ``opening_cutoff`` and up to ``upto_entry_id``, and
    ``unposted_file``, which the close before it left. From the revocations among them this goes up to what
    they undo, to any depth, and down to every other revocation of anything found. Of that,
    ``transfers_file`` gets what ``opening_cutoff`` knew and ``unposted_file`` does not hold, and
    ``status_changes_file`` its status changes up to ``opening_cutoff``: Parquet with the columns of the
    cut's parts, in order of their entries, also where there is nothing. Raises `RelatedTransfersNotWritten`
    and `LedgerNotReached`.
    """
    try:
        with connect() as duck:
            level, own = _revocations_of_run(duck, cut, unposted_file, opening_cutoff, upto_entry_id)
            candidates = _connected(level, own, opening_cutoff, upto_entry_id) if opening_cutoff else iter(())
            before = (transfer for transfer in candidates if transfer.entry_id <= opening_cutoff)
            _create_table(duck, TRANSFERS)
            waited = []
            for chunk in chunks(before, _ROWS_PER_INSERT):
                _insert(duck, TRANSFERS, chunk)
                waited += [transfer.transfer_id for transfer in chunk if transfer.status in WAITING]
            if unposted_file:
                duck.execute(
                    "delete from transfers where transfer_id in"
                    f" (select transfer_id from {read_parquet(unposted_file)})"
                )
            _create_table(duck, _STATUS_CHANGES)
            known = StatusChange.objects.filter(entry_id__lte=opening_cutoff)
            for chunk in chunks(found_by(known, "transfer_id", waited), _ROWS_PER_INSERT):
                _insert(duck, _STATUS_CHANGES, chunk)
            duck.execute(
                "delete from status_changes where transfer_id not in (select transfer_id from transfers)"
            )
            _write(duck, _STATUS_CHANGES, status_changes_file)
            return _write(duck, TRANSFERS, transfers_file)
    except DatabaseError as error:
        raise LedgerNotReached(ledger.place, first_line(error)) from error
    except (duckdb.Error, OSError) as error:
        raise RelatedTransfersNotWritten(transfers_file, why_not_written(error)) from error


def _revocations_of_run(
    duck: duckdb.DuckDBPyConnection,
    cut: Path,
    unposted_file: Path | None,
    opening_cutoff: int,
    upto_entry_id: int,
) -> tuple[dict[str, str], set[str]]:
    """The revocations that the run reads, each with what it undoes, and those of the latter that it reads."""
    segments = read_parquet(segment_files(cut, TRANSFERS.name))
    entries = f"entry_id > {opening_cutoff} and entry_id <= {upto_entry_id}"
    is_revocation = "reason = 'revocation' and reverses_transfer_id is not null"
    duck.execute(
        "create temp table revocations as select transfer_id, reverses_transfer_id"
        f" from {segments} where {is_revocation} and {entries}"
    )
    if unposted_file:
        duck.execute(
            "insert into revocations select transfer_id, reverses_transfer_id"
            f" from {read_parquet(unposted_file)} where {is_revocation}"
        )
    own = fetch_whole(
        duck,
        f"select transfer_id from {segments} where {entries}"
        " and transfer_id in (select reverses_transfer_id from revocations)",
    )
    return dict(fetch_whole(duck, "from revocations")), {transfer_id for (transfer_id,) in own}


def _connected(
    level: dict[str, str], own: set[str], opening_cutoff: int, upto_entry_id: int
) -> Iterator[Transfer]:
    """The transfers in one revocation chain with the run's revocations (``level``, each with its original).

    Read level by level, as `revocations_of` does it. Each is returned once; files can make circles. Neither
    ``level`` is returned nor ``own``, the originals that the run reads itself, nor is the ledger asked for
    them: nearly all revocations undo something of their own month.
    """
    originals = set(level.values())
    found = level.keys() | own
    asked = level.keys() | originals
    neighbours = chain(_known(originals - found), revocations_of(asked, opening_cutoff))
    while True:
        level = {}
        for transfer in neighbours:
            if transfer.entry_id <= upto_entry_id and transfer.transfer_id not in found:
                found.add(transfer.transfer_id)
                asked.add(transfer.transfer_id)
                level[transfer.transfer_id] = transfer.revokes_transfer_id
                yield transfer
        if not level:
            return
        originals = set(filter(None, level.values())) - asked
        asked |= originals
        neighbours = chain(_known(originals), revocations_of(level))


def _known(transfer_ids: Iterable[str]) -> Iterator[Transfer]:
    """Those that the ledger has, some at a time."""
    for some in chunks(transfer_ids):
        yield from known_transfers(some).values()


def _create_table(duck: duckdb.DuckDBPyConnection, part: Part) -> None:
    """An empty table with the columns that a part has in the cut."""
    nothing = ", ".join(f"cast(null as {kind.csv_type}) as {name}" for name, kind in part.columns.items())
    duck.execute(f"create table {part.name} as select {_columns(part)} from (select {nothing}) limit 0")


def _insert(duck: duckdb.DuckDBPyConnection, part: Part, entries: list[Entry]) -> None:
    """Add entries, from the values that the ledger keeps, as a freeze makes them into the cut's."""
    unnested = ", ".join(
        f"unnest(cast(${name} as {kind.csv_type}[])) as {name}" for name, kind in part.columns.items()
    )
    fields = {name: type(entries[0])._meta.get_field(name) for name in part.columns}
    duck.execute(
        f"insert into {part.name} select {_columns(part)} from (select {unnested})",
        {
            name: [field.get_prep_value(getattr(entry, name)) for entry in entries]
            for name, field in fields.items()
        },
    )


def _columns(part: Part) -> str:
    return ", ".join(f"{kind.expression.format(name=name)} as {name}" for name, kind in part.columns.items())


def _write(duck: duckdb.DuckDBPyConnection, part: Part, file: Path) -> int:
    (rows,) = duck.execute(
        f"copy (select * from {part.name} order by entry_id) to {literal(file)}"
        " (format parquet, compression zstd)"
    ).fetchone()
    return rows
