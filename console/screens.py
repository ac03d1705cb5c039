"""What the ``points`` command shows to people: tables and a progress bar. Programs get --json and --csv."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from console.gate_screen import show_gate
from console.tables import Screen, error_console, print_whole
from ledger.amounts import points_text
from ledger.settings import Settings
from ledger.shown_text import counted

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from ledger.closes import ClosedMonth
    from ledger.cut import Cut
    from ledger.reconciliation_items import Item
    from ledger.zones import Zone
    from orchestration.build import Build, BuildProgress
    from orchestration.close.closing import Closing
    from orchestration.explanations import (
        ExplainedTransfer,
        LineExplanation,
        RowExplanation,
        Waiting,
        WaitingTransfer,
    )
    from orchestration.month_comparison import MonthComparison
    from orchestration.reconciliation import Reconciliation
    from orchestration.report_tables import Choice, ReportTable
    from orchestration.reports import MonthSummary, Report
    from orchestration.restatement import RestatedMonth
    from orchestration.samples import Sample
    from orchestration.statements import Statement

__all__ = [
    "build_progress",
    "error_console",
    "making_again_progress",
    "show_build",
    "show_closing",
    "show_comparison",
    "show_cut",
    "show_export",
    "show_items",
    "show_line_explanation",
    "show_months",
    "show_reconciliation",
    "show_reopening",
    "show_report",
    "show_restatement",
    "show_row_explanation",
    "show_sample",
    "show_statement",
    "show_statements",
]


# A day and a short name; with the other columns 80.
_CLOSED_WIDTH = 16


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


def show_report(
    settings: Settings, report: Report, table: ReportTable, choice: Choice, limit: int = 10
) -> None:
    """A month's report: the programme's movement, then its lines, or the first ``limit`` customers chosen."""
    # Before anything is shown: a file that was altered is refused here.
    shown = None
    if table.is_of_programme:
        shown = _lines(table)
    elif limit:
        shown = _customers(table, choice, limit)
    console = Screen()
    summary = report.summary
    title = Text("\n").append(settings.programme_name, "bold")
    console.print(title.append(f", {summary.report_month}, {summary.currency} ({_described(summary)})\n"))
    movement = Table("Opening", "Earned", "Reversal", "Redeemed", "Expired", "Closing")
    for column in movement.columns:
        column.justify = "right"
    movement.add_row(*_movement(summary))
    movement.title = "The month's movement"
    movement.title_justify = "left"
    print_whole(console, movement)
    if shown is not None:
        print_whole(console, shown)
    below_zero = summary.negative_relation_count
    console.print(
        f"{counted(summary.relation_count, 'relation reference')}, {below_zero:,} of them below zero;"
        f" {counted(summary.posted_transfer_count, 'transfer')} posted in the month."
    )
    console.print(f"File: {report.csv_file(table.file)}")


def show_restatement(
    settings: Settings,
    month: str,
    revisions: tuple[int, int],
    currency: str,
    restated: RestatedMonth,
    choice: Choice,
    limit: int,
) -> None:
    """What one revision of a month says otherwise than another: the programme's movement in both and what
    lies between, then the same of the first ``limit`` customers chosen."""
    console = Screen()
    title = Text("\n").append(settings.programme_name, "bold")
    console.print(title.append(f", {month}, {currency}, revision {revisions[1]} against {revisions[0]}\n"))
    headings = ("Opening", "Earned", "Reversal", "Redeemed", "Expired", "Closing")
    table = Table("", "Transfers", *headings, box=box.SIMPLE_HEAD)
    for line, transfers, *points in restated.programme(currency):
        table.add_row(line, "" if transfers is None else f"{transfers:,}", *map(_grouped, points))
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = "The programme's movement"
    table.title_justify = "left"
    print_whole(console, table)
    count = restated.count(currency, choice)
    if limit and count:
        print_whole(console, _bridges(restated, currency, choice, limit, headings, count))
    console.print(f"{counted(count, 'relation reference')} restated.")


def _bridges(
    restated: RestatedMonth,
    currency: str,
    choice: Choice,
    limit: int,
    headings: Sequence[str],
    count: int,
) -> Table:
    table = Table("Relation Reference", "Line", *headings, "Cause", box=box.SIMPLE_HEAD)
    table.title = "Customers"
    table.title_justify = "left"
    for column in table.columns[2:-1]:
        column.justify = "right"
    shown = None
    for row in restated.rows(currency, choice, limit):
        relation_reference, line, *points, transfer_id, _, _, cause = row
        if relation_reference != shown:
            table.add_section()
        first = "" if relation_reference == shown else relation_reference
        shown = relation_reference
        table.add_row(first, transfer_id or line, *map(_grouped, points[:6]), cause)
    if count > limit:
        table.caption = f"… and {count - limit:,} more"
        table.caption_justify = "left"
    return table


def _customers(customers: ReportTable, choice: Choice, limit: int) -> Table:
    table = Table(*(re.sub("^Total | Points$", "", heading) for heading in customers.columns))
    for column in table.columns[1:]:
        column.justify = "right"
    for relation_reference, *points in customers.rows(choice, limit):
        table.add_row(relation_reference, *map(_grouped, points))
    more = customers.count(choice) - limit
    if more > 0 or not table.rows:
        table.caption = f"… and {more:,} more" if table.rows else "No relation reference is like that."
        table.caption_justify = "left"
    table.title = customers.title
    table.title_justify = "left"
    return table


def _lines(programme: ReportTable) -> Table:
    """The programme's roll-forward by bucket and reason, and the control totals."""
    table = Table(*programme.columns)
    for column in table.columns[2:]:
        column.justify = "right"
    for line, reason, transfers, points in programme.rows():
        table.add_row(
            line,
            reason,
            transfers and f"{int(transfers):,}",
            "" if points is None else _grouped(points),
        )
    return table


