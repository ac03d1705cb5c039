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
from ledger.sql_text import literal

SCHEMA = PROJECT_ROOT / "orchestration" / "schemas" / "outstanding_points.xsd"
XML_END = b"</outstanding_points>\n"


def xml_copy(
    relation: str, columns: Sequence[str], facts: Mapping[str, str], path: Path, is_empty: bool
) -> str:
    """The statement that writes the rows of ``relation``, in their order: a relation reference, and
    ``columns`` of points as text. ``facts`` are attributes of the root; ``is_empty`` says that there are no
    rows.

    A relation reference may hold an ampersand, and nothing else that XML means something by.
    """
    root = "".join(f" {name}={quoteattr(value)}" for name, value in facts.items())
    beginning = f'<?xml version="1.0" encoding="UTF-8"?>\n<outstanding_points{root}>\n'
    values = {"relation_reference": "replace(relation_reference, '&', '&amp;')"}
    values |= dict(zip(columns, columns, strict=True))
    # A quote that ends an attribute and what begins the next are one literal: half the time of two.
    attributes = """ || '" """.join(f"""{name}="' || {value}""" for name, value in values.items())
    # DuckDB writes line ends between rows alone.
    end = XML_END.decode() if is_empty else f"\n{XML_END.decode()}"
    return f"""
        copy (
            select '  <relation {attributes} || '"/>'
            from {relation}
        ) to {literal(path)} (
            format csv, header false, delimiter '', quote '', escape '',
            prefix {literal(beginning)}, suffix {literal(end)}
        )
    """


def read_month_xml(path: Path) -> str:
    """A DuckDB relation of the elements of a month's XML file, each as it stands there."""
    lines = read_csv(path, {"line": "varchar"}, header=False, delimiter="", quote="", new_line=r"\n")
    return f"(select line as relation from {lines} where starts_with(line, '  <relation '))"
