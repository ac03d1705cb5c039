"""Models that change between closes: each month closes by its own, readers have all (docs/cases.md, X22,
X23)."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import yaml

from ledger.closes import ClosedMonth
from orchestration import runs
from orchestration.close.closing import close_months
from orchestration.close.comparison import compare_files
from orchestration.dbt import invocation
from orchestration.dbt import project as dbt_project
from orchestration.dbt.descriptions import Description, comment_on
from orchestration.dbt.invocation import DbtFailed, stream_dbt
from orchestration.dbt.parse import kept_parse
from orchestration.dbt.project import mark_parse, models_sha256, parse_sha256
from orchestration.mart_contract import (
    ADDED_COLUMNS,
    ContractBroken,
    check_contract,
    figure_columns,
    mart_contract,
)
from orchestration.month_files import HISTORY, PARQUET_FILES, PROVISIONAL, UNPOSTED, named
from orchestration.provisional import DATABASE_NAME, NAMES, write_provisional_database
from orchestration.published.database import export_database
from orchestration.published.layout import database_file, revision_folder
from orchestration.published.manifests import Column, list_columns, read_columns, read_manifest
from orchestration.published.month_views import (
    MonthFile,
    describe_months,
    find_month_files,
    join_months,
)
from orchestration.reports import read_report
from orchestration.runs import build_database, new_run_folder, stream_build
from orchestration.upkeep.verification import verify_all
from tests.conftest import PROJECT_ROOT, answer


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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "stream_dbt", leave_parse)
    monkeypatch.setattr(runs, "check_contract", lambda database: None)
    return root


def run_once(home: Path) -> bytes | None:
    """Let a run build and leave a parse, its name, behind; return the one that dbt took, if any."""
    run_folder = new_run_folder(home)
    given = list(stream_build({}, run_folder))
    return given[0] if given else None


def leave_parse(
    arguments: list[str], environment: Mapping[str, str], folder: Path, dbt: None, takes_kept_parse: bool
) -> Iterator[bytes]:
    """In place of dbt: yield the parse that it would take, and leave one as it does."""
    if takes_kept_parse and (parse := kept_parse()):
        yield parse
    (folder / "target/partial_parse.msgpack").write_bytes(folder.name.encode())


def test_a_parse_is_handed_on_while_the_project_stays_the_same(project, tmp_path):
    """docs/cases.md, X23: to other homes too."""
    assert [run_once(tmp_path / "home") for _ in range(3)] == [None, b"000001", b"000002"]
    assert run_once(tmp_path / "another") == b"000003"


@pytest.mark.slow
def test_the_parse_of_the_project_depends_on_no_setting(tmp_path):
    """What one run left behind is handed to the next one, whose settings are others."""
    parsed = []
    for name, settings in {
        "plain": {},
        "other": {
            "POINTS_DEFAULT_CURRENCY": "MILES",
            "POINTS_TIME_ZONE": "Asia/Tokyo",
            "POINTS_MONTH_START_DAY": "15",
            "POINTS_FIRST_MONTH": "2026-02",
            "POINTS_THROUGH_MONTH": "2026-03",
            "POINTS_UPTO_ENTRY_ID": "21",
            "POINTS_OPENING_CUTOFF": "7",
            "POINTS_OPENING_MONTH": "2026-01",
            "POINTS_TRANSFER_ROWS": "transfer_rows",
        },
    }.items():
        environment = {"POINTS_HOME": str(tmp_path / name), "POINTS_BUILD_DATABASE": "build.duckdb"}
        list(stream_dbt(["parse"], environment | settings, tmp_path / name))
        manifest = json.loads((tmp_path / name / "target/manifest.json").read_bytes())
        for node in [*manifest["nodes"].values(), *manifest["sources"].values()]:
            node.pop("created_at", None)
            # Which macros were called says nothing of what can be: a run has all of them.
            node.get("depends_on", {}).pop("macros", None)
        parsed.append({kind: manifest[kind] for kind in ("nodes", "sources", "child_map", "macros")})
    for kind in parsed[0]:
        for unique_id, node in parsed[0][kind].items():
            other = parsed[1][kind][unique_id]
            if kind == "macros":
                node, other = node["macro_sql"], other["macro_sql"]
            assert node == other, unique_id


def test_dbt_takes_no_parse_unless_it_is_allowed_to(tmp_path, monkeypatch):
    """docs/cases.md, S21: none of a folder ever; the kept one not where a few models are built by hand."""
    asked = []

    class Dbt:
        returncode = 0
        stdout = ()
        stdin = io.StringIO()

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            arguments, _, _, takes_kept_parse = json.loads(self.stdin.getvalue().splitlines()[-1])
            asked.append(("--no-partial-parse" in arguments, takes_kept_parse))

    monkeypatch.setattr(invocation, "start_dbt", Dbt)
    list(stream_dbt(["build"], {}, tmp_path))
    list(stream_dbt(["build"], {}, tmp_path, takes_kept_parse=True))
    assert asked == [(True, False), (True, True)]


@pytest.mark.slow
def test_a_process_of_dbt_imports_nothing_from_where_a_command_is_called(tmp_path):
    for name in ("json", "dbt", "duckdb", "orchestration"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('a stranger's {name}')")
    script = (
        "import sys; from pathlib import Path; from orchestration.dbt import invocation\n"
        "with invocation.start_dbt() as dbt:\n"
        "    invocation.send_command(dbt, ['--version'], {}, Path.cwd())\n"
        "    print(dbt.stdout.read())\n"
        "sys.exit(dbt.returncode)"
    )
    called = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
    )
    assert "installed: 1.11" in answer(called)


def make_a_parse_of_a_home(kept: Path, home: Path) -> None:
    """What earlier releases took, mark and all."""
    parsed = home / "runs/000001/target/partial_parse.msgpack"
    parsed.write_bytes(b"theirs")
    mark_parse(parsed.parent.parent, parse_sha256())
    kept.unlink()


def alter_the_kept_parse(kept: Path, home: Path) -> None:
    kept.write_bytes(kept.read_bytes() + b"more")


def let_others_write_it(kept: Path, home: Path) -> None:
    kept.parent.chmod(0o770)


def give_it_to_another_user(kept: Path, home: Path) -> None:
    os.chown(kept.parent, 12345, -1)


def make_it_a_link(kept: Path, home: Path) -> None:
    kept.rename(home / "theirs")
    kept.symlink_to(home / "theirs")


@pytest.mark.parametrize(
    "attack",
    [
        make_a_parse_of_a_home,
        alter_the_kept_parse,
        let_others_write_it,
        pytest.param(
            give_it_to_another_user,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="Only root may give a folder away."),
        ),
        make_it_a_link,
    ],
)
def test_a_parse_that_others_could_have_written_is_not_taken(project, tmp_path, attack):
    """docs/cases.md, S21."""
    home = tmp_path / "home"
    run_once(home)
    (kept,) = (tmp_path / "cache/outstanding-points/parses").iterdir()
    attack(kept, home)
    assert run_once(home) is None


def test_a_parse_in_a_folder_that_others_may_write_to_is_not_kept(project, tmp_path, monkeypatch):
    """docs/cases.md, S21."""

    def open_to_others(arguments, environment, folder, dbt, takes_kept_parse):
        yield from leave_parse(arguments, environment, folder, dbt, takes_kept_parse)
        (folder / "target").chmod(0o777)

    monkeypatch.setattr(runs, "stream_dbt", open_to_others)
    assert [run_once(tmp_path / "home") for _ in range(2)] == [None, None]


def test_of_parses_the_newest_few_are_kept(project, tmp_path):
    for number in range(12):
        (project / "dbt_project/models/marts/balances.sql").write_text(f"select {number} as points")
        run_once(tmp_path / "home")
    assert len(list((tmp_path / "cache/outstanding-points/parses").iterdir())) == 8


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
    """docs/cases.md, X23: that of the first project is, once more, and none of the other's."""
    run_once(tmp_path / "home")
    first = tmp_path / "first"
    shutil.copytree(project, first)
    change(project)
    assert run_once(tmp_path / "home") is None
    shutil.rmtree(project)
    first.rename(project)
    assert run_once(tmp_path / "home") == b"000001"


