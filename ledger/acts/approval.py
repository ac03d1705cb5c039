"""Approval by a second person: a request above POINTS_APPROVAL_ABOVE becomes pending, and its author may not
approve it.

The limit applies to the sum of a request in each currency, so that splitting does not evade it. With a limit
of 1,000, a mass of three transfers of 400 comes to 1,200 and all three become pending; 600 POINTS and 600
MILES do not exceed it. A move counts once: it is a deduct of 600 and a give of 600, and moves 600.
"""

from collections.abc import Iterable
from decimal import Decimal

from ledger.acts.pairs import is_give_of_pair
from ledger.amounts import summed
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.models import AccountEvent, Batch, Transfer


class ApprovalByItsAuthor(PointsError):
    """A person tries to approve an entry of their own (docs/cases.md, C11)."""

    code = "OWN_TRANSFER"

    def __init__(self, identifier: str, author: str) -> None:
        super().__init__(
            f"{identifier} was entered by {author}, who may not approve it as well; ask another person to."
        )


def exceeds_limit(ledger: Ledger, amounts: Iterable[tuple[str, Decimal]]) -> bool:
    """Whether the (currency, points) of one request come to more than the limit in any currency."""
    limit = ledger.settings.approval_above
    if limit is None:
        return False
    return any(points > limit for points in summed(amounts).values())


def hold_back(ledger: Ledger, transfers: Iterable[Transfer]) -> None:
    """Make the new transfers of one request pending where together they exceed the limit."""
    transfers = list(transfers)
    counted = [transfer for transfer in transfers if not is_give_of_pair(transfer)]
    if exceeds_limit(ledger, ((transfer.currency, transfer.points) for transfer in counted)):
        for transfer in transfers:
            if transfer.status == "approved":
                transfer.status = "pending"


def check_approver(ledger: Ledger, entry: Transfer | AccountEvent, identifier: str) -> None:
    """Raise `ApprovalByItsAuthor` where the acting user entered ``entry`` by a command.

    An entry imported from a file was decided elsewhere, so its importer may approve it.
    """
    if is_same_person(entry.recorded_by, ledger.user) and not _came_by_file(entry):
        raise ApprovalByItsAuthor(identifier, entry.recorded_by)


def is_same_person(name: str, other: str) -> bool:
    """Whether two names are one person's, without case and surrounding spaces: 'Alice' and ' alice' are."""
    return name.strip().casefold() == other.strip().casefold()


def _came_by_file(entry: Transfer | AccountEvent) -> bool:
    return bool(entry.batch_id) and Batch.objects.filter(batch_id=entry.batch_id, origin="import").exists()
