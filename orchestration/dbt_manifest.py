"""dbt's manifest, of which assets and checks are made: parsed anew when the dbt project has changed.

Parsing needs no warehouse, no transfers and no home, so definitions load in a fresh clone. ``make dev``
parses before it starts Dagster (``python -m orchestration.dbt_manifest``); a load then only reads.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ledger.settings import PROJECT_ROOT
from orchestration.dbt_run import stream_dbt, target_folder
from orchestration.run_lock import run_lock

# What dbt parses: the paths of dbt_project.yml, and that file itself.
SOURCES = (
    "dbt_project.yml",
    "profiles.yml",
    "dbt_project",
    "seeds",
    "tests/data",
    "requirements.lock",
)


def read_manifest() -> dict[str, Any]:
    """The manifest of the dbt project as it stands; raises `DbtFailed` where dbt cannot parse it.

    It is kept apart from that of a ``dbt build`` by hand, which rewrites its own while it runs.
    """
    folder = PROJECT_ROOT / (os.environ.get("DBT_TARGET_PATH") or "target") / "definitions"
    manifest = target_folder(folder) / "manifest.json"
    if not _is_fresh(manifest):
        with run_lock(folder, "dbt parse", wait_seconds=120):
            if not _is_fresh(manifest):
                for _ in stream_dbt(["parse"], {"POINTS_HOME": str(folder)}, folder):
                    pass
    return json.loads(manifest.read_bytes())


def _is_fresh(manifest: Path) -> bool:
    """Files are compared with each other, never with a clock; a folder changes when a file in it goes."""
    if not manifest.exists():
        return False
    parsed = manifest.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns < parsed for path in _sources())


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        path = PROJECT_ROOT / name
        yield path
        yield from path.rglob("*")


if __name__ == "__main__":
    read_manifest()
