"""One list of a zone's changes of offset, DuckDB's, decides all months and wall clocks
(docs/cases.md, X21)."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from ledger.acts.transfer_requests import TransferRequest
from ledger.acts.transfers import record_transfer
from ledger.closes import read_history
from ledger.files.imports import import_file
from ledger.lists.transfer_lists import list_transfers
from ledger.models import Transfer
from ledger.settings import SettingInvalid, Settings
from ledger.zones import BEGINS_AT, ENDS_AT, Zone, read_zone, zone_names
from orchestration.close.closing import close_months
from orchestration.published.manifests import read_manifest
from orchestration.report_calendar import month_changes, month_of
from orchestration.upkeep import zone_data
from orchestration.upkeep.doctor import examine
from orchestration.upkeep.zone_data import changed_zone_data, other_zone_data
from simulator.transfer_files import write_transfers
from tests.conftest import PROJECT_ROOT, LedgerHome, read_rows, transfer
from tests.dbt_macros import CompilerError, load_macros

# What is odd about zones since 1990: other data in the machine's own files (Casablanca, El Aaiún, Edmonton,
# Vancouver), four changes a year (Hebron), a day left out (Apia, Kwajalein), half an hour (Lord Howe),
# changes at a minute past midnight (St. John's) and at midnight of a month's first day (Havana, São Paulo),
# none (Kolkata), a week between two (Noronha).
ODD_ZONES = [
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Edmonton",
    "America/Havana",
    "America/Noronha",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Vancouver",
    "Asia/Hebron",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "UTC",
]
CASABLANCA = {"POINTS_TIME_ZONE": "Africa/Casablanca"}


@pytest.fixture(scope="module")
def duck():
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S.%f}"


def listed(values: Iterable[str]) -> str:
    """Values as one text: DuckDB looks for numpy at each value of a list that it is handed."""
    return ";".join(values)


def test_a_zone_is_its_changes_of_offset():
    berlin = read_zone("Europe/Berlin")
    assert berlin.text.startswith("Europe/Berlin +3600 1990-03-25T01:00:00Z+7200 1990-09-30T01:00:00Z+3600 ")
    assert read_zone("UTC").text == "UTC +0"
    assert read_zone("Asia/Kolkata").text == "Asia/Kolkata +19800"
    assert "2011-12-30T10:00:00Z+50400" in read_zone("Pacific/Apia").text


def test_the_hash_is_that_of_the_list():
    two = Zone("Two", 0, ((datetime(2026, 3, 1, tzinfo=UTC), 3600), (datetime(2026, 9, 1, tzinfo=UTC), -60)))
    assert two.text == "Two +0 2026-03-01T00:00:00Z+3600 2026-09-01T00:00:00Z-60"
    assert two.sha256 == "5bb4251c0528892e6c3124d843648c202733c1b43035b59fadf15cb34e6cce72"


@pytest.mark.parametrize("name", ODD_ZONES)
def test_the_models_read_the_same_list_and_take_one_handed_over_as_it_is(duck, name):
    zone = read_zone(name)
    expected = [(instant.replace(tzinfo=None), offset) for instant, offset in zone.changes]
    for handed_over in ("", zone.text, "Asia/Tokyo +32400"):
        said = load_macros(
            duck, {"POINTS_TIME_ZONE": name, "POINTS_ZONE_CHANGES": handed_over}
        ).zone_changes()
        assert said["first_offset"] == zone.first_offset
        assert [(change["begins_at"], change["offset"]) for change in said["changes"]] == expected


def test_spark_is_handed_the_list_or_refuses_another_zone_than_utc(duck):
    """docs/cases.md, X21: what `python -m ledger.zones` prints is what it takes."""
    with pytest.raises(CompilerError, match="are not in POINTS_ZONE_CHANGES"):
        load_macros(duck, CASABLANCA, "spark").zone_changes()
    printed = subprocess.run(
        [sys.executable, "-m", "ledger.zones"],
        env={**os.environ, **CASABLANCA},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert printed == read_zone("Africa/Casablanca").text
    handed_over = load_macros(duck, CASABLANCA | {"POINTS_ZONE_CHANGES": printed}, "spark")
    assert handed_over.zone_changes() == load_macros(duck, CASABLANCA).zone_changes()
    assert load_macros(duck, {}, "spark").report_month("instant") == load_macros(duck, {}).report_month(
        "instant"
    )


def assert_agreed(duck, zone: Zone) -> None:
    """Python's months and wall clocks are those of the models and of the import, at each month's edges from
    1990 to 2060 and around each change of the offset."""
    settings = replace(Settings.from_environment({}), time_zone=zone.name)
    around_changes = [
        instant + step
        for instant in (datetime(1990, 1, 2, tzinfo=UTC), *dict(zone.changes))
        for step in (timedelta(microseconds=-1), timedelta(0))
    ]
    for start_day in (1, 15):
        settings = replace(settings, month_start_day=start_day)
        edges = month_changes("1990-01", "2060-12", settings)
        months = ["1989-12", *(month for _, month in edges)]
        asked = edges + [(instant, month_of(instant, settings)) for instant in around_changes]
        asked += [
            (instant - timedelta(microseconds=1), before)
            for (instant, _), before in zip(edges, months, strict=False)
        ]
        macros = load_macros(
            duck,
            {
                "POINTS_TIME_ZONE": zone.name,
                "POINTS_ZONE_CHANGES": zone.text,
                "POINTS_MONTH_START_DAY": str(start_day),
            },
        )
        differing = duck.execute(
            "select instant, month from (select unnest(string_split(?, ';')::timestamp[]) as instant,"
            " unnest(string_split(?, ';')) as month)"
            f" where {macros.report_month('instant')} <> cast(month || '-01' as date)",
            [listed(text(instant) for instant, _ in asked), listed(month for _, month in asked)],
        ).fetchall()
        assert differing == [], (zone.name, start_day)
    shown = [zone.local(instant) for instant in around_changes]
    shown += [at + step for at in shown for step in (timedelta(minutes=-31), timedelta(minutes=31))]
    said = duck.execute(
        f"select {macros.local_to_utc('shown')}, {zone.to_utc_in_sql('shown')}"
        " from (select unnest(string_split(?, ';')::timestamp[]) as shown)",
        [listed(map(text, shown))],
    ).fetchall()
    assert said == [(zone.to_utc(at).replace(tzinfo=None),) * 2 for at in shown], zone.name


@pytest.mark.parametrize("name", ODD_ZONES)
def test_models_import_and_python_agree_on_every_months_edges(duck, name):
    """docs/cases.md, X21 and R11."""
    assert_agreed(duck, read_zone(name))


@pytest.mark.long
@pytest.mark.slow
def test_models_import_and_python_agree_in_every_zone(duck):
    """docs/cases.md, X21. Zones with the same changes are asked once."""
    names = zone_names()
    assert len(names) >= 590
    seen = {}
    for name in names:
        zone = read_zone(name)
        seen.setdefault((zone.first_offset, zone.changes), zone)
    for zone in seen.values():
        assert_agreed(duck, zone)


@pytest.mark.slow
def test_the_list_leaves_no_offset_of_any_hour_out(duck):
    """Around changes, and for the years in which the odd zones are odd, every hour's offset is the list's."""
    for name in ODD_ZONES:
        zone = read_zone(name)
        hours = duck.execute(
            """
            select make_timestamp(instant), utc_offset // 1000000
            from (
                select
                    instant,
                    epoch_us(timezone(?, make_timestamptz(instant))) - instant as utc_offset,
                    lag(utc_offset) over (order by instant) as offset_before
                from range(epoch_us(?::timestamp), epoch_us(?::timestamp) + 1, 3600000000) as hours (instant)
            )
            where utc_offset is distinct from offset_before
            order by instant
            """,
            [name, text(BEGINS_AT), text(ENDS_AT)],
        ).fetchall()
        assert [offset for _, offset in hours] == [zone.first_offset, *(offset for _, offset in zone.changes)]
        for (found, _), (instant, _) in zip(hours[1:], zone.changes, strict=True):
            assert timedelta(0) <= found.replace(tzinfo=UTC) - instant < timedelta(hours=1), name


@pytest.mark.parametrize(
    ("wall_clock", "instant"),
    [
        # Ramadan of 2026: the hour from 02:00 on 15 February comes twice, that of 22 March is skipped.
        ("2026-02-15T01:59:59.999999", "2026-02-15T00:59:59.999999"),
        ("2026-02-15T02:00:00", "2026-02-15T01:00:00"),
        ("2026-02-15T02:59:59", "2026-02-15T01:59:59"),
        ("2026-02-15T03:00:00", "2026-02-15T03:00:00"),
        ("2026-03-22T01:59:59", "2026-03-22T01:59:59"),
        ("2026-03-22T02:30:00", "2026-03-22T02:30:00"),
        ("2026-03-22T03:00:00", "2026-03-22T02:00:00"),
        # Back to the clocks of Greenwich for good: DuckDB's data have it, the machine's may not.
        ("2026-10-01T00:30:00", "2026-10-01T00:30:00"),
    ],
)
def test_a_wall_clock_that_comes_twice_is_the_earlier_and_a_skipped_one_goes_by_the_offset_before(
    wall_clock, instant
):
    """docs/cases.md, R11."""
    said = read_zone("Africa/Casablanca").to_utc(datetime.fromisoformat(wall_clock))
    assert said == datetime.fromisoformat(f"{instant}+00:00")


def test_give_and_import_store_a_wall_clock_as_the_same_instant(ledger_home, tmp_path):
    """docs/cases.md, X21: Morocco's hour of October 2026."""
    ledger = ledger_home.open(**CASABLANCA)
    given = record_transfer(
        ledger, TransferRequest("C-1", "give", "1", occurred_at="2026-10-01T00:30:00"), new=True
    )
    path = write_transfers(tmp_path / "a.csv", [transfer("IMPORTED", occurred_at="2026-10-01T00:30:00")])
    import_file(ledger, path)
    stored = dict(Transfer.objects.values_list("transfer_id", "occurred_at"))
    assert stored["IMPORTED"] == stored[given.transfer_id] == datetime(2026, 10, 1, 0, 30, tzinfo=UTC)
    assert month_of(stored["IMPORTED"], ledger.settings) == "2026-10"


