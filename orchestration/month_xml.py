"""The XML of a month: each relation reference's report and roll-forward, under the facts of the month
(docs/design.md, section 9).

``schemas/outstanding_points.xsd`` says its form. DuckDB writes finished lines, as it does of CSV, in the same
memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ledger.data_files import read_csv
from ledger.settings import PROJECT_ROOT
from ledger.sql_text import identifier, literal

SCHEMA = PROJECT_ROOT / "orchestration" / "schemas" / "outstanding_points.xsd"
XML_END = b"</outstanding_points>\n"


def xml_copy(balances: str, columns: Sequence[str], facts: Mapping[str, str], path: Path) -> str:
    """The statement that writes ``balances``, a relation of rows of `outstanding_points_by_month`, with their
    ``columns`` of points; ``facts`` are attributes of the root.

    A relation reference may hold an ampersand, and nothing else that XML means something by.
    """
    root = "".join(f" {name}={quoteattr(value)}" for name, value in facts.items())
    heading = f'<?xml version="1.0" encoding="UTF-8"?>\n<outstanding_points{root}>'
    values = {"relation_reference": "replace(relation_reference, '&', '&amp;')"} | {
        column: f"points_text({column})" for column in columns
    }
    attributes = " || ".join(f"""' {name}="' || {value} || '"'""" for name, value in values.items())
    return f"""
        copy (
            select line as {identifier(heading)} from (
                select 1 as part, relation_reference, '  <relation' || {attributes} || '/>' as line
                from {balances}
                union all
                select 2, '', {literal(XML_END.decode().rstrip())}
            ) order by part, relation_reference
        ) to {literal(path)} (format csv, header true, delimiter '', quote '', escape '')
    """


def read_month_xml(path: Path) -> str:
    """A DuckDB relation of the elements of a month's XML file, each as it stands there."""
    lines = read_csv(path, {"line": "varchar"}, header=False, delimiter="", quote="", new_line=r"\n")
    return f"(select line as relation from {lines} where starts_with(line, '  <relation '))"
