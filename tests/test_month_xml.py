"""The XML of a month, as DuckDB writes it: in the order of the references' bytes, whole also without rows."""

from pathlib import Path

import pytest
from lxml import etree

from ledger.data_files import connect
from orchestration.month_files import BASIS, POINTS_COLUMNS, MonthCurrency, make_xml
from orchestration.month_xml import SCHEMA, read_month_xml

FACTS = {
    "programme": 'Meyer & "Söhne"',
    "report_month": "2026-10",
    "period_start_date": "2026-10-01",
    "period_end_date": "2026-10-31",
    "status": "closed",
    "revision": "1",
    "currency": "POINTS",
    "basis": BASIS,
}


def write_xml(folder: Path, references: str, count: int) -> Path:
    """The XML of a month of ``count`` rows, whose ``references`` a query gives; the points are 0 to 10, less
    5.25."""
    mart, file = folder / "outstanding_points_by_month.parquet", folder / "outstanding_points.xml"
    points = ", ".join(
        f"cast({number} - 5.25 as decimal(38, 4)) as {name}" for number, name in enumerate(POINTS_COLUMNS)
    )
    with connect() as duck:
        duck.execute(
            f"copy (select relation_reference, date '2026-10-01' as report_month, 'POINTS' as currency,"
            f" {points} from ({references})) to '{mart}' (format parquet)"
        )
    make_xml(lambda name: folder / name, MonthCurrency(FACTS, "POINTS", count), file)
    return file


@pytest.mark.parametrize("count", [0, 1, 250_000])
def test_xml_is_valid_and_in_order_whatever_the_number_of_rows(tmp_path, count: int):
    file = write_xml(
        tmp_path,
        f"select 'C-' || number * 7919 % 250000 as relation_reference from range({count}) as n(number)",
        count,
    )
    with connect() as duck:
        assert duck.execute(f"select count(*) from {read_month_xml(file)}").fetchone() == (count,)
    lines = file.read_text(encoding="utf-8").split("\n")
    assert (lines[0], lines[-2:]) == ('<?xml version="1.0" encoding="UTF-8"?>', ["</outstanding_points>", ""])
    assert len(lines) == count + 4
    root = etree.parse(file).getroot()
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(root)
    assert dict(root.attrib) == FACTS
    found = [row.get("relation_reference") for row in root]
    assert found == sorted(f"C-{number * 7919 % 250_000}" for number in range(count))
    for row in root:
        assert [row.get(name) for name in POINTS_COLUMNS[:2]] == ["-5.25", "-4.25"]
        assert row.get(POINTS_COLUMNS[-1]) == "4.75"


def test_a_reference_that_means_something_in_xml_is_escaped(tmp_path):
    (row,) = etree.parse(write_xml(tmp_path, "select 'C&1' as relation_reference", 1)).getroot()
    assert row.get("relation_reference") == "C&1"
