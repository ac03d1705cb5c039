"""Values as SQL writes them, where one cannot be bound."""

from collections.abc import Iterable, Sequence


def literal(value: object) -> str:
    """``value`` as a text of SQL: ``'O''Neill'``."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a name of SQL: ``"total points"``."""
    return '"' + name.replace('"', '""') + '"'


def literals(values: Iterable[object]) -> str:
    """``values`` as a list in parentheses: ``('give', 'deduct')``."""
    return f"({', '.join(map(literal, values))})"


def step_function(variable: str, steps: Sequence[tuple[str, object]], before: object) -> str:
    """SQL for the value of the last of ascending ``steps`` that ``variable`` has reached, found by halving.

    Each step is where it begins and its value; ``before`` is the value where it has reached none.
    """
    if not steps:
        return str(before)
    middle = len(steps) // 2
    begin, value = steps[middle]
    earlier = step_function(variable, steps[:middle], before)
    later = step_function(variable, steps[middle + 1 :], value)
    return f"case when {variable} < {begin} then {earlier} else {later} end"
