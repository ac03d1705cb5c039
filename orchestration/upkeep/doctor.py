"""What is right and wrong with a programme's home: for `points doctor` (docs/design.md, section 10).

It changes nothing, and works where there is no ledger yet and where nothing else works.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from django.db import DatabaseError

from ledger.closes import CloseHistory, read_history
from ledger.database import connected_to
from ledger.disk import why_not_written
from ledger.locks import LockNotOurs
from ledger.process import DEFAULT_MEMORY_LIMIT, MemoryLimit, available_memory, with_all_else
from ledger.settings import PROJECT_ROOT, SettingInvalid, Settings, declared_settings
from ledger.settings_file import PREFIX
from ledger.shown_text import counted
from ledger.upkeep.health import OK, PROBLEM, WARNING, Finding, LedgerFacts, examine_ledger
from orchestration.close.due_months import describe_open, due_months
from orchestration.database_file import is_readable
from orchestration.inbox import inbox_folder, list_forgotten, received_folder
from orchestration.month_delivery import find_due
from orchestration.provisional import DATABASE_NAME, NAMES
from orchestration.published.database import find_database_damage
from orchestration.published.layout import NoLinks, needs_finishing, prepared_folder, try_links
from orchestration.published.manifests import PublishedDamaged
from orchestration.run_lock import lock_holder
from orchestration.upkeep.exposure import find_exposed
from orchestration.upkeep.zone_data import changed_zone_data, other_zone_data

PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "dagster", "dagster-dbt", "django", "psycopg")
_LITTLE_SPACE = 1_000_000_000
_NO_SPACE = 100_000_000


@dataclass(frozen=True)
class SettingShown:
    """A setting as it counts, without any password; ``source`` is 'default', 'environment' or a file."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Examination:
    """All that was looked at; ``verdict`` is the worst of the findings'."""

    settings: list[SettingShown]
    ledger: LedgerFacts | None
    findings: list[Finding]

    @property
    def verdict(self) -> str:
        verdicts = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in (PROBLEM, WARNING) if verdict in verdicts), OK)


def examine(environment: Mapping[str, str], from_file: Mapping[str, str], file: Path) -> Examination:
    """Look at the settings in ``environment``, and at what they lead to; raise nothing for what is wrong.

    ``from_file`` is what the .env ``file`` says, whose values stand in ``environment`` too.
    """
    settings, findings = _checked_settings(environment)
    shown = list(_shown_settings(environment, from_file, file))
    findings += _unknown_settings(environment)
    findings += _other_variables(from_file, file)
    findings += _versions()
    findings += _zone(settings)
    findings += _home(settings.home)
    findings.append(_memory(settings.memory_limit))
    findings += find_exposed(settings, file.parent if from_file else None)
    # Django is configured for no ledger where a setting of it or of anything else is invalid.
    with connected_to(settings):
        facts, of_ledger = examine_ledger(settings)
        findings += of_ledger
        findings += _runs(settings.home)
        findings += _inbox(settings.home)
        if facts and not settings.transfers:
            findings += _closes(settings)
    findings += _alerts(settings)
    return Examination(shown, facts, findings)


