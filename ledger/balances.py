"""Balances, added up from transfers whenever they are asked for; none is ever stored as truth."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from django.db import connection

from ledger.fields import from_microseconds, from_units, to_microseconds
from ledger.models import WAITING
from ledger.transfers_ahead import reserved_points, transfers_ahead

# Fewer than SQLite's limit on the parameters of a query.
_REFERENCES_PER_QUERY = 500

# The newest status change of a transfer says when it stopped waiting; one that began approved or cancelled
# has no status change. Whole points and ten-thousandths are summed apart (12.3456 as 12 and 3456), so that no
# sum outgrows 64 bits.
_SUMS = """
    select
        relation_reference, currency, style, status,
        sum(points / 10000), sum(points %% 10000),
        min(effective_at), max(effective_at)
    from (
        select
            relation_reference, currency, style, points, effective_at,
            case
                when status = 'approved' and effective_at > %s then 'later'
                else status
            end as status
        from (
            select
                t.relation_reference, t.currency, t.style, t.points,
                coalesce(c.status, t.status) as status,
                case when c.changed_at > t.occurred_at then c.changed_at else t.occurred_at end
                    as effective_at
            from transfers as t
            left join status_changes as c
                on c.entry_id = case
                    when t.status in ('pending', 'on_hold') then (
                        select max(entry_id) from status_changes where transfer_id = t.transfer_id
                    )
                end
            where t.relation_reference in ({references})
        ) as known
    ) as dated
    group by relation_reference, currency, style, status
"""


@dataclass(frozen=True)
class Balance:
    """One relation reference's points in one currency; the columns are those of customer_point_balances.

    ``approved_points`` have taken effect, the newest of them at ``last_effective_at``; ``later_points`` are
    approved and will, the next of them at ``next_effective_at``, and ``reserved_points`` is what the deducts
    among these reserve. The balance holds for instants in [``last_effective_at``, ``next_effective_at``) as
    long as no entry is added; None is no bound.
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

    @property
    def spendable_points(self) -> Decimal:
        """What may be spent: approved points less what deducts reserve that are pending, on hold or ahead
        (docs/design.md, section 5)."""
        waiting_points = self.pending_deducted_points + self.on_hold_deducted_points
        return self.approved_points - waiting_points - self.reserved_points


def balances_of(references: Iterable[str], now: datetime) -> dict[tuple[str, str], Balance]:
    """The balances at ``now`` of the relation ``references``, by reference and currency.

    A pair without any transfer is not in it.
    """
    references = list(dict.fromkeys(references))
    balances: dict[tuple[str, str], Balance] = {}
    for start in range(0, len(references), _REFERENCES_PER_QUERY):
        chunk = references[start : start + _REFERENCES_PER_QUERY]
        query = _SUMS.format(references=", ".join(["%s"] * len(chunk)))
        with connection.cursor() as cursor:
            cursor.execute(query, [to_microseconds(now), *chunk])
            for reference, currency, *part in cursor.fetchall():
                known = balances.get((reference, currency), Balance(reference, currency))
                balances[reference, currency] = _with_part(known, *part)
    with_later = {key[0] for key, balance in balances.items() if balance.next_effective_at}
    for key, points in reserved_points(transfers_ahead(list(with_later), now)).items():
        balances[key] = replace(balances[key], reserved_points=points)
    return balances


def _with_part(
    balance: Balance, style: str, status: str, whole: int, units: int, first_at: int, last_at: int
) -> Balance:
    """``balance`` and what transfers of one style and status add to it, which took effect from ``first_at``
    to ``last_at``."""
    if status == "cancelled":
        return balance
    points = from_units(int(whole) * 10_000 + int(units))
    if status in WAITING:
        name = f"{status}_{'given' if style == 'give' else 'deducted'}_points"
        return replace(balance, **{name: getattr(balance, name) + points})
    signed_points = points if style == "give" else -points
    if status == "later":
        next_at = from_microseconds(first_at)
        return replace(
            balance,
            later_points=balance.later_points + signed_points,
            next_effective_at=min(balance.next_effective_at or next_at, next_at),
        )
    last = from_microseconds(last_at)
    return replace(
        balance,
        approved_points=balance.approved_points + signed_points,
        last_effective_at=max(balance.last_effective_at or last, last),
    )
