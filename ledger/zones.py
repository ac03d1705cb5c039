"""A time zone as DuckDB's data have it: its changes of offset, which decide every month and every wall clock.

Python, the operating system, PostgreSQL and Spark have zone data of their own, of other ages. Nothing asks
them: models, ledger, calendar and recount all go by the list that is read here (docs/design.md, section 6;
docs/cases.md, X21). ``python -m ledger.zones`` prints that of POINTS_TIME_ZONE, for a ``dbt build`` on Spark
by hand.
"""

import hashlib
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache, cached_property
from zoneinfo import ZoneInfo

from ledger.data_files import connect
from ledger.errors import PointsError
from ledger.sql_text import step_function

# Every instant of the years 1990 to 2199, at any offset.
BEGINS_AT = datetime(1989, 12, 31, tzinfo=UTC)
ENDS_AT = datetime(2200, 1, 2, tzinfo=UTC)


class ZoneDataUnclear(PointsError):
    """DuckDB's data change a zone's offset more than once a day, which none has done since 1990."""

    def __init__(self, name: str, day: datetime) -> None:
        super().__init__(
            f"The zone data of this DuckDB change the offset of {name} more than once on {day:%Y-%m-%d},"
            " which is not provided for; install the version of DuckDB that requirements.lock names."
        )


