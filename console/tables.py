"""Tables for people, and where refusals go; what every command may import without waiting."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def error_console() -> Console:
    """Where refusals go: standard error, one line each however narrow the screen."""
    return Console(stderr=True, soft_wrap=True)


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as its numbers are: a cut number is a wrong number."""
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)
