"""Rows of a file: what is taken as it is, and what is set aside with its reason (docs/cases.md, R4
to R23)."""

from pathlib import Path

import duckdb
import pytest

from simulator.transfer_files import write_transfers
from tests.conftest import NEEDED, answer, read_rows, transfer

OPTIONAL = [
    "currency",
    "status",
    "status_changed_at",
    "reverses_transfer_id",
    "external_reference",
    "comment",
    "recorded_at",
]

# Each bad row: what of a good one is changed, and the code that it is set aside with.
BAD_ROWS = {
    "R1 no transfer id": ({"transfer_id": ""}, "TRANSFER_ID"),
    "R1 no relation reference": ({"relation_reference": ""}, "RELATION_REFERENCE"),
    **{
        f"R4 {name} {value!r}": ({name: value}, name.upper())
        for value in ("=1", "+1", "-1", "@1", "a b", 'a"b', "a'b", "ａ", "a\u202eb", "x" * 129)
        for name in ("transfer_id", "relation_reference")
    },
    **{
        f"R6 points {value!r}": ({"points": value}, "POINTS")
        for value in (
            "1e3",
            "1_000",
            "1,000",
            "0x10",
            " 10 ",
            "NaN",
            "-5",
            "0",
            "0.0000",
            "1.23456",
            "١٢",
            "",
            "+5",
            ".5",
            "5.",
            "inf",
        )
    },
    "R7 fifteen digits": ({"points": "100000000000000"}, "POINTS"),
    "R8 reason": ({"reason": "birthday_bonus"}, "REASON"),
    "R8 style": ({"style": "GIVE"}, "STYLE"),
    "R8 status": ({"status": "done"}, "STATUS"),
    "R8 currency": ({"currency": "EUR"}, "CURRENCY"),
    "R8 a reason with a style it does not allow": ({"style": "deduct"}, "REASON"),
    **{
        f"R9 {value!r}": ({"occurred_at": value}, "OCCURRED_AT")
        for value in (
            "2026-02-30T00:00:00Z",
            "31/01/2026",
            "2026-1-3T00:00:00Z",
            "2026-01-03T24:00:00Z",
            "2026-01-03",
            "infinity",
            "0206-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "2026-01-03T12:00:60Z",
            "2026-01-03T12:00:00.1234567Z",
            "2026-01-03T12:00:00+5:30",
            "",
        )
    },
    "R9 status changed at": ({"status_changed_at": "yesterday"}, "STATUS_CHANGED_AT"),
    "R24 a link of another reason": ({"reverses_transfer_id": "T-0"}, "REVERSES"),
    "F11 a NUL": ({"comment": "a\x00b"}, "CONTROL_CHAR"),
    "F11 a bell": ({"external_reference": "a\x07b"}, "CONTROL_CHAR"),
    "F11 a C1": ({"comment": "a\x9b31mb"}, "CONTROL_CHAR"),
}

ALWAYS_GOOD = {
    "R5": {
        "transfer_id": "00000000000000000012",
        "relation_reference": "00000000000000000007",
        "points": "1",
    },
    "R7": {"transfer_id": "MOST-1", "relation_reference": "RICH", "points": "99999999999999.9999"},
    "R7 again": {"transfer_id": "MOST-2", "relation_reference": "RICH", "points": "99999999999999.9999"},
    "R12": {
        "transfer_id": "AHEAD",
        "relation_reference": "AHEAD",
        "occurred_at": "2026-05-02T00:00:00Z",
        "recorded_at": "2026-04-30T00:00:00Z",
    },
    "R18": {"transfer_id": "SAME", "relation_reference": "SAME", "points": "10"},
    "R18 in other words": {
        "transfer_id": "SAME",
        "relation_reference": "SAME",
        "points": "10.0000",
        "occurred_at": "2026-03-10T17:30:00+05:30",
        "comment": "again",
    },
    "R23": {
        "transfer_id": "TALK",
        "relation_reference": "TALK",
        "comment": '=HYPERLINK("http://example.com")\r\n<b>[red]\U0001f389',
    },
    "R23 set aside": {
        "transfer_id": "TALK-2",
        "points": "1e3",
        "comment": '=HYPERLINK("http://example.com")',
    },
    "F11 line breaks": {"transfer_id": "LINES", "relation_reference": "LINES", "comment": "a\tb\r\nc"},
}


