"""What commands print for programs: JSON and CSV on standard output."""

import csv
import json
import sys
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, points as exact text.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def print_json(value: object) -> None:
    """Print ``value`` as JSON; exact numbers are text in it already."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_csv(rows: list[dict]) -> None:
    """Print ``rows``, whose keys are the header, as CSV."""
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
