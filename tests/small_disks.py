"""Disks with little room, to be left any number of bytes while a process writes (docs/cases.md, X5
and X25)."""

import os
import resource
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A real file system that can be made full; only root may mount one."""

    sentences = ("The disk is full", "the disk is full")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("size=512m")

    def leave(self, room: int, processes: Iterable[int] = ()) -> None:
        """Leave ``room`` bytes, rounded up to a page."""
        while True:
            usage = os.statvfs(self.folder)
            used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
            # It cannot be made smaller than what dbt has written to it meanwhile.
            with suppress(subprocess.CalledProcessError):
                return self._mount(f"remount,size={used + room}")

    def make_room(self) -> None:
        self._mount("remount,size=512m")

    @contextmanager
    def nearly_full(self, room: int) -> Iterator[None]:
        """Leave ``room`` bytes to what this process writes in the body."""
        self.leave(room)
        try:
            yield
        finally:
            self.make_room()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self, options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True, capture_output=True
        )


class SmallFiles:
    """Processes each of whose files may not grow any more, by the system's own limit: works for everybody."""

    # SQLite's only message for any error of its file.
    sentences = ("File too large", "disk I/O error")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def leave(self, room: int, processes: Iterable[int]) -> None:
        """Let each file of the processes grow to ``room`` bytes at most."""
        for pid in processes:
            # The note in the run's lock is short.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(room, 64), resource.RLIM_INFINITY))

    def make_room(self) -> None:
        """The processes have ended, and their limit with them."""

    @contextmanager
    def nearly_full(self, room: int) -> Iterator[None]:
        """Let no file that this process writes in the body become larger than ``room`` bytes."""
        self.leave(room, [os.getpid()])
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def remove(self) -> None:
        """Nothing was made but a folder."""


# Where the user may mount, all of it was tried on a real file system.
DISKS = [
    SmallDisk,
    pytest.param(SmallFiles, marks=[pytest.mark.long] if os.geteuid() == 0 else []),
]
