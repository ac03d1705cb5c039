"""What runs by itself, and when."""

import dagster as dg

from orchestration.jobs import BUILD_MONTHS

DAILY_AT_SIX = "0 6 * * *"


def define_build_months_daily(
    months: dg.TimeWindowPartitionsDefinition,
) -> dg.ScheduleDefinition:
    """``build_months_daily``: at 06:00 in the programme's zone, the report month of that instant.

    The month is that of the tick, never of the moment at which it is evaluated: a tick that the daemon
    makes up for asks for what it would have asked for then. It runs unless somebody stops it: whether the
    programme's numbers are built must not hang on a switch that is lost with the instance's storage.
    """

    @dg.schedule(
        name="build_months_daily",
        job_name=BUILD_MONTHS,
        cron_schedule=DAILY_AT_SIX,
        execution_timezone=months.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every day, build through the report month that is going on.",
    )
    def build_months_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tick = context.scheduled_execution_time
        return dg.RunRequest(
            run_key=tick.isoformat(),
            partition_key=months.get_partition_key_for_timestamp(tick.timestamp()),
        )

    return build_months_daily
