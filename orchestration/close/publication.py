"""Publishes what the ledger says is closed: moves prepared months to readers and lets the links go over.

All of it may be done again, and the next command of any kind does, until what readers have is what the ledger
says (docs/cases.md, X4, X9, X19, X20). The ledger alone decides: prepared files are found by the hash in the
close entry, and where they are lost they are made again from the same cutoff.
"""

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import duckdb
from django.db import Error as DatabaseFault

from ledger.anchors import Head, read_anchor, write_anchor
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.cut import freeze
from ledger.database import Ledger, open_ledger
from ledger.disk import sync_file, sync_folder, why_not_written
from ledger.errors import PointsError
from ledger.links import ledger_head
from ledger.models import ChainLink
from ledger.seals import read_seals
from ledger.settings import Settings
from orchestration.close.gate import look_at_gate
from orchestration.close.prepared_months import ClosePlan, prepare_months
from orchestration.fail_points import fail_point
from orchestration.published.database import is_set_made, write_set
from orchestration.published.layout import (
    ANNOUNCEMENT_NAME,
    check_link,
    does_name,
    needs_finishing,
    open_published,
    point_link,
    published_folder,
    reader_links,
    revision_folder,
    set_link,
)
from orchestration.published.manifests import PublishedDamaged, check_files, read_manifest
from orchestration.published.soundness import find_strangers
from orchestration.run_lock import run_lock
from orchestration.runs import BuildProgress

Report = Callable[[BuildProgress], None]


class ClosedFilesLost(PointsError):
    """The files of a closed month are gone, and made again they are others."""

    code = "CLOSED_FILES_LOST"

    def __init__(self, closed: ClosedMonth, home: Path) -> None:
        super().__init__(
            f"The files of {closed.name} are not in {home}/published, and made again they are not those that"
            " the ledger's close entry names, so the models, the rules, the settings or a version must be"
            " others than then; put the folder back from a backup, or run this from the checkout of then."
        )


class PublishingUnfinished(PointsError):
    """The ledger says what is closed, but readers could not be given all of it."""

    code = "PUBLISHING_UNFINISHED"

    def __init__(self, home: Path, reason: str) -> None:
        super().__init__(
            f"What the ledger says is closed stays closed, but it could not be given to readers in"
            f" {published_folder(home)}: {reason}; they have what they had, and once that is fixed the next"
            " command of any kind, like `points months`, finishes it."
        )


class MonthsToBeMade(PointsError):
    """Files of closed months are lost, and what is being done needs none of them."""

    code = "MONTHS_TO_BE_MADE"

    def __init__(self, home: Path, lost: Sequence[ClosedMonth]) -> None:
        names = lost[0].name if len(lost) == 1 else f"{len(lost)} revisions of months from {lost[0].name} on"
        super().__init__(
            f"Readers do not have all that is closed: {names} must be made again from the ledger for"
            f" {published_folder(home)}, which takes as long as building them; `points months` does it."
        )


def finish_if_needed(
    settings: Settings,
    is_read: bool = False,
    report: Report = lambda progress: None,
    makes_again: bool = True,
) -> None:
    """Finish a close that was cut off, before another command begins.

    With ``is_read``, when closed months are about to be shown, also make them again where all are lost. Is
    nothing of them needed, it is not to wait for a build: without ``makes_again`` that raises
    `MonthsToBeMade`.

    Raises `RunInProgress` where another run goes on, and what `finish_closes` does. Where the ledger cannot
    be opened nothing is done or reported: every command that needs it reports that itself.
    """
    if needs_finishing(settings.home, is_read) and not settings.transfers:
        try:
            ledger = open_ledger(settings)
        except PointsError:
            return
        try:
            with run_lock(settings.home, "finishing a close"):
                finish_closes(ledger, report, makes_again)
        except OSError as error:  # the lock's own file
            raise PublishingUnfinished(settings.home, why_not_written(error)) from error


def finish_closes(ledger: Ledger, report: Report = lambda progress: None, makes_again: bool = True) -> None:
    """Give readers what the ledger says is closed, under the lock of the home, as far as they lack it.

    ``report`` is called where months are made again; without ``makes_again`` they are not, and
    `MonthsToBeMade` is raised. Raises `PublishedDamaged` where the ledger is older than what is published,
    `ClosedFilesLost`, `PublishingUnfinished`, and what preparing a month raises where it is made again.
    """
    home = ledger.settings.home
    try:
        history = read_history()
        # A ledger that lacks closes would take readers back to an older set.
        for stranger in find_strangers(home, history):
            raise stranger
        if history.closes:
            published_folder(home).mkdir(exist_ok=True)
            sync_folder(home)
            for together in _runs(history):
                _publish(ledger, history, together, report, makes_again)
            fail_point("months moved")
            _give_readers(home, history, ledger.settings.readers)
            _remember_ledger(home, history)
            # Also what an earlier release, another setting or a copy has left more open or less.
            open_published(home, ledger.settings.readers)
        (home / ANNOUNCEMENT_NAME).unlink(missing_ok=True)
    except (DatabaseFault, duckdb.Error, OSError) as error:
        raise PublishingUnfinished(home, why_not_written(error)) from error
    fail_point("finished")


