"""Balances, added up from transfers whenever they are asked for; none is ever stored as truth."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from ledger.fields import from_units, to_microseconds

# Fewer than SQLite's limit on the parameters of a query.
_REFERENCES_PER_QUERY = 500

# What has ended its waiting, and when, is the newest of its status changes; what began approved or cancelled
# has none. Whole points and their ten-thousandths are added apart, so that no sum outgrows 64 bits.
_SUMS = """
    select
        relation_reference, currency, style, status,
        sum(points / 10000), sum(points % 10000)
    from (
        select
            relation_reference, currency, style, points,
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

    ``approved_points`` have taken effect; ``later_points`` are approved and will.
    """

    relation_reference: str
    currency: str
    approved_points: Decimal = Decimal(0)
    pending_given_points: Decimal = Decimal(0)
    pending_deducted_points: Decimal = Decimal(0)
    on_hold_given_points: Decimal = Decimal(0)
    on_hold_deducted_points: Decimal = Decimal(0)
    later_points: Decimal = Decimal(0)

    @property
    def spendable_points(self) -> Decimal:
        """What may be spent: approved points less what pending and held deducts reserve (DESIGN.md, 5)."""
        return self.approved_points - self.pending_deducted_points - self.on_hold_deducted_points


def balances_of(references: Iterable[str], now: datetime) -> dict[tuple[str, str], Balance]:
    """The balances at ``now`` of the relation ``references``, by reference and currency.

    A pair without any transfer is not in it.
    """
    references = list(dict.fromkeys(references))
    parts: dict[tuple[str, str], dict[str, Decimal]] = {}
    for start in range(0, len(references), _REFERENCES_PER_QUERY):
        chunk = references[start : start + _REFERENCES_PER_QUERY]
        query = _SUMS.format(references=", ".join(["%s"] * len(chunk)))
        with connection.cursor() as cursor:
            cursor.execute(query, [to_microseconds(now), *chunk])
            for reference, currency, style, status, whole, units in cursor.fetchall():
                part = parts.setdefault((reference, currency), {})
                points = from_units(int(whole) * 10_000 + int(units))
                name = _part_name(style, status)
                signed = (
                    -points if style == "deduct" and name in ("approved_points", "later_points") else points
                )
                part[name] = part.get(name, Decimal(0)) + signed
    return {key: Balance(*key, **_without_cancelled(part)) for key, part in parts.items()}


def _part_name(style: str, status: str) -> str:
    if status in ("pending", "on_hold"):
        return f"{status}_{'given' if style == 'give' else 'deducted'}_points"
    return f"{status}_points"


def _without_cancelled(part: dict[str, Decimal]) -> dict[str, Decimal]:
    return {name: points for name, points in part.items() if name != "cancelled_points"}
