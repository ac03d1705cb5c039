"""Where zone data differ: others on this machine from DuckDB's, and DuckDB's since the last close.

DuckDB's zone data decide in any case (docs/design.md, section 6); this module reports the differences
(docs/cases.md, X21).
"""

import zoneinfo
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path

from ledger.closes import CloseHistory
from ledger.settings import Settings
from ledger.zones import BEGINS_AT, ENDS_AT, Zone
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import read_manifest

# The offset from UTC that some zone data have at an instant.
OffsetAt = Callable[[datetime], timedelta]

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def other_zone_data(zone: Zone) -> list[str]:
    """A sentence for each set of zone data on this machine that has other offsets than ``zone``."""
    if zone.name == "UTC":
        return []
    return [
        f"{place} has {zone.name} at {_signed(offset_at(at))} from {at:%Y-%m-%d %H:%M} UTC on, DuckDB"
        f" at {_signed(zone.offset_at(at))}: DuckDB's zone data decide every month and wall clock."
        for place, offset_at in _zones_of_machine(zone.name)
        if (at := _first_difference(zone, offset_at))
    ]


def changed_zone_data(settings: Settings, history: CloseHistory) -> str | None:
    """A sentence where the newest close went by another list of the zone's changes; None where by the same.

    Raises `PublishedDamaged` where its manifest is not as it was.
    """
    if not history.closes:
        return None
    newest = history.closes[-1]
    folder = revision_folder(settings.home, newest.report_month, newest.revision)
    manifest = read_manifest(folder, newest.manifest_sha256)
    # Months that were closed before manifests named the list say nothing.
    if manifest.get("zone_changes_sha256") in (None, settings.zone.sha256):
        return None
    return (
        f"DuckDB {manifest['versions']['duckdb']}, by which {newest.name} was closed, had other zone data for"
        f" {settings.time_zone}: closed months stay as they are, and `points verify --full` says whether any"
        " would come out differently."
    )


def _zones_of_machine(name: str) -> Iterator[tuple[str, OffsetAt]]:
    """The offsets that the operating system's zone has and that of Python's package, each with its place."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder) / name
        if path.is_file():
            with path.open("rb") as file:
                yield str(path), _offset_at(zoneinfo.ZoneInfo.from_file(file))
            break
    package = resources.files("tzdata") / "zoneinfo" / name
    if package.is_file():
        with package.open("rb") as file:
            yield "Python's package tzdata", _offset_at(zoneinfo.ZoneInfo.from_file(file))


def _offset_at(theirs: zoneinfo.ZoneInfo) -> OffsetAt:
    return lambda instant: instant.astimezone(theirs).utcoffset()


def _first_difference(zone: Zone, offset_at: OffsetAt) -> datetime | None:
    """The first second at which the offsets differ; None where they never do."""

    def differs(instant: datetime) -> bool:
        return offset_at(instant) != zone.offset_at(instant)

    days = (BEGINS_AT + number * _DAY for number in range((ENDS_AT - BEGINS_AT) // _DAY))
    around_changes = (at for instant, _ in zone.changes for at in (instant - _SECOND, instant))
    before = BEGINS_AT
    for after in sorted({*days, *around_changes}):
        if differs(after):
            break
        before = after
    else:
        return None
    while after - before > _SECOND:
        between = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (before, between) if differs(between) else (between, after)
    return after


def _signed(offset: timedelta) -> str:
    seconds = round(offset.total_seconds())
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}"
