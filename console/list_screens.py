"""What ``points transfers`` and ``balances`` show to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from console.tables import Screen, print_whole
from ledger.amounts import points_text
from ledger.lists.paging import Page
from ledger.lists.transfer_details import TransferDetails
from ledger.lists.transfer_lists import ListedTransfer
from ledger.models import KeptBalance
from ledger.moments import Moment
from ledger.zones import Zone

if TYPE_CHECKING:
    from orchestration.transfer_postings import Posting


def show_moment(moment: Moment, zone: Zone) -> None:
    """Of when the balances are that follow."""
    Screen().print(
        f"What had taken effect by {zone.local(moment.now):%Y-%m-%d %H:%M:%S} ({zone.name}), as the"
        f" ledger stood at entry {moment.upto_entry_id:,}."
    )


def show_balances(page: Page[KeptBalance]) -> None:
    """A page of balances; a column of waiting points is left out where it is empty."""
    console = Screen()
    balances = page.rows
    if not balances:
        console.print("No balance matches.")
        return
    waiting = {
        "Pending +": "pending_given_points",
        "Pending −": "pending_deducted_points",
        "On hold +": "on_hold_given_points",
        "On hold −": "on_hold_deducted_points",
        "Later": "later_points",
    }
    shown = {
        title: name for title, name in waiting.items() if any(getattr(balance, name) for balance in balances)
    }
    table = Table("Relation Reference", "Currency", "Approved", *shown, "Spendable", "Account")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for balance in balances:
        points = [balance.approved_points, *(getattr(balance, name) for name in shown.values())]
        table.add_row(
            Text(balance.relation_reference),
            balance.currency,
            *map(grouped, [*points, balance.spendable_points]),
            "closed" if balance.is_account_closed else "",
        )
    print_whole(console, table)
    _show_ways_on(console, page)


def show_transfers(page: Page[ListedTransfer], zone: Zone, as_of: int | None) -> None:
    """A page of transfers; ``as_of`` is up to which entry months, if they were asked too, read the ledger."""
    console = Screen()
    if page.rows:
        print_whole(console, _transfers_table(page.rows, zone))
    else:
        console.print("No transfer matches.")
    if as_of is not None:
        console.print(
            f"Buckets and posted months are those of closed or built months, up to entry {as_of:,}."
        )
    _show_ways_on(console, page)


def show_transfer(details: TransferDetails, posting: Posting | None, zone: Zone) -> None:
    """One transfer whole, with the month and bucket that it posted to, where those are known."""
    console = Screen()
    transfer = details.transfer
    sign = "+" if transfer.style == "give" else "−"
    fields = {
        "Transfer": transfer.transfer_id,
        "Relation reference": transfer.relation_reference,
        "Points": f"{sign}{grouped(transfer.points)} {transfer.currency} ({transfer.style})",
        "Not revoked": f"{grouped(transfer.unrevoked_points)} {transfer.currency}",
        "Reason": transfer.reason,
        "Other half": _in_short(details.other_half) if details.other_half else "",
        "Status": transfer.status,
        "Posted": _posted(posting, transfer.status),
        "Occurred": wall_clock(transfer.occurred_at, zone),
        "Recorded": f"{wall_clock(transfer.recorded_at, zone)} by {transfer.recorded_by},"
        f" entry {transfer.entry_id:,}",
        "Batch": transfer.batch_id,
        "External reference": transfer.external_reference,
        "Comment": transfer.comment,
    }
    for title, value in fields.items():
        if value:
            console.print(Text(f"{title:<19} {value}"))
    console.print("\nStatuses")
    for event in details.statuses:
        comment = f"  {event.comment}" if event.comment else ""
        console.print(
            Text(
                f"  {event.status:<9} {wall_clock(event.changed_at, zone)}  by {event.recorded_by},"
                f" entry {event.entry_id:,}{comment}"
            )
        )
    if details.notes:
        console.print("\nNotes")
        for note in details.notes:
            at = wall_clock(note.recorded_at, zone)
            console.print(Text(f"  {at}  {note.recorded_by}: {note.text}"))
    if details.revokes or details.missing_original:
        console.print("\nRevokes")
        for original in details.revokes:
            console.print(Text(f"  {_in_short(original)}"))
        if details.missing_original:
            console.print(Text(f"  {details.missing_original}, which the ledger does not have"))
        if details.is_circular:
            console.print("  which leads back in a circle")
    if details.revoked_by:
        console.print("\nRevoked by")
        for revocation in details.revoked_by:
            # Deep chains stay readable on any screen.
            indent = "  " * min(revocation.depth, 10)
            console.print(Text(f"{indent}{_in_short(revocation.transfer)}"))


def _posted(posting: Posting | None, status: str) -> str:
    """Where a transfer counts, and what says so."""
    if posting is None:
        unknown = "in no closed month and no build yet; `points build` makes one"
        return unknown if status == "approved" else f"in no month: it is {status}"
    source = f"closed, r{posting.revision}" if posting.revision else "provisional, by the newest build"
    return f"{posting.report_month}, {posting.bucket}{', late' if posting.is_late else ''} ({source})"


def wall_clock(instant: datetime, zone: Zone) -> str:
    """An instant as the programme's clocks showed it, to the second."""
    return f"{zone.local(instant):%Y-%m-%d %H:%M:%S} {zone.name}"


def grouped(points: Decimal) -> str:
    """Exact points with thousands apart: ``-1,234.5``."""
    sign, text = ("-", points_text(-points)) if points < 0 else ("", points_text(points))
    whole, _, places = text.partition(".")
    return f"{sign}{int(whole):,}" + (f".{places}" if places else "")


def _transfers_table(transfers: Sequence[ListedTransfer], zone: Zone) -> Table:
    is_revoked = any(transfer.is_revoked for transfer in transfers)
    table = Table(
        "Entry",
        "Transfer",
        "Relation Reference",
        f"Occurred ({zone.name})",
        "Points",
        "Currency",
        "Reason",
        "Status",
        *(["Revoked"] if is_revoked else []),
    )
    for position in (0, 4, *([8] if is_revoked else [])):
        table.columns[position].justify = "right"
    for transfer in transfers:
        sign = "" if transfer.style == "give" else "-"
        revoked = grouped(transfer.revoked_points) if transfer.is_revoked else ""
        table.add_row(
            f"{transfer.entry_id:,}",
            Text(transfer.transfer_id),
            Text(transfer.relation_reference),
            wall_clock(transfer.occurred_at, zone).removesuffix(f" {zone.name}"),
            f"{sign}{grouped(transfer.points)}",
            transfer.currency,
            transfer.reason,
            transfer.status,
            *([revoked] if is_revoked else []),
        )
    return table


def _in_short(transfer: ListedTransfer) -> str:
    sign = "+" if transfer.style == "give" else "−"
    return (
        f"{transfer.transfer_id}  {sign}{grouped(transfer.points)} {transfer.currency}  {transfer.reason},"
        f" {transfer.status}; not revoked: {grouped(transfer.unrevoked_points)}"
    )


def _show_ways_on(console: Screen, page: Page) -> None:
    ways = {
        "More: the same with --after": page.next_cursor,
        "Back: the same with --before": page.previous_cursor,
    }
    for words, cursor in ways.items():
        if cursor:
            console.print(f"{words} {cursor}")
