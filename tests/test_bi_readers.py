"""docs/business_intelligence.md: what it calls tried is tried here, and it names what the database holds."""

import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import column, create_engine, inspect, select, table, text
from sqlalchemy.exc import DBAPIError

from simulator.transfer_files import write_transfers
from tests.conftest import PROJECT_ROOT, answer, transfer

PAGE = (PROJECT_ROOT / "docs/business_intelligence.md").read_text(encoding="utf-8")
# Fourteen digits and four places: a float would make 100000000000000 of it.
LARGEST = Decimal("99999999999999.9999")
VIEWS = [
    "customer_point_balances",
    "discrepancies",
    "outstanding_points_by_month",
    "points_movements_by_month",
    "posted_transfers",
    "programme_points_by_month",
    "unposted_transfers",
]


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def rows_of(month: int) -> list[dict[str, str]]:
    """A month: the largest points there can be, a second currency, what waits, and what deserves a look."""
    values = {"occurred_at": f"2026-{month:02d}-10T12:00:00Z"}
    return [
        transfer(f"L{month}", relation_reference="007", points=str(LARGEST), **values),
        transfer(f"M{month}", relation_reference="C-2", points="7.5", currency="MILES", **values),
        transfer(f"R{month}", points="30", style="deduct", reason="redemption", **values),
        transfer(f"P{month}", points="9", status="pending", **values),
    ]


@pytest.fixture(scope="module")
def folder(points, tmp_path_factory) -> Path:
    """A folder like the project's after `make report`: in ``var/demo`` two months of three are closed."""
    folder = tmp_path_factory.mktemp("bi")
    home = folder / "var/demo"
    home.mkdir(parents=True)
    rows = [row for month in (1, 2, 3) for row in rows_of(month)]
    for arguments in (
        ["import", str(write_transfers(folder / "transfers.csv", rows))],
        ["close", "--through", "2026-02"],
    ):
        answer(points(*arguments, home=home))
    return folder


def published(folder: Path) -> Path:
    return folder / "var/demo/published"


def database(folder: Path) -> Path:
    return published(folder) / "outstanding_points.duckdb"


def run(command: list[str] | str, folder: Path) -> str:
    """Run a command, or a line as a shell does, as who reads the page would; return what it printed."""
    finished = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "POINTS_HOME": str(folder / "var/demo"),
            "POINTS_TRANSFERS": "",
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert finished.returncode == 0, (command, finished.stderr)
    return finished.stdout


