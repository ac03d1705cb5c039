"""The build as Dagster sees it: one step that makes all models, tests and files of the report months.

It is one step so that the lock of the home is held from before dbt starts until the files are
swapped in, on any executor, and so that nothing but the audit's verdict stands between a
test and a file.
"""

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ledger.errors import PointsError
from ledger.settings import Settings
from ledger.shown_text import counted
from orchestration.assets.dbt_nodes import DbtNodes
from orchestration.assets.month_files import FILE_KINDS, describe_file, file_specs
from orchestration.assets.provisional_checks import check_provisional, provisional_check_specs
from orchestration.assets.sources import observe_cut
from orchestration.build import Build, build_environment, freeze_source, open_source, publish_build
from orchestration.close.publication import finish_if_needed
from orchestration.dbt.invocation import read_statuses, stream_dbt, target_folder
from orchestration.partitions import report_month
from orchestration.run_lock import run_lock
from orchestration.runs import (
    TRANSFER_ROWS_NAME,
    build_database,
    dbt_arguments,
    dbt_environment,
    new_run_folder,
    read_files,
    stream_build,
)

Result = dg.MaterializeResult | dg.AssetCheckResult


class FilesNeedWholeRun(PointsError):
    """Files were asked for without all of the models and tests that stand behind them."""

    def __init__(self) -> None:
        super().__init__(
            "Files are written only by a run of everything, for every test stands behind them: run the job"
            " build_months for the month, or select all assets."
        )


class RunConfig(dg.Config):
    """``wait_seconds`` is how long a run waits where another process builds in the same home; with
    ``from_first_entry`` it computes all months, the closed ones too."""

    wait_seconds: float = 600.0
    from_first_entry: bool = False


def define_build(
    settings: Settings, manifest: Mapping[str, Any], months: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """All assets and checks of the build.

    A run of everything for a month builds every open report month through it, in a private database, with
    the functions of ``points build``, and publishes to ``provisional/`` on the audit's verdict. A run over
    several months builds once, through the last. A part selected by hand builds in the development
    database and publishes nothing. A `PointsError` fails the run with its sentence.
    """
    nodes = DbtNodes(manifest)
    asset_specs = [*nodes.asset_specs, *file_specs()]
    check_specs = [*nodes.check_specs, *provisional_check_specs()]
    everything = {spec.key for spec in asset_specs} | {spec.key for spec in check_specs}

    @dg.multi_asset(
        name="report_months",
        description="Build the report months, audit them, and let readers have their files.",
        specs=asset_specs,
        check_specs=check_specs,
        can_subset=True,
        partitions_def=months,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def report_months(context: dg.AssetExecutionContext, config: RunConfig) -> Iterator[Result]:
        selected = {*context.selected_asset_keys, *context.selected_asset_check_keys}
        try:
            if selected == everything:
                yield from _build_everything(context, settings, manifest, nodes, config)
            elif any(kind.key in selected for kind in FILE_KINDS):
                raise FilesNeedWholeRun
            else:
                yield from _build_part(context, settings, nodes)
        except PointsError as error:
            raise dg.Failure(description=error.sentence, allow_retries=False) from None

    return report_months


def _build_everything(
    context: dg.AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    nodes: DbtNodes,
    config: RunConfig,
) -> Iterator[Result]:
    through = _last_month(context)
    _finish_close(context, settings)
    ledger = open_source(settings)
    with run_lock(settings.home, f"Dagster run {context.run.run_id}", config.wait_seconds):
        if source := freeze_source(ledger, through, config.from_first_entry):
            for observation in observe_cut(manifest, source.head):
                context.log_event(observation)
        run_folder = new_run_folder(settings.home)
        read_files(settings, run_folder)
        read = settings.transfers
        if source:
            opening = source.opening
            start = f"the close of {opening.report_month}" if opening else "the first entry"
            read = f"the ledger from {start} on, up to entry {source.head.entry_id:,}"
        context.log.info(f"Builds through {through} in {build_database(run_folder)}, from {read}.")
        environment = build_environment(settings, source, through, run_folder)
        steps = stream_build(environment, run_folder)
        yield from filter(None, map(nodes.result, steps))
        statuses = read_statuses(target_folder(run_folder))
        build = publish_build(settings, through, run_folder, statuses, source, config.from_first_entry)
        context.log.info(
            f"Published {counted(len(build.months), 'month')} in {build.folder}; {build.test_count} tests"
            f" passed, {build.quarantined + build.quarantined_in_ledger} rows are quarantined."
        )
        yield from _describe_files(context, settings, build)
        yield from check_provisional(settings, through, context.selected_asset_check_keys)


def _finish_close(context: dg.AssetExecutionContext, settings: Settings) -> None:
    """As every command does first; what hinders it hinders no build, and fails the daily verification."""
    try:
        finish_if_needed(settings)
    except PointsError as error:
        context.log.warning(error.sentence)


def _describe_files(
    context: dg.AssetExecutionContext, settings: Settings, build: Build
) -> Iterator[dg.MaterializeResult]:
    """The files as made, with the facts of each month that the run was asked for."""
    months = {month.report_month: month for month in build.months}
    for kind in FILE_KINDS:
        for key in context.partition_keys:
            if month := months.get(report_month(key)):
                facts = describe_file(kind, build, month, settings.default_currency)
            else:
                facts = {"file": f"none: the first month is {build.months[0].report_month}"}
            context.add_asset_metadata(facts, kind.key, key)
        yield dg.MaterializeResult(asset_key=kind.key)


def _build_part(context: dg.AssetExecutionContext, settings: Settings, nodes: DbtNodes) -> Iterator[Result]:
    through = _last_month(context)
    if names := nodes.selected(context):
        folder, database = settings.home / "dev", settings.home / "dev.duckdb"
        context.log.info(
            f"Builds a part through {through} in {database} and publishes nothing; reads"
            f" {settings.transfers or 'the cut in the home or, without one, the sample'}."
        )
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / TRANSFER_ROWS_NAME, ignore_errors=True)
        read_files(settings, folder)
        steps = stream_dbt(
            [*dbt_arguments(), "--indirect-selection", "empty", "--select", *names],
            {**dbt_environment(settings, through, folder), "POINTS_BUILD_DATABASE": str(database)},
            folder,
        )
        yield from filter(None, map(nodes.result, steps))
    if files_checked := context.selected_asset_check_keys & {spec.key for spec in provisional_check_specs()}:
        yield from check_provisional(settings, through, files_checked)


def _last_month(context: dg.AssetExecutionContext) -> str:
    return report_month(max(context.partition_keys))
