"""The inbox: files of transfers that are dropped into a folder of the home and imported from there.

An imported file moves to ``inbox/imported/``, a refused one to ``inbox/refused/`` with the reason, and every
bad row, in a text beside it.
A process that is killed between the import and the move leaves the file where it was: the next import of it
adds nothing, and moves it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from ledger.database import Ledger, open_ledger
from ledger.errors import PointsError
from ledger.files.imports import ImportRefused, ImportResult, import_file
from ledger.settings import Settings
from ledger.writers_queue import LedgerBusy
from orchestration.run_lock import run_lock

# A file that was written to more recently may still be on its way.
SETTLED_SECONDS = 10
# Names that programs give to files which they have not finished.
_UNFINISHED_ENDINGS = (".part", ".tmp")
_ENDINGS = (".csv.gz", ".csv", ".parquet")

# What tells a file that is still being written from one that is not: its size and when it last changed.
Stamp = tuple[int, int]


@dataclass(frozen=True)
class InboxFile:
    """What became of one file: ``path`` is where it is now; it was imported, or refused with a sentence."""

    name: str
    path: Path
    imported: ImportResult | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class InboxTick:
    """One look at the inbox: what became of its files, and those left until they are settled."""

    files: list[InboxFile] = field(default_factory=list)
    waiting: dict[str, Stamp] = field(default_factory=dict)


def inbox_folder(home: Path) -> Path:
    """Where the files of a programme are dropped."""
    return home / "inbox"


def import_inbox(
    settings: Settings,
    waiting: Mapping[str, Stamp] | None = None,
    clock: Callable[[], float] = time.time,
) -> InboxTick:
    """Import the files of the inbox in order of their names, each as a whole or not at all, and move them.

    A file is taken once it has not changed for `SETTLED_SECONDS`, or since it stood in ``waiting``, which
    the tick before returned. A refused file stops no other. Raises `PointsError` where the ledger cannot be
    opened, `LedgerBusy` where another process writes to it for long, and `RunInProgress` where one looks at
    the inbox; every file that was not imported is then still there.
    """
    inbox = inbox_folder(settings.home)
    if not inbox.is_dir():
        return InboxTick()
    settled, unsettled = _look(inbox, waiting or {}, clock())
    if not settled:
        return InboxTick(waiting=unsettled)
    with run_lock(inbox, "the import of the inbox"):
        ledger = open_ledger(settings, create=True)
        try:
            files = [_import(ledger, path) for path in settled if path.exists() or path.is_symlink()]
        finally:
            connection.close()
    return InboxTick(files, unsettled)


def _look(inbox: Path, waiting: Mapping[str, Stamp], now: float) -> tuple[list[Path], dict[str, Stamp]]:
    """The files to take, and the stamps of those to leave for now."""
    settled, unsettled = [], {}
    for path in sorted(inbox.iterdir()):
        if path.is_dir() or path.name.startswith(".") or path.name == "run.lock":
            continue
        if path.name.lower().endswith(_UNFINISHED_ENDINGS):
            continue
        status = path.lstat()
        stamp = (status.st_size, status.st_mtime_ns)
        if waiting.get(path.name) == stamp or status.st_mtime <= now - SETTLED_SECONDS:
            settled.append(path)
        else:
            unsettled[path.name] = stamp
    return settled, unsettled


def _import(ledger: Ledger, path: Path) -> InboxFile:
    try:
        imported = import_file(ledger, path)
    except LedgerBusy:
        raise  # nothing is wrong with the file
    except PointsError as refusal:
        target = _free_path(path.parent / "refused", path.name)
        bad_rows = refusal.bad_rows if isinstance(refusal, ImportRefused) else []
        reason = "".join(f"{line}\n" for line in (refusal.sentence, *bad_rows))
        target.with_name(f"{target.name}.txt").write_text(reason, encoding="utf-8")
        return InboxFile(path.name, path.rename(target), refusal=refusal.sentence)
    target = _free_path(path.parent / "imported", path.name)
    return InboxFile(path.name, path.rename(target), imported=imported)


def _free_path(folder: Path, name: str) -> Path:
    """Where in ``folder`` a file of this name can go: numbered where one of that name was there before."""
    folder.mkdir(exist_ok=True)
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), Path(name).suffix)
    stem = name[: len(name) - len(ending)]
    number = 1
    path = folder / name
    while path.exists() or path.is_symlink() or path.with_name(f"{path.name}.txt").exists():
        number += 1
        path = folder / f"{stem}.{number}{name[len(stem) :]}"
    return path
