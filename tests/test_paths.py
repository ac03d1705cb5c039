"""Content comes from content: what stands in the name of a folder or file changes nothing
(docs/cases.md, F18)."""

import ast
import gzip
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from ledger.acts.mass import read_mass_file
from ledger.acts.transfer_requests import TransferRequest
from ledger.cut import freeze
from ledger.data_files import connect, read_csv, read_parquet
from ledger.database import open_ledger
from ledger.files.imports import import_file
from ledger.files.transfers_file import TransfersFileRefused
from ledger.lists.balance_lists import list_balances
from ledger.models import Transfer
from ledger.settings import Settings
from ledger.upkeep.backup import back_up, restore
from orchestration.close.publication import finish_if_needed
from orchestration.published.database import export_database
from orchestration.published.layout import database_file
from orchestration.reports import read_report
from orchestration.upkeep.verification import verify_all
from simulator.transfer_files import write_transfers
from tests.closed_programme import Home
from tests.conftest import NEEDED, PROJECT_ROOT, answer, read_rows, refusal, transfer

LYING = Path("currency=MILES/style=give/env=prod")
# As a pattern it is also the folder a1b, where another programme stands.
PATTERN, MATCHED = "a[1]*", "a1b"
ROWS = [
    transfer("GIVE", currency="POINTS", occurred_at="2026-01-10T12:00:00Z"),
    transfer(
        "DEDUCT",
        style="deduct",
        points="30",
        reason="redemption",
        currency="POINTS",
        occurred_at="2026-01-11T12:00:00Z",
    ),
]
# A machine that would take instants for years of the Buddhist calendar, and months for Tokyo's.
ELSEWHERE = {"LC_ALL": "th_TH.UTF-8", "TZ": "Asia/Tokyo"}


@pytest.fixture(scope="module")
def closed(tmp_path_factory) -> Home:
    """A programme of 100 points given and 30 deducted, closed in a home whose path says otherwise.

    It was imported from a file called like a pattern that its neighbour matches.
    """
    root = tmp_path_factory.mktemp("paths") / LYING
    for folder, points in ((PATTERN, "100"), (MATCHED, "7")):
        (root / folder).mkdir(parents=True)
        write_transfers(root / folder / f"{PATTERN}.csv", [{**ROWS[0], "points": points}, ROWS[1]])
    neighbour = open_ledger(Settings.from_environment({"POINTS_HOME": str(root / MATCHED / "home")}), True)
    import_file(neighbour, root / MATCHED / f"{PATTERN}.csv")
    freeze(neighbour)
    home = Home(root / PATTERN / "home", ELSEWHERE)
    answer(home.points("import", f"{root / PATTERN / PATTERN}.csv"))
    answer(home.points("close"))
    return home


def assert_reports_70_points(home: Home) -> None:
    """What readers of the closed month see, by every way."""
    settings = home.settings()
    finish_if_needed(settings, is_read=True)
    report = read_report(home.settings(), "2026-01")
    assert [(row[0], row[-1]) for row in report.table().rows()] == [("C-1", 70)]
    assert (report.summary.currency, report.summary.earned_points, report.summary.redeemed_points) == (
        "POINTS",
        100,
        30,
    )
    exported = home.path.parent / "exported.duckdb"
    export_database(home.path, exported)
    for database in (database_file(home.path).resolve(), exported):
        with duckdb.connect(str(database), read_only=True) as readers:
            posted = "select currency, style, points from posted_transfers order by transfer_id desc"
            assert readers.execute(posted).fetchall() == [("POINTS", "give", 100), ("POINTS", "deduct", 30)]
            for balance in (
                "spendable_points from customer_point_balances",
                "closing_points from outstanding_points_by_month",
            ):
                assert readers.execute(f"select currency, {balance}").fetchall() == [("POINTS", 70)]
    assert verify_all(settings).files > 0
    page = list_balances(open_ledger(settings), {"currency": "POINTS"})
    assert [balance.spendable_points for balance in page.rows] == [70]


