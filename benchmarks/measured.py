"""What a process cost: its time from command to prompt and the peak memory of it and all below it."""

import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from ledger.settings import PROJECT_ROOT


@dataclass(frozen=True)
class Measured:
    """Seconds on the wall, of processors, and the peak of resident memory in MiB.

    Memory that two processes share counts twice in it, and what comes and goes within 20 ms not at all.
    """

    seconds: float
    processor_seconds: float
    peak_memory: int


def run_measured(
    command: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a command in ``folder``; one that fails ends the benchmark with what it said."""
    before = os.times()
    started = time.perf_counter()
    with open(folder / "said.txt", "w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        peak, ended = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, ended))
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - started
        ended.set()
        watcher.join()
        said.seek(0)
        if status != 0:
            line = " ".join(map(str, command))
            raise SystemExit(f"{line} ended with status {status}: {said.read()[-3000:]}")
    after = os.times()
    processors = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(seconds, processors, peak[0] // 2**20)


def _watch(pid: int, peak: list[int], ended: threading.Event) -> None:
    process = psutil.Process(pid)
    while not ended.wait(0.02):
        memory = 0
        try:
            for one in (process, *process.children(recursive=True)):
                memory += one.memory_info().rss
        except psutil.Error:
            pass  # one has ended meanwhile
        peak[0] = max(peak[0], memory)


def machine() -> dict[str, object]:
    """What was measured where: the commit, the machine and its load now, and versions."""
    git = ["git", "-C", str(PROJECT_ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() + (" with changes" if changed.stdout else ""),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
    }
