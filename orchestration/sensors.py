"""Sensors that watch for new files in the inbox and for failures that people must be notified of."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from ledger.settings import Settings
from orchestration.alerts import (
    CLOSE_MISSED,
    RUN_FAILED,
    VERIFY_FAILED,
    Alert,
    AlertNotDelivered,
    Send,
    configured_ways,
)
from orchestration.assets.sources import INBOX
from orchestration.close.due_months import describe_open, find_due_months
from orchestration.inbox import InboxFile, InboxTick, Stamp, import_inbox, inbox_folder
from orchestration.jobs import VERIFY_PUBLISHED
from orchestration.run_lock import RunInProgress

SECONDS_BETWEEN_TICKS = 30
SECONDS_BETWEEN_LOOKS_AT_CLOSES = 60 * 60
# A tick has a minute, and a receiver may take its time.
ALERTS_PER_TICK = 4


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
        return dg.SensorResult(
            skip_reason=_summarise(tick), cursor=write_cursor(tick), asset_events=list(_observe(tick))
        )

    return inbox_sensor


def read_cursor(cursor: str | None) -> dict[str, Stamp]:
    """What `write_cursor` kept: the files that were waiting at the tick before."""
    return {name: (size, changed) for name, (size, changed) in json.loads(cursor or "{}").items()}


def write_cursor(tick: InboxTick) -> str:
    """The files that wait, for the next tick."""
    return json.dumps(tick.waiting)


def _describe(file: InboxFile) -> str:
    if file.is_left:
        return f"{file.name} was left in the inbox: {file.refusal}"
    if file.refusal:
        return f"{file.name} was refused and is now {file.path}: {file.refusal}"
    imported = file.imported
    warnings = "".join(f" {warning}" for warning in imported.warnings)
    return (
        f"{file.name} was imported as {imported.batch_id} and is now {file.path}: {imported.row_count:,}"
        f" rows, {imported.added:,} transfers added, {imported.status_changes:,} status changes,"
        f" {imported.duplicates:,} known already.{warnings}"
    )


def _observe(tick: InboxTick) -> Iterator[dg.AssetObservation]:
    """What came, as an event of the inbox."""
    for file in tick.files:
        yield dg.AssetObservation(INBOX, metadata={"file": file.name, "outcome": _describe(file)})


def _summarise(tick: InboxTick) -> str:
    imported = [file.name for file in tick.files if file.imported]
    parts = [f"Imported {', '.join(imported)}."] if imported else []
    parts += [f"Refused {file.name}: {file.refusal}" for file in tick.files if file.refusal]
    if tick.waiting:
        parts.append(f"Still being written: {', '.join(tick.waiting)}.")
    return " ".join(parts) or "Nothing was dropped into the inbox."


def define_alert_sensors(settings: Settings) -> Iterator[dg.SensorDefinition]:
    """For each way to notify people, one sensor for failed runs and one for months left open.

    Each way has sensors of its own, because each must know what it has delivered and retry the rest.
    """
    for way, send in configured_ways(settings).items():
        yield _define_failed_runs_sensor(settings, way, send)
        yield _define_missed_closes_sensor(settings, way, send)


def _define_failed_runs_sensor(settings: Settings, way: str, send: Send) -> dg.SensorDefinition:
    """``tell_failed_runs_by_<way>``: every run of any job that fails from now on, once.

    Dagster's own sensor of failed runs goes on to the next run when its function fails: an alert would be
    lost while the receiver is down. Here the cursor, the last failure reported, only moves on when it is
    delivered.
    """

    @dg.sensor(
        name=f"tell_failed_runs_by_{way}",
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Notify people by {way} of every run that fails.",
    )
    def failed_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if context.cursor is None:
            newest = context.instance.fetch_run_status_changes(
                dg.DagsterEventType.RUN_FAILURE, limit=1
            ).records
            return dg.SensorResult(
                skip_reason="From now on, every run that fails is reported.",
                cursor=str(newest[0].storage_id if newest else 0),
            )
        failures = context.instance.fetch_run_status_changes(
            dg.RunStatusChangeRecordsFilter(
                dg.DagsterEventType.RUN_FAILURE, after_storage_id=int(context.cursor)
            ),
            limit=ALERTS_PER_TICK,
            ascending=True,
        ).records
        notes: list[str] = []
        cursor = context.cursor
        for failure in failures:
            try:
                notes.append(send(settings, _failed_run(context.instance, failure.event_log_entry)))
            except AlertNotDelivered:
                if not notes:
                    raise
                break  # what was delivered must not be sent again; the next tick begins with this one
            cursor = str(failure.storage_id)
        return dg.SensorResult(skip_reason=" ".join(notes) or "No run has failed.", cursor=cursor)

    return failed_runs_sensor


def _failed_run(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> Alert:
    return Alert(
        event=VERIFY_FAILED if entry.job_name == VERIFY_PUBLISHED else RUN_FAILED,
        sentence=_why_it_failed(instance, entry),
        at=datetime.fromtimestamp(entry.timestamp, UTC),
        job=entry.job_name,
        run_id=entry.run_id,
    )


def _why_it_failed(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> str:
    """The sentence that a step failed with; else the first line of its error, or what Dagster says."""
    for failed in instance.all_logs(entry.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = failed.dagster_event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return data.user_failure_data.description
        if error := data.error:
            while error.cause:
                error = error.cause
            return error.message.strip().splitlines()[0]
    said = entry.dagster_event.message or entry.user_message
    return said.strip().splitlines()[0] if said else "Dagster does not say why."


def _define_missed_closes_sensor(settings: Settings, way: str, send: Send) -> dg.SensorDefinition:
    """``tell_missed_closes_by_<way>``: once a day, while a month was due a day ago and is open.

    It does not ask why: the schedule may be stopped, the daemon may have been down, or the close is refused.
    The cursor is the day and the month of the last notification: "2026-11-04 2026-10".
    """

    @dg.sensor(
        name=f"tell_missed_closes_by_{way}",
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS_AT_CLOSES,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Notify people by {way} when a month should have been closed and is open.",
    )
    def missed_closes_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        due = find_due_months(settings)
        if not due.overdue:
            return dg.SensorResult(skip_reason=due.reason or f"{due.months[0]} is due since today.")
        cursor = f"{due.at:%Y-%m-%d} {due.overdue[0]}"
        if cursor == context.cursor:
            return dg.SensorResult(
                skip_reason=f"Already reported today: {due.overdue[0]} is open.", cursor=cursor
            )
        sentence = (
            f"{describe_open(due.overdue, settings)} See why the last run of close_months failed or did not"
            f" begin, or close with `points close --through {due.overdue[-1]}`."
        )
        note = send(settings, Alert(CLOSE_MISSED, sentence, due.at))
        return dg.SensorResult(skip_reason=note, cursor=cursor)

    return missed_closes_sensor