@dataclass(frozen=True)
class Zone:
    """A zone's offsets from UTC, in seconds, east being positive, from `BEGINS_AT` to `ENDS_AT`.

    ``changes`` are the instants, in UTC and in order, from which on another offset holds, each with it;
    before the first of them ``first_offset`` does.
    """

    name: str
    first_offset: int
    changes: tuple[tuple[datetime, int], ...]

    def offset_at(self, instant: datetime) -> timedelta:
        """The offset at an aware instant."""
        return timedelta(seconds=self._offsets[bisect_right(self._changed_at, instant)])

    def changes_between(self, begin: datetime, end: datetime) -> Sequence[datetime]:
        """The instants of change after ``begin`` and up to ``end``."""
        return self._changed_at[bisect_right(self._changed_at, begin) : bisect_right(self._changed_at, end)]

    def local(self, instant: datetime) -> datetime:
        """The local time, a naive datetime, at an aware instant."""
        return instant.astimezone(UTC).replace(tzinfo=None) + self.offset_at(instant)

    def to_utc(self, wall_clock: datetime) -> datetime:
        """The instant in UTC at which the clocks show ``wall_clock``, a naive datetime.

        Where they show it twice, the earlier; where they skip it, by the offset before it (docs/design.md,
        section 5). In Berlin 2026-10-25 02:30, shown twice, is 00:30 UTC (+02:00, not 01:30 by +01:00);
        2026-03-29 02:30, skipped, is 01:30 UTC (by +01:00).
        """
        reached = bisect_right(self._wall_clocks, wall_clock)
        return (wall_clock - timedelta(seconds=self._offsets[reached])).replace(tzinfo=UTC)

    def to_utc_in_sql(self, wall_clock: str) -> str:
        """What `to_utc` says, as DuckDB's SQL; ``wall_clock`` is a column, and is named often."""
        steps = [
            (f"timestamp '{at}'", str(offset))
            for at, offset in zip(self._wall_clocks, self._offsets[1:], strict=True)
        ]
        return f"({wall_clock} - to_seconds({step_function(wall_clock, steps, str(self.first_offset))}))"

    @cached_property
    def text(self) -> str:
        """The zone in one form for all: ``Europe/Berlin +3600 1990-03-25T01:00:00Z+7200 …``."""
        changes = (f"{instant:%Y-%m-%dT%H:%M:%SZ}{offset:+d}" for instant, offset in self.changes)
        return " ".join((self.name, f"{self.first_offset:+d}", *changes))

    @property
    def sha256(self) -> str:
        """The hash of `text`, to compare two lists."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def _changed_at(self) -> Sequence[datetime]:
        return [instant for instant, _ in self.changes]

    @cached_property
    def _offsets(self) -> Sequence[int]:
        return [self.first_offset, *(offset for _, offset in self.changes)]

    @cached_property
    def _wall_clocks(self) -> Sequence[datetime]:
        """The local time from which each change's offset is used.

        Of Berlin's hour from 02:00 in March, which is skipped, and in October, which comes twice, both are
        read by the offset before: so from the later of what the clocks show just before a change and at it.
        """
        return [
            instant.replace(tzinfo=None) + timedelta(seconds=max(before, after))
            for (instant, after), before in zip(self.changes, self._offsets, strict=False)
        ]


@cache
def read_zone(name: str) -> Zone:
    """The zone of that name, one of `zone_names`; raise `ZoneDataUnclear`."""
    if name == "UTC":
        return Zone(name, 0, ())
    with connect() as connection:
        rows = connection.execute(_CHANGES, {"zone": name}).fetchall()
    for changed_at, offset, offset_of_day in rows:
        if offset != offset_of_day:
            raise ZoneDataUnclear(name, changed_at)
    (_, first_offset, _), *changes = rows
    return Zone(name, first_offset, tuple((at.replace(tzinfo=UTC), offset) for at, offset, _ in changes))


# No zone's offset changes twice within six days: where it is another one a day later, the second of the
# change is found by halving. `macros/zones.sql` reads the same.
_CHANGES = f"""
    with recursive days as (
        select
            instant,
            epoch_us(timezone($zone, make_timestamptz(instant))) - instant as utc_offset,
            lag(instant) over (order by instant) as day_before,
            lag(utc_offset) over (order by instant) as offset_before
        from range(
            epoch_us(timestamp '{BEGINS_AT:%Y-%m-%d}'),
            epoch_us(timestamp '{ENDS_AT:%Y-%m-%d}') + 1,
            86400000000
        ) as days (instant)
    ),

    halved as (
        select day_before as lower, instant as upper, offset_before, utc_offset, utc_offset as offset_of_day
        from days
        where utc_offset is distinct from offset_before

        union all

        select
            case when offset_between = offset_before then between_them else lower end,
            case when offset_between = offset_before then upper else between_them end,
            offset_before,
            case when offset_between = offset_before then utc_offset else offset_between end,
            offset_of_day
        from (
            select
                *,
                lower + (upper - lower) // 2000000 * 1000000 as between_them,
                epoch_us(timezone($zone, make_timestamptz(between_them))) - between_them as offset_between
            from halved
            where upper - lower > 1000000
        )
    )

    select make_timestamp(upper), utc_offset // 1000000, offset_of_day // 1000000
    from halved
    where coalesce(upper - lower, 1000000) = 1000000
    order by upper
"""


@cache
def zone_names() -> Sequence[str]:
    """The names that a programme's zone may have: those that DuckDB lists and Python knows too.

    What DuckDB takes beyond them are abbreviations of its own, its AST being Alaska's, other cases and bare
    offsets; the schedule, which ticks by Python's zones, could not follow.
    """
    with connect() as connection:
        rows = connection.execute("select name from pg_timezone_names() order by name").fetchall()
    return [name for (name,) in rows if _is_known_to_python(name)]


def is_zone_name(name: str) -> bool:
    """Whether ``name`` is one of `zone_names`."""
    return name == "UTC" or (_is_known_to_python(name) and name in zone_names())


def similar_zone_name(name: str) -> str | None:
    """The name that was perhaps meant: ``Europe/Berlin`` for ``europe/berln``; None where none is near."""
    by_lower_case = {known.lower(): known for known in zone_names()}
    near = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.75)
    return by_lower_case[near[0]] if near else None


def _is_known_to_python(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True


if __name__ == "__main__":
    from ledger.settings import Settings

    try:
        print(Settings.from_environment().zone.text)
    except PointsError as error:
        sys.exit(error.sentence)
