"""Copies a ledger in SQLite into one file while writers go on, and makes a ledger of such a copy again.

PostgreSQL has means of its own for both, pg_dump and pg_restore; docs/operations.md says how.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ledger.anchors import Head, anchored_folders, read_anchor, why_not_continued, write_anchor
from ledger.database import Ledger, connected_to
from ledger.databases import ledger_place, sqlite_file
from ledger.disk import let_appear, why_not_written
from ledger.errors import PointsError
from ledger.guards import LedgerUnguarded, check_guards
from ledger.links import ledger_head
from ledger.models import ChainLink
from ledger.settings import Settings
from ledger.unfinished_files import unfinished_file
from ledger.upkeep.verification import LedgerDamaged, verify

# 16 MB with SQLite's usual pages. Between two such pieces writers have their turn.
_PAGES_PER_PIECE = 4_096
# SQLite begins anew when another process has written between two pieces. After so many times the copy is made
# in one piece, for whose length writers wait.
_FRESH_STARTS = 5
_WAIT_SECONDS = 60
# As in a home, so that a copy is verified as a ledger is.
_COPY_NAME = "ledger.sqlite3"
_LINKS = ChainLink._meta.db_table


class LedgerKeptByServer(PointsError):
    """The ledger is in PostgreSQL, which has its own means."""

    code = "LEDGER_IN_POSTGRESQL"

    def __init__(self, place: str, command: str) -> None:
        super().__init__(
            f"The ledger is kept in {place}, whose own means do this: `{command}`; see docs/operations.md."
        )


class BackupExists(PointsError):
    """A backup would overwrite something."""

    code = "BACKUP_EXISTS"

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} is there already, and a backup never overwrites; name another file.")


class BackupNotWritten(PointsError):
    """A copy could not be written, or what was written is not whole."""

    code = "BACKUP_NOT_WRITTEN"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"{file} was not written: {problem}; fix that and run the same again.")


class BackupUnsound(PointsError):
    """A file is no whole copy of a ledger."""

    code = "BACKUP_UNSOUND"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(
            f"{file} is no whole backup of a ledger: {problem}; nothing was restored, so name another backup."
        )


class LedgerThere(PointsError):
    """A restore would replace a ledger, or what is left of one."""

    code = "LEDGER_THERE"

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} is there already, and a restore never replaces a ledger; move it out of the home, or set"
            " POINTS_HOME to another one."
        )


class BackupOutdated(PointsError):
    """A backup is older than, or another than, the ledger that something in the home was made from."""

    code = "BACKUP_OUTDATED"

    def __init__(self, file: Path, head: Head, folder: Path, anchor: Head) -> None:
        finding = why_not_continued(head.entry_id, anchor.entry_id, folder)
        super().__init__(
            f"{file} {finding}; nothing was restored, so restore a newer backup; docs/operations.md says"
            " what to do where there is none."
        )


@dataclass(frozen=True)
class Backup:
    """A whole copy of a ledger: its file, its size in bytes, and where the ledger ended in it."""

    file: Path
    size: int
    head: Head


def back_up(
    ledger: Ledger,
    file: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
    report_check: Callable[[int, int], None] = lambda done, total: None,
) -> Backup:
    """Copy ``ledger`` into ``file`` as of one moment, while writers go on.

    ``report`` takes pages done and in all, ``report_check`` entries of the copy that were looked at. ``file``
    appears whole and verified, or not at all. Raises `BackupExists`, `BackupNotWritten`,
    `LedgerKeptByServer`, `LedgerUnguarded`, and `LedgerDamaged` where the ledger was altered
    (docs/cases.md, X24).
    """
    source = _sqlite_file(ledger.settings, f"pg_dump --format=custom --file {file}")
    if os.path.lexists(file):
        raise BackupExists(file)
    check_guards(ledger.place)
    before = ledger_head()
    try:
        with unfinished_file(file.parent, _COPY_NAME) as copy:
            _copy(source, copy, report)
            head = _checked_head(copy)
            if head.entry_id < before.entry_id:
                raise BackupNotWritten(file, f"the copy ends at entry {head.entry_id:,}, before the ledger")
            try:
                _verify_copy(ledger.settings, copy, report_check)
            except LedgerDamaged as error:
                raise error.of(ledger.place) from error
            shutil.copymode(source, copy)
            let_appear(copy, file)
    except FileExistsError as error:
        raise BackupExists(file) from error
    except (OSError, sqlite3.Error, _NotWhole) as error:
        raise BackupNotWritten(file, why_not_written(error)) from error
    return Backup(file, file.stat().st_size, head)


def restore(
    settings: Settings,
    file: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
    report_check: Callable[[int, int], None] = lambda done, total: None,
) -> Backup:
    """Make ``file``, a backup, the ledger of a home that has none.

    ``report`` takes pages done and in all, ``report_check`` entries that were looked at. The ledger appears
    whole, verified and for its owner alone, or not at all. Raises `LedgerThere`, `BackupUnsound`,
    `BackupOutdated` (docs/cases.md, X12), `BackupNotWritten` or `LedgerKeptByServer`.
    """
    target = _sqlite_file(settings, f"pg_restore --dbname … {file}")
    # A journal that outlived its ledger would be played back into the restored one.
    for there in (
        target,
        *(target.with_name(target.name + suffix) for suffix in ("-journal", "-wal", "-shm")),
    ):
        if os.path.lexists(there):
            raise LedgerThere(there)
    if not file.is_file():
        raise BackupUnsound(file, "there is no such file")
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with unfinished_file(settings.home, _COPY_NAME) as copy:
            try:
                _copy(file, copy, report)
                head = _checked_head(copy)
                _verify_copy(settings, copy, report_check)
            except (LedgerDamaged, LedgerUnguarded) as error:
                raise BackupUnsound(file, error.finding) from error
            except (sqlite3.DatabaseError, _NotWhole) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                raise BackupUnsound(file, why_not_written(error)) from error
            _refuse_outdated(settings.home, file, head, copy)
            copy.chmod(0o600)
            let_appear(copy, target)
        if read_anchor(settings.home) is None:
            write_anchor(settings.home, head)
    except FileExistsError as error:
        raise LedgerThere(target) from error
    except (OSError, sqlite3.Error) as error:
        raise BackupNotWritten(target, why_not_written(error)) from error
    return Backup(target, target.stat().st_size, head)


class _NotWhole(Exception):
    """A copy does not hold a whole ledger."""


def _sqlite_file(settings: Settings, command: str) -> Path:
    if settings.database_url:
        raise LedgerKeptByServer(ledger_place(settings), command)
    return sqlite_file(settings)


def _verify_copy(settings: Settings, copy: Path, report: Callable[[int, int], None]) -> None:
    of_copy = replace(settings, home=copy.parent, database_url=None, database_owner_url=None)
    with connected_to(of_copy):
        verify(of_copy, report)


def _copy(source: Path, copy: Path, report: Callable[[int, int], None]) -> None:
    """Copy a database as of one moment: in pieces, or in one where writers never leave off."""
    fresh_starts = 0
    fewest_remaining: int | None = None

    def progress(status: int, remaining: int, total: int) -> None:
        nonlocal fresh_starts, fewest_remaining
        if fewest_remaining is not None and remaining > fewest_remaining:
            fresh_starts += 1
            if fresh_starts == _FRESH_STARTS:
                raise _NeverQuiet
        fewest_remaining = remaining
        report(total - remaining, total)

    # Not read-only: what a killed writer left half done is undone first, as for any reader.
    with (
        closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_SECONDS)
        ) as read,
        closing(sqlite3.connect(copy)) as written,
    ):
        try:
            read.backup(written, pages=_PAGES_PER_PIECE, progress=progress, sleep=0.01)
        except _NeverQuiet:
            read.backup(written)


class _NeverQuiet(Exception):
    """Writers never leave off for as long as a copy in pieces takes."""


def _checked_head(copy: Path) -> Head:
    """Where the ledger in ``copy`` ends; raise `_NotWhole` where it is no whole database of a ledger."""
    with closing(sqlite3.connect(copy)) as connected:
        (finding,) = connected.execute("pragma integrity_check(1)").fetchone()
        if finding != "ok":
            raise _NotWhole(finding)
        if not connected.execute("select 1 from sqlite_master where name = ?", [_LINKS]).fetchone():
            raise _NotWhole("it has no table of links")
        newest = connected.execute(
            f"select last_entry_id, digest from {_LINKS} order by last_entry_id desc limit 1"
        ).fetchone()
    if not newest:
        raise _NotWhole("it holds no entry")
    return Head(*newest)


def _refuse_outdated(home: Path, file: Path, head: Head, copy: Path) -> None:
    """Raise `BackupOutdated` where the ledger in ``copy`` does not go on from what ``home`` was built on."""
    with closing(sqlite3.connect(copy)) as connected:
        for folder in anchored_folders(home):
            anchor = read_anchor(folder)
            if not anchor or not anchor.entry_id:
                continue
            found = connected.execute(
                f"select digest from {_LINKS} where last_entry_id = ?", [anchor.entry_id]
            ).fetchone()
            if found != (anchor.chain_digest,):
                raise BackupOutdated(file, head, folder, anchor)
