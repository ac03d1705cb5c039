"""What ``points close`` shows of its gate: what is open at the cutoff, and what is usually still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from console.list_screens import grouped
from console.tables import Screen, print_whole
from ledger.zones import Zone

if TYPE_CHECKING:
    from orchestration.close.gate import Gate


def gate_facts(gate: Gate) -> dict[str, object]:
    """The gate for JSON; points are exact text."""
    facts = gate.facts()
    if gate.lateness:
        facts["lateness"] |= {"days": gate.lateness.days, "expected": gate.lateness.expected}
    return facts


def show_gate(console: Screen, gate: Gate, zone: Zone) -> None:
    """What is open, as tables; what is not, in no word."""
    if gate.waiting:
        table = _table("Waiting", "Currency", "Transfers", "Given", "Deducted", "Since", right=(2, 3, 4))
        for row in gate.waiting:
            table.add_row(
                row.status.replace("_", " "),
                row.currency,
                f"{row.count:,}",
                grouped(row.given_points),
                grouped(row.deducted_points),
                f"{zone.local(row.since):%Y-%m-%d %H:%M}",
            )
        print_whole(console, table)
    found = [row for row in gate.discrepancies if row.action != "ignore"]
    if found:
        table = _table(
            "Discrepancy", "Month", "Severity", "Currency", "Count", "Points", "Close", right=(4, 5)
        )
        for row in found:
            points = grouped(row.points)
            table.add_row(
                Text(row.kind),
                row.report_month,
                row.severity,
                row.currency,
                f"{row.count:,}",
                points,
                row.action,
            )
        print_whole(console, table)
    for sentence in gate.warnings(zone):
        console.print(sentence, style="yellow")
    if lateness := gate.lateness:
        *_, total = lateness.recorded.values()
        table = _table("Days after the end", "Transfers", "Share", right=(0, 1, 2))
        for days, count in lateness.recorded.items():
            whole, tenths = divmod(1000 * count // total, 10)
            table.add_row(str(days), f"{count:,}", f"{whole}.{tenths} %")
        console.print(
            f"How late the transfers of {lateness.months[0]} to {lateness.months[-1]} were recorded:"
        )
        print_whole(console, table)
        console.print(
            f"Of {lateness.report_month}, {lateness.days} days after its end, {lateness.arrived:,} have come;"
            f" by that, some {lateness.expected:,} are still to come."
        )


def _table(*titles: str, right: tuple[int, ...]) -> Table:
    table = Table(*titles)
    for position in right:
        table.columns[position].justify = "right"
    return table
