"""What a customer has and may spend, straight from the ledger, in the columns of the mart of that name."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

from ledger.balances import Balance, balances_of
from ledger.models import AccountEvent
from ledger.relations import closed_references

# Fewer than SQLite's limit on the parameters of a query.
_REFERENCES_PER_QUERY = 500


@dataclass(frozen=True)
class CustomerBalance:
    """A customer's points in one currency; the columns of the mart customer_point_balances, and
    ``later_points``, approved but not yet effective."""

    relation_reference: str
    currency: str
    approved_points: Decimal
    pending_given_points: Decimal
    pending_deducted_points: Decimal
    on_hold_given_points: Decimal
    on_hold_deducted_points: Decimal
    spendable_points: Decimal
    later_points: Decimal
    is_account_closed: bool


BALANCE_COLUMNS = tuple(field.name for field in fields(CustomerBalance))


def customer_balances(
    references: Sequence[str], now: datetime, default_currency: str
) -> dict[tuple[str, str], CustomerBalance]:
    """The balances at ``now`` of the relation ``references``, straight from the ledger.

    By reference and currency. An account that was opened has a row in the default currency from then on.
    """
    found = with_opened(references, balances_of(references, now), default_currency)
    closed = closed_references(references)
    return {key: _customer_balance(balance, key[0] in closed) for key, balance in found.items()}


def with_opened(
    references: Sequence[str], balances: dict[tuple[str, str], Balance], default_currency: str
) -> dict[tuple[str, str], Balance]:
    """``balances`` and, of each of ``references`` whose account was opened, one in the default currency."""
    complete = dict(balances)
    for start in range(0, len(references), _REFERENCES_PER_QUERY):
        opened = AccountEvent.objects.filter(
            relation_reference__in=references[start : start + _REFERENCES_PER_QUERY], event="open"
        )
        for reference in opened.order_by().values_list("relation_reference", flat=True).distinct():
            complete.setdefault((reference, default_currency), Balance(reference, default_currency))
    return complete


def _customer_balance(balance: Balance, is_closed: bool) -> CustomerBalance:
    points = {name: getattr(balance, name) for name in BALANCE_COLUMNS if name != "is_account_closed"}
    return CustomerBalance(**points, is_account_closed=is_closed)
