"""The transfers of a run, read from the cut a second time, each with its status, month and bucket.

It says the rules of docs/design.md, sections 5 to 7, once more for the recount, in another way than the
models: months are periods between instants that Python worked out, the posting rule is a step function of the
entry, and revocations are walked upwards (`orchestration.recount.revocations`). Months are numbers here
(`orchestration.report_calendar`).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.cut import segment_files
from ledger.data_files import read_parquet
from ledger.settings import PROJECT_ROOT, Settings
from ledger.sql_text import literal, step_function
from orchestration.recount.opening import Opening
from orchestration.recount.revocations import walk_revocations
from orchestration.report_calendar import month_changes, month_number, next_month, previous_month

RULES_FILE = PROJECT_ROOT / "seeds" / "transfer_reasons.csv"
# The cutoff of what no close has posted: the run knows every entry that it reads.
_NO_CUTOFF = 2**63 - 1
_COLUMNS = (
    "entry_id, transfer_id, relation_reference, currency, style, points, reason, occurred_at, recorded_at,"
    " reverses_transfer_id"
)


@dataclass(frozen=True)
class Scope:
    """What a run reads and the months that it makes (`orchestration.recount.recount.recount`)."""

    cut: Path
    upto_entry_id: int
    opening: Opening | None
    closes: Sequence[tuple[str, int]]
    first_month: str | None
    months: Sequence[str]
    settings: Settings
    related_transfers: Path | None
    related_status_changes: Path | None
    is_close: bool

    @property
    def opening_cutoff(self) -> int:
        """The highest entry that the opening holds; 0 without one."""
        return self.opening.cutoff_entry_id if self.opening else 0

    def part(self, name: str) -> str:
        """A part of the cut as a relation, up to the run's cutoff."""
        files = segment_files(self.cut, name)
        return f"(from {read_parquet(files)} where entry_id <= {self.upto_entry_id})"

    def new(self, part: str) -> str:
        """What the opening does not hold of a part of the cut, as a relation."""
        return f"(from {self.part(part)} where entry_id > {self.opening_cutoff})"

    def _of_opening(self, name: str) -> str | None:
        return read_parquet(self.opening.folder / name) if self.opening else None

    @property
    def balances(self) -> str | None:
        """The opening's balances as a relation."""
        return self._of_opening("outstanding_points_by_month.parquet")

    @property
    def unposted(self) -> str | None:
        """What the opening left unposted, as a relation."""
        return self._of_opening("unposted_transfers.parquet")

    @property
    def related(self) -> str | None:
        """The related transfers of closed months, as a relation."""
        return read_parquet(self.related_transfers) if self.related_transfers else None

    @property
    def related_changes(self) -> str | None:
        """The changes of their statuses, as a relation."""
        return read_parquet(self.related_status_changes) if self.related_status_changes else None


