"""The sample of `seeds/`, built by dbt once for the tests that look at what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ledger.settings import PROJECT_ROOT
from tests.conftest import run_dbt


@dataclass(frozen=True)
class SampleBuild:
    """A finished `dbt build` in ``folder``."""

    folder: Path

    @property
    def database(self) -> Path:
        """What it wrote."""
        return self.folder / "dev.duckdb"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """dbt's manifest of it."""
        return json.loads((self.folder / "target" / "manifest.json").read_text(encoding="utf-8"))

    def get_test_sql(self) -> dict[str, str]:
        """The compiled SQL of every data test, by name. It returns the rows that fail."""
        return {
            node["name"]: node["compiled_code"]
            for node in self.manifest["nodes"].values()
            if node["resource_type"] == "test"
        }


def build_sample(home: Path) -> None:
    """Build the sample, with its tests, into an empty `POINTS_HOME`.

    Raises AssertionError, with what dbt said, where the build or one of its tests fails.
    """
    finished = run_dbt(
        ["build", "--no-use-colors", "--selector=without_unit_tests"],
        {
            "POINTS_HOME": str(home),
            "DBT_TARGET_PATH": str(home / "target"),
            "DBT_LOG_PATH": str(home / "logs"),
        },
        PROJECT_ROOT,
    )
    assert finished.returncode == 0, finished.stdout
