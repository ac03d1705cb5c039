"""Files as others write them, to every reader: the import's, a build's, and that of a `dbt build` by hand.

Each case of docs/cases.md comes out alike, but for what `OTHERWISE_BY_HAND` lists.
"""

import gzip
import json
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import duckdb
import pytest

from ledger.database import open_ledger
from ledger.files.imports import ImportRefused, import_file
from ledger.files.transfer_rows import write_transfer_rows
from ledger.files.transfers_file import TransfersFileRefused
from ledger.models import QuarantinedRow, Transfer
from ledger.settings import Settings
from ledger.spreadsheet_text import harmless_text
from tests.conftest import PROJECT_ROOT

HEADER = "transfer_id,relation_reference,style,points,reason,occurred_at,comment"


def row(transfer_id: str, comment: str = "") -> str:
    return f"{transfer_id},C-1,give,1,rule_credit,2026-03-10T12:00:00Z,{comment}"


def lines(*rows: str, end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in (HEADER, *rows)).encode()


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def parquet(columns: str) -> str:
    good = (
        "'A' as transfer_id, 'C-1' as relation_reference, 'give' as style, 1 as points,"
        " 'rule_credit' as reason, '2026-03-10T12:00:00Z' as occurred_at"
    )
    return f"select {good}, {columns}"


HUGE = "x" * 3_000_000
# Comments of which a spreadsheet would make something, and those that look as if an export had been there.
TEXTS = [
    *("+491511", "=1", "'=1", "''=1", "'tis", "paid;=1", "paid;'=1", "line\r\n- item", "＝1", "\t＠1", "-5"),
    *("", "a, b", 'says "-1"', ';"=1"', "it's; fine", "\r\n\r\n@"),
]
LINE_COUNTS = [text.count("\n") + 1 for text in TEXTS[:-1]]
COMMENTS = {f"T-{place:02d}": text for place, text in enumerate(TEXTS)}
# What is sent, and what becomes of it: the code of the refusal, or each row's line and id.
CASES: dict[str, tuple[bytes | str, str | list[tuple[int, str]]]] = {
    "F1 empty.csv": (b"", "FILE_EMPTY"),
    "F2 header only.csv": (lines(), []),
    "F2 no rows.parquet": (parquet("null::integer as comment") + " limit 0", []),
    "F3 cp1252.csv": (lines(row("A"), row("B", "é")).decode().encode("cp1252"), "ENCODING"),
    "F4 BOM.csv": (b"\xef\xbb\xbf" + lines(row("A")), [(2, "A")]),
    "F5 unknown.csv": (lines(row("A")).replace(b"comment", b"remark"), "HEADER"),
    "F6 semicolons.csv": (lines(row("A")).replace(b",", b";"), "HEADER"),
    "F8 open.csv": (lines(row("A", '"x'), row("B")), "QUOTE"),
    "F8 behind.csv": (lines(row("A", '"x"y'), row("B")), "QUOTE"),
    "F8 across.csv": (lines(row("A", '"x'), row("B", '"y'), row("C")), "QUOTE"),
    "F9 breaks off.csv": (lines(row("A")) + b"B,C-1,give", "TRUNCATED"),
    "F9 no line end.csv": (lines(row("A"), row("B"))[:-1], [(2, "A"), (3, "B")]),
    "F14 float.parquet": (parquet("1.5::double as comment"), "HEADER"),
    "F16 two kinds.csv": (
        lines(row("A"), row("B") + "\r", row("C", '"x\r\ny"')),
        [(2, "A"), (3, "B"), (4, "C")],
    ),
    "F16 three kinds.csv": (
        lines(row("A") + "\r" + row("B") + "\r", row("C", '"x\ny"'), row("D")),
        [(2, "A"), (3, "B"), (4, "C"), (6, "D")],
    ),
    "F16 CR alone.csv": (lines(row("A"), row("B"), end="\r"), [(2, "A"), (3, "B")]),
    "F16 blank lines.csv.gz": (lines(row("A"), "", row("B"), end="\r\n"), [(2, "A"), (4, "B")]),
    "F17 integer.parquet": (parquet("null::integer as comment"), [(1, "A")]),
    "F17 float.parquet": (parquet("null::double as currency, null::blob as remark"), [(1, "A")]),
    "F17 needed.parquet": (parquet("'' as comment").replace("1 as", "null::double as"), "HEADER"),
    "R27 our export.csv": (
        lines(*(row(known, quoted(harmless_text(text))) for known, text in COMMENTS.items())),
        list(
            zip(accumulate((text.count("\n") + 1 for text in TEXTS[:-1]), initial=2), COMMENTS, strict=True)
        ),
    ),
    "F20 comment.csv": (lines(row("A", HUGE), row("B")), [(2, "A"), (3, "B")]),
    "F20 points.csv": (lines(row("A"), row("B").replace(",1,", f",{HUGE},")), [(2, "A"), (3, "B")]),
}
# SQL cannot distinguish a last row that breaks off from one that is too short: it is set aside, as FIELDS.
OTHERWISE_BY_HAND = {"F9 breaks off.csv": ["A", "B"]}