def ask(file: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_page_names_every_view_and_column_and_no_other(folder):
    described = {
        name: sorted(
            found
            for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
            for found in re.findall(r"`(\w+)`", cell)
        )
        for name, section in re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    }
    held: dict[str, list[str]] = {}
    query = "select table_name, column_name from information_schema.columns order by all"
    for view, name in ask(database(folder), query):
        held.setdefault(view, []).append(name)
    assert described == {view: sorted(names) for view, names in held.items()}


def test_the_page_begins_with_what_must_never_be_summed():
    warning = PAGE.split("\n\n")[1]
    assert warning.startswith("> **Never sum totals over months or currencies.**")


def test_every_query_of_the_page_runs(folder):
    assert len(blocks("sql")) > 5
    for query in blocks("sql"):
        assert run(["duckdb", "-readonly", str(database(folder)), "-c", query], folder), query


def test_every_script_of_the_page_runs(folder):
    assert len(blocks("python")) == 2
    for script in blocks("python"):
        assert run([sys.executable, "-c", script], folder), script


def test_every_command_of_the_page_runs(folder):
    commands = re.findall(r"^\$ (.*)", "".join(blocks("console")), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        run(command, folder)
    # What they leave behind: one Parquet file a table, with the same rows as the database.
    for name in ["published_months", *VIEWS]:
        exported = duckdb.sql(f"from read_parquet('{folder}/for_bi/{name}.parquet') order by all").fetchall()
        assert exported == ask(database(folder), f"from {name} order by all"), name
        assert exported, name


def test_points_are_exact_in_duckdb_and_relation_references_are_text(folder):
    rows = ask(
        database(folder),
        "select relation_reference, closing_points from outstanding_points_by_month"
        " where report_month = '2026-02-01' order by all",
    )
    assert rows == [("007", 2 * LARGEST), ("C-1", Decimal(-60)), ("C-2", Decimal(15))]


def test_the_database_is_not_written_through_a_read_only_connection(folder):
    before = database(folder).read_bytes()
    with duckdb.connect(str(database(folder)), read_only=True) as connection:
        for statement in ("create table mine (n integer)", "delete from published_months"):
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute(statement)
    assert database(folder).read_bytes() == before


@pytest.mark.parametrize("way", ["argument", "url"])
def test_sqlalchemy_reads_views_exactly_and_cannot_write(folder, way):
    url = f"duckdb:///{database(folder)}"
    engine = (
        create_engine(url, connect_args={"read_only": True})
        if way == "argument"
        else create_engine(f"{url}?access_mode=read_only")
    )
    assert inspect(engine).get_table_names() == ["published_months"]
    assert sorted(inspect(engine).get_view_names()) == VIEWS
    # What a BI tool keeps of a view: the name must be the same after the next close.
    assert "outstanding_points.main" in inspect(engine).get_schema_names()
    view = table("programme_points_by_month", column("currency"), column("closing_points"))
    with engine.connect() as connection:
        largest = text("select max(closing_points) from outstanding_points_by_month")
        assert connection.execute(largest).scalar() == 2 * LARGEST
        assert connection.execute(
            select(view.c.closing_points).order_by(view.c.closing_points)
        ).scalars().all() == [
            Decimal("7.5"),
            Decimal(15),
            LARGEST - 30,
            2 * LARGEST - 60,
        ]
        with pytest.raises(DBAPIError, match="read-only"):
            connection.execute(text("create table mine (n integer)"))
    engine.dispose()


def test_parquet_through_the_links_is_what_the_database_shows(folder):
    # No view of it; what a close left unposted is in the folder of its last month alone.
    for name in [view for view in VIEWS if view not in ("customer_point_balances", "unposted_transfers")]:
        through_links = f"{published(folder)}/*/current/{name}.parquet"
        rows = duckdb.sql(f"from read_parquet('{through_links}') order by all").fetchall()
        shown = ask(
            database(folder),
            f"select * exclude (revision, period_start_date, period_end_date) from {name} order by all",
        )
        assert rows == shown, name
        metadata = duckdb.sql(
            "select distinct decode(key), decode(value)"
            f" from parquet_kv_metadata('{published(folder)}/2026-02/current/{name}.parquet')"
        ).fetchall()
        expected = {("report_month", "2026-02"), ("revision", "1"), ("status", "closed")}
        assert expected <= set(metadata), name
    lefts = list(published(folder).glob("*/current/unposted_transfers.parquet"))
    assert [path.parent.parent.name for path in lefts] == ["2026-02"]
    rows = duckdb.sql(f"from read_parquet('{lefts[0]}') order by all").fetchall()
    assert rows == ask(database(folder), "from unposted_transfers order by all")


def test_who_connects_again_sees_newer_months_and_who_does_not_sees_the_old_ones(points, folder, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(folder / "var/demo", home, symlinks=True)
    assert points("months", home=home).returncode == 0  # the moved home's database is made again
    link = home / "published/outstanding_points.duckdb"
    engine = create_engine(f"duckdb:///{link}", connect_args={"read_only": True})
    counted = "select count(distinct report_month) from outstanding_points_by_month"
    with engine.connect() as connection:
        assert connection.execute(text(counted)).scalar() == 2
        answer(points("close", "2026-03", home=home))
        assert connection.execute(text(counted)).scalar() == 2
        assert ask(link, counted) == [(3,)]
    engine.dispose()
    with engine.connect() as connection:
        assert connection.execute(text(counted)).scalar() == 3
    engine.dispose()
