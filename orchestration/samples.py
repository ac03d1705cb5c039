"""A sample of a month for an auditor, which anyone can draw again (docs/design.md, section 10).

The population is in the order of the SHA-256 of the seed, a line feed and the id, and the sample is its
beginning. By points it is drawn as monetary units are: of all ten-thousandths of a point in that order, one
after the other, every n-th is marked, and what holds a marked one is drawn. docs/month_end.md says the same
in Python.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.settings import Settings
from ledger.sql_text import literal
from orchestration.month_files import OUTSTANDING_POINTS, RELATION_COLUMNS
from orchestration.posted_transfers import COLUMNS, in_utc, posted_transfers
from orchestration.reports import MonthSummary, Report, read_report

_UNITS = 10_000  # of a point
# What may be sampled: its id, what it has, and the points by which it may be drawn.
POPULATIONS = {
    "transfers": ("transfer_id", COLUMNS, "signed_points"),
    "customers": (
        "relation_reference",
        tuple(RELATION_COLUMNS[OUTSTANDING_POINTS].values()),
        "total_outstanding_points",
    ),
}


@dataclass(frozen=True)
class Sample:
    """What was drawn of a month, in the order of the draw, by columns: each has its ``sha256`` and, drawn by
    points, how often it was hit (``hits``), being larger than what lies between two marks.

    ``population_points`` are those of all, without regard to their sign.
    """

    summary: MonthSummary
    of: str
    seed: int
    size: int
    by_points: bool
    population_count: int
    population_points: Decimal
    rows: list[Mapping[str, object]]


def sample_columns(of: str) -> tuple[str, ...]:
    """The columns of the rows of a sample, in the order in which they are printed."""
    identifier, columns, _ = POPULATIONS[of]
    return (identifier, "sha256", "hits", *(column for column in columns if column != identifier))


def draw_sample(
    settings: Settings,
    month: str,
    size: int,
    seed: int,
    of: str = "transfers",
    by_points: bool = False,
    currency: str | None = None,
    revision: int | None = None,
) -> Sample:
    """Draw ``size`` of the ``transfers`` that posted in ``month`` (``YYYY-MM``), or of the ``customers`` of
    its report; all where these are fewer. By points it may be fewer, and what has no points is never drawn.

    Raises what `read_report` does.
    """
    report = read_report(settings, month, currency, revision)
    columns = sample_columns(of)
    with connect() as duck:
        duck.execute(f"create view population as {_population(report, of, seed)}")
        count, units = duck.execute(
            "select count(*), coalesce(sum(units), 0)::hugeint from population"
        ).fetchone()
        rows = fetch_rows(duck, _drawn(columns, size, _marks(seed, size, units) if by_points else None))
        drawn = [dict(zip(columns, map(in_utc, row), strict=True)) for row in rows]
    points = Decimal(units) / _UNITS
    return Sample(report.summary, of, seed, size, by_points, count, points, drawn)


def _population(report: Report, of: str, seed: int) -> str:
    """All that may be drawn, with its ``sha256`` and its size in ``units``, ten-thousandths of a point."""
    identifier, _, points = POPULATIONS[of]
    currency = f"currency = {literal(report.summary.currency)}"
    source = (
        posted_transfers([report.mart("posted_transfers")], currency)
        if of == "transfers"
        else f"(from {read_parquet(report.mart('outstanding_points_by_month'))} where {currency})"
    )
    return (
        f"select *, sha256({literal(f'{seed}')} || chr(10) || {identifier}) as sha256,"
        f" cast(abs({points}) * {_UNITS} as hugeint) as units from {source}"
    )


def _marks(seed: int, size: int, units: int) -> list[int]:
    """The units that are marked: the first where the seed says, the others at even distances."""
    if not units:
        return []
    start = int(hashlib.sha256(f"{seed}\n".encode()).hexdigest(), 16) % units
    return [(start + number * units) // size for number in range(size)]


def _drawn(columns: tuple[str, ...], size: int, marks: list[int] | None) -> str:
    """The query of what is drawn: the first ``size``, or what holds one of the ``marks``."""
    names = ", ".join(columns)
    if marks is None:
        return f"select {names} from (select *, 1 as hits from population) order by sha256 limit {size:d}"
    return f"""
        with placed as (
            select sha256, units, sum(units) over (order by sha256 rows unbounded preceding) as until_unit
            from population
        ),
        marks as (
            select cast(unnest({[str(mark) for mark in marks]}::varchar[]) as hugeint) as mark
        ),
        hit as (
            select placed.sha256, count(*) as hits
            from placed
            inner join marks on marks.mark < until_unit and marks.mark >= until_unit - units
            group by placed.sha256
        )
        select {names} from population inner join hit using (sha256) order by sha256
    """
