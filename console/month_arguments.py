"""How commands are asked for a month, and for which of its currencies and revisions."""

from typing import Annotated

import typer

MonthName = Annotated[str, typer.Argument(metavar="MONTH", help="A report month, YYYY-MM.")]
ClosedMonthName = Annotated[str, typer.Argument(metavar="MONTH", help="A closed month, YYYY-MM.")]
Currency = Annotated[
    str | None, typer.Option(metavar="CODE", help="Another currency than the programme's own.")
]
Revision = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Another revision of a closed month than the one issued."),
]
