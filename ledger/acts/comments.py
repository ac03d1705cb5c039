"""Notes that are added to a transfer later (docs/design.md, section 5)."""

from dataclasses import dataclass

from ledger.acts.transfer_requests import checked_note
from ledger.append import appending
from ledger.database import Ledger
from ledger.errors import PointsError
from ledger.identifiers import UnknownTransfer, known_transfers
from ledger.models import Comment

LONGEST_COMMENT = 4_000


class CommentInvalid(PointsError):
    """A comment is empty or too long."""

    code = "COMMENT"

    def __init__(self, length: int) -> None:
        super().__init__(
            f"A comment has 1 to {LONGEST_COMMENT:,} characters, and this one {length:,} besides blanks;"
            f" write {'less' if length else 'what is to be noted'}."
        )


@dataclass(frozen=True)
class RecordedComment:
    """A comment as the ledger has it; ``was_known`` says that it was repeated and added nothing."""

    transfer_id: str
    text: str
    was_known: bool


def add_comment(ledger: Ledger, transfer_id: str, text: str, *, dry_run: bool = False) -> RecordedComment:
    """Add ``text`` as a comment to a transfer of any status.

    The last comment of a transfer, sent again by its author, is taken for a double click and not added.
    Raises `CommentInvalid`, `ValueRefused` and `UnknownTransfer`.
    """
    checked_note("comment", text)
    if not 0 < len(text.strip()) <= LONGEST_COMMENT:
        raise CommentInvalid(len(text.strip()))
    with appending(ledger, dry_run) as appender:
        if not known_transfers([transfer_id]):
            raise UnknownTransfer(transfer_id)
        last = Comment.objects.filter(transfer_id=transfer_id).order_by("-entry_id").first()
        was_known = last is not None and (last.text, last.recorded_by) == (text, ledger.user)
        if not was_known:
            appender.append(Comment(transfer_id=transfer_id, text=text))
        return RecordedComment(transfer_id, text, was_known)
