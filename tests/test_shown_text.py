"""What came from outside is shown, to people and to programs, so that it acts on nothing
(docs/cases.md, S33)."""

import csv
import io
import json
import re

import duckdb
from rich.table import Table
from rich.text import Text

from console.tables import Screen
from console.upkeep_screens import show_examination
from ledger.errors import PointsError
from ledger.files.transfer_rows import write_transfer_rows
from ledger.shown_text import shown
from ledger.upkeep.health import Finding
from orchestration.upkeep.doctor import Examination, SettingShown
from simulator.transfer_files import write_transfers
from tests.conftest import transfer

# It clears the screen, forges a line and turns the direction of what stands behind it.
HOSTILE = "a\x1b[2J\x9b31m\nall is well\u202egpj.csv"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def test_what_cannot_be_seen_is_written_out_on_one_line():
    """docs/cases.md, S33."""
    assert shown(HOSTILE) == r"a\x1b[2J\x9b31m\nall is well\u202egpj.csv"
    assert shown("1\xa0000 Punkte für 👩, a\\b") == "1\xa0000 Punkte für 👩, a\\b"
    assert shown("half of a character: \udc80\u2028") == r"half of a character: \udc80\u2028"
    assert PointsError(f"{HOSTILE} is not there.").sentence.startswith(r"a\x1b[2J")


def test_nothing_that_is_printed_for_people_acts_on_the_terminal_or_is_left_out():
    """docs/cases.md, S33."""
    printed = io.StringIO()
    screen = Screen(file=printed, width=200)
    screen.print(Text(HOSTILE), "C:boom:1")
    table = Table("File")
    table.add_row(Text("x\x1b[2Jy"))
    screen.print(table)
    assert not ACTS.search(printed.getvalue())
    for escaped in (r"a\x1b[2J\x9b31m", "C:boom:1", r"x\x1b[2Jy"):
        assert escaped in printed.getvalue()


def test_a_file_with_a_hostile_name_and_values_acts_nowhere_when_it_is_named(points, tmp_path):
    """docs/cases.md, S33."""
    file = write_transfers(
        tmp_path / HOSTILE,
        [transfer("T-1", comment="x\x1b]0;y\x07"), transfer("T-2", comment="z\x85")],
        ["transfer_id", "relation_reference", "style", "points", "reason", "occurred_at", "comment"],
    )
    home = tmp_path / "home"
    refused = points("import", str(file), home=home)
    assert refused.returncode == 1
    assert r"a\x1b[2J\x9b31m\nall is well" in refused.stderr
    kept = points("import", str(file), "--quarantine", home=home)
    assert kept.returncode == 0, kept.stderr
    output = [points("quarantine", *options, home=home).stdout for options in ([], ["--json"], ["--csv"])]
    for text in (refused.stdout, refused.stderr, kept.stdout, kept.stderr, *output):
        assert not ACTS.search(text)
    # Programs read what was sent from JSON; in CSV it is written out.
    assert [row["value"] for row in json.loads(output[1])] == ["x\x1b]0;y\x07", "z\x85"]
    assert [row["value"] for row in csv.DictReader(io.StringIO(output[2]))] == [r"x\x1b]0;y\x07", r"z\x85"]
    assert {row["file_name"] for row in json.loads(output[1])} == {shown(HOSTILE)}


def test_a_build_and_the_doctor_name_such_a_file_alike(tmp_path, capsys):
    write_transfers(tmp_path / HOSTILE, [transfer("T-1")])
    write_transfer_rows(str(tmp_path), tmp_path.with_name("rows"))
    read = duckdb.read_parquet(str(tmp_path.with_name("rows") / "000001.parquet"))
    assert read.select("file").fetchall() == [(shown(HOSTILE),)]
    finding = Finding("inbox", "warning", f"{HOSTILE} lies there.", f"Move {HOSTILE}.")
    show_examination(Examination([SettingShown("POINTS_USER", "ops", "environment")], None, [finding]))
    printed = capsys.readouterr().out
    assert printed.count(shown(HOSTILE)) == 2
    assert not ACTS.search(printed)
