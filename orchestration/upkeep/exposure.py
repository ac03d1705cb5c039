"""What other users of this machine may read or change of a home: for `points doctor` (docs/cases.md, S28)."""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ledger.access import READERS
from ledger.databases import sqlite_file
from ledger.settings import Settings
from ledger.upkeep.health import OK, PROBLEM, WARNING, Finding
from orchestration.inbox import inbox_folder
from orchestration.published.layout import published_folder

_WRITE = stat.S_IWGRP | stat.S_IWOTH
_READ = stat.S_IRGRP | stat.S_IROTH
_Entry = tuple[Path, os.stat_result]


def find_exposed(settings: Settings, settings_folder: Path | None) -> Iterator[Finding]:
    """Who else may read or change the home, or change what leads to it and to the .env, if there is one."""
    home = settings.home
    found = [
        finding
        for start in (home.parent, settings_folder)
        if start is not None
        for folder in (start, *start.parents)
        for finding in _of_folder_above(folder)
    ]
    if home.is_dir():
        # Of many, the ledger is named.
        entries = sorted(
            [(home, home.stat()), *_entries(home)], key=lambda entry: entry[0] != sqlite_file(settings)
        )
        found += _foreign(home, entries)
        found += _writable(home, entries)
        found += _readable(settings, entries)
    yield from dict.fromkeys(found) or [
        Finding("access", OK, f"No other user of this machine may change {home}, or read more than is meant.")
    ]


def _entries(home: Path) -> Iterator[_Entry]:
    """All that lies in a home with its status, but for links and the inbox, for others write there.

    A folder that no other user can enter is not searched, unless it was published.
    """
    folders = [home]
    while folders:
        folder = folders.pop()
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode) or path == inbox_folder(home):
                continue
            yield path, status
            is_open = status.st_mode & (stat.S_IXGRP | stat.S_IXOTH)
            if stat.S_ISDIR(status.st_mode) and (is_open or path.is_relative_to(published_folder(home))):
                folders.append(path)


def _of_folder_above(folder: Path) -> Iterator[Finding]:
    """In a folder without the sticky bit, anyone who may write may replace any file."""
    if not folder.is_dir():
        return
    status = folder.stat()
    if status.st_mode & _WRITE and not status.st_mode & stat.S_ISVTX:
        yield Finding(
            "access",
            PROBLEM if status.st_mode & stat.S_IWOTH else WARNING,
            f"{folder} can be written to by {_whom([status], _WRITE)}, who may put others in the place of the"
            " home or the settings below it.",
            f"Run `chmod go-w {folder}`, or keep them elsewhere.",
        )


def _foreign(home: Path, entries: Sequence[_Entry]) -> Iterator[Finding]:
    # Root may work for another user, so then the owner of the home counts as its user.
    ours = {0, os.geteuid() or home.stat().st_uid}
    if foreign := [(path, status) for path, status in entries if status.st_uid not in ours]:
        users = sorted({_name(pwd.getpwuid, status.st_uid) for _, status in foreign})
        yield Finding(
            "access",
            PROBLEM,
            f"{_named(foreign)} belongs to {', '.join(users)}, who may change it.",
            "Find out what became of it, and give it to the user who runs this (`chown`).",
        )


def _writable(home: Path, entries: Sequence[_Entry]) -> Iterator[Finding]:
    if found := [(path, status) for path, status in entries if status.st_mode & _WRITE]:
        yield Finding(
            "access",
            PROBLEM,
            f"{_named(found)} can be written to by {_whom((status for _, status in found), _WRITE)}: they may"
            " change what is counted, closed and published.",
            f"Run `chmod -R go-w {_roots(home, found)}` and then `points verify`: they may have done it.",
        )


def _readable(settings: Settings, entries: Sequence[_Entry]) -> Iterator[Finding]:
    """What more can be read than POINTS_READERS says, and whether as much of what is published can be."""
    home, published = settings.home, published_folder(settings.home)
    for_readers = READERS[settings.readers] & _READ
    found = [
        (path, status)
        for path, status in entries
        # That a home holds a ledger is no secret.
        if path != home and status.st_mode & _READ & ~(for_readers if _is_for_readers(home, path) else 0)
    ]
    if found:
        yield Finding(
            "access",
            WARNING,
            f"{_named(found)} can be read by {_whom((status for _, status in found), _READ)}.",
            f"Run `chmod -R go-rwx {_roots(home, found)}`. What is published the next close gives to those"
            " whom POINTS_READERS names.",
        )
    if published.is_dir() and for_readers & ~published.stat().st_mode:
        yield Finding(
            "access",
            WARNING,
            f"{published} cannot be read by all whom POINTS_READERS names ({settings.readers}).",
            "The next close sees to it.",
        )


def _is_for_readers(home: Path, path: Path) -> bool:
    parts = path.relative_to(home).parts
    return parts[:1] == ("published",) or (parts[:1] == ("runs",) and parts[2:3] == ("provisional",))


def _whom(statuses: Iterable[os.stat_result], right: int) -> str:
    """Who else has a right to some of these."""
    whom = [
        "every user of this machine"
        if status.st_mode & right & stat.S_IRWXO
        else f"the group {_name(grp.getgrgid, status.st_gid)}"
        for status in statuses
    ]
    return " and ".join(dict.fromkeys(whom))


def _name(look_up: Callable[[int], Sequence], number: int) -> str:
    """The name of a user or group, or its number where the machine knows none."""
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)


def _named(entries: Sequence[_Entry]) -> str:
    more = f" and {len(entries) - 3:,} more" if len(entries) > 3 else ""
    return f"{', '.join(str(path) for path, _ in entries[:3])}{more}"


def _roots(home: Path, entries: Sequence[_Entry]) -> str:
    """What to name to `chmod -R`: the home's own entries, for all that is below them."""
    return " ".join(
        dict.fromkeys(str(home.joinpath(*path.relative_to(home).parts[:1])) for path, _ in entries)
    )
