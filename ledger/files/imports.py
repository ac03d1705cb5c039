"""Imports a file of transfers into the ledger, all of it in one transaction (docs/design.md, section 5)."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import duckdb
from django.db import connection

from ledger.acts.approval import check_approver
from ledger.append import Appender, appending
from ledger.bulk_insert import copy_rows, insert_columns, insert_rows
from ledger.chunks import chunks
from ledger.data_files import connect, fetch_rows, fetch_whole
from ledger.database import Ledger
from ledger.digests import digest_sql
from ledger.errors import PointsError
from ledger.fields import to_microseconds
from ledger.files.file_rows import LoadedFile, load_rows
from ledger.files.known_transfers import load_known_transfers
from ledger.files.quarantine import HISTORY, Quarantined, open_quarantined_rows, rows_to_keep
from ledger.files.row_rules import judge_rows
from ledger.files.row_verdicts import decide_rows, find_repeated_ids
from ledger.files.transfers_file import SentFile
from ledger.files.translations import Translation
from ledger.identifiers import Difference, IdConflict, known_transfers
from ledger.models import AccountEvent, Batch, QuarantineDismissal, QuarantinedRow, StatusChange, Transfer
from ledger.rules import check_identifier
from ledger.shown_text import shown
from ledger.sql_text import literal
from ledger.work_folders import work_folder

# What DuckDB may use; the rest of an import's memory does not grow with the file.
MEMORY_LIMIT = "1GB"
_THREADS = 2
_ROWS_PER_CHUNK = 50_000
_SQLITE_CACHE_KIB = 262_144
# More are counted, but not listed one by one.
MOST_BAD_ROWS_LISTED = 100_000
_LINES_NAMED = 5
# The account closures that take effect with a file, by a new transfer or by approval.
_CLOSURES = (
    "decided_rows where reason = 'account_closure' and status = 'approved'"
    " and verdict in ('transfer', 'status_change')"
)
# Of a file that says everything as ours does.
AS_SENT = Translation()
LONGEST_SHOWN = 1_000


def bad_value_text(column: str, value: str, expected: str) -> str:
    """What is wrong with a value, in a line: the value and what was expected, neither of them cut.

    Of a value of more than `LONGEST_SHOWN` characters, which nobody reads, its length stands for the rest.
    """
    if len(value) > LONGEST_SHOWN:
        rest = f"… ({len(value):,} characters)"
        value = value[:LONGEST_SHOWN]
    else:
        rest = ""
    what = f"{column} is '{shown(value)}'{rest}, " if column else ""
    return f"{what}expected {expected}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A value that breaks a rule: where its row stands, what was sent, and what was expected.

    ``column`` is empty where it is about the row as a whole. A row with several bad values has one of these
    for each.
    """

    line: int
    transfer_id: str
    column: str
    value: str
    code: str
    expected: str

    def __str__(self) -> str:
        of = f", transfer {shown(self.transfer_id)}" if self.transfer_id else ""
        return (
            f"line {self.line:,}{of}, {self.code}: {bad_value_text(self.column, self.value, self.expected)}"
        )


