"""What a value of a transfer must be (docs/design.md, section 5), for what people enter.

Rules, patterns, reasons and currencies stand elsewhere, once: in dbt_project.yml and in `seeds/`.
"""

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

from ledger.amounts import points_text
from ledger.errors import PointsError
from ledger.settings import PROJECT_ROOT, currencies, transfer_patterns, transfer_rules
from ledger.zones import Zone


class ValueRefused(PointsError):
    """A value breaks its rule; ``code`` is the one that an import would give it."""

    def __init__(self, code: str, column: str, value: str, expected: str) -> None:
        super().__init__(f"{code}: {column} is {value!r}, but must be {expected}.")


@dataclass(frozen=True)
class Reason:
    """A reason with a style that it allows; ``by_hand`` says whether people may choose it. ``bucket`` is that
    of the newest rule."""

    reason: str
    style: str
    bucket: str
    by_hand: bool
    label: str


@cache
def reasons() -> dict[tuple[str, str], Reason]:
    """Every (reason, style) of seeds/transfer_reasons.csv."""
    with open(PROJECT_ROOT / "seeds" / "transfer_reasons.csv", encoding="utf-8", newline="") as file:
        return {
            (row["reason"], row["style"]): Reason(
                row["reason"], row["style"], row["bucket"], row["by_hand"] == "true", row["label"]
            )
            for row in sorted(csv.DictReader(file), key=lambda row: row["from_month"])
        }


def is_identifier(text: str) -> bool:
    """Whether ``text`` may be a transfer_id or relation reference; only then a database is asked for it."""
    return re.fullmatch(transfer_patterns()["identifier"], text) is not None


def check_identifier(code: str, column: str, text: str) -> str:
    """Return ``text`` where it may be a transfer_id or relation reference; raise `ValueRefused`."""
    if not is_identifier(text):
        raise ValueRefused(code, column, text, _expected("TRANSFER_ID"))
    return text


def check_currency(text: str) -> str:
    """Return ``text`` where it is a known currency; raise `ValueRefused`."""
    if text not in currencies():
        raise ValueRefused("CURRENCY", "currency", text, f"one of {', '.join(currencies())}")
    return text


def check_text(column: str, text: str) -> str:
    """Return ``text`` where it holds no control characters but tabs and line breaks; raise `ValueRefused`."""
    if not re.fullmatch(transfer_patterns()["plain_text"], text):
        raise ValueRefused("CONTROL_CHAR", column, text, _expected("CONTROL_CHAR"))
    return text


def parse_points(points: Decimal | str) -> Decimal:
    """Points as exact decimals; raise `ValueRefused` (docs/cases.md, R6 and R7)."""
    text = points_text(points) if isinstance(points, Decimal) else points
    if re.fullmatch(transfer_patterns()["points"], text) and Decimal(text) > 0:
        return Decimal(text)
    raise ValueRefused("POINTS", "points", text, _expected("POINTS"))


def parse_instant(column: str, text: str, zone: Zone) -> datetime:
    """An instant in UTC; without an offset ``text`` is a wall clock of ``zone``, in a fold the earlier, in a
    gap by the offset before it. Raises `ValueRefused` (docs/cases.md, R9 to R11)."""
    try:
        if not re.fullmatch(transfer_patterns()["instant"], text):
            raise ValueError
        instant = datetime.fromisoformat(text)
        return instant.astimezone(UTC) if instant.tzinfo else zone.to_utc(instant)
    except (ValueError, OverflowError):
        raise ValueRefused(column.upper(), column, text, _expected("OCCURRED_AT")) from None


def _expected(code: str) -> str:
    """The sentence of the first rule with a code."""
    return next(rule["expected"] for rule in transfer_rules() if rule["code"] == code)
