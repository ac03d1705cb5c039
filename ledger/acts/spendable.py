"""Are there enough points to deduct? (docs/design.md, section 5; docs/cases.md, R16)"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from ledger.amounts import points_text
from ledger.balances import balances_of
from ledger.errors import PointsError
from ledger.models import Transfer
from ledger.transfers_ahead import TransferAhead, look_ahead


class NotEnoughPoints(PointsError):
    """A deduction by command does not fit the spendable points."""

    code = "NOT_ENOUGH"

    def __init__(
        self,
        relation_reference: str,
        currency: str,
        points: Decimal,
        spendable_points: Decimal,
        remedy: str = "deduct less, or say --allow-negative",
    ) -> None:
        super().__init__(
            f"{relation_reference} has {points_text(spendable_points)} {currency} to spend, so"
            f" {points_text(points)} cannot be deducted; {remedy}."
        )


class SpendablePoints:
    """What customers may still spend while one request gives and deducts. Its deducts count together: of 100
    spendable points, a deduct of 60 fits and a second one of 60 does not."""

    def __init__(self, references: Iterable[str], now: datetime) -> None:
        self._now = now
        self._points = {key: found.spendable_points for key, found in balances_of(references, now).items()}

    def give(self, transfer: Transfer) -> None:
        """Count points that the request gives: at once, or by revoking what reserves them."""
        ahead = self._ahead(transfer)
        if ahead is None or ahead.reserves:
            self._add(transfer, transfer.points)

    def deduct(self, transfer: Transfer, *, is_waiting: bool = False) -> None:
        """Count points that the request deducts, or reserves; raise `NotEnoughPoints` where they exceed the
        spendable points.

        The revocation of a give that has not taken effect is not held against them: a give of 100 for 1 May,
        revoked in April, was never spendable.
        """
        ahead = self._ahead(transfer)
        spendable = self._points.get((transfer.relation_reference, transfer.currency), Decimal(0))
        if transfer.points > spendable and not (ahead and ahead.undoes_a_give):
            raise NotEnoughPoints(transfer.relation_reference, transfer.currency, transfer.points, spendable)
        if ahead is None or ahead.reserves or is_waiting:
            self._add(transfer, -transfer.points)

    def approve(self, transfer: Transfer) -> None:
        """Count a deduct that has waited, and has reserved its points itself; raise `NotEnoughPoints`."""
        self._add(transfer, transfer.points)
        try:
            self.deduct(transfer)
        except NotEnoughPoints:
            self._add(transfer, -transfer.points)
            raise

    def _ahead(self, transfer: Transfer) -> TransferAhead | None:
        """The transfer as a transfer ahead, now or once approved; None where it takes effect at once."""
        if transfer.occurred_at <= self._now:
            return None
        return look_ahead([(transfer, transfer.occurred_at)], self._now)[0]

    def _add(self, transfer: Transfer, points: Decimal) -> None:
        key = (transfer.relation_reference, transfer.currency)
        self._points[key] = self._points.get(key, Decimal(0)) + points