class ImportRefused(PointsError):
    """Rows of a file are bad, so nothing of it was added.

    ``bad_rows`` has what refuses it, in file order: every bad value of every row, up to
    `MOST_BAD_ROWS_LISTED`; ``bad_row_count`` counts all the rows, and ``codes`` has each of their codes.
    """

    def __init__(
        self, path: Path, row_count: int, bad_rows: list[BadRow], bad_row_count: int, codes: set[str]
    ) -> None:
        self.code = "ID_CONFLICT" if "ID_CONFLICT" in codes else "BAD_ROWS"
        remedy = (
            "fix them, or give a different transfer a transfer_id of its own, and import it again"
            if self.code == "ID_CONFLICT"
            else "fix them and import it again, or set them aside with --quarantine"
        )
        rows = f"{bad_row_count:,} of its {row_count:,} rows {'is' if bad_row_count == 1 else 'are'} bad"
        super().__init__(
            f"{self.code}: nothing of {path} was added, because {rows} (the first: {bad_rows[0]}); {remedy}."
        )


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: ``phase`` is ``reading``, ``comparing`` or ``adding``.

    ``done`` of ``total`` rows; when they are added, of entries. ``total`` is None where it is not known yet.
    """

    phase: str
    done: int
    total: int | None


@dataclass(frozen=True)
class ImportResult:
    """What an import did, or with ``dry_run`` would do.

    Each of the ``row_count`` rows was ``skipped`` for its zero points, ``added`` as a transfer, is one of
    ``status_changes``, was ``quarantined`` or kept as ``history``, or added nothing (``duplicates``; also a
    row that is kept already). ``dated`` counts those of the ``added`` that say since when they have their
    status, which is an entry of its own. ``closed_accounts`` counts the account closures that took effect,
    ``resolved`` the quarantined rows whose transfer the file sent as the ledger has it. ``batch_id`` is empty
    where nothing was recorded.
    """

    path: Path
    batch_id: str
    dry_run: bool
    row_count: int
    skipped: int
    added: int
    dated: int
    duplicates: int
    status_changes: int
    history: int
    quarantined: int
    closed_accounts: int
    resolved: int
    warnings: tuple[str, ...]
    seconds: float

    @property
    def entry_count(self) -> int:
        """How many entries the ledger got, but for the batch itself."""
        statuses = self.dated + self.status_changes + self.history
        return self.added + statuses + self.closed_accounts + self.quarantined + self.resolved

    @property
    def rows_per_second(self) -> int:
        return round(self.row_count / self.seconds)


def import_file(
    ledger: Ledger,
    path: Path | str,
    *,
    content: Path | None = None,
    quarantine: bool = False,
    renamed: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
    expected_rows: int | None = None,
    expected_points: Decimal | None = None,
    translation: Translation = AS_SENT,
    dry_run: bool = False,
    batch_id: str | None = None,
    report: Callable[[ImportProgress], None] | None = None,
) -> ImportResult:
    """Add the transfers and status changes of a file (CSV, CSV.gz or Parquet), or nothing of it.

    ``content`` is where its bytes are, where it was taken from ``path`` (`ledger.files.taken_files`).
    With ``quarantine`` the good rows are added and the bad ones kept, raw, with the reason. ``renamed`` maps
    the file's column names to ours, ``ignored`` are columns of it that are left out. ``expected_rows`` and
    ``expected_points`` (the sum over all rows, with their signs) are what the sender says that the file
    holds. ``translation`` says how another system's file says what ours says. ``batch_id`` names what the
    import adds; it is made where none is given. ``report`` takes the import's progress.

    Raises `TransfersFileRefused` where the file cannot be read as rows, `ImportRefused` for bad rows and for
    rows whose ``transfer_id`` has other content elsewhere, `ReasonsRefused` for a file of reasons,
    `ValueRefused` for a bad ``batch_id`` and `IdConflict` for that of another file.
    """
    started = time.monotonic()
    path = Path(path)
    report = report or (lambda progress: None)
    if batch_id:
        check_identifier("BATCH_ID", "batch_id", batch_id)
    with (
        work_folder(ledger.settings.home) as folder,
        connect(memory_limit=MEMORY_LIMIT, threads=_THREADS) as database,
    ):
        report(ImportProgress("reading", 0, None))
        translation.load_reasons(database)
        shape = replace(translation.shape, renamed=renamed or {}, ignored=ignored)
        loaded = load_rows(database, SentFile(path, content or path), shape)
        _check_totals(database, loaded, expected_rows, expected_points)
        judge_rows(database, ledger.settings, translation.translate(database, loaded))
        find_repeated_ids(database)
        report(ImportProgress("comparing", 0, loaded.row_count))
        with appending(ledger, dry_run) as appender:
            load_known_transfers(database, folder)
            decide_rows(database, translation.columns(loaded.columns), translation.expected)
            _refuse_bad_rows(database, loaded, quarantine)
            _check_batch_id(batch_id, loaded)
            _check_approvers(ledger, database)
            resolved = _resolved_rows(database)
            kept = rows_to_keep(_quarantined(database, loaded))
            history = kept & _row_numbers(database, f"kept_rows where code = '{HISTORY}'")
            result = ImportResult(
                path=path,
                batch_id=batch_id or f"import-{appender.next_entry_id}",
                dry_run=dry_run,
                row_count=loaded.row_count,
                skipped=loaded.row_count - _count(database, "judged_rows"),
                added=_count(database, "decided_rows where verdict = 'transfer'"),
                dated=_count(database, "decided_rows where is_dated"),
                duplicates=_count(database, "decided_rows where verdict = 'duplicate'")
                + _count(database, "kept_rows")
                - len(kept),
                status_changes=_count(database, "decided_rows where verdict = 'status_change'"),
                history=len(history),
                quarantined=len(kept) - len(history),
                closed_accounts=_count(database, _CLOSURES),
                resolved=len(resolved),
                warnings=_warnings(database, loaded, history),
                seconds=0.0,
            )
            if not result.entry_count:
                result = replace(result, batch_id="")
            elif not dry_run:
                _Addition(appender, database, folder, loaded, result, report).append(kept, resolved)
    return replace(result, seconds=time.monotonic() - started)


def _check_totals(
    database: duckdb.DuckDBPyConnection,
    loaded: LoadedFile,
    expected_rows: int | None,
    expected_points: Decimal | None,
) -> None:
    """Raise `TransfersFileRefused` where the file holds not what its sender says (F9)."""
    if expected_rows is not None and loaded.row_count != expected_rows:
        raise loaded.sent.refused(
            "TRUNCATED", f"has {loaded.row_count:,} rows, not {expected_rows:,}", "send it again, whole"
        )
    if expected_points is not None:
        # What is no number of points is a bad row, and no part of the sum.
        (total,) = database.execute(
            "select coalesce(sum(case when regexp_full_match(points, '[+-]?[0-9]{1,14}([.][0-9]{1,4})?')"
            " then cast(points as decimal(38, 4)) end), 0) from sent_rows"
        ).fetchone()
        if total != expected_points:
            raise loaded.sent.refused(
                "TRUNCATED",
                f"adds up to {total.normalize():f} points, not {expected_points.normalize():f}",
                "send it again, whole",
            )


def _refuse_bad_rows(database: duckdb.DuckDBPyConnection, loaded: LoadedFile, quarantine: bool) -> None:
    """Raise `ImportRefused` where rows forbid that anything is added: of an id with two contents always, any
    other bad row unless it is to be kept."""
    refusing = "code = 'ID_CONFLICT'" if quarantine else f"code <> '{HISTORY}'"
    bad_row_count = _count(database, f"kept_rows where {refusing}")
    if not bad_row_count:
        return
    codes = database.execute(f"select distinct code from kept_values where {refusing}").fetchall()
    rows = database.execute(
        f"""
        select row_number, coalesce(sent_rows.transfer_id, ''), column_name, value, code, expected
        from kept_values
        inner join sent_rows using (row_number)
        where {refusing}
        order by row_number, position
        limit {MOST_BAD_ROWS_LISTED}
        """
    ).fetchall()
    lines = loaded.lines(row_number for row_number, *_ in rows)
    bad_rows = [BadRow(lines[row_number], *values) for row_number, *values in rows]
    raise ImportRefused(
        loaded.sent.path, loaded.row_count, bad_rows, bad_row_count, {code for (code,) in codes}
    )


def _check_batch_id(batch_id: str | None, loaded: LoadedFile) -> None:
    """Raise `IdConflict` where the batch of that id is known, and of another file."""
    known = Batch.objects.filter(batch_id=batch_id).first() if batch_id else None
    if known and known.file_sha256 != loaded.sha256:
        raise IdConflict(batch_id, [Difference("file_sha256", known.file_sha256 or "empty", loaded.sha256)])


def _check_approvers(ledger: Ledger, database: duckdb.DuckDBPyConnection) -> None:
    """Raise `ApprovalByItsAuthor` where the file approves what its importer entered by hand: an import does
    not replace the second person (docs/cases.md, C11)."""
    approved = fetch_rows(
        database,
        "select distinct transfer_id from decided_rows"
        " where verdict = 'status_change' and status = 'approved'",
    )
    for ids in chunks(transfer_id for (transfer_id,) in approved):
        for transfer in known_transfers(ids).values():
            check_approver(ledger, transfer, transfer.transfer_id)


def _resolved_rows(database: duckdb.DuckDBPyConnection) -> list[int]:
    """The entries of open quarantined rows whose transfer the file sends as the ledger has it (R21).

    Not where the file has a bad row of that transfer too: sent again, it would add something every time.
    """
    open_rows = dict(open_quarantined_rows().exclude(transfer_id="").values_list("entry_id", "transfer_id"))
    if not open_rows:
        return []
    sent = fetch_rows(
        database,
        "select distinct transfer_id from decided_rows"
        " where verdict = 'duplicate' and list_contains($ids, transfer_id)"
        " and not exists (select 1 from kept_rows inner join sent_rows using (row_number)"
        " where sent_rows.transfer_id = decided_rows.transfer_id and code <> $history)",
        {"ids": sorted(set(open_rows.values())), "history": HISTORY},
    )
    known = {transfer_id for (transfer_id,) in sent}
    return [entry_id for entry_id, transfer_id in sorted(open_rows.items()) if transfer_id in known]


def _quarantined(database: duckdb.DuckDBPyConnection, loaded: LoadedFile) -> Iterator[Quarantined]:
    """The bad rows and those of history as they are kept, in file order."""
    numbers = fetch_rows(database, "select row_number from kept_rows order by row_number")
    lines = loaded.lines_in_order(row_number for (row_number,) in numbers)
    rows = fetch_rows(
        database,
        f"""
        select
            kept_rows.row_number,
            kept_rows.code,
            kept_rows.column_name,
            kept_rows.expected,
            sent_rows.surplus_fields,
            {", ".join(f"sent_rows.{name}" for name in loaded.columns)}
        from kept_rows
        inner join sent_rows on kept_rows.row_number = sent_rows.row_number
        order by kept_rows.row_number
        """,
    )
    for line, (row_number, code, column, expected, surplus_fields, *values) in zip(lines, rows, strict=True):
        sent = {name: value for name, value in zip(loaded.columns, values, strict=True) if value is not None}
        if surplus_fields:
            sent["surplus_fields"] = surplus_fields
        transfer_id, text = sent.get("transfer_id", ""), json.dumps(sent, ensure_ascii=False)
        yield Quarantined(row_number, line, transfer_id, text, code, column, expected)


def _count(database: duckdb.DuckDBPyConnection, rows: str) -> int:
    return database.execute(f"select count(*) from {rows}").fetchone()[0]


def _row_numbers(database: duckdb.DuckDBPyConnection, rows: str) -> set[int]:
    return {row_number for (row_number,) in fetch_rows(database, f"select row_number from {rows}")}


def _warnings(database: duckdb.DuckDBPyConnection, loaded: LoadedFile, history: set[int]) -> tuple[str, ...]:
    """Warnings about rows that are not refused (docs/cases.md, R20 and R25)."""
    undated = _row_numbers(
        database, "decided_rows where verdict = 'status_change' and status_changed_at is null"
    )
    found = [
        (
            undated,
            "changes a status and does",
            "change a status and do",
            "not say status_changed_at, so now is taken for it",
        ),
        (
            history,
            "says a status",
            "say a status",
            "from before the transfer's last one, so it is kept as history and changes nothing",
        ),
    ]
    warnings = []
    for rows, one, many, finding in found:
        if rows:
            lines = loaded.lines(sorted(rows)[:_LINES_NAMED])
            named = ", ".join(f"{line:,}" for line in lines.values())
            more = ", …" if len(rows) > len(lines) else ""
            noun = f"row {one}" if len(rows) == 1 else f"rows {many}"
            warnings.append(f"{len(rows):,} {noun} {finding}: line {named}{more}.")
    return tuple(warnings)


@dataclass(frozen=True)
class _Addition:
    """What an import adds to the ledger; its rows are `decided_rows` and `kept_rows` of ``database``."""

    appender: Appender
    database: duckdb.DuckDBPyConnection
    folder: Path
    loaded: LoadedFile
    result: ImportResult
    report: Callable[[ImportProgress], None]

    def append(self, kept: set[int], resolved: list[int]) -> None:
        """Append everything: the batch, transfers in file order, status changes, closed accounts, bad rows,
        and what resolves earlier ones."""
        appender, result = self.appender, self.result
        appender.append(
            Batch(
                batch_id=result.batch_id,
                origin="import",
                file_name=shown(self.loaded.sent.path.name),
                file_sha256=self.loaded.sha256,
                last_entry_id=appender.next_entry_id + result.entry_count,
                row_count=result.row_count,
                added_count=result.added,
                duplicate_count=result.duplicates,
                status_change_count=result.status_changes,
                quarantined_count=result.quarantined,
            )
        )
        self.report(ImportProgress("adding", 0, result.entry_count))
        for done in self._append_transfers():
            self.report(ImportProgress("adding", done, result.entry_count))
        appender.append_rows(StatusChange, self._status_changes())
        appender.append_rows(AccountEvent, self._closed_accounts())
        appender.append_rows(
            QuarantinedRow,
            (
                (result.batch_id, row.line, row.known_id, row.row, row.code, row.column, row.expected)
                for row in (_quarantined(self.database, self.loaded) if kept else ())
                if row.row_number in kept
            ),
        )
        appender.append_rows(
            QuarantineDismissal, ((entry_id, f"known, said {result.batch_id}") for entry_id in resolved)
        )
        self.report(ImportProgress("adding", result.entry_count, result.entry_count))

    def _append_transfers(self) -> Iterator[int]:
        """Append the transfers chunk by chunk, and give how many are there after each."""
        done = 0
        with _larger_cache():
            # Another thread makes them, whose connection is not this one.
            as_files = connection.vendor == "postgresql"
            for digests, rows in _one_ahead(self._transfer_chunks(as_files)):
                if isinstance(rows, Path):
                    copy_rows(Transfer, rows)
                else:
                    insert_rows(Transfer, rows)
                self.appender.note_digests(digests)
                done += len(digests)
                yield done

    def _transfer_chunks(self, as_files: bool) -> Iterator[tuple[list[bytes], list[tuple] | Path]]:
        """The digests of the transfers to add, and their rows in the order of `insert_columns`: tuples, or
        ``as_files`` a CSV file, which stays until the next chunk but one is asked for."""
        cursor = self.database.cursor()
        columns = insert_columns(Transfer)
        transfers = f"""
            select {", ".join(name for name in columns if name != "digest")}, {digest_sql(Transfer)} as digest
            from (
                select
                    * replace (case when is_dated then 'pending' else status end as status),
                    $next_entry_id + row_number() over (order by row_number) - 1 as entry_id,
                    $now as recorded_at,
                    $recorded_by as recorded_by,
                    $batch_id as batch_id
                from decided_rows
                where row_number between $first and $last and verdict = 'transfer'
            )
        """
        values = {
            "next_entry_id": self.appender.next_entry_id,
            "now": to_microseconds(self.appender.recorded_at),
            "recorded_by": self.appender.ledger.user,
            "batch_id": self.result.batch_id,
        }
        for first in range(1, self.loaded.row_count + 1, _ROWS_PER_CHUNK):
            values |= {"first": first, "last": first + _ROWS_PER_CHUNK - 1}
            cursor.execute(f"create or replace temp table chunk as {transfers}", values)
            if as_files:
                file = self.folder / f"chunk_{first // _ROWS_PER_CHUNK % 2}.csv"
                as_text = [r"'\x' || hex(digest)" if name == "digest" else name for name in columns]
                as_csv = f"{literal(file)} (format csv, header false)"
                cursor.execute(f"copy (select {', '.join(as_text)} from chunk) to {as_csv}")
                rows: list[tuple] | Path = file
                digests = [
                    digest for (digest,) in fetch_whole(cursor, "select digest from chunk order by entry_id")
                ]
            else:
                rows = fetch_whole(cursor, f"select {', '.join(columns)} from chunk order by entry_id")
                position = columns.index("digest")
                digests = [row[position] for row in rows]
            if digests:
                values["next_entry_id"] += len(digests)
                yield digests, rows

    def _status_changes(self) -> Iterator[tuple]:
        """The rows of `StatusChange`: those of new transfers, then all others in the order in which the
        statuses changed."""
        return self._rows(
            """
            select transfer_id, status, coalesce(status_changed_at, $now), $batch_id, ''
            from decided_rows
            where verdict = 'status_change' or is_dated
            order by change_number nulls first, row_number
            """
        )

    def _closed_accounts(self) -> Iterator[tuple]:
        """The rows of `AccountEvent`, in the order of the entries that made the closures effective."""
        return self._rows(
            f"""
            select
                'close-of-' || transfer_id,
                relation_reference,
                'close',
                greatest(
                    occurred_at,
                    coalesce(status_changed_at, case when verdict = 'status_change' then $now end)
                ),
                '',
                $batch_id,
                ''
            from {_CLOSURES}
            order by change_number nulls first, row_number
            """
        )

    def _rows(self, query: str) -> Iterator[tuple]:
        values = {"now": to_microseconds(self.appender.recorded_at), "batch_id": self.result.batch_id}
        return fetch_rows(self.database, query, values)


def _one_ahead(parts: Iterable) -> Iterator:
    """The same parts, each made while the one before it is being inserted."""
    parts = iter(parts)
    with ThreadPoolExecutor(max_workers=1) as producer:
        coming = producer.submit(next, parts, None)
        while (chunk := coming.result()) is not None:
            coming = producer.submit(next, parts, None)
            yield chunk


@contextmanager
def _larger_cache() -> Iterator[None]:
    """Let SQLite hold more of its indexes in memory, because ids come in random order."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        (before,) = cursor.execute("pragma cache_size").fetchone()
        cursor.execute(f"pragma cache_size = -{_SQLITE_CACHE_KIB}")
        try:
            yield
        finally:
            cursor.execute(f"pragma cache_size = {before}")
