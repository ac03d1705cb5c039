"""The commands of ``points`` as one: it parses, calls and shows. Rules stand elsewhere."""

import sys

import typer
from django.db import DatabaseError

from console.commands import acts, builds, closes, deliveries, files, lists, month_end, upkeep
from console.help_panels import GroupedCommands
from console.screens import making_again_progress
from console.tables import error_console
from ledger.disk import lack_of_room, may_write_into
from ledger.errors import PointsError, first_line
from ledger.settings import SettingInvalid, project_settings
from orchestration.published.layout import (
    DATABASE_REMEDY,
    database_file,
    database_flaw,
    needs_finishing,
)
from orchestration.run_lock import RunInProgress

app = typer.Typer(
    name="points",
    cls=GroupedCommands,
    help="A loyalty programme's points, from raw transfers to the monthly report.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for commands in (builds, month_end, closes, deliveries, acts, upkeep, files, lists):
    app.add_typer(commands.app)


_SHOW_CLOSED_MONTHS = ("months", "report", "export-database", "verify")
# They finish themselves what is not published, and say what hinders it.
_FINISH_THEMSELVES = ("build", "close", "reopen", "affirm", "sign-off")
# What nobody may do under another's name.
_NEED_A_PERSON = ("approve", "affirm", "sign-off", "reopen")
# What hinders publishing and is damage too, by the codes of the errors.
_NAMED_BY_VERIFY = ("PUBLISHED_DAMAGED", "LINK_TAKEN")
# They say themselves what is wrong with the database that readers open.
_LOOK_THEMSELVES = (*_SHOW_CLOSED_MONTHS, "doctor")


class SignInRequired(PointsError):
    """An act needs somebody who has signed in."""

    code = "SIGN_IN_REQUIRED"

    def __init__(self, command: str) -> None:
        super().__init__(
            f"`points {command}` is refused, for POINTS_SIGN_IN_REQUIRED is set and a name in POINTS_USER is"
            " a claim: do it in the web console, where people sign in."
        )


@app.callback()
def before_any_command(context: typer.Context) -> None:
    """A loyalty programme's points, from raw transfers to the monthly report."""
    if "--help" in sys.argv[1:]:
        return
    if context.invoked_subcommand in _NEED_A_PERSON and project_settings().sign_in_required:
        raise SignInRequired(context.invoked_subcommand)
    try:
        settings = project_settings()
        is_read = context.invoked_subcommand in _SHOW_CLOSED_MONTHS
        is_verified = context.invoked_subcommand == "verify"
        is_left = context.invoked_subcommand in _FINISH_THEMSELVES
        is_left = is_left or (is_verified and not may_write_into(settings.home))
        if not is_left and needs_finishing(settings.home, is_read):
            from orchestration.close.publication import finish_if_needed

            # Lost files of closed months are made again where they are read; other commands only report it.
            with making_again_progress() as report:
                finish_if_needed(settings, is_read, report, makes_again=is_read)
        if context.invoked_subcommand not in _LOOK_THEMSELVES and (flaw := database_flaw(settings.home)):
            from orchestration.published.manifests import PublishedDamaged

            raise PublishedDamaged(database_file(settings.home), flaw, DATABASE_REMEDY)
    except SettingInvalid:
        return  # the command itself refuses it; `points doctor` goes on
    except RunInProgress:
        return  # the process that holds the lock finishes it
    except PointsError as error:
        if is_verified and error.code in _NAMED_BY_VERIFY:
            return
        # What was committed is not lost; the command that was asked for may have nothing to do with it.
        error_console().print(error.sentence, style="yellow")


def run() -> None:
    """Run the command that was asked for; a refusal is one sentence and exit status 1."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except PointsError as error:
        error_console().print(error.sentence, style="red")
        sys.exit(1)
    except DatabaseError as error:
        error_console().print(_ledger_sentence(error), style="red")
        sys.exit(1)
    except OSError as error:
        error_console().print(_operating_system_sentence(error), style="red")
        sys.exit(1)
    except Exception as error:
        # Most commands do without DuckDB, and start the sooner for it.
        duckdb = sys.modules.get("duckdb")
        if duckdb is None or not isinstance(error, duckdb.Error):
            raise
        error_console().print(_duckdb_sentence(error), style="red")
        sys.exit(1)


def _duckdb_sentence(error: Exception) -> str:
    if lack := lack_of_room(str(error)):
        return lack.sentence()
    return f"DuckDB stopped: {first_line(error)}. Nothing that readers see has changed."


def _ledger_sentence(error: DatabaseError) -> str:
    if lack := lack_of_room(str(error)):
        return lack.sentence()
    text = first_line(error)
    if "locked" in text:
        return "Another process is writing to the ledger and did not end in time; run the same command again."
    # A server that is gone may have taken the commit with it, or kept it and lost the answer.
    return (
        f"The ledger's database stopped: {text}. All of it was recorded or nothing; run the same command"
        " again where you gave an --id or a file, which adds nothing twice, or first look whether it is in."
    )


def _operating_system_sentence(error: OSError) -> str:
    if lack := lack_of_room(str(error)):
        return lack.sentence(
            ", and an answer may have been lost after the work was done, so look whether it is in where you"
            " gave neither an --id nor a file"
        )
    where = f" {error.filename}" if error.filename else ""
    return f"The operating system refused{where}: {error.strerror}; fix that and run the same again."
