"""Are there enough points to deduct? (DESIGN.md, section 5; CASES.md, R16)"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from ledger.amounts import points_text
from ledger.balances import balances_of
from ledger.errors import PointsError


class NotEnoughPoints(PointsError):
    """A deduction by command does not fit the spendable points."""

    code = "NOT_ENOUGH"

    def __init__(self, relation_reference: str, currency: str, points: Decimal, spendable: Decimal) -> None:
        super().__init__(
            f"{relation_reference} has {points_text(spendable)} {currency} to spend, so"
            f" {points_text(points)} cannot be deducted; deduct less, or say --allow-negative."
        )
        self.relation_reference = relation_reference
        self.currency = currency
        self.points = points
        self.spendable_points = spendable


class SpendablePoints:
    """What customers may still spend while one request gives and deducts: its deducts count together."""

    def __init__(self, references: Iterable[str], now: datetime) -> None:
        self._points = {key: found.spendable_points for key, found in balances_of(references, now).items()}

    def add(self, relation_reference: str, currency: str, points: Decimal) -> None:
        """Count points that the request gives, or no longer reserves."""
        key = (relation_reference, currency)
        self._points[key] = self._points.get(key, Decimal(0)) + points

    def take(self, relation_reference: str, currency: str, points: Decimal) -> None:
        """Count points that the request deducts; raise `NotEnoughPoints` where they do not fit."""
        spendable = self._points.get((relation_reference, currency), Decimal(0))
        if points > spendable:
            raise NotEnoughPoints(relation_reference, currency, points, spendable)
        self._points[relation_reference, currency] = spendable - points
