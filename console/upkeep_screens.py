"""What verify, doctor, backup and restore show to people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ledger.upkeep.backup import Backup
from ledger.upkeep.verification import Verification
from orchestration.doctor import Examination

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@contextmanager
def counting_progress(title: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a screen; what it yields takes how much is done, and how much there is."""
    console = Console(stderr=True)
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


def show_verification(found: Verification) -> None:
    """How much was looked at, and what vouches for the end of it."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"The ledger in {found.place} holds what was recorded: {found.entries:,} entries,")
    console.print(f"{found.links:,} links, head {found.head.chain_digest.hex()}.")
    for folder in found.anchors:
        console.print(f"{folder} was made from it.")


def show_examination(examination: Examination) -> None:
    """Settings with where they come from, then each finding with what to do."""
    console = Console(soft_wrap=True, highlight=False)
    widest = max(len(setting.name) for setting in examination.settings)
    for setting in examination.settings:
        if setting.value or setting.source != "default":
            console.print(Text(f"{setting.name:<{widest}}  {setting.value}  ({setting.source})"))
    console.print()
    for finding in examination.findings:
        line = Text(f"{finding.verdict:<8}", _COLOURS[finding.verdict]).append(finding.sentence, "default")
        console.print(line.append(f" {finding.advice}" if finding.advice else "", "bold"))


def show_backup(done: str, made: Backup) -> None:
    """Where the copy is, and up to which entry it goes."""
    Console(soft_wrap=True, highlight=False, markup=False).print(
        f"{done} {made.file}: the ledger up to entry {made.head.entry_id:,}, {made.size / 1_000_000:,.1f} MB,"
        f" head {made.head.chain_digest.hex()}."
    )
