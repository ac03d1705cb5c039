"""The rules that a row of a file of transfers must keep (docs/design.md, section 5; docs/cases.md, R1 to R9),
in SQL.

What they are stands elsewhere, once: in dbt_project.yml and in `seeds/`. The models render the same list
(`dbt_project/macros/transfer_rules.sql`); a test sends both the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

from ledger.files.file_rows import TRANSFERS_SHAPE
from ledger.files.quarantine import HISTORY
from ledger.models import STYLES
from ledger.rules import currencies, reasons
from ledger.settings import Settings, transfer_patterns, transfer_rules
from ledger.sql_text import literal, literals
from ledger.zones import Zone


@dataclass(frozen=True)
class Rule:
    """A rule with its code and the column that it is about, '' for the row as a whole.

    ``broken_when`` is a DuckDB condition over the typed columns of `judge_rows`; what concerns several rows
    has none. ``also_broken_when`` is it for a row that breaks an earlier rule: what follows from that one
    alone is no finding of its own.
    """

    code: str
    column: str
    broken_when: str
    expected: str
    also_broken_when: str = ""


ID_CONFLICT = Rule(
    "ID_CONFLICT", "transfer_id", "", "the same content wherever a transfer_id stands, in the ledger too"
)
# Such a row is not bad, but kept beside those that are (docs/cases.md, R25).
OLDER_STATUS = Rule(
    HISTORY, "status_changed_at", "", "a later instant, for the transfer has a status since then that stays"
)
STATUS_TRANSITION = Rule(
    "STATUS_TRANSITION", "status", "", "no other status after approved or cancelled, which are final"
)
# Of the transfers of a move: one that is new, and a status that it does not have.
MOVE_IN_FILE = Rule(
    "REASON",
    "reason",
    "",
    "another reason, since points are moved between accounts by `points move` or `points mass` alone",
)
MOVE_STATUS = Rule(
    "STATUS_TRANSITION",
    "status",
    "",
    "the status that the move has, which `points approve`, `hold` and `cancel` change for both its transfers",
)
REVOKES_MOVE = Rule(
    "REVERSES",
    "reverses_transfer_id",
    "",
    "no transfer of a move, both of which `points revoke` undoes together",
)


@cache
def row_rules() -> tuple[Rule, ...]:
    """The rules in the order in which they are tried: the first one broken is the row's verdict."""
    columns = ("", *TRANSFERS_SHAPE.columns)
    return tuple(
        Rule(
            rule["code"],
            rule["column"],
            _broken_when(**rule),
            rule["expected"],
            _also_broken_when(rule["kind"], _broken_when(**rule)),
        )
        for rule in transfer_rules()
        if rule["column"] in columns
    )


def rule_number(code: str) -> int:
    """The place of the rule with a code of its own in `row_rules`, which stands in ``broken_rule``."""
    return [rule.code for rule in row_rules()].index(code)


def _broken_when(
    column: str,
    kind: str,
    pattern: str = "",
    values: Sequence[str] = (),
    optional: bool = False,
    **_: str,
) -> str:
    """When a row breaks a rule, as a condition over the columns of `judge_rows`, whose text is never null."""
    sent = f"says_{column}" if kind == "instant" else f"{column} <> ''"
    if kind == "field_count":
        broken = "has_wrong_field_count"
    elif kind == "pattern":
        broken = f"not {_full_match(column, transfer_patterns()[pattern])}"
    elif kind == "currency":
        broken = f"{column} not in {literals(currencies())}"
    elif kind == "values":
        broken = f"{column} not in {literals(values)}"
    elif kind == "points":
        broken = f"coalesce({column}, 0) <= 0"
    elif kind == "reason":
        pairs = literals(f"{reason} {style}" for reason, style in reasons())
        broken = f"concat_ws(' ', {column}, style) not in {pairs}"
    elif kind == "instant":
        broken = f"{column} is null"
    elif kind == "revocation_only":
        broken = f"{sent} and reason <> 'revocation'"
    else:
        raise KeyError(kind)
    return f"{sent} and {broken}" if optional else broken


def _also_broken_when(kind: str, broken: str) -> str:
    if kind != "reason":
        return f"not has_wrong_field_count and {broken}"
    # Of a style that is none, no reason is right.
    known = literals(sorted({reason for reason, _ in reasons()}))
    return (
        f"not has_wrong_field_count and {broken} and (style in {literals(STYLES)} or reason not in {known})"
    )


def judge_rows(database: duckdb.DuckDBPyConnection, settings: Settings, rows: str = "sent_rows") -> None:
    """Make the table ``judged_rows`` of ``rows``, which has the columns of `file_rows.TRANSFERS_SHAPE`.

    It has ``row_number``, the number of the first rule that the row breaks as ``broken_rule`` (from 0, null
    for a good row), and the columns of a transfer as the ledger keeps them: ``points`` in ten-thousandths,
    instants in microseconds, what is not said as its default.
    """
    kept = {
        "currency": f"coalesce(nullif(currency, ''), {literal(settings.default_currency)})",
        "points": _points("points"),
        "status": "coalesce(nullif(status, ''), 'approved')",
        "status_changed_at": _instant("status_changed_at", settings.zone),
        "occurred_at": _instant("occurred_at", settings.zone),
    }
    columns = ", ".join(
        kept.get(name, f"coalesce({name}, '')") + f" as {name}" for name in TRANSFERS_SHAPE.columns
    )
    rules = "\n".join(f"when {rule.broken_when} then {number}" for number, rule in enumerate(row_rules()))
    database.execute("drop table if exists judged_rows")
    database.execute(
        f"""
        create table judged_rows as
        with typed as (
            select
                row_number,
                {columns},
                coalesce(status_changed_at, '') <> '' as says_status_changed_at,
                has_wrong_field_count
            from (
                select
                    *,
                    timezone('UTC', try_cast(status_changed_at as timestamptz)) as status_changed_at_in_utc,
                    timezone('UTC', try_cast(occurred_at as timestamptz)) as occurred_at_in_utc
                from {rows}
            )
        )
        select
            * exclude (says_status_changed_at, has_wrong_field_count),
            cast(case {rules} end as tinyint) as broken_rule
        from typed
        """
    )


def _points(text: str) -> str:
    """A text as ten-thousandths of a point; null where it is no such number."""
    # Four places written out, without the point, are the ten-thousandths; to multiply is twenty times as slow
    # where the most that points can be still fits.
    exact = f"cast(cast({text} as decimal(18, 4)) as varchar)"
    return (
        f"case when {_full_match(text, transfer_patterns()['points'])}"
        f" then cast(replace({exact}, '.', '') as bigint) end"
    )


def _instant(column: str, zone: Zone) -> str:
    """A column's text as microseconds since 1970; null where it is no instant. Without an offset it is a wall
    clock of the programme's zone. ``<column>_in_utc`` is it with its offset, or else as if it were in UTC."""
    patterns = transfer_patterns()
    in_utc = f"{column}_in_utc"
    return (
        f"case when {column} is null or not {_full_match(column, patterns['instant'])} then null"
        f" when {_full_match(column, '.*' + patterns['instant_offset'])} then epoch_us({in_utc})"
        f" else epoch_us({zone.to_utc_in_sql(in_utc)}) end"
    )


def _full_match(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"
