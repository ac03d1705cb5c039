"""Computes every closed month again from the first entry, with the models and rules of today, and compares.

A close starts from the month before and is proved against that; this proves the whole way. Closed months stay
as they are, whatever comes out: a rule that was changed for months gone by shows here, as what it would have
done (CASES.md, X14).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.cut import freeze
from ledger.data_files import connect, read_csv, read_parquet
from ledger.database import Ledger
from ledger.disk import file_sha256
from ledger.seals import read_seals
from orchestration.dbt_run import run_dbt
from orchestration.month_files import PARQUET_FILES, write_months
from orchestration.published.layout import prepared_folder, revision_folder
from orchestration.published.manifests import read_manifest
from orchestration.run_lock import run_lock
from orchestration.runs import (
    BuildProgress,
    FilesNotWritten,
    build_database,
    dbt_arguments,
    dbt_environment,
    new_run_folder,
)

FIGURES = (
    "earned_points",
    "reversal_points",
    "redeemed_points",
    "expired_points",
    "closing_points",
)


@dataclass(frozen=True)
class FigureDifference:
    """A figure of a month's roll-forward in one currency, as published and as it would come out today."""

    report_month: str
    revision: int
    currency: str
    figure: str
    published: Decimal
    recomputed: Decimal


@dataclass(frozen=True)
class FileDifference:
    """Rows that stand only in the published file of a month, and rows only in the one computed again."""

    report_month: str
    revision: int
    file: str
    published_only: int
    recomputed_only: int


@dataclass(frozen=True)
class Recomputation:
    """How many revisions were computed again, and what came out differently; nothing where all is well."""

    revisions: int
    files: Sequence[FileDifference]
    figures: Sequence[FigureDifference]


def recompute(
    ledger: Ledger, report: Callable[[BuildProgress], None] = lambda progress: None
) -> Recomputation:
    """Compute every revision of every closed month again and compare it with its files.

    Takes the lock of the home. Raises `PointsError` where dbt fails or files cannot be written.
    """
    history = read_history()
    files: list[FileDifference] = []
    figures: list[FigureDifference] = []
    with run_lock(ledger.settings.home, "points verify --full"):
        freeze(ledger, lambda done, total: report(BuildProgress("cut", "", done, total)), check_above=0)
        for closes in _builds(history):
            run_folder = new_run_folder(ledger.settings.home)
            for closed, folder in _compute(ledger, closes, run_folder, report):
                published = revision_folder(ledger.settings.home, closed.report_month, closed.revision)
                files.extend(_compare_files(closed, published, folder))
                figures.extend(_compare_figures(closed, published, folder))
            # It was made for this comparison alone, and is no run that readers could wait for.
            shutil.rmtree(run_folder)
    return Recomputation(len(history.closes), files, figures)


def _builds(history: CloseHistory) -> Iterator[list[ClosedMonth]]:
    """The closes that one build can compute again together: those between two reopenings.

    The rest of history looks to each of them as it did to the last run among them: closes that were reopened
    before it are out of force, and none of those that came later is known.
    """
    together: list[ClosedMonth] = []
    for event in sorted([*history.closes, *history.reopenings], key=lambda event: event.entry_id):
        if isinstance(event, ClosedMonth):
            together.append(event)
        elif together:
            yield together
            together = []
    if together:
        yield together


def _compute(
    ledger: Ledger,
    closes: Sequence[ClosedMonth],
    run_folder: Path,
    report: Callable[[BuildProgress], None],
) -> list[tuple[ClosedMonth, Path]]:
    settings = ledger.settings
    newest = closes[-1]
    environment = {
        **dbt_environment(settings, newest.report_month, run_folder),
        "POINTS_FIRST_MONTH": read_seals()["first_month"],
        "POINTS_UPTO_ENTRY_ID": str(newest.cutoff_entry_id),
    }
    run_dbt(
        dbt_arguments(),
        environment,
        run_folder,
        lambda step: report(BuildProgress("models", step.name, step.position, step.total)),
    )
    folders = {closed.report_month: prepared_folder(run_folder) / closed.name for closed in closes}
    try:
        write_months(
            build_database(run_folder),
            folders,
            settings.default_currency,
            {
                closed.report_month: {
                    "status": "closed",
                    "programme": closed.programme_name,
                    "revision": str(closed.revision),
                }
                for closed in closes
            },
            lambda month, position, total: report(BuildProgress("files", month, position, total)),
        )
    except (duckdb.Error, OSError) as error:
        raise FilesNotWritten(settings.home, error) from error
    return [(closed, folders[closed.report_month]) for closed in closes]


def _compare_files(closed: ClosedMonth, published: Path, recomputed: Path) -> Iterator[FileDifference]:
    """Every file that the manifest names, by its hash and, where that differs, by its rows.

    Another version of DuckDB writes other bytes for the same rows; text is compared line by line.
    """
    for name, facts in read_manifest(published, closed.manifest_sha256)["files"].items():
        again = recomputed / name
        if name == "unposted_transfers.parquet" and not again.exists():
            continue  # what a run left over is written for the last month of it alone
        if again.exists() and file_sha256(again) == facts["sha256"]:
            continue
        counts = _count_differences(published / name, again)
        if any(counts):
            yield FileDifference(closed.report_month, closed.revision, name, *counts)


def _count_differences(published: Path, recomputed: Path) -> tuple[int, int]:
    """Rows that stand in only one of two files; all rows of one where the other is not there."""
    with connect() as connection:
        for name, path in (("published", published), ("recomputed", recomputed)):
            connection.execute(f"create view {name} as {_rows_of(path, like=published)}")
        counts = (
            connection.execute(f"select count(*) from (from {one} except all from {other})").fetchone()[0]
            for one, other in (("published", "recomputed"), ("recomputed", "published"))
        )
        return tuple(counts)


def _rows_of(path: Path, like: Path) -> str:
    if not path.exists():
        return f"{_rows_of(like, like)} limit 0"
    if path.suffix == ".parquet":
        return f"select * from {read_parquet(path)}"
    lines = read_csv(path, {"line": "varchar"}, header=False, delimiter="", quote="", null_text="")
    return f"select * from {lines}"


def _compare_figures(closed: ClosedMonth, published: Path, recomputed: Path) -> Iterator[FigureDifference]:
    name = next(file for file in PARQUET_FILES if file.startswith("programme"))
    with connect() as connection:
        rows = connection.execute(
            f"""
            select currency, figure,
                coalesce(published.points, 0) as published, coalesce(recomputed.points, 0) as recomputed
            from (unpivot {_figures(published, name)} on {", ".join(FIGURES)}
                into name figure value points) as published
            full outer join (unpivot {_figures(recomputed, name)} on {", ".join(FIGURES)}
                into name figure value points) as recomputed
                using (currency, figure)
            where published.points is distinct from recomputed.points
            """
        ).fetchall()
    order = {figure: position for position, figure in enumerate(FIGURES)}
    for currency, figure, was, would_be in sorted(rows, key=lambda row: (row[0], order[row[1]])):
        yield FigureDifference(closed.report_month, closed.revision, currency, figure, was, would_be)


def _figures(folder: Path, name: str) -> str:
    file = folder / f"{name}.parquet"
    return f"(select currency, {', '.join(FIGURES)} from {read_parquet(file)})"
