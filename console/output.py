"""What commands print for programs: JSON and CSV on standard output."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated

import typer

from ledger.amounts import value_text
from ledger.spreadsheet_text import FREE_TEXTS, harmless_text

_NUMBER = re.compile(r"-?[0-9]+([.][0-9]+)?")


def only_one(context: typer.Context, is_asked: bool) -> bool:
    """Refuse two of --json, --csv and --xml together, in whichever order they stand."""
    if is_asked and any(context.params.get(f"as_{form}") for form in ("json", "csv", "xml")):
        raise typer.BadParameter("print one of JSON, CSV and XML at a time")
    return is_asked


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, points as exact text.", callback=only_one)]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.", callback=only_one)]


def printed(as_json: bool, as_csv: bool, answer: dict | list, rows: list | None = None) -> bool:
    """Print ``answer``, a row or many, as JSON, or it or in its place ``rows`` as CSV; return whether either
    is asked for."""
    if as_json:
        print_json(answer)
    elif as_csv:
        found = answer if rows is None else rows
        print_csv(found if isinstance(found, list) else [found])
    return as_json or as_csv


def values_of(row: object, columns: Sequence[str]) -> dict:
    """A row for JSON: exact points and instants as text."""
    values = {column: getattr(row, column) for column in columns}
    return {
        column: value if isinstance(value, bool | int) else value_text(value)
        for column, value in values.items()
    }


def print_json(value: object) -> None:
    """Print ``value`` as JSON; exact numbers are text in it already."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Within its strings JSON has written line breaks as \\n already.
    sys.stdout.write("\n".join(map(_seen, text.split("\n"))) + "\n")


def _seen(line: str) -> str:
    """A line of JSON, with what is not to be seen in its strings (docs/cases.md, S33) as JSON escapes it."""
    if line.isprintable():
        return line
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in line
    )


def print_csv(rows: Iterable[dict], header: Sequence[str] = ()) -> None:
    """Print ``rows`` as CSV, below ``header``, by default the keys of the first; no text in it is a formula
    (docs/cases.md, R23)."""
    rows = iter(rows)
    first = next(rows, None)
    if header or first:
        writer = csv.DictWriter(sys.stdout, header or list(first))
        writer.writeheader()
        writer.writerows(map(_harmless, chain(filter(None, [first]), rows)))


def _harmless(row: dict) -> dict:
    return {name: harmless_text(value) if _is_text(name, value) else value for name, value in row.items()}


def _is_text(name: str, value: object) -> bool:
    """Whether a cell may hold anything: not where it is a number, which a minus makes no formula."""
    return isinstance(value, str) and (name in FREE_TEXTS or not _NUMBER.fullmatch(value))
