"""The ``points`` command: what ``.env`` says is in the environment before `console.app`, which reads it."""

import sys
from pathlib import Path

from console.standard_streams import take_standard_streams
from ledger.access import keep_private
from ledger.errors import PointsError
from ledger.settings_file import take_settings_file


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    take_standard_streams()
    keep_private()
    try:
        take_settings_file(Path.cwd())
    except PointsError as error:
        from console.tables import error_console

        error_console().print(error.sentence, style="red")
        sys.exit(1)
    from console.app import run

    run()


if __name__ == "__main__":
    main()
