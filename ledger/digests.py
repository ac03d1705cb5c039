"""Tamper evidence: a digest of each entry, and links that chain all of them (docs/design.md, section 5).

An entry's digest is the SHA-256 of its kind, its id and its values as text, between unit separators, which no
value may hold. A link's digest covers the link before it, the ids that it spans and their entries' digests;
so changing, removing or inserting an entry requires rewriting every later link, up to the head that the cut
and the manifests hold outside the database. With entries 1 to 3 linked as [1], [2, 3], a change of entry 1
changes its digest, the digest of link [1] and therefore that of link [2, 3].
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from ledger.fields import InstantField, PointsField, to_microseconds, to_units
from ledger.models import Entry

SEPARATOR = "\x1f"
# The longest link: an entry whose digest was recalculated after a change can only be traced to its link.
ENTRIES_PER_LINK = 1_000
NO_LINK = bytes(32)


def entry_digest(kind: str, entry_id: int, values: Iterable[object]) -> bytes:
    """The digest (32 bytes) of an entry whose ``values`` are as the database keeps them, in order of
    `digest_columns`; none of them holds a separator."""
    text = SEPARATOR.join([kind, str(entry_id), *map(str, values)])
    return hashlib.sha256(text.encode("utf-8")).digest()


@cache
def digest_columns(model: type[Entry]) -> tuple[str, ...]:
    """The columns that an entry's digest covers, in its order, without ``entry_id``: ``recorded_at``,
    ``recorded_by`` and all of its kind, as the model declares them. One more would change every digest."""
    return tuple(field.name for field in model._meta.local_fields if field.name not in ("entry_id", "digest"))


def digest_of(entry: Entry) -> bytes:
    """The digest that ``entry``, as it stands in Python, must carry; raise `ValueError` where a text holds a
    separator, by which two entries might come to one digest."""
    values = stored_values(entry)
    if any(SEPARATOR in str(value) for value in values):
        raise ValueError(f"a text of entry {entry.entry_id} holds a unit separator")
    return entry_digest(entry.kind, entry.entry_id, values)


def digest_sql(model: type[Entry]) -> str:
    """A DuckDB expression for the same digest, as a blob, over columns named like the model's and typed as
    the database keeps them."""
    columns = ", ".join(f'cast("{name}" as varchar)' for name in ("entry_id", *digest_columns(model)))
    return f"unhex(sha256(concat_ws(chr(31), '{model.kind}', {columns})))"


def link_digest(previous: bytes, first_entry_id: int, last_entry_id: int, digests: Sequence[bytes]) -> bytes:
    """The digest (32 bytes) of the link over the entries first to last; their ``digests`` come in order."""
    entries = hashlib.sha256(b"".join(digests)).digest()
    span = first_entry_id.to_bytes(8, "big") + last_entry_id.to_bytes(8, "big")
    return hashlib.sha256(previous + span + entries).digest()


def stored_values(entry: Entry) -> list[object]:
    """The values of ``entry`` as the database keeps them, in order of `digest_columns`."""
    return [stored(getattr(entry, name)) for name, stored in _conversions(type(entry))]


@cache
def _conversions(model: type[Entry]) -> list[tuple[str, Callable[[Any], object]]]:
    found: list[tuple[str, Callable[[Any], object]]] = []
    for name in digest_columns(model):
        field = model._meta.get_field(name)
        if isinstance(field, PointsField):
            found.append((name, to_units))
        elif isinstance(field, InstantField):
            found.append((name, to_microseconds))
        else:
            found.append((name, lambda value: value))
    return found
