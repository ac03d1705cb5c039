"""An import file (docs/design.md, section 5): its columns, its rows, and how they are written as CSV."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from ledger.amounts import points_text

UNITS = 10_000  # a point, in the ten-thousandths that a simulated life counts in

COLUMNS = (
    *("transfer_id", "relation_reference", "currency", "style", "points", "reason", "status"),
    *("status_changed_at", "occurred_at", "reverses_transfer_id", "external_reference", "comment"),
)

Row = dict[str, str]


def read_instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def _write_instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class SimulatedTransfer:
    """What a row says and no later row of the same transfer changes; `points` in units."""

    transfer_id: str
    relation_reference: str
    style: str
    points: int
    reason: str
    occurred_at: datetime
    currency: str = "POINTS"
    reverses_transfer_id: str = ""
    external_reference: str = ""
    comment: str = ""

    def to_row(self, status: str, changed_at: datetime | None = None) -> Row:
        return {
            **vars(self),
            "points": points_text(Decimal(self.points) / UNITS),
            "status": status,
            "status_changed_at": _write_instant(changed_at) if changed_at else "",
            "occurred_at": _write_instant(self.occurred_at),
        }


def write_transfers(path: Path, rows: Iterable[Row], columns: Sequence[str] = ()) -> Path:
    """Write rows as UTF-8 CSV with CRLF and a header; its columns are those of the rows unless named."""
    rows = list(rows)
    with open(path, "w", encoding="utf-8", newline="") as file:
        names = columns or dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
