"""What commands print for programs: JSON and CSV on standard output."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
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
    """The attributes ``columns`` of a row for JSON, as `for_json` has them."""
    return for_json({column: getattr(row, column) for column in columns})


def for_json(values: Mapping) -> dict:
    """The values of a row for JSON: exact points and instants as text, and many values as a list."""
    return {
        name: value if value is None or isinstance(value, bool | int | tuple) else value_text(value)
        for name, value in values.items()
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


def print_json_rows(answer: Mapping, name: str, rows: Iterable[Mapping]) -> None:
    """Print ``answer`` as JSON with the list ``name`` at its end, of which there may be any number of
    ``rows``: they are printed while they are read."""
    head = json.dumps(answer, indent=2, ensure_ascii=False).removesuffix("\n}")
    sys.stdout.write("\n".join(map(_seen, head.split("\n"))) + f',\n  "{name}": [')
    separator = ""
    for row in rows:
        lines = json.dumps(row, indent=2, ensure_ascii=False).split("\n")
        sys.stdout.write(separator + "".join(f"\n    {_seen(line)}" for line in lines))
        separator = ","
    sys.stdout.write(("\n  ]" if separator else "]") + "\n}\n")


def print_csv(rows: Iterable[Mapping], columns: Sequence[str] = ()) -> None:
    """Print ``rows`` as CSV, while they are read; no text in it is a formula (docs/cases.md, R23).

    Their heading is ``columns``, by default the keys of the first row. Points and instants are text as
    `value_text` has it, and nothing where there is none.
    """
    rows = iter(rows)
    if not columns:
        if (first := next(rows, None)) is None:
            return
        columns, rows = list(first), chain([first], rows)
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows([_cell(name, row[name]) for name in columns] for row in rows)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value_text(value)
    # A minus makes no formula of a number; but what people wrote may hold anything.
    return value if name not in FREE_TEXTS and _NUMBER.fullmatch(value) else harmless_text(value)
