"""What is right and wrong with the ledger, for `points doctor`, which must work when nothing else does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import DatabaseError, connection
from django.db.models import Count, Exists, OuterRef

from ledger.anchors import LedgerReplaced, anchored_folders, check_anchors, read_anchor
from ledger.clocks import find_setbacks, newest_recorded_at
from ledger.database import Ledger, LedgerEmpty
from ledger.databases import sqlite_file
from ledger.errors import PointsError, first_line
from ledger.files.quarantine import open_quarantined_rows
from ledger.guards import find_unguarded
from ledger.links import ledger_head
from ledger.models import ENTRY_MODELS, LEDGER_TABLES, WAITING, AccountEvent, Transfer
from ledger.seals import check_seals, read_seals
from ledger.settings import Settings
from ledger.statuses import began_unapproved, with_standing
from ledger.upkeep.inspection import known_and_applied_migrations, open_as_it_stands
from ledger.upkeep.privileges import find_excessive_privileges

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``verdict`` is 'ok', 'warning' or 'problem'.

    ``sentence`` says what was found, ``advice`` what to do about it (empty: nothing); ``statements`` are SQL
    that puts it right, for the owner of the database.
    """

    subject: str
    verdict: str
    sentence: str
    advice: str = ""
    statements: tuple[str, ...] = ()


@dataclass(frozen=True)
class LedgerFacts:
    """A ledger that could be read: where, how large in bytes, its head, its entries by kind, its software."""

    place: str
    size: int
    head_entry_id: int
    chain_digest: str
    entries: dict[str, int]
    database: str


def examine_ledger(settings: Settings) -> tuple[LedgerFacts | None, list[Finding]]:
    """Look at the ledger of ``settings`` without changing anything; raise nothing.

    The facts are None where there is no ledger, or none that can be read.
    """
    try:
        ledger, tables = open_as_it_stands(settings)
    except LedgerEmpty as error:
        return None, [Finding("ledger", OK, str(error))]
    except PointsError as error:
        return None, [Finding("ledger", PROBLEM, str(error), "Nothing can be recorded until then.")]
    except Exception as error:  # psycopg's own, for a URL that it cannot read; it may quote a password
        return None, [
            Finding(
                "ledger",
                PROBLEM,
                f"POINTS_DATABASE_URL cannot be read ({type(error).__name__}).",
                "Write it as postgresql://user:password@host:port/database, with what is special in the"
                " password percent-encoded.",
            )
        ]
    findings = list(_attempt("schema", lambda: _schema(tables)))
    if any(finding.verdict == PROBLEM for finding in findings):
        return None, findings
    is_of_this_version = all(finding.verdict == OK for finding in findings)
    facts: list[LedgerFacts] = []

    def look_at_entries() -> Iterator[Finding]:
        facts.append(_facts(ledger))
        yield Finding("ledger", OK, _summary(facts[0]))

    in_database = _in_postgresql if connection.vendor == "postgresql" else _in_sqlite
    for subject, look in (
        ("ledger", look_at_entries),
        ("guards", _guards),
        ("database", in_database),
        ("anchors", lambda: _anchors(ledger)),
        ("seals", lambda: _seals(ledger)),
        # It asks the entries of every kind, of which an earlier version has not all.
        *([("clock", lambda: _clock(ledger))] if is_of_this_version else []),
        ("waiting", _waiting),
        ("quarantine", _quarantine),
    ):
        findings += _attempt(subject, look)
    return (facts[0] if facts else None), findings


