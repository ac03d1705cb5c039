"""``python -m benchmarks.many_writers``: 32 processes at once giving points, on SQLite and on PostgreSQL.

Every request is sent by two of them at about the same time, with the same id, as a retry would be. Counted
are the commits that added a transfer, what was lost (asked for, or answered as added, and not there) and what
was doubled (there twice, or answered as added to both); and how long the slowest request waited. Prints a
table in Markdown for RESULTS.md. The time in which processes start is not in it. PostgreSQL comes out of a
wheel, as in the tests.
"""

import argparse
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.databases import databases
from ledger.acts.transfers import give
from ledger.database import connected_to, open_ledger
from ledger.models import ENTRY_MODELS, Transfer
from ledger.settings import Settings

MOST_SECONDS = 180


@dataclass(frozen=True)
class Answers:
    """The answers to one process: the ids that it added, and the seconds that each request took."""

    added: list[str]
    seconds: list[float]
    began: float
    ended: float


def send(settings: Settings, writer: int, requests: int, start, answers) -> None:
    """One process: send ``requests`` one after the other; its pair sends the same ones."""
    with connected_to(settings):
        ledger = open_ledger(settings, create=True)
        added, seconds = [], []
        start.wait(MOST_SECONDS)
        began = time.monotonic()
        for number in range(requests):
            transfer_id = f"{writer // 2}-{number}"
            sent = time.monotonic()
            if not give(ledger, f"C-{writer // 2}", "1", new=True, transfer_id=transfer_id).was_known:
                added.append(transfer_id)
            seconds.append(time.monotonic() - sent)
        answers.put(Answers(added, seconds, began, time.monotonic()))


def measure(settings: Settings, writers: int, requests: int) -> dict[str, object]:
    """Let ``writers`` processes send ``requests`` each, and look at what the ledger then holds."""
    with connected_to(settings):
        open_ledger(settings, create=True)
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload([__name__])
        start, queue = processes.Barrier(writers), processes.Queue()
        started = [
            processes.Process(
                target=send,
                args=(replace(settings, user=f"writer-{writer}"), writer, requests, start, queue),
            )
            for writer in range(writers)
        ]
        for process in started:
            process.start()
        answers = [queue.get(timeout=MOST_SECONDS) for _ in started]
        for process in started:
            process.join(MOST_SECONDS)
        confirmed = Counter(transfer_id for answer in answers for transfer_id in answer.added)
        there = Counter(Transfer.objects.values_list("transfer_id", flat=True))
        asked = {f"{pair}-{number}" for pair in range((writers + 1) // 2) for number in range(requests)}
        highest = Transfer.objects.order_by("-entry_id").values_list("entry_id", flat=True)[0]
        elapsed = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
        seconds = sorted(second for answer in answers for second in answer.seconds)
        return {
            "requests": writers * requests,
            "commits": sum(there.values()),
            "commits a second": f"{sum(there.values()) / elapsed:,.0f}",
            "requests a second": f"{writers * requests / elapsed:,.0f}",
            "median request": f"{1_000 * statistics.median(seconds):,.0f} ms",
            "slowest request": f"{1_000 * seconds[-1]:,.0f} ms",
            "lost": len(asked - set(there)) + len(set(confirmed) - set(there)),
            "doubled": sum(number > 1 for number in [*confirmed.values(), *there.values()]),
            "gaps in entry_id": highest - sum(model.objects.count() for model in ENTRY_MODELS),
        }


def main() -> None:
    """Measure both databases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=32)
    parser.add_argument("--requests", type=int, default=100, help="of each writer")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="points_writers_") as folder,
        databases(Path(folder)) as environments,
    ):
        found = {
            name: measure(Settings.from_environment(environment), arguments.writers, arguments.requests)
            for name, environment in environments.items()
        }
    print(
        f"{arguments.writers} writers, {arguments.requests} requests each;"
        f" Python {platform.python_version()}\n"
    )
    print(f"| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for measured in next(iter(found.values())):
        print(f"| {measured} | {' | '.join(str(figures[measured]) for figures in found.values())} |")


if __name__ == "__main__":
    main()