def test_a_home_reports_what_was_imported_and_not_what_its_path_says(closed):
    """docs/cases.md, F18, X17."""
    open_ledger(closed.settings())
    imported = Transfer.objects.order_by("entry_id").values_list("currency", "style", "occurred_at")
    assert list(imported) == [
        ("POINTS", "give", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("POINTS", "deduct", datetime(2026, 1, 11, 12, tzinfo=UTC)),
    ]
    assert_reports_70_points(closed)


def test_a_closed_home_that_is_moved_reports_the_same(closed, tmp_path):
    """docs/cases.md, F18, X20."""
    moved = tmp_path / "currency=GOLD" / "posting_month=1999-01-01" / "home"
    moved.parent.mkdir(parents=True)
    assert_reports_70_points(closed.copy(moved))


def test_a_backup_below_such_folders_restores_the_same_ledger(closed, tmp_path):
    """docs/cases.md, F18."""
    backup = tmp_path / LYING / "status=cancelled.sqlite3"
    backup.parent.mkdir(parents=True)
    head = back_up(open_ledger(closed.settings()), backup).head
    restored = Home(tmp_path / LYING / "home")
    assert restore(restored.settings(), backup).head == head
    page = list_balances(open_ledger(restored.settings()), {"currency": "POINTS"})
    assert [balance.spendable_points for balance in page.rows] == [70]


@pytest.mark.slow
def test_a_build_reads_a_tree_of_files_by_what_is_in_them(points, tmp_path):
    """docs/cases.md, F18. What was listed and checked is what is read: `a[1].csv` is no pattern for
    `a1.csv`."""
    lake = tmp_path / "env=prod" / "year=2026" / "month=08"
    (lake / "style=give").mkdir(parents=True)
    write_transfers(lake / "style=give" / "a1.csv", [transfer("ONE", points="7")])
    write_transfers(lake / "style=give" / "a[1].csv", [transfer("OTHER")])
    write_transfers(
        lake / "style=give" / "deducted.csv",
        [transfer("D", style="deduct", points="30", reason="redemption")],
    )
    with connect() as database:
        rows = read_csv(lake / "style=give" / "deducted.csv", dict.fromkeys(NEEDED, "varchar"))
        replaced = "replace ('MILES' as currency, 'M' as transfer_id)"
        database.sql(f"select * {replaced} from (select *, '' as currency from {rows})").write_parquet(
            str(lake / "style=give" / "deducted.parquet")
        )
    home = tmp_path / "home"
    result = points("build", home=home, transfers=tmp_path / "env=prod", **ELSEWHERE)
    answer(result)
    report = read_rows(home / "provisional" / "2026-03" / "provisional_outstanding_points.csv")
    assert [(row["Relation Reference"], row["Total Outstanding Points"]) for row in report] == [("C-1", "77")]
    miles = read_rows(home / "provisional" / "2026-03" / "provisional_outstanding_points.MILES.csv")
    assert [row["Total Redeemed Points"] for row in miles] == ["30"]

    (tmp_path / "currency=MILES").mkdir()
    write_transfers(tmp_path / "currency=MILES" / "a.csv", [transfer("T")])
    refused = points("build", home=home, transfers=tmp_path / "currency=MILES")
    assert refusal(refused).startswith(f"HEADER: {tmp_path}/currency=MILES/a.csv ")


@pytest.mark.parametrize(
    "name", ["currency=MILES/a.csv", "currency=MILES.csv", " Currency =MILES/env=prod/a.csv.gz"]
)
def test_a_file_whose_path_says_a_column_that_it_lacks_is_refused_by_name(ledger_home, tmp_path, name):
    """docs/cases.md, F18."""
    path = tmp_path / "lake" / name
    path.parent.mkdir(parents=True)
    written = write_transfers(tmp_path / "sent.csv", [transfer("T")]).read_bytes()
    path.write_bytes(gzip.compress(written) if name.endswith(".gz") else written)
    ledger = ledger_home.open()
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(ledger, path)
    assert refused.value.code == "HEADER"
    assert "'currency'" in refused.value.sentence
    assert not Transfer.objects.exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_imported_file_says_itself_what_its_transfers_are(tmp_path, ending):
    """docs/cases.md, F18: folders of other names change nothing, nor does one whose column the file has."""
    path = (
        tmp_path / "year=2026" / "month=08" / "style=give" / "status=cancelled" / "env=prod" / f"a.{ending}"
    )
    path.parent.mkdir(parents=True)
    row = transfer("D", style="deduct", points="30", reason="redemption", status="approved")
    write_transfers(path.with_suffix(".csv"), [row])
    if ending == "parquet":
        with connect() as database:
            rows = read_csv(path.with_suffix(".csv"), dict.fromkeys(row, "varchar"))
            database.sql(f"from {rows}").write_parquet(str(path))
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(tmp_path / "home")}), create=True)
    assert import_file(ledger, path).added == 1
    assert Transfer.objects.values_list("style", "status", "currency").get() == (
        "deduct",
        "approved",
        "POINTS",
    )


