"""Standard output and standard error, whether somebody reads them or not (docs/cases.md, C16)."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO


class _StandardStream(io.FileIO):
    """What is written once the reader has gone goes nowhere: the work is done all the same, and its exit
    status is its own."""

    has_reader = True
    # What was there before. Closed, it would leave its number to a file that is opened later, like the
    # ledger's, which would then be written over.
    before: IO[str] | None = None

    def write(self, content: bytes) -> int:
        """Write as a file does. Raises `OSError` once where a write fails for another reason."""
        try:
            return super().write(content)
        except OSError as error:
            # What is buffered is written once more when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            self.has_reader = False
            if not isinstance(error, BrokenPipeError):
                raise
            return len(content)


def take_standard_streams() -> None:
    """Let standard output and standard error be written in UTF-8 in every locale, to whoever reads them."""
    # In this order a closed one gets its own number back, so that no file opened later has it.
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), encoding="utf-8")
    sys.stdout = _text(sys.stdout)
    sys.stderr = _text(sys.stderr)


def while_read(rows: Iterable) -> Iterator:
    """``rows`` until the reader of standard output has gone."""
    for row in rows:
        if not getattr(getattr(sys.stdout.buffer, "raw", None), "has_reader", True):
            return
        yield row


def _text(stream: IO[str] | None) -> io.TextIOWrapper:
    number = os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno()
    raw = _StandardStream(number, "w", closefd=False)
    raw.before = stream
    is_seen_at_once = raw.isatty() or stream is sys.stderr
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=is_seen_at_once
    )