def test_a_parse_of_the_same_files_elsewhere_or_by_another_dbt_is_not_handed_on(
    project, tmp_path, monkeypatch
):
    """docs/cases.md, X23: dbt remembers paths, and another version parses otherwise."""
    run_once(tmp_path / "home")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    monkeypatch.setattr(dbt_project, "PROJECT_ROOT", elsewhere)
    assert run_once(tmp_path / "home") is None
    monkeypatch.setattr(dbt_project, "version", lambda name: "1.11.99")
    assert run_once(tmp_path / "home") is None


def test_the_hash_of_the_models_changes_with_models_alone(project):
    before = models_sha256()
    rename_a_seed(project)
    change_the_profile(project)
    model = project / "dbt_project/models/marts/balances.sql"
    model.write_bytes(model.read_bytes().replace(b"\n", b"\r\n"))
    assert models_sha256() == before
    change_a_model(project)
    assert models_sha256() != before


def month_file(path: Path, query: str, description: str = "", **columns: str) -> MonthFile:
    """A Parquet file of what a query gives; ``columns`` are what its manifest says that they are."""
    duckdb.execute(f"copy ({query}) to '{path}' (format parquet)")
    return MonthFile(path, description, read_columns(path, columns))


def read_joined(files: list[MonthFile]) -> list[dict[str, object]]:
    result = duckdb.execute(f"from ({join_months(files)}) order by 1")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def test_months_are_joined_by_the_names_of_their_columns(tmp_path):
    """docs/cases.md, X22: gained, lost, renamed and in another order; where a month has none it is null."""
    files = [
        month_file(tmp_path / "1.parquet", "select 1 as month, 10.5::decimal(38, 4) as points, 'a' as note"),
        month_file(tmp_path / "2.parquet", "select 'b' as remark, 20::decimal(38, 4) as points, 2 as month"),
        month_file(
            tmp_path / "3.parquet", "select 3 as month, 30::decimal(38, 4) as points, 'c' as \"NOTE\""
        ),
    ]
    assert [tuple(row.values()) for row in read_joined(files)] == [
        (1, Decimal("10.5"), "a", None),
        (2, Decimal(20), None, "b"),
        (3, Decimal(30), "c", None),
    ]
    assert list(read_joined(files)[0]) == ["month", "points", "note", "remark"]


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        ("1", "'gold'", ["1", "gold"]),
        ("1", "date '2025-03-01'", ["1", "2025-03-01"]),
        ("7", "true", ["7", "true"]),
        ("[1, 2]", "9223372036854775807", ["[1, 2]", "9223372036854775807"]),
        ("1.5::decimal(38, 4)", "1.5::double", ["1.5000", "1.5"]),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_column_that_months_have_in_different_types_is_text(tmp_path, first, second, texts, is_reversed):
    """docs/cases.md, X22: whichever came first, and beside a month without it. DuckDB alone makes 1 of
    true."""
    files = [
        month_file(tmp_path / "1.parquet", f"select 1 as month, {first} as tier"),
        month_file(tmp_path / "2.parquet", f'select 2 as month, {second} as "Tier"'),
        month_file(tmp_path / "3.parquet", "select 3 as month"),
    ]
    if is_reversed:
        files.reverse()
    assert [list(row.values())[1] for row in read_joined(files)] == [*texts, None]


