"""`make bench` at its smallest: the project and the specialist's script agree. No time is judged."""

import json
import shutil
import subprocess
import sys

import pytest

from benchmarks.__main__ import compare, compare_rows
from benchmarks.history import write_month
from ledger.data_files import connect, read_parquet
from ledger.sql_text import literal
from orchestration.report_calendar import months_between
from simulator.many_transfers import select_transfers, write_query
from tests.conftest import PROJECT_ROOT

MONTHS = months_between("2023-01", "2023-03")


@pytest.mark.slow
def test_script_and_project_make_the_same_of_a_close_and_of_a_build(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "benchmarks", "--size", "small", "--times", "1", "--output", tmp_path],
        check=True,
        cwd=PROJECT_ROOT,
    )
    figures = json.loads((tmp_path / "small.json").read_text(encoding="utf-8"))
    assert list(figures["measured"]) == [
        "close of month 3",
        "build while month 3 is open",
        "build from the first entry",
    ]
    for pair in figures["measured"].values():
        assert pair["project"][0]["peak_memory"] > pair["script"][0]["peak_memory"] > 0
    assert figures["incremental engines"]["dbt's microbatch"]["seconds"] > 0
    assert figures["verify"]["full"]["seconds"] > figures["verify"]["files"][0] > 0
    text = (tmp_path / "small.md").read_text(encoding="utf-8")
    assert "| close of month 3 |" in text
    assert figures["machine"]["commit"] in text
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_script_ends_where_a_truth_does_not_hold_or_the_history_is_another(tmp_path):
    def run(change: str) -> subprocess.CompletedProcess:
        """The script over a cut of one month, with another column or row in it."""
        for part in ("transfers", "status_changes", "account_events"):
            (tmp_path / "cut" / part).mkdir(parents=True, exist_ok=True)
        query = f"""
            select number + 1 as entry_id, * exclude (number, approved_at),
                timestamp '2026-01-01' as recorded_at, 'ada' as recorded_by, null::varchar as batch_id,
                null::varchar as external_reference, null::varchar as comment
            from ({select_transfers(50, 3, days=20)})
        """
        segment = "000000000001-000000000050.parquet"
        write_query(tmp_path / "cut" / "transfers" / segment, f"select {change} from ({query})")
        nothing = (
            "1::bigint as entry_id, '' as transfer_id, '' as status, timestamp '2023-01-01' as changed_at"
        )
        for part in ("status_changes", "account_events"):
            write_query(tmp_path / "cut" / part / segment, f"select {nothing} limit 0")
        shutil.rmtree(tmp_path / "output", ignore_errors=True)
        return subprocess.run(
            [
                *(sys.executable, PROJECT_ROOT / "benchmarks" / "specialist.py", "--cut", tmp_path / "cut"),
                *("--upto", "50", "--months", "2023-01:2023-01", "--output", tmp_path / "output"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    found = run("*")
    assert (found.returncode, found.stderr) == (0, "")
    for change, sentence in (
        (
            "* replace (if(entry_id = 2, 'T-000000002', transfer_id) as transfer_id)",
            "transfers that stand twice",
        ),
        (
            "* replace (if(style = 'give', 'account_closure', reason) as reason)",
            "not counted once, close an account",
        ),
        ("* replace (timestamp '2022-01-01' as recorded_at)", "dated ahead"),
        ("* replace (points + entry_id as points)", "revocations that are a discrepancy"),
    ):
        found = run(change)
        assert found.returncode == 1, change
        assert sentence in found.stderr, change


def test_files_that_differ_end_the_benchmark(tmp_path):
    script, project = tmp_path / "script", tmp_path / "project"
    script.mkdir()
    file = "points_movements_by_month.parquet"
    (script / "outstanding_points.csv").write_bytes(b"Relation Reference\r\nC-1\r\n")
    with connect() as database:
        database.execute(
            "copy (select date '2023-01-01' as report_month, 'POINTS' as currency,"
            " 'C-1' as relation_reference, 'earned' as bucket, 'rule_credit' as reason, 1.5 as bucket_points,"
            f" 1.5 as signed_points, 1 as transfer_count) to {literal(script / file)}"
        )
    shutil.copytree(script, project)
    (project / "manifest.json").write_text("{}", encoding="utf-8")
    (project / "restatement.MILES.csv").write_text("", encoding="utf-8")
    compare(script, project)
    (script / "programme_points.csv").touch()
    with pytest.raises(SystemExit, match=r"one alone holds programme_points\.csv"):
        compare(script, project)
    (script / "programme_points.csv").unlink()
    (script / "outstanding_points.csv").write_bytes(b"Relation Reference\nC-1\n")
    with pytest.raises(SystemExit, match="not the same bytes"):
        compare(script, project)
    with connect() as database:
        database.execute(
            f"copy (select * replace (1.6 as signed_points) from {read_parquet(project / file)})"
            f" to {literal(script / file)}"
        )
    with pytest.raises(SystemExit, match="Not the same rows of points_movements_by_month"):
        compare_rows(script / file, project / file)


def test_a_month_has_revocations_near_and_far_late_transfers_and_what_waited_for_a_month(tmp_path):
    write_month(tmp_path / "month.parquet", [*MONTHS, "2023-04", "2023-05"], 5, 1_000, 20)
    with connect() as database:
        rows = f"from {read_parquet(tmp_path / 'month.parquet')}"
        assert database.execute(
            f"""select count(*) filter (status_changed_at is null),
                count(*) filter (occurred_at < timestamp '2023-05-01' and status_changed_at is null),
                count(*) filter (reverses_transfer_id < 'T-000004000'),
                count(*) filter (reverses_transfer_id >= 'T-000004000'),
                count(*) filter (status = 'pending'),
                count(*) filter (status_changed_at - occurred_at = interval 1 day),
                count(*) filter (status_changed_at - occurred_at = interval 31 day) {rows}"""
        ).fetchone() == (1_000, 4, 10, 90, 20, 4, 4)
        # In random order, but for the statuses, which change what stands before them.
        descending, misplaced = database.execute(
            f"""select count(*) filter (transfer_id < before), count(*) filter (not is_change and was_change)
            from (
                select transfer_id, status_changed_at is not null as is_change,
                    lag(transfer_id) over () as before, lag(is_change) over () as was_change {rows}
            )"""
        ).fetchone()
        assert 400 < descending < 600
        assert misplaced == 0
