"""How a name or a value that came from outside is shown to people (docs/cases.md, S33).

A file may be named, and a value sent, with what acts on a terminal, forges a line of a report or turns the
direction of what stands behind it. Kept and exported it stays what it is; shown, it is only to be seen.
"""

import re
import unicodedata

# Control characters, what turns or joins others, halves of characters, what is not assigned; line separators.
_NOT_SEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+")


def shown(text: str) -> str:
    """``text`` on one line, with what cannot be seen as Python writes it: an escape is ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _NOT_SEEN
        else character
        for character in text
    )


def shown_in_cell(text: str) -> str:
    """``text`` as a cell of a table may hold it, with its tabs and line breaks; only what acts on a terminal
    is written out."""
    return text if text.isprintable() else _CONTROLS.sub(lambda found: shown(found[0]), text)


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 month``, ``2,500 months``; ``many`` where it is not ``one`` and an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
