"""The close, and the look at all that is closed, as Dagster runs them: one step each.

Both are the functions that the command calls. The close has no month to choose and nothing to select: what is
due at the tick is closed, in order, in one build.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import dagster as dg

from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.database import LedgerEmpty, open_ledger
from ledger.errors import PointsError
from ledger.settings import Settings
from orchestration.assets.published_checks import (
    Finding,
    attribute,
    find_broken_links,
    judge,
    published_check_specs,
)
from orchestration.assets.published_files import show_database, show_month, unseen_months
from orchestration.close.due_months import close_due_months, find_due_months
from orchestration.close.publication import finish_if_needed
from orchestration.published.database import find_database_damage
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import PublishedDamaged, checked_manifest
from orchestration.upkeep.verification import PublishedUnsound, verify_all


class CloseConfig(dg.Config):
    """``due_at`` is the instant whose due months are closed, in the programme's zone; empty: that of the run.

    ``user`` is who closes them; empty: POINTS_USER. ``wait_seconds`` is how long a run waits where another
    process builds or closes in the same home.
    """

    due_at: str = ""
    user: str = ""
    wait_seconds: float = 600.0


def define_close(settings: Settings) -> dg.OpDefinition:
    """``closed_months``: close what is due, and show each closed month's files with their checks.

    A `PointsError` fails the run with its sentence; readers then have what they had. A month that the command
    closed is shown by the next run of either step.
    """

    @dg.op(
        name="closed_months",
        description="Close the months that are due: build, audit, seal, publish.",
        out=dg.Out(dg.Nothing),
    )
    def closed_months(context: dg.OpExecutionContext, config: CloseConfig) -> None:
        try:
            now = _instant(settings, config.due_at)
            acting = replace(settings, user=config.user or settings.user)
            closing = close_due_months(acting, now, wait_seconds=config.wait_seconds)
            if closing is None:
                context.log.info(f"Nothing to close. {find_due_months(settings, now).reason}")
                return
            context.log.info(
                f"Closed {', '.join(closed.name for closed in closing.closed) or 'nothing'};"
                f" {closing.next_month} is open."
            )
            open_then = closing.gate.warnings(settings.zone) if closing.gate else []
            for note in (*open_then, *closing.zone_notes):
                context.log.warning(note)
            history = read_history()
            _show(context, settings, history)
            findings = _look_at(settings, history, closing.closed)
            for evaluation in judge(findings, closing.closed):
                context.log_event(evaluation)
            _refuse(findings)
        except PointsError as error:
            raise dg.Failure(description=error.sentence, allow_retries=False) from None

    return closed_months


def define_published_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The step that verifies the ledger and all published files, every byte of them.

    It fails where anything is damaged, with the sentence that `points verify` would show.
    """

    @dg.multi_asset_check(
        name="published_files",
        specs=published_check_specs(),
        description="Look at every entry of the ledger and every published byte.",
    )
    def published_files(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        try:
            history, findings = _verify(settings)
        except LedgerEmpty as error:
            context.log.info(error.sentence)
            history, findings = None, []
        except PointsError as error:
            raise dg.Failure(description=error.sentence, allow_retries=False) from None
        for evaluation in judge(findings, history.closes if history else []):
            yield dg.AssetCheckResult(
                asset_key=evaluation.asset_key,
                check_name=evaluation.check_name,
                passed=evaluation.passed,
                metadata=evaluation.metadata,
            )
        try:
            _refuse(findings)
            if history:
                _show(context.op_execution_context, settings, history)
        except PointsError as error:
            raise dg.Failure(description=error.sentence, allow_retries=False) from None

    return published_files


def _instant(settings: Settings, due_at: str) -> datetime | None:
    """The instant of a run's configuration; None where it is empty."""
    if not due_at:
        return None
    instant = datetime.fromisoformat(due_at)
    return instant if instant.tzinfo else settings.zone.to_utc(instant)


def _show(context: dg.OpExecutionContext, settings: Settings, history: CloseHistory) -> None:
    """Let Dagster know the closed months that it does not show yet, and the database that they stand in."""
    unseen = unseen_months(context.instance, history)
    for closed in unseen:
        for event in show_month(settings, closed):
            context.log_event(event)
    if unseen:
        context.log_event(show_database(settings))


def _look_at(settings: Settings, history: CloseHistory, closes: list[ClosedMonth]) -> list[Finding]:
    """The findings in the files of these closes, and in the readers' database."""
    damages = []
    for closed in closes:
        try:
            checked_manifest(closed, revision_folder(settings.home, closed.report_month, closed.revision))
        except PublishedDamaged as damage:
            damages.append(damage)
    damages += find_database_damage(settings.home, history)
    return [*attribute(damages), *find_broken_links(settings.home, history, closes)]


def _verify(settings: Settings) -> tuple[CloseHistory, list[Finding]]:
    """The findings in the published files; raises where the ledger itself is damaged."""
    finish_if_needed(settings)
    try:
        history = verify_all(settings).history
        damages: list[PublishedDamaged] = []
    except PublishedUnsound as error:
        open_ledger(settings)
        history, damages = read_history(), list(error.damages)
    return history, [*attribute(damages), *find_broken_links(settings.home, history, history.closes)]


def _refuse(findings: list[Finding]) -> None:
    """Raise `PublishedUnsound` where anything was found."""
    if findings:
        raise PublishedUnsound([finding.damage for finding in findings])
