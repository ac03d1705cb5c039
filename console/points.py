"""The ``points`` command: what ``.env`` says is in the environment before `console.app`, which reads it."""

import gc
import sys
from pathlib import Path

from console.standard_streams import take_standard_streams
from ledger.access import keep_private
from ledger.errors import PointsError
from ledger.settings_file import take_settings_file


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    # Rows come and go by the hundred thousand, none in a circle, beside all that Django is made of. To look
    # for circles as often as Python does by default takes a tenth of an export.
    gc.set_threshold(50_000, 20, 100)
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
