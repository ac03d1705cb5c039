"""Checks that the database still has the triggers by which it refuses everything but appends.

What they must be stands in the migrations that make them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from django.db import connection

from ledger.errors import PointsError
from ledger.models import LEDGER_TABLES
from ledger.shown_text import counted

_APPEND_ONLY = import_module("ledger.migrations.0002_append_only")
_LINKED_AT_COMMIT = import_module("ledger.migrations.0003_linked_at_commit")
_MONTH_END = import_module("ledger.migrations.0008_month_end")
GUARDED_TABLES = (*LEDGER_TABLES, _LINKED_AT_COMMIT.NOTES)


@dataclass(frozen=True)
class GuardFinding:
    """A trigger that is not as it was made: ``problem`` is 'missing', 'changed', 'switched off' or 'unknown'.

    ``statement`` makes it anew, once what stands in its place is dropped; empty for an unknown one.
    """

    name: str
    problem: str
    statement: str = ""

    def __str__(self) -> str:
        return f"{self.name} is {self.problem}"


class LedgerUnguarded(PointsError):
    """The database would no longer refuse a change; ``is_sound`` where every entry was found as recorded."""

    code = "LEDGER_UNGUARDED"

    def __init__(self, place: str, unguarded: Sequence[GuardFinding], is_sound: bool = False) -> None:
        shown = ", ".join(map(str, unguarded[:3])) + (", …" if len(unguarded) > 3 else "")
        count = counted(len(unguarded), "trigger")
        finding = f"{count} that guard it are not as they were made ({shown})"
        owner = "let their owner make them again with the statements that `points doctor --json` gives."
        super().__init__(
            f"The ledger in {place} holds what was recorded, but {finding}: find out who changed them, and"
            f" {owner}"
            if is_sound
            else f"The ledger in {place} would not refuse a change any more, for {finding}, so nothing was"
            f" done: find out who changed them, run `points verify`, and {owner}"
        )
        self.finding = finding
        self.unguarded = tuple(unguarded)


def check_guards(place: str) -> None:
    """Raise `LedgerUnguarded` where the connected ledger, which is in ``place``, has others."""
    if unguarded := find_unguarded():
        raise LedgerUnguarded(place, unguarded)


def find_unguarded() -> list[GuardFinding]:
    """What is wrong with the triggers of the connected database, by name; nothing in a sound ledger."""
    statements = _expected_statements()
    states = (
        _postgresql_states(statements) if connection.vendor == "postgresql" else _sqlite_states(statements)
    )
    findings = [
        GuardFinding(name, states.get(name, "missing"), statement)
        for name, statement in statements.items()
        if states.get(name) != "sound"
    ]
    unknown = [GuardFinding(name, "unknown") for name in states.keys() - statements.keys()]
    return sorted(findings + unknown, key=lambda finding: finding.name)


def _expected_statements() -> dict[str, str]:
    """What made each trigger (and PostgreSQL's functions), by its name."""
    editor = connection.schema_editor(collect_sql=True)
    _APPEND_ONLY.refuse_changes(None, editor)
    _LINKED_AT_COMMIT.check_links_at_commit(None, editor)
    # A ledger of an earlier version lacks the table; that it has not gone is for verification.
    if _MONTH_END.TABLE in connection.introspection.table_names():
        _MONTH_END.guard(None, editor)
    # Of a function that a later migration makes anew, its newest words.
    made = re.compile(r"\s*create (?:or replace )?(?:constraint trigger|trigger|function) (\w+)")
    return {
        match[1]: statement.strip().removesuffix(";")
        for statement in editor.collected_sql
        if (match := made.match(statement))
    }


def _sqlite_states(statements: dict[str, str]) -> dict[str, str]:
    tables = ", ".join(["%s"] * len(LEDGER_TABLES))
    with connection.cursor() as cursor:
        cursor.execute(
            f"select name, sql from sqlite_master where type = 'trigger' and lower(tbl_name) in ({tables})",
            LEDGER_TABLES,
        )
        found = cursor.fetchall()
    return {
        # SQLite keeps a statement as it was written, but for the case of its first words.
        name: "sound" if (sql or "").casefold() == statements.get(name, "").casefold() else "changed"
        for name, sql in found
    }


def _postgresql_states(statements: dict[str, str]) -> dict[str, str]:
    states = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select
                tgname,
                -- Others do not fire for a connection that says it is a replica's.
                tgenabled = 'A'
                or tgenabled = 'O' and current_setting('session_replication_role') <> 'replica',
                pg_get_triggerdef(oid, true)
            from pg_trigger
            where not tgisinternal
                and tgrelid in (select to_regclass(name) from unnest(%s::text[]) as n (name))
            union all
            select proname, true, pg_get_functiondef(oid)
            from pg_proc
            where oid in (select to_regproc(name) from unnest(%s::text[]) as n (name))
            union all
            select rulename, true, definition
            from pg_rules
            where schemaname = any (current_schemas(false)) and tablename = any (%s::text[])
            """,
            [list(GUARDED_TABLES), list(statements), list(GUARDED_TABLES)],
        )
        for name, fires, definition in cursor.fetchall():
            if not fires:
                states[name] = "switched off"
            elif _words(definition) != _words(statements.get(name, "")):
                states[name] = "changed"
            else:
                states.setdefault(name, "sound")  # on another table one of its name may be changed
    return states


def _words(statement: str) -> tuple[list[str], list[str]]:
    """What a statement says, as it was written and as PostgreSQL gives it: it orders the words of a trigger
    and before a function's body in its own way, and adds "or replace" and the schema of a function."""
    head, _, body = statement.replace("$function$", "$$").partition("$$")
    words = (word.rpartition(".")[2] for word in head.casefold().replace("or replace", "").split())
    return sorted(words), body.split()
