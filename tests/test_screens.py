"""What people see: on a terminal of 80 columns, on a pipe, or nowhere (docs/design.md, section 10)."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from console.screens import show_months
from ledger.rules import ValueRefused
from ledger.settings import Settings
from orchestration.reports import MonthSummary
from simulator.transfer_files import write_transfers
from tests.closed_programme import CLOSED, NEXT, Home
from tests.conftest import POINTS, PROJECT_ROOT, answer, assert_refused, transfer


def environment_of(home: Home) -> dict[str, str]:
    """That of a real process, whose output goes where a test says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    return {**inherited, "POINTS_HOME": str(home.path)}


def on_a_terminal(home: Home, *arguments: str) -> list[str]:
    """The lines of a command's answer on a terminal of 80 columns, without colours."""
    terminal, device = pty.openpty()
    fcntl.ioctl(device, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [POINTS, *arguments],
        env={**environment_of(home), "TERM": "xterm"},
        cwd=home.path.parent,
        stdin=device,
        stdout=device,
        stderr=device,
    )
    os.close(device)
    shown = b""
    try:
        while read := os.read(terminal, 65_536):
            shown += read
    except OSError:
        pass  # so a terminal ends whose other side is closed
    os.close(terminal)
    assert process.wait() == 0, shown
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()]


def to_nobody(home: Home, *arguments: str) -> subprocess.CompletedProcess:
    """Run a command whose answer goes into a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [POINTS, *arguments],
            env=environment_of(home),
            cwd=home.path.parent,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)


def test_what_stood_for_standard_output_stays_open_while_the_command_writes_to_it(tmp_path):
    """Closed, its number would be that of the next file, and the command's output would go into that."""
    script = (
        "import gc, os, sys\n"
        "from console.standard_streams import take_standard_streams\n"
        "sys.stdout = open(sys.argv[1], 'w')\n"
        "number = sys.stdout.fileno()\n"
        "take_standard_streams()\n"
        "gc.collect()\n"
        "other = open(sys.argv[2], 'w')\n"
        "print('an answer', flush=True)\n"
        "assert other.fileno() != number\n"
    )
    answered, other = tmp_path / "answered", tmp_path / "other"
    subprocess.run([sys.executable, "-c", script, answered, other], cwd=PROJECT_ROOT, check=True)
    assert (answered.read_text(), other.read_text()) == ("an answer\n", "")


def test_a_reader_who_had_enough_is_no_failure(copied):
    """docs/cases.md, C16."""
    for arguments in (
        "--help",
        "months",
        "months --json",
        "months --csv",
        f"report {CLOSED[0]} --csv",
        "transfers",
        "transfers --csv",
        "transfers --xml",
        "balances --json",
        "give C-1 5 --id UNSEEN",
    ):
        result = to_nobody(copied, *arguments.split())
        assert (result.returncode, result.stderr) == (0, ""), arguments
    assert json.loads(answer(copied.points("transfers", "UNSEEN", "--json")))["points"] == "5"


def test_what_is_refused_stays_refused_when_nobody_reads_why(copied):
    """docs/cases.md, C16: the bad rows are printed, and then the sentence."""
    bad = copied.path.parent / "bad.csv"
    bad.write_text(
        "transfer_id,relation_reference,style,points,reason,occurred_at\nB-1,C-1,give,1e3,x,today\n"
    )
    result = to_nobody(copied, "import", str(bad), "--csv")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_standard_streams_may_be_closed(copied):
    """docs/cases.md, C16."""
    for arguments, status in (
        ("months >&-", 0),
        ("transfers --csv >&-", 0),
        ("give C-1 5 --json >&- 2>&-", 0),
        ("report 2026-13 2>&-", 1),
        ("report 2026-13 >&-", 1),
        ("months <&- >&- 2>&-", 0),
    ):
        result = subprocess.run(
            ["sh", "-c", f'"{POINTS}" {arguments}'],
            env=environment_of(copied),
            cwd=copied.path.parent,
            capture_output=True,
            text=True,
        )
        assert result.returncode == status, arguments
        assert "Traceback" not in result.stderr
    answer(copied.points("verify"))