# One process for all files: each gets a database of its own, and dbt parses once.
BY_HAND = """
import json, os, pathlib, sys
from dbt.cli.main import dbtRunner

folder = pathlib.Path(sys.argv[1])
base = ["--project-dir", sys.argv[2], "--profiles-dir", sys.argv[2], "--quiet"]
base += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
manifest = dbtRunner().invoke(["parse", *base]).result
said = {}
for file in sorted((folder / "sent").iterdir()):
    own = folder / "built" / file.name
    own.mkdir(parents=True)
    os.environ |= {"POINTS_TRANSFERS": str(file), "POINTS_BUILD_DATABASE": str(own / "dev.duckdb")}
    models = ["--select", "sample_transfers", "base_files__transfers", "--exclude-resource-type", "test"]
    ran = dbtRunner(manifest=manifest).invoke(["build", *models, *base])
    said[file.name] = "" if ran.success else ran.result.results[-1].message
(folder / "said.json").write_text(json.dumps(said), encoding="utf-8")
"""


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Path:
    """A folder with the file of each case."""
    folder = tmp_path_factory.mktemp("cases") / "sent"
    folder.mkdir()
    for name, (content, _) in CASES.items():
        if isinstance(content, str):
            duckdb.sql(content).write_parquet(str(folder / name))
        else:
            (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.fixture(scope="module")
def said_by_hand(sent) -> dict[str, str]:
    """What `dbt run` by hand says of each file, '' where it takes it."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("POINTS_", "DBT_"))
    }
    home = sent.parent / "home"
    home.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", BY_HAND, str(sent.parent), str(PROJECT_ROOT)],
        env={**inherited, "POINTS_HOME": str(home)},
        cwd=sent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads((sent.parent / "said.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_the_import_takes_a_file_or_refuses_it_by_its_code(sent, tmp_path, name):
    """docs/cases.md, F1 to F6, F8, F9, F14, F16, F17 and F20."""
    expected = CASES[name][1]
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(tmp_path / "home")}), create=True)
    if isinstance(expected, str):
        with pytest.raises(TransfersFileRefused) as refused:
            import_file(ledger, sent / name)
        assert refused.value.code == expected
        return
    if name == "F20 points.csv":
        with pytest.raises(ImportRefused) as rejected:
            import_file(ledger, sent / name)
        assert [(bad.line, bad.transfer_id, bad.code) for bad in rejected.value.bad_rows] == [
            (3, "B", "POINTS")
        ]
    import_file(ledger, sent / name, quarantine=True)
    kept = list(QuarantinedRow.objects.values_list("line", "transfer_id"))
    added = Transfer.objects.values_list("transfer_id", flat=True)
    assert sorted([*added, *(transfer_id for _, transfer_id in kept)]) == [known for _, known in expected]
    assert set(kept) <= set(expected)


@pytest.mark.parametrize("name", CASES)
def test_a_build_reads_the_same_rows_each_with_its_file_and_line(sent, tmp_path, name):
    """docs/cases.md, F1 to F6, F8, F9, F14, F16, F17 and F20."""
    expected = CASES[name][1]
    if isinstance(expected, str):
        with pytest.raises(TransfersFileRefused) as refused:
            write_transfer_rows(str(sent / name), tmp_path / "rows")
        assert refused.value.code == expected
        return
    write_transfer_rows(str(sent / name), tmp_path / "rows")
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["000001.parquet"]
    read = duckdb.read_parquet(str(tmp_path / "rows" / "000001.parquet"))
    assert read.select("line, transfer_id").order("line").fetchall() == expected
    assert {file for (file,) in read.select("file").fetchall()} <= {name}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_dbt_by_hand_reads_the_same_rows_or_refuses_the_file_too(sent, said_by_hand, name):
    """docs/cases.md, F1 to F6, F8, F9, F14, F16, F17 and F20."""
    expected = CASES[name][1]
    if isinstance(expected, str) and name not in OTHERWISE_BY_HAND:
        assert said_by_hand[name], "it was taken"
        assert expected in said_by_hand[name] or expected == "ENCODING", said_by_hand[name]
        return
    assert said_by_hand[name] == ""
    with duckdb.connect(str(sent.parent / "built" / name / "dev.duckdb"), read_only=True) as built:
        found = built.execute("select transfer_id from base_files__transfers order by all").fetchall()
    ids = OTHERWISE_BY_HAND.get(name) or [known for _, known in expected]
    assert [known for (known,) in found] == ids


def test_the_import_takes_off_what_an_export_has_added(sent, tmp_path):
    """docs/cases.md, R27."""
    ledger = open_ledger(Settings.from_environment({"POINTS_HOME": str(tmp_path / "home")}), create=True)
    import_file(ledger, sent / "R27 our export.csv")
    assert dict(Transfer.objects.values_list("transfer_id", "comment")) == COMMENTS


def test_a_build_takes_off_what_an_export_has_added(sent, tmp_path):
    """docs/cases.md, R27."""
    write_transfer_rows(str(sent / "R27 our export.csv"), tmp_path / "rows")
    read = duckdb.read_parquet(str(tmp_path / "rows" / "000001.parquet"))
    assert dict(read.select("transfer_id, comment").fetchall()) == COMMENTS


@pytest.mark.slow
def test_dbt_by_hand_takes_off_what_an_export_has_added(sent, said_by_hand):
    """docs/cases.md, R27."""
    assert said_by_hand["R27 our export.csv"] == ""
    database = sent.parent / "built" / "R27 our export.csv" / "dev.duckdb"
    with duckdb.connect(str(database), read_only=True) as built:
        found = built.execute("select transfer_id, comment from base_files__transfers").fetchall()
    assert dict(found) == COMMENTS
