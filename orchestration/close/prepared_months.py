"""Makes the files of months that are to be closed, in a run's folder that no reader opens, and proves them.

Build, audit, write, sync, read back: what comes out is ready to be published as it is. The same is done again
where files that were committed are lost (`orchestration.close.publication`): the same cutoff gives the same
bytes.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.anchors import Head
from ledger.closes import CloseHistory
from ledger.cut import cut_folder
from ledger.database import Ledger
from ledger.disk import sync_file, sync_folder
from ledger.seals import seals_of
from orchestration.close.evidence import RunEvidence, write_evidence
from orchestration.close.gate import Gate, look_at_months, quarantine_accepted
from orchestration.close.openings import (
    RELATED_STATUS_CHANGES,
    RELATED_TRANSFERS,
    find_opening,
    opening_environment,
    read_opening,
    write_opening_related,
)
from orchestration.close.read_back import read_back
from orchestration.dbt.descriptions import read_descriptions
from orchestration.dbt.invocation import NodeProgress, target_folder
from orchestration.dbt.project import models_sha256
from orchestration.fail_points import fail_point
from orchestration.month_files import MonthFiles, months_built, write_months
from orchestration.published.layout import prepared_folder
from orchestration.published.manifests import Facts, write_manifest
from orchestration.recount.opening import Opening
from orchestration.recount.recount import Recount, find_differences, recount
from orchestration.report_calendar import (
    ends_at,
    months_between,
    next_month,
    period_days,
    previous_month,
)
from orchestration.required_tests import AuditFailed, audit_verdicts, required_tests
from orchestration.restatement import Revision, restatements_of_run, write_restatements
from orchestration.runs import (
    BuildProgress,
    FilesNotWritten,
    build_database,
    dbt_environment,
    new_run_folder,
    run_build,
)

Report = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class ClosePlan:
    """What is to be closed: ``months`` in order, from the ledger frozen at ``head``.

    ``history`` holds the ledger's closes at that time; ``revisions`` are by month. ``quarantine_accepted``
    says why they are closed while quarantined rows are open at ``head``; empty where none is. ``gate`` is
    what is open before they are built.
    """

    months: Sequence[str]
    revisions: Mapping[str, int]
    first_month: str
    head: Head
    history: CloseHistory
    programme_name: str
    quarantine_accepted: str
    gate: Gate


@dataclass(frozen=True)
class PreparedMonth:
    """A month whose files stand ready in ``folder``, with what its close entry will say."""

    report_month: str
    revision: int
    folder: Path
    manifest_sha256: str
    control_totals: Mapping[str, Mapping]
    files: MonthFiles


@dataclass(frozen=True)
class PreparedRun:
    """The months of a plan, ready, and its gate with what they say."""

    months: Sequence[PreparedMonth]
    gate: Gate


def prepare_months(
    ledger: Ledger, plan: ClosePlan, report: Report, dbt: subprocess.Popen[str] | None = None
) -> PreparedRun:
    """Make the files of the plan's months, under the lock of the home; the cut reaches to the plan's head.

    ``dbt`` is a process that was started for it (`ready_dbt`; None: it is started when needed). Raises
    `PointsError` where a published month that is built on, or restated, is not as it was, dbt fails, the
    audit refuses, a restatement does not add up, or files cannot be written or read back.
    """
    settings = ledger.settings
    newest = find_opening(plan.history, plan.months[0])
    opening = read_opening(settings.home, newest) if newest else None
    with _writing(settings.home):
        run_folder = new_run_folder(settings.home)
        fail_point("run begun")
        models = models_sha256()

        def follow(step: NodeProgress) -> None:
            report(BuildProgress("models", step.name, step.position, step.total))
            fail_point("test passed" if step.resource_type == "test" else "model built")

        environment = models_environment(
            ledger, opening, plan.first_month, plan.months[-1], plan.head.entry_id, run_folder
        )
        statuses = run_build(environment, run_folder, follow, dbt)
    fail_point("models built")
    required = required_tests()
    audit_verdicts(statuses, required)
    fail_point("verdicts audited")
    recounted = _recount(ledger, plan, opening, run_folder)
    fail_point("recounted")
    with _writing(settings.home):
        written = _write_files(ledger, plan, run_folder, report)
        gate = look_at_months(
            plan.gate, [files.folder for files in written], ends_at(plan.months[-1], settings)
        )
        evidence = RunEvidence(plan.programme_name, run_folder, environment, statuses, gate, recounted)
        for files in written:
            write_evidence(files.folder, files.report_month, evidence)
        fail_point("evidence written")
        prepared = _write_manifests(ledger, plan, written, recounted, required, models, run_folder)
        _sync(prepared_folder(run_folder))
    fail_point("files synced")
    read_back(prepared_folder(run_folder))
    fail_point("read back")
    return PreparedRun(prepared, gate)


def throw_away(prepared: Sequence[PreparedMonth]) -> None:
    """Remove the run that made these months: nobody is to have them."""
    for run_folder in {month.folder.parents[2] for month in prepared}:
        shutil.rmtree(run_folder)


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise FilesNotWritten(home, error) from error


def _run_months(plan: ClosePlan, opening: Opening | None) -> list[str]:
    """All months that the models make: those to close, and closed ones between the opening and them."""
    first = next_month(opening.report_month) if opening else plan.first_month
    return months_between(first, plan.months[-1])


def models_environment(
    ledger: Ledger,
    opening: Opening | None,
    first_month: str,
    last_month: str,
    upto_entry_id: int,
    run_folder: Path,
) -> dict[str, str]:
    """The variables of a run that builds closed months through ``last_month``, once it has a folder.

    The models read the cut up to an entry, from ``opening`` on where there is one; ``first_month`` is the
    programme's.
    """
    environment = {
        **dbt_environment(ledger.settings, last_month, run_folder),
        "POINTS_FIRST_MONTH": first_month,
        "POINTS_UPTO_ENTRY_ID": str(upto_entry_id),
    }
    if opening:
        write_opening_related(ledger, opening, upto_entry_id, run_folder)
        environment |= opening_environment(opening, run_folder)
    fail_point("related written")
    return environment


def closed_metadata(programme: str, revision: int) -> dict[str, str]:
    """What each Parquet file of a closed month says of itself."""
    return {"status": "closed", "programme": programme, "revision": str(revision)}


def _recount(ledger: Ledger, plan: ClosePlan, opening: Opening | None, run_folder: Path) -> Recount:
    """Recount everything without dbt; raise `AuditFailed` where the build differs."""
    months = _run_months(plan, opening)
    built = months_built(build_database(run_folder))
    if built != months:
        raise AuditFailed([f"the models made {_span(built)}, but the close is about {_span(months)}"])
    recounted = recount(
        cut=cut_folder(ledger.settings.home),
        upto_entry_id=plan.head.entry_id,
        opening=opening,
        closes=[(closed.report_month, closed.cutoff_entry_id) for closed in plan.history.in_force.values()],
        first_month=plan.first_month,
        months=months,
        settings=ledger.settings,
        related_transfers=run_folder / RELATED_TRANSFERS if opening else None,
        related_status_changes=run_folder / RELATED_STATUS_CHANGES if opening else None,
    )
    differences = find_differences(recounted, build_database(run_folder), months)
    if differences:
        raise AuditFailed(differences)
    return recounted


def _span(months: Sequence[str]) -> str:
    return f"the months {months[0]} to {months[-1]}" if months else "no month"


def _write_files(ledger: Ledger, plan: ClosePlan, run_folder: Path, report: Report) -> list[MonthFiles]:
    folder = prepared_folder(run_folder)
    folders = {month: folder / month / f"r{plan.revisions[month]}" for month in plan.months}

    def follow(month: str, position: int, total: int) -> None:
        report(BuildProgress("files", month, position, total))
        fail_point("month written")

    written = write_months(
        build_database(run_folder),
        folders,
        ledger.settings.default_currency,
        {month: closed_metadata(plan.programme_name, plan.revisions[month]) for month in plan.months},
        follow,
    )
    fail_point("files written")
    made = {
        month: Revision(month, plan.revisions[month], plan.head.entry_id, folders[month].joinpath)
        for month in plan.months
    }
    restatements = restatements_of_run(ledger.settings.home, plan.history, made)
    write_restatements(restatements, folders, ledger.settings.default_currency)
    fail_point("restatements written")
    return written


def _write_manifests(
    ledger: Ledger,
    plan: ClosePlan,
    written: Sequence[MonthFiles],
    recounted: Recount,
    required: Sequence[str],
    models: str,
    run_folder: Path,
) -> list[PreparedMonth]:
    """Write each month's manifest, which names the one before, of all files that stand in its folder."""
    descriptions = read_descriptions(target_folder(run_folder))
    prepared = []
    before = plan.history.in_force.get(previous_month(plan.months[0]))
    previous_sha256 = before.manifest_sha256 if before else None
    accepted = quarantine_accepted(plan.head.entry_id, plan.quarantine_accepted)
    for files in written:
        month = files.report_month
        first_day, last_day = period_days(month, ledger.settings)
        previous_sha256 = write_manifest(
            files.folder,
            Facts(
                programme=plan.programme_name,
                report_month=month,
                period_start_date=first_day.isoformat(),
                period_end_date=last_day.isoformat(),
                revision=plan.revisions[month],
                seals=seals_of(ledger.settings, plan.first_month),
                zone_changes_sha256=ledger.settings.zone.sha256,
                control_totals=recounted.control_totals[month],
                tests=dict.fromkeys(required, "pass"),
                ledger_head=plan.head,
                previous_manifest_sha256=previous_sha256,
                models_sha256=models,
                descriptions=descriptions,
                quarantine_accepted=accepted,
            ),
        )
        prepared.append(
            PreparedMonth(
                month,
                plan.revisions[month],
                files.folder,
                previous_sha256,
                recounted.control_totals[month],
                files,
            )
        )
    fail_point("manifests written")
    return prepared


def _sync(folder: Path) -> None:
    """Make every prepared file last, and read-only: what is published is never changed.

    Permissions for readers are set when it is published (`orchestration.published.layout.open_published`).
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
            path.chmod(0o400)
    # With the folder's own name, that of its run, and that of the first run in the home.
    for named in (folder, *folder.parents[:3]):
        sync_folder(named)
