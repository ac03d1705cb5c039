"""What of a transfer is not revoked: its points, less what its revocations take, to any depth
(docs/design.md, section 5; docs/cases.md, C13)."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from ledger.amounts import points_text
from ledger.chunks import chunks
from ledger.errors import PointsError
from ledger.identifiers import known_transfers, with_originals
from ledger.models import WAITING, Transfer
from ledger.statuses import current_statuses

# The first condition repeats the partial index's own, word for word: SQLite uses the index only then.
_IS_REVOCATION = "not (reverses_transfer_id = '') and reason = 'revocation'"
# A recursive query would walk all levels at once, but PostgreSQL reads the whole table for it while it has no
# statistics.
_REVOCATIONS = f"select * from transfers where {_IS_REVOCATION} and reverses_transfer_id in ({{originals}})"
_HAS_REVOCATIONS = (
    "exists (select 1 from transfers as r"
    f" where r.reverses_transfer_id = transfers.transfer_id and {_IS_REVOCATION})"
)


class RevokedBeyondOriginal(PointsError):
    """A waiting revocation cannot be approved: others have revoked its original meanwhile
    (docs/cases.md, C13)."""

    code = "REVOKED"

    def __init__(self, transfer_id: str, original_id: str, unrevoked_points: Decimal) -> None:
        super().__init__(
            f"{transfer_id} cannot be approved, because {points_text(-unrevoked_points)} points more than"
            f" {original_id} has would then be revoked of it; cancel it with `points cancel {transfer_id}`."
        )


class RevocationTrees:
    """Transfers with all their revocations, to any depth, as the ledger has them in this transaction.

    With ``upwards`` also their originals, to any depth, and all revocations of those.
    """

    def __init__(self, roots: Iterable[Transfer], *, upwards: bool = False) -> None:
        self._points: dict[str, Decimal] = {}
        self._originals: dict[str, str] = {}
        self._revocations: dict[str, list[str]] = {}
        self._statuses: dict[str, str] = {}
        level = {transfer.transfer_id: transfer for transfer in roots}
        if upwards:
            level = with_originals(level)
        while level:
            for transfer_id, status in current_statuses(level.values()).items():
                transfer = level[transfer_id]
                self.add(transfer_id, transfer.revokes_transfer_id, transfer.points, status)
            # Files can make circles.
            level = {
                revocation.transfer_id: revocation
                for revocation in revocations_of(level)
                if revocation.transfer_id not in self._points
            }

    def add(self, transfer_id: str, original_id: str, points: Decimal, status: str) -> None:
        """Count one more transfer; it is no revocation where ``original_id`` is empty."""
        self._points[transfer_id] = points
        self._statuses[transfer_id] = status
        if original_id:
            self._originals[transfer_id] = original_id
            self._revocations.setdefault(original_id, []).append(transfer_id)

    def unrevoked(self, transfer_id: str) -> Decimal:
        """The transfer's points, less the unrevoked points of each of its revocations that is not cancelled.

        T of 100, revoked by R (100), which Q (30) revokes in part, has 30 left: R has 70 left. A waiting
        revocation already takes, so that nothing is revoked twice, but does not give back yet: while Q is
        pending, T has 0 left. Where files made a circle, it is cut at ``transfer_id``.
        """
        lineage = [(transfer_id, 0)]
        for ancestor, depth in lineage:
            lineage.extend((found, depth + 1) for found in self._counting(ancestor, depth + 1, transfer_id))
        left: dict[str, Decimal] = {}
        for descendant, depth in reversed(lineage):
            counting = self._counting(descendant, depth + 1, transfer_id)
            left[descendant] = self._points[descendant] - sum((left[found] for found in counting), Decimal(0))
        return left[transfer_id]

    def undone_again(self, transfer_id: str) -> list[str]:
        """The transfers that a revocation of ``transfer_id`` revokes again: every second one up its chain,
        the nearest first. R revokes T, and Q revokes R, so T counts again; revoking Q would take from T."""
        chain = self.chain(transfer_id)
        return [
            chain[distance]
            for distance in range(2, len(chain), 2)
            if all(self._counts(chain[below], depth=distance - below) for below in range(distance))
        ]

    def chain(self, transfer_id: str) -> list[str]:
        """A transfer and what it revokes, to any depth; each once, where files made a circle."""
        chain = [transfer_id]
        while (original := self.original_of(chain[-1])) in self._points and original not in chain:
            chain.append(original)
        return chain

    def original_of(self, transfer_id: str) -> str:
        """What a transfer revokes, known or not; empty where that is nothing."""
        return self._originals.get(transfer_id, "")

    def descendants(self, transfer_id: str) -> Iterator[tuple[int, str]]:
        """The revocations of a transfer, to any depth, with their depth from 1 on; each before its own."""
        waiting = [(0, transfer_id)]
        while waiting:
            depth, current = waiting.pop()
            if depth:
                yield depth, current
            for revocation in reversed(self._revocations.get(current, [])):
                if revocation != transfer_id:
                    waiting.append((depth + 1, revocation))

    def check_approval(self, revocation: Transfer) -> None:
        """Raise `RevokedBeyondOriginal` where approving a waiting revocation brings the unrevoked points of a
        transfer up its chain below zero, and lower than without it.

        T of 100 with an approved revocation of 80 has 20 left; approving one of 30 would leave -10. Only
        files can cause that: they may revoke too much, and also transfers that wait.
        """
        revocation_id = revocation.transfer_id
        status = self._statuses[revocation_id]
        for original_id in self.chain(revocation_id)[1:]:
            left = {}
            for tried in ("cancelled", "approved"):
                self._statuses[revocation_id] = tried
                left[tried] = self.unrevoked(original_id)
            self._statuses[revocation_id] = status
            if left["approved"] < min(left["cancelled"], Decimal(0)):
                raise RevokedBeyondOriginal(revocation_id, original_id, left["approved"])

    def _counting(self, transfer_id: str, depth: int, root: str) -> list[str]:
        """The revocations of a transfer that count at ``depth`` below ``root``."""
        return [
            revocation
            for revocation in self._revocations.get(transfer_id, ())
            if revocation != root and self._counts(revocation, depth)
        ]

    def _counts(self, revocation: str, depth: int) -> bool:
        """Whether a revocation changes the unrevoked points of the transfer ``depth`` levels above it. At
        depth 1, 3, … it takes from them, also while it waits; at depth 2, 4, … it gives back, once
        approved."""
        status = self._statuses[revocation]
        return status == "approved" or (depth % 2 == 1 and status in WAITING)


def revocations_of(transfer_ids: Iterable[str], upto_entry_id: int | None = None) -> Iterator[Transfer]:
    """The revocations of each of ``transfer_ids``, in any status, read through their index; only those up to
    an entry, or all."""
    upto = "" if upto_entry_id is None else f" and entry_id <= {upto_entry_id}"
    for originals in chunks(transfer_ids):
        query = _REVOCATIONS.format(originals=", ".join(["%s"] * len(originals)))
        yield from Transfer.objects.raw(query + upto, originals)


def has_revocations() -> RawSQL:
    """Whether a transfer of a query has revocations, in any status; a condition."""
    return RawSQL(_HAS_REVOCATIONS, [], output_field=BooleanField())


def unrevoked_points(transfer_ids: Iterable[str]) -> dict[str, Decimal]:
    """The unrevoked points of each transfer that the ledger has; negative where files revoked too much."""
    wanted = known_transfers(transfer_ids)
    trees = RevocationTrees(wanted.values())
    return {transfer_id: trees.unrevoked(transfer_id) for transfer_id in wanted}
