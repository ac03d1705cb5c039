"""The triggers by which the database itself refuses whatever is not an append: are they still there?

What they must be stands in one place, the migration that makes them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from django.db import connection

from ledger.errors import PointsError
from ledger.models import LEDGER_TABLES

_MAKING_THEM = "ledger.migrations.0002_append_only"
# PostgreSQL's pg_trigger.tgtype of a trigger before update, delete or truncate, for each statement.
_BEFORE_ANY_CHANGE = 2 | 8 | 16 | 32


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
        told = ", ".join(map(str, unguarded[:3])) + (", …" if len(unguarded) > 3 else "")
        count = "one trigger" if len(unguarded) == 1 else f"{len(unguarded)} triggers"
        finding = f"{count} that guard it are not as they were made ({told})"
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
    """What made each trigger (and PostgreSQL's function), by its name."""
    editor = connection.schema_editor(collect_sql=True)
    import_module(_MAKING_THEM).refuse_changes(None, editor)
    return {
        re.match(r"\s*create (?:trigger|function) (\w+)", statement)[1]: statement.strip().removesuffix(";")
        for statement in editor.collected_sql
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
            select t.tgname, c.relname, t.tgenabled, t.tgtype, t.tgqual is null, t.tgfoid::regproc::text
            from pg_trigger as t
            join pg_class as c on c.oid = t.tgrelid
            where not t.tgisinternal
                and c.oid in (select to_regclass(name) from unnest(%s::text[]) as n (name))
            """,
            [list(LEDGER_TABLES)],
        )
        for name, table, enabled, kind, unconditional, function in cursor.fetchall():
            as_made = (f"{table}_append_only", _BEFORE_ANY_CHANGE, True, True)
            if enabled not in ("O", "A"):
                states[name] = "switched off"
            elif (name, kind, unconditional, function in statements) == as_made:
                states[name] = "sound"
            else:
                states[name] = "changed"
        for name, statement in statements.items():
            cursor.execute("select prosrc from pg_proc where oid = to_regproc(%s)", [name])
            if body := cursor.fetchone():
                expected = statement.split("$$")[1]
                states[name] = "sound" if body[0].split() == expected.split() else "changed"
        cursor.execute(
            "select rulename from pg_rules"
            " where schemaname = any (current_schemas(false)) and tablename = any (%s::text[])",
            [list(LEDGER_TABLES)],
        )
        states.update({name: "unknown" for (name,) in cursor.fetchall()})
    return states
