"""What happens when: actions in the order of their instants, then of their planning."""

import heapq
from collections.abc import Callable
from datetime import datetime

Action = Callable[[datetime], None]


class Agenda:
    """Actions that are planned before they are due, by other actions too; none at or after ``ends_at``."""

    def __init__(self, ends_at: datetime) -> None:
        self._ends_at = ends_at
        self._planned: list[tuple[datetime, int, Action]] = []
        self._count = 0

    def plan(self, at: datetime, action: Action) -> None:
        if at < self._ends_at:
            self._count += 1
            heapq.heappush(self._planned, (at, self._count, action))

    def run(self) -> None:
        while self._planned:
            at, _, action = heapq.heappop(self._planned)
            action(at)
