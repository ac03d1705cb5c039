"""``points deliver``, and what a close delivers: closed months sent to where finance picks them up."""

import sys

import typer

from console.delivery_screen import delivery_status, show_deliveries
from console.help_panels import MONTHS
from console.output import AsCsv, AsJson, printed, values_of
from console.tables import Screen, error_console
from ledger.errors import PointsError
from ledger.settings import Settings, project_settings

app = typer.Typer()

_COLUMNS = ("month", "destination", "files", "sent", "bytes")


@app.command(rich_help_panel=MONTHS, epilog="Example: points deliver")
def deliver(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Deliver what is due of the closed months to the destinations that POINTS_DELIVER_TO names.

    Each revision goes to each destination once, its manifest last; what is there already is read back and not
    sent again. Exit 1 where something could not be delivered; the rest is.
    """
    from orchestration.month_delivery import deliver_due

    settings = project_settings()
    with delivery_status(quiet=as_json or as_csv) as report:
        deliveries = deliver_due(settings, report)
    rows = [values_of(delivery, _COLUMNS) for delivery in deliveries.done]
    answer = {"delivered": rows, "failed": [error.sentence for error in deliveries.failures]}
    if not printed(as_json, as_csv, answer, rows):
        show_deliveries(settings, deliveries)
    if deliveries.failures:
        for error in deliveries.failures:
            error_console().print(error.sentence, style="red")
        raise typer.Exit(1)


def deliver_afterwards(settings: Settings, act: str, quiet: bool) -> None:
    """Deliver what ``act``, which stands whatever comes of it, made due; exit 1 where that fails."""
    if not settings.deliver_to:
        return
    from orchestration.month_delivery import deliver_due

    sys.stdout.flush()
    try:
        with delivery_status(quiet) as report:
            deliveries = deliver_due(settings, report)
    except PointsError as error:
        failures: tuple[PointsError, ...] = (error,)
    else:
        failures = deliveries.failures
        if not quiet:
            for done in deliveries.done:
                Screen().print(f"Delivered: {done.month} to {done.destination}.")
    if failures:
        for error in failures:
            error_console().print(f"{act}. {error.sentence}", style="red")
        raise typer.Exit(1)