def test_a_list_up_to_a_months_last_day_has_no_transfer_of_the_next_month(ledger_home, tmp_path):
    """docs/cases.md, X21: Alberta's clocks do not go back in November 2026."""
    ledger = ledger_home.open(POINTS_TIME_ZONE="America/Edmonton", POINTS_MONTH_START_DAY="15")
    rows = [
        transfer("14th", occurred_at="2026-11-15T05:59:59.999999Z"),
        transfer("15th", occurred_at="2026-11-15T06:00:00Z"),
    ]
    import_file(ledger, write_transfers(tmp_path / "a.csv", rows))
    listed = list_transfers(ledger, {"to": "2026-11-14"}, "entry_id")
    assert [row.transfer_id for row in listed.rows] == ["14th"]
    months = {row.transfer_id: month_of(row.occurred_at, ledger.settings) for row in Transfer.objects.all()}
    assert months == {"14th": "2026-10", "15th": "2026-11"}


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("utc", "UTC"),
        ("Mars/Olympus", "Europe/Berlin or UTC"),
        # DuckDB takes these, and its AST is Alaska's.
        ("AST", None),
        ("+05:00", None),
        ("UTC+5", None),
        # Python takes these, the machine's own zone among them.
        ("localtime", None),
        ("posix/Europe/Berlin", None),
    ],
)
def test_a_zone_has_the_exact_name_that_duckdb_lists(name, suggested):
    with pytest.raises(SettingInvalid) as refused:
        Settings.from_environment({"POINTS_TIME_ZONE": name})
    assert refused.value.sentence.startswith(f"POINTS_TIME_ZONE is '{name}', but no time zone has that name;")
    if suggested:
        assert refused.value.sentence.endswith(f" use one like {suggested}.")


