"""``python -m benchmarks.marked FILE close 2023-03``: a command of `points`, and FILE has when each step was.

The steps are those at which a close can be cut off (`orchestration.fail_points`): of each, the seconds since
the process began at which it was reached, every time, as JSON.
"""

import atexit
import json
import sys
import time
from pathlib import Path

from orchestration import fail_points


def main() -> None:
    marks: dict[str, list[float]] = {}
    file = Path(sys.argv.pop(1)).absolute()
    began = time.perf_counter()

    def mark(step: str) -> None:
        marks.setdefault(step, []).append(time.perf_counter() - began)

    # Before anything imports it from there.
    fail_points.fail_point = mark
    atexit.register(lambda: file.write_text(json.dumps(marks)))
    from console.points import main as points

    points()


if __name__ == "__main__":
    main()
