"""The sample of `seeds/`, built once by dbt for the tests that look at what came of it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class SampleBuild:
    """A finished `dbt build`: the database that it wrote, and dbt's manifest of it."""

    database: Path
    manifest: dict[str, Any]

    def get_test_sql(self) -> dict[str, str]:
        """The compiled SQL of every data test, by name. It returns the rows that fail."""
        return {
            node["name"]: node["compiled_code"]
            for node in self.manifest["nodes"].values()
            if node["resource_type"] == "test"
        }


@functools.cache
def build_sample(home: Path) -> SampleBuild:
    """Build the sample, with its tests, into an empty `POINTS_HOME`; once for each home.

    Raises AssertionError, with what dbt said, where the build or one of its tests fails.
    """
    home.mkdir(parents=True)
    target = home / "target"
    environment = {name: value for name, value in os.environ.items() if "POINTS_" not in name}
    finished = subprocess.run(
        [
            Path(sys.executable).with_name("dbt"),
            "build",
            "--no-use-colors",
            "--exclude-resource-type=unit_test",
        ],
        cwd=ROOT,
        env=environment
        | {
            "POINTS_HOME": str(home),
            "DBT_TARGET_PATH": str(target),
            "DBT_LOG_PATH": str(home / "logs"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return SampleBuild(home / "dev.duckdb", manifest)
