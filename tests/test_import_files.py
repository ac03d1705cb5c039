"""Files as they come: what an import refuses whole, with a sentence and nothing added, and what it reads."""

import gzip
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import duckdb
import pytest

from ledger.errors import PointsError
from ledger.files.imports import ImportRefused, import_file
from ledger.files.transfers_file import TransfersFileRefused
from ledger.models import ENTRY_MODELS, Batch, QuarantinedRow, Transfer
from simulator.transfer_files import write_transfers
from tests.conftest import (
    NEEDED,
    PROJECT_ROOT,
    LedgerHome,
    answer,
    new_postgresql_database,
    refusal,
    transfer,
)

HEADER = ",".join(NEEDED)
ROW = "T-1,C-1,give,100,rule_credit,2026-03-10T12:00:00Z"
LAST = ROW.replace("T-1", "T-9")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def refusing_home(request, tmp_path_factory) -> LedgerHome:
    """A home whose ledger stays empty, for everything that is refused."""
    home = tmp_path_factory.mktemp("refusing") / "home"
    if request.param == "sqlite":
        return LedgerHome(home)
    return LedgerHome(home, new_postgresql_database(request.getfixturevalue("postgresql_server")))


def entry_count() -> int:
    return sum(model.objects.count() for model in ENTRY_MODELS)


