"""``points compare``, ``statement`` and ``reconcile``: what finance asks of months."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from console.help_panels import MONTHS
from console.output import AsCsv, AsJson, print_csv, print_json
from console.screens import show_comparison, show_reconciliation, show_statement
from ledger.amounts import value_text
from ledger.settings import project_settings

app = typer.Typer()


@app.command(rich_help_panel=MONTHS, epilog="Example: points compare 2026-10 2025-10")
def compare(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A report month, YYYY-MM.")],
    earlier: Annotated[
        str | None,
        typer.Argument(metavar="[EARLIER]", help="Compared with; by default the month before."),
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Another currency than the programme's own.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many of the largest movers to show, each way.")] = 5,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what moved the points since the end of an earlier month; --csv has every customer that changed."""
    from orchestration.month_comparison import CHANGE_COLUMNS, compare_months

    comparison = compare_months(project_settings(), month, earlier, currency)
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(CHANGE_COLUMNS)
        writer.writerows(map(value_text, change) for change in comparison.changes())
        return
    gained, lost = (comparison.largest(sign, rows) for sign in (1, -1))
    if not as_json:
        show_comparison(comparison, gained, lost)
        return

    def changes(found: list[tuple]) -> list[dict]:
        return [
            {
                name: value if isinstance(value, bool) else value_text(value)
                for name, value in zip(CHANGE_COLUMNS, change, strict=True)
            }
            for change in found
        ]

    print_json(
        {
            "report_month": comparison.month.report_month,
            "earlier_month": comparison.earlier.report_month,
            "currency": comparison.month.currency,
            "earlier_points": value_text(comparison.earlier.closing_points),
            "movements": [
                {
                    "bucket": movement.bucket,
                    "reason": movement.reason,
                    "transfer_count": movement.transfer_count,
                    "signed_points": value_text(movement.signed_points),
                }
                for movement in comparison.movements
            ],
            "restated_points": value_text(comparison.restated_points),
            "points": value_text(comparison.month.closing_points),
            **{
                name: {"count": group.count, "points": value_text(group.points)}
                for name, group in (
                    ("newcomers", comparison.newcomers),
                    ("closed_accounts", comparison.closed_accounts),
                    ("below_zero", comparison.below_zero),
                )
            },
            "gained_most": changes(gained),
            "lost_most": changes(lost),
        }
    )


@app.command(rich_help_panel=MONTHS, epilog="Example: points statement C-1042 --from 2026-01 --to 2026-10")
def statement(
    relation: Annotated[str, typer.Argument(metavar="RELATION", help="The customer's relation reference.")],
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="MONTH", help="The first month; by default the first there is."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="MONTH", help="The last month; by default the newest.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Another currency than the programme's own.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show a customer's running balance over the months, with every transfer between."""
    from orchestration.statements import read_statement

    settings = project_settings()
    found = read_statement(settings, relation, first, last, currency)
    if not as_json and not as_csv:
        show_statement(found, settings.zone)
        return
    months = [
        {
            "report_month": month.summary.report_month,
            "status": month.summary.status,
            "revision": month.summary.revision,
            "opening_points": value_text(month.opening_points),
            "restated_points": value_text(month.restated_points),
            "transfers": [
                {
                    name: value if value is None or isinstance(value, bool) else value_text(value)
                    for name, value in vars(line).items()
                }
                for line in month.lines
            ],
            "closing_points": value_text(month.closing_points),
        }
        for month in found.months
    ]
    if as_csv:
        print_csv(
            [
                {
                    "report_month": month["report_month"],
                    **{name: "" if value is None else value_text(value) for name, value in line.items()},
                }
                for month in months
                for line in month["transfers"]
            ]
        )
    else:
        print_json(
            {"relation_reference": found.relation_reference, "currency": found.currency, "months": months}
        )


@app.command(
    rich_help_panel=MONTHS, epilog="Example: points reconcile 2026-10 shop.csv --relation card --points saldo"
)
def reconcile(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A report month, YYYY-MM.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Balances from elsewhere: CSV, CSV.gz or Parquet.")
    ],
    relation: Annotated[
        str, typer.Option(metavar="COLUMN", help="Its column of relation references.")
    ] = "relation_reference",
    points: Annotated[str, typer.Option(metavar="COLUMN", help="Its column of points.")] = "points",
    currency_column: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Its column of currencies, 'currency' if it has that one."),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="What its points are in where no column says it."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="A revision of the month; by default the one in force.")
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--record", help="Keep in the ledger what comes out, for `points sign-off`.")
    ] = False,
    basis: Annotated[
        str, typer.Option(metavar="TEXT", help="What the file's points are, to be kept with --record.")
    ] = "",
    rows: Annotated[int, typer.Option(min=0, help="How many of the largest differences to show.")] = 10,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Tie a month's balances out against those of another system; exit 1 where they differ."""
    from orchestration.reconciliation import ITEM_COLUMNS, NEEDED, reconciled, record_reconciliation

    columns = dict(zip((relation, points), NEEDED, strict=True))
    if currency_column:
        columns[currency_column] = "currency"
    settings = project_settings()
    with reconciled(settings, month, file, columns, currency, revision) as found:
        if recorded:
            record_reconciliation(settings, found, basis)
        items = (
            {
                name: None if value is None else value_text(value)
                for name, value in zip(ITEM_COLUMNS, item, strict=True)
            }
            for item in found.items(None if as_csv else rows)
        )
        if as_csv:
            print_csv(items, ITEM_COLUMNS)
        elif as_json:
            sums = found.sums()
            print_json(
                {
                    "report_month": found.month.report_month,
                    "status": found.month.status,
                    "revision": found.month.revision,
                    "file": str(found.path),
                    "file_sha256": found.file_sha256,
                    "tied_out": found.is_tied_out,
                    "currencies": [
                        {"currency": one.currency, "tied_out": one.is_tied_out, **sums[one.currency]}
                        for one in found.currencies
                    ],
                    "largest": list(items),
                }
            )
        else:
            show_reconciliation(found, list(found.items(rows)))
    if not found.is_tied_out:
        raise typer.Exit(1)
