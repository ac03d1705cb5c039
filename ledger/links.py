"""The end of the chain that ties the ledger's entries together."""

from ledger.anchors import Head
from ledger.digests import NO_LINK
from ledger.models import ChainLink


def ledger_head() -> Head:
    """The end of the ledger as this transaction sees it."""
    newest = ChainLink.objects.order_by("-last_entry_id").first()
    return Head(newest.last_entry_id, bytes(newest.digest)) if newest else Head(0, NO_LINK)
