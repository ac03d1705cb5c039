"""The XML of a month, as DuckDB writes it: in the order of the references' bytes, whole also without rows."""

from pathlib import Path

import pytest
from lxml import etree

from ledger.data_files import connect
from orchestration.month_files import BASIS, writing_cursor
from orchestration.month_xml import SCHEMA, read_month_xml, xml_copy

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
COLUMNS = [
    *(f"total_{name}_points" for name in ("earned", "reversal", "redeemed", "expired", "outstanding")),
    *(f"{name}_points" for name in ("opening", "earned", "reversal", "redeemed", "expired", "closing")),
]


@pytest.mark.parametrize("count", [0, 1, 250_000])
def test_xml_is_valid_and_in_order_whatever_the_number_of_rows(tmp_path, count: int):
    references = [f"C-{number * 7919 % 250_000}" for number in range(count)]
    file = tmp_path / "outstanding_points.xml"
    points = ", ".join(
        f"cast({number} - 5.25 as decimal(38, 4)) as {name}" for number, name in enumerate(COLUMNS)
    )
    with connect() as duck:
        duck.execute(
            f"create table balances as select relation_reference, {points}"
            f" from (select unnest({references}::varchar[]) as relation_reference)"
        )
        cursor = writing_cursor(duck)
        cursor.execute(xml_copy("balances", COLUMNS, FACTS, file, is_empty=not references))
        found = duck.execute(f"select count(*) from {read_month_xml(file)}").fetchone()
    assert found == (len(references),)
    lines = file.read_text(encoding="utf-8").split("\n")
    assert (lines[0], lines[-2:]) == ('<?xml version="1.0" encoding="UTF-8"?>', ["</outstanding_points>", ""])
    assert len(lines) == len(references) + 4
    root = etree.parse(file).getroot()
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(root)
    assert dict(root.attrib) == FACTS
    assert [row.get("relation_reference") for row in root] == sorted(references)
    for row in root:
        assert row.get("total_earned_points") == "-5.25"
        assert row.get("closing_points") == "4.75"


def test_a_reference_that_means_something_in_xml_is_escaped(tmp_path):
    file = Path(tmp_path / "outstanding_points.xml")
    with connect() as duck:
        duck.execute(
            "create table balances as select 'C&1' as relation_reference, 0.0::decimal(38, 4) as points"
        )
        writing_cursor(duck).execute(xml_copy("balances", ["points"], FACTS, file, is_empty=False))
    (row,) = etree.parse(file).getroot()
    assert dict(row.attrib) == {"relation_reference": "C&1", "points": "0"}
