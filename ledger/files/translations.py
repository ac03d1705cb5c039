"""Translates the rows of another system's file into ours as it is imported (docs/design.md, section 5).

What was sent stays in `sent_rows`, which refusals and the quarantine quote; what is judged are the rows of
`translated_rows`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from ledger.errors import PointsError
from ledger.files.file_rows import TRANSFERS_SHAPE, FileShape, LoadedFile, load_rows
from ledger.files.transfers_file import sent_file
from ledger.models import STYLES
from ledger.rules import reasons
from ledger.shown_text import shown
from ledger.sql_text import literal

_REASONS_SHAPE = FileShape(needed=("their_reason", "reason"), optional=("their_sign", "style"))
_STYLE_OF_SIGN = {"+": "give", "-": "deduct"}
_ZERO = "[+-]?0{1,14}([.]0{1,4})?"
_TIME = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")


class ReasonsRefused(PointsError):
    """A file that translates reasons has a row that translates nothing; ``line`` is where."""

    code = "REASONS"

    def __init__(self, path: Path, line: int, problem: str, remedy: str) -> None:
        super().__init__(f"REASONS: {path}, line {line:,}, {problem}; {remedy}.")


class DateTimeInvalid(PointsError):
    """What dates alone are to be taken for is no time of day."""

    code = "DATE_AT"

    def __init__(self, text: str) -> None:
        super().__init__(f"DATE_AT: {text!r} is no time of day; write it as hours and minutes, like 00:00.")


@dataclass(frozen=True)
class Translation:
    """How another system's file says what ours says; by itself it changes nothing.

    With ``signed_points`` a file has no style: points with a minus are deducted, all others given. A date
    without a time has the wall clock ``date_at``, ``hh:mm``, in the programme's zone. ``reasons`` is a CSV
    file: what the other system writes as a reason (``their_reason``), the sign for which it means that
    (``their_sign``: ``+``, ``-``, or empty for both), our ``reason``, and our ``style`` where it is not the
    sign's. A file without signs has a plus where its ``style`` is give, or where it has no ``style``. With
    ``skips_zero`` rows of zero points are left out. Raises `DateTimeInvalid`.
    """

    signed_points: bool = False
    date_at: str = ""
    reasons: Path | None = None
    skips_zero: bool = False

    def __post_init__(self) -> None:
        if self.date_at and not _TIME.fullmatch(self.date_at):
            raise DateTimeInvalid(self.date_at)

    @property
    def shape(self) -> FileShape:
        """The columns of such a file, which need not have a style where the sign or the reason says it."""
        shape = replace(TRANSFERS_SHAPE, takes_dates=bool(self.date_at))
        if not self._makes_style:
            return shape
        needed = tuple(name for name in shape.needed if name != "style")
        return replace(shape, needed=needed, optional=("style", *shape.optional))

    def columns(self, sent: Collection[str]) -> tuple[str, ...]:
        """The columns that the translated rows say where a file has those of ``sent``."""
        return (*sent, "style") if self._makes_style and "style" not in sent else tuple(sent)

    @property
    def expected(self) -> Mapping[str, str]:
        """What is expected of a row in other words than the rule's, by the rule's code."""
        expected = {}
        if self.reasons:
            name = shown(self.reasons.name)
            expected["REASON"] = f"a text that {name} translates for its sign into a reason and a style"
        if self.signed_points:
            expected["POINTS"] = (
                "other than zero, with a sign or without, at most 14 digits before the point and 4 after it"
            )
        if self.date_at:
            for code in ("OCCURRED_AT", "STATUS_CHANGED_AT"):
                expected[code] = (
                    "an instant like 2026-10-31T23:59:59Z or a date like 2026-10-31, of the years 1990 to"
                    " 2199"
                )
        return expected

    def translate(self, database: duckdb.DuckDBPyConnection, loaded: LoadedFile) -> str:
        """Make ``translated_rows`` of ``sent_rows`` and return the name of the rows to judge.

        `load_reasons` has been called. Where nothing is to be translated they are ``sent_rows`` themselves.
        Raises `TransfersFileRefused` where the file says in a column what its signs are to say.
        """
        if self == Translation():
            return "sent_rows"
        if self.signed_points and "style" in loaded.columns:
            raise loaded.sent.refused(
                "HEADER",
                "has a column 'style', though the signs of its points are to say it",
                "leave the column out (--ignore-columns), or --signed-points",
            )
        style, sign = "style", "case style when 'give' then '+' when 'deduct' then '-' else '' end"
        if self.signed_points:
            sign = "case when starts_with(points, '-') then '-' else '+' end"
            style = "case when starts_with(points, '-') then 'deduct' else 'give' end"
        elif self.reasons:
            style, sign = "coalesce(style, 'give')", f"case when style is null then '+' else {sign} end"
        points = "regexp_replace(points, '^[+-]', '')" if self.signed_points else "points"
        instants = ", ".join(
            f"{self._instant(name)} as {name}" for name in ("occurred_at", "status_changed_at")
        )
        is_left_out = f"regexp_full_match(points, {literal(_ZERO)}) and not has_wrong_field_count"
        translated = f"""
            select * replace ({points} as points, {instants}), {sign} as sign, {style} as own_style
            from sent_rows
            where {f"not coalesce({is_left_out}, false)" if self.skips_zero else "true"}
        """
        reason, style, joins = "translated.reason", "translated.own_style", ""
        if self.reasons:
            # A translation for the very sign goes before one for both.
            reason = "coalesce(exact.reason, either.reason, '')"
            style = f"coalesce(nullif(coalesce(exact.style, either.style), ''), {style}, '')"
            joins = """
                left join reason_translations as exact
                    on translated.reason = exact.their_reason and translated.sign = exact.their_sign
                left join reason_translations as either
                    on translated.reason = either.their_reason and either.their_sign = ''
            """
        database.execute(
            f"""
            create or replace table translated_rows as
            select
                translated.* exclude (sign, own_style, reason, style),
                {reason} as reason,
                {style} as style
            from ({translated}) as translated
            {joins}
            """
        )
        return "translated_rows"

    @property
    def _makes_style(self) -> bool:
        return self.signed_points or self.reasons is not None

    def _instant(self, column: str) -> str:
        if not self.date_at:
            return column
        is_date = f"regexp_full_match({column}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}')"
        return f"case when {is_date} then {column} || 'T{self.date_at}:00' else {column} end"

    def load_reasons(self, database: duckdb.DuckDBPyConnection) -> None:
        """Make the table ``reason_translations`` of the file of ``reasons``, where there is one.

        Raises `TransfersFileRefused` for a file that is no such CSV, and `ReasonsRefused`.
        """
        if not self.reasons:
            return
        loaded = load_rows(database, sent_file(self.reasons), _REASONS_SHAPE)
        rows = database.execute(
            "select row_number, has_wrong_field_count, their_reason, coalesce(their_sign, ''), reason,"
            " coalesce(style, '') from sent_rows order by row_number"
        ).fetchall()
        lines = loaded.lines(number for number, *_ in rows)
        seen: set[tuple[str, str]] = set()
        for number, is_uneven, theirs, sign, reason, style in rows:
            if is_uneven:
                problem = "has more or fewer fields than the header", "give it as many"
            elif sign not in ("", *_STYLE_OF_SIGN):
                problem = f"has the sign {sign!r}", "write + or -, or nothing for both"
            elif (theirs, sign) in seen:
                problem = f"translates {theirs!r} a second time for the same sign", "leave one of them out"
            elif style and style not in STYLES:
                problem = f"has the style {style!r}", "write give or deduct, or nothing for the sign's"
            elif not _is_allowed(sign, reason, style):
                problem = (
                    f"translates {theirs!r} into {reason!r}, which is no reason of transfer_reasons.csv for"
                    " that style",
                    "name one that is",
                )
            else:
                seen.add((theirs, sign))
                continue
            raise ReasonsRefused(self.reasons, lines[number], *problem)
        database.execute(
            "create or replace table reason_translations as select their_reason,"
            " coalesce(their_sign, '') as their_sign, reason, coalesce(style, '') as style from sent_rows"
        )


def _is_allowed(sign: str, reason: str, style: str) -> bool:
    """Whether a translation leads to a reason and style that there are, for one sign at least."""
    styles = [style] if style else [_STYLE_OF_SIGN[sign]] if sign else STYLES
    return any((reason, one) in reasons() for one in styles)
