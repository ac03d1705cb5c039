"""The rules that a row of a file of transfers must keep (DESIGN.md, section 5; CASES.md, R1 to R9), in SQL.

Patterns, reasons and currencies stand elsewhere, once: in dbt_project.yml and in `seeds/`. The models judge
raw files by the same rules (`dbt_project/macros/transfer_rules.sql`); a test sends both the same rows.
"""

from dataclasses import dataclass

import duckdb

from ledger.files.quarantine import HISTORY
from ledger.models import STATUSES, STYLES
from ledger.rules import currencies, reasons
from ledger.settings import Settings, transfer_patterns
from ledger.sql_text import literal, literals
from ledger.zones import Zone

_IDENTIFIER = "1 to 128 letters, digits or ._:@/#+=~&|-, a letter or digit first"
_INSTANT = "an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199"
_PLAIN_TEXT = "no control characters but tabs and line breaks"


@dataclass(frozen=True)
class Rule:
    """A rule with its code and the column that it is about, '' for the row as a whole.

    ``broken_when`` is a DuckDB condition over the typed columns of `judge_rows`; what concerns several rows
    has none.
    """

    code: str
    column: str
    broken_when: str
    expected: str


ID_CONFLICT = Rule(
    "ID_CONFLICT", "transfer_id", "", "the same content wherever a transfer_id stands, in the ledger too"
)
# It is tried last, and not of a transfer that the ledger holds: that is a duplicate first (`row_verdicts`).
REVERSES = Rule(
    "REVERSES",
    "reverses_transfer_id",
    "reverses_transfer_id <> '' and reason <> 'revocation'",
    "nothing, since only a row of the reason revocation undoes another transfer",
)
# Such a row is not bad, but kept beside those that are (CASES.md, R25).
OLDER_STATUS = Rule(
    HISTORY, "status_changed_at", "", "a later instant, for the transfer has a status since then that stays"
)
STATUS_TRANSITION = Rule(
    "STATUS_TRANSITION", "status", "", "no other status after approved or cancelled, which are final"
)


def row_rules() -> tuple[Rule, ...]:
    """The rules in the order in which they are tried: the first one broken is the row's verdict."""

    def is_identifier(column: str) -> str:
        return _full_match(column, transfer_patterns()["identifier"])

    def has_control_character(column: str) -> str:
        return rf"regexp_matches({column}, '[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')"

    return (
        Rule("FIELDS", "", "has_wrong_field_count", "as many fields as the header has columns"),
        Rule("TRANSFER_ID", "transfer_id", f"not {is_identifier('transfer_id')}", _IDENTIFIER),
        Rule(
            "RELATION_REFERENCE",
            "relation_reference",
            f"not {is_identifier('relation_reference')}",
            _IDENTIFIER,
        ),
        Rule(
            "CURRENCY",
            "currency",
            f"currency not in {literals(currencies())}",
            "a currency of points_currencies.csv",
        ),
        Rule("STYLE", "style", f"style not in {literals(STYLES)}", " or ".join(STYLES)),
        Rule(
            "POINTS",
            "points",
            "coalesce(points, 0) <= 0",
            "more than zero, at most 14 digits before the point and 4 after it, plain digits",
        ),
        Rule(
            "REASON",
            "reason",
            "concat_ws(' ', reason, style) not in "
            + literals(tuple(f"{reason} {style}" for reason, style in reasons())),
            "a reason that transfer_reasons.csv allows for the style",
        ),
        Rule(
            "STATUS",
            "status",
            f"status not in {literals(STATUSES)}",
            f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}",
        ),
        Rule("OCCURRED_AT", "occurred_at", "occurred_at is null", _INSTANT),
        Rule(
            "STATUS_CHANGED_AT",
            "status_changed_at",
            "status_changed_at is null and says_status_changed_at",
            f"{_INSTANT}, or nothing",
        ),
        Rule(
            "REVERSES_TRANSFER_ID",
            "reverses_transfer_id",
            f"reverses_transfer_id <> '' and not {is_identifier('reverses_transfer_id')}",
            "the transfer_id of another transfer, or nothing",
        ),
        Rule(
            "CONTROL_CHAR",
            "external_reference",
            has_control_character("external_reference"),
            _PLAIN_TEXT,
        ),
        Rule("CONTROL_CHAR", "comment", has_control_character("comment"), _PLAIN_TEXT),
        REVERSES,
    )


def judge_rows(database: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Make the table ``judged_rows`` of `sent_rows`, which is of `file_rows.TRANSFERS_SHAPE`.

    It has ``row_number``, the number of the first rule that the row breaks as ``broken_rule`` (from 0, null
    for a good row), and the columns of a transfer as the ledger keeps them: ``points`` in ten-thousandths,
    instants in microseconds, what is not said as its default.
    """
    rules = "\n".join(f"when {rule.broken_when} then {number}" for number, rule in enumerate(row_rules()))
    database.execute("drop table if exists judged_rows")
    database.execute(
        f"""
        create table judged_rows as
        with typed as (
            select
                row_number,
                coalesce(transfer_id, '') as transfer_id,
                coalesce(relation_reference, '') as relation_reference,
                coalesce(nullif(currency, ''), {literal(settings.default_currency)}) as currency,
                coalesce(style, '') as style,
                {_points("points")} as points,
                coalesce(reason, '') as reason,
                coalesce(nullif(status, ''), 'approved') as status,
                {_instant("status_changed_at", settings.zone)} as status_changed_at,
                {_instant("occurred_at", settings.zone)} as occurred_at,
                coalesce(reverses_transfer_id, '') as reverses_transfer_id,
                coalesce(external_reference, '') as external_reference,
                coalesce(comment, '') as comment,
                coalesce(status_changed_at, '') <> '' as says_status_changed_at,
                has_wrong_field_count
            from (
                select
                    *,
                    timezone('UTC', try_cast(status_changed_at as timestamptz)) as status_changed_at_in_utc,
                    timezone('UTC', try_cast(occurred_at as timestamptz)) as occurred_at_in_utc
                from sent_rows
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
