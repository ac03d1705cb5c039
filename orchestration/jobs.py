"""The jobs that are run by name, by people and schedules."""

from typing import Any

import dagster as dg

BUILD_MONTHS = "build_months"
MAX_RUNTIME_SECONDS = 4 * 60 * 60


def define_build_months(build: dg.AssetsDefinition) -> Any:
    """``build_months``: every asset and check of the build, for a report month.

    A run lost in a crash of the machine stays STARTED and would hold up the queue for ever; after
    ``dagster/max_runtime`` (seconds) the daemon gives it up. What is returned has no public type in
    Dagster.
    """
    return dg.define_asset_job(
        BUILD_MONTHS,
        selection=dg.AssetSelection.assets(build),
        description="Build and test the report months through the one chosen; publish provisional files.",
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
        executor_def=dg.in_process_executor,
    )
