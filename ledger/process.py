"""What a process may use of its machine: memory and threads of DuckDB, and where its home is.

A plain ``dbt build`` reads the same settings through here (`orchestration.home_folder`), where nothing is
installed but dbt; so this imports the standard library alone.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

DEFAULT_HOME = "var"
# With all else (`with_all_else`), this leaves a reserve on every machine of more than 3 GiB.
DEFAULT_MEMORY_LIMIT = "75%"
_LEAST_MEMORY = 256 * 2**20
_MOST_THREADS = 1024
_UNITS = {
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}
_AMOUNT = re.compile(rf"([0-9]{{1,6}}(?:\.[0-9]{{1,3}})?) ?({'|'.join(_UNITS)})")
_SHARE = re.compile("([1-9][0-9]?|100)%")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_CONTROL_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class MemoryLimit:
    """An amount of memory as it was written: ``4GiB``, ``500MB``, or ``75%`` of the machine's."""

    text: str

    @property
    def bytes(self) -> int:
        """How many bytes that is on this machine."""
        if self.text.endswith("%"):
            return max(_LEAST_MEMORY, available_memory() * int(self.text[:-1]) // 100)
        number, unit = _AMOUNT.fullmatch(self.text).groups()
        return int(float(number) * _UNITS[unit])

    @property
    def of_duckdb(self) -> int:
        """How many of those bytes DuckDB may count as its own: it holds more than it counts."""
        return self.bytes * 4 // 5

    def __str__(self) -> str:
        return f"{self.text} ({self.bytes / 2**30:.1f} GiB)" if self.text.endswith("%") else self.text


def read_memory_limit(text: str) -> MemoryLimit:
    """Read an amount or a share; raises `ValueError` with the end of a sentence: "it is an amount …"."""
    if not (_AMOUNT.fullmatch(text) or _SHARE.fullmatch(text)):
        raise ValueError(
            "it is an amount with its unit, like 4GiB or 500MB, or a share of the machine's memory, like"
            f" {DEFAULT_MEMORY_LIMIT}"
        )
    limit = MemoryLimit(text)
    if limit.bytes < _LEAST_MEMORY:
        raise ValueError(f"it must be {_LEAST_MEMORY // 2**20}MiB at least")
    return limit


def read_threads(text: str) -> int:
    """Read a number of threads; raises `ValueError` with the end of a sentence."""
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or int(text) > _MOST_THREADS:
        raise ValueError(f"it is a whole number of threads, 1 to {_MOST_THREADS}")
    return int(text)


@dataclass(frozen=True)
class Process:
    """What the environment of a process gives it; ``threads`` is None for as many as DuckDB takes by itself,
    one for each processor."""

    home: Path
    memory_limit: MemoryLimit
    threads: int | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Process":
        """Read it; raises `ValueError` with a sentence."""

        def read(name: str, reader: Callable[[str], Any], default: Any) -> Any:
            if not (text := environment.get(name)):
                return default
            try:
                return reader(text)
            except ValueError as error:
                raise ValueError(f"{name} is {text!r}, but {error}.") from None

        return cls(
            Path(environment.get("POINTS_HOME") or DEFAULT_HOME).absolute(),
            read("POINTS_MEMORY_LIMIT", read_memory_limit, MemoryLimit(DEFAULT_MEMORY_LIMIT)),
            read("POINTS_THREADS", read_threads, None),
        )


def this_process() -> Process:
    """What this process was given. Where a setting of it cannot be read, all have their defaults: `Settings`
    refuses it, and who looks what is wrong with the settings goes on."""
    try:
        return Process.from_environment(os.environ)
    except ValueError:
        return Process.from_environment({"POINTS_HOME": os.environ.get("POINTS_HOME", "")})


def with_all_else(memory_limit: int) -> int:
    """The most memory, in bytes, that the processes of a run take in all with a limit: Python, and the
    process that waits for another, stand beside DuckDB (benchmarks/RESULTS.md)."""
    return memory_limit + 768 * 2**20


@cache
def available_memory() -> int:
    """The bytes of memory that this process may have: the machine's, or less by a control group.

    DuckDB looks at the process's own group alone, and not where a container shows it under another path; a
    limit of any group above counts just as well.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for text in _limits_of_control_groups():
        limits += [int(text)] if text.isdecimal() else []  # else "max"
    return min(limits)


def _limits_of_control_groups() -> Iterator[str]:
    """The limits of memory of the control groups of this process, up to the outermost, as the system's files
    say them."""
    try:
        groups = _OWN_CONTROL_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in groups):
        # Version 2 of control groups has one hierarchy, which names no controller.
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CONTROL_GROUPS / "memory" if controllers else _CONTROL_GROUPS
        for group in (PurePosixPath(path), *PurePosixPath(path).parents):
            file = root / str(group).lstrip("/") / ("memory.limit_in_bytes" if controllers else "memory.max")
            with suppress(OSError):
                yield file.read_text(encoding="utf-8").strip()
