"""The demonstration programme: fourteen months of a made-up loyalty programme, as a file and its ledger.

A seeded simulation of some two thousand customers tells the ordinary story; the scenes of the
first customers (`C-000001` and on) show each rarer thing once, in numbers one can add up by hand.
It reads no clock and no float touches a point, so the file has the same bytes everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from ledger.append import ledger_head
from ledger.database import LedgerEmpty, open_ledger, sqlite_file
from ledger.errors import PointsError
from ledger.files.imports import import_file
from ledger.models import Batch
from ledger.settings import Settings
from orchestration.published.layout import ANNOUNCEMENT_NAME

DEMO_FIRST_MONTH = "2025-09"
DEMO_LAST_MONTH = "2026-10"

COLUMNS = (
    "transfer_id",
    "relation_reference",
    "currency",
    "style",
    "points",
    "reason",
    "status",
    "status_changed_at",
    "occurred_at",
    "reverses_transfer_id",
    "external_reference",
    "comment",
)

_SEED = 20_250_901
_CUSTOMERS = 2_000
_UNITS = 10_000  # a point, in the ten-thousandths that every amount here is counted in

# Chances are "one in so many".
_NEWCOMERS_AFTER_FIRST_MONTH_PERCENT = 45
_MILES_EVERY = 13
_DECIMALS_ONE_IN = 12
_WAITING_ONE_IN = 25
_RETURN_ONE_IN = 22
_REWARD_ONE_IN = 4
_VOUCHER_CANCELLED_ONE_IN = 14
_LATE_ONE_IN = 200
_REFERRED_ONE_IN = 5
_MANUAL_CREDIT_ONE_IN = 70
_ADJUSTMENT_ONE_IN = 90
_LEAVES_ONE_IN = 40

_VISITS_PER_MONTH = (0, 1, 1, 1, 2, 2, 3)  # half of the most visits a customer of that habit pays
_GOLD_VISITS = 3
_REWARDS = (2_500, 1_000, 500, 250)  # points of a voucher, the dearest first
_CAMPAIGNS = (  # code, first day, days: what is bought then counts twice
    ("CMP-2025-BLACK-WEEKEND", datetime(2025, 11, 28, tzinfo=UTC), 3),
    ("CMP-2026-SPRING", datetime(2026, 3, 20, tzinfo=UTC), 4),
    ("CMP-2026-SUMMER", datetime(2026, 7, 3, tzinfo=UTC), 3),
)
_COMMENTS = (
    "Sorry for the late parcel",
    "Kulanz für die verspätete Lieferung",
    "Geste commercial, demandé le 3 à midi",
    "ポイント補填",
    "Thanks for your patience 🙏",
    'Asked for "what was promised", and got it',
)


def _start_of_month(month: str) -> datetime:
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def _start_of_next_month(start: datetime) -> datetime:
    return (start + timedelta(days=31)).replace(day=1)


def _list_months() -> tuple[datetime, ...]:
    months = [_start_of_month(DEMO_FIRST_MONTH)]
    while months[-1] < _start_of_month(DEMO_LAST_MONTH):
        months.append(_start_of_next_month(months[-1]))
    return tuple(months)


_MONTHS = _list_months()
_ENDS_AT = _start_of_next_month(_MONTHS[-1])
# When, by whom and as what batch the file is imported, so that no clock is read and no name is somebody's.
DEMO_RECORDED_AT = _ENDS_AT + timedelta(hours=6)
DEMO_USER = "demo"
DEMO_BATCH = "demo"
# What the demo, builds and closes of it and Dagster write into its home.
_HOME_NAMES = {
    "transfers.csv",
    "ledger.sqlite3",
    "ledger.sqlite3-journal",
    "ledger.lock",
    "ledger_head.json",
    "cut",
    "runs",
    "run.lock",
    "provisional",
    "published",
    ANNOUNCEMENT_NAME,
    "dev.duckdb",
    "dev",
    "dagster",
    "inbox",
    "received",
}
_MILES_START_AT = _MONTHS[3]
_LATE_FROM, _LATE_UNTIL = _MONTHS[-5], _MONTHS[-1]
_RESENT_AT, _RESENT_ROWS = datetime(2026, 3, 2, 4, tzinfo=UTC), 4


def _read_instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def _write_instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_points(text: str) -> int:
    whole, _, decimals = text.partition(".")
    return int(whole) * _UNITS + int(decimals.ljust(4, "0"))


def _write_points(units: int) -> str:
    whole, decimals = divmod(units, _UNITS)
    return f"{whole}.{decimals:04d}".rstrip("0") if decimals else str(whole)


def _write_relation(number: int) -> str:
    return f"C-{number:06d}"


@dataclass(frozen=True, kw_only=True)
class _Transfer:
    """What a row says and no later row of the same transfer changes; `points` in units."""

    transfer_id: str
    relation_reference: str
    style: str
    points: int
    reason: str
    occurred_at: datetime
    currency: str = "POINTS"
    reverses_transfer_id: str = ""
    external_reference: str = ""
    comment: str = ""

    def to_row(self, status: str, changed_at: datetime | None = None) -> dict[str, str]:
        return {
            "transfer_id": self.transfer_id,
            "relation_reference": self.relation_reference,
            "currency": self.currency,
            "style": self.style,
            "points": _write_points(self.points),
            "reason": self.reason,
            "status": status,
            "status_changed_at": _write_instant(changed_at) if changed_at else "",
            "occurred_at": _write_instant(self.occurred_at),
            "reverses_transfer_id": self.reverses_transfer_id,
            "external_reference": self.external_reference,
            "comment": self.comment,
        }


class _Feed:
    """The rows in the order of the file: as they happen, and after them those that arrive late."""

    def __init__(self) -> None:
        self._rows: list[dict[str, str]] = []
        self._late_rows: list[dict[str, str]] = []
        self._numbers: dict[str, int] = {}

    def make_reference(self, prefix: str, digits: int = 6) -> str:
        number = self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"{prefix}-{number:0{digits}d}"

    def make_transfer_id(self) -> str:
        return self.make_reference("T", digits=7)

    def add(self, transfer: _Transfer, status: str = "approved", *, is_late: bool = False) -> None:
        (self._late_rows if is_late else self._rows).append(transfer.to_row(status))

    def add_status(self, transfer: _Transfer, status: str, changed_at: datetime) -> None:
        self._rows.append(transfer.to_row(status, changed_at))

    def add_bad_row(self, transfer: _Transfer, fault: dict[str, str]) -> None:
        self._rows.append(transfer.to_row("approved") | fault)

    def repeat_newest(self, count: int, _now: datetime) -> None:
        plain = [row for row in self._rows if row["status"] == "approved" and not row["status_changed_at"]]
        self._rows.extend(plain[-count:])

    def list_rows(self) -> list[dict[str, str]]:
        return self._rows + self._late_rows


_Action = Callable[[datetime], None]


class _Agenda:
    """What happens when: actions in the order of their instants, then of their planning."""

    def __init__(self) -> None:
        self._planned: list[tuple[datetime, int, _Action]] = []
        self._count = 0

    def plan(self, at: datetime, action: _Action) -> None:
        if at < _ENDS_AT:
            self._count += 1
            heapq.heappush(self._planned, (at, self._count, action))

    def run(self) -> None:
        while self._planned:
            at, _, action = heapq.heappop(self._planned)
            action(at)


_Choice = TypeVar("_Choice")


class _Dice:
    """Whole random numbers from one seed; nothing else here is random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def roll(self, sides: int) -> int:
        return self._random.randrange(sides)

    def hits(self, one_in: int) -> bool:
        return self.roll(one_in) == 0

    def pick(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[self.roll(len(choices))]

    def draw_points(self, least: int, below: int) -> int:
        """Units of `least` to `below` points, mostly whole, else with one to four decimals."""
        units = (least + self.roll(below - least)) * _UNITS
        if self.hits(_DECIMALS_ONE_IN):
            places = 1 + self.roll(4)
            units += (1 + self.roll(10**places - 1)) * 10 ** (4 - places)
        return units

    def draw_delay(self, least_days: int, below_days: int) -> timedelta:
        days = least_days + self.roll(below_days - least_days)
        return timedelta(days=days, seconds=self.roll(86_400))

    def draw_shopping_time(self, month: datetime) -> datetime:
        day = self.roll((_start_of_next_month(month) - month).days)
        return month + timedelta(days=day, hours=7, seconds=self.roll(15 * 3_600))


@dataclass
class _Lot:
    """What is left, unspent, of one approved earning; `remaining` in units."""

    transfer: _Transfer
    remaining: int
    expires_at: datetime


_Taken = list[tuple[_Lot, int]]


@dataclass
class _Waiting:
    """A transfer that is pending or on hold, and the points that it reserves when it deducts."""

    transfer: _Transfer
    status: str
    taken: _Taken


@dataclass
class _Member:
    """A customer of the ordinary story: never below zero, and silent once the account is closed."""

    relation_reference: str
    joined_at: datetime
    visits_per_month: int
    collects_miles: bool
    leaves_at: datetime | None
    is_closed: bool = False
    lots: dict[str, list[_Lot]] = field(default_factory=lambda: {"POINTS": [], "MILES": []})
    waiting: dict[str, _Waiting] = field(default_factory=dict)

    def count_spendable(self, currency: str) -> int:
        return sum(lot.remaining for lot in self.lots[currency])

    def take(self, currency: str, units: int) -> _Taken:
        """Spend `units`, which must be there, from the oldest lots."""
        taken: _Taken = []
        for lot in self.lots[currency]:
            part = min(lot.remaining, units)
            if part:
                lot.remaining -= part
                units -= part
                taken.append((lot, part))
        return taken


class _Programme:
    """The ordinary story. Each action does one thing to one member, unless that one has left."""

    def __init__(self, feed: _Feed, agenda: _Agenda, dice: _Dice) -> None:
        self._feed = feed
        self._agenda = agenda
        self._dice = dice
        self._members: list[_Member] = []

    def plan_members(self, first_number: int, last_number: int) -> None:
        count = last_number - first_number + 1
        joined = sorted(self._draw_joining() for _ in range(count))
        for number, joined_at in enumerate(joined, start=first_number):
            member = self._make_member(number, joined_at)
            self._plan_referral(member)
            self._members.append(member)
            self._plan_life(member)

    def _draw_joining(self) -> datetime:
        is_newcomer = self._dice.roll(100) < _NEWCOMERS_AFTER_FIRST_MONTH_PERCENT
        month = self._dice.pick(_MONTHS[1:-2]) if is_newcomer else _MONTHS[0]
        return self._dice.draw_shopping_time(month)

    def _make_member(self, number: int, joined_at: datetime) -> _Member:
        leaves_at = joined_at + self._dice.draw_delay(60, 400)
        return _Member(
            relation_reference=_write_relation(number),
            joined_at=joined_at,
            visits_per_month=self._dice.pick(_VISITS_PER_MONTH),
            collects_miles=number % _MILES_EVERY == 0,
            leaves_at=leaves_at if self._dice.hits(_LEAVES_ONE_IN) else None,
        )

    def _plan_referral(self, newcomer: _Member) -> None:
        if newcomer.joined_at >= _MONTHS[1] and self._dice.hits(_REFERRED_ONE_IN):
            referrer = self._dice.pick(self._members)
            reward = partial(self._reward_referral, referrer, newcomer.relation_reference)
            self._agenda.plan(newcomer.joined_at + timedelta(minutes=5), reward)

    def _plan_life(self, member: _Member) -> None:
        self._agenda.plan(member.joined_at, partial(self._visit, member, "POINTS"))
        for month in _MONTHS:
            self._plan_month(member, month)
        if member.leaves_at:
            self._agenda.plan(member.leaves_at, partial(self._close, member))

    def _plan_month(self, member: _Member, month: datetime) -> None:
        for _ in range(self._dice.roll(2 * member.visits_per_month + 1)):
            self._plan_in_month(member, month, partial(self._visit, member, "POINTS"))
        if member.collects_miles and month >= _MILES_START_AT:
            self._plan_in_month(member, month, partial(self._visit, member, "MILES"))
        if self._dice.hits(_MANUAL_CREDIT_ONE_IN):
            self._plan_in_month(member, month, partial(self._credit_by_hand, member))
        if self._dice.hits(_ADJUSTMENT_ONE_IN):
            self._plan_in_month(member, month, partial(self._adjust, member))
        if member.visits_per_month == _GOLD_VISITS and month > member.joined_at:
            self._agenda.plan(month + timedelta(hours=5), partial(self._reward_tier, member))

    def _plan_in_month(self, member: _Member, month: datetime, action: _Action) -> None:
        at = self._dice.draw_shopping_time(month)
        if at > member.joined_at:
            self._agenda.plan(at, action)

    def _visit(self, member: _Member, currency: str, now: datetime) -> None:
        if member.is_closed:
            return
        points = self._dice.draw_points(10, 240)
        order = self._feed.make_reference("ORD")
        self._earn(member, now, points, "rule_credit", order, currency=currency)
        for code, first_day, days in _CAMPAIGNS:
            if first_day <= now < first_day + timedelta(days=days):
                self._earn(member, now, points, "campaign_bonus", code, currency=currency)
        if self._dice.hits(_REWARD_ONE_IN):
            redeems_at = now + timedelta(minutes=1 + self._dice.roll(90))
            self._agenda.plan(redeems_at, partial(self._redeem, member, currency))

    def _reward_tier(self, member: _Member, now: datetime) -> None:
        if not member.is_closed:
            self._earn(member, now, 50 * _UNITS, "tier_bonus", "TIER-GOLD")

    def _reward_referral(self, referrer: _Member, newcomer: str, now: datetime) -> None:
        if not referrer.is_closed:
            transfer = self._make_transfer(
                referrer, now, "give", 150 * _UNITS, "referral_bonus", external_reference=newcomer
            )
            self._wait(referrer, transfer, "pending", [])

    def _credit_by_hand(self, member: _Member, now: datetime) -> None:
        if not member.is_closed:
            points = self._dice.draw_points(20, 120)
            ticket = self._feed.make_reference("TKT")
            comment = self._dice.pick(_COMMENTS)
            self._earn(member, now, points, "manual_credit", ticket, comment=comment)

    def _adjust(self, member: _Member, now: datetime) -> None:
        points = self._dice.draw_points(5, 60)
        if member.is_closed:
            return
        if self._dice.hits(2):
            ticket = self._feed.make_reference("TKT")
            self._earn(member, now, points, "admin_adjustment", ticket)
        elif member.count_spendable("POINTS") >= points:
            self._deduct(member, now, points, "admin_adjustment", comment="Credited twice")

    def _make_transfer(
        self,
        member: _Member,
        now: datetime,
        style: str,
        units: int,
        reason: str,
        *,
        currency: str = "POINTS",
        reverses: str = "",
        external_reference: str = "",
        comment: str = "",
    ) -> _Transfer:
        return _Transfer(
            transfer_id=self._feed.make_transfer_id(),
            relation_reference=member.relation_reference,
            currency=currency,
            style=style,
            points=units,
            reason=reason,
            occurred_at=now,
            reverses_transfer_id=reverses,
            external_reference=external_reference,
            comment=comment,
        )

    def _earn(
        self,
        member: _Member,
        now: datetime,
        units: int,
        reason: str,
        external_reference: str,
        *,
        currency: str = "POINTS",
        comment: str = "",
    ) -> None:
        transfer = self._make_transfer(
            member,
            now,
            "give",
            units,
            reason,
            currency=currency,
            external_reference=external_reference,
            comment=comment,
        )
        if self._dice.hits(_WAITING_ONE_IN):
            self._wait(member, transfer, "on_hold" if self._dice.hits(4) else "pending", [])
        elif self._comes_late(member, now):
            # Not a lot: what the programme has not heard of yet, nobody can spend.
            self._feed.add(transfer, is_late=True)
        else:
            self._feed.add(transfer)
            self._add_lot(member, transfer, now)

    def _comes_late(self, member: _Member, now: datetime) -> bool:
        is_possible = _LATE_FROM <= now < _LATE_UNTIL and member.leaves_at is None
        return is_possible and self._dice.hits(_LATE_ONE_IN)

    def _add_lot(self, member: _Member, transfer: _Transfer, now: datetime) -> None:
        """Add points to spend for twelve months, the day of the anniversary included."""
        midnight = now.replace(hour=0, minute=0, second=0)
        expires_at = midnight.replace(year=now.year + 1) + timedelta(days=1, hours=2)
        lot = _Lot(transfer, transfer.points, expires_at)
        member.lots[transfer.currency].append(lot)
        self._agenda.plan(expires_at, partial(self._expire, member, transfer.currency))
        if transfer.reason == "rule_credit" and self._dice.hits(_RETURN_ONE_IN):
            returned_at = now + self._dice.draw_delay(2, 25)
            self._agenda.plan(returned_at, partial(self._return_order, member, lot))

    def _return_order(self, member: _Member, lot: _Lot, now: datetime) -> None:
        """Revoke the earning: in whole, or a quarter to three; what is spent already stays."""
        original = lot.transfer
        quarters = 4 if self._dice.hits(2) else 1 + self._dice.roll(3)
        units = min(original.points * quarters // 4, lot.remaining)
        if member.is_closed or not units:
            return
        lot.remaining -= units
        revocation = self._make_transfer(
            member,
            now,
            "deduct",
            units,
            "revocation",
            currency=original.currency,
            reverses=original.transfer_id,
            external_reference=self._feed.make_reference("RET"),
        )
        self._feed.add(revocation)

    def _deduct(
        self,
        member: _Member,
        now: datetime,
        units: int,
        reason: str,
        *,
        currency: str = "POINTS",
        comment: str = "",
    ) -> None:
        member.take(currency, units)
        transfer = self._make_transfer(
            member, now, "deduct", units, reason, currency=currency, comment=comment
        )
        self._feed.add(transfer)

    def _redeem(self, member: _Member, currency: str, now: datetime) -> None:
        units = self._choose_reward(member.count_spendable(currency))
        if member.is_closed or not units:
            return
        taken = member.take(currency, units)
        voucher = self._feed.make_reference("VCH")
        transfer = self._make_transfer(
            member,
            now,
            "deduct",
            units,
            "redemption",
            currency=currency,
            external_reference=voucher,
        )
        if self._dice.hits(_WAITING_ONE_IN):
            self._wait(member, transfer, "pending", taken)
        elif self._comes_late(member, now):
            self._feed.add(transfer, is_late=True)
        else:
            self._feed.add(transfer)
            if self._dice.hits(_VOUCHER_CANCELLED_ONE_IN):
                cancel = partial(self._cancel_voucher, member, transfer, taken)
                self._agenda.plan(now + self._dice.draw_delay(1, 12), cancel)

    def _choose_reward(self, spendable: int) -> int:
        """Choose the dearest voucher that fits, or part of a bill instead; 0 where none fits."""
        for reward in _REWARDS:
            if reward * _UNITS <= spendable:
                if self._dice.hits(10):
                    return reward * _UNITS - (1 + self._dice.roll(9_999)) * (_UNITS // 100)
                return reward * _UNITS
        return 0

    def _cancel_voucher(self, member: _Member, redemption: _Transfer, taken: _Taken, now: datetime) -> None:
        if member.is_closed:
            return
        revocation = self._make_transfer(
            member,
            now,
            "give",
            redemption.points,
            "revocation",
            currency=redemption.currency,
            reverses=redemption.transfer_id,
            external_reference=redemption.external_reference,
        )
        self._feed.add(revocation)
        self._put_back(member, redemption.currency, taken, now)

    def _put_back(self, member: _Member, currency: str, taken: _Taken, now: datetime) -> None:
        """Return points to their lots; those whose time is over expire the next night."""
        for lot, units in taken:
            lot.remaining += units
        night = now.replace(hour=2, minute=0, second=0) + timedelta(days=1)
        self._agenda.plan(night, partial(self._expire, member, currency))

    def _expire(self, member: _Member, currency: str, now: datetime) -> None:
        """Deduct what is left of every lot whose time is over, in one transfer a night."""
        lots = [lot for lot in member.lots[currency] if lot.expires_at <= now]
        units = sum(lot.remaining for lot in lots)
        if units and not member.is_closed:
            # The lots whose time is over are the oldest, so these are the ones it takes from.
            self._deduct(member, now, units, "expiry", currency=currency)

    def _wait(self, member: _Member, transfer: _Transfer, status: str, taken: _Taken) -> None:
        self._feed.add(transfer, status)
        member.waiting[transfer.transfer_id] = _Waiting(transfer, status, taken)
        self._plan_decision(member, transfer, transfer.occurred_at)

    def _plan_decision(self, member: _Member, transfer: _Transfer, now: datetime) -> None:
        decide = partial(self._decide, member, transfer.transfer_id)
        self._agenda.plan(now + self._dice.draw_delay(1, 36), decide)

    def _decide(self, member: _Member, transfer_id: str, now: datetime) -> None:
        """Approve (mostly), cancel, or move between pending and on hold, to be decided later."""
        if transfer_id not in member.waiting:
            return
        waiting = member.waiting[transfer_id]
        other = "on_hold" if waiting.status == "pending" else "pending"
        status = self._dice.pick(("approved",) * 7 + ("cancelled",) + (other,) * 2)
        if status == "cancelled":
            self._cancel(member, waiting, now)
            return
        self._feed.add_status(waiting.transfer, status, now)
        if status == other:
            waiting.status = other
            self._plan_decision(member, waiting.transfer, now)
            return
        del member.waiting[transfer_id]
        if waiting.transfer.style == "give":
            self._add_lot(member, waiting.transfer, now)

    def _cancel(self, member: _Member, waiting: _Waiting, now: datetime) -> None:
        self._feed.add_status(waiting.transfer, "cancelled", now)
        del member.waiting[waiting.transfer.transfer_id]
        self._put_back(member, waiting.transfer.currency, waiting.taken, now)

    def _close(self, member: _Member, now: datetime) -> None:
        """Bring every currency to zero; an account without points has nothing to say it with."""
        for waiting in list(member.waiting.values()):
            self._cancel(member, waiting, now)
        for currency in ("POINTS", "MILES"):
            units = member.count_spendable(currency)
            if units:
                self._deduct(member, now, units, "account_closure", currency=currency)
                member.is_closed = True


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A scripted transfer; `name` is what later scenes call it, and `reverses` such a name."""

    name: str = ""
    at: str
    customer: int
    style: str
    points: str
    reason: str
    status: str = "approved"
    currency: str = "POINTS"
    reverses: str = ""
    external_reference: str = ""
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class _StatusScene:
    """A scripted change of the status of the transfer that an earlier scene named."""

    name: str
    at: str
    status: str


def _give(at: str, customer: int, points: str, reason: str = "rule_credit", **rest: str) -> _Scene:
    return _Scene(at=at, customer=customer, style="give", points=points, reason=reason, **rest)


def _deduct(at: str, customer: int, points: str, reason: str, **rest: str) -> _Scene:
    return _Scene(at=at, customer=customer, style="deduct", points=points, reason=reason, **rest)


def _change(at: str, name: str, status: str) -> _StatusScene:
    return _StatusScene(name=name, at=at, status=status)


_SCENES = (
    # 1: the programme's first and last second, and both sides of midnight between two months
    _give("2025-09-01T00:00:00Z", 1, "100", comment="The programme's first transfer"),
    _give("2025-12-31T23:59:59Z", 1, "40.5"),
    _give("2026-01-01T00:00:00Z", 1, "60.25"),
    _deduct("2026-02-10T12:00:00Z", 1, "100", "redemption", external_reference="VCH-DEMO-01"),
    _give("2026-10-31T23:59:59Z", 1, "0.0001", comment="The smallest amount there is"),
    # 2: every reason to earn, and an adjustment both ways: 100+50+75+150+25.5+10-10.5 = 400
    _give("2026-01-05T09:00:00Z", 2, "100"),
    _give("2026-01-06T09:00:00Z", 2, "50", "tier_bonus"),
    _give("2026-01-07T09:00:00Z", 2, "75", "campaign_bonus"),
    _give("2026-01-08T09:00:00Z", 2, "150", "referral_bonus"),
    _give("2026-01-09T09:00:00Z", 2, "25.5", "manual_credit", comment="Späte Lieferung, 謝罪 🙏"),
    _give("2026-01-10T09:00:00Z", 2, "10", "admin_adjustment", comment="Counted by hand"),
    _deduct("2026-01-11T09:00:00Z", 2, "10.5", "admin_adjustment", comment="Counted again"),
    # 3: a chain: earned 500, revoked 500, that revoked 500, of that revoked 200: 300 stay
    _give("2025-11-03T10:00:00Z", 3, "500", name="chain 0", external_reference="ORD-DEMO-03"),
    _deduct("2025-11-10T10:00:00Z", 3, "500", "revocation", name="chain 1", reverses="chain 0"),
    _give("2025-12-02T10:00:00Z", 3, "500", "revocation", name="chain 2", reverses="chain 1"),
    _deduct("2026-01-15T10:00:00Z", 3, "200", "revocation", reverses="chain 2"),
    # 4: a voucher cancelled, and one cancelled by mistake: 1000-600+600-300+300-300 = 700
    _give("2026-03-02T10:00:00Z", 4, "1000"),
    _deduct(
        "2026-03-10T10:00:00Z",
        4,
        "600",
        "redemption",
        name="voucher",
        external_reference="VCH-DEMO-04A",
    ),
    _give("2026-04-01T10:00:00Z", 4, "600", "revocation", reverses="voucher"),
    _deduct(
        "2026-04-12T10:00:00Z",
        4,
        "300",
        "redemption",
        name="kept voucher",
        external_reference="VCH-DEMO-04B",
    ),
    _give("2026-04-20T10:00:00Z", 4, "300", "revocation", name="slip", reverses="kept voucher"),
    _deduct("2026-04-20T10:05:00Z", 4, "300", "revocation", reverses="slip"),
    # 5: an order returned in two parts, 60 and 90 of 200, and a voucher handed back at the counter
    _give("2026-05-04T10:00:00Z", 5, "200", name="order in parts"),
    _deduct("2026-05-09T10:00:00Z", 5, "60", "revocation", reverses="order in parts"),
    _deduct("2026-06-01T10:00:00Z", 5, "90", "revocation", reverses="order in parts"),
    _deduct("2026-06-02T10:00:00Z", 5, "50", "redemption", external_reference="VCH-DEMO-05"),
    _give("2026-06-03T10:00:00Z", 5, "50", "redemption", external_reference="VCH-DEMO-05"),
    # 6: what expired is given back, and spent
    _give("2025-09-10T10:00:00Z", 6, "250.5"),
    _deduct("2026-09-11T02:00:00Z", 6, "250.5", "expiry", name="expiry"),
    _give("2026-09-15T10:00:00Z", 6, "250.5", "revocation", name="goodwill", reverses="expiry"),
    _deduct("2026-10-02T10:00:00Z", 6, "250", "redemption", external_reference="VCH-DEMO-06"),
    # 7: spent, then the order returned: 300 below zero in March and April
    _give("2026-02-02T10:00:00Z", 7, "300", name="spent order"),
    _deduct("2026-02-03T10:00:00Z", 7, "300", "redemption", external_reference="VCH-DEMO-07"),
    _deduct("2026-03-05T10:00:00Z", 7, "300", "revocation", reverses="spent order"),
    _give("2026-05-20T10:00:00Z", 7, "450"),
    # 8: closed from below zero, so that the closure gives
    _give("2026-04-07T10:00:00Z", 8, "200", name="order before leaving"),
    _deduct("2026-04-08T10:00:00Z", 8, "200", "redemption", external_reference="VCH-DEMO-08"),
    _deduct("2026-04-28T10:00:00Z", 8, "120", "revocation", reverses="order before leaving"),
    _give("2026-06-15T10:00:00Z", 8, "120", "account_closure"),
    # 9: closed in both currencies, to the last decimal
    _give("2025-12-10T10:00:00Z", 9, "310.1234"),
    _give("2025-12-10T10:00:00Z", 9, "75.5", currency="MILES"),
    _deduct("2026-05-01T10:00:00Z", 9, "310.1234", "account_closure"),
    _deduct("2026-05-01T10:00:00Z", 9, "75.5", "account_closure", currency="MILES"),
    # 10: a closed account goes on: two discrepancies
    _give("2026-01-12T10:00:00Z", 10, "80"),
    _deduct("2026-07-01T10:00:00Z", 10, "80", "account_closure"),
    _give("2026-08-03T10:00:00Z", 10, "35", comment="After closure, on purpose"),
    _deduct("2026-09-03T10:00:00Z", 10, "35", "redemption", external_reference="VCH-DEMO-10"),
    # 11: a revocation of a transfer that nobody knows
    _give("2026-02-16T10:00:00Z", 11, "400"),
    _deduct("2026-03-16T10:00:00Z", 11, "80", "revocation", reverses="OLD-0004711"),
    # 12: 250 revoked of 200
    _give("2026-03-03T10:00:00Z", 12, "500"),
    _give("2026-03-04T10:00:00Z", 12, "200", name="small order"),
    _deduct("2026-03-24T10:00:00Z", 12, "250", "revocation", reverses="small order"),
    # 13: a revocation of a transfer that was never approved
    _give("2026-06-08T10:00:00Z", 13, "300"),
    _give("2026-06-09T10:00:00Z", 13, "150", "campaign_bonus", status="pending", name="refused"),
    _change("2026-06-20T10:00:00Z", "refused", "cancelled"),
    _deduct("2026-06-25T10:00:00Z", 13, "150", "revocation", reverses="refused"),
    # 14: to and fro between pending and on hold, approved two months on; and what still waits
    _give("2026-04-14T10:00:00Z", 14, "700", status="pending", name="to and fro"),
    _change("2026-04-20T10:00:00Z", "to and fro", "on_hold"),
    _change("2026-05-06T10:00:00Z", "to and fro", "pending"),
    _change("2026-05-21T10:00:00Z", "to and fro", "on_hold"),
    _change("2026-06-04T10:00:00Z", "to and fro", "approved"),
    _deduct(
        "2026-06-11T10:00:00Z",
        14,
        "90",
        "redemption",
        status="on_hold",
        name="never sent",
        external_reference="VCH-DEMO-14A",
    ),
    _change("2026-07-02T10:00:00Z", "never sent", "cancelled"),
    _give("2026-08-20T10:00:00Z", 14, "55", "referral_bonus", status="pending"),
    _give("2026-09-21T10:00:00Z", 14, "65", "manual_credit", status="on_hold"),
    _deduct(
        "2026-10-12T10:00:00Z",
        14,
        "40",
        "redemption",
        status="pending",
        external_reference="VCH-DEMO-14B",
    ),
    # 15: comments that an export has to make harmless
    _give("2026-05-11T10:00:00Z", 15, "20", comment='=HYPERLINK("http://example.com")'),
    _give("2026-05-12T10:00:00Z", 15, "30", comment="Called on Monday.\nPromised 30 points."),
    _give("2026-05-13T10:00:00Z", 15, "40", comment='<b>5 > 4 & "so on"</b>, \'tis true'),
)
_SCENE_CUSTOMERS = 15

# Rows that break one rule of the import each: when they stand in the file, and the fault.
_BAD_ROWS = (
    ("2025-10-20T09:00:00Z", {"points": "1e3"}),
    ("2025-11-20T09:00:00Z", {"reason": "birthday_bonus"}),
    ("2026-02-27T09:00:00Z", {"occurred_at": "2026-02-30T09:00:00Z"}),
    ("2026-04-22T09:00:00Z", {"transfer_id": "=T-0000000"}),
    ("2026-08-24T09:00:00Z", {"relation_reference": "C 000123"}),
)


class _Stage:
    """Plays the scenes and the bad rows at their instants, beside the ordinary story."""

    def __init__(self, feed: _Feed, agenda: _Agenda) -> None:
        self._feed = feed
        self._agenda = agenda
        self._named: dict[str, _Transfer] = {}

    def plan_scenes(self) -> None:
        for scene in _SCENES:
            if isinstance(scene, _StatusScene):
                self._agenda.plan(_read_instant(scene.at), partial(self._play_status, scene))
            else:
                self._agenda.plan(_read_instant(scene.at), partial(self._play, scene))
        for at, fault in _BAD_ROWS:
            self._agenda.plan(_read_instant(at), partial(self._play_bad_row, fault))

    def _play(self, scene: _Scene, now: datetime) -> None:
        original = self._named.get(scene.reverses)
        transfer = _Transfer(
            transfer_id=self._feed.make_transfer_id(),
            relation_reference=_write_relation(scene.customer),
            currency=scene.currency,
            style=scene.style,
            points=_read_points(scene.points),
            reason=scene.reason,
            occurred_at=now,
            reverses_transfer_id=original.transfer_id if original else scene.reverses,
            external_reference=scene.external_reference,
            comment=scene.comment,
        )
        self._feed.add(transfer, scene.status)
        if scene.name:
            self._named[scene.name] = transfer

    def _play_status(self, scene: _StatusScene, now: datetime) -> None:
        self._feed.add_status(self._named[scene.name], scene.status, now)

    def _play_bad_row(self, fault: dict[str, str], now: datetime) -> None:
        good = _Transfer(
            transfer_id=self._feed.make_transfer_id(),
            relation_reference=_write_relation(2),
            style="give",
            points=1_000 * _UNITS,
            reason="rule_credit",
            occurred_at=now,
        )
        self._feed.add_bad_row(good, fault)


def _make_rows() -> list[dict[str, str]]:
    feed, agenda = _Feed(), _Agenda()
    _Stage(feed, agenda).plan_scenes()
    programme = _Programme(feed, agenda, _Dice(_SEED))
    programme.plan_members(_SCENE_CUSTOMERS + 1, _CUSTOMERS)
    agenda.plan(_RESENT_AT, partial(feed.repeat_newest, _RESENT_ROWS))
    agenda.run()
    return feed.list_rows()


def write_demo_transfers(path: Path) -> int:
    """Write the demonstration programme to `path` as an import file (docs/design.md, section 5).

    The file is UTF-8 CSV with CRLF and the header `COLUMNS`; one row per transfer, and one more
    for each change of its status, in the order in which they happened; rows that arrive late
    stand at the end. Points are decimal text with up to four places, instants are UTC with `Z`,
    from `DEMO_FIRST_MONTH` to `DEMO_LAST_MONTH`. The bytes never differ. Five rows break a rule,
    so an import needs `--quarantine`.

    The file appears whole or not at all: it is written beside `path`, synced and moved there.

    Returns the number of rows, without the header. Raises `OSError` where the folder is missing
    or cannot be written to; nothing is left behind then.
    """
    rows = _make_rows()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(rows)


class DemoHomeTaken(PointsError):
    """The demo's home holds what the demo did not put there."""

    def __init__(self, home: Path, found: str) -> None:
        super().__init__(
            f"The demo needs a home of its own, but {home} holds {found}, which is not of the demo;"
            " name another folder in POINTS_HOME."
        )
        self.home = home
        self.found = found


@dataclass(frozen=True)
class Demo:
    """The demo as it stands in its home: its file, and how many entries its ledger holds."""

    home: Path
    transfers_file: Path
    row_count: int
    entry_count: int


def demo_home(settings: Settings) -> Path:
    """The demo's own home: the folder `demo` of the programme's home, or that very folder."""
    return settings.home if settings.home.name == "demo" else settings.home / "demo"


def make_demo(settings: Settings) -> Demo:
    """Write `transfers.csv` into the demo's home and import it, bad rows and all, into a ledger there.

    The ledger is SQLite whatever POINTS_DATABASE_URL says, for that one is somebody's. Its entries are the
    same everywhere: who recorded them, and when, is the demo's too. Where it holds them already, nothing is
    added. Raises `DemoHomeTaken` where the home holds anything that neither the demo nor a build of it wrote,
    or its ledger does not begin with the demo.
    """
    home = demo_home(settings)
    file = home / "transfers.csv"
    _check_home(home, file)
    own = replace(
        settings, home=home, transfers=None, database_url=None, database_owner_url=None, user=DEMO_USER
    )
    batch = _imported_batch(own, file)
    home.mkdir(parents=True, exist_ok=True)
    row_count = write_demo_transfers(file)
    if batch is None:
        ledger = replace(open_ledger(own, create=True), clock=lambda: DEMO_RECORDED_AT)
        import_file(ledger, file, quarantine=True, batch_id=DEMO_BATCH)
    elif batch.file_sha256 != hashlib.sha256(file.read_bytes()).hexdigest():
        raise DemoHomeTaken(home, "the entries of another version")
    return Demo(home, file, row_count, ledger_head().entry_id)


def _check_home(home: Path, file: Path) -> None:
    """Raise `DemoHomeTaken` where there is a file that no demo has."""
    found = sorted(path.name for path in home.iterdir()) if home.exists() else []
    for name in found:
        if name not in _HOME_NAMES and not name.startswith("."):
            raise DemoHomeTaken(home, name)
    if file.exists() and not file.read_bytes().startswith(",".join(COLUMNS).encode()):
        raise DemoHomeTaken(home, file.name)


def _imported_batch(settings: Settings, file: Path) -> Batch | None:
    """The demo's batch, with which its ledger begins; None where nothing was recorded yet."""
    try:
        open_ledger(settings)
    except LedgerEmpty:
        # The file comes first: a ledger without it was begun by somebody else.
        if sqlite_file(settings).exists() and not file.exists():
            raise DemoHomeTaken(settings.home, sqlite_file(settings).name) from None
        return None
    batch = Batch.objects.filter(entry_id=1, batch_id=DEMO_BATCH).first()
    if batch is None:
        raise DemoHomeTaken(settings.home, f"other entries in {sqlite_file(settings).name}")
    return batch