def test_what_a_column_is_the_newest_month_says_that_has_it(tmp_path):
    files = [
        month_file(
            tmp_path / "1.parquet", "select 1 as month, 1 as tier, 'a' as note", "Old.", month="M.", note="N."
        ),
        month_file(
            tmp_path / "2.parquet", "select 2 as month, 'gold' as tier", "New.", month="The month.", tier="T."
        ),
        # Closed before manifests held it.
        month_file(tmp_path / "3.parquet", "select 3 as month, 'gold' as tier"),
    ]
    described = describe_months(files, {"revision": "R."})
    assert described.text == "New."
    assert described.columns == {
        "month": "The month.",
        "tier": "T. Text, because months have it in different types.",
        "note": "N. Null in months whose files do not have it.",
        "revision": "R.",
    }


def test_a_manifest_that_says_nothing_of_columns_is_read_like_any_other(tmp_path):
    """Months that were closed before it did stay as they are."""
    month_file(tmp_path / "balances.parquet", "select 1::bigint as points")
    older = {"files": {"balances.parquet": {"sha256": "", "bytes": 0}}}
    assert list_columns(tmp_path, older, "balances.parquet") == [Column("points", "BIGINT", "")]
    (found,) = find_month_files("balances", [tmp_path, tmp_path], [older, {"files": {}}])
    assert astuple(found)[:2] == (tmp_path / "balances.parquet", "")


