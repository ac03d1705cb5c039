"""The recount of what a customer's row says beside points that count: what waits, and is the account closed.

Sums would not show what stands at another customer. So they come with a hash over customers and numbers: 5
points of C-1 that wait and are shown at C-2 give the same sum, and another hash.
"""

from collections.abc import Sequence

import duckdb

from orchestration.recount.figures import Figures
from orchestration.recount.transfers import Scope
from orchestration.report_calendar import ends_at, month_text

_WAITING_IN_MONTH = ("pending_given_points", "pending_deducted_points")
_WAITING_NOW = (*_WAITING_IN_MONTH, "on_hold_given_points", "on_hold_deducted_points")
# An account is what its last event made it, in the order of the ledger where several are of one instant.
_ENDS_CLOSED = "arg_max(event, (changed_at, coalesce(entry_id, 9223372036854775807), event)) = 'close'"


def create_account_changes(duck: duckdb.DuckDBPyConnection, scope: Scope) -> None:
    """Create ``account_changes``: each opening and closing of an account that the run knows.

    They are the ledger's events, transfers that close, and balances handed in of a closed account of which
    the ledger has no event so old: these have no entry, and closed it at their month's end.
    """
    events = scope.part("account_events")
    closing = "reason = 'account_closure' and status = 'approved'"
    handed_in = (
        f"""
        union all
        select distinct null, relation_reference, 'close',
            timestamp '{ends_at(scope.opening.report_month, scope.settings):%Y-%m-%d %H:%M:%S}'
        from {scope.balances}
        where is_account_closed and relation_reference not in (
            select relation_reference from {events} where entry_id <= {scope.opening_cutoff}
        )
        """
        if scope.opening
        else ""
    )
    duck.execute(
        f"""
        create temp table account_changes as
        select entry_id, relation_reference, event, occurred_at as changed_at from {events}
        union all
        select entry_id, relation_reference, 'close', occurred_at from plain_transfers where {closing}
        union all
        select effective_entry_id, relation_reference, 'close', effective_at
        from singled_transfers
        where is_read and {closing}
        {handed_in}
        """
    )


def figures_of_customers(duck: duckdb.DuckDBPyConnection, scope: Scope) -> list[Figures]:
    """Whose points wait and whose account is closed, at the end of each month and now."""
    waiting_now = ", ".join(
        f"coalesce(sum(points) filter (status = '{status}' and style = '{style}'), 0)::decimal(38, 4)"
        f" as {status}_{moved}_points"
        for status in ("pending", "on_hold")
        for style, moved in (("give", "given"), ("deduct", "deducted"))
    )
    return [
        *_ask(
            duck,
            "outstanding_points_by_month",
            ("report_month", "currency"),
            _WAITING_IN_MONTH,
            """
            select posting_month as report_month, waiting_customers.*
            from waiting_customers
            inner join pairs using (currency, relation_reference)
            where first_month <= posting_month
            """,
            f"""
            select posting_month as report_month, currency, relation_reference
            from (
                select posting_month, relation_reference
                from account_changes
                inner join run_months
                    on
                        report_month(changed_at) <= posting_month
                        and coalesce(entry_id <= cutoff_entry_id, true)
                group by all
                having {_ENDS_CLOSED}
            )
            inner join pairs using (relation_reference)
            where first_month <= posting_month
            """,
        ),
        *_ask(
            duck,
            "customer_point_balances",
            ("currency",),
            _WAITING_NOW,
            f"""
            select currency, relation_reference, {waiting_now}
            from read_transfers
            where status in ('pending', 'on_hold')
            group by currency, relation_reference
            """,
            f"""
            select currency, relation_reference
            from (select relation_reference from account_changes group by all having {_ENDS_CLOSED})
            inner join pairs using (relation_reference)
            """,
        ),
    ]


def _ask(
    duck: duckdb.DuckDBPyConnection,
    model: str,
    keys: Sequence[str],
    waiting: Sequence[str],
    waiting_customers: str,
    closed_accounts: str,
) -> list[Figures]:
    """The same questions to the model and to what it must hold: the rows of which something waits, and those
    of closed accounts."""
    questions = [
        (
            waiting_customers,
            " or ".join(f"{name} is distinct from 0" for name in waiting),
            {
                **{name: f"sum({name})" for name in waiting},
                "hash of what waits": f"sum(hash(relation_reference, {', '.join(waiting)}))",
            },
        ),
        (
            f"select *, true as is_account_closed from ({closed_accounts})",
            "is_account_closed is distinct from false",
            {
                "closed accounts": "count(*)",
                "hash of closed accounts": "sum(hash(relation_reference, is_account_closed))",
            },
        ),
    ]
    shown_keys = [f"strftime({key}, '%Y-%m')" if key == "report_month" else key for key in keys]
    figures = []
    for expected, condition, numbers in questions:
        counted = f"{', '.join(numbers.values())} from {{relation}} where {condition} group by all"
        rows = duck.execute(
            f"select {', '.join(keys)}, {counted.format(relation=f'({expected})')}"
        ).fetchall()
        figures.append(
            Figures(
                model=model,
                query=f"select {', '.join(shown_keys)}, {counted.format(relation=model)}",
                keys=tuple(keys),
                numbers=tuple(numbers),
                expected={
                    tuple(
                        month_text(value) if key == "report_month" else value
                        for key, value in zip(keys, row, strict=False)
                    ): row[len(keys) :]
                    for row in rows
                },
            )
        )
    return figures
