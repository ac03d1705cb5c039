"""Files of other systems: signed points, dates alone, reasons in their own words, rows of nothing."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from ledger.files.imports import ImportRefused, import_file
from ledger.files.quarantine import list_open_rows
from ledger.files.transfers_file import TransfersFileRefused
from ledger.files.translations import DateTimeInvalid, ReasonsRefused, Translation
from ledger.models import Transfer
from tests.conftest import answer, assert_refused

HEADER = "booking,member,amount,text,booked_on"
BOOKINGS = (
    "B-1,C-1,+250,Flight,2026-03-01",
    "B-2,C-1,-80.5,Shop,2026-03-02",
    "B-3,C-1,20,Shop,2026-03-03",
    "B-4,C-2,0.00,Statement,2026-03-31",
    "B-5,C-2,-250,Flight,2026-03-31",
    'B-6,C-2,7,\'=Bonus; "Ümit",2026-07-01T08:00:00',
)
REASONS = """their_reason,their_sign,reason,style
Flight,,rule_credit,
Flight,-,admin_adjustment,
Shop,,redemption,
\'=Bonus; "Ümit",+,campaign_bonus,give
"""
MAP = {"booking": "transfer_id", "member": "relation_reference", "amount": "points", "text": "reason"}
MAP["booked_on"] = "occurred_at"
COMMAND = [
    *(part for theirs, ours in MAP.items() for part in ("--map", f"{theirs}={ours}")),
    *("--signed-points", "--date-at", "00:00", "--skip-zero"),
]
BERLIN = {"POINTS_TIME_ZONE": "Europe/Berlin"}


def written(
    folder: Path, rows: Sequence[str] = BOOKINGS, header: str = HEADER, name: str = "bookings.csv"
) -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
    return path


@pytest.fixture
def reasons(tmp_path) -> Path:
    path = tmp_path / "reasons.csv"
    path.write_text(REASONS, encoding="utf-8")
    return path


@pytest.fixture
def everything(reasons) -> Translation:
    return Translation(signed_points=True, date_at="00:00", reasons=reasons, skips_zero=True)


def test_a_file_of_signed_amounts_dates_and_free_reasons_is_imported_in_one_command(
    points, ledger_home, tmp_path, reasons
):
    command = ("import", str(written(tmp_path)), *COMMAND, "--reasons", str(reasons), "--json")
    settings = {**ledger_home.environment, **BERLIN}
    found = json.loads(answer(points(*command, home=ledger_home.home, **settings)))
    assert (found["rows"], found["added"], found["skipped"]) == (6, 5, 1)
    ledger_home.open(**BERLIN)
    assert list(
        Transfer.objects.order_by("entry_id").values_list(
            "transfer_id", "relation_reference", "style", "points", "reason", "occurred_at"
        )
    ) == [
        ("B-1", "C-1", "give", Decimal(250), "rule_credit", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("B-2", "C-1", "deduct", Decimal("80.5"), "redemption", datetime(2026, 3, 1, 23, tzinfo=UTC)),
        ("B-3", "C-1", "give", Decimal(20), "redemption", datetime(2026, 3, 2, 23, tzinfo=UTC)),
        ("B-5", "C-2", "deduct", Decimal(250), "admin_adjustment", datetime(2026, 3, 30, 22, tzinfo=UTC)),
        ("B-6", "C-2", "give", Decimal(7), "campaign_bonus", datetime(2026, 7, 1, 6, tzinfo=UTC)),
    ]
    again = json.loads(answer(points(*command, home=ledger_home.home, **settings)))
    assert (again["added"], again["duplicates"], again["skipped"], again["batch_id"]) == (0, 5, 1, "")


def test_a_booking_of_the_other_sign_is_other_content(ledger_home, tmp_path, everything):
    """docs/cases.md, R3."""
    ledger = ledger_home.open()
    import_file(ledger, written(tmp_path, BOOKINGS[:3]), renamed=MAP, translation=everything)
    with pytest.raises(ImportRefused) as refused:
        import_file(
            ledger, written(tmp_path, ["B-3,C-1,-20,Shop,2026-03-03"]), renamed=MAP, translation=everything
        )
    assert refused.value.code == "ID_CONFLICT"
    assert "style" in refused.value.bad_rows[0].expected


def test_what_cannot_be_translated_is_a_bad_row_and_named_as_it_was_sent(ledger_home, tmp_path, everything):
    rows = [
        BOOKINGS[0],
        "B-7,C-1,5,Birthday,2026-03-01",
        "B-8,C-1,--5,Flight,2026-03-01",
        'B-9,C-1,-7,\'=Bonus; "Ümit",01.03.2026',
        "B-10,C-1,5,rule_credit,2026-03-01",
        "B-11,C-1,0",
    ]
    ledger = ledger_home.open()
    path = written(tmp_path, rows)
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger, path, renamed=MAP, translation=everything)
    assert [(bad.line, bad.column, bad.value) for bad in refused.value.bad_rows] == [
        (3, "reason", "Birthday"),
        (4, "points", "--5"),
        (5, "reason", '\'=Bonus; "Ümit"'),
        (5, "occurred_at", "01.03.2026"),
        (6, "reason", "rule_credit"),
        (7, "", ""),
    ]
    assert "reasons.csv" in refused.value.bad_rows[0].expected
    result = import_file(ledger, path, renamed=MAP, translation=everything, quarantine=True)
    assert (result.added, result.quarantined, result.skipped) == (1, 5, 0)
    assert next(list_open_rows(ledger)).values["points"] == "5"


def test_a_reason_may_say_the_style_of_a_file_without_signs(ledger_home, tmp_path, reasons):
    reasons.write_text(
        "reason,their_reason,style\nredemption,Shop,deduct\nrule_credit,Flight,\n", encoding="utf-8"
    )
    rows = ["B-1,C-1,5,Flight,2026-03-01", "B-2,C-1,3,Shop,2026-03-01"]
    translation = Translation(date_at="23:59", reasons=reasons)
    import_file(ledger_home.open(), written(tmp_path, rows), renamed=MAP, translation=translation)
    assert set(Transfer.objects.values_list("transfer_id", "style", "reason", "occurred_at")) == {
        ("B-1", "give", "rule_credit", datetime(2026, 3, 1, 23, 59, tzinfo=UTC)),
        ("B-2", "deduct", "redemption", datetime(2026, 3, 1, 23, 59, tzinfo=UTC)),
    }


def test_a_parquet_file_may_have_dates(ledger_home, tmp_path):
    """docs/cases.md, F14: without a time for them it is refused."""
    path = tmp_path / "bookings.parquet"
    duckdb.sql(
        "select 'T-1' as transfer_id, 'C-1' as relation_reference, -2.5::decimal(9, 2) as points,"
        " 'admin_adjustment' as reason, date '2026-03-01' as occurred_at"
    ).write_parquet(str(path))
    ledger = ledger_home.open()
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(ledger, path, translation=Translation(signed_points=True))
    assert refused.value.code == "HEADER"
    import_file(ledger, path, translation=Translation(signed_points=True, date_at="12:00"))
    assert list(Transfer.objects.values_list("style", "points", "occurred_at")) == [
        ("deduct", Decimal("2.5"), datetime(2026, 3, 1, 12, tzinfo=UTC))
    ]


def test_nothing_is_translated_unless_it_is_asked_for(ledger_home, tmp_path):
    """docs/cases.md, R6 and R9."""
    path = written(
        tmp_path,
        ["B-1,C-1,give,-5,rule_credit,2026-03-01", "B-2,C-1,give,0,rule_credit,2026-03-01T00:00:00Z"],
        "transfer_id,relation_reference,style,points,reason,occurred_at",
    )
    with pytest.raises(ImportRefused) as refused:
        import_file(ledger_home.open(), path)
    assert [(bad.line, bad.column) for bad in refused.value.bad_rows] == [
        (2, "points"),
        (2, "occurred_at"),
        (3, "points"),
    ]


def test_the_sum_that_a_sender_says_goes_by_the_signs(ledger_home, tmp_path, everything):
    """docs/cases.md, F9."""
    path = written(tmp_path)
    ledger = ledger_home.open()
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(ledger, path, renamed=MAP, translation=everything, expected_points=Decimal("607.5"))
    assert refused.value.code == "TRUNCATED"
    import_file(ledger, path, renamed=MAP, translation=everything, expected_points=Decimal("-53.5"))


def test_a_file_with_a_style_takes_no_signs(ledger_home, tmp_path):
    path = written(
        tmp_path,
        ["B-1,C-1,give,-5,rule_credit,2026-03-01T00:00:00Z"],
        "transfer_id,relation_reference,style,points,reason,occurred_at",
    )
    with pytest.raises(TransfersFileRefused) as refused:
        import_file(ledger_home.open(), path, translation=Translation(signed_points=True))
    assert refused.value.code == "HEADER"


@pytest.mark.parametrize(
    ("line", "row"),
    {
        "sign": (3, "Shop,plus,redemption,"),
        "style": (3, "Shop,,redemption,GIVE"),
        "reason": (3, "Shop,,shopping,"),
        "a style that the reason does not have": (3, "Shop,-,rule_credit,"),
        "twice": (3, "Flight,,redemption,"),
        "too short": (3, "Shop,+"),
    }.values(),
)
def test_a_file_of_reasons_is_refused_by_its_line(ledger_home, tmp_path, reasons, line, row):
    reasons.write_text("\n".join([*REASONS.splitlines()[:2], row, ""]), encoding="utf-8")
    with pytest.raises(ReasonsRefused) as refused:
        import_file(
            ledger_home.open(),
            written(tmp_path),
            renamed=MAP,
            translation=Translation(signed_points=True, reasons=reasons),
        )
    assert refused.value.line == line
    assert not Transfer.objects.exists()


def test_dates_are_taken_for_a_time_of_day(points, tmp_path):
    path = written(tmp_path)
    for text in ("24:00", "0:00", "noon", "00:00Z"):
        refused = points("import", str(path), "--date-at", text, home=tmp_path / "home")
        assert_refused(refused, DateTimeInvalid(text))