def test_a_comment_may_say_anything_of_a_column_called_anything():
    with duckdb.connect() as connection:
        connection.execute('create view months as select 1 as "My ""own"" column"')
        described = describe_months([], {'My "own" column': "It's 'so'.", "gone": "Not there."})
        comment_on(connection, "view", "months", described)
        assert connection.execute(
            "select comment from duckdb_columns() where table_name = 'months'"
        ).fetchall() == [("It's 'so'.",)]


def test_a_mart_that_is_new_is_in_the_provisional_database(build, tmp_path):
    folder = tmp_path / "provisional"
    folder.mkdir()
    change(build, "create table points_by_tier as select 'gold' as tier, 7 as points")
    with duckdb.connect(str(build_database(build))) as connection:
        for name in (*PARQUET_FILES, UNPOSTED, HISTORY):
            connection.execute(f"copy {name} to '{folder / named(f'{name}.parquet', PROVISIONAL)}'")
    descriptions = dict.fromkeys(
        (*NAMES, "points_by_tier"), Description("What it is.", {"tier": "Which tier."})
    )
    write_provisional_database(build_database(build), folder, "2026-01", descriptions)
    with duckdb.connect(str(folder / DATABASE_NAME), read_only=True) as connection:
        assert connection.execute("from points_by_tier").fetchall() == [("provisional", "gold", 7)]


@pytest.fixture
def build(tmp_path) -> Path:
    """A run's folder with a build that has every mart as it is promised, without rows."""
    folder = tmp_path / "run"
    folder.mkdir()
    with duckdb.connect(str(build_database(folder))) as connection:
        for mart, columns in mart_contract().items():
            listed = ", ".join(f"{column} {data_type}" for column, data_type in columns.items())
            connection.execute(f"create table {mart} ({listed})")
    return folder


def change(build: Path, statement: str) -> None:
    with duckdb.connect(str(build_database(build))) as connection:
        connection.execute(statement)


def test_a_mart_may_have_columns_beside_those_that_it_promises(build):
    """docs/cases.md, X22."""
    change(build, "alter table outstanding_points_by_month add column tier varchar")
    change(build, "alter table report_months add column days integer")
    check_contract(build_database(build))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "alter table outstanding_points_by_month drop column is_account_closed",
            "outstanding_points_by_month has no column is_account_closed",
        ),
        (
            "alter table outstanding_points_by_month rename column closing_points to closing",
            "outstanding_points_by_month has no column closing_points",
        ),
        (
            "alter table outstanding_points_by_month alter column earned_points type double",
            "outstanding_points_by_month has earned_points as DOUBLE in place of DECIMAL(38,4)",
        ),
        (
            "alter table points_movements_by_month add column transfers_so_far hugeint",
            "points_movements_by_month has transfers_so_far as HUGEINT, of which Parquet makes a float:"
            " cast it to bigint",
        ),
        (
            "alter table transfer_history add column revocation_count hugeint",
            "transfer_history has revocation_count as HUGEINT, of which Parquet makes a float:"
            " cast it to bigint",
        ),
        ("drop table posted_transfers", "there is no mart posted_transfers"),
        (
            "alter table discrepancies add column Revision integer",
            "discrepancies has a column revision, the name of one that readers' views put beside its own",
        ),
    ],
)
def test_a_build_that_breaks_a_promise_is_refused_naming_it(build, statement, problem):
    """docs/design.md, section 8; docs/cases.md, X22."""
    change(build, statement)
    with pytest.raises(ContractBroken) as refused:
        check_contract(build_database(build))
    assert refused.value.problems == [problem]


