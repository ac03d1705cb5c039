"""All balances up to some entry, kept as Parquet beside the cut so that they need not be added up again.

A list that is ordered or filtered by amounts looks at every balance. A snapshot, named for its entry in
``cut/balances/``, holds them as the ledger had them up to there; what later entries touched, and what time
alone has changed since, is added up from the ledger and takes the place of the snapshot's rows. It is never
the truth, only a way to find rows: deleted, it is made again. It is exact: decimals of 38 digits, as in the
models.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
from django.db import connection

from ledger.anchors import Head
from ledger.append import ledger_head
from ledger.balances import Balance, balances_of
from ledger.data_files import parquet_key_values, read_parquet
from ledger.database import Ledger
from ledger.fields import to_microseconds
from ledger.lists.customer_balances import with_opened
from ledger.lists.cut_files import CutFiles, Freeze, add_rows, create_table, duckdb_of, find_cut
from ledger.models import ChainLink
from ledger.relations import closed_references
from ledger.rules import reasons
from ledger.sql_text import literal, literals

# Beyond so many relation references that changed since, adding them up again for every question costs more
# than to write all balances anew, once, with them.
_KEEP_FROM = 500
# Beyond so many, or so many entries, adding up the whole cut costs less than adding these up one by one.
_FROM_CUT_FROM = 50_000
_ENTRIES_FROM_CUT_FROM = 500_000
_PARTS_OF_THE_CUT = ("transfers", "status_changes", "account_events")
_REFERENCES_PER_CHUNK = 500
_SNAPSHOTS_KEPT = 3
_SECONDS_TO_FINISH = 3_600
# Raised when what is in a snapshot changes, so that older ones are no longer read.
_FORMAT = "2"
_POINTS = "decimal(38, 4)"

COLUMNS = {
    "relation_reference": "varchar",
    "currency": "varchar",
    "approved_points": _POINTS,
    "pending_given_points": _POINTS,
    "pending_deducted_points": _POINTS,
    "on_hold_given_points": _POINTS,
    "on_hold_deducted_points": _POINTS,
    "spendable_points": _POINTS,
    "later_points": _POINTS,
    "is_account_closed": "boolean",
    # From the one until the other the balance is the same; microseconds since 1970, null for no bound.
    "last_effective_at": "bigint",
    "next_effective_at": "bigint",
}

# What is not in the balance, being the sum of which transfers.
_UNBALANCED = {
    "pending_given_points": ("points", "status = 'pending' and style = 'give'"),
    "pending_deducted_points": ("points", "status = 'pending' and style = 'deduct'"),
    "on_hold_given_points": ("points", "status = 'on_hold' and style = 'give'"),
    "on_hold_deducted_points": ("points", "status = 'on_hold' and style = 'deduct'"),
    "later_points": ("signed_points", "status = 'later'"),
}


@dataclass(frozen=True)
class Snapshot:
    """Balances up to an entry; of none, without a file, where there is no snapshot yet."""

    entry_id: int = 0
    file: Path | None = None


@dataclass(frozen=True)
class EveryBalance:
    """Every balance: in ``duck`` the relation ``kept``, of a snapshot, and ``recounted``, which holds instead
    for each relation reference in it. Both have the columns `COLUMNS`."""

    duck: duckdb.DuckDBPyConnection
    recounted_rows: int

    def find(
        self, columns: Sequence[str], where: str, values: Sequence[object], order: str, limit: int | None
    ) -> duckdb.DuckDBPyConnection:
        """The ``columns``, one of them ``relation_reference``, of the balances that ``where`` holds for, in
        ``order``; the first ``limit`` of them, None for all. ``values`` are bound in ``where``."""
        named = ", ".join(columns)
        kept = f"select {named} from kept where {where}"
        at_most = ""
        if limit is not None:
            # Enough for ``limit`` to be left without those that were recounted: less to join than all.
            kept += f" order by {order} limit {limit + self.recounted_rows}"
            at_most = f" limit {limit}"
        return self.duck.execute(
            f"""
            with kept_rows as ({kept}),
            found as (
                select * from kept_rows anti join recounted using (relation_reference)
                union all
                select {named} from recounted where {where}
            )
            select * from found order by {order}{at_most}
            """,
            [*values, *values],
        )


@contextmanager
def every_balance(ledger: Ledger, now: datetime, freeze: Freeze | None = None) -> Iterator[EveryBalance]:
    """Every balance at ``now``.

    ``freeze`` brings the cut up to the ledger's end, if it can, where too much has changed since the newest
    snapshot; without it, the current cut and the ledger are used, which takes longer and gives the same
    result.
    """
    folder = ledger.settings.home / "cut" / "balances"
    with duckdb_of(ledger.settings.home) as duck:
        # First the end, then what has changed: what comes between belongs to the next question too.
        head = ledger_head()
        snapshot = _newest(duck, folder, ledger.settings.default_currency)
        is_far = head.entry_id - snapshot.entry_id > _ENTRIES_FROM_CUT_FROM
        changed = set() if is_far else _changed_since(snapshot.entry_id)
        if is_far or len(changed) > _FROM_CUT_FROM:
            snapshot = _from_cut(duck, ledger, folder, now, freeze, snapshot)
            changed = _changed_since(snapshot.entry_id)
        changed |= _outdated(duck, snapshot, now)
        recounted_rows = _recount(duck, sorted(changed), now, ledger.settings.default_currency)
        source = read_parquet(snapshot.file) if snapshot.file else "recounted limit 0"
        duck.execute(f"create temp view kept as select {', '.join(COLUMNS)} from {source}")
        if len(changed) > _KEEP_FROM:
            # What cannot be kept is added up again for the next question.
            with suppress(OSError, duckdb.Error):
                query = "select * from kept anti join recounted using (relation_reference)"
                query += " union all select * from recounted"
                _write(duck, query, folder, head, ledger.settings.default_currency)
        yield EveryBalance(duck, recounted_rows)


def _newest(duck: duckdb.DuckDBPyConnection, folder: Path, default_currency: str) -> Snapshot:
    """The newest snapshot that is of this ledger and of these settings."""
    for file in sorted(folder.glob("*.parquet"), reverse=True):
        if not file.stem.isdigit():
            continue
        try:
            metadata = dict(
                duck.execute(f"select decode(key), decode(value) from {parquet_key_values(file)}").fetchall()
            )
        except duckdb.Error:
            continue  # damaged, or just removed by a process that wrote a newer one
        link = ChainLink.objects.filter(last_entry_id=int(file.stem)).first()
        if link and metadata == _metadata(bytes(link.digest).hex(), default_currency):
            return Snapshot(int(file.stem), file)
    return Snapshot()


def _metadata(chain_digest: str, default_currency: str) -> dict[str, str]:
    return {"format": _FORMAT, "chain_digest": chain_digest, "default_currency": default_currency}


def _changed_since(entry_id: int) -> set[str]:
    """The relation references that an entry after ``entry_id`` touches."""
    query = """
        select relation_reference from transfers where entry_id > %s
        union
        select t.relation_reference
        from status_changes as c
        inner join transfers as t on t.transfer_id = c.transfer_id
        where c.entry_id > %s
        union
        select relation_reference from account_events where entry_id > %s
    """
    with connection.cursor() as cursor:
        cursor.execute(query, [entry_id] * 3)
        return {reference for (reference,) in cursor.fetchall()}


def _outdated(duck: duckdb.DuckDBPyConnection, snapshot: Snapshot, now: datetime) -> set[str]:
    """The relation references whose balance in the snapshot is another at ``now``: transfers have taken
    effect since, or the clock was set back."""
    if not snapshot.file:
        return set()
    source = read_parquet(snapshot.file)
    # Each half alone is answered by the statistics of the file where nothing is found.
    found = duck.execute(
        f"""
        select relation_reference from {source} where last_effective_at > $now
        union
        select relation_reference from {source} where next_effective_at <= $now
        """,
        {"now": to_microseconds(now)},
    ).fetchall()
    return {reference for (reference,) in found}


def _recount(
    duck: duckdb.DuckDBPyConnection, references: list[str], now: datetime, default_currency: str
) -> int:
    """Make ``recounted``, the balances of ``references`` as the ledger has them at ``now``; count them."""
    create_table(duck, "recounted", COLUMNS)
    count = 0
    for start in range(0, len(references), 10 * _REFERENCES_PER_CHUNK):
        chunk = references[start : start + 10 * _REFERENCES_PER_CHUNK]
        found = with_opened(chunk, balances_of(chunk, now), default_currency)
        closed = closed_references(chunk)
        rows = (_row(balance, balance.relation_reference in closed) for balance in found.values())
        add_rows(duck, "recounted", COLUMNS, rows)
        count += len(found)
    return count


def _row(balance: Balance, is_closed: bool) -> list[str]:
    """The values of `COLUMNS` as text, empty for null."""
    computed = {"is_account_closed": str(is_closed).lower()}
    row = []
    for name in COLUMNS:
        value = computed[name] if name in computed else getattr(balance, name)
        if isinstance(value, Decimal):
            value = f"{value:f}"
        elif isinstance(value, datetime):
            value = str(to_microseconds(value))
        row.append(value or "")
    return row


def _from_cut(
    duck: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    folder: Path,
    now: datetime,
    freeze: Freeze | None,
    snapshot: Snapshot,
) -> Snapshot:
    """A snapshot of the cut, brought up to date where ``freeze`` can; ``snapshot`` where none is newer."""
    if freeze:
        freeze(ledger)
    cut = find_cut(folder.parent, _PARTS_OF_THE_CUT)
    if cut is None or cut.head.entry_id <= snapshot.entry_id:
        return snapshot
    query = _sums(cut, to_microseconds(now), ledger.settings.default_currency)
    return _write(duck, query, folder, cut.head, ledger.settings.default_currency)


def _write(
    duck: duckdb.DuckDBPyConnection, query: str, folder: Path, head: Head, default_currency: str
) -> Snapshot:
    """Keep the rows of ``query`` as the balances up to ``head``; whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{head.entry_id:012d}.parquet"
    unfinished = folder / f".{file.stem}.{os.getpid()}.unfinished"
    metadata = ", ".join(
        f"{name}: {literal(value)}"
        for name, value in _metadata(head.chain_digest.hex(), default_currency).items()
    )
    try:
        duck.execute(f"copy ({query}) to {literal(unfinished)} (format parquet, kv_metadata {{{metadata}}})")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    _remove_old(folder)
    return Snapshot(head.entry_id, file)


