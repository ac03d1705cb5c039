"""The demonstration programme holds what it promises, checked from the file alone."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from console.demo_home import RECORDED_AT, DemoHomeTaken, make_demo
from ledger.links import ledger_head
from ledger.models import QuarantinedRow, StatusChange, Transfer
from orchestration.build import build_months
from simulator.demo_programme import write_demo_transfers
from simulator.months import FIRST_MONTH, LAST_MONTH
from tests.conftest import LedgerHome, Points, answer, ledger_transfer
from tests.test_cut import record

HEADER = (
    "transfer_id,relation_reference,currency,style,points,reason,status,status_changed_at,"
    "occurred_at,reverses_transfer_id,external_reference,comment"
)
GOLDEN_SHA256 = "f24ab4a0f246b09e57d06e64415c27514d3a27a77b6c9f8085d93961e0ac909c"

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/#+=~&|-]{0,127}")
POINTS = re.compile(r"[0-9]{1,14}(\.[0-9]{1,4})?")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
EARNING = {"rule_credit", "tier_bonus", "campaign_bonus", "referral_bonus", "manual_credit"}
BOTH_WAYS = {"admin_adjustment", "redemption", "account_closure", "revocation", "expiry"}
ALLOWED = {(reason, "give") for reason in EARNING | BOTH_WAYS} | {(reason, "deduct") for reason in BOTH_WAYS}
TRANSITIONS = {
    ("pending", "on_hold"),
    ("on_hold", "pending"),
    ("pending", "approved"),
    ("pending", "cancelled"),
    ("on_hold", "approved"),
    ("on_hold", "cancelled"),
}

Row = dict[str, str]


def is_instant(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return INSTANT.fullmatch(text) is not None


def list_faults(row: Row) -> list[str]:
    """The columns of a row that break a rule of docs/design.md, section 5."""
    is_good = {
        "transfer_id": ID.fullmatch(row["transfer_id"]),
        "relation_reference": ID.fullmatch(row["relation_reference"]),
        "currency": row["currency"] in {"POINTS", "MILES"},
        "points": POINTS.fullmatch(row["points"]) and Decimal(row["points"]) > 0,
        "reason": (row["reason"], row["style"]) in ALLOWED,
        "status": row["status"] in {"approved", "pending", "on_hold", "cancelled"},
        "status_changed_at": not row["status_changed_at"] or is_instant(row["status_changed_at"]),
        "occurred_at": is_instant(row["occurred_at"]),
    }
    return [column for column, good in is_good.items() if not good]


class Demo:
    """The file, read once: its rows, and the transfers that they are about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = path.read_bytes()
        with path.open(encoding="utf-8", newline="") as file:
            self.rows: list[Row] = list(csv.DictReader(file))
        self.bad_rows = [row for row in self.rows if list_faults(row)]
        self.histories: dict[str, list[Row]] = defaultdict(list)
        self.repeated: list[Row] = []
        for row in self.rows:
            if not list_faults(row):
                known = self.histories[row["transfer_id"]]
                (self.repeated if row in known else known).append(row)
        self.first = {key: rows[0] for key, rows in self.histories.items()}
        self.last = {key: rows[-1] for key, rows in self.histories.items()}
        self.approved = sorted(
            (row for row in self.last.values() if row["status"] == "approved"),
            key=lambda row: max(row["occurred_at"], row["status_changed_at"]),
        )

    def list_revocations(self) -> list[tuple[Row, Row | None]]:
        """Each revocation with its original, or None where the file has none."""
        return [
            (row, self.last.get(row["reverses_transfer_id"]))
            for row in self.last.values()
            if row["reason"] == "revocation"
        ]


def sign(row: Row) -> Decimal:
    return Decimal(row["points"]) * (1 if row["style"] == "give" else -1)


def list_late(rows: list[Row]) -> list[Row]:
    """The rows after the newest instant of the file that go back to an earlier month."""
    newest = max(range(len(rows)), key=lambda index: rows[index]["occurred_at"])
    return rows[newest + 1 :]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    path = tmp_path_factory.mktemp("demo") / "transfers.csv"
    path.write_text("what stood here before")
    count = write_demo_transfers(path)
    demo = Demo(path)
    assert count == len(demo.rows)
    return demo


def test_the_bytes_are_the_golden_ones(demo: Demo) -> None:
    assert hashlib.sha256(demo.bytes).hexdigest() == GOLDEN_SHA256


