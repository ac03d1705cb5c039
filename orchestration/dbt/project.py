"""The dbt project of this checkout, by the content of its files.

What was parsed or built from other files, or by another dbt, is known by its hash and never taken for this
project's (docs/cases.md, X23).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from ledger.settings import PROJECT_ROOT

# Of what a build's numbers come, beside the seeds and the settings.
_MODELS = ("dbt_project.yml", "dbt_project")
# All that dbt parses: the paths of dbt_project.yml, and that file itself.
_PARSED = (*_MODELS, "profiles.yml", "seeds", "tests/data")
_PARSERS = ("dbt-core", "dbt-adapters", "dbt-duckdb")


def models_sha256() -> str:
    """One hash over the models and macros, their descriptions and contracts, with any line ends."""
    return _sha256(
        [name, path.read_bytes().replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")]
        for name, path in _files(_MODELS)
    )


def parse_sha256() -> str:
    """One hash over all that a parse depends on, except the environment, which dbt tracks itself.

    Where the project stands is part of it, for dbt remembers paths.
    """
    return _sha256(
        [
            ["root", str(PROJECT_ROOT)],
            *([name, version(name)] for name in _PARSERS),
            *([name, hashlib.sha256(path.read_bytes()).hexdigest()] for name, path in _files(_PARSED)),
        ]
    )


def mark_parse(folder: Path, project: str) -> None:
    """Remember of which project (`parse_sha256`) the parse is that dbt keeps in ``folder``."""
    _mark(folder).write_text(project, encoding="utf-8")


def is_parse_of(folder: Path, project: str) -> bool:
    """Whether what dbt keeps in ``folder`` was parsed from this very project."""
    return _mark(folder).exists() and _mark(folder).read_text(encoding="utf-8") == project


def _mark(folder: Path) -> Path:
    return folder / "parsed_project.sha256"


def _files(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each file by its path within the project, in order."""
    for name in names:
        path = PROJECT_ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                yield file.relative_to(PROJECT_ROOT).as_posix(), file


def _sha256(parts: Iterable[list[str]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode("utf-8") + b"\n")
    return digest.hexdigest()
