"""dbt's manifest, of which assets and checks are made: parsed anew when the dbt project has changed.

Parsing needs no warehouse, no transfers and no home, so definitions load in a fresh clone. ``make dev``
parses before it starts Dagster (``python -m orchestration.dbt.manifest``); a load then only reads.
"""

import json
import os
from pathlib import Path
from typing import Any

from ledger.settings import PROJECT_ROOT
from orchestration.dbt.invocation import stream_dbt, target_folder
from orchestration.dbt.project import is_parse_of, mark_parse, parse_sha256
from orchestration.run_lock import run_lock

# Every run's database has the name that it had when the project was parsed, and lies in the run's own folder:
# each node of a manifest that is handed on names the database that it goes to.
BUILD_DATABASE_NAME = "build.duckdb"


def definitions_folder() -> Path:
    """Where this checkout's manifest is kept for Dagster's definitions.

    It is apart from that of a ``dbt build`` by hand, which rewrites its own while it runs.
    """
    return PROJECT_ROOT / (os.environ.get("DBT_TARGET_PATH") or "target") / "definitions"


def read_manifest() -> dict[str, Any]:
    """The manifest of the dbt project as it is now; raises `DbtFailed` where dbt cannot parse it."""
    folder = definitions_folder()
    project = parse_sha256()
    if not is_parse_of(folder, project):
        with run_lock(folder, "dbt parse", wait_seconds=120):
            if not is_parse_of(folder, project):
                environment = {"POINTS_HOME": str(folder), "POINTS_BUILD_DATABASE": BUILD_DATABASE_NAME}
                for _ in stream_dbt(["parse"], environment, folder):
                    pass
                mark_parse(folder, project)
    return json.loads((target_folder(folder) / "manifest.json").read_bytes())


if __name__ == "__main__":
    read_manifest()
