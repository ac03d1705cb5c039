"""A customer of the ordinary story: habits, the points that are left to spend, and what waits."""

from dataclasses import dataclass, field
from datetime import datetime

from simulator.transfer_files import SimulatedTransfer


def relation_reference(number: int) -> str:
    return f"C-{number:06d}"


@dataclass
class Lot:
    """What is left, unspent, of one approved earning; `remaining` in units."""

    transfer: SimulatedTransfer
    remaining: int
    expires_at: datetime


Taken = list[tuple[Lot, int]]


@dataclass
class Waiting:
    """A transfer that is pending or on hold, and the points that it reserves when it deducts."""

    transfer: SimulatedTransfer
    status: str
    taken: Taken


@dataclass
class Member:
    """A customer who is never below zero, and silent once the account is closed."""

    relation_reference: str
    joined_at: datetime
    visits_per_month: int
    collects_miles: bool
    leaves_at: datetime | None
    is_closed: bool = False
    lots: dict[str, list[Lot]] = field(default_factory=lambda: {"POINTS": [], "MILES": []})
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def count_spendable(self, currency: str) -> int:
        return sum(lot.remaining for lot in self.lots[currency])

    def take(self, currency: str, units: int) -> Taken:
        """Spend `units`, which must be there, from the oldest lots."""
        taken: Taken = []
        for lot in self.lots[currency]:
            part = min(lot.remaining, units)
            if part:
                lot.remaining -= part
                units -= part
                taken.append((lot, part))
        return taken
