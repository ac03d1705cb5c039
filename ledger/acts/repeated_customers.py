"""Finds the customers that stand more than once in a mass (docs/cases.md, C15): meant so, or a list that
names somebody twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from ledger.acts.transfers import RecordedTransfer
from ledger.amounts import summed
from ledger.errors import PointsError
from ledger.models import Transfer


class CustomerRepeated(PointsError):
    """A row names a customer whom an earlier row of the same mass named; ``first_place`` is that row's."""

    code = "CUSTOMER_REPEATED"

    def __init__(self, relation_reference: str, first_place: str) -> None:
        where = "" if first_place == relation_reference else f" in {first_place}"
        super().__init__(
            f"{relation_reference} stands{where} before, and --once-each takes every customer once; leave one"
            " of them out, or leave --once-each out where both are meant."
        )


@dataclass(frozen=True)
class RepeatedCustomer:
    """A customer with several transfers of one mass: how many, and what they are together.

    ``points`` is by currency, exact, with gives added and deducts taken away.
    """

    relation_reference: str
    transfer_count: int
    points: dict[str, Decimal]


def find_repeated_rows(rows: Iterable[tuple[str, Transfer]]) -> dict[int, CustomerRepeated]:
    """By the position of its row, from 0, why ``--once-each`` refuses it; each comes with its place."""
    first_places: dict[str, str] = {}
    repeated = {}
    for position, (place, transfer) in enumerate(rows):
        reference = transfer.relation_reference
        if reference in first_places:
            repeated[position] = CustomerRepeated(reference, first_places[reference])
        else:
            first_places[reference] = place
    return repeated


def find_repeated_customers(transfers: Iterable[RecordedTransfer]) -> tuple[RepeatedCustomer, ...]:
    """The customers that have more than one of ``transfers``, in the order in which they first come."""
    by_customer: dict[str, list[RecordedTransfer]] = {}
    for transfer in transfers:
        by_customer.setdefault(transfer.relation_reference, []).append(transfer)
    return tuple(
        RepeatedCustomer(reference, len(own), _sums(own))
        for reference, own in by_customer.items()
        if len(own) > 1
    )


def _sums(transfers: Iterable[RecordedTransfer]) -> dict[str, Decimal]:
    return summed(
        (transfer.currency, transfer.points if transfer.style == "give" else -transfer.points)
        for transfer in transfers
    )
