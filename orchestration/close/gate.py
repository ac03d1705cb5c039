"""The gate of a close: what is open at its cutoff, what is usually still to come, and what refuses it.

Pending and held transfers, late ones and missing files are shown; quarantined rows refuse a close that does
not say why it goes without them, and so does each kind of discrepancy that dbt_project.yml says to `block`.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.closes import CloseHistory
from ledger.data_files import connect, fetch_whole, read_parquet
from ledger.errors import PointsError
from ledger.files.quarantine import open_quarantined_rows
from ledger.models import WAITING, Batch
from ledger.rules import check_text
from ledger.settings import Settings, discrepancies_at_close
from ledger.shown_text import counted
from ledger.sql_text import literal, literals
from ledger.zones import Zone
from orchestration.month_files import UNPOSTED
from orchestration.published.checked_files import checked_files
from orchestration.report_calendar import ends_at, previous_month

IGNORE, WARN, BLOCK = ACTIONS = ("ignore", "warn", "block")
# How long after a month's end its lateness is looked at, in days, and of how many months.
LATENESS_DAYS = (0, 1, 2, 3, 5, 7, 10, 14, 21, 30)
LATENESS_MONTHS = 6
# A file that came for each of so many closes in a row usually comes.
USUAL_CLOSES = 3
_POSTED = "posted_transfers.parquet"


class QuarantineNotAccepted(PointsError):
    """Rows of imported files are quarantined, and the close does not say why it goes without them
    (docs/cases.md, C18)."""

    code = "QUARANTINE_OPEN"

    def __init__(self, rows: int) -> None:
        super().__init__(
            f"Nothing was closed, because quarantined rows of imported files that are in no balance are open:"
            f" {rows:,}, listed by `points quarantine`; import them put right, dismiss each with `points"
            " quarantine dismiss`, or close without them and say why with --accept-quarantined REASON."
        )


class AcceptanceWithoutReason(PointsError):
    """Quarantined rows are to be accepted without saying why."""

    code = "REASON_MISSING"

    def __init__(self) -> None:
        super().__init__(
            "--accept-quarantined has no reason; say why the close may go without these rows: the manifest"
            " keeps it for ever."
        )


class DiscrepancyBlocks(PointsError):
    """A month that is to be closed has a kind of discrepancy that the programme does not close with
    (docs/cases.md, C19)."""

    code = "DISCREPANCY_BLOCKS"

    def __init__(self, report_month: str, kind: str, count: int) -> None:
        super().__init__(
            f"Nothing was closed, because {report_month} has discrepancies of the kind {kind}, {count:,} in"
            " all, which dbt_project.yml says to block (discrepancies_at_close); put right what they name, or"
            " change it there to warn."
        )


class ActionUnknown(PointsError):
    """dbt_project.yml says of a kind of discrepancy what no close does."""

    code = "DISCREPANCIES_AT_CLOSE"

    def __init__(self, kind: str, action: object) -> None:
        super().__init__(
            f"dbt_project.yml says {action!r} of {kind} in discrepancies_at_close, but must say one of"
            f" {', '.join(ACTIONS)}."
        )


@dataclass(frozen=True)
class Waiting:
    """Transfers of a status, ``pending`` or ``on_hold``, and a currency that occurred by the months' end and
    wait at the cutoff; the first of them occurred at ``since``."""

    status: str
    currency: str
    count: int
    given_points: Decimal
    deducted_points: Decimal
    since: datetime


@dataclass(frozen=True)
class Discrepancies:
    """How many discrepancies of a kind a month has, of how many points, and what a close does about it."""

    report_month: str
    kind: str
    severity: str
    currency: str
    count: int
    points: Decimal
    action: str


@dataclass(frozen=True)
class Lateness:
    """How many transfers of past ``months`` had been recorded so many days after their month's end.

    ``recorded`` is by days, of `LATENESS_DAYS`; the last is all that counts. ``report_month`` is looked at
    ``days`` whole days after its end by the clock, when ``arrived`` of its own have come.
    """

    months: Sequence[str]
    recorded: Mapping[int, int]
    report_month: str
    days: int
    arrived: int = 0

    @property
    def expected(self) -> int:
        """How many more are to come by the curve, to the nearest: where 95 of 100 had come by such a day and
        190 have come now, 10."""
        by_now = self.recorded[max(day for day in self.recorded if day <= self.days)]
        missing = self.recorded[LATENESS_DAYS[-1]] - by_now
        return (2 * self.arrived * missing + by_now) // (2 * by_now) if by_now else 0


@dataclass(frozen=True)
class UsualFile:
    """A file that was imported before each of the last `USUAL_CLOSES` closes: its name with ``#`` for digits,
    the fewest of them and how many came since, and the newest."""

    pattern: str
    usual_count: int
    count: int
    newest_name: str
    newest_at: datetime


@dataclass(frozen=True)
class Gate:
    """What is open as months are to be closed; ``quarantined`` rows since ``quarantined_since``.

    ``missing_files`` came in less than usual. ``lateness`` is None where no past month says anything. What
    waits and what is discrepant is known once the months are built.
    """

    quarantined: int
    quarantined_since: datetime | None
    missing_files: Sequence[UsualFile]
    lateness: Lateness | None
    waiting: Sequence[Waiting] = ()
    discrepancies: Sequence[Discrepancies] = ()

    def facts(self) -> dict[str, object]:
        """It for JSON, without what the clock says: of the same cutoff the same at any time. Points are exact
        text."""
        lateness = self.lateness
        return {
            "waiting": [
                {
                    **vars(row),
                    "given_points": points_text(row.given_points),
                    "deducted_points": points_text(row.deducted_points),
                    "since": _json_instant(row.since),
                }
                for row in self.waiting
            ],
            "quarantined": self.quarantined,
            "quarantined_since": self.quarantined_since and _json_instant(self.quarantined_since),
            "discrepancies": [{**vars(row), "points": points_text(row.points)} for row in self.discrepancies],
            "missing_files": [
                {**vars(row), "newest_at": _json_instant(row.newest_at)} for row in self.missing_files
            ],
            "lateness": lateness
            and {name: value for name, value in vars(lateness).items() if name != "days"},
        }

    def warnings(self, zone: Zone) -> list[str]:
        """What somebody should look at though the close may go on, a sentence each; times of ``zone``."""
        sentences = []
        if self.quarantined:
            rows = counted(self.quarantined, "row of an imported file is", "rows of imported files are")
            sentences.append(
                f"{rows} quarantined and in no balance, since {_shown(self.quarantined_since, zone)}; `points"
                " quarantine` lists them."
            )
        sentences += [
            f"{file.pattern} usually came {file.usual_count}× or more before a close, and {file.count}×"
            f" since the last; the newest is {file.newest_name} of {_shown(file.newest_at, zone)}."
            for file in self.missing_files
        ]
        return sentences


def accepting(reason: str) -> str:
    """The reason for which quarantined rows are accepted; raise `AcceptanceWithoutReason`, and `ValueRefused`
    where it holds control characters."""
    reason = check_text("reason", reason.strip())
    if not reason:
        raise AcceptanceWithoutReason
    return reason


def quarantine_accepted(cutoff_entry_id: int, reason: str) -> dict[str, object] | None:
    """What a manifest says of quarantined rows that were accepted; the same whenever it is made again."""
    if not reason:
        return None
    return {"rows": open_quarantined_rows(cutoff_entry_id).count(), "reason": reason}


def look_at_gate(
    settings: Settings, history: CloseHistory, months: Sequence[str], cutoff_entry_id: int, now: datetime
) -> Gate:
    """What is open before ``months`` are built, from the ledger up to the cutoff and published months;
    ``now`` decides how long ago the last of them ended, and nothing else.

    Raises `PublishedDamaged`, and `ActionUnknown` before anything is built.
    """
    for kind, action in discrepancies_at_close().items():
        if action not in ACTIONS:
            raise ActionUnknown(kind, action)
    quarantined = open_quarantined_rows(cutoff_entry_id).order_by("entry_id")
    first = quarantined.first()
    return Gate(
        quarantined=quarantined.count(),
        quarantined_since=first and first.recorded_at,
        missing_files=_missing_files(history, cutoff_entry_id),
        lateness=_lateness(settings, history, months[-1], now),
    )


def look_at_months(gate: Gate, folders: Sequence[Path], ended_at: datetime) -> Gate:
    """``gate`` with what the months say that were built meanwhile, whose files stand in ``folders`` and the
    last of which ended at that instant."""
    lateness = gate.lateness
    with connect() as duck:
        if lateness:
            posted = read_parquet(folders[-1] / _POSTED)
            ((arrived,),) = fetch_whole(duck, f"select count(*) from {posted} where not is_late")
            lateness = replace(lateness, arrived=arrived)
        waiting = _waiting(duck, folders[-1] / f"{UNPOSTED}.parquet", ended_at)
        discrepancies = read_parquet([folder / "discrepancies.parquet" for folder in folders])
        found = fetch_whole(
            duck,
            "select strftime(report_month, '%Y-%m'), discrepancy, severity, currency, count(*),"
            f" sum(abs(points)) from {discrepancies} group by all order by all",
        )
    actions = discrepancies_at_close()
    # A kind that a model adds is shown until somebody says otherwise.
    rows = [Discrepancies(*row, actions.get(row[1], WARN)) for row in found]
    return replace(gate, lateness=lateness, waiting=waiting, discrepancies=rows)


def refusals_for_discrepancies(found: Sequence[Discrepancies]) -> list[PointsError]:
    """Why a close is refused for discrepancies, a refusal a month and kind."""
    counts: dict[tuple[str, str], int] = {}
    for row in found:
        if row.action == BLOCK:
            key = (row.report_month, row.kind)
            counts[key] = counts.get(key, 0) + row.count
    return [DiscrepancyBlocks(*key, count) for key, count in counts.items()]


def _waiting(duck: duckdb.DuckDBPyConnection, unposted: Path, ended_at: datetime) -> list[Waiting]:
    """Of what the run saw and left, and not of the ledger: it costs the same whatever came before."""
    rows = fetch_whole(
        duck,
        f"""
        select
            status, currency, count(*),
            coalesce(sum(points) filter (style = 'give'), 0),
            coalesce(sum(points) filter (style = 'deduct'), 0),
            min(occurred_at)
        from {read_parquet(unposted)}
        where status in {literals(WAITING)} and occurred_at < {_utc(ended_at)}
        group by status, currency
        order by status, currency
        """,
    )
    return [Waiting(*values, since.replace(tzinfo=UTC)) for *values, since in rows]


def _missing_files(history: CloseHistory, cutoff_entry_id: int) -> list[UsualFile]:
    """Files of which fewer came since the last close than before any of the closes before."""
    cutoffs = sorted({closed.cutoff_entry_id for closed in history.in_force.values()})
    if len(cutoffs) <= USUAL_CLOSES:  # the first close has no beginning
        return []
    bounds = cutoffs[-USUAL_CLOSES - 1 :]
    imported = Batch.objects.filter(entry_id__gt=bounds[0], entry_id__lte=cutoff_entry_id).exclude(
        file_name=""
    )
    counts: dict[str, list[int]] = {}
    newest: dict[str, Batch] = {}
    for batch in imported.order_by("entry_id"):
        pattern = re.sub(r"[0-9]+", "#", batch.file_name)
        counts.setdefault(pattern, [0] * len(bounds))[bisect_right(bounds, batch.entry_id - 1) - 1] += 1
        newest[pattern] = batch
    return [
        UsualFile(pattern, min(earlier), current, newest[pattern].file_name, newest[pattern].recorded_at)
        for pattern, (*earlier, current) in sorted(counts.items())
        if current < min(earlier)
    ]


def _lateness(settings: Settings, history: CloseHistory, month: str, now: datetime) -> Lateness | None:
    # By the end of the month, not by the clock: its close may have to be made again later, with the same
    # evidence.
    looked_at = ends_at(month, settings) - timedelta(days=LATENESS_DAYS[-1])
    past = [name for name in history.in_force if ends_at(name, settings) <= looked_at and name < month]
    past = past[-LATENESS_MONTHS:]
    # What is late stands in the files of a later month.
    files = [
        checked_files(settings.home, closed.report_month, closed.revision, closed.manifest_sha256).path(
            _POSTED
        )
        for name, closed in history.in_force.items()
        if past and name >= past[0]
    ]
    if not files:
        return None
    # The end of the month in which each took effect, and by how many days it was recorded after: one scan.
    ends = [ends_at(name, settings) for name in past]
    begin = ends_at(previous_month(past[0]), settings)
    ended = " ".join(f"when effective_at < {_utc(end)} then {_utc(end)}" for end in ends)
    with connect() as duck:
        columns = [name for name, *_ in duck.execute(f"describe from {read_parquet(files)}").fetchall()]
        if "recorded_at" not in columns:
            return None
        by_days = fetch_whole(
            duck,
            f"""
            select
                case when recorded_at < ended then -1
                else (epoch_us(recorded_at) - epoch_us(ended)) // 86_400_000_000 end,
                count(*)
            from (
                select recorded_at, case {ended} end as ended
                from {read_parquet(files)}
                where effective_at >= {_utc(begin)} and effective_at < {_utc(ends[-1])}
            )
            group by all
            """,
        )
    recorded = {
        days: sum(count for late, count in by_days if late is not None and late < days)
        for days in LATENESS_DAYS
    }
    days = max((now - ends_at(month, settings)).days, 0)
    return Lateness(past, recorded, month, days) if recorded[LATENESS_DAYS[-1]] else None


def _json_instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _shown(instant: datetime, zone: Zone) -> str:
    return f"{zone.local(instant):%Y-%m-%d %H:%M}"


def _utc(instant: datetime) -> str:
    return f"timestamp {literal(f'{instant:%Y-%m-%d %H:%M:%S.%f}')}"
