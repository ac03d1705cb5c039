"""What is shown of deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.table import Table

from console.tables import Screen, print_whole
from ledger.settings import Settings
from ledger.shown_text import counted

if TYPE_CHECKING:
    from orchestration.month_delivery import Deliveries


@contextmanager
def delivery_status(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line that says what is being delivered, where standard error is a screen."""
    console = Screen(stderr=True, quiet=quiet)
    if quiet or not console.is_terminal:
        yield lambda sentence: None
        return
    with console.status("Delivering") as status:
        yield lambda sentence: status.update(f"Delivering {sentence}")


def show_deliveries(settings: Settings, deliveries: Deliveries) -> None:
    """A line for each revision and destination, or why there is none."""
    console = Screen()
    if not settings.deliver_to:
        console.print("POINTS_DELIVER_TO names no destination, so nothing is delivered.")
    elif deliveries.done:
        table = Table("Month", "Destination", "Files", "Sent now", "Bytes")
        for column in table.columns[2:]:
            column.justify = "right"
        for done in deliveries.done:
            table.add_row(
                done.month, done.destination, f"{done.files:,}", f"{done.sent:,}", f"{done.bytes:,}"
            )
        print_whole(console, table)
    elif not deliveries.failures:
        places = counted(len(settings.deliver_to), "destination")
        console.print(f"Nothing is due: what readers have was delivered to {places}.")
    _show_announced(console, deliveries)


def show_delivered_afterwards(deliveries: Deliveries) -> None:
    """What another command delivered and announced, in a line each."""
    console = Screen()
    for done in deliveries.done:
        console.print(f"Delivered: {done.month} to {done.destination}.")
    _show_announced(console, deliveries)


def _show_announced(console: Screen, deliveries: Deliveries) -> None:
    for one in deliveries.announced:
        console.print(f"Announced by {one.way}: {one.month} {one.event.replace('_', ' ')}.")