def chain(name: str, root: dict[str, str], length: int) -> list[dict[str, str]]:
    """A transfer and ``length`` revocations, each of the one before; the last first."""
    rows = [{**transfer(f"{name}-0", relation_reference=name), **root}]
    for number in range(1, length + 1):
        style = "give" if rows[-1]["style"] == "deduct" else "deduct"
        rows.append(
            transfer(
                f"{name}-{number}",
                relation_reference=name,
                reason="revocation",
                style=style,
                reverses_transfer_id=f"{name}-{number - 1}",
            )
        )
    return rows[::-1]


CHAINS = [
    *chain("EARNED", {}, 150),
    *chain("REDEEMED", {"style": "deduct", "reason": "redemption"}, 151),
    *chain("NOWHERE", {"reason": "revocation", "style": "give", "reverses_transfer_id": "GONE"}, 150),
    *chain("CIRCLE", {"reason": "revocation", "style": "give", "reverses_transfer_id": "CIRCLE-151"}, 151),
]


@pytest.fixture(scope="module")
def built(points, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("rows") / "home"
    rows = [
        {**transfer(f"BAD-{number}"), **values} for number, (values, _) in enumerate(BAD_ROWS.values())
    ] + [{**transfer("good"), **values} for values in ALWAYS_GOOD.values()]
    rows += CHAINS
    path = write_transfers(home.parent / "transfers.csv", rows, NEEDED + OPTIONAL)
    # F7: two rows that the writer of CSV would never write.
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write("SHORT,C-1,give,1\r\n")
        file.write("LONG,C-1,give,1,rule_credit,2026-03-10T12:00:00Z" + "," * 7 + ",surplus\r\n")
    result = answer(points("build", "--through", "2026-05", home=home, transfers=path))
    assert "rows were set aside" in result
    return home


def query(built: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(built / "provisional/provisional.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_every_bad_row_is_set_aside_with_its_code_and_as_it_was_sent(built):
    """docs/cases.md, R1, R4, R6, R7, R8, R9, F7 and F11."""
    found = query(
        built,
        "select rejection_code, transfer_id, relation_reference, points, occurred_at"
        " from quarantined_transfers",
    )
    assert len(found) == len(BAD_ROWS) + 3
    for number, (values, code) in enumerate(BAD_ROWS.values()):
        row = {**transfer(f"BAD-{number}"), **values}
        sent = (row["transfer_id"], row["relation_reference"], row["points"], row["occurred_at"])
        assert (code, *sent) in found, row
    codes = {transfer_id: code for code, transfer_id, *_ in found}
    assert codes["SHORT"] == "FIELDS"
    assert codes["LONG"] == "FIELDS"


def test_a_row_that_is_set_aside_says_its_file_and_line(built):
    """The last two rows of the file come behind one with a line break in its comment."""
    found = query(built, "select transfer_id, file, line from quarantined_transfers order by line")
    assert {file for _, file, _ in found} == {"transfers.csv"}
    assert [line for _, _, line in found[: len(BAD_ROWS)]] == [number + 2 for number in range(len(BAD_ROWS))]
    text = (built.parent / "transfers.csv").read_bytes().decode()
    for transfer_id, _, line in found[-2:]:
        assert text.split("\n")[line - 1].startswith(f"{transfer_id},")
    (first, *_) = read_rows(built / "provisional/provisional_quarantined_transfers.csv")
    assert (first["file"], first["line"]) == ("transfers.csv", "2")


def test_a_row_that_is_set_aside_says_the_column_the_value_and_what_was_expected(built):
    found = query(
        built,
        "select rejected_column, rejected_value, expected from quarantined_transfers where points = '1,000'",
    )
    assert found == [
        ("points", "1,000", "more than zero, at most 14 digits before the point and 4 after it, plain digits")
    ]


def test_the_quarantine_file_can_be_opened_in_a_spreadsheet(built):
    """docs/cases.md, R4 and R23."""
    rows = read_rows(built / "provisional/provisional_quarantined_transfers.csv")
    assert len(rows) == len(BAD_ROWS) + 3
    for row in rows:
        for value in row.values():
            assert not value.startswith(("=", "+", "-", "@")), value
    (talk,) = [row for row in rows if row["transfer_id"] == "TALK-2"]
    assert talk["comment"] == '\'=HYPERLINK("http://example.com")'


def test_identifiers_stay_text_to_the_last_zero(built):
    """docs/cases.md, R5."""
    assert (
        b"\r\n00000000000000000007,1,0,0,0,1\r\n"
        in (built / "provisional/2026-03/provisional_outstanding_points.csv").read_bytes()
    )


def test_sums_of_the_largest_points_stay_exact(built):
    """docs/cases.md, R7."""
    assert (
        b"\r\nRICH,199999999999999.9998,0,0,0,199999999999999.9998\r\n"
        in (built / "provisional/2026-03/provisional_outstanding_points.csv").read_bytes()
    )


def test_a_transfer_dated_ahead_counts_in_its_own_month_and_is_listed(built):
    """docs/cases.md, R12."""
    months = query(
        built,
        "select strftime(report_month, '%Y-%m') from outstanding_points_by_month"
        " where relation_reference = 'AHEAD'",
    )
    assert months == [("2026-05",)]
    listed = query(built, "select transfer_id, points from discrepancies where discrepancy = 'future_dated'")
    assert [transfer_id for transfer_id, _ in listed] == ["AHEAD"]


def test_the_same_content_in_other_words_is_counted_once(built):
    """docs/cases.md, R18."""
    assert (
        b"\r\nSAME,10,0,0,0,10\r\n"
        in (built / "provisional/2026-03/provisional_outstanding_points.csv").read_bytes()
    )


def test_a_comment_is_kept_as_it_is(built):
    """docs/cases.md, R23 and F11: kept to the letter in the history, and in no file that finance opens."""
    database = sorted((built / "runs").iterdir())[-1] / "build.duckdb"
    with duckdb.connect(str(database), read_only=True) as connection:
        comments = dict(
            connection.execute(
                "select transfer_id, comment from transfer_history where comment is not null"
            ).fetchall()
        )
    assert comments["TALK"] == '=HYPERLINK("http://example.com")\r\n<b>[red]\U0001f389'
    assert comments["LINES"] == "a\tb\r\nc"
    for file in (built / "provisional").glob("*/*.csv"):
        assert b"HYPERLINK" not in file.read_bytes()


@pytest.mark.parametrize(
    ("name", "bucket", "outstanding"),
    [
        ("EARNED", "reversal", 100),
        ("REDEEMED", "redeemed", 0),
        ("NOWHERE", "reversal", 100),
        ("CIRCLE", "reversal", 0),
    ],
)
def test_a_chain_of_150_revocations_is_followed_to_its_root(built, name, bucket, outstanding):
    """docs/design.md, section 7; docs/cases.md, R14 and R15."""
    buckets = query(
        built,
        "select distinct bucket from posted_transfers where reason = 'revocation'"
        f" and relation_reference = '{name}'",
    )
    assert buckets == [(bucket,)]
    (row,) = [
        row
        for row in read_rows(built / "provisional/2026-03/provisional_outstanding_points.csv")
        if row["Relation Reference"] == name
    ]
    assert row["Total Outstanding Points"] == str(outstanding)


@pytest.mark.parametrize(
    ("zone", "start_day", "months"),
    [
        ("UTC", "1", {"LATE": "2026-03", "FOLD": "2026-10", "GAP": "2026-03", "LEAP": "2028-02"}),
        (
            "America/New_York",
            "1",
            {"LATE": "2026-03", "FOLD": "2026-10", "GAP": "2026-03", "LEAP": "2028-02"},
        ),
        ("Asia/Tokyo", "1", {"LATE": "2026-04", "FOLD": "2026-10", "GAP": "2026-03", "LEAP": "2028-03"}),
        ("Europe/Berlin", "15", {"LATE": "2026-03", "FOLD": "2026-10", "GAP": "2026-03", "LEAP": "2028-02"}),
    ],
)
@pytest.mark.slow
def test_the_month_is_that_of_the_programmes_zone(points, tmp_path, zone, start_day, months):
    """docs/cases.md, R10 and R11."""
    rows = [
        transfer("LATE", relation_reference="LATE", occurred_at="2026-03-31T23:30:00Z"),
        transfer("FOLD", relation_reference="FOLD", occurred_at="2026-10-25 02:30:00"),
        transfer("GAP", relation_reference="GAP", occurred_at="2026-03-29 02:30:00"),
        transfer("LEAP", relation_reference="LEAP", occurred_at="2028-02-29T23:30:00Z"),
    ]
    path = write_transfers(tmp_path / "transfers.csv", rows)
    home = tmp_path / "home"
    answer(
        points("build", home=home, transfers=path, POINTS_TIME_ZONE=zone, POINTS_MONTH_START_DAY=start_day)
    )
    found = query(
        home,
        "select transfer_id, strftime(posting_month, '%Y-%m') from posted_transfers",
    )
    assert dict(found) == months
    occurred = dict(query(home, "select transfer_id, strftime(occurred_at, '%H:%M') from posted_transfers"))
    if zone == "Europe/Berlin":
        assert occurred["FOLD"] == "00:30"
        assert occurred["GAP"] == "01:30"