def show_comparison(comparison: MonthComparison, gained: Sequence[tuple], lost: Sequence[tuple]) -> None:
    """What moved the points from one month's end to another's, and the customers who moved most."""
    console = Screen()
    month, earlier = comparison.month, comparison.earlier
    ends = [f"{end.report_month} ({_described(end)})" for end in (month, earlier)]
    console.print(f"\n{ends[0]} against {ends[1]}, {month.currency}\n")
    table = Table("", "Reason", "Transfers", "Points", box=box.SIMPLE_HEAD)
    for column in table.columns[2:]:
        column.justify = "right"
    table.add_row(f"Closing {earlier.report_month}", "", "", _grouped(earlier.closing_points))
    for movement in comparison.movements:
        table.add_row(
            movement.bucket.capitalize(),
            movement.reason,
            f"{movement.transfer_count:,}",
            _grouped(movement.signed_points),
        )
    if comparison.restated_points:
        table.add_row("Closed anew in between", "", "", _grouped(comparison.restated_points))
    table.add_row(f"Closing {month.report_month}", "", "", _grouped(month.closing_points))
    print_whole(console, table)
    for title, group in (
        ("New", comparison.newcomers),
        ("Accounts closed", comparison.closed_accounts),
        ("Fell below zero", comparison.below_zero),
    ):
        references = counted(group.count, "relation reference")
        console.print(f"{title}: {references}, {_grouped(group.points)} points.")
    for title, changes in (("Gained most", gained), ("Lost most", lost)):
        if changes:
            console.print()
            print_whole(console, _changes(title, changes))


