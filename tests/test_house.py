"""The law of the house: who may import whom, what is tracked, what every setting needs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.models import STATUSES, STYLES
from ledger.settings import declared_settings, settings_example, transfer_rules
from tests.conftest import PROJECT_ROOT

# Each room, and the rooms that it may import from.
ROOMS = {
    "ledger": set(),
    "simulator": {"ledger"},
    "orchestration": {"ledger"},
    "console": {"orchestration", "simulator", "ledger"},
}


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


def test_the_example_of_settings_is_their_declaration():
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    assert example == settings_example(), "run `python -m ledger.settings > .env.example`"


def test_the_models_read_declared_settings_with_their_defaults():
    macro = (PROJECT_ROOT / "dbt_project/macros/settings.sql").read_text(encoding="utf-8")
    defaults = dict(re.findall(r'"(POINTS_\w+)": "([^"]*)"', macro))
    assert len(defaults) > 10
    declared = {setting.name: setting.default for setting in declared_settings()}
    assert defaults.items() <= declared.items()


# Where zone data are read, and where those of others are compared with them.
ASK_FOR_ZONES = {"ledger/zones.py", "orchestration/upkeep/zone_data.py", "dbt_project/macros/zones.sql"}


def test_only_the_reader_of_the_list_looks_up_a_zone():
    """docs/cases.md, X21: Python, DuckDB, PostgreSQL and Spark have each their own data."""
    files = [path for room in ROOMS for path in (PROJECT_ROOT / room).rglob("*.py")]
    files += [
        path for folder in ("dbt_project", "tests/data") for path in (PROJECT_ROOT / folder).rglob("*.sql")
    ]
    asking = re.compile(
        r"zoneinfo|astimezone\((?!UTC\))|(?<!\w)timezone\((?!'UTC')|at time zone|(from|to)_utc_timestamp",
        re.IGNORECASE,
    )
    found = {str(path.relative_to(PROJECT_ROOT)) for path in files if asking.search(path.read_text("utf-8"))}
    assert found - ASK_FOR_ZONES == set()


# What only who works on the code may set stands in CONTRIBUTING instead.
FOR_DEVELOPERS = {"POINTS_FAIL_AT"}


def test_every_setting_that_python_names_is_declared():
    declared = {setting.name for setting in declared_settings()}
    contributing = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for room in ROOMS:
        for file in (PROJECT_ROOT / room).rglob("*.py"):
            for name in re.findall(r"\"(POINTS_[A-Z_]+)\"", file.read_text(encoding="utf-8")):
                if name in FOR_DEVELOPERS:
                    assert f"`{name}`" in contributing, (file, name)
                else:
                    assert name in declared, (file, name)


def test_what_the_rules_allow_is_what_the_ledger_knows():
    allowed = {rule["code"]: tuple(rule["values"]) for rule in transfer_rules() if rule["kind"] == "values"}
    assert allowed == {"STYLE": STYLES, "STATUS": STATUSES}


DOCUMENTS = [*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_what_a_document_names_is_there(document):
    text = document.read_text(encoding="utf-8")
    rooms = "seeds|dbt_project|ledger|simulator|orchestration|console|docs|tests|benchmarks"
    for path in re.findall(rf"`((?:{rooms})/[\w./]*)`", text):
        assert (PROJECT_ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / link).exists(), link


def test_every_command_that_a_document_shows_is_one_of_points():
    known = set(re.findall(r"^  ([a-z-]+) ", _help(), re.MULTILINE))
    assert len(known) > 20
    for document in DOCUMENTS:
        for name in re.findall(r"`points ([a-z][a-z-]+)", document.read_text(encoding="utf-8")):
            assert name in known, (document.name, name)


def _help() -> str:
    return subprocess.run(
        [Path(sys.executable).with_name("points"), "--help"], capture_output=True, text=True, check=True
    ).stdout


def test_run_state_is_not_tracked():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        assert name == "var/.gitignore" or not name.startswith(("var/", "target/", "logs/")), name
        assert not name.endswith((".duckdb", ".sqlite3")), name
