"""The recount of a run's months: the programme's roll-forward, and what does not count in it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from ledger.amounts import points_text
from ledger.sql_text import literal
from orchestration.recount.transfers import RULES_FILE, Scope
from orchestration.report_calendar import month_number

BUCKETS = ("earned", "reversal", "redeemed", "expired")
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Tally:
    """Transfers alike in all that a total may ask for. Months are numbers; ``occurred_month`` is given where
    a transfer does not count, ``posting_month`` where it does. ``points`` are without a sign."""

    status: str
    occurred_month: int | None
    posting_month: int | None
    is_late: bool
    currency: str
    reason: str
    style: str
    bucket: str | None
    transfers: int
    points: Decimal

    @property
    def signed_points(self) -> Decimal:
        return self.points if self.style == "give" else -self.points

    @property
    def bucket_points(self) -> Decimal:
        return self.signed_points if self.bucket == "earned" else -self.signed_points


@dataclass(frozen=True)
class Waiting:
    """What was pending or on hold at the cutoff of a month, of one currency."""

    relations: int
    transfers: int
    given_points: Decimal
    deducted_points: Decimal


@dataclass(frozen=True)
class Line:
    """The programme's line of one month and currency."""

    relations: int
    posted: int
    late: int
    late_points: Decimal
    given_back_points: Decimal
    opening_points: Decimal
    movements: Mapping[str, Decimal]
    totals: Mapping[str, Decimal]
    waiting: Waiting

    @property
    def closing_points(self) -> Decimal:
        return self.opening_points + outstanding(self.movements)


@dataclass(frozen=True)
class MonthCounts:
    """What was counted of a run.

    ``pairs`` counts those of currency and relation reference that the run knows, by currency and by the month
    from which on they have a balance, None where no month of the run has it. ``waiting`` is by month and
    currency, ``opening_totals`` by currency and bucket. ``lines`` are by month (``YYYY-MM``) and currency:
    the default currency has one in every month, any other from its first relation reference on, or while
    something of it waits.
    """

    tallies: Sequence[Tally]
    pairs: Mapping[tuple[str, int | None], int]
    waiting: Mapping[tuple[int, str], Waiting]
    opening_totals: Mapping[str, Mapping[str, Decimal]]
    lines: Mapping[tuple[str, str], Line]


def count_months(duck: duckdb.DuckDBPyConnection, scope: Scope) -> MonthCounts:
    """Count the transfers that `orchestration.recount.transfers.create_transfers` has made in ``duck``."""
    tallies = _tally_transfers(duck)
    pairs = _count_pairs(duck, scope)
    waiting = _count_waiting(duck)
    opening_totals = _read_opening_totals(duck, scope)
    lines = _roll_forward(scope, tallies, pairs, waiting, opening_totals)
    return MonthCounts(tallies, pairs, waiting, opening_totals, lines)


def outstanding(buckets: Mapping[str, Decimal]) -> Decimal:
    """What remains of points by bucket (docs/design.md, section 7)."""
    return buckets["earned"] - buckets["reversal"] - buckets["redeemed"] - buckets["expired"]


def _tally_transfers(duck: duckdb.DuckDBPyConnection) -> list[Tally]:
    counted = " union all ".join(
        f"""
        select
            status,
            case when status <> 'approved' then occurred_month end as occurred_month,
            posting_month,
            is_late,
            currency,
            reason,
            style,
            {bucket} as bucket,
            count(*) as transfers,
            sum(points) as points
        from {transfers}
        group by all
        """
        for transfers, bucket in (
            ("plain_transfers", "cast(null as varchar)"),
            ("(from singled_transfers where is_read)", "bucket"),
        )
    )
    rows = duck.execute(
        f"""
        select counted.* replace (coalesce(counted.bucket, rule_months.bucket) as bucket)
        from ({counted}) as counted
        left join rule_months using (reason, style, posting_month)
        """
    ).fetchall()
    names = [column[0] for column in duck.description]
    return [Tally(**dict(zip(names, row, strict=True))) for row in rows]


