"""The audit's recount: what a build must hold, counted from the cut without dbt, and where it does not.

Independent on purpose (docs/design.md, sections 4 and 9): nothing here comes from a model. It says how many
rows each model has, exactly or at least whether it may be empty, and the control totals of every month, from
the previous manifest's and what came after its cutoff.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, localcontext
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect
from ledger.disk import why_not_written
from ledger.errors import PointsError
from ledger.settings import Settings
from ledger.sql_text import literal
from orchestration.recount.figures import LATER, Figures
from orchestration.recount.models import RowCount, count_models
from orchestration.recount.months import control_totals, count_months, find_problems
from orchestration.recount.opening import Opening
from orchestration.recount.transfers import Scope, create_transfers


class RecountFailed(PointsError):
    """The recount could not be made, so the build is not proved."""

    def __init__(self, place: Path, error: Exception) -> None:
        super().__init__(
            f"The recount could not read {place}: {why_not_written(error)}; nothing was published, so fix"
            " that and run the same again."
        )


@dataclass(frozen=True)
class Recount:
    """What a build must hold.

    ``control_totals`` are by month and currency, ready for a manifest (`months.control_totals`);
    ``row_counts`` are by model. ``problems`` are sentences on what is wrong before any build is looked at.
    """

    control_totals: Mapping[str, Mapping[str, Mapping]]
    row_counts: Mapping[str, RowCount]
    figures: Sequence[Figures]
    problems: Sequence[str]


def recount(
    *,
    cut: Path,
    upto_entry_id: int,
    opening: Opening | None,
    closes: Sequence[tuple[str, int]],
    first_month: str | None,
    months: Sequence[str],
    settings: Settings,
    related_transfers: Path | None = None,
    related_status_changes: Path | None = None,
    is_close: bool = True,
) -> Recount:
    """Count what a run over ``cut`` must give, without entries above ``upto_entry_id``.

    ``closes`` are the report months with a close in force, ascending, each with its cutoff; ``months`` those
    of the run, all from the one after the opening (or from the first) on. Nothing posts before
    ``first_month``. ``related_*`` are Parquet files like the cut's parts, of transfers that the opening holds
    and revocations of this run are connected with. ``is_close`` says that the run closes its months, as it
    does but in tests. Raises `RecountFailed` where something cannot be read.
    """
    scope = Scope(
        cut=cut,
        upto_entry_id=upto_entry_id,
        opening=opening,
        closes=closes,
        first_month=first_month,
        months=months,
        settings=settings,
        related_transfers=related_transfers,
        related_status_changes=related_status_changes,
        is_close=is_close,
    )
    try:
        # Sums have up to 38 digits, ten more than Python would keep.
        with (
            connect() as duck,
            localcontext(Context(prec=60, traps=[Inexact])),
        ):
            duck.execute("set preserve_insertion_order = false; set parquet_metadata_cache = true")
            create_transfers(duck, scope)
            counts = count_months(duck, scope)
            models = count_models(duck, scope, counts)
            return Recount(
                control_totals=control_totals(scope, counts),
                row_counts=models.row_counts,
                figures=models.figures,
                problems=find_problems(scope, counts),
            )
    except (duckdb.Error, OSError) as error:
        raise RecountFailed(cut, error) from error


def find_differences(recount: Recount, database: Path, months: Sequence[str]) -> list[str]:
    """Where the build in ``database``, which is only read, is not what the recount says.

    A sentence for each model, group and number; groups of other months than ``months`` are passed over. Empty
    where they agree. Raises `RecountFailed` where the build cannot be read.
    """
    try:
        with connect(database, read_only=True) as build:
            # The build's views name some files relative to the folder of the run.
            build.execute(f"set file_search_path = {literal(database.parent)}")
            return [
                *recount.problems,
                *_differences_in_rows(recount, build),
                *_differences_in_figures(recount, build, months),
                *_differences_in_negatives(build),
            ]
    except (duckdb.Error, OSError) as error:
        raise RecountFailed(database, error) from error


def _relations(build: duckdb.DuckDBPyConnection) -> set[str]:
    return {name for (name,) in build.execute("select table_name from information_schema.tables").fetchall()}


def _differences_in_rows(recount: Recount, build: duckdb.DuckDBPyConnection) -> Iterable[str]:
    built = _relations(build)
    for model, expected in recount.row_counts.items():
        if model not in built:
            yield f"{model} is not in the build"
            continue
        (rows,) = build.execute(f"select count(*) from {model}").fetchone()
        if rows < expected.at_least or (expected.at_most is not None and rows > expected.at_most):
            yield f"{model} has {rows:,} rows in the build, but the recount says {expected}"


def _differences_in_figures(
    recount: Recount, build: duckdb.DuckDBPyConnection, months: Sequence[str]
) -> Iterable[str]:
    built = _relations(build)
    for figures in recount.figures:
        if figures.model not in built:
            continue
        rows = build.execute(figures.query).fetchall()
        found = {row[: len(figures.keys)]: row[len(figures.keys) :] for row in rows}
        for key in sorted({*found, *figures.expected}, key=lambda key: [str(part) for part in key]):
            if figures.keys[0] == "report_month" and key[0] not in (*months, LATER):
                continue
            nothing = (0,) * len(figures.numbers)
            said, built_numbers = figures.expected.get(key, nothing), found.get(key, nothing)
            for name, number, built_number in zip(figures.numbers, said, built_numbers, strict=True):
                if number != built_number:
                    yield (
                        f"{figures.model} ({_key_text(key)}) has {name} {_text(built_number)} in the build,"
                        f" but the recount says {_text(number)}"
                    )


def _differences_in_negatives(build: duckdb.DuckDBPyConnection) -> Iterable[str]:
    """The recount does not add up each balance, so negative balances are compared within the build
    itself: two balances below zero in a month need two discrepancies."""
    if not {"discrepancies", "outstanding_points_by_month"} <= _relations(build):
        return
    rows = build.execute(
        """
        with negatives as (
            select report_month, 1 as balances, 0 as discrepancies
            from outstanding_points_by_month where closing_points < 0
            union all
            select report_month, 0, 1 from discrepancies where discrepancy = 'negative_outstanding'
        )

        select strftime(report_month, '%Y-%m'), sum(balances), sum(discrepancies)
        from negatives
        group by 1
        having sum(balances) <> sum(discrepancies)
        order by 1
        """
    ).fetchall()
    for month, balances, discrepancies in rows:
        yield (
            f"discrepancies ({month}, negative_outstanding) has rows {discrepancies:,} in the build, but"
            f" outstanding_points_by_month has {balances:,} balances below zero"
        )


def _text(number: Decimal | int | None) -> str:
    if isinstance(number, Decimal):
        return points_text(number)
    return "null" if number is None else f"{number:,}"


def _key_text(key: tuple) -> str:
    return ", ".join("null" if part is None else str(part) for part in key)
