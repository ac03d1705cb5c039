"""The fourteen months of the demo programme, in UTC."""

from datetime import UTC, datetime

FIRST_MONTH = "2025-09"
LAST_MONTH = "2026-10"


def _start_of_month(index: int) -> datetime:
    """The start of the month at ``index``, counted from 0 for January 2025."""
    return datetime(2025 + index // 12, 1 + index % 12, 1, tzinfo=UTC)


MONTHS = tuple(_start_of_month(index) for index in range(8, 22))
ENDS_AT = _start_of_month(22)
