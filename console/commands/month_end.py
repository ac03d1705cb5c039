"""``points compare``, ``statement``, ``explain``, ``sample``, ``evidence``, ``reconcile`` and ``items``: what
finance asks of months."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from console.help_panels import MONTHS
from console.month_arguments import ClosedMonthName, Currency, MonthName, Revision
from console.output import AsCsv, AsJson, for_json, print_csv, print_json, print_json_rows, values_of
from console.screens import (
    show_comparison,
    show_items,
    show_line_explanation,
    show_reconciliation,
    show_row_explanation,
    show_sample,
    show_statement,
)
from ledger.amounts import value_text
from ledger.settings import project_settings

if TYPE_CHECKING:
    from orchestration.explanations import ExplainedTransfer, LineExplanation, RowExplanation

app = typer.Typer()

ItemCategory = Literal["timing", "missing", "amount", "basis"]
Population = Literal["transfers", "customers"]


@app.command(rich_help_panel=MONTHS, epilog="Example: points compare 2026-10 2025-10")
def compare(
    month: MonthName,
    earlier: Annotated[
        str | None,
        typer.Argument(metavar="[EARLIER]", help="Compared with; by default the month before."),
    ] = None,
    currency: Currency = None,
    rows: Annotated[int, typer.Option(min=0, help="How many of the largest movers to show, each way.")] = 5,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what moved the points since the end of an earlier month; --csv has every customer that changed."""
    from orchestration.month_comparison import CHANGE_COLUMNS, compare_months

    comparison = compare_months(project_settings(), month, earlier, currency)
    if as_csv:
        changed = (dict(zip(CHANGE_COLUMNS, change, strict=True)) for change in comparison.changes())
        print_csv(changed, CHANGE_COLUMNS)
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
    currency: Currency = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show a customer's running balance over the months, with every transfer between."""
    from orchestration.statements import LINE_COLUMNS, read_statement

    settings = project_settings()
    found = read_statement(settings, relation, first, last, currency)
    if as_csv:
        columns = ("report_month", *LINE_COLUMNS)
        print_csv((vars(line) for month in found.months for line in month.lines), columns)
    elif as_json:
        print_json(
            {
                "relation_reference": found.relation_reference,
                "currency": found.currency,
                "months": [
                    {
                        "report_month": month.summary.report_month,
                        "status": month.summary.status,
                        "revision": month.summary.revision,
                        "opening_points": value_text(month.opening_points),
                        "restated_points": value_text(month.restated_points),
                        "transfers": [values_of(line, LINE_COLUMNS) for line in month.lines],
                        "closing_points": value_text(month.closing_points),
                    }
                    for month in found.months
                ],
            }
        )
    else:
        show_statement(found, settings.zone)


@app.command(rich_help_panel=MONTHS, epilog="Example: points explain 2026-10 C-1042")
def explain(
    month: MonthName,
    relation: Annotated[
        str | None, typer.Argument(metavar="[RELATION]", help="The customer whose row is explained.")
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            metavar="BUCKET", help="In place of a customer: a line of the programme's roll-forward."
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="With --bucket, one reason; by default all.")
    ] = None,
    currency: Currency = None,
    revision: Revision = None,
    rows: Annotated[
        int, typer.Option(min=0, help="How many of the newest transfers to show on the screen.")
    ] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the transfers behind each number of a customer's row, or behind a line of the roll-forward."""
    from orchestration.explanations import TRANSFER_COLUMNS, explain_line, explain_row

    if (relation is None) == (bucket is None):
        raise typer.BadParameter("name a customer, or a line of the roll-forward with --bucket")
    if reason is not None and bucket is None:
        raise typer.BadParameter("a reason goes with --bucket; a customer's row is explained whole")
    settings = project_settings()
    if relation is None:
        found = explain_line(settings, month, bucket, reason, currency, revision)
    else:
        found = explain_row(settings, month, relation, currency, revision)
    if as_csv:
        print_csv(map(_with_chain, found.transfers.read()), TRANSFER_COLUMNS)
    elif as_json:
        print_json_rows(
            _explained(found),
            "transfers",
            (values_of(transfer, TRANSFER_COLUMNS) for transfer in found.transfers.read()),
        )
    elif relation is None:
        show_line_explanation(found, rows, settings.zone)
    else:
        show_row_explanation(found, rows, settings.zone)


def _with_chain(transfer: "ExplainedTransfer") -> dict:
    """A row of CSV, in which ids stand side by side."""
    chain = {name: " ".join(getattr(transfer, name)) for name in ("revokes", "revoked_by")}
    return {**vars(transfer), **chain}


