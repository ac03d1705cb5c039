"""The inbox: files of transfers that are dropped into a folder of the home and imported from there.

Others write to that folder, so nothing else is kept in it (docs/cases.md, S1 to S4). A file is taken out of
it into ``received/taken/`` and imported from there; then it moves to ``received/imported/`` or, with the
reason and every bad row in a text beside it, to ``received/refused/``. What cannot be taken is refused where
it is. A process that is killed leaves the file in the inbox or among those taken: the next look imports it,
and what was added already is not added again.
"""

import os
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from ledger.clocks import ClockFarOff
from ledger.database import Ledger, open_ledger
from ledger.disk import sync_file, sync_folder
from ledger.errors import PointsError
from ledger.files.imports import ImportRefused, ImportResult, import_file
from ledger.files.taken_files import is_same, take_file
from ledger.files.transfers_file import ENDINGS, SentFile, TransfersFileRefused
from ledger.settings import Settings
from ledger.writers_queue import LedgerBusy
from orchestration.run_lock import run_lock

# A file that was written to more recently may still be on its way.
SETTLED_SECONDS = 10
# A file that stays longer was forgotten, or belongs elsewhere.
FORGOTTEN_SECONDS = 24 * 60 * 60
# In bytes; what is put away gets a number and an ending of its own.
_LONGEST_NAME = 200

# A file is still being written while these change: its size and the time of its last change.
Stamp = tuple[int, int]


@dataclass(frozen=True)
class InboxFile:
    """What became of one file: ``path`` is where it is now; it was imported, or refused with a sentence.

    What could not be taken ``is_left`` in the inbox.
    """

    name: str
    path: Path
    imported: ImportResult | None = None
    refusal: str | None = None
    is_left: bool = False


@dataclass(frozen=True)
class InboxTick:
    """One look at the inbox: what became of its files, and those left until they are settled."""

    files: list[InboxFile] = field(default_factory=list)
    waiting: dict[str, Stamp] = field(default_factory=dict)


def inbox_folder(home: Path) -> Path:
    """Where the files of a programme are dropped."""
    return home / "inbox"


def received_folder(home: Path) -> Path:
    """The folder of files that came through the inbox; only this project writes there."""
    return home / "received"


def import_inbox(
    settings: Settings,
    waiting: Mapping[str, Stamp] | None = None,
    clock: Callable[[], float] = time.time,
) -> InboxTick:
    """Import the files of the inbox in order of their names, each as a whole or not at all, and move them.

    A file is taken once it has not changed for `SETTLED_SECONDS`, or since it stood in ``waiting``, which
    the tick before returned. A refused file stops no other. Raises `PointsError` where the ledger cannot be
    opened, `LedgerBusy` where another process writes to it for long, `ClockFarOff`, and `RunInProgress` where
    one looks at the inbox; every file that was not imported is then still there, or taken and imported at the
    next look.
    """
    inbox, received = inbox_folder(settings.home), received_folder(settings.home)
    if not inbox.is_dir():
        return InboxTick()
    settled, unsettled = _look(inbox, waiting or {}, clock())
    if not settled and not _list_taken(received):
        return InboxTick(waiting=unsettled)
    received.mkdir(mode=0o700, exist_ok=True)
    with run_lock(received, "the import of the inbox"):
        ledger = open_ledger(settings, create=True)
        try:
            files = [_import(ledger, SentFile(inbox / taken.name, taken)) for taken in _list_taken(received)]
            files += [_receive(ledger, path) for path in settled if os.path.lexists(path)]
        finally:
            connection.close()
    return InboxTick(files, unsettled)


def list_forgotten(home: Path, now: float) -> list[Path]:
    """What has been in the inbox for `FORGOTTEN_SECONDS`, in order, but for hidden folders."""
    inbox = inbox_folder(home)
    return sorted(
        path
        for path in (inbox.iterdir() if inbox.is_dir() else ())
        if not (path.name.startswith(".") and path.is_dir())
        and (status := _status(path))
        and status.st_ctime <= now - FORGOTTEN_SECONDS
    )


