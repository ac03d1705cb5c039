"""The tables of a month's report, row by row: those of relation references, of which some are chosen and
sorted, and the programme's lines (docs/design.md, section 9)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ledger.data_files import fetch_rows
from ledger.lists.paging import SortUnknown
from ledger.sql_text import literal
from orchestration.month_files import (
    OUTSTANDING_POINTS,
    PROGRAMME_COLUMNS,
    PROGRAMME_POINTS,
    RELATION_COLUMNS,
    MonthCurrency,
    opened_marts,
    programme_rows,
)

_BALANCES = ("outstanding_points_by_month",)
_OF_PROGRAMME = ("programme_points_by_month", "points_movements_by_month")
BY_REFERENCE = "relation_reference"


@dataclass(frozen=True)
class Choice:
    """Which relation references are shown (empty: all), and by which column they are sorted: with a ``-``
    before it, the largest first."""

    relation: str = ""
    relation_prefix: str = ""
    sort: str = BY_REFERENCE

    @property
    def is_everything(self) -> bool:
        """Whether all are shown, in the order of the file."""
        return self == EVERYTHING

    @property
    def condition(self) -> str:
        """The condition for the rows of relation references that are shown."""
        wheres = [f"starts_with({BY_REFERENCE}, {literal(self.relation_prefix)})"]
        if self.relation:
            wheres.append(f"{BY_REFERENCE} = {literal(self.relation)}")
        return " and ".join(wheres)


EVERYTHING = Choice()


@dataclass(frozen=True)
class ReportTable:
    """What one CSV ``file`` of a month in one currency holds; ``find`` is as a `Report` has it."""

    file: str
    month: MonthCurrency
    find: Callable[[str], Path] = field(repr=False)

    @property
    def is_of_programme(self) -> bool:
        """Whether it has the programme's lines, and no relation references."""
        return self.file == PROGRAMME_POINTS

    @property
    def title(self) -> str:
        """What people read above its rows of relation references."""
        return "Totals to date" if self.file == OUTSTANDING_POINTS else "The month's roll-forward"

    @property
    def columns(self) -> Mapping[str, str]:
        """The names of what rows have, by the headings of the file."""
        if self.is_of_programme:
            return {heading: heading.lower() for heading in PROGRAMME_COLUMNS}
        return RELATION_COLUMNS[self.file]

    def rows(self, choice: Choice = EVERYTHING, limit: int | None = None) -> Iterator[tuple]:
        """Rows of texts and exact points, in the order of ``columns``: of relation references those that are
        chosen, at most ``limit``, those of the same value in byte order of the relation reference; of the
        programme all, with None where no points are counted. Raises `SortUnknown`."""
        if self.is_of_programme:
            query = (
                "select name, reason, transfers, points"
                f" from ({programme_rows(self.month.where)}) order by part, reason"
            )
            yield from self._fetched(_OF_PROGRAMME, query)
            return
        column = choice.sort.removeprefix("-")
        if column not in self.columns.values():
            raise SortUnknown(column, list(self.columns.values()))
        direction = " desc" if choice.sort.startswith("-") else ""
        query = (
            f"select {', '.join(self.columns.values())} from {self._chosen(choice)}"
            f" order by {column}{direction}, {BY_REFERENCE}"
        )
        yield from self._fetched(_BALANCES, query if limit is None else f"{query} limit {limit:d}")

    def count(self, choice: Choice) -> int:
        """How many relation references are chosen."""
        ((count,),) = self._fetched(_BALANCES, f"select count(*) from {self._chosen(choice)}")
        return count

    def _chosen(self, choice: Choice) -> str:
        return f"{self.month.balances} where {choice.condition}"

    def _fetched(self, marts: tuple[str, ...], query: str) -> Iterator[tuple]:
        with opened_marts(self.find, self.month, marts) as connection:
            yield from fetch_rows(connection, query)
