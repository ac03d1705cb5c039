"""Values as SQL writes them, where one cannot be bound."""

from collections.abc import Iterable


def literal(value: object) -> str:
    """``value`` as a text of SQL: ``'O''Neill'``."""
    return "'" + str(value).replace("'", "''") + "'"


def literals(values: Iterable[object]) -> str:
    """``values`` as a list in parentheses: ``('give', 'deduct')``."""
    return f"({', '.join(map(literal, values))})"