def _count_pairs(duck: duckdb.DuckDBPyConnection, scope: Scope) -> dict[tuple[str, int | None], int]:
    """Create ``pairs``, each with the first month that has it, and count them."""
    last_closed = month_number(scope.months[0]) - 1
    handed_in = (
        f"union all select currency, relation_reference, {last_closed} from {scope.balances}"
        if scope.balances
        else ""
    )
    duck.execute(
        f"""
        create temp table pairs as
        with opened as (
            select events.relation_reference, min(run_months.posting_month) as posting_month
            from {scope.part("account_events")} as events
            left join run_months
                on
                    report_month(events.occurred_at) <= run_months.posting_month
                    and coalesce(events.entry_id <= run_months.cutoff_entry_id, true)
            where events.event = 'open'
            group by all
        )

        select currency, relation_reference, min(posting_month) as first_month
        from (
            select currency, relation_reference, posting_month from plain_transfers
            union all
            select currency, relation_reference, posting_month from singled_transfers where is_read
            union all
            select {literal(scope.settings.default_currency)}, relation_reference, posting_month
            from opened
            {handed_in}
        )
        group by all
        """
    )
    rows = duck.execute(
        f"""
        select
            currency,
            case when first_month <= {month_number(scope.months[-1])} then first_month end,
            count(*)
        from pairs
        group by all
        """
    ).fetchall()
    return {(currency, month): count for currency, month, count in rows}


def _count_waiting(duck: duckdb.DuckDBPyConnection) -> dict[tuple[int, str], Waiting]:
    """Create ``waiting_customers``: what waited at the cutoff of each month's close, or waits now where no
    close in force holds it; and add it up."""
    duck.execute(
        """
        create temp table waiting_customers as
        select
            run_months.posting_month,
            currency,
            relation_reference,
            count(*) as transfers,
            coalesce(sum(points) filter (style = 'give'), 0)::decimal(38, 4) as pending_given_points,
            coalesce(sum(points) filter (style = 'deduct'), 0)::decimal(38, 4) as pending_deducted_points
        from singled_transfers
        inner join run_months on singled_transfers.occurred_month <= run_months.posting_month
        where
            is_read
            and first_status in ('pending', 'on_hold')
            and case
                when run_months.cutoff_entry_id is null then status in ('pending', 'on_hold')
                else
                    entry_id <= run_months.cutoff_entry_id
                    and coalesce(settled_entry_id > run_months.cutoff_entry_id, true)
            end
        group by all
        """
    )
    rows = duck.execute(
        """
        select
            posting_month, currency, count(*), cast(sum(transfers) as bigint),
            sum(pending_given_points), sum(pending_deducted_points)
        from waiting_customers
        group by all
        """
    ).fetchall()
    return {(month, currency): Waiting(*numbers) for month, currency, *numbers in rows}


def _read_opening_totals(duck: duckdb.DuckDBPyConnection, scope: Scope) -> dict[str, dict[str, Decimal]]:
    """The totals to date with which the run begins, by currency and bucket."""
    if not scope.balances:
        return {}
    rows = duck.execute(
        f"""
        select currency, {", ".join(f"sum(total_{bucket}_points)" for bucket in BUCKETS)}
        from {scope.balances}
        group by all
        """
    ).fetchall()
    return {currency: dict(zip(BUCKETS, totals, strict=True)) for currency, *totals in rows}


def _handed_in_points(scope: Scope, currency: str) -> Decimal:
    """What the manifest of the opening says was outstanding."""
    totals = scope.opening.control_totals.get(currency) if scope.opening else None
    return Decimal(totals["closing_points"]) if totals else _ZERO