def _look(inbox: Path, waiting: Mapping[str, Stamp], now: float) -> tuple[list[Path], dict[str, Stamp]]:
    """The files to take, and the stamps of those to leave for now (docs/cases.md, F19)."""
    settled, unsettled = [], {}
    for path in sorted(inbox.iterdir()):
        status = _status(path)
        if status is None or not _is_finished(path.name):
            continue
        stamp = (status.st_size, status.st_mtime_ns)
        if waiting.get(path.name) == stamp or status.st_mtime <= now - SETTLED_SECONDS:
            settled.append(path)
        else:
            unsettled[path.name] = stamp
    return settled, unsettled


def _status(path: Path) -> os.stat_result | None:
    """What a path names, be it a link; None where it is gone meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is_finished(name: str) -> bool:
    """Whether a file of this name is to be imported: other endings are given to what is not whole yet."""
    is_plain = not any(unicodedata.category(character).startswith("C") for character in name)
    return is_plain and not name.startswith(".") and name.lower().endswith(ENDINGS)


def _list_taken(received: Path) -> list[Path]:
    """The files that were taken out of the inbox and not put away."""
    folder = received / "taken"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _receive(ledger: Ledger, path: Path) -> InboxFile:
    """Take a file out of the inbox and import it."""
    try:
        sent = _take(path, received_folder(ledger.settings.home))
    except TransfersFileRefused as refusal:
        return InboxFile(path.name, path, refusal=refusal.sentence, is_left=True)
    return _import(ledger, sent)


def _take(path: Path, received: Path) -> SentFile:
    """Take a file out of the inbox, whole, or leave it; raise `TransfersFileRefused`."""

    def refuse(problem: str, remedy: str) -> TransfersFileRefused:
        return TransfersFileRefused("NOT_READABLE", str(path), problem, remedy)

    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise refuse("has too long a name", f"send it under one of at most {_LONGEST_NAME} bytes")
    unfinished, taken = received / ".unfinished", received / "taken" / path.name
    unfinished.unlink(missing_ok=True)
    taken.parent.mkdir(exist_ok=True)
    _, status = take_file(path.parent, Path(path.name), unfinished)
    sync_file(unfinished)
    unfinished.rename(taken)
    sync_folder(taken.parent)
    try:
        now = _status(path)
        if now and is_same(status, now):  # else another file came, which is taken at the next look
            path.unlink()
    except OSError as error:
        taken.unlink()
        raise refuse(
            f"cannot be removed from there ({error.strerror}) and would be imported again and again",
            "let the user of this process write to that folder",
        ) from error
    return SentFile(path, taken)


def _import(ledger: Ledger, sent: SentFile) -> InboxFile:
    """Import a file that was taken, and put it away."""
    received, name = received_folder(ledger.settings.home), sent.path.name
    try:
        imported = import_file(ledger, sent.path, content=sent.content)
    except (LedgerBusy, ClockFarOff):
        raise  # nothing is wrong with the file
    except PointsError as refusal:
        target = _free_path(received / "refused", name)
        bad_rows = refusal.bad_rows if isinstance(refusal, ImportRefused) else []
        reason = "".join(f"{line}\n" for line in (refusal.sentence, *bad_rows))
        target.with_name(f"{target.name}.txt").write_text(reason, encoding="utf-8")
        return InboxFile(name, sent.content.rename(target), refusal=refusal.sentence)
    target = _free_path(received / "imported", name)
    return InboxFile(name, sent.content.rename(target), imported=imported)


def _free_path(folder: Path, name: str) -> Path:
    """Where in ``folder`` a file of this name can go: numbered where one of that name was there before."""
    folder.mkdir(exist_ok=True)
    stem = name[: -len(next(ending for ending in ENDINGS if name.lower().endswith(ending)))]
    number = 1
    path = folder / name
    while os.path.lexists(path) or path.with_name(f"{path.name}.txt").exists():
        number += 1
        path = folder / f"{stem}.{number}{name[len(stem) :]}"
    return path
