"""dbt's parse of this project, kept for the next run where no other user can write (docs/cases.md, S21).

dbt trusts a saved parse as if it were the project's files: a user who can change one decides what every
model and test is. So none is taken from a home, which holds data and may be another user's. Who can write the
one kept here can write the project's files too.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestration.dbt.project import parse_sha256

_FILE_NAME = "partial_parse.msgpack"
# Of so many checkouts or states of one; each has 1.6 MB.
_KEPT = 8


def kept_parse() -> bytes | None:
    """The parse that is kept of exactly this project; None where there is none, or others could write it.

    From that of another project, dbt would parse again only what changed, which misses changes: after a mart
    had lost a column, it held the mart to the contract that named it (docs/cases.md, X23).
    """
    with suppress(OSError, RuntimeError), _own_folder(_folder()) as folder:
        sha256, _, parse = _read(parse_sha256(), folder).partition(b"\n")
        if hashlib.sha256(parse).hexdigest().encode() == sha256:
            return parse
    return None


def keep_parse(target: Path, project: str) -> None:
    """Keep the parse that dbt has left in ``target``; it began when `parse_sha256` was ``project``.

    It is kept where nobody but this user could have written it, for it saves time alone: what cannot be kept
    is made again.
    """
    if parse_sha256() != project:
        return
    with suppress(OSError, RuntimeError), _own_folder(target) as made:
        parse = _read(_FILE_NAME, made)
        _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        with _own_folder(_folder()):
            unfinished = _folder() / f".{project}.{os.getpid()}"
            unfinished.write_bytes(hashlib.sha256(parse).hexdigest().encode() + b"\n" + parse)
            unfinished.rename(_folder() / project)
            kept = sorted(_folder().iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
            for old in kept[_KEPT:]:
                old.unlink()


def _folder() -> Path:
    """Where this user's parses are kept, by the XDG base directories; `RuntimeError` where it has no home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "outstanding-points" / "parses"


@contextmanager
def _own_folder(folder: Path) -> Iterator[int]:
    """A descriptor of ``folder``; raises `PermissionError` where anybody else may look or write into it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{folder} is not this user's alone")
        yield descriptor
    finally:
        os.close(descriptor)


def _read(name: str, folder: int) -> bytes:
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return file.read()
