"""Closes report months: audited, sealed, committed in the ledger, and only then published.

The one transaction that appends the close entries of all months is the commit. Before it nothing is
published; after it, publishing is work that the next command of any kind finishes
(docs/design.md, section 6).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.anchors import Head
from ledger.clocks import months_end_by
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.cut import cut_folder, freeze
from ledger.database import Ledger, open_ledger
from ledger.errors import PointsError
from ledger.guards import check_guards
from ledger.models import Close
from ledger.seals import SealBroken, read_seals, seals_of
from ledger.settings import Settings, check_month
from ledger.upkeep.verification import BEGINNING, verify_above
from orchestration.close.commit import committing
from orchestration.close.gate import (
    Gate,
    QuarantineNotAccepted,
    accepting,
    look_at_gate,
    refusals_for_discrepancies,
)
from orchestration.close.months_to_close import (
    FirstMonthTooEarly,
    choose_months,
    earliest_month,
    first_open_month,
)
from orchestration.close.openings import find_opening
from orchestration.close.prepared_months import ClosePlan, PreparedMonth, prepare_months, throw_away
from orchestration.close.publication import finish_closes
from orchestration.dbt.invocation import ready_dbt
from orchestration.fail_points import fail_point
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import read_manifest
from orchestration.published.soundness import check_published
from orchestration.report_calendar import ends_at
from orchestration.run_lock import run_lock
from orchestration.runs import BuildProgress
from orchestration.upkeep.zone_data import changed_zone_data, other_zone_data

Report = Callable[[BuildProgress], None]


class CloseNeedsLedger(PointsError):
    """Months are to be closed from files."""

    code = "CLOSE_NEEDS_LEDGER"

    def __init__(self, transfers: str) -> None:
        super().__init__(
            f"Months are closed from the ledger alone, but POINTS_TRANSFERS names {transfers}; add that with"
            " `points import`, unset POINTS_TRANSFERS and close again."
        )


class NothingToClose(PointsError):
    """The ledger holds no transfer that has taken effect."""

    code = "NOTHING_TO_CLOSE"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"There is nothing to close: no transfer in the ledger of {place} has been approved; add some"
            " with `points import FILE` or `points give`."
        )


@dataclass(frozen=True)
class Closing:
    """What a close came to: the months that it closed, in order, or why there was nothing to do.

    Where ``closed`` is empty, ``already`` is the close of the month that was named. ``next_month`` is the one
    that is open; it ends at ``next_ends_at``, or has by now. ``waiting`` names revisions that are closed and
    that readers get only with those of ``waiting_for``, months that were closed and are open again.
    ``gate`` is what is open at the cutoff, where there was something to close. Of a dry run ``tried`` names
    the revisions that it made and threw away, and ``refusals`` are why a close would be refused.
    ``zone_notes`` are sentences on zone data that differ: at the programme's first close others from
    DuckDB's, later DuckDB's since the last close.
    """

    closed: Sequence[ClosedMonth]
    already: ClosedMonth | None
    next_month: str
    next_ends_at: datetime
    next_has_ended: bool
    waiting: Sequence[str]
    waiting_for: Sequence[str]
    gate: Gate | None
    tried: Sequence[str]
    refusals: Sequence[str]
    zone_notes: Sequence[str]


def close_months(
    settings: Settings,
    month: str | None = None,
    through: str | None = None,
    first_month: str | None = None,
    report: Report = lambda progress: None,
    wait_seconds: float = 0.0,
    now: datetime | None = None,
    accept_quarantined: str | None = None,
    dry_run: bool = False,
) -> Closing:
    """Close ``month`` where it is the oldest open one, every month up to ``through``, or the oldest open one.

    Months are ``YYYY-MM``; ``first_month`` is the programme's first, for its first close. ``now`` decides
    which months have ended (`months_end_by`); by default the ledger's clock does. Raises `PointsError` where
    something is refused; nothing is then closed, and readers have what they had.

    ``accept_quarantined`` says why the months may be closed while quarantined rows are open
    (`QuarantineNotAccepted`). A ``dry_run`` does all of it but the commit, and throws away what it made; what
    `orchestration.close.gate` refuses is then among the `Closing`'s refusals.
    """
    for name in (month, through, first_month):
        if name is not None:
            check_month(name)
    accepted = None if accept_quarantined is None else accepting(accept_quarantined)
    if settings.transfers:
        raise CloseNeedsLedger(settings.transfers)
    ledger = open_ledger(settings)
    with run_lock(settings.home, "points close", wait_seconds), ready_dbt() as dbt:
        finish_closes(ledger, report)
        fail_point("opened")
        history = read_history()
        now = months_end_by(ledger, now)
        # Once sealed it is known without a look at the entries, and a refusal need not wait for them.
        programmes_first = _sealed_first_month(first_month) or _first_month(ledger, first_month, report)
        months = choose_months(history, settings, programmes_first, now, month, through)
        zone_notes: list[str] = []
        gate: Gate | None = None
        tried: Sequence[PreparedMonth] = []
        refusals: list[PointsError] = []
        if months:
            check_published(settings.home, history)
            zone_notes = _zone_notes(settings, history)
            opening = find_opening(history, months[0])
            head = _freeze(ledger, report, opening.cutoff_entry_id if opening else 0)
            check_guards(ledger.place)
            _verify_entries(ledger, opening, head, report)
            gate = look_at_gate(settings, history, months, head.entry_id, now)
            if gate.quarantined and not accepted:
                refusals.append(QuarantineNotAccepted(gate.quarantined))
            _refuse_first(refusals, dry_run)
            plan = ClosePlan(
                months,
                {month: history.next_revision(month) for month in months},
                programmes_first,
                head,
                history,
                settings.programme_name,
                accepted or "" if gate.quarantined else "",
                gate,
            )
            fail_point("frozen")
            run = prepare_months(ledger, plan, report, dbt)
            prepared, gate = run.months, run.gate
            refusals += refusals_for_discrepancies(gate.discrepancies)
            _refuse_first(refusals, dry_run)
            if dry_run:
                tried = prepared
                throw_away(prepared)
            else:
                _commit(ledger, plan, prepared)
                finish_closes(ledger, report)
                history = read_history()
        next_month = first_open_month(history, programmes_first)
        next_ends_at = ends_at(next_month, settings)
        return Closing(
            [history.in_force[month] for month in months] if not dry_run else [],
            history.in_force.get(month or through or "") if not months else None,
            next_month,
            next_ends_at,
            next_ends_at <= now,
            [closed.name for closed in history.waiting.values()],
            history.reopened,
            gate,
            [f"{month.report_month}/r{month.revision}" for month in tried],
            [error.sentence for error in refusals],
            zone_notes,
        )


def _refuse_first(refusals: Sequence[PointsError], dry_run: bool) -> None:
    if refusals and not dry_run:
        raise refusals[0]


def _zone_notes(settings: Settings, history: CloseHistory) -> list[str]:
    if not history.closes:
        return other_zone_data(settings.zone)
    changed = changed_zone_data(settings, history)
    return [changed] if changed else []


def _freeze(ledger: Ledger, report: Report, check_above: int) -> Head:
    return freeze(ledger, lambda done, total: report(BuildProgress("cut", "", done, total)), check_above).head


def _verify_entries(ledger: Ledger, opening: ClosedMonth | None, head: Head, report: Report) -> None:
    """Refuse entries that were altered since the opening balances; once closed, they could not be
    corrected."""
    after = BEGINNING
    if opening:
        folder = revision_folder(ledger.settings.home, opening.report_month, opening.revision)
        manifest = read_manifest(folder, opening.manifest_sha256)
        after = Head(opening.cutoff_entry_id, bytes.fromhex(manifest["ledger_chain_digest"]))
    verify_above(
        ledger, after, head.entry_id, lambda done, total: report(BuildProgress("entries", "", done, total))
    )


def _sealed_first_month(asked: str | None) -> str | None:
    """The programme's first month as the first close sealed it; None before that."""
    sealed = read_seals()
    if sealed is None:
        return None
    if asked not in (None, sealed["first_month"]):
        raise SealBroken("--first-month", asked, sealed["first_month"])
    return sealed["first_month"]


def _first_month(ledger: Ledger, asked: str | None, report: Report) -> str:
    """The programme's first month as its first close is to seal it."""
    _freeze(ledger, report, check_above=0)
    earliest = earliest_month(cut_folder(ledger.settings.home), ledger.settings)
    if earliest is None:
        raise NothingToClose(ledger.place)
    wanted = asked or ledger.settings.first_month
    if wanted and wanted < earliest:
        raise FirstMonthTooEarly(wanted, earliest)
    return wanted or earliest


def _commit(ledger: Ledger, plan: ClosePlan, prepared: Sequence[PreparedMonth]) -> None:
    """Append the closes of all months in one transaction: a process that is killed here has closed all or
    none."""
    seals = {**seals_of(ledger.settings, plan.first_month), "programme_name": plan.programme_name}
    with committing(ledger, plan.history) as appender:
        for month in prepared:
            appender.append(
                Close(
                    event="close",
                    report_month=month.report_month,
                    revision=month.revision,
                    cutoff_entry_id=plan.head.entry_id,
                    control_totals=_json(month.control_totals),
                    manifest_sha256=month.manifest_sha256,
                    seals=_json(seals),
                    reason=plan.quarantine_accepted,
                )
            )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
