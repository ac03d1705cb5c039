"""What a run starts from where a month has been published before it (docs/design.md, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Opening:
    """The newest published closed month before those of a run.

    ``report_month`` is ``YYYY-MM``; entries above ``cutoff_entry_id`` are not in it. ``folder`` holds its
    ``outstanding_points_by_month.parquet`` and ``unposted_transfers.parquet``. ``control_totals`` are its
    manifest's, by currency, with points as text (`orchestration.recount.recount`).
    """

    report_month: str
    cutoff_entry_id: int
    folder: Path
    control_totals: Mapping[str, Mapping]
