"""Who may read which model, and whether what is said of the lineage is what dbt's manifest has."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import jinja2
import pytest
import yaml
from dbt.parser.schemas import is_valid_type
from dbt_common.clients.jinja import get_environment

from orchestration.provisional import NAMES
from tests.conftest import PROJECT_ROOT
from tests.sample_build import SampleBuild


@pytest.fixture(scope="module")
def manifest(sample: SampleBuild) -> dict[str, Any]:
    return sample.manifest


def list_models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def test_marts_alone_are_public_and_no_other_model_is_read_from_outside(manifest: dict[str, Any]) -> None:
    access = {(node["fqn"][1], node["access"], node["group"]) for node in list_models(manifest)}
    assert access == {
        ("staging", "private", "programme_reporting"),
        ("intermediate", "private", "programme_reporting"),
        ("marts", "public", "programme_reporting"),
    }


def test_what_an_exposure_names_is_public(manifest: dict[str, Any]) -> None:
    for exposure in manifest["exposures"].values():
        for unique_id in exposure["depends_on"]["nodes"]:
            assert manifest["nodes"][unique_id]["access"] == "public", (exposure["name"], unique_id)


def test_the_exposure_of_the_database_names_what_is_in_it(manifest: dict[str, Any]) -> None:
    exposure = manifest["exposures"]["exposure.outstanding_points.bi_tools"]
    assert sorted(unique_id.split(".")[2] for unique_id in exposure["depends_on"]["nodes"]) == sorted(NAMES)


def test_every_edge_in_the_picture_of_the_overview_is_one(manifest: dict[str, Any]) -> None:
    overview = (PROJECT_ROOT / "dbt_project/models/overview.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"```text\n(.*?)```", overview, re.DOTALL)
    drawn = {
        edge for line in picture.splitlines() for edge in pairwise(name.strip() for name in line.split("→"))
    }
    edges = {
        (parent.split(".", 2)[2], child.split(".", 2)[2])
        for parent, children in manifest["child_map"].items()
        for child in children
    }
    assert len(drawn) > 20
    assert drawn <= edges, drawn - edges


def test_what_the_evaluator_is_to_take_for_a_test_of_a_key_is_there(manifest: dict[str, Any]) -> None:
    project = yaml.safe_load((PROJECT_ROOT / "dbt_project.yml").read_text(encoding="utf-8"))
    for names in project["vars"]["dbt_project_evaluator"]["primary_key_test_macros"]:
        assert {f"macro.{name}" for name in names} <= manifest["macros"].keys()


def list_own_macros(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """This project's macros by name, each that is dispatched once: not also as one engine spells it."""
    macros = [macro for macro in manifest["macros"].values() if macro["package_name"] == "outstanding_points"]
    own = {macro["name"]: macro for macro in macros}

    def is_variant(name: str) -> bool:
        engine, _, dispatched = name.partition("__")
        return dispatched in own or (engine != "default" and f"default__{dispatched}" in own)

    return {name: macro for name, macro in own.items() if not is_variant(name)}


def test_every_macro_is_described_and_its_arguments_are_with_their_types(manifest: dict[str, Any]) -> None:
    own = list_own_macros(manifest)
    assert len(own) > 50
    for name, macro in own.items():
        (parsed,) = get_environment().parse(macro["macro_sql"]).find_all(jinja2.nodes.Macro)
        taken = [argument.name for argument in parsed.args]
        assert macro["description"], name
        assert [argument["name"] for argument in macro["arguments"]] == taken, name
        for argument in macro["arguments"]:
            assert is_valid_type(argument["type"]), (name, argument)
            assert argument["description"], (name, argument)
