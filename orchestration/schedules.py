"""The schedules: which jobs run by themselves, and when."""

import dagster as dg

from ledger.closes import read_history
from ledger.database import open_ledger
from ledger.errors import PointsError
from ledger.settings import SCHEDULE, Settings
from orchestration.close.due_months import find_due_months
from orchestration.jobs import BUILD_MONTHS, CLOSE_MONTHS, DELIVER_MONTHS, VERIFY_PUBLISHED
from orchestration.month_delivery import is_anything_due

DAILY_AT_FIVE = "0 5 * * *"
DAILY_AT_SIX = "0 6 * * *"
QUARTER_PAST_EACH_HOUR = "15 * * * *"
_GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def define_build_months_daily(
    months: dg.TimeWindowPartitionsDefinition,
) -> dg.ScheduleDefinition:
    """``build_months_daily``: at 06:00 in the programme's zone, the report month of that instant.

    The month is that of the tick, not of the moment at which it is evaluated: a tick of 31 October that the
    daemon makes up for on 2 November still asks for October. It runs unless a person stops it: whether the
    programme's numbers are built must not depend on a switch that is lost with the instance's storage.
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


def define_close_months_daily(settings: Settings) -> dg.ScheduleDefinition:
    """``close_months_daily``: at 06:00 in the programme's zone, close all months that are due at that
    instant.

    A tick asks for no certain month, so it does not matter how many were missed before it
    (docs/cases.md, X15). Where it cannot be seen what is due, the run is asked for: it fails with the reason,
    and people are notified.
    """

    @dg.schedule(
        name="close_months_daily",
        job_name=CLOSE_MONTHS,
        cron_schedule=DAILY_AT_SIX,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every day, close every month that has ended, is open and past the days of grace.",
    )
    def close_months_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        try:
            due = find_due_months(settings, tick)
        except PointsError as error:
            context.log.warning(error.sentence)
        else:
            if not due.months:
                return dg.SkipReason(due.reason)
        config = {"due_at": tick.isoformat(), "user": SCHEDULE}
        return dg.RunRequest(
            run_key=tick.isoformat(), run_config={"ops": {"closed_months": {"config": config}}}
        )

    return close_months_daily


def define_verify_published_daily(settings: Settings) -> dg.ScheduleDefinition:
    """``verify_published_daily``: at 05:00 in the programme's zone, an hour before the close."""
    return dg.ScheduleDefinition(
        name="verify_published_daily",
        job_name=VERIFY_PUBLISHED,
        cron_schedule=DAILY_AT_FIVE,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every day, verify the ledger and the published files.",
    )


def define_deliver_months_hourly(settings: Settings) -> dg.ScheduleDefinition:
    """``deliver_months_hourly``: deliver and announce what is due, until it is there (docs/cases.md, X38).

    An hour lies between two tries, for each that fails is an alert.
    """

    @dg.schedule(
        name="deliver_months_hourly",
        job_name=DELIVER_MONTHS,
        cron_schedule=QUARTER_PAST_EACH_HOUR,
        execution_timezone=settings.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every hour, deliver closed months and announce what became of months, where it is due.",
    )
    def deliver_months_hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            open_ledger(settings)
        except PointsError as error:
            return dg.SkipReason(error.sentence)
        if not is_anything_due(settings, read_history()):
            return dg.SkipReason("Nothing is due.")
        running = dg.RunsFilter(job_name=DELIVER_MONTHS, statuses=_GOING_ON)
        if context.instance.get_runs_count(running):
            return dg.SkipReason("The delivery before goes on.")
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return deliver_months_hourly
