"""Tables for people, and where refusals go; what every command may import without waiting."""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from ledger.shown_text import shown

# No table is so wide.
_UNLIMITED = 100_000


class Screen(Console):
    """Where text for people goes.

    Nothing that came from outside acts on the terminal (docs/cases.md, S33): no ``[name]`` or ``:name:`` in
    an id is markup or a picture. A sentence is one line, which a terminal wraps and a pipe does not; what is
    no terminal has room for every table.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"emoji": False, "markup": False, "highlight": False, "soft_wrap": True, **options}
        )
        if not self.is_terminal:
            self.width = _UNLIMITED
        self._is_rendering = False

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        segments = super().render(renderable, options)
        if self._is_rendering:
            # A part of what is rendered, a table's cell, is as wide as it was measured.
            yield from segments
            return
        self._is_rendering = True
        try:
            for segment in segments:
                yield segment if segment.control else segment._replace(text=_shown_lines(segment.text))
        finally:
            self._is_rendering = False


def _shown_lines(text: str) -> str:
    return text if text.isprintable() else re.sub(r"[^\n\t]+", lambda line: shown(line[0]), text)


def error_console() -> Screen:
    """Where refusals go: standard error."""
    return Screen(stderr=True)


def print_whole(console: Screen, table: Table) -> None:
    """Print a table as wide as its numbers are: a cut number is a wrong number."""
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)
