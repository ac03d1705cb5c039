"""Balances, added up from transfers whenever they are asked for; none is ever stored as truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from django.db import connection

from ledger.fields import from_microseconds, from_units, to_microseconds
from ledger.models import Transfer
from ledger.statuses import with_standing
from ledger.transfers_ahead import reserved_points, transfers_ahead

# Fewer than SQLite's limit on the parameters of a query.
_REFERENCES_PER_QUERY = 500

_NO_LIMIT = 2**63 - 1

# Of which transfers each amount is the sum, and with which sign; `later` is what is approved and has yet to
# take effect.
_SIGN = "case style when 'give' then 1 else -1 end * "
_SUMMED = {
    "approved_points": ("status = 'approved'", _SIGN),
    "pending_given_points": ("status = 'pending' and style = 'give'", ""),
    "pending_deducted_points": ("status = 'pending' and style = 'deduct'", ""),
    "on_hold_given_points": ("status = 'on_hold' and style = 'give'", ""),
    "on_hold_deducted_points": ("status = 'on_hold' and style = 'deduct'", ""),
    "later_points": ("status = 'later'", _SIGN),
}
SUMMED_AMOUNTS = tuple(_SUMMED)
_PIVOTED = ", ".join(
    f"cast(coalesce(sum({sign}({unit})) filter (where {condition}), 0) as bigint) as {name}_{part}"
    for name, (condition, sign) in _SUMMED.items()
    for part, unit in (("whole", "points / 10000"), ("units", "points %% 10000"))
)


@dataclass(frozen=True)
class Balance:
    """One relation reference's points in one currency; the columns are those of customer_point_balances.

    ``approved_points`` have taken effect, the newest of them at ``last_effective_at``; ``later_points`` are
    approved and will, the next of them at ``next_effective_at``, and ``reserved_points`` is what the deducts
    among these reserve. The balance holds for instants in [``last_effective_at``, ``next_effective_at``) as
    long as no entry is added; None is no bound. Where it ``hangs_on_others``, an entry of another customer
    may change it too: what is ahead revokes a transfer of that one's.
    """

    relation_reference: str
    currency: str
    approved_points: Decimal = Decimal(0)
    pending_given_points: Decimal = Decimal(0)
    pending_deducted_points: Decimal = Decimal(0)
    on_hold_given_points: Decimal = Decimal(0)
    on_hold_deducted_points: Decimal = Decimal(0)
    later_points: Decimal = Decimal(0)
    reserved_points: Decimal = Decimal(0)
    last_effective_at: datetime | None = None
    next_effective_at: datetime | None = None
    hangs_on_others: bool = False

    @property
    def spendable_points(self) -> Decimal:
        """What may be spent: approved points less what deducts reserve that are pending, on hold or ahead
        (docs/design.md, section 5)."""
        waiting_points = self.pending_deducted_points + self.on_hold_deducted_points
        return self.approved_points - waiting_points - self.reserved_points


def balances_of(
    references: Iterable[str], now: datetime, upto_entry_id: int | None = None
) -> dict[tuple[str, str], Balance]:
    """The balances at ``now`` of the relation ``references``, by reference and currency, as the ledger
    stands; or as it stood at an entry, of what was there (`ledger.models.Entries.there`), by the statuses of
    then.

    A pair without any transfer is not in it.
    """
    references = list(dict.fromkeys(references))
    balances: dict[tuple[str, str], Balance] = {}
    for start in range(0, len(references), _REFERENCES_PER_QUERY):
        chunk = references[start : start + _REFERENCES_PER_QUERY]
        condition = f"relation_reference in ({', '.join(['%s'] * len(chunk))})"
        with connection.cursor() as cursor:
            cursor.execute(*sums_of(condition, chunk, now, upto_entry_id))
            for reference, currency, last_at, next_at, *sums in cursor.fetchall():
                parts = zip(sums[::2], sums[1::2], strict=True)
                balances[reference, currency] = Balance(
                    reference,
                    currency,
                    **dict(zip(_SUMMED, (_points(whole, units) for whole, units in parts), strict=True)),
                    last_effective_at=None if last_at is None else from_microseconds(last_at),
                    next_effective_at=None if next_at is None else from_microseconds(next_at),
                )
    with_later = {key[0] for key, balance in balances.items() if balance.next_effective_at}
    ahead = transfers_ahead(list(with_later), now, upto_entry_id)
    for key, points in reserved_points(ahead).items():
        balances[key] = replace(balances[key], reserved_points=points)
    for found in ahead:
        if not found.is_of_one_account:
            key = (found.transfer.relation_reference, found.transfer.currency)
            balances[key] = replace(balances[key], hangs_on_others=True)
    return balances


def _points(whole: int, units: int) -> Decimal:
    return from_units(int(whole) * 10_000 + int(units))


def sums_of(
    condition: str, parameters: Sequence[object], now: datetime, upto_entry_id: int | None = None
) -> tuple[str, list]:
    """A query, with its parameters, that adds up by relation reference and currency the transfers of which
    ``condition`` holds, SQL over ``entry_id`` and ``relation_reference``; as `balances_of` sees them.

    Its columns are those two, ``last_effective_at`` and ``next_effective_at`` in microseconds, and for each
    of `SUMMED_AMOUNTS` ``<name>_whole`` and ``<name>_units``: whole points and ten-thousandths summed apart
    (12.3456 as 12 and 3456), so that no sum outgrows 64 bits.
    """
    standing, of_standing = _standing(
        connection.vendor, *((None, None) if upto_entry_id is None else (now, upto_entry_id))
    )
    # No planner merges a query that has a limit into the one around it: else how a transfer stands would be
    # worked out once for every sum.
    query = f"""
        select
            relation_reference, currency,
            max(effective_at) filter (where status = 'approved') as last_effective_at,
            min(effective_at) filter (where status = 'later') as next_effective_at,
            {_PIVOTED}
        from (
            select
                relation_reference, currency, style, points, effective_at,
                case
                    when current_status = 'approved' and effective_at > %s then 'later'
                    else current_status
                end as status
            from ({standing}) as standing
            where {condition}
            limit {_NO_LIMIT}
        ) as dated
        group by relation_reference, currency
    """
    return query, [to_microseconds(now), *of_standing, *parameters]


@lru_cache
def _standing(vendor: str, now: datetime | None, upto_entry_id: int | None) -> tuple[str, tuple]:
    """Every transfer as it stands now, or stood at an entry, as ``vendor``'s database is asked for it: to put
    that together takes longer than to add a customer's transfers up."""
    columns = ("entry_id", "relation_reference", "currency", "style", "points", "current_status")
    transfers = Transfer.objects.there(now, upto_entry_id).order_by()
    rows = with_standing(transfers, upto_entry_id).values(*columns, "effective_at")
    return rows.query.sql_with_params()
