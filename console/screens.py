"""What the ``points`` command shows to people: tables and a progress bar. Programs get --json and --csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.tables import Screen, error_console, print_whole
from ledger.amounts import points_text
from ledger.settings import Settings
from ledger.shown_text import counted

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.closes import ClosedMonth
    from ledger.cut import Cut
    from orchestration.build import Build, BuildProgress
    from orchestration.close.closing import Closing
    from orchestration.reports import MonthSummary, Report

__all__ = [
    "build_progress",
    "error_console",
    "making_again_progress",
    "show_build",
    "show_closing",
    "show_cut",
    "show_export",
    "show_months",
    "show_reopening",
    "show_report",
]


@contextmanager
def build_progress(quiet: bool) -> Iterator[Callable[[BuildProgress], None]]:
    """A progress bar for a build, where standard error is a screen; what it yields takes each step."""
    titles = {
        "cut": "Ledger",
        "entries": "Entries",
        "reading": "Files sent",
        "models": "Models and tests",
        "files": "Files",
    }
    console = Screen(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as progress:
        tasks: dict[str, int] = {}

        def report(step: BuildProgress) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = progress.add_task(titles[step.phase], total=step.total, step="")
            done = max(step.position, int(progress.tasks[tasks[step.phase]].completed))
            progress.update(tasks[step.phase], completed=done, step=escape(step.name))

        yield report


@contextmanager
def making_again_progress() -> Iterator[Callable[[BuildProgress], None]]:
    """A progress bar for months that are made again before a command; shown once there are any."""
    with ExitStack() as stack:
        begun: list[Callable[[BuildProgress], None]] = []

        def report(step: BuildProgress) -> None:
            if not begun:
                error_console().print(
                    "Closed months that readers lack are made again from the ledger first …"
                )
                begun.append(stack.enter_context(build_progress(quiet=False)))
            begun[0](step)

        yield report


def show_report(settings: Settings, report: Report, limit: int = 10) -> None:
    """A month's report: the programme's roll-forward, then the first ``limit`` customers."""
    console = Screen()
    summary = report.summary
    console.print(
        f"\n[bold]{escape(settings.programme_name)}[/bold], {summary.report_month},"
        f" {summary.currency} ({_described(summary)})\n"
    )
    movement = Table("Opening", "Earned", "Reversal", "Redeemed", "Expired", "Closing")
    for column in movement.columns:
        column.justify = "right"
    movement.add_row(*_movement(summary))
    movement.title = "The month's movement"
    movement.title_justify = "left"
    print_whole(console, movement)
    if limit:
        print_whole(console, _customers(report, limit))
    below_zero = summary.negative_relation_count
    console.print(
        f"{counted(summary.relation_count, 'relation reference')}, {below_zero:,} of them below zero;"
        f" {counted(summary.posted_transfer_count, 'transfer')} posted in the month."
    )
    console.print(f"File: {report.csv_file}", soft_wrap=True, highlight=False, markup=False)


def _customers(report: Report, limit: int) -> Table:
    table = Table("Relation Reference", "Earned", "Reversal", "Redeemed", "Expired", "Outstanding")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in report.rows(limit):
        relation_reference, *points = vars(row).values()
        table.add_row(escape(relation_reference), *map(_grouped, points))
    if report.summary.relation_count > limit:
        table.caption = f"… and {report.summary.relation_count - limit:,} more"
        table.caption_justify = "left"
    table.title = "Totals to date"
    table.title_justify = "left"
    return table


def show_months(settings: Settings, summaries: list[MonthSummary]) -> None:
    """The months, one line a currency."""
    console = Screen()
    if not summaries:
        console.print(
            f"No month has been built or closed in {settings.home}; run `points build`.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    table = Table(
        "Month",
        "Status",
        "Currency",
        "Customers",
        "Opening",
        "Earned",
        "Reversal",
        "Redeemed",
        "Expired",
        "Closing",
        "Closed",
    )
    for column in table.columns[3:-1]:
        column.justify = "right"
    for summary in summaries:
        table.add_row(
            summary.report_month,
            _described(summary),
            summary.currency,
            f"{summary.relation_count:,}",
            *_movement(summary),
            escape(_closed(summary)),
        )
    print_whole(console, table)
    for name in sorted({summary.folder.relative_to(settings.home).parts[0] for summary in summaries}):
        console.print(f"Files: {settings.home}/{name}", soft_wrap=True, highlight=False, markup=False)


def _closed(summary: MonthSummary) -> str:
    """When a month was closed and by whom, and on a line of its own who signed it off."""
    lines = []
    if summary.closed_at:
        lines.append(f"{summary.closed_at:%Y-%m-%d %H:%M} UTC, {summary.closed_by}")
    if summary.signed_off_at:
        lines.append(f"signed off {summary.signed_off_at:%Y-%m-%d %H:%M} UTC, {summary.signed_off_by}")
    return "\n".join(lines)


def _described(summary: MonthSummary) -> str:
    return summary.status + (f", r{summary.revision}" if summary.revision else "")


def show_closing(settings: Settings, closing: Closing) -> None:
    """Which months were closed and where their files are, or why there was nothing to do."""
    console = Screen(soft_wrap=True, highlight=False, markup=False)
    following = (
        f"Next is {closing.next_month}, which has ended; `points close` closes it."
        if closing.next_has_ended
        else f"Next is {closing.next_month}, which can be closed from"
        f" {closing.next_ends_at:%Y-%m-%d %H:%M} UTC on."
    )
    if closing.already:
        already = closing.already
        console.print(
            f"{already.report_month} is closed already, with revision {already.revision} of"
            f" {already.closed_at:%Y-%m-%d %H:%M} UTC by {already.closed_by}; nothing was done."
        )
    elif not closing.closed:
        console.print("There is no month to close: all that have ended are closed.")
    else:
        first, last = closing.closed[0], closing.closed[-1]
        months = counted(len(closing.closed), "month")
        span = first.name if first == last else f"{first.name} to {last.name}"
        console.print(f"\nClosed {months}, {span}, from the ledger up to entry {last.cutoff_entry_id:,}.")
        console.print(f"Files: {settings.home}/published")
    console.print(following)
    for note in closing.zone_notes:
        console.print(note, style="yellow")
    _show_quarantine(console, closing.quarantined_in_ledger)


def show_reopening(reopened: Sequence[ClosedMonth]) -> None:
    """Which months are open again, and what readers have meanwhile."""
    names = ", ".join(closed.name for closed in reopened)
    Screen(soft_wrap=True, highlight=False, markup=False).print(
        f"Reopened {names}. Readers keep what was issued, flagged as reopened, until every month that was"
        " closed is closed again: `points months` shows which, and `points close --through MONTH` does it."
    )


def show_export(file: Path, tables: list[tuple[str, int]]) -> None:
    """The tables of an exported database, and where it is."""
    console = Screen()
    table = Table("Table", "Rows")
    table.columns[1].justify = "right"
    for name, rows in tables:
        table.add_row(name, f"{rows:,}")
    print_whole(console, table)
    console.print(f"File: {file}", soft_wrap=True, highlight=False, markup=False)


def show_build(build: Build) -> None:
    """What a build did, and where its files stand."""
    console = Screen(soft_wrap=True, highlight=False)
    first, last = build.months[0].report_month, build.months[-1].report_month
    span = first if first == last else f"{first} to {last}"
    console.print(
        f"\nBuilt {counted(len(build.months), 'month')}, {span}; {build.test_count} tests passed.",
    )
    console.print(f"Files: {build.folder}", markup=False)
    if build.quarantined:
        console.print(
            f"{counted(build.quarantined, 'row was', 'rows were')} set aside and in no balance;"
            f" {build.quarantine} gives the reason of each.",
            style="yellow",
            markup=False,
        )
    _show_quarantine(console, build.quarantined_in_ledger)


def _show_quarantine(console: Screen, rows: int) -> None:
    """That rows of imported files wait, where some do."""
    if rows:
        console.print(
            f"{counted(rows, 'row of an imported file is', 'rows of imported files are')} quarantined and in"
            " no balance; `points quarantine` lists them.",
            style="yellow",
            markup=False,
        )


def show_cut(cut: Cut, rows: dict[str, int]) -> None:
    """Up to which entry the ledger is frozen, and the rows of each part."""
    console = Screen()
    table = Table("Part", "Rows")
    table.columns[1].justify = "right"
    for part, count in rows.items():
        table.add_row(part, f"{count:,}")
    print_whole(console, table)
    console.print(f"The ledger up to entry {cut.head.entry_id:,}.", highlight=False)
    console.print(f"Files: {cut.folder}", soft_wrap=True, highlight=False, markup=False)


def _movement(summary: MonthSummary) -> list[str]:
    """The roll-forward of a month, from opening to closing."""
    return [
        _grouped(points)
        for points in (
            summary.opening_points,
            summary.earned_points,
            summary.reversal_points,
            summary.redeemed_points,
            summary.expired_points,
            summary.closing_points,
        )
    ]


def _grouped(points: object) -> str:
    whole, _, places = points_text(points).partition(".")
    return f"{int(whole):,}" + (f".{places}" if places else "") if whole != "-0" else f"-0.{places}"
