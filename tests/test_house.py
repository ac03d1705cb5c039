"""The law of the house: who may import whom, what is tracked, what every setting needs."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT_ROOT

# Each room, and the rooms that it may import from.
ROOMS = {"ledger": set(), "orchestration": {"ledger"}, "console": {"orchestration", "ledger"}}


def imported_rooms(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_below_it(room):
    for file in (PROJECT_ROOT / room).rglob("*.py"):
        assert imported_rooms(file) <= ROOMS[room] | {room}, file


def test_every_setting_of_the_models_stands_in_the_example_with_its_default():
    macro = (PROJECT_ROOT / "dbt_project/macros/settings.sql").read_text(encoding="utf-8")
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    defaults = re.findall(r'"(POINTS_\w+)": "([^"]*)"', macro)
    assert len(defaults) > 10
    for name, default in defaults:
        assert f"# {name}={default}\n" in example, name


def test_every_setting_that_python_reads_stands_in_the_example():
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    for room in ROOMS:
        for file in (PROJECT_ROOT / room).rglob("*.py"):
            for name in re.findall(r"\"(POINTS_[A-Z_]+)\"", file.read_text(encoding="utf-8")):
                assert f"# {name}=" in example, (file, name)


def test_what_readme_and_contributing_name_is_there():
    for document in ("README.md", "CONTRIBUTING.md", "DECISIONS.md"):
        text = (PROJECT_ROOT / document).read_text(encoding="utf-8")
        paths = re.findall(r"`((?:seeds|dbt_project|orchestration|console|tests|benchmarks)/[\w./]*)`", text)
        for path in paths:
            assert (PROJECT_ROOT / path).exists(), (document, path)


def test_no_lock_names_an_index_and_everything_in_it_has_a_hash():
    for lock in PROJECT_ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        packages = re.findall(r"^[a-z0-9][\w.\[\]-]*==\S+.*(?:\n    .*)*", text, re.MULTILINE)
        assert len(packages) > 50
        for package in packages:
            assert "--hash=sha256:" in package, package.splitlines()[0]


def test_run_state_is_not_tracked():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        assert name == "var/.gitignore" or not name.startswith(("var/", "target/", "logs/")), name
        assert not name.endswith((".duckdb", ".sqlite3")), name
