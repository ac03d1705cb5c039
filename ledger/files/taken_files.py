"""Copies files out of folders that others write to, so that what was checked is what is read (docs/cases.md,
S1, S3, S5).

Anyone who may write to a folder can put a link there that leads to another user's file, or replace a file
after it was checked. So no link below the folder is followed, the opened file is checked by its descriptor,
and its bytes are read once, into a private file.
"""

import errno
import os
import shutil
import stat
from contextlib import ExitStack
from pathlib import Path

from ledger.files.transfers_file import SentFile, TransfersFileRefused, link_refusal

_BLOCK = 1 << 22


def take_file(folder: Path, name: Path, target: Path) -> tuple[SentFile, os.stat_result]:
    """Copy the file ``name``, a path below ``folder``, to ``target``, which is made.

    Returns it with the status of what was copied. Raises `TransfersFileRefused` for a link, a file that has
    another name too, what is no file or cannot be read (F13), and one that is larger than the room there is
    or still written to; ``target`` is then not there.
    """
    path = folder / name
    with ExitStack() as opened:
        descriptor = _open_below(opened, folder, name)
        status = os.fstat(descriptor)
        _check(path, status, shutil.disk_usage(target.parent).free)
        try:
            with open(target, "xb", opener=_private) as copy:
                left = status.st_size
                while left and (block := os.read(descriptor, min(left, _BLOCK))):
                    left -= copy.write(block)
            if not is_same(status, os.fstat(descriptor)):
                raise _refused(path, "changed while it was read", "wait until all of it is there")
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return SentFile(path, target), status


def is_same(status: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are of one file to which nothing happened in between."""
    return _facts(status) == _facts(other)


def _facts(status: os.stat_result) -> tuple[int, ...]:
    # Unlike the time of writing, `st_ctime_ns` cannot be set by a user.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open_below(opened: ExitStack, folder: Path, name: Path) -> int:
    """Open ``name`` for reading, following no link on the way down from ``folder``; a pipe does not wait."""
    inside = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = _kept(opened, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in name.parts[:-1]:
            descriptor = _kept(opened, os.open(part, inside | os.O_DIRECTORY, dir_fd=descriptor))
        return _kept(opened, os.open(name.name, inside | os.O_NONBLOCK, dir_fd=descriptor))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise link_refusal(folder / name) from None
        finding, remedy = {
            errno.ENXIO: ("is no ordinary file", "move it away"),
            errno.EACCES: ("may not be read by this user", "change its permissions"),
            errno.ENOENT: ("is not there any more", "send it again"),
        }.get(error.errno, (f"cannot be read ({error.strerror})", "send it again"))
        raise _refused(folder / name, finding, remedy) from error


def _kept(opened: ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor


def _check(path: Path, status: os.stat_result, free: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no ordinary file", "move it away")
    if status.st_nlink > 1:
        raise _refused(
            path, "has another name too (a hard link) and may be another user's file", "put a copy there"
        )
    if status.st_size > free:
        raise _refused(
            path,
            f"has {status.st_size:,} bytes, and {free:,} are free on the disk",
            "make room, or send it in parts",
        )


def _refused(path: Path, problem: str, remedy: str) -> TransfersFileRefused:
    return TransfersFileRefused("NOT_READABLE", path, problem, remedy)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
