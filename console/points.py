"""The ``points`` command: what ``.env`` says is in the environment before `console.app`, which reads it."""

import sys
from pathlib import Path

from ledger.access import keep_private
from ledger.errors import PointsError
from ledger.settings_file import take_settings_file


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # In every locale: an answer must not be lost after the work is done.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    keep_private()
    try:
        take_settings_file(Path.cwd())
    except PointsError as error:
        from console.tables import error_console

        error_console().print(error.sentence, style="red", markup=False, highlight=False)
        sys.exit(1)
    from console.app import run

    run()


if __name__ == "__main__":
    main()
