"""dbt's seeds and models as assets, its data tests as their checks: one each, under dbt's own names."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, build_dbt_asset_specs

from ledger.errors import PointsError
from orchestration.dbt.invocation import NodeProgress
from orchestration.required_tests import tests_in_manifest


class TestWithoutModel(PointsError):
    """A test reads several models and does not name the one that it checks."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The dbt test {name} reads several models but does not name the one that it checks: add to its"
            " config, meta={'dagster': {'ref': {'name': '<model>'}}}."
        )


class _Translator(DagsterDbtTranslator):
    """Groups assets as the project's folders do: seeds, staging, intermediate, marts."""

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        is_seed = dbt_resource_props["resource_type"] == "seed"
        return "seeds" if is_seed else dbt_resource_props["fqn"][1]


class DbtNodes:
    """The assets and checks of dbt's manifest, and dbt's results as theirs.

    ``asset_specs`` has one for each seed and model, ``check_specs`` one for each data test. Raises
    `TestWithoutModel`.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.asset_specs = list(
            build_dbt_asset_specs(manifest=manifest, dagster_dbt_translator=_Translator())
        )
        self._asset_keys = {spec.metadata["dagster_dbt/unique_id"]: spec.key for spec in self.asset_specs}
        tests = {unique_id: manifest["nodes"][unique_id] for unique_id in tests_in_manifest(manifest)}
        self._check_keys = {
            unique_id: dg.AssetCheckKey(self._asset_keys[_checked_node(test, manifest)], test["name"])
            for unique_id, test in tests.items()
        }
        self.check_specs = [
            dg.AssetCheckSpec(
                name=key.name,
                asset=key.asset_key,
                description=tests[unique_id]["description"] or None,
                metadata={"dagster_dbt/unique_id": unique_id},
            )
            for unique_id, key in self._check_keys.items()
        ]

    def selected(self, context: dg.AssetExecutionContext) -> list[str]:
        """The names, for dbt, of the models and tests that a run is asked for."""
        wanted = {*context.selected_asset_keys, *context.selected_asset_check_keys}
        return [
            unique_id.split(".")[2]
            for unique_id, key in {**self._asset_keys, **self._check_keys}.items()
            if key in wanted
        ]

    def result(self, step: NodeProgress) -> dg.MaterializeResult | dg.AssetCheckResult | None:
        """What dbt says of a node, as Dagster's: None where a seed or model was not built."""
        metadata = {
            "status": step.status,
            "seconds": step.seconds,
            "dagster_dbt/unique_id": step.unique_id,
        }
        if key := self._check_keys.get(step.unique_id):
            return dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=step.status == "pass",
                metadata={**metadata, "failed_rows": step.failed_rows or 0},
            )
        if step.status != "success":
            return None
        return dg.MaterializeResult(asset_key=self._asset_keys[step.unique_id], metadata=metadata)


def _checked_node(test: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The unique id of what a test checks: where it stands, what it names, or the one that it reads."""
    if test.get("attached_node"):
        return test["attached_node"]
    named = test["config"]["meta"].get("dagster", {}).get("ref", {}).get("name")
    read = set(test["depends_on"]["nodes"])
    candidates = [node for node in read if named is None or manifest["nodes"][node]["name"] == named]
    if len(candidates) != 1:
        raise TestWithoutModel(test["name"])
    return candidates[0]