def _roll_forward(
    scope: Scope,
    tallies: Sequence[Tally],
    pairs: Mapping[tuple[str, int | None], int],
    waiting: Mapping[tuple[int, str], Waiting],
    opening_totals: Mapping[str, Mapping[str, Decimal]],
) -> dict[tuple[str, str], Line]:
    posted = defaultdict(list)
    for tally in tallies:
        posted[tally.posting_month, tally.currency].append(tally)
    default = scope.settings.default_currency
    currencies = {default, *opening_totals}
    currencies |= {currency for currency, _ in pairs} | {currency for _, currency in waiting}
    lines = {}
    for currency in sorted(currencies):
        opening_points = _handed_in_points(scope, currency)
        totals = dict(opening_totals.get(currency) or dict.fromkeys(BUCKETS, _ZERO))
        relations = pairs.get((currency, month_number(scope.months[0]) - 1), 0)
        for month in scope.months:
            number = month_number(month)
            moved = posted[number, currency]
            relations += pairs.get((currency, number), 0)
            movements = {
                bucket: _sum(tally.bucket_points for tally in moved if tally.bucket == bucket)
                for bucket in BUCKETS
            }
            totals = {bucket: totals[bucket] + movements[bucket] for bucket in BUCKETS}
            line = Line(
                relations=relations,
                posted=sum(tally.transfers for tally in moved),
                late=sum(tally.transfers for tally in moved if tally.is_late),
                late_points=_sum(tally.signed_points for tally in moved if tally.is_late),
                given_back_points=_sum(
                    tally.points for tally in moved if (tally.bucket, tally.style) == ("redeemed", "give")
                ),
                opening_points=opening_points,
                movements=movements,
                totals=totals,
                waiting=waiting.get((number, currency), Waiting(0, 0, _ZERO, _ZERO)),
            )
            opening_points = line.closing_points
            if currency == default or relations or line.waiting.transfers:
                lines[month, currency] = line
    return lines


def _sum(points: Iterable[Decimal]) -> Decimal:
    return sum(points, _ZERO)


def control_totals(scope: Scope, counts: MonthCounts) -> dict[str, dict[str, dict]]:
    """The control totals by month and currency, as a manifest has them: points are text.

    What waits, was cancelled or comes later is left out for months that a close in force holds.
    """
    closed = {month for month, _ in scope.closes}
    totals: dict[str, dict[str, dict]] = {month: {} for month in scope.months}
    for (month, currency), line in counts.lines.items():
        number = month_number(month)
        totals[month][currency] = {
            "relation_references": line.relations,
            "posted_transfers": line.posted,
            "opening_points": points_text(line.opening_points),
            **{f"{bucket}_points": points_text(line.movements[bucket]) for bucket in BUCKETS},
            "closing_points": points_text(line.closing_points),
        }
        if month in closed:
            continue
        own = [tally for tally in counts.tallies if tally.currency == currency]
        for status in ("pending", "on_hold", "cancelled"):
            totals[month][currency][status] = _count_and_points(
                tally for tally in own if tally.status == status and tally.occurred_month <= number
            )
        totals[month][currency]["later"] = _count_and_points(
            tally for tally in own if tally.status == "approved" and tally.posting_month > number
        )
    return totals


def _count_and_points(tallies: Iterable[Tally]) -> dict[str, int | str]:
    tallies = list(tallies)
    given = _sum(tally.points for tally in tallies if tally.style == "give")
    deducted = _sum(tally.points for tally in tallies if tally.style == "deduct")
    return {
        "transfers": sum(tally.transfers for tally in tallies),
        "given_points": points_text(given),
        "deducted_points": points_text(deducted),
    }


def find_problems(scope: Scope, counts: MonthCounts) -> list[str]:
    """Sentences on what no build can make good: transfers without a month or a bucket, an opening that
    contradicts itself."""
    problems = []
    posted = [tally for tally in counts.tallies if tally.posting_month is not None]
    early = sum(tally.transfers for tally in posted if tally.posting_month < month_number(scope.months[0]))
    if early:
        problems.append(f"{early:,} transfers post before {scope.months[0]}, the first month of the run")
    for reason, style in sorted({(tally.reason, tally.style) for tally in posted if tally.bucket is None}):
        problems.append(f"{RULES_FILE.name} has no bucket for {reason}, {style} in a month in which it posts")
    for currency in sorted(
        {*counts.opening_totals, *(scope.opening.control_totals if scope.opening else ())}
    ):
        said = _handed_in_points(scope, currency)
        found = outstanding(counts.opening_totals.get(currency) or dict.fromkeys(BUCKETS, _ZERO))
        if said != found:
            problems.append(
                f"the balances of {scope.opening.report_month} add up to {points_text(found)} {currency}, but"
                f" its manifest says {points_text(said)}"
            )
    return problems
