"""What verify, doctor, backup and restore show to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from console.tables import Screen, print_whole
from ledger.amounts import points_text
from ledger.clocks import Setbacks
from ledger.shown_text import counted, shown
from ledger.upkeep.backup import Backup
from orchestration.close.comparison import FileDifference
from orchestration.close.recomputation import Recomputation
from orchestration.upkeep.doctor import Examination
from orchestration.upkeep.verification import Soundness

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@contextmanager
def counting_progress(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a screen; what it yields takes how much is done, and how much there is."""
    console = Screen(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def show_soundness(found: Soundness) -> None:
    """How much was looked at, and what vouches for the end of it."""
    console = Screen()
    ledger = found.ledger
    entries = counted(ledger.entries, "entry", "entries")
    console.print(
        f"The ledger in {ledger.place} holds what was recorded: {entries}, {counted(ledger.links, 'link')},"
        f" head {ledger.head.chain_digest.hex()}."
    )
    for folder in ledger.anchors:
        console.print(f"{folder} was made from it.")
    if ledger.setbacks.count:
        console.print(_setbacks(ledger.setbacks))
    if found.revisions:
        console.print(
            f"Closed months are what was published: {counted(found.revisions, 'revision')},"
            f" {counted(found.files, 'file')}."
        )
    for note in found.notes:
        console.print(note, style="yellow")
    if found.recomputation:
        console.print(
            f"Computed again from the first entry, all {found.recomputation.revisions:,} come out the same"
            f"{' in points and counts' if found.recomputation.notes else ''}."
        )
        for note in found.recomputation.notes:
            console.print(_note(note))


def _setbacks(setbacks: Setbacks) -> str:
    """Where the clocks of those who recorded went back."""
    entries = (
        "1 entry is dated before the entry that it follows,"
        if setbacks.count == 1
        else f"{setbacks.count:,} entries are dated before those that they follow, the first of them"
    )
    return f"{entries} entry {setbacks.first_entry_id:,}: a clock was wrong there, or the one before."


def _note(note: FileDifference) -> str:
    """What today's models would make of a file of a month that others closed."""
    changes = [
        f"{verb} {', '.join(columns)}"
        for verb, columns in (("leave out", note.published_columns), ("add", note.recomputed_columns))
        if columns
    ]
    if note.published_only or note.recomputed_only:
        changes.append(f"have {note.recomputed_only:,} other rows in place of {note.published_only:,}")
    return (
        f"Other models closed {note.report_month} r{note.revision}: today's would, in {note.file},"
        f" {' and '.join(changes)}."
    )


def show_recomputed_otherwise(recomputation: Recomputation) -> None:
    """What closed months would be under the rules and models of today."""
    console = Screen(stderr=True)
    figures = Table("Month", "Currency", "Figure", "Published", "Would be", "Difference")
    for column in figures.columns[3:]:
        column.justify = "right"
    for found in recomputation.figures:
        figures.add_row(
            f"{found.report_month} r{found.revision}",
            found.currency,
            found.figure,
            points_text(found.published),
            points_text(found.recomputed),
            points_text(found.recomputed - found.published),
        )
    if recomputation.figures:
        print_whole(console, figures)
    files = Table("Month", "File", "Rows published only", "Rows that would be")
    for column in files.columns[2:]:
        column.justify = "right"
    for found in recomputation.files:
        files.add_row(
            f"{found.report_month} r{found.revision}",
            found.file,
            f"{found.published_only:,}",
            f"{found.recomputed_only:,}",
        )
    print_whole(console, files)


def show_examination(examination: Examination) -> None:
    """Settings with where they come from, then each finding with what to do."""
    console = Screen()
    widest = max(len(setting.name) for setting in examination.settings)
    for setting in examination.settings:
        if setting.value or setting.source != "default":
            console.print(Text(shown(f"{setting.name:<{widest}}  {setting.value}  ({setting.source})")))
    console.print()
    for finding in examination.findings:
        line = Text(f"{finding.verdict:<8}", _COLOURS[finding.verdict]).append(
            shown(finding.sentence), "default"
        )
        console.print(line.append(f" {shown(finding.advice)}" if finding.advice else "", "bold"))


def show_backup(done: str, made: Backup) -> None:
    """Where the copy is, and up to which entry it goes."""
    Screen().print(
        f"{done} {made.file}: the ledger up to entry {made.head.entry_id:,}, {made.size / 1_000_000:,.1f} MB,"
        f" head {made.head.chain_digest.hex()}."
    )
