"""What ``points import`` and ``quarantine`` show to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from console.tables import Screen, print_whole
from ledger.files.imports import ImportProgress, ImportRefused, ImportResult
from ledger.files.quarantine import OpenRow
from ledger.shown_text import counted, shown

_BAD_ROWS_SHOWN = 20
_VALUE_LENGTH = 40
_LONGEST_VALUE = 1_000
_TITLES = {"reading": "Reading", "comparing": "Comparing", "adding": "Adding"}


@contextmanager
def import_progress(quiet: bool) -> Iterator[Callable[[ImportProgress], None]]:
    """A progress bar on a screen, one line a phase; what it yields takes each step."""
    console = Screen(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=None)

        def report(step: ImportProgress) -> None:
            # The comparison is one SQL statement, whose progress is not known.
            total = step.total if step.phase == "adding" else None
            progress.update(task, description=_TITLES[step.phase], completed=step.done, total=total)

        yield report


def show_import(result: ImportResult) -> None:
    """What an import did, or would do."""
    console = Screen(soft_wrap=True, highlight=False, markup=False)
    if not result.row_count:
        console.print(f"{shown(str(result.path))} has no rows, so nothing was added.")
        return
    table = Table("Rows", "Added", "Duplicates", "Status changes", "Quarantined", "Rows a second")
    for column in table.columns:
        column.justify = "right"
    counts = (
        *(result.row_count, result.added, result.duplicates, result.status_changes),
        *(result.quarantined, result.rows_per_second),
    )
    table.add_row(*(f"{count:,}" for count in counts))
    print_whole(console, table)
    if result.closed_accounts:
        accounts = counted(result.closed_accounts, "account was", "accounts were")
        console.print(f"{accounts} closed by a transfer of the file.")
    for warning in result.warnings:
        console.print(warning, style="yellow")
    if result.dry_run:
        console.print("This was a dry run: nothing was recorded.")
    elif not result.entry_count:
        console.print(f"Nothing was added: the ledger has every row of {shown(str(result.path))} already.")
    else:
        console.print(f"Batch: {result.batch_id}")
    if result.quarantined:
        console.print(
            f"{counted(result.quarantined, 'row is', 'rows are')} set aside and in no balance;"
            " `points quarantine` lists them.",
            style="yellow",
        )


def show_bad_rows(refused: ImportRefused) -> None:
    """The first of the rows that refuse a file, on standard error as the refusal itself."""
    console = Screen(stderr=True, soft_wrap=True)
    table = Table("Line", "Transfer", "Code", "Column", "Value", "Expected")
    table.columns[0].justify = "right"
    for row in refused.bad_rows[:_BAD_ROWS_SHOWN]:
        table.add_row(
            f"{row.line:,}", _plain(row.transfer_id), row.code, row.column, _plain(row.value), row.expected
        )
    console.print(table)
    left = refused.bad_row_count - _BAD_ROWS_SHOWN
    if left > 0:
        console.print(f"… and {left:,} more; --csv and --json list them.", highlight=False)


def show_open_rows(rows: list[OpenRow]) -> None:
    """The open quarantined rows, each with the reason: what was sent is whole on any screen."""
    console = Screen()
    if not rows:
        console.print("No quarantined row is open.")
        return
    for row in rows:
        console.print(
            f"Entry {row.entry_id}: line {row.line:,} of {shown(row.file_name)}, transfer"
            f" {_whole(row.transfer_id)}"
        )
        sent = f"{row.column} is {_whole(row.value)}; " if row.column else ""
        finding = f"{sent}expected {row.expected} ({row.code})"
        console.print(Padding(Text(finding), (0, 0, 0, 4), expand=False), soft_wrap=False)
    console.print(
        f"\n{len(rows):,} open. Send a row again put right, or say why not:"
        " `points quarantine dismiss ENTRY --reason TEXT`."
    )


def _whole(value: str) -> str:
    """A value that was sent, up to a length that a value with a rule of its own hardly has."""
    if len(value) <= _LONGEST_VALUE:
        return shown(value) or "empty"
    return f"{shown(value[:_LONGEST_VALUE])}… ({len(value):,} characters; --csv and --json have all)"


def _plain(value: str) -> Text:
    """Any value that was sent, on one line of a table."""
    return Text(shown(value if len(value) <= _VALUE_LENGTH else f"{value[:_VALUE_LENGTH]}…"))
