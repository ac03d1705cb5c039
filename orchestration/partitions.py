"""The report months as Dagster's partitions."""

from datetime import datetime

import dagster as dg

from ledger.settings import Settings

# Where nothing says which month is the programme's first: early enough for most, few enough for a screen.
DEFAULT_FIRST_MONTH = "2020-01"


def define_report_months(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """One partition a report month, named by the first day of the month of that name: ``2026-10-01``.

    The window of a partition is the report month itself (docs/design.md, section 6): it begins at midnight,
    in the programme's zone, of ``POINTS_MONTH_START_DAY``; so with 15, ``2026-10-01`` is 15 October to 14
    November. The month that is going on is a partition too, for a build is provisional.

    The first partition is ``POINTS_FIRST_MONTH``, else the earliest month that is published or built, else
    `DEFAULT_FIRST_MONTH`. It only says from where on months can be chosen: a run for a month builds every
    open month up to it, also those before the first partition, and is refused for a closed one. No clock is
    read here; Dagster reads its own where it lists the months up to now.
    """
    places = (settings.home / "published", settings.home / "provisional")
    known = [path.name for place in places for path in place.glob("????-??")]
    first_month = settings.first_month or min(known, default=DEFAULT_FIRST_MONTH)
    return dg.TimeWindowPartitionsDefinition(
        start=datetime.strptime(f"{first_month}-{settings.month_start_day}", "%Y-%m-%d"),
        fmt="%Y-%m-01",
        cron_schedule=f"0 0 {settings.month_start_day} * *",
        timezone=settings.time_zone,
        end_offset=1,
    )


def report_month(partition_key: str) -> str:
    """The report month (``YYYY-MM``) that a partition is named by."""
    return partition_key[:7]
