"""Verifies what is final: the ledger entry by entry, and what was published from it byte by byte."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from ledger.anchors import Head, check_head
from ledger.closes import CloseHistory, read_history
from ledger.database import Ledger
from ledger.disk import may_write_into
from ledger.errors import PointsError
from ledger.kept_balances import check_kept_balances
from ledger.links import ledger_head
from ledger.models import BalanceHead
from ledger.seals import check_seals
from ledger.settings import Settings
from ledger.upkeep.inspection import open_as_it_stands
from ledger.upkeep.verification import Verification, verify
from orchestration.close.recomputation import Recomputation, recompute
from orchestration.published.database import find_database_damage
from orchestration.published.layout import database_file, is_database_of_another_path, revision_folder
from orchestration.published.manifests import PublishedDamaged
from orchestration.published.soundness import find_damage, find_strays
from orchestration.run_lock import RunInProgress, run_lock
from orchestration.runs import BuildProgress

# How long to wait for another run to end before a difference is reported as damage.
_WAIT_SECONDS = 60.0


class PublishedUnsound(PointsError):
    """Published files are not what was published; ``damages`` names each."""

    code = "PUBLISHED_DAMAGED"

    def __init__(self, damages: Sequence[PublishedDamaged]) -> None:
        shown = "; ".join(f"{damage.path} {damage.finding}" for damage in damages[:5])
        more = f"; and {len(damages) - 5} more" if len(damages) > 5 else ""
        remedies = "; ".join(dict.fromkeys(damage.remedy for damage in damages))
        super().__init__(
            f"Published files are not what was published: {shown}{more}; find out who changed them, and then:"
            f" {remedies}."
        )
        self.damages = tuple(damages)


class NothingWritable(PointsError):
    """Months are to be computed again in a home in which nothing can be written."""

    code = "HOME_READ_ONLY"

    def __init__(self, home: Path) -> None:
        super().__init__(
            f"Nothing can be written to {home}, where `points verify --full` computes months again; run"
            " `points verify`, which writes nothing, or copy the home to where you may write."
        )


class RecomputedOtherwise(PointsError):
    """Computed again from the first entry, closed months come out differently."""

    code = "RECOMPUTED_OTHERWISE"

    def __init__(self, recomputation: Recomputation) -> None:
        months = sorted({difference.report_month for difference in recomputation.files})
        span = months[0] if len(months) == 1 else f"{len(months)} months from {months[0]} on"
        super().__init__(
            f"Computed again from the first entry, {span} would come out differently; what is published is"
            " kept; where a rule was changed in seeds/, give it a row with a from_month instead; otherwise"
            " find out what changed in the models before anything more is closed."
        )


@dataclass(frozen=True)
class Soundness:
    """A ledger and published files that are what they were.

    ``revisions`` and ``files`` were looked at; ``recomputation`` is None unless it was asked for. ``notes``
    are sentences on what could not be looked at.
    """

    ledger: Verification
    history: CloseHistory
    revisions: int
    files: int
    recomputation: Recomputation | None
    notes: Sequence[str]

    def facts(self) -> dict[str, object]:
        """It for JSON."""
        ledger = self.ledger
        return {
            "verdict": "sound",
            "place": ledger.place,
            "entries": ledger.entries,
            "links": ledger.links,
            "head_entry_id": ledger.head.entry_id,
            "chain_digest": ledger.head.chain_digest.hex(),
            "anchors": [str(folder) for folder in ledger.anchors],
            "clock_setbacks": vars(ledger.setbacks),
            "revisions": self.revisions,
            "published_files": self.files,
            "not_looked_at": list(self.notes),
            "recomputed": self.recomputation is not None,
            "notes": [vars(note) for note in self.recomputation.notes] if self.recomputation else [],
        }


def verify_all(
    settings: Settings,
    full: bool = False,
    head: Head | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    report_build: Callable[[BuildProgress], None] = lambda progress: None,
) -> Soundness:
    """Check every entry and every published file and, with ``full``, recompute every number.

    ``head`` is an earlier end of the ledger that was kept elsewhere. ``report`` takes entries done and in
    all. Nothing is written to the home but with ``full``. Raises what `ledger.upkeep.verification.verify`
    does, `BalanceDiffers`, `SealBroken`, `LedgerReplaced`, `PublishedUnsound`, `NothingWritable` and
    `RecomputedOtherwise`.
    """
    is_writable = may_write_into(settings.home)
    if full and not is_writable:
        raise NothingWritable(settings.home)
    verified = verify(settings, report)
    ledger, _ = open_as_it_stands(settings)
    check_seals(settings)
    if head:
        check_head(head, ledger.place, "what was kept elsewhere")
    notes = []
    if not is_writable and is_database_of_another_path(settings.home):
        notes.append(
            f"{database_file(settings.home)} names files of another folder, from which {settings.home} was"
            " copied; nothing can be written there, so it was not made again and not looked at."
        )
    history, damages = _look_at_published(settings.home, with_database=not notes)
    if damages and is_writable:
        # A close that is being published just now looks like damage.
        with suppress(RunInProgress), run_lock(settings.home, "points verify", _WAIT_SECONDS):
            history, damages = _look_at_published(settings.home)
    if damages:
        raise PublishedUnsound(damages)
    notes += _look_at_kept_balances(ledger)
    recomputation = recompute(ledger, report_build) if full else None
    if recomputation and recomputation.files:
        raise RecomputedOtherwise(recomputation)
    files = sum(
        len(list(revision_folder(settings.home, closed.report_month, closed.revision).iterdir()))
        for closed in history.closes
    )
    return Soundness(verified, history, len(history.closes), files, recomputation, notes)


def _look_at_kept_balances(ledger: Ledger) -> list[str]:
    """Sentences on what of the kept balances could not be looked at; raises `BalanceDiffers`."""
    if BalanceHead._meta.db_table not in connection.introspection.table_names():
        return []  # a ledger of an earlier version, which nobody has written to since
    entry_id, newest = check_kept_balances(ledger), ledger_head().entry_id
    if entry_id == newest:
        return []
    return [
        f"The kept balances are those of entry {entry_id:,}, not of {newest:,}; they are brought up to date"
        " by whoever lists balances next, and were not looked at."
    ]


def _look_at_published(home: Path, with_database: bool = True) -> tuple[CloseHistory, list[PublishedDamaged]]:
    history = read_history()
    return history, [
        *find_damage(home, history),
        *find_strays(home, history),
        *(find_database_damage(home, history) if with_database else ()),
    ]