def _checked_settings(environment: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings, in place of each invalid one its default; and what is wrong with those."""
    values = dict(environment)
    findings = []
    while True:
        try:
            settings = Settings.from_environment(values)
        except SettingInvalid as error:
            findings.append(Finding("settings", PROBLEM, str(error), "Until then, every command refuses it."))
            if values.pop(error.name, None) is None:
                raise
            continue
        return settings, findings or [Finding("settings", OK, "Every setting can be read.")]


def _shown_settings(
    environment: Mapping[str, str], from_file: Mapping[str, str], file: Path
) -> Iterator[SettingShown]:
    for setting in declared_settings():
        text = environment.get(setting.name)
        source = "environment" if text else "default"
        if text and text == from_file.get(setting.name):
            source = str(file)
        yield SettingShown(setting.name, setting.shown_in(environment), source)


def _unknown_settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    known = {setting.name for setting in declared_settings()}
    for name in sorted(environment):
        if name.startswith("POINTS_") and name not in known:
            yield Finding(
                "settings",
                WARNING,
                f"{name} is set, but there is no such setting.",
                "Compare it with the names in .env.example.",
            )


def _other_variables(from_file: Mapping[str, str], file: Path) -> Iterator[Finding]:
    if others := sorted(name for name in from_file if not name.startswith(PREFIX)):
        yield Finding(
            "settings",
            WARNING,
            f"{file} also names {', '.join(others)}, of which nothing is taken: only names that begin with"
            f" {PREFIX} are settings.",
            "Export them where they are needed, and take them out of it.",
        )


def _versions() -> Iterator[Finding]:
    locked = dict(
        re.findall(
            r"^([a-z0-9][\w.-]*)(?:\[[^]]*\])?==([^ ;\\\n]+)",
            (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    found, mismatches = [f"python {sys.version.split()[0]}"], []
    for package in PACKAGES:
        try:
            installed = version(package)
        except PackageNotFoundError:
            mismatches.append(f"{package} is not installed")
            continue
        found.append(f"{package} {installed}")
        if locked.get(package, installed) != installed:
            mismatches.append(f"{package} is {installed}, in requirements.lock {locked[package]}")
    listed = ", ".join(found) + "."
    if mismatches:
        yield Finding(
            "versions", WARNING, f"{'; '.join(mismatches)}. Installed are {listed}", "Run `make setup`."
        )
    else:
        yield Finding("versions", OK, listed[0].upper() + listed[1:])


def _zone(settings: Settings) -> Iterator[Finding]:
    """Zone data on this machine that are others than those that decide."""
    zone = settings.zone
    differing = other_zone_data(zone)
    for sentence in differing:
        yield Finding(
            "zone",
            WARNING,
            sentence,
            "Where the others are right, install a newer DuckDB before the month that it concerns is closed.",
        )
    if not differing:
        yield Finding(
            "zone", OK, f"DuckDB's zone data, which decide, and this machine's agree on {zone.name}."
        )


def _home(home: Path) -> Iterator[Finding]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "home",
            PROBLEM,
            f"{there} is not a folder that can be written to.",
            "Set POINTS_HOME to one, or give the user of this process the right to write there.",
        )
        return
    try:
        try_links(home)
    except NoLinks as error:
        yield Finding("home", PROBLEM, error.sentence, "Until then, no build and no close begins.")
    except OSError as error:
        yield Finding(
            "home", PROBLEM, f"No link can be made in {home}: {why_not_written(error)}.", "Fix that."
        )
    usage = shutil.disk_usage(there)
    room = f"{usage.free / 1_000_000_000:,.1f} of {usage.total / 1_000_000_000:,.1f} GB are free for {home}."
    if usage.free < _LITTLE_SPACE:
        yield Finding(
            "disk",
            PROBLEM if usage.free < _NO_SPACE else WARNING,
            room,
            "Make room: a build needs as much as all transfers again, an import twice its file.",
        )
    else:
        yield Finding("disk", OK, room)


def _memory(limit: MemoryLimit) -> Finding:
    there = available_memory()
    said = f"A run may use {limit} of {there / 2**30:.1f} GiB of memory."
    if with_all_else(limit.bytes) <= there:
        return Finding("memory", OK, said)
    return Finding(
        "memory",
        WARNING,
        f"{said} With all else, its processes may take {with_all_else(limit.bytes) / 2**30:.1f}"
        " GiB, and be killed by the system.",
        f"Set POINTS_MEMORY_LIMIT to less, like {DEFAULT_MEMORY_LIMIT}.",
    )


def _runs(home: Path) -> Iterator[Finding]:
    """The lock, the last run, and what readers see of it."""
    try:
        going_on = lock_holder(home)
    except LockNotOurs as error:
        going_on = None
        yield Finding("lock", PROBLEM, error.sentence)
    if going_on is not None:
        yield _lock_finding(going_on)
    runs = sorted(path for path in home.glob("runs/*") if path.name.isdigit() and path.is_dir())
    provisional = home / "provisional"
    if provisional.is_symlink() and not provisional.exists():
        yield Finding(
            "provisional",
            PROBLEM,
            f"{provisional} names a run that is gone.",
            "Run `points build`; it makes the same months again.",
        )
    elif provisional.is_dir():
        yield _provisional(provisional)
    if not runs:
        yield Finding("runs", OK, "Nothing has been built yet.", "`points build` builds the months.")
        return
    newest = runs[-1]
    began_at = datetime.fromtimestamp(newest.stat().st_mtime, UTC)
    sentence = f"The last run was {newest.name}, of {began_at:%Y-%m-%d %H:%M} UTC"
    if provisional.resolve().parent == newest.resolve():
        yield Finding("runs", OK, f"{sentence}; its files are what readers see.")
    elif prepared_folder(newest).is_dir() and not any(prepared_folder(newest).glob("*/r*")):
        yield Finding("runs", OK, f"{sentence}; the months that it closed are published.")
    elif going_on is None:
        yield Finding(
            "runs",
            WARNING,
            f"{sentence}; it ended without files for readers.",
            f"Run `points build` and read what it refuses; {newest} holds what is left of the run.",
        )


def _inbox(home: Path) -> Iterator[Finding]:
    """Files that stay in the inbox (docs/cases.md, F19, S1 and S4)."""
    forgotten = list_forgotten(home, datetime.now(UTC).timestamp())
    if forgotten:
        more = f" and {len(forgotten) - 5:,} more" if len(forgotten) > 5 else ""
        yield Finding(
            "inbox",
            WARNING,
            f"In {inbox_folder(home)} since more than a day ago:"
            f" {', '.join(ascii(path.name) for path in forgotten[:5])}{more}.",
            "While Dagster runs, files are taken whose name ends in .csv, .csv.gz or .parquet and that are no"
            " links; send what is whole under such a name, and move away the rest: imported/ and refused/ are"
            f" of an earlier version, and what is in them belongs into {received_folder(home)}.",
        )


def _provisional(folder: Path) -> Finding:
    database = folder / DATABASE_NAME
    if not is_readable(database, NAMES):
        again = "Run `points build`; it makes the same months again."
        return Finding("provisional", PROBLEM, f"{database} cannot be read.", again)
    months = sorted(path.name for path in folder.glob("????-??"))
    written_at = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    span = f"{months[0]} to {months[-1]}" if months else "no month"
    sentence = f"Readers see {span}, provisional, written {written_at:%Y-%m-%d %H:%M} UTC."
    return Finding("provisional", OK, sentence)


def _closes(settings: Settings) -> Iterator[Finding]:
    """What the ledger, which could be read, says of closes, and what is due by now."""
    try:
        yield from _due(settings)
    except (DatabaseError, ValueError, KeyError, TypeError) as error:
        yield Finding(
            "close", PROBLEM, f"Closes cannot be read ({type(error).__name__}).", "Run `points verify`."
        )
    if needs_finishing(settings.home):
        yield Finding(
            "published",
            WARNING,
            "Readers do not have all of what is closed yet.",
            "The next command of any kind finishes it, unless another run goes on; it says what hinders it.",
        )


def _due(settings: Settings) -> Iterator[Finding]:
    due = due_months(settings, datetime.now(UTC))
    if due.months:
        yield Finding(
            "close",
            WARNING if due.overdue else OK,
            describe_open(due.months, settings),
            f"`points close --through {due.months[-1]}` closes what is due; so does Dagster where it runs,"
            f" daily at 06:00 {settings.time_zone}.",
        )
    else:
        yield Finding("close", OK, due.reason)
    history = read_history()
    if not needs_finishing(settings.home):
        yield from _changed_zone(settings, history)
        for damage in find_database_damage(settings.home, history):
            remedy = damage.remedy[0].upper() + damage.remedy[1:]
            yield Finding("published", PROBLEM, f"{damage.path} {damage.finding}.", f"{remedy}.")
    yield from _deliveries(settings, history)
    reopened = history.reopened
    if reopened:
        yield Finding(
            "reopened",
            WARNING,
            f"Reopened and open: {', '.join(reopened)}; readers have what was issued, flagged so.",
            f"`points close --through {reopened[-1]}` closes them again.",
        )


def _changed_zone(settings: Settings, history: CloseHistory) -> Iterator[Finding]:
    try:
        changed = changed_zone_data(settings, history)
    except PublishedDamaged as error:
        yield Finding("published", PROBLEM, error.sentence, "Run `points verify`.")
    else:
        if changed:
            yield Finding("zone", WARNING, changed)


def _alerts(settings: Settings) -> Iterator[Finding]:
    """Who is notified; without the webhook's address, which is a secret."""
    ways = [f"the webhook at {urlsplit(url).hostname}"] if (url := settings.alert_webhook_url) else []
    ways += [", ".join(settings.alert_email_to)] if settings.alert_email_to else []
    if ways:
        yield Finding(
            "alerts", OK, f"Notified when a run fails or a month is left open: {' and '.join(ways)}."
        )
    else:
        yield Finding(
            "alerts",
            OK,
            "No one is notified when a run fails or a month is left open.",
            "Set POINTS_ALERT_WEBHOOK_URL or POINTS_ALERT_EMAIL_TO where Dagster runs.",
        )


def _deliveries(settings: Settings, history: CloseHistory) -> Iterator[Finding]:
    """What the destinations lack of what readers have; nothing is asked of a server."""
    due = find_due(settings, history)
    for destination, months in due:
        lacks = counted(len(months), "month")
        yield Finding(
            "delivery",
            WARNING,
            f"{destination.name} was not delivered {lacks}, from {months[0].name} on.",
            "Run `points deliver`, which says what hinders it; where Dagster runs, it tries every hour.",
        )
    if settings.deliver_to and not due:
        places = counted(len(settings.deliver_to), "destination")
        yield Finding("delivery", OK, f"What readers have was delivered to {places}.")


def _lock_finding(holder: str) -> Finding:
    """A lock ends with its process; one that outlives it is held by what the process started."""
    process = re.search(r"process ([0-9]+)$", holder)
    if process and not Path(f"/proc/{process[1]}").exists() and Path("/proc/self").exists():
        return Finding(
            "lock",
            WARNING,
            f"A run holds the lock of the home ({holder}), but its process has ended on this machine.",
            "End what it has left running, or wait for the machine that it runs on.",
        )
    return Finding("lock", OK, f"A run is going on ({holder or 'starting'}).")
