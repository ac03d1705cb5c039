"""The YAML of dbt says what dbt understands, and describes everything that is there.

On DuckDB dbt itself passes a key that it does not know (`desciption:`); its own JSON schemas do
not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dbt.jsonschemas.jsonschemas import CustomDraft7Validator, project_schema, resources_schema

from tests.conftest import PROJECT_ROOT
from tests.sample_build import SampleBuild

PROJECT_FILE = PROJECT_ROOT / "dbt_project.yml"
MODELS = sorted((PROJECT_ROOT / "dbt_project" / "models").rglob("*.sql"))
MARTS = [path for path in MODELS if path.parent.name == "marts"]
SEEDS = sorted((PROJECT_ROOT / "seeds").glob("*.csv"))
RESOURCE_FILES = sorted(
    path
    for folder in ("dbt_project", "seeds", "tests/data")
    for path in (PROJECT_ROOT / folder).rglob("*.y*ml")
)

# What a relation's column is called where it is described: valid on DuckDB and on Spark.
DESCRIBED_TYPES = {
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "BOOLEAN": "boolean",
    "BIGINT": "bigint",
    "INTEGER": "integer",
    "DECIMAL(38,4)": "decimal(38,4)",
    "DECIMAL(18,4)": "decimal(18,4)",
}


def list_faults(schema: dict[str, Any], text: str) -> list[str]:
    """What dbt's JSON schema says of a YAML text: where and what, one sentence for each fault."""
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in CustomDraft7Validator(schema).iter_errors(yaml.safe_load(text))
    ]


def list_columns(text: str) -> list[dict[str, Any]]:
    """The columns that a file of one model or seed describes."""
    content = yaml.safe_load(text)
    (resource,) = content.get("models") or content["seeds"]
    return resource.get("columns", [])


def test_the_project_file_is_what_dbt_understands() -> None:
    assert list_faults(project_schema(), PROJECT_FILE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", RESOURCE_FILES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_a_file_is_what_dbt_understands(path: Path) -> None:
    assert list_faults(resources_schema(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("key", ["desciption", "data_test", "colums"])
def test_a_misspelt_key_of_a_model_is_caught(key: str) -> None:
    text = MODELS[0].with_suffix(".yml").read_text(encoding="utf-8")
    misspelt = re.sub(r"^    description:", f"    {key}:", text, count=1, flags=re.MULTILINE)
    (fault,) = list_faults(resources_schema(), misspelt)
    assert key in fault


def test_a_misspelt_key_of_the_project_file_is_caught() -> None:
    text = PROJECT_FILE.read_text(encoding="utf-8").replace("seed-paths:", "seeds-path:")
    (fault,) = list_faults(project_schema(), text)
    assert "seeds-path" in fault


# A seed that no model reads: dbt leaves it alone.
NOT_LOADED = "certification_statements"


def list_built(sample: SampleBuild, name: str) -> dict[str, str]:
    """The columns of what the sample's build made, in order, each with its type as descriptions say it."""
    with duckdb.connect(sample.database, read_only=True) as connection:
        built = connection.execute(
            "select column_name, data_type from duckdb_columns() where table_name = ? order by column_index",
            [name],
        ).fetchall()
    return {column: DESCRIBED_TYPES[data_type] for column, data_type in built}


@pytest.mark.parametrize("path", [*MARTS, *SEEDS], ids=lambda path: path.stem)
def test_what_people_read_or_edit_is_described_beside_it_column_by_column(
    path: Path, sample: SampleBuild
) -> None:
    columns = list_columns(path.with_suffix(".yml").read_text(encoding="utf-8"))
    described = [(column["name"], column["data_type"]) for column in columns]
    built = list_built(sample, path.stem)
    if path.stem == NOT_LOADED:
        built = dict.fromkeys(path.read_text(encoding="utf-8").partition("\n")[0].split(","), "string")
    assert described == list(built.items())
    assert all(column["description"].strip() for column in columns)


def test_every_other_column_is_described_where_it_begins(sample: SampleBuild) -> None:
    """A column that is carried on is described once, so that one that is added is added in few places."""
    nodes = {**sample.manifest["nodes"], **sample.manifest["sources"]}

    def described(unique_id: str) -> dict[str, str]:
        """Each column that a node or what it reads describes, with its type."""
        read = nodes[unique_id].get("depends_on", {}).get("nodes", [])
        inherited = {name: kind for parent in read for name, kind in described(parent).items()}
        own = {name: column["data_type"] for name, column in nodes[unique_id]["columns"].items()}
        return inherited | own

    for path in MODELS:
        unique_id = f"model.outstanding_points.{path.stem}"
        columns = nodes[unique_id]["columns"]
        assert all(column["description"].strip() for column in columns.values()), path.stem
        built = list_built(sample, path.stem)
        if nodes[unique_id]["config"]["materialized"] != "ephemeral":
            assert built.keys() <= described(unique_id).keys(), path.stem
            assert {name: column["data_type"] for name, column in columns.items()}.items() <= built.items()


@pytest.mark.parametrize("path", [*MODELS, *SEEDS], ids=lambda path: path.stem)
def test_a_description_ends_with_the_grain(path: Path) -> None:
    content = yaml.safe_load(path.with_suffix(".yml").read_text(encoding="utf-8"))
    (resource,) = content.get("models") or content["seeds"]
    *_, last_sentence = resource["description"].strip().split(". ")
    assert last_sentence.startswith("One row for each")


def test_every_mart_runs_under_its_contract(sample: SampleBuild) -> None:
    enforced = {
        node["name"]
        for node in sample.manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["contract"]["enforced"]
    }
    assert enforced == {path.stem for path in MARTS}


def test_a_description_that_two_columns_share_is_a_doc_block() -> None:
    written = Counter(
        (column["name"], column["description"])
        for path in [*MODELS, *SEEDS]
        for column in list_columns(path.with_suffix(".yml").read_text(encoding="utf-8"))
        if "{{ doc(" not in column["description"]
    )
    assert [column for column, times in written.items() if times > 1] == []


def test_the_selector_of_an_analysts_day_leaves_out_unit_tests_alone(sample: SampleBuild) -> None:
    results = json.loads((sample.folder / "target" / "run_results.json").read_bytes())["results"]
    built = {result["unique_id"] for result in results}
    assert sample.manifest["unit_tests"]
    assert not built & sample.manifest["unit_tests"].keys()
    assert built >= {
        unique_id
        for unique_id, node in sample.manifest["nodes"].items()
        if node["config"]["materialized"] != "ephemeral"
    }
