"""What looks by itself whether something has come."""

import json

import dagster as dg

from ledger.settings import Settings
from orchestration.inbox import InboxFile, InboxTick, Stamp, import_inbox, inbox_folder
from orchestration.run_lock import RunInProgress

SECONDS_BETWEEN_TICKS = 30


def define_inbox_sensor(settings: Settings) -> dg.SensorDefinition:
    """``import_inbox``: imports what is dropped into the programme's inbox; it starts no run.

    The daily build takes up what was imported. The cursor keeps what was still being written at the last
    tick. A ledger that cannot be opened fails the tick, with its sentence.
    """

    @dg.sensor(
        name="import_inbox",
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Import the files of transfers in {inbox_folder(settings.home)}.",
    )
    def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        try:
            tick = import_inbox(settings, read_cursor(context.cursor))
        except RunInProgress as error:
            return dg.SensorResult(skip_reason=error.sentence, cursor=context.cursor)
        for file in tick.files:
            (context.log.warning if file.refusal else context.log.info)(_describe(file))
        return dg.SensorResult(skip_reason=_summarise(tick), cursor=write_cursor(tick))

    return inbox_sensor


def read_cursor(cursor: str | None) -> dict[str, Stamp]:
    """What `write_cursor` kept: the files that were waiting at the tick before."""
    return {name: (size, changed) for name, (size, changed) in json.loads(cursor or "{}").items()}


def write_cursor(tick: InboxTick) -> str:
    """The files that wait, for the next tick."""
    return json.dumps(tick.waiting)


def _describe(file: InboxFile) -> str:
    if file.refusal:
        return f"{file.name} was refused and is now {file.path}: {file.refusal}"
    imported = file.imported
    warnings = "".join(f" {warning}" for warning in imported.warnings)
    return (
        f"{file.name} was imported as {imported.batch_id} and is now {file.path}: {imported.row_count:,}"
        f" rows, {imported.added:,} transfers added, {imported.status_changes:,} status changes,"
        f" {imported.duplicates:,} known already.{warnings}"
    )


def _summarise(tick: InboxTick) -> str:
    imported = [file.name for file in tick.files if file.imported]
    parts = [f"Imported {', '.join(imported)}."] if imported else []
    parts += [f"Refused {file.name}: {file.refusal}" for file in tick.files if file.refusal]
    if tick.waiting:
        parts.append(f"Still being written: {', '.join(tick.waiting)}.")
    return " ".join(parts) or "Nothing was dropped into the inbox."
