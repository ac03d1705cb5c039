"""The jobs that are run by name, by people and schedules."""

from typing import Any

import dagster as dg

BUILD_MONTHS = "build_months"
CLOSE_MONTHS = "close_months"
VERIFY_PUBLISHED = "verify_published"
# A run lost in a crash of the machine stays STARTED and would hold up the queue for ever; after so long the
# daemon gives it up.
_TAGS = {"dagster/max_runtime": str(4 * 60 * 60)}


def define_build_months(build: dg.AssetsDefinition) -> Any:
    """``build_months``: every asset and check of the build, for a report month.

    What is returned has no public type in Dagster.
    """
    return dg.define_asset_job(
        BUILD_MONTHS,
        selection=dg.AssetSelection.assets(build),
        description="Build and test the report months through the one chosen; publish provisional files.",
        tags=_TAGS,
        executor_def=dg.in_process_executor,
    )


def define_close_months(close: dg.OpDefinition) -> dg.JobDefinition:
    """``close_months``: closes every month that is due; there is none to choose, for they close in order."""

    @dg.job(
        name=CLOSE_MONTHS,
        description="Close every month that has ended, is open and past the days of grace, in order.",
        tags=_TAGS,
        executor_def=dg.in_process_executor,
    )
    def close_months() -> None:
        close()

    return close_months


def define_verify_published(checks: dg.AssetChecksDefinition) -> Any:
    """``verify_published``: looks at every entry of the ledger and every byte that was published from it."""
    return dg.define_asset_job(
        VERIFY_PUBLISHED,
        selection=dg.AssetSelection.checks(checks),
        description="Verify the ledger entry by entry, and the published files byte by byte.",
        tags=_TAGS,
        executor_def=dg.in_process_executor,
    )