def _changes(title: str, changes: Sequence[tuple]) -> Table:
    table = Table("Relation Reference", "Before", "Now", "Change", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for relation_reference, *points in changes:
        table.add_row(relation_reference, *map(_grouped, points[:3]))
    return table


def show_statement(statement: Statement, zone: Zone) -> None:
    """A customer's months: what each began with, its transfers by the programme's clock, and its end."""
    console = Screen()
    console.print(f"\n{statement.relation_reference}, {statement.currency}\n")
    table = Table("Effective", "Transfer", "Reason", "Bucket", "Points", "Balance", "", box=box.SIMPLE_HEAD)
    for column in table.columns[4:6]:
        column.justify = "right"
    for month in statement.months:
        summary = month.summary
        name = f"{summary.report_month} ({_described(summary)})"
        if month.restated_points:
            table.add_row("Closed anew before", "", "", "", _grouped(month.restated_points), "")
        table.add_row(name, "", "opening", "", "", _grouped(month.opening_points), style="bold")
        for line in month.lines:
            remarks = ("late" if line.is_late else "", line.external_reference, line.comment)
            table.add_row(
                f"{zone.local(line.effective_at):%Y-%m-%d %H:%M}",
                line.transfer_id,
                line.reason,
                line.bucket,
                _grouped(line.signed_points),
                _grouped(line.balance),
                ", ".join(filter(None, remarks)),
            )
        table.add_row("", "", "closing", "", "", _grouped(month.closing_points), style="bold")
    print_whole(console, table)


def show_reconciliation(found: Reconciliation, items: Sequence[tuple]) -> None:
    """Both sides in each currency, what matches and what does not, and the largest differences."""
    from orchestration.reconciliation import KINDS

    console = Screen()
    month = f"{found.month.report_month} ({_described(found.month)})"
    console.print(f"\n{month} against {found.path}, SHA-256 {found.file_sha256}\n")
    table = Table("", "Customers", "Points here", "Points there", "Difference", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found.currencies:
        for name, group in one.groups.items():
            table.add_row(
                f"{one.currency} {KINDS.get(name, name)}",
                f"{group.count:,}",
                _grouped(group.points_here),
                _grouped(group.points_there),
                _grouped(group.difference),
            )
    print_whole(console, table)
    if items:
        largest = Table(
            "",
            "Currency",
            "Relation Reference",
            "Points here",
            "Points there",
            "Difference",
            "",
            title="Largest differences",
            title_justify="left",
        )
        for column in largest.columns[3:6]:
            column.justify = "right"
        for kind, currency, reference, here, there, difference, *said, since in items:
            shown_points = ("" if value is None else _grouped(value) for value in (here, there, difference))
            remarks = ", ".join(filter(None, (*said, since and f"since {since}")))
            largest.add_row(KINDS[kind], currency, reference, *shown_points, remarks)
        print_whole(console, largest)
    console.print("\nTied out." if found.is_tied_out else "\nNot tied out.")


def show_row_explanation(explanation: RowExplanation, newest: int, zone: Zone) -> None:
    """The transfers behind a customer's row, bucket by bucket, at most the ``newest`` so many, with what they
    add up to before the month, in it and to date; then the row itself, as these sums."""
    console = Screen()
    summary, month = explanation.summary, explanation.summary.report_month
    shown: dict[str, list[ExplainedTransfer]] = {}
    for transfer in explanation.transfers.read(newest):
        shown.setdefault(transfer.bucket, []).append(transfer)
    whose = f"{explanation.relation_reference}, {month}, {summary.currency}"
    console.print(f"\n{whose} ({_described(summary)})\n")
    spans = (f"Before {month}", month, "To date")
    headings = ("Month", "Effective", "Transfer", "Reason", "Points", "Recorded", "")
    table = Table(*headings, box=box.SIMPLE_HEAD)
    table.columns[4].justify = "right"
    sums = Table("", *spans, box=box.SIMPLE_HEAD)
    for column in sums.columns[1:]:
        column.justify = "right"
    for sign, (bucket, figures) in zip(" −−−", explanation.spans().items(), strict=True):
        sums.add_row(f"{sign} {bucket.capitalize()}", *(_grouped(figure.points) for figure in figures))
        *_, to_date = figures
        if not to_date.transfer_count:
            continue
        transfers = shown.get(bucket, [])
        table.add_row(bucket.capitalize(), style="bold")
        if older := to_date.transfer_count - len(transfers):
            rest = to_date.points - sum(transfer.bucket_points for transfer in transfers)
            table.add_row("", "", f"{older:,} older", "", _grouped(rest), "", "--csv has all")
        for transfer in transfers:
            table.add_row(transfer.report_month, *_explained(transfer, zone))
        for span, figure in zip(spans, figures, strict=True):
            table.add_row("", "", "", span, _grouped(figure.points), style="bold")
        table.add_section()
    if table.rows:
        print_whole(console, table)
    ends = [explanation.points(name) for name in ("opening_points", "closing_points")]
    sums.add_row("= Points", *map(_grouped, (ends[0], ends[1] - ends[0], ends[1])), style="bold")
    print_whole(console, sums)
    console.print(
        f"All of these are the report's: opening {_grouped(ends[0])}, closing {_grouped(ends[1])}, and"
        f" {_grouped(explanation.points('total_outstanding_points'))} outstanding."
    )
    _show_waiting_points(console, explanation.waiting, month, zone)


def _explained(transfer: ExplainedTransfer, zone: Zone) -> list[str]:
    """The cells of a posted transfer, from the instant of its effect on."""
    remarks = (
        "late" if transfer.is_late else "",
        "revokes " + ", which revokes ".join(transfer.revokes) if transfer.revokes else "",
        "revoked by " + ", ".join(transfer.revoked_by) if transfer.revoked_by else "",
    )
    return _cells(transfer, transfer.effective_at, transfer.bucket_points, remarks, zone)


def _cells(
    transfer: ExplainedTransfer | WaitingTransfer,
    at: datetime,
    points: Decimal,
    remarks: Sequence[str],
    zone: Zone,
) -> list[str]:
    # Closes of before these were kept say neither.
    recorded_at = transfer.recorded_at
    recorded = recorded_at and f"{zone.local(recorded_at):%Y-%m-%d %H:%M}, {transfer.recorded_by}"
    return [
        f"{zone.local(at):%Y-%m-%d %H:%M}",
        transfer.transfer_id,
        transfer.reason,
        _grouped(points),
        recorded or "",
        "; ".join(filter(None, (*remarks, transfer.external_reference, transfer.comment))),
    ]


def _show_waiting_points(console: Screen, waiting: Waiting, month: str, zone: Zone) -> None:
    """What is pending or on hold, and so in no figure of the report."""
    if not (waiting.pending_given_points or waiting.pending_deducted_points):
        return
    points = (
        f"{_grouped(waiting.pending_given_points)} points given and"
        f" {_grouped(waiting.pending_deducted_points)} deducted"
    )
    if waiting.transfers is None:
        console.print(
            f"Waiting, and in none of these: {points}. Which transfers they are is not kept of {month}, but"
            " of the last month of each close or build alone."
        )
        return
    console.print(f"Waiting, and in none of these: {points}.\n")
    table = Table("Occurred", "Transfer", "Reason", "Points", "Recorded", "", box=box.SIMPLE_HEAD)
    table.columns[3].justify = "right"
    for transfer in waiting.transfers:
        points = transfer.points if transfer.style == "give" else -transfer.points
        table.add_row(*_cells(transfer, transfer.occurred_at, points, [transfer.status], zone))
    print_whole(console, table)


def show_line_explanation(explanation: LineExplanation, newest: int, zone: Zone) -> None:
    """The transfers behind a line of the programme's roll-forward, at most the ``newest`` so many, and their
    sum."""
    console = Screen()
    summary, month = explanation.summary, explanation.summary.report_month
    line = ", ".join(filter(None, (explanation.bucket.capitalize(), explanation.reason)))
    table = Table(
        *("Relation Reference", "Effective", "Transfer", "Reason", "Points", "Recorded", ""),
        box=box.SIMPLE_HEAD,
    )
    table.columns[4].justify = "right"
    shown = list(explanation.transfers.read(newest))
    console.print(f"\n{line}, {month}, {summary.currency} ({_described(summary)})\n")
    if older := explanation.transfer_count - len(shown):
        rest = explanation.bucket_points - sum(transfer.bucket_points for transfer in shown)
        table.add_row(f"{older:,} older", "", "", "", _grouped(rest), "", "--csv has all")
    for transfer in shown:
        table.add_row(transfer.relation_reference, *_explained(transfer, zone))
    table.add_row(
        counted(explanation.transfer_count, "transfer"),
        *("", "", ""),
        _grouped(explanation.bucket_points),
        style="bold",
    )
    print_whole(console, table)
    console.print("Their number and their sum are the report's.")


def show_sample(sample: Sample, zone: Zone) -> None:
    """What was drawn, and of what."""
    console = Screen()
    summary = sample.summary
    title = f"{summary.report_month}, {summary.currency} ({_described(summary)}), seed {sample.seed}"
    console.print(f"\n{title}\n")
    table = Table(box=box.SIMPLE_HEAD)
    of_transfers = sample.of == "transfers"
    for heading in ("Transfer", "Relation Reference", "Effective", "Reason"):
        if of_transfers or heading == "Relation Reference":
            table.add_column(heading)
    table.add_column("Points", justify="right")
    table.add_column("Hits", justify="right")
    table.add_column("SHA-256")
    for row in sample.rows:
        cells = (
            (
                row["transfer_id"],
                row["relation_reference"],
                f"{zone.local(row['effective_at']):%Y-%m-%d %H:%M}",
                row["reason"],
                _grouped(row["signed_points"]),
            )
            if of_transfers
            else (row["relation_reference"], _grouped(row["total_outstanding_points"]))
        )
        table.add_row(*cells, f"{row['hits']}", f"{row['sha256'][:12]}…")
    print_whole(console, table)
    console.print(
        f"Drawn: {len(sample.rows):,} of {counted(sample.population_count, sample.of[:-1])}, which have"
        f" {_grouped(sample.population_points)} points without regard to their sign."
    )


def show_items(items: Sequence[Item]) -> None:
    """Open items, those that wait longest first."""
    console = Screen()
    if not items:
        console.print("No item is open.")
        return
    table = Table(
        *("Since", "Currency", "Relation Reference", "Points here", "Points there", "Difference"),
        *("Category", "Owner", "Comment"),
        box=box.SIMPLE_HEAD,
    )
    for column in table.columns[3:6]:
        column.justify = "right"
    for item in items:
        points = (item.points_here, item.points_there, item.difference)
        table.add_row(
            *(item.since_month, item.currency, item.relation_reference),
            *("" if value is None else _grouped(value) for value in points),
            *(item.category, item.owner, item.comment),
        )
    print_whole(console, table)


def show_months(settings: Settings, summaries: list[MonthSummary]) -> None:
    """The months, one line a currency, within 80 columns; --csv has the movement of each."""
    console = Screen()
    if not summaries:
        console.print(
            f"No month has been built or closed in {settings.home}; run `points build`.",
        )
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("Month", "Status", "Currency"):
        table.add_column(title, no_wrap=True)
    for title in ("Customers", "Outstanding"):
        table.add_column(title, no_wrap=True, justify="right")
    # A name has a second line before a number is cut.
    table.add_column("Closed", overflow="fold", max_width=_CLOSED_WIDTH if console.is_terminal else None)
    for summary in summaries:
        table.add_row(
            summary.report_month,
            _described(summary),
            summary.currency,
            f"{summary.relation_count:,}",
            _grouped(summary.closing_points),
            _closed(summary),
        )
    print_whole(console, table)
    for name in sorted({summary.folder.relative_to(settings.home).parts[0] for summary in summaries}):
        console.print(f"Files: {settings.home}/{name}")
    reopened = [summary for summary in summaries if summary.status == "reopened"]
    _show_waiting(
        console,
        sorted(
            {
                f"{summary.report_month}/r{summary.waiting_revision}"
                for summary in reopened
                if summary.waiting_revision
            }
        ),
        sorted({summary.report_month for summary in reopened if not summary.waiting_revision}),
    )


def _show_waiting(console: Screen, closed_again: Sequence[str], open_again: Sequence[str]) -> None:
    """That readers keep what was issued while ``open_again``, months that were closed, are open."""
    if not open_again:
        return
    verb = "is" if len(open_again) == 1 else "are"
    later = f"; only then do they get {_span(closed_again)}, closed already" if closed_again else ""
    console.print(
        f"Readers keep what was issued until {_span(open_again)} {verb} closed again, with"
        f" `points close --through {open_again[-1]}`{later}.",
        style="yellow",
    )


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _closed(summary: MonthSummary) -> str:
    """When a month was closed and by whom, and on a line of its own who signed it off."""
    lines = []
    if summary.closed_at:
        lines.append(f"{summary.closed_at:%Y-%m-%d}, {summary.closed_by}")
    if summary.signed_off_at:
        lines.append(f"signed off {summary.signed_off_at:%Y-%m-%d}, {summary.signed_off_by}")
    return "\n".join(lines)


def _described(summary: MonthSummary) -> str:
    return summary.status + (f", r{summary.revision}" if summary.revision else "")


def show_closing(settings: Settings, closing: Closing) -> None:
    """Which months were closed and where their files are, or why there was nothing to do."""
    console = Screen()
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
    elif closing.tried:
        could = "could not" if closing.refusals else "could"
        console.print(
            f"\nA dry run made {_span(closing.tried)}, which {could} be closed; nothing was recorded, and"
            " readers have what they had."
        )
    elif not closing.closed:
        console.print("There is no month to close: all that have ended are closed.")
    else:
        months = counted(len(closing.closed), "month")
        span = _span([closed.name for closed in closing.closed])
        cutoff = closing.closed[-1].cutoff_entry_id
        console.print(f"\nClosed {months}, {span}, from the ledger up to entry {cutoff:,}.")
        console.print(f"Files: {settings.home}/published")
    if closing.gate:
        show_gate(console, closing.gate, settings.zone)
    _show_waiting(console, closing.waiting, closing.waiting_for)
    console.print(following)
    for note in closing.zone_notes:
        console.print(note, style="yellow")


def show_reopening(reopened: Sequence[ClosedMonth], waiting: Sequence[str], month: str) -> None:
    """Which months are open again, and what readers have meanwhile; or which wait for a second person."""
    if waiting:
        Screen().print(
            f"{', '.join(waiting)} {'is' if len(waiting) == 1 else 'are'} signed off, so nothing is reopened"
            f" yet: that takes two people. That you ask for it is recorded; let another person run"
            f' `points reopen {month} --reason "…"`.'
        )
        return
    names = ", ".join(closed.name for closed in reopened)
    Screen().print(
        f"Reopened {names}. Readers keep what was issued, flagged as reopened, until every month that was"
        " closed is closed again: `points months` shows which, and `points close --through MONTH` does it."
    )


def show_statements(name: str, statements: Mapping[str, str]) -> None:
    """What is to be affirmed about a revision."""
    console = Screen()
    console.print(f"\n{name}\n")
    for position, text in enumerate(statements.values(), 1):
        console.print(f"{position}. {text}")
    console.print()


def show_export(file: Path, tables: list[tuple[str, int]]) -> None:
    """The tables of an exported database, and where it is."""
    console = Screen()
    table = Table("Table", "Rows")
    table.columns[1].justify = "right"
    for name, rows in tables:
        table.add_row(name, f"{rows:,}")
    print_whole(console, table)
    console.print(f"File: {file}")


def show_build(build: Build) -> None:
    """What a build did, and where its files stand."""
    console = Screen()
    span = _span([month.report_month for month in build.months])
    if build.opening_month:
        span += f", from the close of {build.opening_month} on"
    elif build.cutoff_entry_id:
        span += ", from the first entry on"
    console.print(f"\nBuilt {counted(len(build.months), 'month')}, {span}; {build.test_count} tests passed.")
    console.print(f"Files: {build.folder}")
    if build.quarantined:
        console.print(
            f"{counted(build.quarantined, 'row was', 'rows were')} set aside and in no balance;"
            f" {build.quarantine} gives the reason of each.",
            style="yellow",
        )
    _show_quarantine(console, build.quarantined_in_ledger)


def _show_quarantine(console: Screen, rows: int) -> None:
    """That rows of imported files wait, where some do."""
    if rows:
        console.print(
            f"{counted(rows, 'row of an imported file is', 'rows of imported files are')} quarantined and in"
            " no balance; `points quarantine` lists them.",
            style="yellow",
        )


def show_cut(cut: Cut, rows: dict[str, int]) -> None:
    """Up to which entry the ledger is frozen, and the rows of each part."""
    console = Screen()
    table = Table("Part", "Rows")
    table.columns[1].justify = "right"
    for part, count in rows.items():
        table.add_row(part, f"{count:,}")
    print_whole(console, table)
    console.print(f"The ledger up to entry {cut.head.entry_id:,}.")
    console.print(f"Files: {cut.folder}")


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
