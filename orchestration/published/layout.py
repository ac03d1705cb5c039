"""Where published files stand in a home, and how names are made to last (DESIGN.md, section 9)."""

import hashlib
import os
import re
from pathlib import Path

from orchestration.fail_points import fail_point

DATABASE_NAME = "outstanding_points.duckdb"
MANIFEST_NAME = "manifest.json"
# In the folder of a month: a link to the revision that readers have.
CURRENT_NAME = "current"
# A close that may be committed and not yet published leaves this in the home
# (`orchestration.close.finishing`).
ANNOUNCEMENT_NAME = "unfinished_close.json"
# The databases that `DATABASE_NAME` has named: a reader may hold an earlier one open. Each has its own folder
# and is called alike there: DuckDB calls a database by its file's name, and BI tools keep that name.
DATABASES_NAME = ".databases"


# Up to which entry about closes a database knows, for which path it was made, and how its own hash begins.
DATABASE_FOLDER = re.compile(r"(?P<entry_id>[0-9]{12,})-(?P<path>[0-9a-f]{8})-(?P<sha256>[0-9a-f]{16})")


def published_folder(home: Path) -> Path:
    """What readers have of a home's closed months."""
    return home / "published"


def revision_folder(home: Path, report_month: str, revision: int) -> Path:
    """The files of one revision of a month (``YYYY-MM``)."""
    return published_folder(home) / report_month / f"r{revision}"


def prepared_folder(run_folder: Path) -> Path:
    """Where a run prepares what it would publish; in it, folders as in ``published``."""
    return run_folder / "published"


def database_file(home: Path) -> Path:
    """What BI tools open: a link to the newest database."""
    return published_folder(home) / DATABASE_NAME


def database_folder_name(home: Path, entry_id: int, sha256: str) -> str:
    """Where a database for ``home`` stands that knows the closes up to an entry and has this SHA-256."""
    return f"{entry_id:012d}-{_path_mark(home)}-{sha256[:16]}"


def is_database_current(home: Path, entry_id: int | None = None) -> bool:
    """Whether the link names a database that is there and was made for this very path.

    ``entry_id`` is the newest entry about closes that it must know; None: whichever it knows.
    """
    link = database_file(home)
    named = (
        DATABASE_FOLDER.fullmatch(link.readlink().parent.name)
        if link.is_symlink() and link.exists()
        else None
    )
    return (
        named is not None and named["path"] == _path_mark(home) and entry_id in (None, int(named["entry_id"]))
    )


def needs_finishing(home: Path) -> bool:
    """Whether ``home`` alone, without the ledger, shows that readers may lack what they should have."""
    published = published_folder(home)
    if (home / ANNOUNCEMENT_NAME).exists():
        return True
    if not published.is_dir():
        return False
    return not is_database_current(home) or any(
        not (month / CURRENT_NAME).exists() for month in published.glob("[0-9]*")
    )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    sync_file(folder)


def point_link(link: Path, target: str) -> None:
    """Let ``link`` name ``target``, a path relative to its folder, in one step and for good."""
    prepared = link.with_name(f".{link.name}.new")
    prepared.unlink(missing_ok=True)
    prepared.symlink_to(target)
    fail_point("link prepared")
    os.replace(prepared, link)
    sync_folder(link.parent)


def _path_mark(home: Path) -> str:
    """Tells paths apart: the views of a database name files by their full path."""
    return hashlib.sha256(str(home.absolute()).encode("utf-8")).hexdigest()[:8]
