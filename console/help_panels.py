"""The groups in which ``points --help`` shows the commands, in this order."""

from typing import Any

import typer
from typer.core import TyperGroup

LOOKING = "Looking at points"
ACTING = "Giving, deducting, deciding"
FILES = "Files of transfers"
MONTHS = "Report months"
UPKEEP = "Upkeep"
_ORDER = (LOOKING, ACTING, FILES, MONTHS, UPKEEP)


class GroupedCommands(TyperGroup):
    """Shows commands by their ``rich_help_panel``, each with its whole first sentence.

    Typer itself has panels only with rich's boxes, around usage errors too, which wrap their sentences on a
    pipe.
    """

    def format_commands(self, context: typer.Context, formatter: Any) -> None:
        """Write a section for each group of commands."""
        rows: dict[str, list[tuple[str, str]]] = {panel: [] for panel in _ORDER}
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            panel = rows.setdefault(command.rich_help_panel or "Commands", [])
            panel.append((name, command.get_short_help_str(limit=1_000)))
        widest = max(len(name) for panel in rows.values() for name, _ in panel)
        for panel, commands in rows.items():
            with formatter.section(panel):
                formatter.write_dl([(f"{name:<{widest}}", summary) for name, summary in commands])