def test_a_list_that_was_cut_off_is_refused(duck):
    berlin = read_zone("Europe/Berlin").text
    for cut_off in (berlin[:-4], "Europe/Berlin", "Europe/Berlin +3600 2026-03-29"):
        settings = {"POINTS_TIME_ZONE": "Europe/Berlin", "POINTS_ZONE_CHANGES": cut_off}
        with pytest.raises(CompilerError, match="POINTS_ZONE_CHANGES is not the list"):
            load_macros(duck, settings).zone_changes()


def test_the_models_refuse_a_name_that_duckdb_does_not_list(duck):
    for name in ("europe/berlin", "+05:00", "Mars/Olympus"):
        with pytest.raises(CompilerError, match=re.escape(f"POINTS_TIME_ZONE is '{name}'")):
            load_macros(duck, {"POINTS_TIME_ZONE": name}).zone_changes()


def of_machine(monkeypatch, zone: Zone) -> None:
    monkeypatch.setattr(zone_data, "_zones_of_machine", lambda name: [("/usr/share/zone", zone.offset_at)])


@pytest.mark.slow
def test_the_first_second_at_which_the_machines_zone_data_differ_is_reported(monkeypatch):
    """docs/cases.md, X21."""
    casablanca = read_zone("Africa/Casablanca")
    of_machine(monkeypatch, casablanca)
    assert other_zone_data(casablanca) == []
    *earlier, (changed_at, offset) = casablanca.changes
    of_machine(monkeypatch, replace(casablanca, changes=tuple(earlier)))
    assert other_zone_data(casablanca) == [
        "/usr/share/zone has Africa/Casablanca at +01:00 from 2026-09-20 01:00 UTC on, DuckDB at +00:00:"
        " DuckDB's zone data decide every month and wall clock."
    ]
    # Ten minutes earlier on the same day.
    of_machine(
        monkeypatch,
        replace(casablanca, changes=(*earlier, (changed_at - timedelta(minutes=10), offset))),
    )
    (sentence,) = other_zone_data(casablanca)
    assert "at +00:00 from 2026-09-20 00:50 UTC on, DuckDB at +01:00" in sentence


