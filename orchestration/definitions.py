"""What Dagster loads: ``dagster dev`` at the project's root finds ``defs`` (docs/design.md, section 11)."""

import dagster as dg

from ledger.access import keep_private
from ledger.settings import Settings, project_settings
from orchestration.assets.closed_months import define_close, define_published_checks
from orchestration.assets.delivered_months import define_delivery
from orchestration.assets.published_files import published_specs
from orchestration.assets.report_months import define_build
from orchestration.assets.sources import source_specs
from orchestration.dbt.manifest import read_manifest
from orchestration.jobs import (
    define_build_months,
    define_close_months,
    define_deliver_months,
    define_verify_published,
)
from orchestration.partitions import define_report_months
from orchestration.schedules import (
    define_build_months_daily,
    define_close_months_daily,
    define_deliver_months_hourly,
    define_verify_published_daily,
)
from orchestration.sensors import define_alert_sensors, define_inbox_sensor


def define(settings: Settings) -> dg.Definitions:
    """The definitions of a programme with these settings."""
    months = define_report_months(settings)
    manifest = read_manifest()
    build = define_build(settings, manifest, months)
    checks = define_published_checks(settings)
    return dg.Definitions(
        assets=[*source_specs(manifest), build, *published_specs(months)],
        asset_checks=[checks],
        jobs=[
            define_build_months(build),
            define_close_months(define_close(settings)),
            define_verify_published(checks),
            define_deliver_months(define_delivery(settings)),
        ],
        schedules=[
            define_build_months_daily(months),
            define_close_months_daily(settings),
            define_verify_published_daily(settings),
            define_deliver_months_hourly(settings),
        ],
        sensors=[define_inbox_sensor(settings), *define_alert_sensors(settings)],
        executor=dg.in_process_executor,
    )


keep_private()
defs = define(project_settings())
