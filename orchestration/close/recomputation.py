"""Computes every closed month again from the first entry, with the models and rules of today, and compares.

A close starts from the month before and is proved against that; this proves the whole way. Closed months stay
as they are, whatever the result: a rule that was changed for past months shows here, as what it would have
done (docs/cases.md, X14). Where other models closed a month, what its files say beside points and counts may
have changed with them: that is noted, and is no difference (X22).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.cut import freeze
from ledger.database import Ledger
from ledger.seals import read_seals
from orchestration.close.comparison import (
    FigureDifference,
    FileDifference,
    compare_figures,
    compare_files,
)
from orchestration.close.openings import (
    find_opening,
    fits_one_build,
    read_opening,
)
from orchestration.close.prepared_months import closed_metadata, models_environment
from orchestration.dbt.project import models_sha256
from orchestration.month_files import write_months
from orchestration.published.layout import prepared_folder, revision_folder
from orchestration.published.manifests import read_manifest
from orchestration.report_calendar import next_month
from orchestration.restatement import Revision, restatements_of_run, write_restatements
from orchestration.run_lock import run_lock
from orchestration.runs import (
    BuildProgress,
    FilesNotWritten,
    build_database,
    new_run_folder,
    run_build,
)


@dataclass(frozen=True)
class Recomputation:
    """How many revisions were computed again, and what came out differently; nothing where all is well.

    ``notes`` are files of months that other models closed: they say other things than today's would, but the
    same points and counts.
    """

    revisions: int
    files: Sequence[FileDifference]
    figures: Sequence[FigureDifference]
    notes: Sequence[FileDifference]


def recompute(
    ledger: Ledger, report: Callable[[BuildProgress], None] = lambda progress: None
) -> Recomputation:
    """Compute every revision of every closed month again and compare it with its files.

    Takes the lock of the home. Raises `PointsError` where dbt fails or files cannot be written.
    """
    history = read_history()
    models = models_sha256()
    files: list[FileDifference] = []
    notes: list[FileDifference] = []
    figures: list[FigureDifference] = []
    with run_lock(ledger.settings.home, "points verify --full"):
        freeze(ledger, lambda done, total: report(BuildProgress("cut", "", done, total)), check_above=0)
        for opening, closes in _builds(history, read_seals()["first_month"] if history.closes else ""):
            run_folder = new_run_folder(ledger.settings.home)
            for closed, folder in _compute(ledger, history, opening, closes, run_folder, report):
                published = revision_folder(ledger.settings.home, closed.report_month, closed.revision)
                manifest = read_manifest(published, closed.manifest_sha256)
                is_of_these_models = manifest.get("models_sha256") == models
                for difference, is_in_figures in compare_files(closed, manifest, published, folder):
                    (files if is_of_these_models or is_in_figures else notes).append(difference)
                figures.extend(compare_figures(closed, published, folder))
            # It was made for this comparison alone, and is no run that readers could wait for.
            shutil.rmtree(run_folder)
    return Recomputation(len(history.closes), files, figures, notes)


def _builds(
    history: CloseHistory, first_month: str
) -> Iterator[tuple[ClosedMonth | None, list[ClosedMonth]]]:
    """The closes that one build can compute again together, and the close that it starts from: those between
    two reopenings, from the first entry, ``first_month`` being the programme's.

    The rest of history looks to each of them as it did to the last run among them: closes that were reopened
    before it are out of force, and none of those that came later is known. Where they span more months than a
    build may, they go in stretches, each from the close before it, whose own files were computed in the
    stretch before and compared (docs/cases.md, X29).
    """
    together: list[ClosedMonth] = []
    for event in sorted([*history.closes, *history.reopenings], key=lambda event: event.entry_id):
        if isinstance(event, ClosedMonth):
            together.append(event)
        else:
            yield from _stretches(history, together, first_month)
            together = []
    yield from _stretches(history, together, first_month)


def _stretches(
    history: CloseHistory, together: list[ClosedMonth], first_month: str
) -> Iterator[tuple[ClosedMonth | None, list[ClosedMonth]]]:
    opening, begins = None, first_month
    while together:
        if not fits_one_build(begins, history.closed_together(together[0])[-1].report_month):
            opening = find_opening(history.before(together[0].entry_id), together[0].report_month)
            begins = next_month(opening.report_month) if opening else first_month
        # Only the last month of a run hands on what the next stretch starts from. A run fits: it was a build.
        ends = [
            number
            for number, closed in enumerate(together, start=1)
            if fits_one_build(begins, closed.report_month) and history.closed_together(closed)[-1] == closed
        ]
        count = ends[-1] if ends else len(together)
        yield opening, together[:count]
        together = together[count:]


def _compute(
    ledger: Ledger,
    history: CloseHistory,
    opening: ClosedMonth | None,
    closes: Sequence[ClosedMonth],
    run_folder: Path,
    report: Callable[[BuildProgress], None],
) -> list[tuple[ClosedMonth, Path]]:
    settings = ledger.settings
    newest = closes[-1]
    environment = models_environment(
        ledger,
        read_opening(settings.home, opening) if opening else None,
        read_seals()["first_month"],
        newest.report_month,
        newest.cutoff_entry_id,
        run_folder,
    )
    run_build(
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
                closed.report_month: closed_metadata(closed.programme_name, closed.revision)
                for closed in closes
            },
            lambda month, position, total: report(BuildProgress("files", month, position, total)),
        )
        made = {
            closed.report_month: Revision(
                closed.report_month,
                closed.revision,
                closed.cutoff_entry_id,
                folders[closed.report_month].joinpath,
            )
            for closed in closes
        }
        # Of rules that changed for months before, it need not add up: that is what is looked for (X14).
        write_restatements(
            restatements_of_run(settings.home, history.before(closes[0].entry_id), made),
            folders,
            settings.default_currency,
            is_proved=False,
        )
    except (duckdb.Error, OSError) as error:
        raise FilesNotWritten(settings.home, error) from error
    return [(closed, folders[closed.report_month]) for closed in closes]