def test_a_mass_below_a_folder_that_says_its_style_is_refused_by_name(tmp_path):
    """docs/cases.md, F18."""
    path = tmp_path / "style=deduct" / "mass.csv"
    path.parent.mkdir()
    path.write_text("relation_reference,points\nC-1,5\n", encoding="utf-8")
    request = TransferRequest(relation_reference="", style="give", points="")
    with pytest.raises(TransfersFileRefused, match="'style'") as refused:
        read_mass_file(path, request)
    assert (refused.value.code, refused.value.path) == ("HEADER", str(path))
    assert read_mass_file(path.rename(tmp_path / "mass.csv"), request).rows


def test_a_column_that_is_renamed_or_left_out_is_in_the_file_all_the_same(tmp_path):
    """docs/cases.md, F18."""
    path = tmp_path / "currency=MILES" / "a.csv"
    path.parent.mkdir()
    write_transfers(path, [transfer("T", currency="MILES")])
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(tmp_path / "home")}), create=True)
    assert import_file(ledger, path, ignored=["currency"], dry_run=True).added == 1
    path.write_text(path.read_text(encoding="utf-8").replace("currency", "unit"), encoding="utf-8")
    assert import_file(ledger, path, renamed={"unit": "currency"}, dry_run=True).added == 1


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "a*.parquet", "a?.parquet", "{a,b}.parquet", "o'clock.parquet"]
)
def test_a_name_that_is_a_pattern_names_its_file_alone(tmp_path, name):
    for number, file in enumerate((name, "a1.parquet")):
        with connect() as database:
            database.sql(f"select {number} as number").write_parquet(str(tmp_path / file))
    with connect(tmp_path / "views.duckdb") as database:
        database.execute(f"create view numbers as from {read_parquet(tmp_path / name)}")
    with duckdb.connect(str(tmp_path / "views.duckdb"), read_only=True) as readers:
        assert readers.execute("from numbers").fetchall() == [(0,)]