def create_transfers(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Create what the recount counts, in the connection's own database.

    ``plain_transfers``, by far the most, are approved or cancelled at once and revoke nothing, so each stands
    by itself; their bucket is left to ``rule_months``. ``singled_transfers`` are all others, with their
    bucket: what waited or revokes, what the opening left unposted, and, with ``is_read`` false, the related
    transfers of closed months. ``rule_months`` has the bucket of (reason, style) for each posting month.
    """
    rules = _read_rules()
    first, last = _calendar(scope, [from_month for *_, from_month in rules if from_month])
    _create_macros(duck, scope, first, last)
    _create_rules(duck, rules, month_number(first) - 1, month_number(last))
    _create_closes(duck, scope)
    _create_status_changes(duck, scope)
    _create_plain_transfers(duck, scope)
    _create_waiting_and_revoking(duck, scope)
    walk_revocations(duck)
    duck.execute(
        """
        create temp table singled_transfers as
        select transfers.*, coalesce(walked.bucket, rule_months.bucket) as bucket
        from posted_singly as transfers
        left join walked_revocations as walked using (transfer_id)
        left join rule_months using (reason, style, posting_month)
        """
    )


def _read_rules() -> list[tuple[str, str, str, str]]:
    """Reason, style, bucket and, where there is one, the month from which on the rule holds."""
    with open(RULES_FILE, encoding="utf-8", newline="") as file:
        return [
            (row["reason"], row["style"], row["bucket"], row["from_month"][:7])
            for row in csv.DictReader(file)
        ]


def _calendar(scope: Scope, from_months: Sequence[str]) -> tuple[str, str]:
    """The months that have to be distinguished; all months before or after them may count as one."""
    named = [*scope.months, *(month for month, _ in scope.closes), *from_months]
    if scope.first_month:
        named.append(scope.first_month)
    return previous_month(min(named)), next_month(max(named))


def _create_macros(duck: duckdb.DuckDBPyConnection, scope: Scope, first: str, last: str) -> None:
    changes = [
        (f"timestamp '{instant:%Y-%m-%d %H:%M:%S}'", month_number(month))
        for instant, month in month_changes(first, last, scope.settings)
    ]
    closes = [(str(cutoff + 1), month_number(month)) for month, cutoff in scope.closes]
    floor = month_number(scope.first_month) if scope.first_month else 0
    duck.execute(
        f"""
        create temp macro report_month(instant) as {step_function("instant", changes, changes[0][1] - 1)};
        create temp macro last_closed_before(entry) as {step_function("entry", closes, 0)};
        create temp macro month_on_time(instant) as greatest(report_month(instant), {floor});
        create temp macro month_posted(instant, entry) as
            case when instant is not null
                then greatest(month_on_time(instant), last_closed_before(entry) + 1) end;
        create temp macro posted_late(instant, entry) as
            instant is not null and last_closed_before(entry) >= month_on_time(instant);
        """
    )


def _create_rules(
    duck: duckdb.DuckDBPyConnection, rules: Sequence[tuple[str, str, str, str]], first: int, last: int
) -> None:
    rows = ", ".join(
        f"({literal(reason)}, {literal(style)}, {literal(bucket)},"
        f" {month_number(from_month) if from_month else 0})"
        for reason, style, bucket, from_month in rules
    )
    duck.execute(
        f"""
        create temp table rules as
        from (values {rows}) as rules (reason, style, bucket, from_month);

        create temp table rule_months as
        select reason, style, months.posting_month, arg_max(bucket, from_month) as bucket
        from rules
        inner join (select unnest(range({first}, {last} + 1))::integer as posting_month) as months
            on rules.from_month <= months.posting_month
        group by reason, style, months.posting_month
        """
    )


def _create_closes(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    duck.execute("create temp table closes_in_force (posting_month integer, cutoff_entry_id bigint)")
    for month, cutoff in scope.closes:
        duck.execute("insert into closes_in_force values (?, ?)", [month_number(month), cutoff])
    duck.execute(
        f"""
        create temp table run_months as
        select months.posting_month, closes_in_force.cutoff_entry_id
        from (select unnest({[month_number(month) for month in scope.months]}) as posting_month) as months
        left join closes_in_force using (posting_month)
        """
    )


def _create_status_changes(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    related = (
        f"union select entry_id, transfer_id, status, changed_at from {scope.related_changes}"
        if scope.related_changes
        else ""
    )
    duck.execute(
        f"""
        create temp table last_statuses as
        select
            transfer_id,
            arg_max(status, entry_id) as last_status,
            arg_min(status, entry_id) filter (status in ('approved', 'cancelled')) as final_status,
            arg_min(changed_at, entry_id) filter (status in ('approved', 'cancelled')) as settled_at,
            min(entry_id) filter (status in ('approved', 'cancelled')) as settled_entry_id
        from (
            select entry_id, transfer_id, status, changed_at from {scope.new("status_changes")}
            {related}
        )
        group by transfer_id
        """
    )


def _create_plain_transfers(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    duck.execute(
        f"""
        create temp view plain_transfers as
        select
            {_COLUMNS},
            status,
            case when status = 'approved' then entry_id end as effective_entry_id,
            report_month(occurred_at) as occurred_month,
            case when status = 'approved' then month_posted(occurred_at, entry_id) end as posting_month,
            status = 'approved' and posted_late(occurred_at, entry_id) as is_late
        from {scope.new("transfers")}
        where reason <> 'revocation' and status in ('approved', 'cancelled')
        """
    )


def _create_waiting_and_revoking(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Create ``posted_singly``: the transfers that need a second look, with all but their bucket."""
    sources = [
        f"""
        select {_COLUMNS}, status as first_status, status as known_status,
            case when status = 'approved' then occurred_at end as known_effective_at,
            case when status = 'approved' then entry_id end as known_effective_entry_id,
            true as is_read
        from {scope.new("transfers")}
        where reason = 'revocation' or status in ('pending', 'on_hold')
        """
    ]
    if scope.unposted:
        sources.append(
            f"""
            select {_COLUMNS}, first_status, status, effective_at, effective_entry_id, true
            from {scope.unposted}
            """
        )
    if scope.related:
        sources.append(
            f"""
            select {_COLUMNS}, status, status,
                case when status = 'approved' then occurred_at end,
                case when status = 'approved' then entry_id end,
                false
            from {scope.related}
            where entry_id <= {scope.opening_cutoff}
                and transfer_id not in (select transfer_id from {scope.unposted})
            """
        )
    duck.execute(
        f"""
        create temp table posted_singly as
        with transfers as ({" union all ".join(sources)}),

        settled as (
            select
                transfers.* exclude (known_status, known_effective_at, known_effective_entry_id),
                case
                    when known_status in ('approved', 'cancelled') then known_status
                    else coalesce(final_status, last_status, known_status)
                end as status,
                case
                    when known_effective_at is not null then known_effective_at
                    when final_status = 'approved' then greatest(occurred_at, settled_at)
                end as effective_at,
                case
                    when known_effective_at is not null then known_effective_entry_id
                    when final_status = 'approved' then last_statuses.settled_entry_id
                end as effective_entry_id,
                case
                    when known_status = 'approved' then known_effective_entry_id
                    when known_status = 'cancelled' then entry_id
                    else last_statuses.settled_entry_id
                end as settled_entry_id
            from transfers
            left join last_statuses using (transfer_id)
        ),

        posted as (
            select
                *,
                report_month(occurred_at) as occurred_month,
                month_posted(effective_at, effective_entry_id) as posting_month,
                posted_late(effective_at, effective_entry_id) as is_late
            from settled
        )

        select posted.*, coalesce(closes_in_force.cutoff_entry_id, {_NO_CUTOFF}) as deciding_cutoff
        from posted
        left join closes_in_force using (posting_month)
        """
    )
