"""More months than one build may make: they are computed again in stretches (docs/cases.md, X29)."""

import shutil
from datetime import UTC, datetime

import pytest

from ledger.closes import ClosedMonth, CloseHistory, Reopening, _follow
from ledger.database import open_ledger
from orchestration.close.recomputation import _builds, recompute
from orchestration.report_calendar import month_text
from simulator.transfer_files import write_transfers
from tests.closed_programme import NEXT, Home, close_next
from tests.conftest import answer, transfer

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = 2000 * 12  # January 2000, as `month_text` counts


def history_of(*events: tuple[str, int, int]) -> CloseHistory:
    """Runs of closes, and reopenings, of the months numbered from the first to the last, in their order."""
    closes, reopenings, revisions, entry_id = [], [], {}, 0
    for event, first, last in events:
        cutoff = entry_id
        for number in range(first, last + 1):
            entry_id += 1
            month = month_text(FIRST + number)
            if event == "close":
                revisions[month] = revisions.get(month, 0) + 1
                closes.append(
                    ClosedMonth(month, revisions[month], entry_id, cutoff, "", AT, "ada", control_totals={})
                )
            else:
                reopenings.append(Reopening(month, entry_id, "", 1, AT, "ada"))
    return _follow(closes, reopenings, {})


def stretches(*events: tuple[str, int, int]) -> list[tuple[str | None, str, str]]:
    return [
        (opening.name if opening else None, closes[0].name, closes[-1].name)
        for opening, closes in _builds(history_of(*events), month_text(FIRST))
    ]


def test_what_one_build_may_make_is_computed_from_the_first_entry():
    assert stretches(("close", 0, 0), ("close", 1, 239)) == [(None, "2000-01/r1", "2019-12/r1")]
    assert stretches(("close", 0, 5), ("reopen", 3, 5), ("close", 3, 6)) == [
        (None, "2000-01/r1", "2000-06/r1"),
        (None, "2000-04/r2", "2000-07/r1"),
    ]


def test_longer_spans_go_on_from_the_last_close_of_a_run():
    """docs/cases.md, X29."""
    assert stretches(("close", 0, 99), ("close", 100, 239), ("close", 240, 240), ("close", 241, 480)) == [
        (None, "2000-01/r1", "2019-12/r1"),
        ("2019-12/r1", "2020-01/r1", "2020-01/r1"),
        ("2020-01/r1", "2020-02/r1", "2040-01/r1"),
    ]
    # The second run, of which only the last month hands something on, is not cut in two.
    assert stretches(("close", 0, 199), ("close", 200, 299)) == [
        (None, "2000-01/r1", "2016-08/r1"),
        ("2016-08/r1", "2016-09/r1", "2024-12/r1"),
    ]
    # What is closed again starts where its close did.
    assert stretches(("close", 0, 199), ("close", 200, 299), ("reopen", 299, 299), ("close", 299, 300)) == [
        (None, "2000-01/r1", "2016-08/r1"),
        ("2016-08/r1", "2016-09/r1", "2024-12/r1"),
        ("2016-08/r1", "2024-12/r2", "2025-01/r1"),
    ]


@pytest.mark.slow
def test_a_stretch_comes_out_as_it_was_published(made_once, programme, tmp_path, monkeypatch):
    """docs/cases.md, X29: with late transfers, and revocations of what a month before it posted."""
    made = made_once("undisturbed", lambda folder: close_next(programme.copy(folder / "home")))
    home = Home(made / "home").working_copy(tmp_path / "home")
    monkeypatch.setattr("orchestration.close.openings.longest_span_in_months", lambda: 2)
    ledger = open_ledger(home.settings())
    assert [closes[0].report_month for _, closes in _builds(home.history(), "2025-01")][-1] == NEXT
    found = recompute(ledger)
    assert (found.revisions, found.files, found.figures, found.notes) == (3, [], [], [])


@pytest.mark.long
@pytest.mark.slow
def test_more_than_240_closed_months_are_verified_and_built(tmp_path):
    """docs/cases.md, X29."""
    home = Home(tmp_path / "home", {})
    rows = [
        transfer("T1", occurred_at="2000-01-10T00:00:00Z"),
        transfer("T2", occurred_at="2019-12-10T00:00:00Z"),
        transfer("T3", style="deduct", reason="redemption", points="30", occurred_at="2020-02-10T00:00:00Z"),
    ]
    answer(home.points("import", str(write_transfers(tmp_path / "file.csv", rows))))
    for month in ("2019-12", "2020-01"):
        answer(home.points("close", "--through", month))
    assert "all 241 come out the same" in answer(home.points("verify", "--full")).replace("\n", " ")
    assert "2020-02" in answer(home.points("build"))
    shutil.rmtree(home.path)
