"""Records in the home which ledger it was built on, so that another ledger is detected.

An anchor is a small JSON file beside what was made: the highest ``entry_id`` that went into it and the digest
of the ledger's chain there (docs/cases.md, X12).
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import PointsError
from ledger.models import ChainLink

ANCHOR_NAME = "ledger_head.json"


class LedgerReplaced(PointsError):
    """The ledger is older than, or another than, the one that something in the home was made from."""

    code = "LEDGER_REPLACED"

    def __init__(self, place: str, made: str, entry_id: int, head_entry_id: int) -> None:
        finding = why_not_continued(head_entry_id, entry_id, made)
        super().__init__(
            f"The ledger in {place} {finding}: it is an older copy or another ledger; restore the newest"
            " backup, or set POINTS_HOME to the home that belongs to it."
        )


class AnchorUnreadable(PointsError):
    """What the home remembers of its ledger was changed by hand, or is damaged."""

    code = "ANCHOR_UNREADABLE"

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} cannot be read, so it is not known whether the ledger is the one that it was made from;"
            f" run `points verify` with {file.parent} moved out of the home, then build again."
        )


@dataclass(frozen=True)
class Head:
    """The end of the ledger at some time: its highest ``entry_id`` (0: none) and the chain's digest there."""

    entry_id: int
    chain_digest: bytes


def why_not_continued(head_entry_id: int, entry_id: int, made: object) -> str:
    """Why a ledger that ends at ``head_entry_id`` does not go on from the entry that ``made`` was made from,
    as a part of a sentence."""
    if head_entry_id < entry_id:
        return f"ends at entry {head_entry_id:,}, but {made} was made from entry {entry_id:,}"
    return f"holds other entries up to {entry_id:,} than {made} was made from"


def write_anchor(folder: Path, head: Head) -> None:
    """Remember in ``folder`` that it was made from the ledger up to ``head``; whole or not at all."""
    text = json.dumps({"entry_id": head.entry_id, "chain_digest": head.chain_digest.hex()}) + "\n"
    unfinished = folder / f".{ANCHOR_NAME}.{threading.get_native_id()}"
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / ANCHOR_NAME)


def read_anchor(folder: Path) -> Head | None:
    """What `write_anchor` wrote into ``folder``; None where it holds none."""
    try:
        found = json.loads((folder / ANCHOR_NAME).read_text(encoding="utf-8"))
        return Head(int(found["entry_id"]), bytes.fromhex(found["chain_digest"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise AnchorUnreadable(folder / ANCHOR_NAME) from error


def anchored_folders(home: Path) -> list[Path]:
    """The folders of ``home`` that remember a ledger."""
    folders = (home / "cut", home / "provisional", home / "published", home)
    return [folder for folder in folders if (folder / ANCHOR_NAME).exists()]


def first_trace(home: Path) -> Path | None:
    """Something in ``home`` that was made from a ledger; None where there is nothing."""
    if any((home / "published").glob("*/r*/manifest.json")):
        return home / "published"
    return next(iter(anchored_folders(home)), None)


def check_anchors(home: Path, place: str) -> None:
    """Raise `LedgerReplaced` where the ledger does not go on from what ``home`` was built on."""
    for folder in anchored_folders(home):
        if anchor := read_anchor(folder):
            check_head(anchor, place, str(folder))


def check_head(head: Head, place: str, made: str) -> None:
    """Raise `LedgerReplaced` where the ledger does not go on from ``head``, from which ``made`` was made."""
    link = ChainLink.objects.filter(last_entry_id=head.entry_id).first()
    if head.entry_id and (link is None or bytes(link.digest) != head.chain_digest):
        newest = ChainLink.objects.order_by("-last_entry_id").first()
        raise LedgerReplaced(place, made, head.entry_id, newest.last_entry_id if newest else 0)
