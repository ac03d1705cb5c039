"""What Dagster loads: ``dagster dev`` at the project's root finds ``defs`` (DESIGN.md, section 11)."""

import dagster as dg

from ledger.settings import Settings
from orchestration.assets.report_months import define_build
from orchestration.dbt_manifest import read_manifest
from orchestration.jobs import define_build_months
from orchestration.partitions import define_report_months
from orchestration.schedules import define_build_months_daily
from orchestration.sensors import define_inbox_sensor


def define(settings: Settings) -> dg.Definitions:
    """The definitions of a programme with these settings."""
    months = define_report_months(settings)
    build = define_build(settings, read_manifest(), months)
    return dg.Definitions(
        assets=[build],
        jobs=[define_build_months(build)],
        schedules=[define_build_months_daily(months)],
        sensors=[define_inbox_sensor(settings)],
        executor=dg.in_process_executor,
    )


defs = define(Settings.from_environment())
