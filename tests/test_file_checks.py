"""A month's CSV files against the mart that they are written from (docs/design.md, section 9)."""

from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from orchestration.file_checks import FILE_CHECKS
from orchestration.month_files import OUTSTANDING_POINTS, RELATION_COLUMNS

COLUMNS = RELATION_COLUMNS[OUTSTANDING_POINTS]
# Up to 14 digits before the point a text is read in another way than beyond.
LONGEST = "9" * 34 + ".9999"
ROWS = [
    ["C-1", "12.5", "0", "0.0001", "0", "12.4999"],
    ["C-2", "99999999999999.9999", "0", "0", "0", "99999999999999.9999"],
    ["C-3", "100000000000000", "0", "0", "0", "100000000000000"],
    ["C-4", LONGEST, "0", "0", "0", LONGEST],
    ["C-5", "0", "0", LONGEST, "0", f"-{LONGEST}"],
]


def found(folder: Path, rows: list[list[str]]) -> dict[str, str]:
    """What is wrong with a file of ``rows`` beside the mart of `ROWS`, by check."""
    mart = folder / "outstanding_points_by_month.parquet"
    if not mart.exists():
        with duckdb.connect() as connection:
            types = ", ".join(
                f"{column} {'varchar' if column == 'relation_reference' else 'decimal(38, 4)'}"
                for column in COLUMNS.values()
            )
            connection.execute(f"create table mart ({types}, currency varchar default 'POINTS')")
            for reference, *points in ROWS:
                connection.execute(
                    f"insert into mart ({', '.join(COLUMNS.values())}) values (?, ?, ?, ?, ?, ?)",
                    [reference, *map(Decimal, points)],
                )
            connection.table("mart").write_parquet(str(mart))
    lines = [",".join(row) for row in [list(COLUMNS), *rows]]
    (folder / OUTSTANDING_POINTS).write_text("".join(f"{line}\r\n" for line in lines), newline="")
    checked = {}
    for check in FILE_CHECKS:
        if check.file_name == OUTSTANDING_POINTS:
            with duckdb.connect() as duck:
                _, finding = check.find(duck, folder, "POINTS", "POINTS", "closed")
            if not finding.holds:
                checked[check.name] = finding.found
    return checked


def test_a_file_that_says_what_its_mart_says_is_fine(tmp_path):
    assert found(tmp_path, ROWS) == {}
    assert found(tmp_path, [[*ROWS[0][:1], "12.50", *ROWS[0][2:]], *ROWS[1:]]) == {}


@pytest.mark.parametrize("position", range(len(ROWS)))
def test_a_value_that_is_another_one_is_found(tmp_path, position):
    """In the fourth digit after the point, too."""
    (reference, *points) = ROWS[position]
    total = str(Decimal(points[-1]) - Decimal("0.0001"))
    other = [*ROWS[:position], [reference, *points[:-1], total], *ROWS[position + 1 :]]
    assert found(tmp_path, other).keys() == {"rows_are_those_of_the_mart", "equation_holds"}


@pytest.mark.parametrize(
    "rows",
    [ROWS[1:], ROWS[:-1], [*ROWS, ROWS[-1]], [ROWS[1], ROWS[0], *ROWS[2:]], [ROWS[0], *ROWS[:-1]], []],
    ids=["without the first", "without the last", "one twice", "another order", "one for another", "none"],
)
def test_rows_that_are_other_ones_are_found(tmp_path, rows):
    assert found(tmp_path, rows).keys() == {"rows_are_those_of_the_mart"}


@pytest.mark.parametrize("value", ["", "1e3", "twelve", "1,5"])
def test_what_is_no_number_is_found(tmp_path, value):
    wrong = [[*ROWS[0][:1], value, *ROWS[0][2:]], *ROWS[1:]]
    assert "rows_are_those_of_the_mart" in found(tmp_path, wrong)
