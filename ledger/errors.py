"""The one kind of error that people are shown as a sentence instead of a traceback, and what others say."""

from inspect import signature
from typing import Self

from ledger.shown_text import shown


class PointsError(Exception):
    """Something was refused or failed for a reason that a person can act on.

    Each condition is a class of its own, named for it and carrying its facts: what it is made with, as
    attributes of the same names. ``str()`` is one sentence that says what, where, why and what to do, on one
    line whatever a name or a value in it holds; ``code`` is the name that docs/cases.md gives it, where it
    has one.
    """

    code: str | None = None

    def __new__(cls, *values: object, **named: object) -> Self:
        error = super().__new__(cls)
        facts = signature(cls.__init__).bind(error, *values, **named)
        facts.apply_defaults()
        del facts.arguments["self"]
        vars(error).update(facts.arguments)
        return error

    def __init__(self, sentence: str) -> None:
        self.sentence = shown(sentence)
        super().__init__(self.sentence)


def first_line(error: Exception) -> str:
    """What a library or a database says of an error, as a part of a sentence; the error's class otherwise."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
