"""Where published files stand in a home, and how names are made to last (docs/design.md, section 9)."""

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ledger.access import let_pass, let_read
from ledger.disk import file_sha256, sync_folder
from ledger.errors import PointsError
from orchestration.fail_points import fail_point

DATABASE_NAME = "outstanding_points.duckdb"
MANIFEST_NAME = "manifest.json"
# In the folder of a month: a link to the revision that readers have, through `SET_NAME`.
CURRENT_NAME = "current"
# The one link that goes over to another set: the database over the months, and a link to a revision of each.
SET_NAME = ".current"
# A close that may be committed and not yet published leaves this in the home
# (`orchestration.close.publication`).
ANNOUNCEMENT_NAME = "unfinished_close.json"
# The sets that `SET_NAME` has named: a reader may hold an earlier database open. Each has its own folder, and
# the database in it is called alike: DuckDB calls it by its file's name, and BI tools keep that name.
DATABASES_NAME = ".databases"
# What to do about that which stands where a link belongs.
LINK_REMEDY = "move it away, and the next command makes the link"
# What to do about one that is not what it should be.
DATABASE_REMEDY = "delete it, and the next command makes it again"

# Up to which entry about closes a database knows, for which path it was made, and how its own hash begins.
DATABASE_FOLDER = re.compile(r"(?P<entry_id>[0-9]{12,})-(?P<path>[0-9a-f]{8})-(?P<sha256>[0-9a-f]{16,32})")
# How many digits of its hash stand there once it was read back; earlier releases did not, and put 16.
_DIGITS = 32

# What systems say where there are no symbolic links.
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_REVISION = re.compile(r"r[1-9][0-9]*")


class LinkTaken(PointsError):
    """A folder or a file stands where a link belongs, and may be the only copy of something."""

    code = "LINK_TAKEN"

    def __init__(self, link: Path) -> None:
        super().__init__(
            f"{link} is a {'folder' if link.is_dir() else 'file'}, but a link belongs there that says what"
            " readers have, so it was left as it is; find out who put it there, move it away and run the same"
            " again."
        )


class NoLinks(PointsError):
    """The file system makes no symbolic links, through which readers are given what they see."""

    code = "NO_LINKS"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is on a file system without symbolic links, through which readers are given what they"
            " see, so nothing was begun; set POINTS_HOME to a folder on another one."
        )


def published_folder(home: Path) -> Path:
    """What readers have of a home's closed months."""
    return home / "published"


def revision_folder(home: Path, report_month: str, revision: int) -> Path:
    """The files of one revision of a month (``YYYY-MM``)."""
    return published_folder(home) / report_month / f"r{revision}"


def list_revisions(home: Path, report_month: str) -> list[str]:
    """The revisions of a month that are there, in order: ``r1``, ``r2``."""
    folder = published_folder(home) / report_month
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(filter(_REVISION.fullmatch, names), key=lambda name: int(name[1:]))


def list_month_folders(home: Path) -> list[Path]:
    """The folders of months under ``published``, in order."""
    published = published_folder(home)
    found = published.iterdir() if published.is_dir() else ()
    return sorted(path for path in found if _MONTH.fullmatch(path.name))


def prepared_folder(run_folder: Path) -> Path:
    """Where a run prepares what it would publish; in it, folders as in ``published``."""
    return run_folder / "published"


def database_file(home: Path) -> Path:
    """What BI tools open: a link to the newest database."""
    return published_folder(home) / DATABASE_NAME


def set_link(home: Path) -> Path:
    """The link to the set that readers have, through which all other links lead (docs/cases.md, X26)."""
    return published_folder(home) / SET_NAME


def reader_links(home: Path, months: Iterable[str]) -> dict[Path, str]:
    """What readers follow, each with what it names whichever set they have."""
    published = published_folder(home)
    return {
        database_file(home): f"{SET_NAME}/{DATABASE_NAME}",
        **{published / month / CURRENT_NAME: f"../{SET_NAME}/{month}" for month in months},
    }


