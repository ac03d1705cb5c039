"""Descriptions of marts and their columns: written beside the models, and shown in the databases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ledger.sql_text import identifier, literal


@dataclass(frozen=True)
class Description:
    """What a table or view is, and what each of its columns is, in one line each."""

    text: str
    columns: Mapping[str, str]


def read_descriptions(target: Path) -> dict[str, Description]:
    """The descriptions of the marts, which are public, from the artifacts of a run of dbt in ``target``."""
    nodes = json.loads((target / "manifest.json").read_bytes())["nodes"].values()
    return {
        node["name"]: Description(
            _line(node["description"]),
            {name: _line(column["description"]) for name, column in node["columns"].items()},
        )
        for node in nodes
        if node["resource_type"] == "model" and node["access"] == "public"
    }


def comment_on(connection: duckdb.DuckDBPyConnection, kind: str, name: str, description: Description) -> None:
    """Let a table or view (``kind``) say what it is; columns that it does not have are passed over."""
    connection.execute(f"comment on {kind} {identifier(name)} is {literal(description.text)}")
    there = {
        column[0] for column in connection.execute(f"select * from {identifier(name)} limit 0").description
    }
    for column in there & description.columns.keys():
        text = literal(description.columns[column])
        connection.execute(f"comment on column {identifier(name)}.{identifier(column)} is {text}")


def _line(text: str) -> str:
    return " ".join(text.split())