def _attempt(subject: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one look; that it could not be taken is a finding too."""
    try:
        return list(look())
    except PointsError as error:
        return [Finding(subject, PROBLEM, str(error))]
    except (DatabaseError, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        return [
            Finding(
                subject,
                PROBLEM,
                f"The {subject} could not be looked at: {first_line(error)}.",
                "Run `points verify`; where it finds damage, restore the newest backup that it finds whole.",
            )
        ]


def _schema(tables: frozenset[str]) -> Iterator[Finding]:
    known, applied = known_and_applied_migrations()
    absent = [name for name in LEDGER_TABLES if name not in tables]
    if applied - known:
        yield Finding(
            "schema",
            PROBLEM,
            f"The tables are of a later version than this program ({max(applied - known)}).",
            "Install the version that made them.",
        )
    elif known - applied:
        yield Finding(
            "schema",
            WARNING,
            f"The tables lack {', '.join(sorted(known - applied))}.",
            "The next command that records makes it; in PostgreSQL set POINTS_DATABASE_OWNER_URL for it.",
        )
    elif absent:
        yield Finding(
            "schema",
            PROBLEM,
            f"The table {absent[0]} is gone.",
            "Restore the newest backup that `points verify` finds whole.",
        )
    else:
        yield Finding("schema", OK, f"The tables are those of this program ({max(known)}).")


def _facts(ledger: Ledger) -> LedgerFacts:
    head, tables = ledger_head(), connection.introspection.table_names()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("select pg_database_size(current_database()), current_setting('server_version')")
            size, version = cursor.fetchone()
            database = f"PostgreSQL {version}"
        else:
            size = sqlite_file(ledger.settings).stat().st_size
            cursor.execute("select sqlite_version()")
            database = f"SQLite {cursor.fetchone()[0]}"
    return LedgerFacts(
        place=ledger.place,
        size=size,
        head_entry_id=head.entry_id,
        chain_digest=head.chain_digest.hex(),
        entries={
            model.kind: model.objects.count() for model in ENTRY_MODELS if model._meta.db_table in tables
        },
        database=database,
    )


def _summary(facts: LedgerFacts) -> str:
    parts = ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in facts.entries.items() if count)
    return (
        f"{facts.place} ({facts.database}, {facts.size / 1_000_000:,.1f} MB) ends at entry"
        f" {facts.head_entry_id:,}: {parts or 'nothing yet'}."
    )


def _guards() -> Iterator[Finding]:
    unguarded = find_unguarded()
    if not unguarded:
        yield Finding("guards", OK, "The database refuses everything but appends.")
        return
    yield Finding(
        "guards",
        PROBLEM,
        f"The triggers that refuse changes are not as they were made: {', '.join(map(str, unguarded))}.",
        "Find out who changed them, run `points verify`, and let the owner of the database drop what stands"
        " in their place and execute the statements that --json gives.",
        tuple(finding.statement for finding in unguarded if finding.statement),
    )


def _in_sqlite() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        found = []
        for pragma in ("journal_mode", "synchronous"):
            cursor.execute(f"pragma {pragma}")
            found.append(cursor.fetchone()[0])
    if found == ["delete", 2]:
        yield Finding("database", OK, "SQLite writes with journal_mode delete and synchronous full.")
    else:
        yield Finding(
            "database",
            WARNING,
            f"SQLite writes with journal_mode {found[0]} and synchronous {found[1]}: a commit may be lost"
            " when the power fails.",
            "End all other programs that have the file open, and run this again.",
        )


def _in_postgresql() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("select current_user")
        (user,) = cursor.fetchone()
    found = find_excessive_privileges()
    if not found:
        yield Finding("database", OK, f"{user} may read and append, and no more.")
        return
    excesses = "; ".join(privilege.description for privilege in found)
    # One user for everything is a way to begin.
    owns_alone = all(privilege.is_owner for privilege in found)
    yield Finding(
        "database",
        WARNING if owns_alone else PROBLEM,
        f"{user}, the user of POINTS_DATABASE_URL, has more than an append needs and could get around what"
        f" guards the ledger: it {excesses}.",
        "Give POINTS_DATABASE_URL a user of its own, and the owner's URL to POINTS_DATABASE_OWNER_URL for the"
        " first command alone."
        if owns_alone
        else "Let the owner, or a superuser, execute the statements that --json gives.",
        tuple(dict.fromkeys(privilege.statement for privilege in found if privilege.statement)),
    )


def _anchors(ledger: Ledger) -> Iterator[Finding]:
    head_entry_id = ledger_head().entry_id
    try:
        check_anchors(ledger.settings.home, ledger.place)
    except LedgerReplaced as error:
        yield Finding("anchors", PROBLEM, str(error))
        return
    for folder in anchored_folders(ledger.settings.home):
        behind = head_entry_id - read_anchor(folder).entry_id
        yield Finding(
            folder.name,
            OK,
            f"{folder} was made from this ledger; entries recorded since: {behind:,}.",
            "`points build` takes them in." if behind else "",
        )


def _seals(ledger: Ledger) -> Iterator[Finding]:
    check_seals(ledger.settings)  # what it raises is the finding
    if read_seals():
        yield Finding("seals", OK, "The settings are those that the first close sealed.")


def _clock(ledger: Ledger) -> Iterator[Finding]:
    now, newest = ledger.clock(), newest_recorded_at()
    setbacks = find_setbacks()
    if newest and newest > now:
        yield Finding(
            "clock",
            WARNING,
            f"It is {now:%Y-%m-%d %H:%M:%S} UTC here, but the newest entry was recorded at"
            f" {newest:%Y-%m-%d %H:%M:%S}.",
            "Set the clock of this machine, or of the one that recorded it.",
        )
    if setbacks.count:
        yield Finding(
            "clock",
            WARNING,
            f"Entries dated before the one that they follow: {setbacks.count:,}, the first of them entry"
            f" {setbacks.first_entry_id:,}.",
            "What was recorded stays; set the clocks of all machines that record.",
        )
    elif not newest or newest <= now:
        yield Finding("clock", OK, f"It is {now:%Y-%m-%d %H:%M:%S} UTC, after every recorded entry.")


def _waiting() -> Iterator[Finding]:
    waiting = with_standing(began_unapproved(Transfer.objects.all())).filter(current_status__in=WAITING)
    counts = dict(waiting.order_by().values_list("current_status").annotate(Count("entry_id")))
    settled = AccountEvent.objects.filter(request_id=OuterRef("event_id"))
    requests = AccountEvent.objects.filter(~Exists(settled), event__endswith="_requested").count()
    lists = [f"`points transfers --status {status}`" for status in WAITING if status in counts]
    yield Finding(
        "waiting",
        OK,
        f"Waiting for a decision: pending transfers {counts.get('pending', 0):,}, on hold"
        f" {counts.get('on_hold', 0):,}, openings and closings of accounts {requests:,}.",
        f"{' and '.join(lists)} {'lists' if len(lists) == 1 else 'list'} the transfers." if lists else "",
    )


def _quarantine() -> Iterator[Finding]:
    rows = open_quarantined_rows().count()
    if rows:
        yield Finding(
            "quarantine",
            WARNING,
            f"Quarantined rows that are in no balance: {rows:,}.",
            "`points quarantine` lists them; send them again put right, or dismiss them.",
        )
    else:
        yield Finding("quarantine", OK, "No quarantined row is open.")
