"""The closed months in the ledger: which closes are in force, and which ones readers have.

A close is in force until a reopening of its month, or of an earlier one. Readers move to new revisions only
when every month that was ever closed is closed again; until then they keep the issued set as a whole
(docs/design.md, section 6). With months 1 to 3 closed, reopening month 2 takes r1 of months 2 and 3 out of
force; readers have r1 of all three until r2 of both is closed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ledger.models import Close, SignOff


@dataclass(frozen=True)
class ClosedMonth:
    """One close of a month: its revision, the cutoff it was made from, and the hash of its manifest.

    ``report_month`` is ``YYYY-MM``; ``control_totals`` are those of the manifest, by currency;
    ``programme_name`` is what its files call the programme; ``quarantine_accepted`` says why it was closed
    while quarantined rows were open, empty where none was.
    """

    report_month: str
    revision: int
    entry_id: int
    cutoff_entry_id: int
    manifest_sha256: str
    closed_at: datetime
    closed_by: str
    control_totals: Mapping[str, Mapping] = field(repr=False, compare=False)
    programme_name: str = ""
    quarantine_accepted: str = ""

    @property
    def name(self) -> str:
        """Its folder under ``published``."""
        return f"{self.report_month}/r{self.revision}"


@dataclass(frozen=True)
class Reopening:
    """The entry that took the closes of a month out of force."""

    report_month: str
    entry_id: int
    reason: str
    revision: int
    reopened_at: datetime
    reopened_by: str


@dataclass(frozen=True)
class Signature:
    """Who signed a revision off, and when."""

    signed_off_at: datetime
    signed_off_by: str
    entry_id: int


@dataclass(frozen=True)
class CloseHistory:
    """All closes and reopenings, in the order of their entries.

    ``in_force`` and ``issued`` map report months, in order, to closes: those that count, and the consistent
    set that readers have. The two differ only while months are reopened.
    """

    closes: tuple[ClosedMonth, ...]
    reopenings: tuple[Reopening, ...]
    in_force: Mapping[str, ClosedMonth]
    issued: Mapping[str, ClosedMonth]
    signatures: Mapping[tuple[str, int], Signature] = field(default_factory=dict)
    last_entry_id: int = 0

    @property
    def last_month(self) -> str | None:
        """The last month whose close is in force."""
        return max(self.in_force, default=None)

    @property
    def reopened(self) -> list[str]:
        """The months that were closed and are open again."""
        return sorted({closed.report_month for closed in self.closes} - set(self.in_force))

    @property
    def waiting(self) -> dict[str, ClosedMonth]:
        """The closes in force that readers do not have, because other months are open again."""
        return {month: closed for month, closed in self.in_force.items() if self.issued.get(month) != closed}

    def next_revision(self, report_month: str) -> int:
        """What the next close of a month is."""
        return 1 + max(
            (closed.revision for closed in self.closes if closed.report_month == report_month), default=0
        )

    def status(self, closed: ClosedMonth) -> str:
        """'signed_off', 'issued', or 'reopened' where its close is not in force."""
        if self.in_force.get(closed.report_month) != closed:
            return "reopened"
        return "signed_off" if (closed.report_month, closed.revision) in self.signatures else "issued"

    def closed_together(self, closed: ClosedMonth) -> list[ClosedMonth]:
        """All months that one run closed with this one, in order."""
        return [other for other in self.closes if other.cutoff_entry_id == closed.cutoff_entry_id]

    def together_with(self, closed: ClosedMonth) -> Mapping[str, ClosedMonth]:
        """The closes, by month, that were in force with this one when months were last closed before it was
        reopened, or that are now: one set, in which every transfer counts once.

        With months 1 to 3 closed, and month 3 reopened before month 2, that of month 2 has month 3 too.
        """
        reopened = [
            reopening.entry_id
            for reopening in self.reopenings
            if reopening.entry_id > closed.entry_id and reopening.report_month <= closed.report_month
        ]
        if not reopened:
            return self.in_force
        last = max(other.entry_id for other in self.closes if other.entry_id < min(reopened))
        return self.before(last + 1).in_force

    def before(self, entry_id: int) -> "CloseHistory":
        """The history as it was before an entry."""
        return _follow(
            [closed for closed in self.closes if closed.entry_id < entry_id],
            [reopening for reopening in self.reopenings if reopening.entry_id < entry_id],
            {},
        )


def read_history() -> CloseHistory:
    """The closes of the open ledger, as this transaction sees them."""
    closes, reopenings = [], []
    for entry in Close.objects.order_by("entry_id"):
        if entry.event == "close":
            closes.append(_closed_month(entry))
        else:
            reopenings.append(_reopening(entry))
    signed = SignOff.objects.order_by("entry_id")
    return _follow(
        closes,
        reopenings,
        {
            (entry.report_month, entry.revision): Signature(
                entry.recorded_at, entry.recorded_by, entry.entry_id
            )
            for entry in signed
        },
        max((entry.entry_id for entry in signed), default=0),
    )


def _closed_month(entry: Close) -> ClosedMonth:
    return ClosedMonth(
        entry.report_month,
        entry.revision,
        entry.entry_id,
        entry.cutoff_entry_id,
        entry.manifest_sha256,
        entry.recorded_at,
        entry.recorded_by,
        json.loads(entry.control_totals or "{}"),
        json.loads(entry.seals or "{}").get("programme_name", ""),
        entry.reason,
    )


def _reopening(entry: Close) -> Reopening:
    return Reopening(
        entry.report_month,
        entry.entry_id,
        entry.reason,
        entry.revision,
        entry.recorded_at,
        entry.recorded_by,
    )


def _follow(
    closes: list[ClosedMonth],
    reopenings: list[Reopening],
    signatures: Mapping[tuple[str, int], Signature],
    last_signature: int = 0,
) -> CloseHistory:
    in_force: dict[str, ClosedMonth] = {}
    issued: dict[str, ClosedMonth] = {}
    ever: set[str] = set()
    for event in sorted([*closes, *reopenings], key=lambda event: event.entry_id):
        if isinstance(event, Reopening):
            in_force = {month: closed for month, closed in in_force.items() if month < event.report_month}
        else:
            in_force[event.report_month] = event
            ever.add(event.report_month)
        if ever == set(in_force):
            issued = dict(in_force)
    last = max((event.entry_id for event in [*closes, *reopenings]), default=0)
    return CloseHistory(
        tuple(closes),
        tuple(reopenings),
        dict(sorted(in_force.items())),
        dict(sorted(issued.items())),
        signatures,
        max(last, last_signature),
    )