def _remove_old(folder: Path) -> None:
    """Remove all but the newest snapshots, one of which another process may be reading, and what a process
    that was killed left unfinished."""
    for older in sorted(folder.glob("*.parquet"))[:-_SNAPSHOTS_KEPT]:
        older.unlink(missing_ok=True)
    for unfinished in folder.glob(".*.unfinished"):
        with suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > _SECONDS_TO_FINISH:
                unfinished.unlink()


def _sums(cut: CutFiles, now: int, default_currency: str) -> str:
    """The balances at ``now`` of everything in the cut, as a query; the rules are those of `balances_of`."""
    unbalanced = ", ".join(
        f"sum({points}) filter (where {condition}) as {name}"
        for name, (points, condition) in _UNBALANCED.items()
    )
    expiring = literals(
        tuple(f"{reason} {style}" for (reason, style), rule in reasons().items() if rule.bucket == "expired")
    )
    return f"""
        with recursive transfers as (
            select * from {cut.source("transfers")}
        ),
        newest_changes as (
            select
                transfer_id,
                max(entry_id) as entry_id,
                arg_max(status, entry_id) as status,
                arg_max(changed_at, entry_id) as changed_at
            from {cut.source("status_changes")}
            group by transfer_id
        ),
        -- What began approved or cancelled has no change; looking for one would cost a join of everything.
        known as (
            select
                entry_id, transfer_id, reverses_transfer_id, relation_reference, currency, style, points,
                reason, status, occurred_at as effective_at
            from transfers
            where status not in ('pending', 'on_hold')
            union all
            select
                coalesce(newest_changes.entry_id, transfers.entry_id),
                transfer_id, reverses_transfer_id, relation_reference, currency, style, points, reason,
                coalesce(newest_changes.status, transfers.status),
                greatest(occurred_at, coalesce(changed_at, occurred_at))
            from transfers
            left join newest_changes using (transfer_id)
            where transfers.status in ('pending', 'on_hold')
        ),
        dated as (
            select
                transfer_id,
                case when reason = 'revocation' then reverses_transfer_id end as revokes_transfer_id,
                relation_reference, currency, reason, style, points,
                case when style = 'give' then points else -points end as signed_points,
                epoch_us(effective_at) as effective_at,
                case
                    when status = 'approved' and epoch_us(effective_at) > {now} then 'later' else status
                end as status
            from known
        ),
        approved as (
            select
                relation_reference,
                currency,
                sum(signed_points) filter (where status = 'approved') as approved_points,
                max(effective_at) filter (where status = 'approved') as last_effective_at
            from dated
            group by relation_reference, currency
        ),
        -- Few beside the others, so that only they bear the cost of so many sums.
        unbalanced as (
            select
                relation_reference,
                currency,
                {unbalanced},
                min(effective_at) filter (where status = 'later') as next_effective_at
            from dated
            where status in ('pending', 'on_hold', 'later')
            group by relation_reference, currency
        ),
        -- What has not taken effect, each with the first of its chain, as `ledger.transfers_ahead` has
        -- them; and what that revokes in turn, up to the root, whose reason says whether it expires.
        ahead as (
            select * from dated where status = 'later'
        ),
        first_ahead as (
            select ahead.*
            from ahead
            left join ahead as originals on ahead.revokes_transfer_id = originals.transfer_id
            where originals.transfer_id is null and ahead.style = 'deduct'
        ),
        upwards as (
            select transfer_id, reason, style, revokes_transfer_id
            from first_ahead
            union
            select upwards.transfer_id, originals.reason, originals.style,
                case when originals.reason = 'revocation' then originals.reverses_transfer_id end
            from upwards
            inner join transfers as originals on upwards.revokes_transfer_id = originals.transfer_id
        ),
        chains as (
            select transfer_id as first_transfer_id, transfer_id
            from first_ahead
            where transfer_id not in (
                select transfer_id from upwards where concat_ws(' ', reason, style) in {expiring}
            )
            union all
            select chains.first_transfer_id, ahead.transfer_id
            from chains
            inner join ahead on chains.transfer_id = ahead.revokes_transfer_id
        ),
        reserved as (
            select relation_reference, currency, sum(points_left) as reserved_points
            from (
                select relation_reference, currency, greatest(-sum(signed_points), 0) as points_left
                from chains
                inner join ahead using (transfer_id)
                group by relation_reference, currency, first_transfer_id
            )
            group by relation_reference, currency
        ),
        summed as (
            select *
            from approved
            left join unbalanced using (relation_reference, currency)
            left join reserved using (relation_reference, currency)
        ),
        account_events as (
            select entry_id, relation_reference, event, occurred_at as event_at
            from {cut.source("account_events")}
            union all
            select entry_id, relation_reference, 'close', effective_at
            from known
            where reason = 'account_closure' and status = 'approved'
        ),
        accounts as (
            select
                relation_reference,
                arg_max(event, (event_at, entry_id)) = 'close' as is_account_closed,
                bool_or(event = 'open') as was_opened
            from account_events
            group by relation_reference
        ),
        opened as (
            select relation_reference, {literal(default_currency)} as currency
            from accounts
            where was_opened
            except
            select relation_reference, currency from summed
        ),
        complete as (
            select * from summed
            union all by name
            select * from opened
        )
        select
            {", ".join(_complete_column(name, kind) for name, kind in COLUMNS.items())}
        from complete
        left join accounts using (relation_reference)
    """


def _complete_column(name: str, kind: str) -> str:
    """A column of `COLUMNS` where a pair may lack what few have."""
    expression = name
    if name == "spendable_points":
        reserved = ("pending_deducted_points", "on_hold_deducted_points", "reserved_points")
        expression = " - ".join(f"coalesce({part}, 0)" for part in ("approved_points", *reserved))
    elif kind in (_POINTS, "boolean"):
        expression = f"coalesce({name}, {'false' if kind == 'boolean' else '0'})"
    return f"cast({expression} as {kind}) as {name}"
