"""The audit's own calendar says the same as the models' month rule, in any zone (docs/cases.md, R11
and X21)."""

from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from ledger.settings import Settings
from orchestration.report_calendar import (
    ends_at,
    month_changes,
    month_of,
    months_between,
    next_month,
    period_days,
    previous_month,
)
from tests.dbt_macros import load_macros

# Casablanca's data of 2026 differ from the operating system's, São Paulo's clocks change at midnight, Apia
# left out a day, Havana shows a month's first midnight twice, and St. John's went back from the first minute
# of a month to the month before.
ZONES = {
    "UTC": ("2025-11", "2026-03"),
    "Africa/Casablanca": ("2026-01", "2026-12"),
    "Europe/Berlin": ("2025-09", "2026-11"),
    "America/New_York": ("2025-09", "2026-11"),
    "America/Sao_Paulo": ("2017-09", "2019-03"),
    "America/Havana": ("2026-09", "2026-12"),
    "America/St_Johns": ("2009-09", "2010-04"),
    "Asia/Kolkata": ("2025-11", "2026-03"),
    "Pacific/Apia": ("2011-11", "2012-05"),
}
START_DAYS = (1, 4, 15, 28)


def settings(zone: str = "UTC", start_day: int = 1) -> Settings:
    return replace(Settings.from_environment({}), time_zone=zone, month_start_day=start_day)


def month_rule(duck, zone: str, start_day: int):
    """The macros of the models, which are not handed the zone, but read it."""
    return load_macros(duck, {"POINTS_TIME_ZONE": zone, "POINTS_MONTH_START_DAY": str(start_day)})


def instants_around(month: str, start_day: int) -> list[datetime]:
    """Every half hour of the days around a month's start, and what is a moment before it."""
    start = datetime(int(month[:4]), int(month[5:]), start_day, tzinfo=UTC)
    halves = [start + timedelta(minutes=30 * step) for step in range(-2 * 28, 2 * 28)]
    return [instant - moment for instant in halves for moment in (timedelta(microseconds=1), timedelta(0))]


@pytest.fixture(scope="module")
def duck():
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


@pytest.mark.parametrize("start_day", START_DAYS)
@pytest.mark.parametrize("zone", ZONES)
def test_the_month_of_an_instant_is_what_the_models_say(duck, zone, start_day):
    instants = [
        instant for month in months_between(*ZONES[zone]) for instant in instants_around(month, start_day)
    ]
    rule = month_rule(duck, zone, start_day).report_month("instant")
    said = duck.execute(
        f"select strftime({rule}, '%Y-%m')"
        " from (select unnest(string_split(?, ';')::timestamp[]) as instant)",
        # As one text: DuckDB looks for numpy at each value of a list that it is handed.
        [";".join(f"{instant:%Y-%m-%d %H:%M:%S.%f}" for instant in instants)],
    ).fetchall()
    calendar = settings(zone, start_day)
    assert [month_of(instant, calendar) for instant in instants] == [month for (month,) in said]


@pytest.mark.parametrize("start_day", START_DAYS)
@pytest.mark.parametrize("zone", ZONES)
def test_a_month_ends_when_the_models_let_the_next_one_start(duck, zone, start_day):
    calendar = settings(zone, start_day)
    rule = month_rule(duck, zone, start_day)
    months = months_between(*ZONES[zone])
    said = duck.execute(
        f"select first_date, {rule.local_to_utc('midnight')} from ("
        f" select {rule.period_start_date('report_month')} as first_date,"
        " cast(first_date as timestamp) as midnight"
        " from (select unnest(?::date[]) as report_month))",
        [[f"{next_month(month)}-01" for month in months]],
    ).fetchall()
    assert said == [
        (period_days(next_month(month), calendar)[0], ends_at(month, calendar).replace(tzinfo=None))
        for month in months
    ]


@pytest.mark.parametrize("start_day", START_DAYS)
@pytest.mark.parametrize("zone", ZONES)
def test_the_changes_of_month_say_the_month_of_every_instant(zone, start_day):
    calendar = settings(zone, start_day)
    first, last = ZONES[zone]
    changes = month_changes(first, last, calendar)
    for month in months_between(first, last):
        for instant in instants_around(month, start_day):
            reached = bisect_right([changed_at for changed_at, _ in changes], instant)
            said = changes[reached - 1][1] if reached else previous_month(first)
            assert month_of(instant, calendar) == said, instant


@pytest.mark.parametrize(
    ("zone", "start_day", "month", "ends"),
    [
        ("UTC", 1, "2026-01", "2026-02-01T00:00"),
        ("UTC", 15, "2026-12", "2027-01-15T00:00"),
        ("UTC", 1, "2199-12", "2200-01-01T00:00"),
        ("Europe/Berlin", 1, "2026-01", "2026-01-31T23:00"),
        ("Europe/Berlin", 1, "2026-06", "2026-06-30T22:00"),
        ("America/New_York", 1, "2026-01", "2026-02-01T05:00"),
        # No midnight on 4 November 2018, by the offset before; two of them on 1 November 2026, the first.
        ("America/Sao_Paulo", 4, "2018-10", "2018-11-04T03:00"),
        ("America/Havana", 1, "2026-10", "2026-11-01T04:00"),
    ],
)
def test_a_month_ends_at_the_programmes_midnight(zone, start_day, month, ends):
    assert ends_at(month, settings(zone, start_day)) == datetime.fromisoformat(f"{ends}+00:00")


def test_the_days_of_a_period():
    assert period_days("2028-02", settings()) == (date(2028, 2, 1), date(2028, 2, 29))
    assert period_days("2026-10", settings(start_day=15)) == (date(2026, 10, 15), date(2026, 11, 14))


def test_a_month_returns_where_clocks_go_back_across_midnight():
    changes = month_changes("2009-11", "2009-12", settings("America/St_Johns"))
    assert [(f"{instant:%d %H:%M}", month) for instant, month in changes] == [
        ("01 02:30", "2009-11"),
        ("01 02:31", "2009-10"),
        ("01 03:30", "2009-11"),
        ("01 03:30", "2009-12"),
    ]


def test_months_follow_each_other():
    assert months_between("2025-11", "2026-02") == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert months_between("2026-02", "2026-01") == []
    assert (next_month("2025-12"), previous_month("2026-01")) == ("2026-01", "2025-12")
