"""Free text in CSV files: what a spreadsheet would take for a formula gets an apostrophe, and what reads such
files takes that apostrophe off again (docs/cases.md, R23 and R27).

A spreadsheet that separates cells by semicolons, tabs or line breaks begins a cell behind each of them,
quoted or not: in ``paid;=1+1`` the second cell is a formula. So a text may begin several cells, and where one
would be a formula the apostrophe goes before it: ``paid;'=1+1``. A text that has such an apostrophe of its
own gets another, so that reading takes off exactly what writing added. Full-width signs count as their plain
ones. The patterns stand in dbt_project.yml, because models read such files too.
"""

import re
from functools import cache, lru_cache

from ledger.settings import spreadsheet_patterns
from ledger.shown_text import shown_in_cell
from ledger.sql_text import literal

# What people, or other programs, wrote; everything else has a pattern of its own.
FREE_TEXTS = ("comment", "external_reference", "recorded_by", "batch_id")


# Who recorded a row, and its batch, are the same in many rows; most comments are empty.
@lru_cache(maxsize=10_000)
def harmless_text(text: str) -> str:
    """``text`` as a spreadsheet or a terminal may show it: no formula, and nothing that acts on either."""
    formula, blank = _patterns()
    return blank.sub(r"'\1", formula.sub(r"\1'\2", shown_in_cell(text)))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    patterns = spreadsheet_patterns()
    return re.compile(patterns["cell"] + patterns["formula"]), re.compile("^" + patterns["blank"])


def as_written_in_sql(text: str) -> str:
    """The DuckDB expression that takes off what `harmless_text` added to the expression ``text``."""
    patterns = spreadsheet_patterns()
    formula = literal(patterns["cell"] + "'" + patterns["formula"])
    blank = literal("^'" + patterns["blank"])
    stripped = f"regexp_replace({text}, {formula}, '\\1\\2', 'g')"
    # Most texts have no apostrophe, and to look for one takes a tenth of the time.
    return f"case when contains({text}, '''') then regexp_replace({stripped}, {blank}, '\\1') else {text} end"
