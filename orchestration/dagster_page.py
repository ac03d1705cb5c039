"""Dagster's page, behind a check of who asks: run as ``python -m orchestration.dagster_page``."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from dagster import DagsterInstance
from dagster import __version__ as dagster_version
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PyProjectFileTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster_webserver.app import create_app_from_workspace_process_context

from ledger.access import keep_private
from ledger.errors import PointsError
from ledger.settings import PROJECT_ROOT
from ledger.settings_file import take_settings_file
from orchestration.own_pages import OwnPagesOnly


class PageNotStarted(PointsError):
    """The page could not be started."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"Dagster's page was not started: {problem}; {remedy}.")


def serve(
    port: Annotated[int, typer.Option(help="Where it listens.")] = 3000,
    host: Annotated[
        str, typer.Option(help="The address it listens on; another only where a sign-in stands before it.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="What else the page is called, by a proxy before it: a host without a port. Repeatable."
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="For lookers: nothing can be started or switched.")
    ] = False,
) -> None:
    """Show Dagster's page over the instance in DAGSTER_HOME; `dagster-daemon run` beside it does the work."""
    if not os.environ.get("DAGSTER_HOME"):
        raise PageNotStarted(
            "DAGSTER_HOME is not set", "name the folder that the daemon has, like $POINTS_HOME/dagster"
        )
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise PageNotStarted(
            f"nothing can listen on {host}, port {port} ({error.strerror.partition(' (')[0]})",
            "end what does, or name another --port",
        ) from error
    # A service that is stopped gets another signal than Ctrl-C, and is to end its code server too.
    setup_interrupt_handlers()
    with (
        listening,
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(
            instance,
            PyProjectFileTarget(str(PROJECT_ROOT / "pyproject.toml")),
            version=dagster_version,
            read_only=read_only,
        ) as context,
    ):
        app = OwnPagesOnly(create_app_from_workspace_process_context(context), name or ())
        print(f"Dagster's page is on http://{host}:{port}{' (read only)' if read_only else ''}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


def main() -> None:
    """Serve the page; a refusal is one sentence and exit status 1."""
    keep_private()
    try:
        take_settings_file(Path.cwd())
        typer.run(serve)
    except PointsError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
