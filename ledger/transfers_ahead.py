"""Approved transfers that have not taken effect yet ("ahead"): what they reserve, and their revocations that
take effect with them (docs/design.md, section 5; docs/cases.md, R26).

They are few. A revocation of a transfer ahead is seen together with it: a give of 100 for 1 May and its full
revocation change nothing; a deduct of 100 for 1 May, revoked by 30, reserves 70. So each is paired with the
*first* of its chain: the topmost original, to any depth, that has not taken effect either. Where Q revokes R,
R revokes T, and only T has taken effect, R is the first of Q's chain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from ledger.amounts import summed
from ledger.chunks import found_by
from ledger.identifiers import with_originals
from ledger.models import WAITING, Transfer
from ledger.rules import reasons
from ledger.statuses import current_standings


@dataclass(frozen=True)
class TransferAhead:
    """A transfer that takes effect later, at ``effective_at``, and the first of its chain.

    ``reserves`` says whether its chain begins with a deduct that reserves its points until then. A deduct of
    the bucket `expired` does not: 50 points that expire on 31 May may be spent until then. In a circle, which
    only files can make, ``first`` is the transfer itself. ``is_of_one_account`` says that its whole chain is
    of its own customer and currency, which files need not respect.
    """

    transfer: Transfer
    effective_at: datetime
    first: Transfer
    reserves: bool
    is_of_one_account: bool

    @property
    def account(self) -> tuple[str, str]:
        """Whose balance it changes, and in which currency."""
        return self.transfer.relation_reference, self.transfer.currency

    @property
    def signed_points(self) -> Decimal:
        """What it adds to the balance once it takes effect."""
        return self.transfer.points if self.transfer.style == "give" else -self.transfer.points

    @property
    def undoes_a_give(self) -> bool:
        """Whether it is a deduct that only takes points that are not in the balance yet."""
        return self.transfer.style == "deduct" and self.first.style == "give"


def transfers_ahead(
    references: Sequence[str], now: datetime, upto_entry_id: int | None = None
) -> list[TransferAhead]:
    """The approved transfers of the relation ``references`` that have not taken effect at ``now``, as the
    ledger stands; or, as it stood at an entry, those that were there (`ledger.models.Entries.there`)."""
    rows = Transfer.objects.there(now, upto_entry_id).filter(
        Q(status__in=WAITING) | Q(status="approved", occurred_at__gt=now)
    )
    found = found_by(rows.order_by("entry_id"), "relation_reference", references)
    effective = _effective_ahead(found, now, upto_entry_id)
    return look_ahead(effective.values(), now, upto_entry_id)


def look_ahead(
    ahead: Iterable[tuple[Transfer, datetime]], now: datetime, upto_entry_id: int | None = None
) -> list[TransferAhead]:
    """Each of the transfers, which take effect at their instants after ``now``, with the first of its chain.

    They may be new: only what they revoke is looked up.
    """
    ahead = list(ahead)
    themselves = {transfer.transfer_id: transfer for transfer, _ in ahead}
    known = with_originals(themselves, Transfer.objects.there(now, upto_entry_id))
    originals = (transfer for transfer_id, transfer in known.items() if transfer_id not in themselves)
    later = {*themselves, *_effective_ahead(originals, now, upto_entry_id)}
    answers = []
    for transfer, effective_at in ahead:
        chain = _chain(transfer, known)
        first = transfer
        for original in chain[1:]:
            if original.transfer_id not in later:
                break
            first = original
        is_circular = first.revokes_transfer_id in {found.transfer_id for found in chain}
        is_circular = is_circular and first.revokes_transfer_id in later
        answers.append(
            TransferAhead(
                transfer,
                effective_at,
                transfer if is_circular else first,
                not is_circular and first.style == "deduct" and not _expires(chain[-1]),
                len({(found.relation_reference, found.currency) for found in chain}) == 1,
            )
        )
    return answers


def reserved_points(ahead: Iterable[TransferAhead]) -> dict[tuple[str, str], Decimal]:
    """The reserved points by relation reference and currency: what is left of each deduct ahead, at least
    zero. A deduct of 100, revoked by 30, and another one of 20 reserve 70 + 20 = 90."""
    left = summed(
        ((*found.account, found.first.transfer_id), -found.signed_points) for found in ahead if found.reserves
    )
    return summed((key[:2], max(points, Decimal(0))) for key, points in left.items())


def _effective_ahead(
    transfers: Iterable[Transfer], now: datetime, upto_entry_id: int | None
) -> dict[str, tuple[Transfer, datetime]]:
    by_id = {transfer.transfer_id: transfer for transfer in transfers}
    return {
        transfer_id: (by_id[transfer_id], standing.effective_at)
        for transfer_id, standing in current_standings(by_id.values(), upto_entry_id).items()
        if standing.effective_at is not None and standing.effective_at > now
    }


def _chain(transfer: Transfer, known: dict[str, Transfer]) -> list[Transfer]:
    """A transfer and what it revokes, to any depth, as far as that is known; each once."""
    chain = {transfer.transfer_id: transfer}
    current = transfer
    while (original := known.get(current.revokes_transfer_id)) and original.transfer_id not in chain:
        chain[original.transfer_id] = current = original
    return list(chain.values())


def _expires(root: Transfer) -> bool:
    """Whether the root of a chain is of the bucket `expired`; a chain without a root counts as reversal."""
    rule = reasons().get((root.reason, root.style))
    return root.reason != "revocation" and rule is not None and rule.bucket == "expired"