@pytest.mark.slow
def test_a_month_closes_where_the_machines_zone_data_differ(tmp_path, monkeypatch):
    """docs/cases.md, X21: models, recount and wall clocks go by DuckDB's; the first close and doctor say so;
    and a list that differs later is reported, and changes no closed month."""
    home = LedgerHome(tmp_path / "home", CASABLANCA)
    ledger = home.open()
    casablanca = ledger.settings.zone
    of_machine(monkeypatch, replace(casablanca, changes=casablanca.changes[:-1]))
    rows = [
        transfer("SEPTEMBER", points="100", occurred_at="2026-09-30T23:30:00Z"),
        transfer("OCTOBER", points="7", occurred_at="2026-10-01T00:30:00"),
    ]
    import_file(ledger, write_transfers(tmp_path / "a.csv", rows))

    closing = close_months(ledger.settings, through="2026-10")

    assert [closed.report_month for closed in closing.closed] == ["2026-09", "2026-10"]
    published = tmp_path / "home" / "published"
    outstanding = {
        month: read_rows(published / month / "r1" / "outstanding_points.csv")[0]["Total Outstanding Points"]
        for month in ("2026-09", "2026-10")
    }
    assert outstanding == {"2026-09": "100", "2026-10": "107"}
    manifest = read_manifest(published / "2026-09" / "r1")
    assert manifest["zone_changes_sha256"] == casablanca.sha256
    assert closing.zone_notes == other_zone_data(casablanca) != []
    of_zone = [
        finding for finding in examine(home_environment(home), {}, "").findings if finding.subject == "zone"
    ]
    assert [(finding.verdict, finding.sentence) for finding in of_zone] == [
        ("warning", closing.zone_notes[0])
    ]

    assert changed_zone_data(ledger.settings, read_history()) is None
    monkeypatch.setattr(Zone, "sha256", "of another list")
    reported = changed_zone_data(ledger.settings, read_history())
    assert "by which 2026-10/r1 was closed, had other zone data for Africa/Casablanca" in reported
    assert reported in [finding.sentence for finding in examine(home_environment(home), {}, "").findings]


def home_environment(home: LedgerHome) -> dict[str, str]:
    return {"POINTS_HOME": str(home.home), **home.environment}