def test_an_instant_is_read_by_the_same_calendar_and_zone_everywhere():
    """docs/cases.md, X17. DuckDB asks for the locale once a process."""
    program = """
from ledger.data_files import connect
with connect() as database:
    print(database.cursor().execute("select epoch_us(timestamptz '2026-02-03 04:05:06')").fetchone()[0])
"""
    environment = {**os.environ, **ELSEWHERE, "PYTHONPATH": str(PROJECT_ROOT)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert datetime.fromtimestamp(int(said.stdout) / 1e6, UTC) == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_no_cursor_takes_anything_from_the_machine(tmp_path, monkeypatch):
    """What does not fit into memory is not spilled to the working directory, but into the home."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("POINTS_HOME", str(home))
    monkeypatch.chdir(here)
    numbers = [1]  # a table of that name is not looked for here
    with connect(memory_limit="50MB") as database:
        names = ("TimeZone", "Calendar", "autoload_known_extensions")
        settings = ", ".join(f"current_setting('{name}')" for name in names)
        assert database.cursor().execute(f"select {settings}").fetchone() == ("UTC", "gregorian", False)
        with pytest.raises(duckdb.CatalogException, match="numbers"):
            database.execute("from numbers")
        database.execute("create table spilled as select range as i, repeat('x', 100) from range(1_000_000)")
    assert numbers
    assert list(here.iterdir()) == []


# Where DuckDB is opened and files are read, with every option; and what opens or reads otherwise.
PYTHON_READERS = PROJECT_ROOT / "ledger" / "data_files.py"
SQL_READERS = PROJECT_ROOT / "dbt_project" / "macros" / "readers.sql"
READERS = (
    r"\b(read_(csv|csv_auto|parquet|json\w*|text|blob)|parquet_(scan|metadata|schema|kv_metadata|file_metadata)"
    r"|sniff_csv|glob)\s*\("
)
# `from 'a.parquet'`, and the beginning of f"from '{path}'".
BARE_FILE = r"\b(from|join)\s+'([^']*[./]|$)"
COPY_FROM = r"\bcopy\s[^()]*\sfrom\s+'"


def find_readers_in_python(file: Path) -> list[str]:
    """What opens DuckDB or reads a file by it around `ledger.data_files`, each with its line."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for pattern in (READERS, BARE_FILE, COPY_FROM):
                matches = re.finditer(pattern, node.value, re.IGNORECASE)
                found += [f"{node.lineno}: {match[0]}" for match in matches]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, ast.unparse(node.func.value)
            if owner == "duckdb" or name in ("read_csv", "read_parquet", "read_json", "from_parquet"):
                found.append(f"{node.lineno}: {owner}.{name}")
    return found


def find_readers_in_sql(text: str) -> list[str]:
    """Readers of files that a template calls by DuckDB's name, and not by the macro's."""
    called_by_template = re.sub(r"\{[{%#].*?[}%#]\}", "", text, flags=re.DOTALL)
    found = [match[0] for match in re.finditer(READERS, called_by_template, re.IGNORECASE)]
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', text)
    found += [match[0] for string in strings for match in re.finditer(READERS, string, re.IGNORECASE)]
    return found + [match[0] for match in re.finditer(r"\bparquet\s*\.\s*`", text)]


def test_every_file_is_read_by_the_one_place_that_says_all_options():
    # Benchmarks measure what DuckDB does by itself.
    rooms = ("ledger", "simulator", "orchestration", "console")
    files = [file for room in rooms for file in (PROJECT_ROOT / room).rglob("*.py") if file != PYTHON_READERS]
    assert {str(file): found for file in files if (found := find_readers_in_python(file))} == {}
    files = [
        file
        for folder in ("dbt_project", "tests/data")
        for file in (PROJECT_ROOT / folder).rglob("*.sql")
        if file != SQL_READERS
    ]
    assert {
        str(file): found for file in files if (found := find_readers_in_sql(file.read_text(encoding="utf-8")))
    } == {}


@pytest.mark.parametrize(
    "code",
    [
        "import duckdb\nduckdb.connect()",
        "import duckdb\nduckdb.sql('select 1')",
        "duck.execute(f\"select * from read_parquet('{file}')\")",
        "duck.execute(f\"select * from '{file}'\")",
        "duck.execute(\"select * from 'a.parquet'\")",
        "duck.execute(\"copy rules from 'rules.csv'\")",
        "duck.read_csv('a.csv')",
    ],
)
def test_a_reader_that_goes_around_it_is_found(tmp_path, code):
    (tmp_path / "module.py").write_text(code, encoding="utf-8")
    assert find_readers_in_python(tmp_path / "module.py")


def test_readers_of_every_engine_and_the_profile_infer_nothing_from_a_path():
    for text in (read_parquet(Path("a")), read_csv(Path("a"), {"line": "varchar"})):
        assert "hive_partitioning = false" in text
    assert "auto_detect = false" in read_csv(Path("a"), {"line": "varchar"})
    macros = SQL_READERS.read_text(encoding="utf-8")
    assert macros.count("hive_partitioning = false") == 2
    assert "recursiveFileLookup = 'true'" in macros
    documented = [
        (document.name, line)
        for document in [*PROJECT_ROOT.glob("*.md"), *(PROJECT_ROOT / "docs").glob("*.md")]
        for line in document.read_text(encoding="utf-8").splitlines()
        if "read_parquet(" in line and "hive_partitioning = false" not in line
    ]
    assert documented == []