def _remember_ledger(home: Path, history: CloseHistory) -> None:
    """From here on an older copy of the ledger is refused, even where other traces are deleted
    (docs/cases.md, X12)."""
    for folder in (published_folder(home), home):
        anchor = read_anchor(folder)
        if anchor is None or anchor.entry_id < history.last_entry_id:
            write_anchor(folder, ledger_head())
            fail_point("anchored")


def _runs(history: CloseHistory) -> list[list[ClosedMonth]]:
    """The closes, those of one run together, in order."""
    together: dict[int, list[ClosedMonth]] = {}
    for closed in history.closes:
        together.setdefault(closed.cutoff_entry_id, []).append(closed)
    return list(together.values())


def _publish(
    ledger: Ledger,
    history: CloseHistory,
    together: Sequence[ClosedMonth],
    report: Report,
    makes_again: bool,
) -> None:
    """Move the months of one run to readers, as far as they are not there; make again what is lost."""
    home = ledger.settings.home
    # What is a link, or no folder, is not lost: it is damage, and named as such.
    missing = [closed for closed in together if not os.path.lexists(_folder(home, closed))]
    prepared = {closed: _find_prepared(home, closed) for closed in missing}
    if not all(prepared.values()):
        if not makes_again:
            raise MonthsToBeMade(home, missing)
        made = _make_again(ledger, history, together, report)
        prepared = {closed: made[closed] for closed in missing}
    for closed, folder in prepared.items():
        _move(folder, _folder(home, closed))
        fail_point("month moved")


def _folder(home: Path, closed: ClosedMonth) -> Path:
    return revision_folder(home, closed.report_month, closed.revision)


def _find_prepared(home: Path, closed: ClosedMonth) -> Path | None:
    """The folder that a run prepared for this very close, if all of it is there."""
    for folder in sorted(home.glob(f"runs/*/published/{closed.name}")):
        try:
            check_files(folder, read_manifest(folder, closed.manifest_sha256))
        except PublishedDamaged:
            continue
        return folder
    return None


def _move(prepared: Path, folder: Path) -> None:
    """Let readers have a prepared folder, in one step."""
    folder.parent.mkdir(exist_ok=True)
    sync_folder(folder.parent.parent)
    try:
        os.rename(prepared, folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # What readers have lies on another file system: it goes there under another name first.
        unfinished = folder.with_name(f".unfinished.{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(prepared, unfinished)
        for path in (*unfinished.iterdir(), unfinished):
            sync_file(path)
        os.rename(unfinished, folder)
    sync_folder(folder.parent)


def _make_again(
    ledger: Ledger, history: CloseHistory, together: Sequence[ClosedMonth], report: Report
) -> dict[ClosedMonth, Path]:
    """Make the months that one run closed again, from the same cutoff."""
    cutoff = together[0].cutoff_entry_id
    freeze(ledger, lambda done, total: report(BuildProgress("cut", "", done, total)), check_above=0)
    months = [closed.report_month for closed in together]
    before = history.before(together[0].entry_id)
    prepared = prepare_months(
        ledger,
        ClosePlan(
            months=months,
            revisions={closed.report_month: closed.revision for closed in together},
            first_month=read_seals()["first_month"],
            head=Head(cutoff, bytes(ChainLink.objects.get(last_entry_id=cutoff).digest)),
            history=before,
            programme_name=together[0].programme_name,
            quarantine_accepted=together[0].quarantine_accepted,
            gate=look_at_gate(ledger.settings, before, months, cutoff, together[0].closed_at),
        ),
        report,
    ).months
    for closed, month in zip(together, prepared, strict=True):
        if month.manifest_sha256 != closed.manifest_sha256:
            raise ClosedFilesLost(closed, ledger.settings.home)
    return {closed: month.folder for closed, month in zip(together, prepared, strict=True)}


def _give_readers(home: Path, history: CloseHistory, readers: str) -> None:
    """Let readers have the set that ``history`` issued: all months and the database, by one link (X26)."""
    links = reader_links(home, history.issued)
    for link in (set_link(home), *links):
        check_link(link)
    # Where the database's link was deleted, the set is made again.
    is_made = is_set_made(home, history)
    # New links first: they lead to what they name once the set is there.
    _make_links({link: target for link, target in links.items() if not link.is_symlink()})
    if not is_made:
        write_set(home, history, readers)
        fail_point("database swapped")
    _make_links(links)


def _make_links(links: Mapping[Path, str]) -> None:
    for link, target in links.items():
        if not does_name(link, target):
            point_link(link, target)
            fail_point("current swapped")
