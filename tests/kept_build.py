"""A finished build of dbt, kept to be put where the same one would be made again."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from orchestration import runs
from orchestration.dbt.invocation import NodeProgress, read_statuses, target_folder
from orchestration.runs import build_database

# Makes a command of `tests.ready_command` take such a build; it must be of the very same home and entries.
KEPT_BUILD = "POINTS_TEST_KEPT_BUILD"


def keep_build(home: Path, kept: Path) -> Path:
    """Keep what dbt made in the newest run of ``home``."""
    newest = max((home / "runs").iterdir())
    shutil.copyfile(build_database(newest), build_database(kept))
    shutil.copytree(target_folder(newest), target_folder(kept))
    return kept


def take_build(kept: Path) -> None:
    """Let this process take a kept build wherever it would have dbt make one."""
    runs.stream_dbt = _copy_build(kept)


def _copy_build(kept: Path) -> Callable[..., Iterator[NodeProgress]]:
    def stream_dbt(
        arguments: list[str], environment: Mapping[str, str], folder: Path, dbt: object, **options: bool
    ) -> Iterator[NodeProgress]:
        shutil.copyfile(build_database(kept), build_database(folder))
        shutil.copytree(target_folder(kept), target_folder(folder), dirs_exist_ok=True)
        statuses = read_statuses(target_folder(folder))
        for position, (unique_id, status) in enumerate(statuses.items(), start=1):
            kind, _, name = unique_id.split(".")[:3]
            yield NodeProgress(unique_id, name, kind, status, position, len(statuses), 0.0, None)

    return stream_dbt
