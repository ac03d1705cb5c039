"""Which published files were read whole and found as published, so that the next command need not read them
again (docs/design.md, section 9; docs/cases.md, C14).

A file is known by its number, its size and the instant at which its system last changed its content, its
rights or its name: an instant that nobody but the system sets, and never back. So a file that was altered,
put back, copied or exchanged is not known any more. `points verify` and a close ask for none of this: they
read the bytes.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from ledger.work_folders import private_folder

_NAME = "known_files"
# Within one tick of its system's clock a file may be altered again and keep the instant. FAT's ticks are the
# longest.
_LONGEST_TICK = 2 * 10**9


class KnownFiles:
    """Those of a home: a line a file, with what it is known by and the hash that it had."""

    def __init__(self, home: Path) -> None:
        self._home, self._lines = home, set()
        # Who may not read them, and who comes first, reads the published files.
        with suppress(OSError):
            self._lines.update((private_folder(home) / _NAME).read_text(encoding="ascii").splitlines())

    def is_known(self, path: Path, sha256: str) -> bool:
        """Whether the file was found to have this hash, and is as it was then."""
        return _line(path.stat(), sha256) in self._lines

    def add(self, path: Path, before: os.stat_result, sha256: str) -> None:
        """Remember that the file had this hash, where it is as it was ``before`` it was read."""
        line, after = _line(before, sha256), path.stat()
        if _line(after, sha256) != line or after.st_ctime_ns > time.time_ns() - _LONGEST_TICK:
            return
        self._lines.add(line)
        # Where nothing can be written, or the disk is full, the next command reads the file again.
        with suppress(OSError):
            _append(private_folder(self._home) / _NAME, line)


def _line(found: os.stat_result, sha256: str) -> str:
    return f"{sha256} {found.st_ino} {found.st_size} {found.st_ctime_ns}"


def _append(file: Path, line: str) -> None:
    """Add a line by one write: of several processes each adds its own, whole."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode("ascii"))
    finally:
        os.close(descriptor)
