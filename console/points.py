"""The ``points`` command: it parses, calls and shows. Rules stand elsewhere."""

import errno
import sys

import duckdb
import typer
from django.db import DatabaseError
from dotenv import find_dotenv, load_dotenv

from console.commands import builds
from console.screens import error_console
from ledger.errors import PointsError

app = typer.Typer(
    name="points",
    help="A loyalty programme's points, from raw transfers to the monthly report.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for commands in (builds,):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    load_dotenv(find_dotenv(usecwd=True))
    try:
        app()
    except PointsError as error:
        error_console().print(error.sentence, style="red", markup=False, highlight=False)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except duckdb.Error as error:
        error_console().print(_database_sentence(error), style="red", markup=False)
        sys.exit(1)
    except DatabaseError as error:
        error_console().print(_ledger_sentence(error), style="red", markup=False)
        sys.exit(1)
    except OSError as error:
        error_console().print(_operating_system_sentence(error), style="red", markup=False)
        sys.exit(1)


def _database_sentence(error: duckdb.Error) -> str:
    text = str(error)
    if "No space left on device" in text:
        return "The disk is full; make room and run the same command again."
    return f"DuckDB stopped: {text.splitlines()[0]} Nothing that readers see has changed."


def _ledger_sentence(error: DatabaseError) -> str:
    text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if "disk is full" in text or "No space left on device" in text:
        return "The disk is full; make room and run the same command again."
    if "locked" in text:
        return "Another process is writing to the ledger and did not end in time; run the same command again."
    return (
        f"The ledger's database stopped: {text}. If no answer came before, nothing was recorded; run the same"
        " command again, with the same --id where you gave one."
    )


def _operating_system_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full; make room and run the same command again."
    where = f" {error.filename}" if error.filename else ""
    return f"The operating system refused{where}: {error.strerror}; mend that and run the same again."


if __name__ == "__main__":
    main()