def database_folder_name(home: Path, entry_id: int, sha256: str) -> str:
    """Where a database for ``home`` stands that knows the closes up to an entry and has this SHA-256."""
    return f"{entry_id:012d}-{_path_mark(home)}-{sha256[:_DIGITS]}"


def is_database_current(home: Path, entry_id: int | None = None) -> bool:
    """Whether readers have a database that is there and was made for this very path.

    ``entry_id`` is the newest entry about closes that it must know; None: whichever it knows.
    """
    named = _named_database(home)
    return (
        named is not None and named["path"] == _path_mark(home) and entry_id in (None, int(named["entry_id"]))
    )


def is_database_of_another_path(home: Path) -> bool:
    """Whether readers have a database that was made for another path, from which the home was moved."""
    named = _named_database(home)
    return named is not None and named["path"] != _path_mark(home)


def database_flaw(home: Path) -> str | None:
    """In what the database that the link names is not, to the byte, what was read back when it was made.

    None where it is, and where the link names none that was read back.
    """
    named = _named_database(home)
    if named is None:
        return None
    try:
        is_whole = file_sha256(database_file(home).resolve()).startswith(named["sha256"])
        return None if is_whole else "was altered"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _named_database(home: Path) -> re.Match[str] | None:
    """What the name of the database's folder says of it; None where the links lead to none so made."""
    file, link = database_file(home), set_link(home)
    if not does_name(file, reader_links(home, ())[file]) or not link.is_symlink() or not file.exists():
        return None
    named = DATABASE_FOLDER.fullmatch(link.readlink().name)
    return named if named and len(named["sha256"]) == _DIGITS else None


def does_name(link: Path, target: str) -> bool:
    """Whether there is a link that names ``target``."""
    return link.is_symlink() and os.readlink(link) == target


def needs_finishing(home: Path, is_read: bool = False) -> bool:
    """Whether ``home`` alone, without the ledger, shows that readers may lack what they should have.

    Where nothing is published it shows nothing; with ``is_read``, when closed months are about to be shown,
    it then may be so.
    """
    published = published_folder(home)
    if (home / ANNOUNCEMENT_NAME).exists():
        return True
    if not published.is_dir():
        return is_read and home.is_dir()
    months = [month.name for month in list_month_folders(home)]
    return not is_database_current(home) or not all(link.exists() for link in reader_links(home, months))


def point_link(link: Path, target: str) -> None:
    """Let ``link`` name ``target``, a path relative to its folder, in one step and for good.

    Raises `LinkTaken`.
    """
    check_link(link)
    prepared = link.with_name(f".{link.name}.new")
    prepared.unlink(missing_ok=True)
    prepared.symlink_to(target)
    fail_point("link prepared")
    os.replace(prepared, link)
    sync_folder(link.parent)


def try_links(home: Path) -> None:
    """Raise `NoLinks` where what is made in ``home`` could not be given to readers (docs/cases.md, X27)."""
    for folder in (home, published_folder(home)):
        if not folder.is_dir():
            continue
        tried = folder / f".link.{os.getpid()}.new"
        try:
            tried.symlink_to("nothing")
            tried.unlink()
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise NoLinks(folder) from error
            raise


def check_link(link: Path) -> None:
    """Raise `LinkTaken` where a link cannot be made because something else stands there."""
    if is_taken(link):
        raise LinkTaken(link)


def is_taken(link: Path) -> bool:
    """Whether something else stands where a link belongs (docs/cases.md, S8)."""
    return os.path.lexists(link) and not link.is_symlink()


def open_published(home: Path, readers: str) -> None:
    """Let ``readers`` read all that is published, and make revisions read-only (docs/cases.md, S27)."""
    published = published_folder(home)
    for month in list_month_folders(home):
        for revision in list_revisions(home, month.name):
            let_read(month / revision, readers, is_final=True)
        let_read(month, readers)
    sets = published / DATABASES_NAME
    for folder in (*(path for path in sets.iterdir() if path.is_dir()), sets, published):
        let_read(folder, readers)
    let_pass(home, readers)


def _path_mark(home: Path) -> str:
    """Tells paths apart: the views of a database name files by their full path."""
    return hashlib.sha256(str(home.absolute()).encode("utf-8")).hexdigest()[:8]
