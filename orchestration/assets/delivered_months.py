"""The delivery of closed months as Dagster runs it: one step, the function that the command calls."""

from dataclasses import replace

import dagster as dg

from ledger.errors import PointsError
from ledger.settings import SCHEDULE, Settings
from orchestration.month_delivery import deliver_due


def define_delivery(settings: Settings) -> dg.OpDefinition:
    """``delivered_months``: announce and deliver what is due, recorded as done by the schedule.

    What fails fails the run with its sentences, when all else is done.
    """

    @dg.op(
        name="delivered_months",
        description="Deliver the files of closed months, and announce what became of months.",
        out=dg.Out(dg.Nothing),
    )
    def delivered_months(context: dg.OpExecutionContext) -> None:
        try:
            deliveries = deliver_due(replace(settings, user=SCHEDULE), context.log.info)
        except PointsError as error:
            raise dg.Failure(description=error.sentence, allow_retries=False) from None
        for done in deliveries.done:
            context.log.info(f"Delivered: {done.month} to {done.destination}.")
        for one in deliveries.announced:
            context.log.info(f"Announced by {one.way}: {one.event} of {one.month}.")
        if deliveries.failures:
            sentences = " ".join(error.sentence for error in deliveries.failures)
            raise dg.Failure(description=sentences, allow_retries=False)

    return delivered_months