def test_where_dbt_fails_over_a_column_that_is_gone_the_mart_that_lost_it_is_named(build, monkeypatch):
    """docs/cases.md, X22: dbt names what reads it."""

    def stream_dbt(arguments, environment, folder, dbt, takes_kept_parse):
        yield from ()
        raise DbtFailed("dbt did not pass model programme_points_by_month.")

    monkeypatch.setattr(runs, "stream_dbt", stream_dbt)
    change(build, "drop table programme_points_by_month")
    with pytest.raises(DbtFailed):
        list(stream_build({}, build))
    change(build, "alter table outstanding_points_by_month drop column pending_given_points")
    with pytest.raises(ContractBroken) as refused:
        list(stream_build({}, build))
    assert refused.value.problems == ["outstanding_points_by_month has no column pending_given_points"]


def test_every_mart_of_this_project_promises_what_its_yml_says_now():
    """Taking a column of a mart away takes a line of two files; adding one of its own, one."""
    types = {"string": "VARCHAR"}
    for path in (PROJECT_ROOT / "dbt_project/models/marts").glob("*.yml"):
        (mart,) = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        written = {
            column["name"]: types.get(column["data_type"], column["data_type"].upper())
            for column in mart["columns"]
        }
        assert mart_contract()[mart["name"]].items() <= written.items(), mart["name"]
    assert {*PARQUET_FILES, UNPOSTED} <= mart_contract().keys()
    assert not {*ADDED_COLUMNS} & {column for mart in PARQUET_FILES for column in mart_contract()[mart]}


def test_figures_are_what_a_row_is_of_and_its_numbers():
    assert figure_columns("programme_points_by_month")[:2] == ["currency", "opening_points"]
    numbers = ["points", "effective_entry_id"]
    assert figure_columns("posted_transfers") == ["transfer_id", "entry_id", "relation_reference", *numbers]
    assert "is_account_closed" not in figure_columns("outstanding_points_by_month")


CLOSED_MONTH = ClosedMonth("2025-01", 1, 9, 8, "", datetime(2025, 2, 3, tzinfo=UTC), "ada", {})


def compare(tmp_path: Path, mart: str, changes: str) -> list[tuple[tuple, bool]]:
    """What a comparison finds between two rows of a mart, and the same after ``changes``."""
    for name, statement in (("published", ""), ("recomputed", changes)):
        (tmp_path / name).mkdir()
        columns = ", ".join(f"{column} {kind}" for column, kind in mart_contract()[mart].items())
        with duckdb.connect() as connection:
            connection.execute(f"create table mart ({columns}); insert into mart default values;")
            connection.execute(f"insert into mart (currency) values ('MILES'); {statement}")
            connection.execute(f"copy mart to '{tmp_path / name}/{mart}.parquet' (format parquet)")
    manifest = {"files": {f"{mart}.parquet": {"sha256": "another"}}}
    return [
        (astuple(difference)[3:], is_in_figures)
        for difference, is_in_figures in compare_files(
            CLOSED_MONTH, manifest, tmp_path / "published", tmp_path / "recomputed"
        )
    ]