def test_an_answer_that_a_full_disk_took_is_a_failure(copied):
    """docs/cases.md, X25: small answers too, which are written at the end."""
    if not Path("/dev/full").exists():
        pytest.skip("This system has no device that is always full.")
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [POINTS, "transfers", "--limit", "1", "--json"],
            env=environment_of(copied),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1


def test_months_fit_a_terminal(copied):
    lines = on_a_terminal(copied, "months")
    assert max(map(len, lines[:-1])) <= 80, lines
    assert all(any(month in line and "issued, r1" in line for line in lines) for month in CLOSED)


@pytest.mark.parametrize(("points", "width"), [("1234567.1234", 80), ("12345678901234567890.1234", 100)])
def test_a_name_is_folded_before_a_number_is_cut(points, width, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "80")
    name = "somebody.whose.name.is.long@partner.example"
    months = MonthSummary(
        **{field: Decimal(0) for field in MonthSummary.__dataclass_fields__}
        | {
            "report_month": CLOSED[0],
            "status": "signed_off",
            "revision": 1,
            "waiting_revision": None,
            "closed_at": datetime(2025, 2, 3, tzinfo=UTC),
            "closed_by": name,
            "signed_off_at": datetime(2025, 2, 4, tzinfo=UTC),
            "signed_off_by": name,
            "currency": "POINTS",
            "closing_points": Decimal(points),
            "relation_count": 1_000_000,
            "folder": tmp_path / "published",
        }
    )
    show_months(Settings.from_environment({"POINTS_HOME": str(tmp_path)}), [months])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    table = [line.rstrip() for line in lines if not line.startswith("Files:")]
    assert max(map(len, table)) <= width
    assert sum(f"{Decimal(points):,}" in line for line in table) == 1
    assert "".join(line[-16:].strip() for line in table).count(name) == 2


def test_quarantined_rows_are_shown_whole(copied):
    sent = {
        "points": "1e3",
        "reason": "of_a_partner_whose_reasons_are_longer_than_a_column_of_a_table_is_wide",
    }
    rows = [transfer(f"Q-{column}", **{column: value}) for column, value in sent.items()]
    file = write_transfers(copied.path.parent / "of_a_partner_with_a_long_name_2026-03.csv", rows)
    answer(copied.points("import", str(file), "--quarantine"))
    kept = json.loads(answer(copied.points("quarantine", "--json")))
    assert {row["column"]: row["value"] for row in kept} == sent
    for screen in (on_a_terminal(copied, "quarantine"), answer(copied.points("quarantine")).splitlines()):
        for row in kept:
            of = f"Entry {row['entry_id']}: {file.name}, line {row['line']}, transfer {row['transfer_id']}"
            start = screen.index(f"{of}, {row['code']}")
            assert screen[start + 1].strip() == (
                f"{row['column']} is '{row['value']}', expected {row['expected']}"
            )


def test_nothing_is_wrapped_or_cut_on_a_pipe(copied):
    """A sentence is one line, a row is one line, however long a name in it is."""
    reference = "C-" + "x" * 120
    answer(copied.points("give", reference, "5", "--new", "--external-reference", "y" * 100))
    listed = answer(copied.points("balances", reference, COLUMNS="80"))
    assert sum(reference in line and "POINTS" in line for line in listed.splitlines()) == 1
    answer(copied.points("reopen", CLOSED[0], "--reason", "C-1 was wrong"))
    *_, sentence = answer(copied.points("months", COLUMNS="80")).splitlines()
    assert sentence.startswith("Readers keep")
    assert sentence.endswith(".")


