"""Points as text, exact, for sentences and answers."""

from decimal import Decimal


def points_text(points: Decimal) -> str:
    """Points without trailing zeros and without an exponent: ``100``, ``12.5``, ``0``, ``-3``."""
    text = f"{points:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