@pytest.mark.parametrize(
    ("mart", "changes", "found"),
    [
        ("outstanding_points_by_month", "", []),
        (
            "outstanding_points_by_month",
            "alter table mart add column tier integer",
            [((0, 0, [], ["tier INTEGER"]), False)],
        ),
        (
            "outstanding_points_by_month",
            "update mart set is_account_closed = true where currency = 'MILES'",
            [((1, 1, [], []), False)],
        ),
        (
            "outstanding_points_by_month",
            "update mart set closing_points = 5 where currency = 'MILES'",
            [((1, 1, [], []), True)],
        ),
        ("points_movements_by_month", "delete from mart where currency = 'MILES'", [((1, 0, [], []), True)]),
        ("posted_transfers", "insert into mart (currency) values ('MILES')", [((0, 1, [], []), True)]),
        ("programme_points_by_month", "update mart set relation_count = 3", [((2, 2, [], []), True)]),
        ("discrepancies", "update mart set points = 3", [((2, 2, [], []), False)]),
        (
            "outstanding_points_by_month",
            "alter table mart drop column closing_points",
            [((0, 0, ["closing_points DECIMAL(38,4)"], []), True)],
        ),
    ],
)
def test_differing_points_and_counts_are_distinguished_from_other_differences_of_a_file(
    tmp_path, mart, changes, found
):
    """docs/cases.md, X22; docs/design.md, section 4."""
    assert compare(tmp_path, mart, changes) == found


class Checkout:
    """A second checkout of this project, whose models an analyst changes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        left_out = shutil.ignore_patterns("__pycache__")
        for name in ("console", "ledger", "orchestration", "dbt_project", "seeds", "tests/data"):
            shutil.copytree(PROJECT_ROOT / name, root / name, ignore=left_out)
        for name in ("dbt_project.yml", "profiles.yml", "pyproject.toml"):
            shutil.copyfile(PROJECT_ROOT / name, root / name)
        self._mart = root / "dbt_project/models/marts/outstanding_points_by_month.sql"
        self._unchanged = {path: path.read_text() for path in (self._mart, self._mart.with_suffix(".yml"))}

    def add_tier(self, expression: str, data_type: str) -> None:
        """Give the mart a column ``tier`` that it does not have in the project."""
        sql, yml = self._unchanged.values()
        last = "is not null as is_account_closed\n"
        assert last in sql
        self._mart.write_text(sql.replace(last, f"{last.strip()},\n        {expression} as tier\n"))
        column = f"""
      - name: tier
        data_type: {data_type}
        description: The club's tier.
