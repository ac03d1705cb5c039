"""The jobs that are run by name, by people and schedules."""

from typing import Any

import dagster as dg

BUILD_MONTHS = "build_months"
CLOSE_MONTHS = "close_months"
VERIFY_PUBLISHED = "verify_published"
DELIVER_MONTHS = "deliver_months"
# A run lost in a crash of the machine stays STARTED and would hold up the queue for ever; after so long the
# daemon gives it up.
_LONGEST = {"dagster/max_runtime": str(4 * 60 * 60)}
# By this tag orchestration/dagster.yaml lets one run of each kind go on at a time: a delivery to a slow
# server holds no close up.
_KIND = "points/kind"
_TAGS = {**_LONGEST, _KIND: "months"}
_DELIVERY_TAGS = {**_LONGEST, _KIND: "delivery"}


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


def define_deliver_months(delivery: dg.OpDefinition) -> dg.JobDefinition:
    """``deliver_months``: delivers and announces what is due, beside whatever else runs."""

    @dg.job(
        name=DELIVER_MONTHS,
        description="Deliver the files of closed months, and announce what became of months.",
        tags=_DELIVERY_TAGS,
        executor_def=dg.in_process_executor,
    )
    def deliver_months() -> None:
        delivery()

    return deliver_months
