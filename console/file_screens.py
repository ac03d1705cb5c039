"""What ``points import`` and ``quarantine`` show to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.tables import Screen, error_console, print_whole
from ledger.files.imports import ImportProgress, ImportRefused, ImportResult, bad_value_text
from ledger.files.quarantine import OpenRow
from ledger.shown_text import counted, shown

_BAD_ROWS_SHOWN = 20
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
    console = Screen()
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
    if result.skipped:
        console.print(f"{counted(result.skipped, 'row')} of zero points left out.")
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
    """What is bad in the first of the rows that refuse a file, on standard error as the refusal itself: a
    line for each bad value, as long as it must be."""
    console = error_console()
    first = list(dict.fromkeys(row.line for row in refused.bad_rows))[:_BAD_ROWS_SHOWN]
    for row in refused.bad_rows:
        if row.line in first:
            console.print(str(row))
    left = refused.bad_row_count - len(first)
    if left > 0:
        console.print(f"… and {left:,} more; --csv and --json list them.")


def show_open_rows(rows: list[OpenRow]) -> None:
    """The open quarantined rows, each with every bad value: what was sent is whole on any screen."""
    console = Screen()
    if not rows:
        console.print("No quarantined row is open.")
        return
    for row in rows:
        of = f", transfer {shown(row.transfer_id)}" if row.transfer_id else ""
        console.print(f"Entry {row.entry_id}: {shown(row.file_name)}, line {row.line:,}{of}, {row.code}")
        for bad in row.bad_values:
            console.print(f"    {bad_value_text(bad.column, bad.value, bad.expected)}")
    console.print(
        f"{len(rows):,} open. Send a row again put right, or say why not:"
        " `points quarantine dismiss ENTRY --reason TEXT`."
    )
