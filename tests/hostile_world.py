"""Random days of a programme: every act is done to the real ledger and to the plain one, and they must agree.

What happens is drawn from a `random.Random`, so that a seed, or Hypothesis, can play it again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from ledger import kept_balances
from ledger.acts.accounts import close_account, open_account
from ledger.acts.comments import add_comment
from ledger.acts.decisions import approve, cancel, hold
from ledger.acts.mass import MassRow, mass_rows, record_mass
from ledger.acts.moves import move_points
from ledger.acts.revocations import revoke
from ledger.acts.transfer_requests import TransferRequest
from ledger.acts.transfers import deduct, give
from ledger.balances import balances_of
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.files.imports import import_file
from ledger.kept_balances import check_kept_balances, throw_away
from ledger.links import ledger_head
from ledger.lists.balance_lists import every_listed_balance
from ledger.models import ENTRY_MODELS, StatusChange, Transfer
from ledger.refusals import SeveralRefused
from ledger.relations import closed_references
from ledger.statuses import current_standings
from ledger.unrevoked import unrevoked_points
from simulator.transfer_files import write_transfers
from tests.conftest import transfer as file_row
from tests.plain_ledger import PlainLedger, PlainTransfer

RELATIONS = ("C-1", "C-2", "C-3")
CURRENCIES = ("POINTS", "POINTS", "MILES")
SMALLEST = Decimal("0.0001")
POINTS = ("1", "2.5", "10", "60", "100.0001")
PEOPLE = ("ada", "bob")
DECISIONS = {"approved": approve, "on_hold": hold, "cancelled": cancel}
FILE_REASONS = (
    ("rule_credit", "give"),
    ("expiry", "deduct"),
    ("redemption", "deduct"),
    ("redemption", "give"),
)
# By the rules that each breaks.
BAD_ROWS = {
    ("POINTS", "OCCURRED_AT"): file_row("BAD", points="1e3", occurred_at="x"),
    ("REVERSES",): file_row("BAD", reason="redemption", reverses_transfer_id="T1"),
}
STARTS_AT = datetime(2026, 1, 20, 12, tzinfo=UTC)


class HostileWorld:
    """One ledger, and what it must hold."""

    def __init__(self, ledger: Ledger, folder: Path, limit: Decimal | None) -> None:
        self.folder = folder
        self.now = STARTS_AT
        self.plain = PlainLedger(limit)
        self.ledger = replace(
            ledger,
            settings=replace(ledger.settings, approval_above=limit),
            clock=lambda: self.now,
        )
        self.numbers = itertools.count(1)
        # What repeats each move that was recorded.
        self.moves: list[Callable[[], object]] = []

    # Acts. Each draws what it needs.

    def wait(self, random: Random) -> None:
        self.now += random.choice([timedelta(seconds=1), timedelta(hours=7), timedelta(days=9)])

    def give_or_deduct(self, random: Random) -> None:
        style = random.choice(["give", "give", "deduct"])
        transfer = PlainTransfer(
            self._new_or_known_id(random),
            random.choice(RELATIONS),
            random.choice(CURRENCIES),
            style,
            Decimal(random.choice(POINTS)),
            random.choice(["admin_adjustment", "redemption"]),
            self.now + random.choice([timedelta(0), timedelta(0), -timedelta(days=40), timedelta(days=5)]),
            random.choice(["approved", "approved", "pending", "on_hold"]),
            random.choice(PEOPLE),
        )
        if style == "deduct":
            # Where a rule is off by a little, it shows at its edge.
            self._move_to_edge(random, transfer)
        new, allow_negative = random.random() < 0.8, random.random() < 0.2
        known = self.plain.transfers.get(transfer.transfer_id)
        conflicts_in_date = known is not None and known.occurred_at != transfer.occurred_at
        details = {
            "reason": transfer.reason,
            "currency": transfer.currency,
            "status": transfer.status,
            "occurred_at": transfer.occurred_at,
            "transfer_id": transfer.transfer_id,
        }
        broken = self.plain.add(transfer, self.now, new=new, allow_negative=allow_negative)
        ledger = replace(self.ledger, user=transfer.author)
        if style == "give":
            act = lambda: give(ledger, transfer.relation, transfer.points, new=new, **details)  # noqa: E731
        else:
            act = lambda: deduct(  # noqa: E731
                ledger, transfer.relation, transfer.points, new=new, allow_negative=allow_negative, **details
            )
        self._agree(act, broken or ({"ID_CONFLICT"} if conflicts_in_date else set()))

    def mass(self, random: Random) -> None:
        """The same points to several at once, all or nothing."""
        style = random.choice(["give", "deduct"])
        relations = random.sample(RELATIONS, random.randint(1, len(RELATIONS)))
        points, user = Decimal(random.choice(POINTS)), random.choice(PEOPLE)
        mass_id = f"M{next(self.numbers)}"
        limit = self.plain.limit
        status = "pending" if limit is not None and points * len(relations) > limit else "approved"
        transfers = [
            PlainTransfer(
                f"{mass_id}-{line}",
                relation,
                "POINTS",
                style,
                points,
                "admin_adjustment",
                self.now,
                status,
                user,
            )
            for line, relation in enumerate(relations, start=1)
        ]
        broken: set[str] = set()
        added: list[str] = []
        for transfer in transfers:
            broken |= self.plain.add(transfer, self.now, new=False, allow_negative=False)
            added.append(transfer.transfer_id)
        if broken:
            for transfer_id in added:
                self.plain.transfers.pop(transfer_id, None)
        request = TransferRequest("", style, points)
        self._agree(
            lambda: record_mass(
                replace(self.ledger, user=user), mass_rows(request, relations), mass_id=mass_id
            ),
            broken,
        )

    def move(self, random: Random) -> None:
        """From one account to another, at times all of it, at times closing the one that it empties."""
        if self.moves and random.random() < 0.1:
            self._agree(random.choice(self.moves), set())  # a repetition
            return
        move_id, user = f"V{next(self.numbers)}", random.choice(PEOPLE)
        relations = tuple(random.sample(RELATIONS, 2))
        if random.random() < 0.05:
            relations = relations[:1] * 2
        currency = random.choice(CURRENCIES)
        spendable = self.plain.spendable(relations[0], currency, self.now)
        points = random.choice([None, None, Decimal(random.choice(POINTS)), spendable, spendable + SMALLEST])
        points = points if points is None or points > 0 else None
        days = random.choice([0, 0, 0, -40, 5])
        occurred_at = self.now + timedelta(days=days)
        status = random.choice(["approved", "approved", "approved", "pending", "on_hold"])
        options = {
            "new": random.random() < 0.8,
            "allow_negative": random.random() < 0.2,
            "close": random.random() < 0.3,
        }
        broken = self.plain.move_points(
            move_id, relations, currency, points, occurred_at, status, user, self.now, **options
        )

        def act() -> object:
            return move_points(
                replace(self.ledger, user=user),
                *relations,
                points,
                currency=currency,
                occurred_at=occurred_at,
                status=status,
                transfer_id=move_id,
                **options,
            )

        self._agree(act, broken)
        if not broken:
            self.moves.append(act)

    def mass_with_moves(self, random: Random) -> None:
        """Gives, deducts and moves in one request, all or nothing."""
        mass_id, user = f"M{next(self.numbers)}", random.choice(PEOPLE)
        rows, transfers = [], []
        for line in range(1, random.randint(2, 5)):
            relation, to_relation = random.sample(RELATIONS, 2)
            points = Decimal(random.choice(POINTS[:3]))
            style = random.choice(["give", "give", "deduct", "", ""])
            row_id = f"{mass_id}-{line}"
            request = TransferRequest(
                relation, style, points, to_relation_reference="" if style else to_relation
            )
            rows.append(MassRow(line, f"line {line}", request))
            if style:
                transfers.append(
                    PlainTransfer(
                        row_id,
                        relation,
                        "POINTS",
                        style,
                        points,
                        "admin_adjustment",
                        self.now,
                        "approved",
                        user,
                    )
                )
            else:
                transfers += self.plain.pair_of(
                    row_id, (relation, to_relation), "POINTS", points, self.now, "approved", user
                )
        total = sum(row.request.points for row in rows)
        if self.plain.limit is not None and total > self.plain.limit:
            for transfer in transfers:
                transfer.status, transfer.held = "pending", {"pending"}
        broken = self.plain.add_all(transfers, self.now, new=True, allow_negative=False)
        self._agree(
            lambda: record_mass(replace(self.ledger, user=user), rows, mass_id=mass_id, new=True), broken
        )

    def revoke(self, random: Random) -> None:
        transfer_id = self._known_id(random)
        revocations = [
            found
            for found in self.plain.transfers.values()
            if found.reason == "revocation" or (found.half and random.random() < 0.3)
        ]
        if revocations and random.random() < 0.6:
            # Chains grow, up and down: what revokes something, or what that revokes in turn.
            revocation = random.choice(revocations[-3:])
            transfer_id = revocation.transfer_id
            while random.random() < 0.5 and (revocation := self.plain.transfers.get(transfer_id)):
                transfer_id = revocation.reverses or transfer_id
        left = self.plain.unrevoked(transfer_id) if transfer_id in self.plain.transfers else Decimal(1)
        points = random.choice([None, Decimal("2.5"), max(left, Decimal(0)) + SMALLEST, left])
        points = points if points is None or points > 0 else None
        revocation_id, user = self._new_id(), random.choice(PEOPLE)
        allow_negative = random.random() < 0.5
        broken = self.plain.revoke(transfer_id, revocation_id, points, user, self.now, allow_negative)
        self._agree(
            lambda: revoke(
                replace(self.ledger, user=user),
                [transfer_id],
                points,
                revocation_id=revocation_id,
                allow_negative=allow_negative,
            ),
            broken,
        )

    def decide(self, random: Random) -> None:
        status, user = random.choice(list(DECISIONS)), random.choice(PEOPLE)
        ledger = replace(self.ledger, user=user)
        if self.plain.requests and random.random() < 0.5:
            request_id = random.choice(sorted(self.plain.requests))
            cancel_pending = random.random() < 0.5
            options = {"cancel_pending": cancel_pending} if status == "approved" else {}
            decided = self._attempt(lambda: DECISIONS[status](ledger, [request_id], **options))
            broken = self.plain.decide_request(
                request_id,
                status,
                user,
                self.now,
                cancel_pending,
                lambda: decided[0].account.event_id,
            )
            self._compare(decided, broken)
            return
        waiting = [t.transfer_id for t in self.plain.transfers.values() if t.status in ("pending", "on_hold")]
        transfer_id = random.choice(waiting) if waiting and random.random() < 0.8 else self._known_id(random)
        allow_negative = random.random() < 0.5
        options = {"allow_negative": allow_negative} if status == "approved" else {}
        broken = self.plain.decide(transfer_id, status, user, self.now, allow_negative)
        self._agree(lambda: DECISIONS[status](ledger, [transfer_id], **options), broken)

    def comment(self, random: Random) -> None:
        transfer_id = self._known_id(random)
        broken = set() if transfer_id in self.plain.transfers else {"UNKNOWN_TRANSFER"}
        self._agree(lambda: add_comment(self.ledger, transfer_id, f"noted at {self.now}"), broken)

    def open_account(self, random: Random) -> None:
        relation, user, event_id = random.choice(RELATIONS), random.choice(PEOPLE), self._new_id()
        broken = self.plain.open_account(relation, user, self.now, event_id)
        ledger = replace(self.ledger, user=user)
        self._agree(lambda: open_account(ledger, relation, event_id=event_id), broken)

    def close_account(self, random: Random) -> None:
        relation, user, event_id = random.choice(RELATIONS), random.choice(PEOPLE), self._new_id()
        cancel_pending = random.random() < 0.6
        broken = self.plain.close_account(relation, user, self.now, cancel_pending, event_id)
        ledger = replace(self.ledger, user=user)
        self._agree(
            lambda: close_account(ledger, relation, event_id=event_id, cancel_pending=cancel_pending), broken
        )

    def import_file(self, random: Random) -> None:
        """A file with new transfers, repetitions, changes of status and, at times, what refuses it."""
        rows: dict[str, PlainTransfer] = {}
        changed_at: list[datetime | None] = []
        for _ in range(random.randint(1, 5)):
            known = sorted(set(self.plain.transfers) - set(rows))
            row = self._repeated_row(random, known) if known and random.random() < 0.4 else None
            row = row or self._new_row(random)
            rows[row.transfer_id] = row
            # Files come late, out of order and, at times, from the future.
            days = random.choice([0, 0, 0, -1, -10, -40, 3])
            changed_at.append(self.now + timedelta(days=days) if random.random() < 0.7 else None)
            if random.random() < 0.1:
                changed_at[-1] = row.occurred_at
        quarantine = random.random() < 0.5
        bad_row = random.choice(list(BAD_ROWS)) if random.random() < 0.2 else ()
        path = self._write_file(list(rows.values()), changed_at, bad_row)
        broken = set(bad_row) if not quarantine else set()
        broken |= self.plain.import_rows(
            list(rows.values()), changed_at, self.now, quarantine, is_refused=bool(broken)
        )
        self._agree(lambda: import_file(self.ledger, path, quarantine=quarantine), broken)

    def list_balances(self, random: Random) -> None:
        """Balances as lists have them, and that what is kept of them is what they add up to."""
        rows = {(row.relation_reference, row.currency): row for row in every_listed_balance(self.ledger, {})}
        assert set(rows) >= self.plain.pairs()
        for pair, row in rows.items():
            assert row.approved_points == self.plain.balance(*pair, self.now), pair
            assert row.spendable_points == self.plain.spendable(*pair, self.now), pair
            assert row.is_account_closed == self.plain.is_closed(pair[0]), pair
        assert check_kept_balances(self.ledger) == ledger_head().entry_id

    def throw_balances_away(self, random: Random) -> None:
        throw_away(self.ledger)

    def let_balances_fall_behind(self, random: Random) -> None:
        """From now on, until the next time, acts leave the kept balances alone, as a large import does; or
        bring them along."""
        kept_balances.MOST_ENTRIES_AT_ONCE = random.choice([0, 1, 1_000])

    # What must hold after each

    def check(self) -> None:
        """Balances, statuses, what is left to revoke, closed accounts and the numbering agree."""
        plain = self.plain
        found = balances_of(RELATIONS, self.now)
        assert set(found) == plain.pairs()
        for pair, balance in found.items():
            assert balance.approved_points == plain.balance(*pair, self.now), pair
            assert balance.spendable_points == plain.spendable(*pair, self.now), pair
            assert balance.pending_given_points == plain.waiting(*pair, "give", "pending"), pair
            assert balance.pending_deducted_points == plain.waiting(*pair, "deduct", "pending"), pair
            assert balance.on_hold_given_points == plain.waiting(*pair, "give", "on_hold"), pair
            assert balance.on_hold_deducted_points == plain.waiting(*pair, "deduct", "on_hold"), pair
        standings = current_standings(Transfer.objects.all())
        assert {key: (standing.status, standing.effective_at) for key, standing in standings.items()} == {
            transfer.transfer_id: (transfer.status, transfer.effective_at)
            for transfer in plain.transfers.values()
        }
        assert unrevoked_points(plain.transfers) == {
            transfer_id: plain.unrevoked(transfer_id) for transfer_id in plain.transfers
        }
        assert closed_references(RELATIONS) == {
            relation for relation in RELATIONS if plain.is_closed(relation)
        }
        entry_ids = sorted(
            entry_id
            for model in ENTRY_MODELS
            for entry_id in model.objects.values_list("entry_id", flat=True)
        )
        assert entry_ids == list(range(1, len(entry_ids) + 1))

    def entries(self) -> dict[str, tuple[int, int]]:
        """Each transfer's entry, and the one that made it effective."""
        approvals = dict(
            StatusChange.objects.filter(status="approved").values_list("transfer_id", "entry_id")
        )
        return {
            transfer_id: (entry_id, approvals.get(transfer_id, entry_id))
            for transfer_id, entry_id in Transfer.objects.values_list("transfer_id", "entry_id")
        }

    def _move_to_edge(self, random: Random, transfer: PlainTransfer) -> None:
        spendable = self.plain.spendable(transfer.relation, transfer.currency, self.now)
        edge = random.choice([spendable, spendable + SMALLEST, transfer.points])
        if edge > 0:
            transfer.points = edge

    # Doing and comparing

    def _agree(self, act: Callable[[], object], broken: set[str]) -> None:
        self._compare(self._attempt(act), broken)

    @staticmethod
    def _attempt(act: Callable[[], object]) -> object:
        try:
            return act()
        except PointsError as error:
            return error

    @staticmethod
    def _compare(outcome: object, broken: set[str]) -> None:
        codes = set()
        if isinstance(outcome, SeveralRefused):
            codes = outcome.codes
        elif isinstance(outcome, PointsError):
            codes = getattr(outcome, "codes", None) or {outcome.code}
        assert bool(codes) == bool(broken), (outcome, broken)
        assert codes <= broken, (outcome, codes, broken)

    def _new_id(self) -> str:
        return f"T{next(self.numbers)}"

    def _known_id(self, random: Random) -> str:
        return random.choice([*sorted(self.plain.transfers), "nobody-knows"])

    def _new_or_known_id(self, random: Random) -> str:
        return self._known_id(random) if random.random() < 0.1 else self._new_id()

    def _new_row(self, random: Random) -> PlainTransfer:
        reason, style = random.choice(FILE_REASONS)
        row = PlainTransfer(
            self._new_id(),
            random.choice(RELATIONS),
            random.choice(CURRENCIES),
            style,
            Decimal(random.choice(POINTS)),
            reason,
            self.now - timedelta(days=random.randint(0, 40) if random.random() < 0.8 else -5),
            random.choice(["approved", "approved", "approved", "pending", "on_hold", "cancelled"]),
            self.ledger.user,
            by_file=True,
        )
        if random.random() < 0.3:
            # A file may revoke what is unknown, too much, or another customer's; not in a circle here.
            row.reason, row.style = "revocation", random.choice(["give", "deduct"])
            row.reverses = self._known_id(random)
        elif random.random() < 0.05:
            row.reason = "account_closure"
        return row

    def _repeated_row(self, random: Random, known: list[str]) -> PlainTransfer:
        row = replace(self.plain.transfers[random.choice(known)], author=self.ledger.user, by_file=True)
        row.held, row.changes = set(), []
        if random.random() < 0.5:
            row.status = random.choice(["approved", "pending", "on_hold", "cancelled"])
        if random.random() < 0.05:
            row.points += 1
        return row

    def _write_file(
        self, rows: list[PlainTransfer], changed_at: list[datetime | None], bad_row: tuple[str, ...]
    ) -> Path:
        path = self.folder / f"{next(self.numbers)}.csv"
        written = [
            {
                "transfer_id": row.transfer_id,
                "relation_reference": row.relation,
                "currency": row.currency,
                "style": row.style,
                "points": str(row.points),
                "reason": row.reason,
                "status": row.status,
                "status_changed_at": at.isoformat() if at else "",
                "occurred_at": row.occurred_at.isoformat(),
                "reverses_transfer_id": row.reverses,
            }
            for row, at in zip(rows, changed_at, strict=True)
        ]
        return write_transfers(path, [*written, *([BAD_ROWS[bad_row]] if bad_row else [])])


# The more often an act stands here, the more often it is drawn.
DRAWN = [
    *["give_or_deduct", "revoke", "decide", "import_file"] * 2,
    *["wait", "mass", "mass_with_moves", "move", "move", "comment", "open_account", "close_account"],
    *["list_balances", "throw_balances_away", "let_balances_fall_behind"],
]
ACTS: dict[str, Callable[[HostileWorld, Random], None]] = {
    "wait": HostileWorld.wait,
    "give_or_deduct": HostileWorld.give_or_deduct,
    "mass": HostileWorld.mass,
    "move": HostileWorld.move,
    "mass_with_moves": HostileWorld.mass_with_moves,
    "revoke": HostileWorld.revoke,
    "decide": HostileWorld.decide,
    "comment": HostileWorld.comment,
    "open_account": HostileWorld.open_account,
    "close_account": HostileWorld.close_account,
    "import_file": HostileWorld.import_file,
    "list_balances": HostileWorld.list_balances,
    "throw_balances_away": HostileWorld.throw_balances_away,
    "let_balances_fall_behind": HostileWorld.let_balances_fall_behind,
}