REFUSED = {
    "F1 nothing at all": ("a.csv", b"", "FILE_EMPTY", "empty"),
    "F1 nothing, compressed": ("a.csv.gz", gzip.compress(b""), "FILE_EMPTY", "empty"),
    "F3 UTF-16": ("a.csv", f"{HEADER}\n{ROW}\n".encode("utf-16"), "ENCODING", "line 1"),
    "F3 UTF-16 without a mark": ("a.csv", f"{HEADER}\n{ROW}\n".encode("utf-16-le"), "ENCODING", "line 1"),
    "F3 cp1252": ("a.csv", f"{HEADER}\n{ROW}\nT-2,é,x\n{ROW}\n".encode("cp1252"), "ENCODING", "line 3"),
    "F3 a character that breaks off": (
        "a.csv",
        f"{HEADER}\n{ROW}\nT-2,é".encode()[:-1],
        "ENCODING",
        "line 3",
    ),
    "F5 a column missing": ("a.csv", f"{HEADER.replace('points,', '')}\n".encode(), "HEADER", "'points'"),
    "F5 a column unknown": ("a.csv", f"{HEADER},member\n{ROW},x\n".encode(), "HEADER", "'member'"),
    "F5 a column doubled": ("a.csv", f"{HEADER},points\n{ROW},1\n".encode(), "HEADER", "'points' twice"),
    "F5 a column of the cut": ("a.csv", f"{HEADER},entry_id\n{ROW},1\n".encode(), "HEADER", "'entry_id'"),
    "F5 capitals": ("a.csv", f"{HEADER.upper()}\n{ROW}\n".encode(), "HEADER", "write it 'transfer_id'"),
    "F5 a blank first line": ("a.csv", f"\n{HEADER}\n{ROW}\n".encode(), "HEADER", "blank"),
    "F6 semicolons": ("a.csv", f"{HEADER}\n{ROW}\n".replace(",", ";").encode(), "HEADER", "semicolons"),
    "F6 tabs": ("a.csv", f"{HEADER}\n{ROW}\n".replace(",", "\t").encode(), "HEADER", "tabs"),
    "F8 a quote in the middle": (
        "a.csv",
        f'{HEADER}\n{ROW}\nT-2,"C-1,give,1\n{ROW}\n"T-3",C-1\n'.encode(),
        "QUOTE",
        "line 3",
    ),
    "F8 a quote in the last field": (
        "a.csv",
        f'{HEADER},comment\n{ROW},a\n{LAST},"b\n'.encode(),
        "QUOTE",
        "line 3",
    ),
    "F8 a field goes on behind its quote": (
        "a.csv",
        f'{HEADER},comment\n{ROW},a\n{LAST},"b"c\n'.encode(),
        "QUOTE",
        "line 3",
    ),
    "F9 fewer fields": ("a.csv", f"{HEADER}\n{ROW}\nT-2,C-1,give,5".encode(), "TRUNCATED", "4 of 6"),
    "F9 within a quote": ("a.csv", f'{HEADER}\n{ROW}\nT-2,C-1,"gi'.encode(), "TRUNCATED", "3 of 6"),
    "F9 compressed": ("a.csv.gz", gzip.compress(f"{HEADER}\n{ROW}\nT-2".encode()), "TRUNCATED", "1 of 6"),
    "F9 a compressed file that breaks off": (
        "a.csv.gz",
        gzip.compress(os.urandom(100).hex().encode() * 100)[:-30],
        "TRUNCATED",
        "breaks off",
    ),
    "F12 a zip": ("a.csv", b"PK\x03\x04 an archive or a workbook", "NOT_CSV", "another kind"),
    "F12 gzip": ("a.csv", gzip.compress(f"{HEADER}\n{ROW}\n".encode()), "NOT_CSV", "another kind"),
    "F12 no gzip": ("a.csv.gz", f"{HEADER}\n{ROW}\n".encode(), "NOT_CSV", "another kind"),
    "F12 another ending": ("a.xlsx", b"PK\x03\x04", "NOT_CSV", ".csv"),
    "F14 no Parquet": ("a.parquet", f"{HEADER}\n{ROW}\n".encode(), "PARQUET", "no whole"),
    "F14 Parquet at both ends alone": ("a.parquet", b"PAR1" + b"\x00" * 100 + b"PAR1", "PARQUET", "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_read_as_rows_is_refused_whole(refusing_home, tmp_path, case):
    """docs/cases.md, F1, F3, F5, F6, F8, F9, F12 and F14; --quarantine is no way around."""
    name, content, code, fact = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    ledger = refusing_home.open()
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(ledger, tmp_path / name, quarantine=True)
    assert (refused.value.code, refused.value.path) == (code, str(tmp_path / name))
    assert fact in refused.value.sentence
    assert entry_count() == 0


def test_what_is_no_readable_file_is_refused_by_name(refusing_home, tmp_path):
    """docs/cases.md, F13."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nothing.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "locked.csv").write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")
    (tmp_path / "locked.csv").chmod(0)
    names = ["pipe.csv", "link.csv", "folder.csv", "absent.csv", "*.csv"]
    # The superuser may read everything.
    names += [] if os.access(tmp_path / "locked.csv", os.R_OK) else ["locked.csv"]
    ledger = refusing_home.open()
    for name in names:
        with pytest.raises(TransfersFileRefused) as refused:
            import_file(ledger, tmp_path / name)
        assert refused.value.code in ("NOT_FOUND", "NOT_READABLE")
        assert refused.value.path == str(tmp_path / name)


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("points", "1.5::double"),
        ("points", "1.5::decimal(18, 5)"),
        ("points", "true"),
        ("transfer_id", "17"),
        ("occurred_at", "date '2026-03-10'"),
        ("points", "['10']"),
        ("comment", "['a', 'b']"),
        ("occurred_at", "[timestamp '2026-03-10 12:00:00']"),
    ],
)
def test_parquet_of_another_type_is_refused_naming_the_column(refusing_home, tmp_path, column, expression):
    """docs/cases.md, F14."""
    values = {name: f"'{value}'" for name, value in transfer("T-1").items()} | {column: expression}
    select = ", ".join(f"{value} as {name}" for name, value in values.items())
    duckdb.sql(f"select {select}").write_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(TransfersFileRefused, match=f"'{column}'") as refused:
        import_file(refusing_home.open(), tmp_path / "a.parquet", quarantine=True)
    assert refused.value.code == "HEADER"


@pytest.mark.parametrize(("rows", "points"), [(3, None), (1, None), (None, "200.0001"), (None, "0")])
def test_a_file_that_holds_not_what_its_sender_says_is_refused(refusing_home, tmp_path, rows, points):
    """docs/cases.md, F9: --expect-rows and --expect-points."""
    path = write_transfers(tmp_path / "a.csv", [transfer("T-1"), transfer("T-2")])
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(
            refusing_home.open(),
            path,
            expected_rows=rows,
            expected_points=Decimal(points) if points else None,
        )
    assert refused.value.code == "TRUNCATED"
    assert entry_count() == 0


def test_a_file_that_holds_what_its_sender_says_is_taken(ledger_home, tmp_path):
    """docs/cases.md, F9: points are added up over every row, repeated ones too."""
    rows = [transfer("T-1", points="0.5"), transfer("T-2"), transfer("T-2")]
    path = write_transfers(tmp_path / "a.csv", rows)
    result = import_file(
        ledger_home.open(), path, expected_rows=3, expected_points=Decimal("200.5000"), dry_run=True
    )
    assert result.added == 2
    assert entry_count() == 0


def test_a_header_alone_is_taken_and_adds_nothing(ledger_home, tmp_path):
    """docs/cases.md, F2."""
    ledger = ledger_home.open()
    for text in (HEADER, f"{HEADER}\r\n", f"{HEADER}\n\n"):
        (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
        result = import_file(ledger, tmp_path / "a.csv")
        assert (result.row_count, result.added, result.batch_id) == (0, 0, "")
    assert entry_count() == 0


def test_a_file_is_read_with_any_line_ends_and_any_order_of_columns(ledger_home, tmp_path):
    """docs/cases.md, F4 (a byte order mark) and F5 (another order); blank lines and mixed line ends as
    well."""
    ledger = ledger_home.open()
    files = {
        "bom.csv": b"\xef\xbb\xbf" + f"{HEADER}\r\n{ROW.replace('T-1', 'bom')}\r\n".encode(),
        "mixed.csv": f"{HEADER}\r\n{ROW.replace('T-1', 'mixed-1')}\n\n".encode()
        + f"{ROW.replace('T-1', 'mixed-2')}\r\n".encode(),
        "mac.csv": f"{HEADER}\r{ROW.replace('T-1', 'mac')}\r".encode(),
        "open.csv": f"{HEADER}\n{ROW.replace('T-1', 'open')}".encode(),
        "packed.csv.gz": gzip.compress(f"{HEADER}\n".encode())
        + gzip.compress(f"{ROW.replace('T-1', 'packed')}\n".encode()),
        "UPPER[1]*.CSV": f"{HEADER}\n{ROW.replace('T-1', 'upper')}\n".encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        import_file(ledger, tmp_path / name)
    order = {name: transfer("order")[name] for name in reversed(NEEDED)}
    import_file(ledger, write_transfers(tmp_path / "order.csv", [order]))
    assert list(Transfer.objects.order_by("entry_id").values_list("transfer_id", flat=True)) == [
        *("bom", "mixed-1", "mixed-2", "mac", "open", "packed", "upper", "order")
    ]
    assert set(Transfer.objects.values_list("points", "relation_reference")) == {(Decimal(100), "C-1")}


def test_columns_of_other_names_are_mapped_and_others_left_out(ledger_home, tmp_path):
    ledger = ledger_home.open()
    path = tmp_path / "a.csv"
    theirs = HEADER.replace("relation_reference", "member=id")
    path.write_text(f"{theirs},Shop,Shop\n{ROW},x,y\n", encoding="utf-8")
    with pytest.raises(TransfersFileRefused, match="'no such'"):
        import_file(ledger, path, renamed={"no such": "comment"}, ignored=["Shop"])
    with pytest.raises(TransfersFileRefused, match="'customer'"):
        import_file(ledger, path, renamed={"member=id": "customer"}, ignored=["Shop"])
    import_file(ledger, path, renamed={"member=id": "relation_reference"}, ignored=["Shop"])
    assert Transfer.objects.get().relation_reference == "C-1"


def test_parquet_may_be_typed(ledger_home, tmp_path):
    """docs/cases.md, F14: exact numbers and timestamps; one without an offset is a wall clock of the zone."""
    path = tmp_path / "a.parquet"
    duckdb.sql("set TimeZone = 'Asia/Tokyo'")
    duckdb.sql(
        "select 'P-' || i as transfer_id, 'C-1' as relation_reference, 'give' as style,"
        " cast(100.5 + i as decimal(10, 2)) as points, 'rule_credit' as reason,"
        " timestamptz '2026-03-31 23:30:00-02:00' as occurred_at, null::varchar as currency, '' as comment"
        " from range(2) as numbers (i)"
    ).write_parquet(str(path))
    import_file(ledger_home.open(), path)
    duckdb.sql(
        "select 'W-1' as transfer_id, 'C-1' as relation_reference, 'give' as style, 7 as points,"
        " 'rule_credit' as reason, timestamp '2026-03-31 23:30:00.000001' as occurred_at"
    ).write_parquet(str(path))
    ledger = ledger_home.open(POINTS_TIME_ZONE="Europe/Berlin")
    import_file(ledger, path)
    found = Transfer.objects.order_by("entry_id").values_list("points", "currency", "occurred_at")
    assert [(points, currency, occurred_at.isoformat()) for points, currency, occurred_at in found] == [
        (Decimal("100.5"), "POINTS", "2026-04-01T01:30:00+00:00"),
        (Decimal("101.5"), "POINTS", "2026-04-01T01:30:00+00:00"),
        (Decimal(7), "POINTS", "2026-03-31T21:30:00.000001+00:00"),
    ]


BAD_LINES = (
    f"{HEADER},comment\n"
    f'T-1,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,"two\nlines"\n'
    "SHORT,C-1,give,1\n"
    "\n"
    f"LONG,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,a{',b' * 20}\n"
    'NUL,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,"a\x00\nb"\n'
    "BELL,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,a\x07\n"
    'FINE,C-1,give,1,rule_credit,2026-03-10T12:00:00Z,"a\tb\r\nc"\n'
)


def test_rows_of_another_length_and_control_characters_are_reported_by_line_and_column(ledger_home, tmp_path):
    """docs/cases.md, F7 and F11; a row's line is where it begins, after any rows before it."""
    (tmp_path / "a.csv").write_text(BAD_LINES, encoding="utf-8", newline="")
    ledger = ledger_home.open()
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger, tmp_path / "a.csv")
    assert [(row.line, row.transfer_id, row.code, row.column) for row in refused.value.bad_rows] == [
        (4, "SHORT", "FIELDS", ""),
        (6, "LONG", "FIELDS", ""),
        (7, "NUL", "CONTROL_CHAR", "comment"),
        (9, "BELL", "CONTROL_CHAR", "comment"),
    ]
    assert entry_count() == 0
    result = import_file(ledger, tmp_path / "a.csv", quarantine=True)
    assert (result.added, result.quarantined) == (2, 4)
    assert Transfer.objects.get(transfer_id="FINE").comment == "a\tb\r\nc"


def test_a_bad_row_is_kept_as_it_was_sent(ledger_home, tmp_path):
    """docs/cases.md, F7 and F11."""
    (tmp_path / "a.csv").write_text(BAD_LINES, encoding="utf-8", newline="")
    import_file(ledger_home.open(), tmp_path / "a.csv", quarantine=True)
    kept = {row.line: json.loads(row.row) for row in QuarantinedRow.objects.all()}
    assert kept[4] == {"transfer_id": "SHORT", "relation_reference": "C-1", "style": "give", "points": "1"}
    assert ",".join(kept[6]["surplus_fields"]) == ",".join("b" * 20)
    assert kept[7]["comment"] == "a\x00\nb"


def test_the_same_file_again_adds_nothing_and_says_so(points, ledger_home, tmp_path):
    """docs/cases.md, F10; what the command reports."""
    path = write_transfers(tmp_path / "a.csv", [transfer("T-1"), transfer("T-2", points="1e3")])
    arguments = ("import", str(path), "--quarantine")
    first = points(*arguments, home=ledger_home.home, **ledger_home.environment)
    assert "set aside" in answer(first)
    before = entry_count_of(ledger_home)
    again = points(*arguments, home=ledger_home.home, **ledger_home.environment)
    assert "Nothing was added" in answer(again)
    result = points(*arguments, "--json", home=ledger_home.home, **ledger_home.environment)
    assert {
        name: json.loads(result.stdout)[name] for name in ("rows", "added", "duplicates", "batch_id")
    } == {
        "rows": 2,
        "added": 0,
        "duplicates": 2,
        "batch_id": "",
    }
    assert entry_count_of(ledger_home) == before == 3


def entry_count_of(home: LedgerHome) -> int:
    home.open()
    return entry_count()


def test_a_refused_import_shows_its_bad_rows_and_exits_with_1(points, ledger_home, tmp_path):
    """docs/cases.md, F7; people see the first, programs all."""
    rows = [transfer(f"T-{number}", points="=1") for number in range(25)]
    path = write_transfers(tmp_path / "a.csv", rows)
    shown = points("import", str(path), home=ledger_home.home, **ledger_home.environment)
    assert "and 5 more" in refusal(shown)
    assert shown.stderr.strip().splitlines()[-1].startswith("BAD_ROWS: ")
    result = points("import", str(path), "--csv", home=ledger_home.home, **ledger_home.environment)
    assert result.returncode == 1
    assert result.stdout.count("POINTS") == 25
    assert ",'=1," in result.stdout  # docs/cases.md, R23
    for arguments in (["--map", "points"], ["--expect-points", "many"], ["--expect-rows", "-1"]):
        wrong = points("import", str(path), *arguments, home=ledger_home.home, **ledger_home.environment)
        assert wrong.returncode == 2


def test_the_batch_says_what_the_file_was_and_what_it_did(ledger_home, tmp_path):
    ledger = ledger_home.open()
    rows = [transfer("T-1"), transfer("T-1"), transfer("T-2", points="x")]
    path = write_transfers(tmp_path / "a\x1fb.csv", rows)
    result = import_file(ledger, path, quarantine=True, batch_id="march")
    batch = Batch.objects.get()
    assert (batch.batch_id, batch.origin, batch.file_name) == ("march", "import", r"a\x1fb.csv")
    assert (batch.entry_id, batch.last_entry_id) == (1, 3)
    counts = (batch.row_count, batch.added_count, batch.duplicate_count, batch.quarantined_count)
    assert (
        counts
        == (3, 1, 1, 1)
        == (
            *(result.row_count, result.added, result.duplicates),
            result.quarantined,
        )
    )
    assert set(Transfer.objects.values_list("batch_id", flat=True)) == {"march"}


def test_an_import_leaves_no_files_of_its_own_behind(ledger_home, tmp_path):
    ledger = ledger_home.open()
    path = write_transfers(tmp_path / "a.csv", [transfer("T-1")])
    import_file(ledger, path)
    path.write_text("nonsense", encoding="utf-8")
    with pytest.raises(TransfersFileRefused):
        import_file(ledger, path)
    assert [path.name for path in (ledger.settings.home / ".work").iterdir()] == ["lock"]


SMALL_MEMORY = """
import sys
from pathlib import Path
import ledger.files.imports
from ledger.database import open_ledger
from ledger.settings import Settings

ledger.files.imports.MEMORY_LIMIT = "150MB"
opened = open_ledger(Settings.from_environment(), create=True)
print(ledger.files.imports.import_file(opened, Path(sys.argv[1])).added)
"""


@pytest.mark.slow
def test_a_file_larger_than_the_memory_allowed_is_taken(ledger_home, tmp_path):
    """docs/cases.md, F15; ten million rows are `python -m benchmarks.import_rate`'s."""
    path = tmp_path / "large.csv"
    duckdb.sql(
        "copy (select uuid() as transfer_id, 'C-' || number % 20000 as relation_reference, 'give' as style,"
        " 1 + number % 500 as points, 'rule_credit' as reason,"
        " '2026-03-10T12:00:00Z' as occurred_at, repeat(md5(number::varchar), 8) as comment"
        f" from range(500_000) as numbers (number)) to '{path}'"
    )
    assert path.stat().st_size > 150_000_000
    ran = subprocess.run(
        [sys.executable, "-c", SMALL_MEMORY, str(path)],
        env={**os.environ, "POINTS_HOME": str(ledger_home.home), **ledger_home.environment},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "500000\n", ran.stderr
    # Of all children so far, so that this can only err on the safe side.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 900_000


def test_who_imports_and_when_is_recorded(ledger_home, tmp_path):
    ledger = replace(ledger_home.open(user="ada"), user="the inbox")
    import_file(ledger, write_transfers(tmp_path / "a.csv", [transfer("T-1")]))
    assert {entry.recorded_by for entry in (Transfer.objects.get(), Batch.objects.get())} == {"the inbox"}


def test_parquet_with_a_damaged_byte_is_never_anything_but_refused_or_read(refusing_home, tmp_path):
    """docs/cases.md, F14: wherever the damage is. A bad row is one way to be refused."""
    duckdb.sql(
        "select 'P-' || i as transfer_id, 'C-1' as relation_reference, 'give' as style, '10' as points,"
        " 'rule_credit' as reason, '2026-03-10T12:00:00Z' as occurred_at from range(50) as numbers (i)"
    ).write_parquet(str(tmp_path / "whole.parquet"))
    whole = (tmp_path / "whole.parquet").read_bytes()
    ledger = refusing_home.open()
    refused = 0
    for position in range(5, len(whole) - 8, max(1, len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "a.parquet").write_bytes(damaged)
        try:
            import_file(ledger, tmp_path / "a.parquet", dry_run=True)
        except PointsError:
            refused += 1
    assert refused > 5
