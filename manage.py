"""Django's own commands for the project: ``python manage.py check``, ``migrate``, ``shell`` and others."""

import os
import sys
from pathlib import Path

from ledger.access import keep_private
from ledger.errors import PointsError
from ledger.settings_file import take_settings_file


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    keep_private()
    try:
        take_settings_file(Path.cwd())
        from django.core.management import execute_from_command_line

        from ledger.settings import project_settings

        project_settings()
        os.environ["DJANGO_SETTINGS_MODULE"] = "ledger.django_settings"
        execute_from_command_line(sys.argv)
    except PointsError as error:
        sys.exit(error.sentence)


if __name__ == "__main__":
    main()