"""
        self._mart.with_suffix(".yml").write_text(yml.rstrip() + column)

    def rename_intermediate_models(self) -> None:
        """Give every one another name, wherever dbt knows it, and write the list of required tests anew."""
        for path in self.root.glob("dbt_project/models/intermediate/int_*"):
            path.rename(path.with_name(path.name.replace("int_", "int_renamed_", 1)))
        for folder in ("dbt_project", "tests/data"):
            for path in (self.root / folder).rglob("*.*"):
                text = path.read_text(encoding="utf-8")
                path.write_text(re.sub(r"\bint_(?=[a-z])", "int_renamed_", text), encoding="utf-8")
        for command in (["dbt.cli.main", "parse", "--quiet"], ["orchestration.required_tests"]):
            answer(self._run(self.root / "home", command))

    def points(self, home: Path, *arguments: str) -> subprocess.CompletedProcess:
        return self._run(home, ["console.points", *arguments])

    def _run(self, home: Path, command: list[str]) -> subprocess.CompletedProcess:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
        return subprocess.run(
            [sys.executable, "-m", *command],
            env={**inherited, "PYTHONPATH": str(self.root), "POINTS_HOME": str(home)},
            cwd=self.root,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


def tiers(home: Path) -> dict[str, set[object]]:
    """The values of ``tier`` that readers see in each month."""
    with duckdb.connect(str(database_file(home).resolve()), read_only=True) as connection:
        rows = connection.execute(
            "select strftime(report_month, '%Y-%m'), list(distinct tier) from outstanding_points_by_month"
            " group by all order by all"
        ).fetchall()
    return {month: {*values} for month, values in rows}


@pytest.mark.slow
def test_a_mart_gains_a_column_changes_its_type_and_loses_it_again(copied, tmp_path):
    """docs/cases.md, X22, X23: two months closed from this checkout, two from another, and one from this
    again."""
    home, settings = copied.path, copied.settings()
    other = Checkout(tmp_path / "other")

    other.add_tier("cast(3 as integer)", "integer")
    answer(other.points(home, "close", "2025-03"))
    assert tiers(home) == {"2025-01": {None}, "2025-02": {None}, "2025-03": {3}}

    other.add_tier("cast('gold' as string)", "string")
    answer(other.points(home, "close", "2025-04"))
    close_months(settings, "2025-05")
    none = {month: {None} for month in ("2025-01", "2025-02", "2025-05")}
    assert tiers(home) == {**none, "2025-03": {"3"}, "2025-04": {"gold"}}

    # The description that readers see.
    exported = export_database(home, tmp_path / "copy.duckdb")
    assert dict(exported)["outstanding_points_by_month"] == 5 * 8
    for file in (database_file(home).resolve(), tmp_path / "copy.duckdb"):
        with duckdb.connect(str(file), read_only=True) as connection:
            (descriptions,) = connection.execute(
                "select comment from duckdb_views() where view_name = $mart union all"
                " select comment from duckdb_tables() where table_name = $mart",
                {"mart": "outstanding_points_by_month"},
            ).fetchone()
            columns = dict(
                connection.execute(
                    "select column_name, comment from duckdb_columns()"
                    " where table_name = 'outstanding_points_by_month'"
                ).fetchall()
            )
        assert "Never add up total, opening or closing columns over months" in descriptions
        assert columns["total_earned_points"].endswith("A total to date: never add it up over months.")
        assert columns["tier"] == (
            "The club's tier. Text, because months have it in different types."
            " Null in months whose files do not have it."
        )
        assert all(columns.values()), columns

    # Reports, old and new, and manifests that name the models.
    months = [f"2025-0{month}" for month in range(1, 6)]
    assert [len(list(read_report(settings, month).table().rows())) for month in months] == [6] * 5
    assert len(list(read_report(settings, "2025-03", revision=1).table().rows())) == 6
    models = {month: read_manifest(revision_folder(home, month, 1))["models_sha256"] for month in months}
    assert models["2025-01"] == models["2025-02"] == models["2025-05"] == models_sha256()
    assert len({*models.values()}) == 3

    # What today's models would not say is no difference.
    sound = verify_all(settings, full=True)
    assert sound.recomputation.files == []
    mart = "outstanding_points_by_month.parquet"
    assert [astuple(note) for note in sound.recomputation.notes] == [
        ("2025-03", 1, mart, 0, 0, ["tier INTEGER"], []),
        ("2025-04", 1, mart, 0, 0, ["tier VARCHAR"], []),
    ]


def test_a_column_that_an_older_file_lacks_is_named(tmp_path):
    """docs/cases.md, X22: what the next close is handed may be from before the models wanted it."""
    unposted = tmp_path / "unposted_transfers.parquet"
    columns = mart_contract()[UNPOSTED]
    listed = ", ".join(
        f"null::{data_type} as {column}" for column, data_type in columns.items() if column != "batch_id"
    )
    month_file(unposted, f"select {listed} limit 0")
    environment = {
        "POINTS_HOME": str(tmp_path),
        "POINTS_BUILD_DATABASE": "build.duckdb",
        "POINTS_UNPOSTED_TRANSFERS": str(unposted),
    }
    with pytest.raises(DbtFailed) as refused:
        list(stream_dbt(["run", "--select", "stg_closed_month__unposted_transfers"], environment, tmp_path))
    assert f"HEADER: {unposted} has no column 'batch_id'" in str(refused.value)


@pytest.mark.long
def test_every_intermediate_model_may_have_another_name(copied, tmp_path):
    """docs/design.md, section 4: no intermediate model is named in Python; what the publisher needs is a
    mart."""
    other = Checkout(tmp_path / "other")
    other.rename_intermediate_models()
    answer(other.points(copied.path, "close", "2025-03"))
    assert verify_all(copied.settings(), full=True).recomputation.files == []
