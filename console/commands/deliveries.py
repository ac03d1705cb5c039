"""``points deliver``, and what other commands deliver and announce of closed months."""

import sys

import typer

from console.delivery_screen import delivery_status, show_delivered_afterwards, show_deliveries
from console.help_panels import MONTHS
from console.output import AsCsv, AsJson, printed, values_of
from console.tables import error_console
from ledger.errors import PointsError
from ledger.settings import Settings, project_settings

app = typer.Typer()

_DELIVERED = ("month", "destination", "files", "sent", "bytes")
_ANNOUNCED = ("month", "event", "way")


@app.command(rich_help_panel=MONTHS, epilog="Example: points deliver")
def deliver(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Deliver what is due of the closed months to the destinations that POINTS_DELIVER_TO names.

    Each revision goes to each destination once, its manifest last; what is there already is read back and not
    sent again. What became of months is announced to those whom alerts go to. Exit 1 where something failed;
    the rest is done.
    """
    from orchestration.month_delivery import deliver_due

    settings = project_settings()
    with delivery_status(quiet=as_json or as_csv) as report:
        deliveries = deliver_due(settings, report)
    rows = [values_of(delivery, _DELIVERED) for delivery in deliveries.done]
    announced = [values_of(one, _ANNOUNCED) for one in deliveries.announced]
    answer = {
        "delivered": rows,
        "announced": announced,
        "failed": [error.sentence for error in deliveries.failures],
    }
    if not printed(as_json, as_csv, answer, rows):
        show_deliveries(settings, deliveries)
    if deliveries.failures:
        for error in deliveries.failures:
            error_console().print(error.sentence, style="red")
        raise typer.Exit(1)


def deliver_afterwards(settings: Settings, act: str, quiet: bool) -> None:
    """Deliver and announce what a command made due; exit 1 where that fails.

    ``act`` says of what was done that it stands whatever comes of this.
    """
    from orchestration.month_delivery import deliver_due, has_receivers

    if not has_receivers(settings):
        return
    sys.stdout.flush()
    try:
        with delivery_status(quiet) as report:
            deliveries = deliver_due(settings, report)
    except PointsError as error:
        failures: tuple[PointsError, ...] = (error,)
    else:
        failures = deliveries.failures
        if not quiet:
            show_delivered_afterwards(deliveries)
    if failures:
        for error in failures:
            error_console().print(f"{act}. {error.sentence}", style="red")
        raise typer.Exit(1)
