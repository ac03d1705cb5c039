"""What members do in the demo's fourteen months: they join, visit, redeem, return, wait, expire and leave."""

from datetime import UTC, datetime, timedelta
from functools import partial

from simulator.agenda import Action, Agenda
from simulator.dice import Dice
from simulator.feed import Feed
from simulator.members import Lot, Member, Taken, Waiting, relation_reference
from simulator.months import MONTHS
from simulator.transfer_files import UNITS, SimulatedTransfer

# Chances are "one in so many".
_NEWCOMERS_AFTER_FIRST_MONTH_PERCENT = 45
_MILES_EVERY = 13
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
_MILES_START_AT = MONTHS[3]
_LATE_FROM, _LATE_UNTIL = MONTHS[-5], MONTHS[-1]
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


class MemberLife:
    """Each action does one thing to one member, unless that one has left."""

    def __init__(self, feed: Feed, agenda: Agenda, dice: Dice) -> None:
        self._feed = feed
        self._agenda = agenda
        self._dice = dice
        self._members: list[Member] = []

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
        month = self._dice.pick(MONTHS[1:-2]) if is_newcomer else MONTHS[0]
        return self._dice.draw_shopping_time(month)

    def _make_member(self, number: int, joined_at: datetime) -> Member:
        leaves_at = joined_at + self._dice.draw_delay(60, 400)
        return Member(
            relation_reference=relation_reference(number),
            joined_at=joined_at,
            visits_per_month=self._dice.pick(_VISITS_PER_MONTH),
            collects_miles=number % _MILES_EVERY == 0,
            leaves_at=leaves_at if self._dice.hits(_LEAVES_ONE_IN) else None,
        )

    def _plan_referral(self, newcomer: Member) -> None:
        if newcomer.joined_at >= MONTHS[1] and self._dice.hits(_REFERRED_ONE_IN):
            referrer = self._dice.pick(self._members)
            reward = partial(self._reward_referral, referrer, newcomer.relation_reference)
            self._agenda.plan(newcomer.joined_at + timedelta(minutes=5), reward)

    def _plan_life(self, member: Member) -> None:
        self._agenda.plan(member.joined_at, partial(self._visit, member, "POINTS"))
        for month in MONTHS:
            self._plan_month(member, month)
        if member.leaves_at:
            self._agenda.plan(member.leaves_at, partial(self._close, member))

    def _plan_month(self, member: Member, month: datetime) -> None:
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

    def _plan_in_month(self, member: Member, month: datetime, action: Action) -> None:
        at = self._dice.draw_shopping_time(month)
        if at > member.joined_at:
            self._agenda.plan(at, action)

    def _visit(self, member: Member, currency: str, now: datetime) -> None:
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

    def _reward_tier(self, member: Member, now: datetime) -> None:
        if not member.is_closed:
            self._earn(member, now, 50 * UNITS, "tier_bonus", "TIER-GOLD")

    def _reward_referral(self, referrer: Member, newcomer: str, now: datetime) -> None:
        if not referrer.is_closed:
            transfer = self._make_transfer(
                referrer, now, "give", 150 * UNITS, "referral_bonus", external_reference=newcomer
            )
            self._wait(referrer, transfer, "pending", [])

    def _credit_by_hand(self, member: Member, now: datetime) -> None:
        if not member.is_closed:
            points = self._dice.draw_points(20, 120)
            ticket = self._feed.make_reference("TKT")
            comment = self._dice.pick(_COMMENTS)
            self._earn(member, now, points, "manual_credit", ticket, comment=comment)

    def _adjust(self, member: Member, now: datetime) -> None:
        points = self._dice.draw_points(5, 60)
        if member.is_closed:
            return
        if self._dice.hits(2):
            ticket = self._feed.make_reference("TKT")
            self._earn(member, now, points, "admin_adjustment", ticket)
        elif member.count_spendable("POINTS") >= points:
            self._deduct(member, now, points, "admin_adjustment", "POINTS", "Credited twice")

    def _make_transfer(
        self, member: Member, now: datetime, style: str, units: int, reason: str, **rest: str
    ) -> SimulatedTransfer:
        return self._feed.make_transfer(
            relation_reference=member.relation_reference,
            style=style,
            points=units,
            reason=reason,
            occurred_at=now,
            **rest,
        )

    def _earn(
        self, member: Member, now: datetime, units: int, reason: str, reference: str, **rest: str
    ) -> None:
        transfer = self._make_transfer(
            member, now, "give", units, reason, external_reference=reference, **rest
        )
        if self._dice.hits(_WAITING_ONE_IN):
            self._wait(member, transfer, "on_hold" if self._dice.hits(4) else "pending", [])
        elif self._comes_late(member, now):
            # Not a lot: what the programme has not heard of yet, nobody can spend.
            self._feed.add(transfer, is_late=True)
        else:
            self._feed.add(transfer)
            self._add_lot(member, transfer, now)

    def _comes_late(self, member: Member, now: datetime) -> bool:
        is_possible = _LATE_FROM <= now < _LATE_UNTIL and member.leaves_at is None
        return is_possible and self._dice.hits(_LATE_ONE_IN)

    def _add_lot(self, member: Member, transfer: SimulatedTransfer, now: datetime) -> None:
        """Add points to spend for twelve months, the day of the anniversary included."""
        midnight = now.replace(hour=0, minute=0, second=0)
        expires_at = midnight.replace(year=now.year + 1) + timedelta(days=1, hours=2)
        lot = Lot(transfer, transfer.points, expires_at)
        member.lots[transfer.currency].append(lot)
        self._agenda.plan(expires_at, partial(self._expire, member, transfer.currency))
        if transfer.reason == "rule_credit" and self._dice.hits(_RETURN_ONE_IN):
            returned_at = now + self._dice.draw_delay(2, 25)
            self._agenda.plan(returned_at, partial(self._return_order, member, lot))

    def _return_order(self, member: Member, lot: Lot, now: datetime) -> None:
        """Revoke the earning: in whole, or a quarter to three; what is spent already stays."""
        original = lot.transfer
        quarters = 4 if self._dice.hits(2) else 1 + self._dice.roll(3)
        units = min(original.points * quarters // 4, lot.remaining)
        if member.is_closed or not units:
            return
        lot.remaining -= units
        self._revoke(member, now, units, original, self._feed.make_reference("RET"))

    def _revoke(
        self, member: Member, now: datetime, units: int, original: SimulatedTransfer, reference: str
    ) -> None:
        style = "deduct" if original.style == "give" else "give"
        values = {
            "currency": original.currency,
            "reverses_transfer_id": original.transfer_id,
            "external_reference": reference,
        }
        self._feed.add(self._make_transfer(member, now, style, units, "revocation", **values))

    def _deduct(
        self, member: Member, now: datetime, units: int, reason: str, currency: str, comment: str = ""
    ) -> None:
        member.take(currency, units)
        self._feed.add(
            self._make_transfer(member, now, "deduct", units, reason, currency=currency, comment=comment)
        )

    def _redeem(self, member: Member, currency: str, now: datetime) -> None:
        units = self._choose_reward(member.count_spendable(currency))
        if member.is_closed or not units:
            return
        taken = member.take(currency, units)
        voucher = self._feed.make_reference("VCH")
        transfer = self._make_transfer(
            member, now, "deduct", units, "redemption", currency=currency, external_reference=voucher
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
            if reward * UNITS <= spendable:
                if self._dice.hits(10):
                    return reward * UNITS - (1 + self._dice.roll(9_999)) * (UNITS // 100)
                return reward * UNITS
        return 0

    def _cancel_voucher(
        self, member: Member, redemption: SimulatedTransfer, taken: Taken, now: datetime
    ) -> None:
        if member.is_closed:
            return
        self._revoke(member, now, redemption.points, redemption, redemption.external_reference)
        self._put_back(member, redemption.currency, taken, now)

    def _put_back(self, member: Member, currency: str, taken: Taken, now: datetime) -> None:
        """Return points to their lots; those whose time is over expire the next night."""
        for lot, units in taken:
            lot.remaining += units
        night = now.replace(hour=2, minute=0, second=0) + timedelta(days=1)
        self._agenda.plan(night, partial(self._expire, member, currency))

    def _expire(self, member: Member, currency: str, now: datetime) -> None:
        """Deduct what is left of every lot whose time is over, in one transfer a night."""
        lots = [lot for lot in member.lots[currency] if lot.expires_at <= now]
        units = sum(lot.remaining for lot in lots)
        if units and not member.is_closed:
            # The lots whose time is over are the oldest, so these are the ones it takes from.
            self._deduct(member, now, units, "expiry", currency)

    def _wait(self, member: Member, transfer: SimulatedTransfer, status: str, taken: Taken) -> None:
        self._feed.add(transfer, status)
        member.waiting[transfer.transfer_id] = Waiting(transfer, status, taken)
        self._plan_decision(member, transfer, transfer.occurred_at)

    def _plan_decision(self, member: Member, transfer: SimulatedTransfer, now: datetime) -> None:
        decide = partial(self._decide, member, transfer.transfer_id)
        self._agenda.plan(now + self._dice.draw_delay(1, 36), decide)

    def _decide(self, member: Member, transfer_id: str, now: datetime) -> None:
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

    def _cancel(self, member: Member, waiting: Waiting, now: datetime) -> None:
        self._feed.add_status(waiting.transfer, "cancelled", now)
        del member.waiting[waiting.transfer.transfer_id]
        self._put_back(member, waiting.transfer.currency, waiting.taken, now)

    def _close(self, member: Member, now: datetime) -> None:
        """Bring every currency to zero; an account without points has nothing to say it with."""
        for waiting in list(member.waiting.values()):
            self._cancel(member, waiting, now)
        for currency in ("POINTS", "MILES"):
            units = member.count_spendable(currency)
            if units:
                self._deduct(member, now, units, "account_closure", currency)
                member.is_closed = True
