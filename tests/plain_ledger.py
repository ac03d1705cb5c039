"""The rules of docs/design.md, sections 5 to 7, once more in plain Python, as simply as they can be said.

It knows no database, no index and no SQL; the tests drive it beside the real thing and compare.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

WAITING = ("pending", "on_hold")
FINAL = ("approved", "cancelled")
OPPOSITE = {"give": "deduct", "deduct": "give"}


@dataclass
class PlainTransfer:
    transfer_id: str
    relation: str
    currency: str
    style: str
    points: Decimal
    reason: str
    occurred_at: datetime
    status: str
    author: str
    by_file: bool = False
    reverses: str = ""
    external_reference: str = ""
    # The other transfer of a move, or of the revocation of one.
    half: str = ""
    waited: bool = False
    approved_at: datetime | None = None
    held: set[str] = field(default_factory=set)
    changes: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held.add(self.status)

    @property
    def last_change(self) -> datetime | None:
        """When its last status was; None of what began to wait and says no instant."""
        return max(self.changes, default=None if self.waited else self.occurred_at)

    @property
    def signed(self) -> Decimal:
        return self.points if self.style == "give" else -self.points

    @property
    def effective_at(self) -> datetime | None:
        if self.status != "approved":
            return None
        return max(self.occurred_at, self.approved_at) if self.waited else self.occurred_at


@dataclass
class PlainEvent:
    relation: str
    event: str
    occurred_at: datetime
    author: str
    event_id: str = ""


class PlainLedger:
    """What the ledger must hold. An act gives the codes of the rules it breaks; with none, it is done."""

    def __init__(self, limit: Decimal | None) -> None:
        self.limit = limit
        self.transfers: dict[str, PlainTransfer] = {}
        self.events: list[PlainEvent] = []
        self.requests: dict[str, PlainEvent] = {}
        self.settled: dict[str, str] = {}
        with open(Path(__file__).parents[1] / "seeds/transfer_reasons.csv", encoding="utf-8") as file:
            self.reasons = {(row["reason"], row["style"]): row for row in csv.DictReader(file)}

    # What is there

    def knows(self, relation: str) -> bool:
        return any(transfer.relation == relation for transfer in self.transfers.values()) or any(
            event.relation == relation for event in [*self.events, *self.requests.values()]
        )

    def is_closed(self, relation: str) -> bool:
        events = [event for event in self.events if event.relation == relation]
        # Python's sort keeps what was recorded first first.
        return bool(events) and sorted(events, key=lambda event: event.occurred_at)[-1].event == "close"

    def revocations_of(self, transfer_id: str) -> list[PlainTransfer]:
        return [
            transfer
            for transfer in self.transfers.values()
            if transfer.reason == "revocation" and transfer.reverses == transfer_id
        ]

    def unrevoked(self, transfer_id: str) -> Decimal:
        """What is left however waiting transfers are decided: they take, but give nothing back."""
        return self.transfers[transfer_id].points - sum(
            (
                self.most_taken(revocation.transfer_id)
                for revocation in self.revocations_of(transfer_id)
                if revocation.status != "cancelled"
            ),
            Decimal(0),
        )

    def most_taken(self, revocation_id: str) -> Decimal:
        return self.transfers[revocation_id].points - sum(
            (
                self.unrevoked(revocation.transfer_id)
                for revocation in self.revocations_of(revocation_id)
                if revocation.status == "approved"
            ),
            Decimal(0),
        )

    def takes_too_much(self, revocation: PlainTransfer) -> bool:
        """Whether it leaves less than nothing of anything that it takes from."""
        status = revocation.status
        left: dict[str, dict[str, Decimal]] = {}
        for tried in ("cancelled", "approved"):
            revocation.status = tried
            left[tried] = {transfer_id: self.unrevoked(transfer_id) for transfer_id in self.transfers}
        revocation.status = status
        return any(
            left["approved"][transfer_id] < min(left["cancelled"][transfer_id], 0)
            for transfer_id in self.transfers
        )

    def balance(self, relation: str, currency: str, now: datetime) -> Decimal:
        return sum(
            (
                transfer.signed
                for transfer in self.transfers.values()
                if (transfer.relation, transfer.currency) == (relation, currency)
                and transfer.status == "approved"
                and transfer.effective_at <= now
            ),
            Decimal(0),
        )

    def waiting(self, relation: str, currency: str, style: str, status: str) -> Decimal:
        return sum(
            (
                transfer.points
                for transfer in self.transfers.values()
                if (transfer.relation, transfer.currency, transfer.style, transfer.status)
                == (relation, currency, style, status)
            ),
            Decimal(0),
        )

    def spendable(self, relation: str, currency: str, now: datetime) -> Decimal:
        reserved = sum((self.waiting(relation, currency, "deduct", status) for status in WAITING), Decimal(0))
        return self.balance(relation, currency, now) - reserved - self.reserved_ahead(relation, currency, now)

    def is_ahead(self, transfer: PlainTransfer, now: datetime) -> bool:
        return transfer.status == "approved" and transfer.effective_at > now

    def first_ahead(self, transfer: PlainTransfer, now: datetime) -> PlainTransfer:
        """What a transfer ahead revokes, to any depth, so long as that is ahead too; or itself."""
        original = self.transfers.get(transfer.reverses) if transfer.reason == "revocation" else None
        if original is not None and self.is_ahead(original, now):
            return self.first_ahead(original, now)
        return transfer

    def expires(self, transfer: PlainTransfer) -> bool:
        if transfer.reason == "revocation":
            return transfer.reverses in self.transfers and self.expires(self.transfers[transfer.reverses])
        return self.reasons[transfer.reason, transfer.style]["bucket"] == "expired"

    def reserves(self, transfer: PlainTransfer, now: datetime) -> bool:
        """Whether a transfer ahead belongs to a deduct that reserves its points."""
        first = self.first_ahead(transfer, now)
        return first.style == "deduct" and not self.expires(first)

    def reserved_ahead(self, relation: str, currency: str, now: datetime) -> Decimal:
        """What is left of each deduct that has not taken effect yet."""
        left: dict[str, Decimal] = defaultdict(Decimal)
        for transfer in self.transfers.values():
            is_own = (transfer.relation, transfer.currency) == (relation, currency)
            if is_own and self.is_ahead(transfer, now) and self.reserves(transfer, now):
                left[self.first_ahead(transfer, now).transfer_id] -= transfer.signed
        return sum((max(points, Decimal(0)) for points in left.values()), Decimal(0))

    def must_fit(self, transfer: PlainTransfer, now: datetime) -> bool:
        """Whether a deduct takes what is there to be spent, and not what is still to come."""
        return transfer.occurred_at <= now or self.first_ahead(transfer, now).style == "deduct"

    def pairs(self) -> set[tuple[str, str]]:
        return {(transfer.relation, transfer.currency) for transfer in self.transfers.values()}

    # What people do

    def add(self, transfer: PlainTransfer, now: datetime, *, new: bool, allow_negative: bool) -> set[str]:
        known = self.transfers.get(transfer.transfer_id)
        if known:
            return set() if _content(known) == _content(transfer) else {"ID_CONFLICT"}
        broken = set()
        if not new and not self.knows(transfer.relation):
            broken.add("UNKNOWN_RELATION")
        if self.is_closed(transfer.relation):
            broken.add("ACCOUNT_CLOSED")
        spendable = self.spendable(transfer.relation, transfer.currency, now)
        is_too_much = transfer.points > spendable and self.must_fit(transfer, now)
        if transfer.style == "deduct" and not allow_negative and is_too_much:
            broken.add("NOT_ENOUGH")
        if not broken:
            if self.limit is not None and transfer.points > self.limit and transfer.status == "approved":
                transfer.status = "pending"
                transfer.held = {"pending"}
            transfer.waited = transfer.status in WAITING
            self.transfers[transfer.transfer_id] = transfer
        return broken

    def revoke(
        self,
        transfer_id: str,
        revocation_id: str,
        points: Decimal | None,
        user: str,
        now: datetime,
        allow_negative: bool,
    ) -> set[str]:
        original = self.transfers.get(transfer_id)
        if original is None:
            return {"UNKNOWN_TRANSFER"}
        if original.status != "approved":
            return {"NOT_APPROVED"}
        originals = self.both(original)
        left = min(self.unrevoked(each.transfer_id) for each in originals)
        if left <= 0 or (points is not None and points > left):
            return {"REVOKED"}
        revocations = [
            PlainTransfer(
                # What is deducted is the first of a pair.
                f"{revocation_id}-{1 if each.style == 'give' else 2}" if each.half else revocation_id,
                each.relation,
                each.currency,
                OPPOSITE[each.style],
                left if points is None else points,
                "revocation",
                max(now, each.effective_at),
                "approved",
                user,
                reverses=each.transfer_id,
            )
            for each in originals
        ]
        self._pair(revocations)
        self.transfers |= {revocation.transfer_id: revocation for revocation in revocations}
        is_too_much = any(self.takes_too_much(revocation) for revocation in revocations)
        for revocation in revocations:
            del self.transfers[revocation.transfer_id]
        if is_too_much:
            return {"REVOKED"}
        return self.add_all(revocations, now, new=False, allow_negative=allow_negative)

    def add_all(
        self, transfers: list[PlainTransfer], now: datetime, *, new: bool, allow_negative: bool
    ) -> set[str]:
        """All of them or none; what is given counts before what is deducted."""
        broken: set[str] = set()
        for transfer in sorted(transfers, key=lambda each: each.style == "deduct"):
            broken |= self.add(transfer, now, new=new, allow_negative=allow_negative)
        if broken:
            for transfer in transfers:
                self.transfers.pop(transfer.transfer_id, None)
        return broken

    def both(self, transfer: PlainTransfer) -> list[PlainTransfer]:
        """A transfer, and the other one of its move."""
        return [transfer, *([self.transfers[transfer.half]] if transfer.half else [])]

    def _pair(self, transfers: list[PlainTransfer]) -> None:
        if len(transfers) == 2:
            transfers[0].half, transfers[1].half = transfers[1].transfer_id, transfers[0].transfer_id

    def pair_of(
        self,
        move_id: str,
        relations: tuple[str, str],
        currency: str,
        points: Decimal,
        occurred_at: datetime,
        status: str,
        user: str,
    ) -> list[PlainTransfer]:
        """The two transfers of a move."""
        pair = [
            PlainTransfer(
                f"{move_id}-{number}",
                relation,
                currency,
                style,
                points,
                "transfer_between_accounts",
                occurred_at,
                status,
                user,
            )
            for number, relation, style in zip((1, 2), relations, ("deduct", "give"), strict=True)
        ]
        self._pair(pair)
        return pair

    def move_points(
        self,
        move_id: str,
        relations: tuple[str, str],
        currency: str,
        points: Decimal | None,
        occurred_at: datetime,
        status: str,
        user: str,
        now: datetime,
        *,
        new: bool,
        allow_negative: bool,
        close: bool,
    ) -> set[str]:
        origin, target = relations
        if origin == target:
            return {"SAME_ACCOUNT"}
        if not self.knows(origin):
            return {"UNKNOWN_RELATION"}
        points = self.spendable(origin, currency, now) if points is None else points
        if points <= 0:
            return {"NOTHING_TO_MOVE"}
        pair = self.pair_of(move_id, relations, currency, points, occurred_at, status, user)
        broken = self.add_all(pair, now, new=new, allow_negative=allow_negative)
        if broken or not close:
            return broken
        if self.obstacles_to_closing(origin, now):
            broken.add("ACCOUNT_IN_USE")
        elif any(self.balance(*pair, now) for pair in self.pairs() if pair[0] == origin):
            broken.add("NOT_EMPTIED")
        if broken:
            for transfer in pair:
                del self.transfers[transfer.transfer_id]
            return broken
        if request_id := self.waiting_request(origin, "close"):
            self.settled[request_id] = "approved"
        self._add_event(origin, "close", user, now)
        return set()

    def decide(
        self, transfer_id: str, status: str, user: str, now: datetime, allow_negative: bool
    ) -> set[str]:
        transfer = self.transfers.get(transfer_id)
        if transfer is None:
            return {"UNKNOWN_TRANSFER"}
        if transfer.status == status:
            return set()
        if transfer.status in FINAL:
            return {"STATUS_TRANSITION"}
        broken = set()
        for each in self.both(transfer) if status == "approved" else []:
            if each.author == user and not each.by_file:
                broken.add("OWN_TRANSFER")
            if self.is_closed(each.relation):
                broken.add("ACCOUNT_CLOSED")
            if self.takes_too_much(each):
                broken.add("REVOKED")
            if each.style == "deduct" and not allow_negative:
                spendable = self.spendable(each.relation, each.currency, now) + each.points
                if each.points > spendable and self.must_fit(each, now):
                    broken.add("NOT_ENOUGH")
        if not broken:
            for each in self.both(transfer):
                self.move(each, status, now)
            if status == "approved" and transfer.reason == "account_closure":
                # It came in a file and waited; approved, it closes the account too.
                self.events.append(PlainEvent(transfer.relation, "close", transfer.effective_at, user))
        return broken

    def _add_event(self, relation: str, event: str, user: str, now: datetime) -> None:
        """People's events come after all others, even where a file dated those later."""
        earlier = [known.occurred_at for known in self.events if known.relation == relation]
        self.events.append(PlainEvent(relation, event, max([now, *earlier]), user))

    def waiting_request(self, relation: str, event: str) -> str | None:
        for event_id, request in self.requests.items():
            if (request.relation, request.event) == (relation, event) and event_id not in self.settled:
                return event_id
        return None

    def open_account(self, relation: str, user: str, now: datetime, event_id: str) -> set[str]:
        if self.is_closed(relation):
            if self.limit is None:
                self._add_event(relation, "open", user, now)
            elif not self.waiting_request(relation, "open"):
                self.requests[event_id] = PlainEvent(relation, "open", now, user, event_id)
        elif not self.knows(relation):
            self._add_event(relation, "open", user, now)
        return set()

    def obstacles_to_closing(self, relation: str, now: datetime) -> list[PlainTransfer]:
        """What waits, and what is ahead and not revoked with effect at the very same time."""
        own = [transfer for transfer in self.transfers.values() if transfer.relation == relation]
        ahead = [transfer for transfer in own if self.is_ahead(transfer, now)]

        def together(transfer: PlainTransfer) -> tuple:
            first = self.first_ahead(transfer, now)
            return (transfer.currency, first.transfer_id, transfer.effective_at)

        sums: dict[tuple, Decimal] = defaultdict(Decimal)
        for transfer in ahead:
            sums[together(transfer)] += transfer.signed
        return [
            transfer
            for transfer in own
            if transfer.status in WAITING or (transfer in ahead and sums[together(transfer)] != 0)
        ]

    def close_account(
        self, relation: str, user: str, now: datetime, cancel_pending: bool, event_id: str
    ) -> set[str]:
        if not self.knows(relation):
            return {"UNKNOWN_RELATION"}
        if self.is_closed(relation):
            return set()
        if self._is_in_use(relation, now, cancel_pending):
            return {"ACCOUNT_IN_USE"}
        if self.limit is not None and any(
            abs(self.balance(*pair, now)) > self.limit for pair in self.pairs() if pair[0] == relation
        ):
            if not self.waiting_request(relation, "close"):
                self.requests[event_id] = PlainEvent(relation, "close", now, user, event_id)
            return set()
        if request_id := self.waiting_request(relation, "close"):
            self.settled[request_id] = "approved"  # what it asks for is done
        self._carry_out_closing(relation, user, now, event_id)
        return set()

    def decide_request(
        self,
        request_id: str,
        status: str,
        user: str,
        now: datetime,
        cancel_pending: bool,
        event_id: Callable[[], str],
    ) -> set[str]:
        request = self.requests[request_id]
        if status == "on_hold":
            return {"STATUS_TRANSITION"}
        if request_id in self.settled:
            return set() if self.settled[request_id] == status else {"STATUS_TRANSITION"}
        if status == "approved":
            broken = set()
            if request.author == user:
                broken.add("OWN_TRANSFER")
            if self.is_closed(request.relation) == (request.event == "close"):
                broken.add("STATUS_TRANSITION")
            elif request.event == "close" and self._is_in_use(request.relation, now, cancel_pending):
                broken.add("ACCOUNT_IN_USE")
            if broken:
                return broken
            if request.event == "open":
                self._add_event(request.relation, "open", user, now)
            else:
                self._carry_out_closing(request.relation, user, now, event_id())
        self.settled[request_id] = status
        return set()

    def _is_in_use(self, relation: str, now: datetime, cancel_pending: bool) -> bool:
        return any(
            not cancel_pending or transfer.status == "approved"
            for transfer in self.obstacles_to_closing(relation, now)
        )

    def _carry_out_closing(self, relation: str, user: str, now: datetime, event_id: str) -> None:
        for transfer in self.obstacles_to_closing(relation, now):
            for each in self.both(transfer):
                self.move(each, "cancelled", now)
        for pair in sorted(self.pairs()):
            balance = self.balance(*pair, now)
            if pair[0] == relation and balance:
                transfer_id = f"{event_id}-{pair[1]}"
                self.transfers[transfer_id] = PlainTransfer(
                    transfer_id,
                    *pair,
                    "deduct" if balance > 0 else "give",
                    abs(balance),
                    "account_closure",
                    now,
                    "approved",
                    user,
                )
        self._add_event(relation, "close", user, now)

    # What files say

    def import_rows(
        self,
        rows: list[PlainTransfer],
        changed_at: list[datetime | None],
        now: datetime,
        quarantine: bool,
        is_refused: bool,
    ) -> set[str]:
        """Take rows of good values, each of another transfer; give the codes of what refuses the file.

        ``is_refused`` says that another row refuses it already, so that nothing is to be taken.
        """
        broken = set()
        moves = []
        for row, said_at in zip(rows, changed_at, strict=True):
            known = self.transfers.get(row.transfer_id)
            at = said_at or now
            if known is None and row.reverses in self.transfers and self.transfers[row.reverses].half:
                if not quarantine:
                    broken.add("REVERSES")
            elif known is None:
                moves.append((row, None, said_at))
            elif _file_content(known) != _file_content(row):
                broken.add("ID_CONFLICT")
            elif row.status == known.status or (
                row.status in known.held
                and (said_at is None or known.last_change is None or said_at <= known.last_change)
            ):
                continue
            elif said_at and known.last_change and said_at < known.last_change:
                continue  # history
            elif known.half:
                if not quarantine:
                    broken.add("STATUS_TRANSITION")
            elif known.status not in FINAL:
                moves.append((known, row.status, at))
                if row.status == "approved" and known.author == row.author and not known.by_file:
                    broken.add("OWN_TRANSFER")
            elif not quarantine:
                broken.add("STATUS_TRANSITION")
        if broken or is_refused:
            return broken
        for transfer, status, at in moves:
            if status is None:
                status = transfer.status
                transfer.waited = status in WAITING
                self.transfers[transfer.transfer_id] = transfer
                if at and (status != "approved" or at != transfer.occurred_at):
                    # It waited until it was what the file says.
                    transfer.waited = True
                    transfer.held.add("pending")
                    self.move(transfer, status, at)
            else:
                self.move(transfer, status, at)
        for transfer, _, _ in moves:
            if transfer.reason == "account_closure" and transfer.status == "approved":
                self.events.append(
                    PlainEvent(transfer.relation, "close", transfer.effective_at, transfer.author)
                )
        return set()

    def move(self, transfer: PlainTransfer, status: str, at: datetime) -> None:
        transfer.status = status
        transfer.held.add(status)
        transfer.changes.append(at)
        if status == "approved":
            transfer.approved_at = at


