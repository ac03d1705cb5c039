"""What a transfer's status is now: its first one, or the last that an entry gave it.

The rule stands here once, as columns of a query: lists filter by them, balances add up by them, and acts read
them for the transfers that they hold (docs/design.md, sections 5 and 6). With ``upto_entry_id`` "now" is when
the ledger stood at that entry, which the transfers must not be above.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import BooleanField, Case, F, OuterRef, QuerySet, Subquery, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from ledger.chunks import found_by
from ledger.models import WAITING, StatusChange, Transfer


@dataclass(frozen=True)
class Standing:
    """The status that a transfer has now.

    ``entry_id`` is the entry that gave it. ``effective_at`` is when an approved transfer takes or took
    effect, the later of occurrence and approval (docs/design.md, section 6); None for any other.
    """

    status: str
    entry_id: int
    effective_at: datetime | None


def with_standing(transfers: QuerySet[Transfer], upto_entry_id: int | None = None) -> QuerySet[Transfer]:
    """``transfers`` with ``current_status``, ``status_entry_id``, the entry that gave it, and
    ``effective_at``, of an approved one when it takes effect.

    Only what began by waiting can have moved on, so that all others cost no look at the changes.
    """
    changes = StatusChange.objects.upto(upto_entry_id).filter(transfer_id=OuterRef("transfer_id"))
    newest = changes.order_by("-entry_id")
    # A change before the occurrence, as files may bring it, does not hasten the effect.
    late = newest.annotate(
        at=Case(
            When(changed_at__gt=OuterRef("occurred_at"), then=F("changed_at")),
            default=OuterRef("occurred_at"),
        )
    )
    return transfers.annotate(
        current_status=_if_it_waited(newest.values("status"), "status"),
        status_entry_id=_if_it_waited(newest.values("entry_id"), "entry_id"),
        effective_at=_if_it_waited(late.values("at"), "occurred_at"),
    )


def began_unapproved(transfers: QuerySet[Transfer]) -> QuerySet[Transfer]:
    """Those of ``transfers`` that were not approved at first, to which an index leads; approved is final."""
    # Written like the condition of the index, or SQLite would not use it.
    return transfers.filter(RawSQL("not (transfers.status = 'approved')", [], output_field=BooleanField()))


def _if_it_waited(of_newest_change: QuerySet, otherwise: str) -> Case:
    return Case(
        When(status__in=WAITING, then=Coalesce(Subquery(of_newest_change[:1]), F(otherwise))),
        default=F(otherwise),
    )


def current_standings(transfers: Iterable[Transfer], upto_entry_id: int | None = None) -> dict[str, Standing]:
    """How each of ``transfers`` stands now, by ``transfer_id``."""
    standings = {
        transfer.transfer_id: _standing(transfer.status, transfer.entry_id, transfer.occurred_at)
        for transfer in transfers
    }
    waiting = [transfer_id for transfer_id, standing in standings.items() if standing.status in WAITING]
    if not waiting:  # as mostly; to put the query together alone takes 1.5 ms
        return standings
    found = with_standing(Transfer.objects.all(), upto_entry_id).values_list(
        "transfer_id", "current_status", "status_entry_id", "effective_at"
    )
    for transfer_id, *standing in found_by(found, "transfer_id", waiting):
        standings[transfer_id] = _standing(*standing)
    return standings


def _standing(status: str, entry_id: int, effective_at: datetime) -> Standing:
    return Standing(status, entry_id, effective_at if status == "approved" else None)


def current_statuses(transfers: Iterable[Transfer]) -> dict[str, str]:
    """The status that each of ``transfers`` has now, by ``transfer_id``."""
    return {transfer_id: standing.status for transfer_id, standing in current_standings(transfers).items()}