def test_a_month_closed_again_says_what_it_waits_for(copied):
    """docs/design.md, section 6: readers go over when every month that was closed is closed again."""
    first, last = CLOSED
    answer(copied.points("reopen", first, "--reason", "C-1 was wrong"))
    closing = json.loads(answer(copied.points("close", "--json")))
    assert (closing["waiting"], closing["waiting_for"]) == ([f"{first}/r2"], [last])
    months = json.loads(answer(copied.points("months", "--json")))
    assert {
        (month["report_month"], month["status"], month["revision"], month["waiting_revision"])
        for month in months
    } == {(first, "reopened", 1, 2), (last, "reopened", 1, None)}
    said = answer(copied.points("months"))
    assert f"{first}/r2" in said
    assert f"`points close --through {last}`" in said


def test_one_transfer_says_where_it_posted_and_what_says_so(copied):
    answer(copied.points("build"))
    answer(copied.points("give", "C-1", "5", "--id", "NEWER"))
    shown = {}
    for transfer_id in ("E1-1", "LATE", "NEWER", "P3"):
        shown[transfer_id] = answer(copied.points("transfers", transfer_id))
        found = json.loads(answer(copied.points("transfers", transfer_id, "--json")))["posting"]
        assert found == {
            "E1-1": {"report_month": CLOSED[0], "bucket": "earned", "is_late": False, "revision": 1},
            "LATE": {"report_month": NEXT, "bucket": "earned", "is_late": True, "revision": None},
        }.get(transfer_id)
    assert f"{CLOSED[0]}, earned (closed, r1)" in shown["E1-1"]
    assert f"{NEXT}, earned, late (provisional" in shown["LATE"]
    assert "`points build`" in shown["NEWER"]
    assert "in no month: it is pending" in shown["P3"]


def test_a_distant_date_is_said_beside_the_answer(copied):
    first, last = CLOSED

    def said(date: str, *arguments: str) -> str:
        given = copied.points("give", "C-1", "5", "--occurred-at", date, *arguments, "--json")
        assert given.returncode == 0
        assert json.loads(given.stdout)["occurred_at"] == f"{date}T00:00:00Z"
        return given.stderr

    assert re.fullmatch(rf"FIRST is .*{first}.* closed: .*{NEXT}.*\n", said(f"{first}-05", "--id", "FIRST"))
    assert said(f"{first}-05", "--id", "FIRST") == ""  # it was recorded before
    assert "closed" in said(f"{last}-28", "--dry-run")
    assert "a year ago" in said(f"{NEXT}-01", "--id", "OLD")
    today = datetime.now(UTC)
    assert said(f"{today:%Y-%m-%d}") == ""
    assert "a year ahead" in said(f"{today.year + 3}-01-01")
    mass = copied.path.parent / "mass.csv"
    mass.write_text(
        "relation_reference,points,style,occurred_at\n"
        + f"C-1,5,give,{first}-05T00:00:00Z\nC-2,5,give,{first}-06T00:00:00Z\nC-3,5,give,\n"
    )
    done = copied.points("mass", str(mass), "--id", "M")
    assert done.returncode == 0
    assert re.fullmatch(rf"M-.* is dated {first}-05, .* 1 more\.\n", done.stderr)


def test_a_date_alone_begins_its_day_where_the_programme_is(points, tmp_path):
    def given(date: str):
        return points(
            *("give", "C-1", "5", "--new", "--occurred-at", date, "--json"),
            home=tmp_path / "home",
            POINTS_TIME_ZONE="Europe/Berlin",
        )

    yesterday = datetime.now(UTC).date() - timedelta(days=2)
    midnight = datetime.combine(yesterday, time(), ZoneInfo("Europe/Berlin")).astimezone(UTC)
    assert json.loads(answer(given(f"{yesterday}")))["occurred_at"] == f"{midnight:%Y-%m-%dT%H:%M:%SZ}"
    assert_refused(
        given("31/10/2026"),
        ValueRefused(
            "OCCURRED_AT",
            "occurred_at",
            "31/10/2026",
            "an instant like 2026-10-31T23:59:59Z, of the years 1990 to 2199",
        ),
    )