def _content(transfer: PlainTransfer) -> tuple:
    return (
        transfer.relation,
        transfer.currency,
        transfer.style,
        transfer.points,
        transfer.reason,
        transfer.reverses,
    )


def _file_content(transfer: PlainTransfer) -> tuple:
    return (*_content(transfer), transfer.occurred_at)


# Months and buckets


@dataclass(frozen=True)
class PlainClose:
    month: date
    cutoff: int


@dataclass
class PlainRow:
    """A row of outstanding_points_by_month, without what waits."""

    opening: Decimal = Decimal(0)
    earned: Decimal = Decimal(0)
    reversal: Decimal = Decimal(0)
    redeemed: Decimal = Decimal(0)
    expired: Decimal = Decimal(0)

    @property
    def closing(self) -> Decimal:
        return self.opening + self.earned - self.reversal - self.redeemed - self.expired


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


class PlainReport:
    """Posts and classifies what a ledger holds. ``entries`` gives each transfer's ``entry_id`` and that of
    the entry that made it effective."""

    def __init__(
        self,
        ledger: PlainLedger,
        entries: dict[str, tuple[int, int]],
        closes: list[PlainClose],
        head: int,
    ) -> None:
        self.ledger = ledger
        self.entries = entries
        self.closes = sorted(closes, key=lambda close: close.month)
        self.head = head

    def month_of(self, transfer: PlainTransfer) -> date:
        """The posting rule of section 6, in UTC with months from the first."""
        own = transfer.effective_at.date().replace(day=1)
        if self.closes:
            # The first close's month is the first that anything posts to.
            own = max(own, self.closes[0].month)
        effective_entry_id = self.entries[transfer.transfer_id][1]
        closed = [close.month for close in self.closes if close.cutoff < effective_entry_id]
        return own if not closed or own > closed[-1] else next_month(closed[-1])

    def cutoff_of(self, transfer: PlainTransfer) -> int:
        """The cutoff of the close that posted a transfer; the run's where none did."""
        if transfer.status == "approved":
            for close in self.closes:
                if close.month == self.month_of(transfer):
                    return close.cutoff
        return self.head

    def bucket_of(self, transfer: PlainTransfer) -> str:
        """Section 7: a revocation follows its original, as far as the chain was known."""
        chain = [transfer]
        known_to = self.cutoff_of(transfer)
        while chain[-1].reason == "revocation":
            original = self.ledger.transfers.get(chain[-1].reverses)
            if original is None or self.entries[original.transfer_id][0] > known_to:
                break
            if original in chain:
                return "reversal"
            chain.append(original)
            known_to = min(known_to, self.cutoff_of(original))
        bucket = self.ledger.reasons[chain[-1].reason, chain[-1].style]["bucket"]
        for _ in chain[1:]:
            bucket = "reversal" if bucket == "earned" else bucket
        return bucket

    def rows(self, through: date) -> dict[tuple[date, str, str], PlainRow]:
        """Every row up to a month, by month, currency and relation."""
        movements: dict[tuple[date, str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for transfer in self.ledger.transfers.values():
            if transfer.status == "approved" and self.month_of(transfer) <= through:
                bucket = self.bucket_of(transfer)
                sign = 1 if bucket == "earned" else -1
                key = (self.month_of(transfer), transfer.currency, transfer.relation)
                movements[key][bucket] += sign * transfer.signed
        rows: dict[tuple[date, str, str], PlainRow] = {}
        if not movements:
            return rows
        month = min(month for month, _, _ in movements)
        closings: dict[tuple[str, str], Decimal] = {}
        while month <= through:
            pairs = {(currency, relation) for at, currency, relation in movements if at <= month}
            for pair in pairs:
                row = PlainRow(closings.get(pair, Decimal(0)), **movements.get((month, *pair), {}))
                rows[(month, *pair)] = row
                closings[pair] = row.closing
            month = next_month(month)
        return rows