def test_another_process_zone_and_hash_seed_write_the_same_bytes(demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "again.csv"
    script = (
        "import pathlib, sys; from simulator.demo_programme import write_demo_transfers;"
        "write_demo_transfers(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(path)],
        check=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "LC_ALL": "C"},
    )
    assert path.read_bytes() == demo.bytes


def test_an_existing_file_is_replaced_and_nothing_is_left_beside_it(demo: Demo) -> None:
    assert demo.bytes.startswith(HEADER.encode())
    assert list(demo.path.parent.iterdir()) == [demo.path]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_file_descriptor: int) -> None:
        raise OSError("disk full")

    path = tmp_path / "transfers.csv"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_demo_transfers(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_utf_8_with_crlf_the_header_and_a_modest_size(demo: Demo) -> None:
    text = demo.bytes.decode("utf-8")
    assert text.startswith(HEADER + "\r\n")
    assert text.endswith("\r\n")
    assert 40_000 <= len(demo.rows) <= 60_000
    assert len(demo.bytes) < 6_000_000


def test_two_thousand_customers_live_through_fourteen_months(demo: Demo) -> None:
    relations = {row["relation_reference"] for row in demo.last.values()}
    months = sorted({row["occurred_at"][:7] for row in demo.last.values()})
    assert len(relations) == 2_000
    assert all(re.fullmatch(r"C-\d{6}", relation) for relation in relations)
    assert len(months) == 14
    assert (months[0], months[-1]) == (FIRST_MONTH, LAST_MONTH)
    assert all(row["status_changed_at"] < "2026-11" for row in demo.last.values())


def test_exactly_five_rows_are_bad_each_in_its_own_way(demo: Demo) -> None:
    faults = {row[column] for row in demo.bad_rows for column in list_faults(row)}
    assert len(demo.bad_rows) == 5
    assert faults == {
        "1e3",
        "birthday_bonus",
        "2026-02-30T09:00:00Z",
        "=T-0000000",
        "C 000123",
    }


def test_a_few_rows_are_repeated_word_for_word(demo: Demo) -> None:
    assert len(demo.repeated) == 4
    assert {row["status"] for row in demo.repeated} == {"approved"}


def test_rows_stand_in_the_order_of_their_instants_and_the_late_ones_at_the_end(
    demo: Demo,
) -> None:
    late = list_late(demo.rows)
    ordinary = [row for row in demo.rows[: -len(late)] if not list_faults(row)]
    moments = [row["status_changed_at"] or row["occurred_at"] for row in ordinary]
    steps_back = sum(after < before for before, after in pairwise(moments))
    new = [row for row in ordinary if row is demo.first[row["transfer_id"]]]
    assert steps_back == 1  # where the repeated rows begin
    assert new == sorted(new, key=lambda row: (row["occurred_at"], row["transfer_id"]))
    assert 20 <= len(late) <= 100
    assert all("2026-06" <= row["occurred_at"] < LAST_MONTH for row in late)
    assert {row["style"] for row in late} == {"give", "deduct"}


def test_every_reason_is_there_with_its_styles(demo: Demo) -> None:
    used = {(row["reason"], row["style"]) for row in demo.last.values()}
    assert used == ALLOWED - {("expiry", "give")}


def test_points_are_mostly_whole_and_have_up_to_four_decimals(demo: Demo) -> None:
    places = Counter(len(row["points"].partition(".")[2]) for row in demo.last.values())
    assert set(places) == {0, 1, 2, 3, 4}
    assert places[0] > 0.85 * places.total()
    assert not any(re.search(r"\.\d*0$", row["points"]) for row in demo.last.values())


def test_a_status_change_repeats_the_transfer_and_moves_as_allowed(demo: Demo) -> None:
    changing = {"status", "status_changed_at"}
    moves = set()
    for rows in demo.histories.values():
        assert not rows[0]["status_changed_at"]
        for before, after in pairwise(rows):
            assert {column for column in before if before[column] != after[column]} <= changing
            assert after["status_changed_at"] > max(before["status_changed_at"], before["occurred_at"])
            moves.add((before["status"], after["status"]))
    assert moves == TRANSITIONS


def test_transfers_wait_are_approved_in_the_same_or_a_later_month_or_cancelled(
    demo: Demo,
) -> None:
    statuses = Counter((row["status"], row["style"]) for row in demo.last.values())
    assert set(statuses) == {
        (status, style)
        for status in ("approved", "pending", "on_hold", "cancelled")
        for style in ("give", "deduct")
    }
    months_apart = Counter(
        row["occurred_at"][:7] == row["status_changed_at"][:7]
        for row in demo.approved
        if row["status_changed_at"]
    )
    assert months_apart[True] > 100
    assert months_apart[False] > 100


def test_miles_begin_in_the_fourth_month_for_some_150_customers(demo: Demo) -> None:
    miles = [row for row in demo.last.values() if row["currency"] == "MILES"]
    assert min(row["occurred_at"] for row in miles)[:7] == "2025-12"
    assert 130 <= len({row["relation_reference"] for row in miles}) <= 170


def test_earnings_and_redemptions_are_revoked_in_part_and_in_whole(demo: Demo) -> None:
    kinds = Counter(
        (
            original["reason"],
            "whole" if row["points"] == original["points"] else "part",
        )
        for row, original in demo.list_revocations()
        if original
    )
    assert kinds["rule_credit", "whole"] > 100
    assert kinds["rule_credit", "part"] > 100
    assert kinds["redemption", "whole"] > 100
    assert kinds["expiry", "whole"] == 1
    assert kinds["revocation", "whole"] == 2
    assert kinds["revocation", "part"] == 1


def test_revocations_are_of_the_opposite_style_same_customer_and_currency(demo: Demo) -> None:
    for row, original in demo.list_revocations():
        if original:
            assert row["style"] != original["style"]
            assert row["relation_reference"] == original["relation_reference"]
            assert row["currency"] == original["currency"]


def test_a_chain_of_revocations_goes_three_links_deep(demo: Demo) -> None:
    def count_links(row: Row) -> int:
        original = demo.last.get(row["reverses_transfer_id"])
        return 1 + count_links(original) if original else 0

    assert max(count_links(row) for row in demo.last.values()) == 3


def test_one_revocation_is_an_orphan_one_goes_too_far_and_one_undoes_what_never_counted(
    demo: Demo,
) -> None:
    revocations = demo.list_revocations()
    revoked: Counter[str] = Counter()
    for row, _ in revocations:
        revoked[row["reverses_transfer_id"]] += Decimal(row["points"])
    orphans = [row["reverses_transfer_id"] for row, original in revocations if original is None]
    beyond = [
        original["relation_reference"]
        for _, original in revocations
        if original and revoked[original["transfer_id"]] > Decimal(original["points"])
    ]
    not_approved = [
        original["status"] for _, original in revocations if original and original["status"] != "approved"
    ]
    assert orphans == ["OLD-0004711"]
    assert beyond == ["C-000012"]
    assert not_approved == ["cancelled"]


def test_only_the_two_customers_of_that_scene_are_ever_below_zero(demo: Demo) -> None:
    balances: Counter[tuple[str, str]] = Counter()
    below = set()
    for row in demo.approved:
        account = row["relation_reference"], row["currency"]
        balances[account] += sign(row)
        if balances[account] < 0:
            below.add(account)
    assert below == {("C-000007", "POINTS"), ("C-000008", "POINTS")}
    assert min(balances.values()) == 0


def test_points_expire_twelve_months_after_they_were_earned(demo: Demo) -> None:
    earned: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in demo.approved:
        if row["style"] == "give":
            earned[row["relation_reference"], row["currency"]].append(row)
    expiries = [row for row in demo.approved if row["reason"] == "expiry"]
    assert {row["occurred_at"][:7] for row in expiries} == {"2026-09", "2026-10"}
    assert len(expiries) > 100
    for row in expiries:
        year, rest = int(row["occurred_at"][:4]), row["occurred_at"][4:]
        a_year_ago = f"{year - 1}{rest}"
        old = [
            sign(gift)
            for gift in earned[row["relation_reference"], row["currency"]]
            if max(gift["occurred_at"], gift["status_changed_at"]) < a_year_ago
        ]
        assert Decimal(row["points"]) <= sum(old)


def test_what_was_not_spent_in_twelve_months_is_gone(demo: Demo) -> None:
    left: Counter[str] = Counter()
    for row in demo.last.values():
        is_old = max(row["occurred_at"], row["status_changed_at"]) < "2025-10-31"
        is_given_back = row["style"] == "give" and row["reason"] == "revocation"
        is_reserved = row["style"] == "deduct" and row["status"] != "cancelled"
        is_earned = row["style"] == "give" and row["status"] == "approved" and is_old
        if row["currency"] == "POINTS" and (is_given_back or is_reserved or is_earned):
            left[row["relation_reference"]] += sign(row)
    # C-000006 was given back, on purpose, what had expired.
    assert {relation for relation, points in left.items() if points > 0} == {"C-000006"}


def test_a_closed_account_is_at_zero_in_every_currency_and_then_silent(demo: Demo) -> None:
    closed_at = {
        row["relation_reference"]: row["occurred_at"]
        for row in demo.approved
        if row["reason"] == "account_closure"
    }
    balances: Counter[tuple[str, str]] = Counter()
    after_closure = []
    for row in demo.approved:
        relation = row["relation_reference"]
        if relation in closed_at:
            if max(row["occurred_at"], row["status_changed_at"]) <= closed_at[relation]:
                balances[relation, row["currency"]] += sign(row)
            else:
                after_closure.append(relation)
    waiting = {
        row["relation_reference"] for row in demo.last.values() if row["status"] in {"pending", "on_hold"}
    }
    assert len(closed_at) > 30
    assert set(balances.values()) == {0}
    assert len(balances) > len(closed_at)  # some have closed in both currencies
    assert after_closure == ["C-000010", "C-000010"]
    assert not waiting & closed_at.keys()


def test_redemptions_carry_their_vouchers(demo: Demo) -> None:
    assert all(
        row["external_reference"].startswith("VCH-")
        for row in demo.last.values()
        if row["reason"] == "redemption"
    )


def test_comments_hold_a_formula_a_line_break_quotes_and_unicode(demo: Demo) -> None:
    comments = {row["comment"] for row in demo.last.values()}
    assert '=HYPERLINK("http://example.com")' in comments
    assert "Called on Monday.\nPromised 30 points." in comments
    assert any('"' in comment for comment in comments)
    assert any("🙏" in comment for comment in comments)


def test_the_ledger_holds_every_good_row_once_and_keeps_the_bad_ones(demo: Demo, tmp_path: Path) -> None:
    home = LedgerHome(tmp_path / "demo")
    made = make_demo(home.settings())
    assert (made.home, made.row_count) == (home.home, len(demo.rows))
    home.open()
    assert Transfer.objects.count() == len(demo.histories)
    assert StatusChange.objects.count() == sum(len(rows) - 1 for rows in demo.histories.values())
    assert QuarantinedRow.objects.count() == len(demo.bad_rows)
    assert not Transfer.objects.exclude(recorded_at=RECORDED_AT, recorded_by="demo").exists()


@pytest.mark.slow
def test_the_ledger_has_the_same_entries_everywhere_and_is_made_once(points: Points, tmp_path: Path) -> None:
    heads = []
    for name, environment in (("a", {"TZ": "Pacific/Auckland", "LC_ALL": "C"}), ("b", {})):
        (tmp_path / name).mkdir()
        home = LedgerHome(tmp_path / name / "demo")
        for _ in range(2):
            answer(points("demo", home=home.home, POINTS_USER=f"ada{name}", **environment))
        home.open()
        heads.append(ledger_head())
    assert heads[0] == heads[1]


def test_a_ledger_with_other_entries_is_refused_and_keeps_what_it_holds(tmp_path: Path) -> None:
    home = LedgerHome(tmp_path / "demo")
    record(home.open(), ledger_transfer("T1"))
    for _ in range(2):
        with pytest.raises(DemoHomeTaken) as refused:
            make_demo(home.settings())
        assert refused.value.found == "other entries in ledger.sqlite3"
        assert ledger_head().entry_id == 1
        write_demo_transfers(home.home / "transfers.csv")


def test_what_people_add_to_the_demo_does_not_make_it_anybody_elses(demo_home: LedgerHome) -> None:
    record(demo_home.open(), ledger_transfer("MINE-1", relation_reference="C-000001"))
    head = ledger_head().entry_id
    assert make_demo(demo_home.settings()).entry_count == head


def test_what_builds_and_closes_leave_in_the_home_is_the_demos_own(demo_home: LedgerHome) -> None:
    demo_home.open()
    head = ledger_head().entry_id
    for name in ("published", "provisional", "runs", "cut", "unfinished_close.json"):
        (demo_home.home / name).mkdir()
    assert make_demo(demo_home.settings()).entry_count == head


@pytest.mark.slow
def test_the_ledger_gives_the_reports_that_the_file_gives(demo_home: LedgerHome) -> None:
    file = demo_home.home / "transfers.csv"
    from_ledger = build_months(demo_home.settings()).folder.resolve()
    from_file = build_months(demo_home.settings(POINTS_TRANSFERS=str(file))).folder.resolve()
    names = sorted(path.relative_to(from_file) for path in from_file.glob("*/*.csv"))
    assert names == sorted(path.relative_to(from_ledger) for path in from_ledger.glob("*/*.csv"))
    assert names[-1].parts[0] == LAST_MONTH
    for name in names:
        assert (from_ledger / name).read_bytes() == (from_file / name).read_bytes(), name