def _explained(found: "RowExplanation | LineExplanation") -> dict:
    """What JSON says above the transfers."""
    from orchestration.explanations import RowExplanation

    summary = found.summary
    answer = {name: getattr(summary, name) for name in ("report_month", "status", "revision", "currency")}
    if not isinstance(found, RowExplanation):
        return answer | values_of(found, ("bucket", "reason", "transfer_count", "bucket_points"))
    waiting = found.waiting
    return answer | {
        "relation_reference": found.relation_reference,
        "figures": [values_of(figure, tuple(vars(figure))) for figure in found.figures],
        "subtotals": [values_of(subtotal, tuple(vars(subtotal))) for subtotal in found.subtotals],
        "waiting": values_of(waiting, ("pending_given_points", "pending_deducted_points"))
        | {
            "transfers": None
            if waiting.transfers is None
            else [values_of(transfer, tuple(vars(transfer))) for transfer in waiting.transfers]
        },
    }


@app.command(rich_help_panel=MONTHS, epilog="Example: points sample 2026-10 --size 25 --seed 4711")
def sample(
    month: MonthName,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Any number; the same one draws the same again.")
    ],
    size: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="How many to draw.")] = 25,
    of: Annotated[Population, typer.Option(help="The month's transfers, or its customers.")] = "transfers",
    by_points: Annotated[
        bool, typer.Option("--by-points", help="The larger, the likelier; the largest for certain.")
    ] = False,
    currency: Currency = None,
    revision: Revision = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Draw a sample of a month's transfers or customers, which anyone can draw again."""
    from orchestration.samples import draw_sample, sample_columns

    settings = project_settings()
    found = draw_sample(settings, month, size, seed, of, by_points, currency, revision)
    if as_csv:
        print_csv(found.rows, sample_columns(of))
    elif as_json:
        summary = found.summary
        print_json(
            {name: getattr(summary, name) for name in ("report_month", "status", "revision", "currency")}
            | values_of(found, ("of", "seed", "size", "by_points", "population_count", "population_points"))
            | {"rows": [for_json(row) for row in found.rows]}
        )
    else:
        show_sample(found, settings.zone)


@app.command(rich_help_panel=MONTHS, epilog="Example: points evidence 2026-10 october_evidence.zip")
def evidence(
    month: ClosedMonthName,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The file to write; by default evidence_MONTH_rN.zip here."),
    ] = None,
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Write a closed month's package for an auditor, once all that is final is verified."""
    from console.upkeep_screens import counting_progress
    from orchestration.evidence_package import write_package

    with counting_progress("Entries", quiet=as_json) as report:
        written = write_package(project_settings(), month, file, revision, report)
    closed = written.closed
    if as_json:
        print_json(
            {
                "report_month": closed.report_month,
                "revision": closed.revision,
                "manifest_sha256": closed.manifest_sha256,
                "file": str(written.file),
                "evidence_of_close_kept": written.is_kept,
            }
        )
        return
    typer.echo(f"Written: {written.file}, the evidence of {closed.name}; begin with index.html in it.")
    if not written.is_kept:
        typer.echo(f"{closed.name} was closed by a version that kept no evidence; the page says so.")


@app.command(
    rich_help_panel=MONTHS, epilog="Example: points reconcile 2026-10 shop.csv --relation card --points saldo"
)
def reconcile(
    month: MonthName,
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


@app.command(
    rich_help_panel=MONTHS,
    epilog='Example: points items C-1042 --category timing --comment "Bought at midnight"',
)
def items(
    relation: Annotated[
        str | None, typer.Argument(metavar="[RELATION]", help="A customer whose item is explained.")
    ] = None,
    category: Annotated[
        ItemCategory | None, typer.Option(help="What the difference comes from: it is explained then.")
    ] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="How that is known.")] = "",
    owner: Annotated[str, typer.Option(metavar="NAME", help="Who looks after it.")] = "",
    currency: Currency = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List what recorded reconciliations left open, oldest first, or explain one of it.

    Items open and close with `points reconcile --record`.
    """
    from ledger.database import open_ledger
    from ledger.reconciliation_items import ITEM_FIELDS, note_item, open_items

    settings = project_settings()
    ledger = open_ledger(settings)
    if relation is None and (category or comment or owner or currency):
        raise typer.BadParameter("name the customer whose item it is", param_hint="RELATION")
    if relation is None:
        found = sorted(open_items().values(), key=lambda item: item.since)
    else:
        code = currency or settings.default_currency
        found = [note_item(ledger, code, relation, category or "", comment, owner)]
    rows = (values_of(item, ITEM_FIELDS) for item in found)
    if as_csv:
        print_csv(rows, ITEM_FIELDS)
    elif as_json:
        print_json(list(rows))
    else:
        show_items(found)
