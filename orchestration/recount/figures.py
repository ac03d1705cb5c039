"""Numbers that a build must hold, asked of it by a query."""

from collections.abc import Mapping
from dataclasses import dataclass

# The key of all months after those of the run.
LATER = "later"


@dataclass(frozen=True)
class Figures:
    """Numbers of a model by group; ``query``, asked of the build, gives a group's keys and then its numbers.

    A first key named 'report_month' is ``YYYY-MM``, or 'later' for all months after the run's.
    """

    model: str
    query: str
    keys: tuple[str, ...]
    numbers: tuple[str, ...]
    expected: Mapping[tuple, tuple]
