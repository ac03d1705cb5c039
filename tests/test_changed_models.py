"""Models that change between closes: each month closes by its own, readers have all (CASES.md, X22, X23)."""

import shutil
from pathlib import Path

import pytest

from orchestration import dbt_project
from orchestration.dbt_manifest import definitions_folder
from orchestration.dbt_project import mark_parse, models_sha256, parse_sha256
from orchestration.runs import new_run_folder


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of a few files in place of this one."""
    root = tmp_path / "project"
    for name, text in {
        "dbt_project.yml": "name: outstanding_points\n",
        "profiles.yml": "outstanding_points: {}\n",
        "dbt_project/models/marts/balances.sql": "select 1 as points\n",
        "dbt_project/models/marts/balances.yml": "models: []\n",
        "seeds/rules.csv": "reason\n",
        "tests/data/assert_truth.sql": "select 1 where false\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(dbt_project, "PROJECT_ROOT", root)
    return root


def begin_run(home: Path) -> bytes | None:
    """Begin a run and leave a parse in it; return the one that it was given, if any."""
    parsed = new_run_folder(home) / "target/partial_parse.msgpack"
    given = parsed.read_bytes() if parsed.exists() else None
    parsed.parent.mkdir(exist_ok=True)
    parsed.write_bytes(parsed.parent.parent.name.encode())
    return given


def test_a_parse_is_handed_on_while_the_project_stays_the_same(project, tmp_path):
    """CASES.md, X23."""
    assert [begin_run(tmp_path / "home") for _ in range(3)] == [None, b"000001", b"000002"]


def test_a_homes_first_run_takes_the_parse_of_its_checkout(project, tmp_path, monkeypatch):
    """CASES.md, X23: as `make dev` left it, and that of no other project."""
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    parse = definitions_folder()
    (parse / "target").mkdir(parents=True)
    (parse / "target/partial_parse.msgpack").write_bytes(b"definitions")
    mark_parse(parse, parse_sha256())
    assert [begin_run(tmp_path / "home") for _ in range(2)] == [b"definitions", b"000001"]
    change_a_model(project)
    assert begin_run(tmp_path / "another") is None


def change_a_model(project: Path) -> None:
    (project / "dbt_project/models/marts/balances.sql").write_text("select 2 as points\n")


def add_a_test(project: Path) -> None:
    (project / "tests/data/assert_more.sql").write_text("select 1 where false\n")


def drop_a_description(project: Path) -> None:
    (project / "dbt_project/models/marts/balances.yml").unlink()


def rename_a_seed(project: Path) -> None:
    (project / "seeds/rules.csv").rename(project / "seeds/other_rules.csv")


def change_the_profile(project: Path) -> None:
    (project / "profiles.yml").write_text("outstanding_points: {target: dev}\n")


@pytest.mark.parametrize(
    "change", [change_a_model, add_a_test, drop_a_description, rename_a_seed, change_the_profile]
)
def test_a_parse_of_other_files_is_never_handed_on(project, tmp_path, change):
    """CASES.md, X23: nor is that of the first project once more, after a run of the other."""
    begin_run(tmp_path / "home")
    first = tmp_path / "first"
    shutil.copytree(project, first)
    change(project)
    assert begin_run(tmp_path / "home") is None
    shutil.rmtree(project)
    first.rename(project)
    assert begin_run(tmp_path / "home") is None
    assert begin_run(tmp_path / "home") == b"000003"


def test_a_parse_of_the_same_files_elsewhere_or_by_another_dbt_is_not_handed_on(
    project, tmp_path, monkeypatch
):
    """CASES.md, X23: dbt remembers paths, and another version parses otherwise."""
    begin_run(tmp_path / "home")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    monkeypatch.setattr(dbt_project, "PROJECT_ROOT", elsewhere)
    assert begin_run(tmp_path / "home") is None
    monkeypatch.setattr(dbt_project, "version", lambda name: "1.11.99")
    assert begin_run(tmp_path / "home") is None


def test_the_hash_of_the_models_changes_with_models_alone(project):
    before = models_sha256()
    rename_a_seed(project)
    change_the_profile(project)
    model = project / "dbt_project/models/marts/balances.sql"
    model.write_bytes(model.read_bytes().replace(b"\n", b"\r\n"))
    assert models_sha256() == before
    change_a_model(project)
    assert models_sha256() != before
