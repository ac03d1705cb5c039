"""The rows that a programme sends, in the order of its file, and the references that number them."""

from datetime import datetime
from typing import Any

from simulator.transfer_files import Row, SimulatedTransfer


class Feed:
    """The rows as they happen, and after them those that arrive late."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._late_rows: list[Row] = []
        self._numbers: dict[str, int] = {}

    def make_reference(self, prefix: str, digits: int = 6) -> str:
        number = self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"{prefix}-{number:0{digits}d}"

    def make_transfer(self, **values: Any) -> SimulatedTransfer:
        """A transfer of these values under the next id; it is not in the feed yet."""
        return SimulatedTransfer(transfer_id=self.make_reference("T", digits=7), **values)

    def add(self, transfer: SimulatedTransfer, status: str = "approved", *, is_late: bool = False) -> None:
        (self._late_rows if is_late else self._rows).append(transfer.to_row(status))

    def add_status(self, transfer: SimulatedTransfer, status: str, changed_at: datetime) -> None:
        self._rows.append(transfer.to_row(status, changed_at))

    def add_bad_row(self, transfer: SimulatedTransfer, fault: Row) -> None:
        self._rows.append(transfer.to_row("approved") | fault)

    def repeat_newest(self, count: int, _now: datetime) -> None:
        plain = [row for row in self._rows if row["status"] == "approved" and not row["status_changed_at"]]
        self._rows.extend(plain[-count:])

    def list_rows(self) -> list[Row]:
        return self._rows + self._late_rows
