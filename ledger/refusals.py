"""A request of many parts that is refused for what is wrong with some of them; nothing of it is recorded."""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.errors import PointsError


@dataclass(frozen=True)
class Problem:
    """Why one part is refused. ``place`` names the part for people: ``line 3``, or the id that they gave."""

    place: str
    error: PointsError

    def __str__(self) -> str:
        return f"{self.place}: {self.error}"


class SeveralRefused(PointsError):
    """Parts of a request of many are refused, and so all of it (docs/cases.md, C7); ``problems`` has every
    one."""

    def __init__(self, problems: Iterable[Problem], part_count: int) -> None:
        self.problems = tuple(problems)
        refused = len(self.problems)
        super().__init__(
            f"Nothing was recorded, because {refused:,} of {part_count:,} {'is' if refused == 1 else 'are'}"
            " refused; correct each as its message says and send all of them again."
        )

    @property
    def codes(self) -> set[str | None]:
        """The codes of all that is wrong."""
        return {problem.error.code for problem in self.problems}


def refuse(problems: Iterable[Problem], part_count: int) -> None:
    """Raise what is wrong, if anything is: its own error where a single part was asked for."""
    problems = tuple(problems)
    if problems and part_count == 1:
        raise problems[0].error
    if problems:
        raise SeveralRefused(problems, part_count)
