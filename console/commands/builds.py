"""``points build``, ``cut``, ``months``, ``report``, ``demo``: months, and what they come from."""

import csv
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.help_panels import MONTHS, UPKEEP
from console.month_arguments import Currency, MonthName, Revision
from console.output import AsCsv, AsJson, only_one, print_json, printed
from console.screens import (
    build_progress,
    show_build,
    show_cut,
    show_months,
    show_report,
    show_restatement,
)
from ledger.amounts import value_text
from ledger.settings import Settings, project_settings

if TYPE_CHECKING:
    from orchestration.report_tables import Choice

app = typer.Typer()


@app.command(rich_help_panel=MONTHS, epilog="Example: points build --through 2026-10")
def build(
    through: Annotated[
        str | None,
        typer.Option(metavar="MONTH", help="The last month to build; by default the newest."),
    ] = None,
    from_first_entry: Annotated[
        bool, typer.Option("--from-first-entry", help="Compute all months again, the closed ones too.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Build the open months, test them, write provisional files and show the newest report.

    A build goes on from the newest closed month. It reads the ledger, or the files of transfers that
    POINTS_TRANSFERS names.
    """
    from orchestration.build import build_months

    settings = project_settings()
    with build_progress(quiet=as_json or as_csv) as report:
        finished = build_months(settings, through, report, from_first_entry=from_first_entry)
    rows = [
        {
            "report_month": month.report_month,
            "folder": str(month.folder),
            "relations": month.relation_count,
            "posted_transfers": month.posted_transfer_count,
            "closing_points": month.closing_points,
        }
        for month in finished.months
    ]
    answer = {
        "run": finished.run,
        "folder": str(finished.folder),
        "cutoff_entry_id": finished.cutoff_entry_id,
        "opening_month": finished.opening_month,
        "quarantined": finished.quarantined,
        "quarantined_in_ledger": finished.quarantined_in_ledger,
        "tests_passed": finished.test_count,
        "months": rows,
    }
    if printed(as_json, as_csv, answer, rows):
        return
    from orchestration.report_tables import EVERYTHING
    from orchestration.reports import read_provisional_report

    newest = read_provisional_report(settings, finished.months[-1].report_month)
    show_report(settings, newest, newest.table(), EVERYTHING)
    show_build(finished)


@app.command(rich_help_panel=MONTHS, epilog="Example: points cut && dbt build")
def cut(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Freeze the whole ledger, for a `dbt build` by hand with the same POINTS_HOME."""
    from ledger.cut import freeze
    from ledger.database import open_ledger
    from orchestration.build import BuildProgress
    from orchestration.run_lock import run_lock

    settings = project_settings()
    ledger = open_ledger(settings)
    with run_lock(settings.home, "points cut"), build_progress(quiet=as_json or as_csv) as report:
        frozen = freeze(ledger, lambda done, total: report(BuildProgress("cut", "", done, total)))
        rows = frozen.count_rows()
    answer = {"folder": str(frozen.folder), "entry_id": frozen.head.entry_id, "rows": rows}
    if not printed(as_json, as_csv, answer, [{"part": part, "rows": count} for part, count in rows.items()]):
        show_cut(frozen, rows)


@app.command(rich_help_panel=MONTHS, epilog="Example: points months --json")
def months(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the months with their totals, one line a currency: closed ones, and those of the newest build."""
    from orchestration.reports import list_months

    settings = project_settings()
    summaries = list_months(settings)
    rows = [{name: _as_text(name, value) for name, value in vars(month).items()} for month in summaries]
    if not printed(as_json, as_csv, rows):
        show_months(settings, summaries)


def _as_text(name: str, value: object) -> object:
    from ledger.amounts import points_text

    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if name.endswith("_points"):
        return points_text(value)
    return str(value) if isinstance(value, Path) else value


@app.command(rich_help_panel=MONTHS, epilog="Example: points report 2026-10 --csv > outstanding_points.csv")
def report(
    month: MonthName,
    currency: Currency = None,
    revision: Revision = None,
    compare: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="N M", help="Two revisions of a closed month: whose figures changed, and what did it."
        ),
    ] = None,
    roll_forward: Annotated[
        bool,
        typer.Option("--roll-forward", help="What the month made of opening points, by customer."),
    ] = False,
    programme: Annotated[
        bool, typer.Option("--programme", help="The programme's roll-forward by bucket and reason.")
    ] = False,
    relation: Annotated[str, typer.Option(metavar="R", help="One customer's row.")] = "",
    relation_prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Rows of relation references that begin with it.")
    ] = "",
    sort: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help="relation_reference or points as --json names them; -FIELD for the largest first.",
        ),
    ] = "relation_reference",
    rows: Annotated[int, typer.Option(min=0, help="How many customers to show on the screen.")] = 10,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_xml: Annotated[
        bool, typer.Option("--xml", help="Print XML: the roll-forward too.", callback=only_one)
    ] = False,
    xlsx: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a workbook, with the roll-forward and a control sheet."),
    ] = None,
) -> None:
    """Show a month's report, or print it whole: --csv and --xml give the very bytes of its files."""
    from orchestration.month_files import OUTSTANDING_POINTS, POINTS_ROLL_FORWARD, PROGRAMME_POINTS
    from orchestration.report_tables import Choice
    from orchestration.reports import read_report

    choice = Choice(relation, relation_prefix, sort)
    is_part = roll_forward or programme or not choice.is_everything
    if roll_forward and programme:
        raise typer.BadParameter("show one of --roll-forward and --programme at a time")
    if programme and not choice.is_everything:
        raise typer.BadParameter("the programme's lines are of no customer, and in an order of their own")
    if (as_xml or xlsx) and is_part:
        raise typer.BadParameter(
            "XML and workbooks hold the month whole; print parts of it with --csv or --json"
        )
    if xlsx and (as_csv or as_xml):
        raise typer.BadParameter("write a workbook, or print CSV or XML, one at a time")
    settings = project_settings()
    if compare:
        if revision or roll_forward or programme or as_xml or xlsx or sort != Choice().sort:
            raise typer.BadParameter(
                "two revisions are shown, or printed with --csv or --json, in one form and order"
            )
        _report_restatement(settings, month, compare, currency, choice, rows, as_json, as_csv)
        return
    found = read_report(settings, month, currency, revision)
    file = POINTS_ROLL_FORWARD if roll_forward else PROGRAMME_POINTS if programme else OUTSTANDING_POINTS
    table = found.table(file)
    if as_csv and choice.is_everything:
        found.write_csv(file, sys.stdout.buffer)
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(table.columns)
        writer.writerows(map(value_text, row) for row in table.rows(choice))
    elif as_xml:
        found.write_xml(sys.stdout.buffer)
    elif xlsx:
        found.write_xlsx(xlsx)
        printed(as_json, False, {"file": str(xlsx)}) or typer.echo(f"Written: {xlsx}")
    elif as_json:
        print_json(
            {
                "report_month": found.summary.report_month,
                "status": found.summary.status,
                "revision": found.summary.revision,
                "currency": found.summary.currency,
                "rows": [
                    {
                        name: None if value is None else value_text(value)
                        for name, value in zip(table.columns.values(), row, strict=True)
                    }
                    for row in table.rows(choice)
                ],
            }
        )
    else:
        show_report(settings, found, table, choice, rows)


def _report_restatement(
    settings: Settings,
    month: str,
    revisions: tuple[int, int],
    currency: str | None,
    choice: "Choice",
    limit: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """What the later of two revisions says otherwise: of every relation reference, or of those chosen."""
    from orchestration.month_files import RESTATEMENT_COLUMNS
    from orchestration.reports import read_restatement
    from orchestration.restatement import PROGRAMME_COLUMNS

    def texts(columns: Iterable[str], row: tuple) -> dict:
        return {
            name: value if value is None or isinstance(value, int) else value_text(value)
            for name, value in zip(columns, row, strict=True)
        }

    currency = currency or settings.default_currency
    with read_restatement(settings, month, *revisions, currency) as restated:
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(RESTATEMENT_COLUMNS)
            for row in restated.rows(currency, choice):
                writer.writerow("" if value is None else value_text(value) for value in row)
        elif as_json:
            print_json(
                {
                    "report_month": month,
                    "earlier_revision": revisions[0],
                    "later_revision": revisions[1],
                    "currency": currency,
                    "programme": [texts(PROGRAMME_COLUMNS, line) for line in restated.programme(currency)],
                    "rows": [
                        texts(RESTATEMENT_COLUMNS.values(), row) for row in restated.rows(currency, choice)
                    ],
                }
            )
        else:
            show_restatement(settings, month, revisions, currency, restated, choice, limit)


@app.command(
    rich_help_panel=UPKEEP,
    epilog="Example: points demo && POINTS_HOME=var/demo points close --through 2026-10",
)
def demo(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Make a small programme with every kind of transfer, in a home and a ledger of its own."""
    from console.demo_home import make_demo
    from simulator.months import FIRST_MONTH, LAST_MONTH

    settings = project_settings()
    made = make_demo(settings)
    answer = {
        "home": str(made.home),
        "transfers": str(made.transfers_file),
        "rows": made.row_count,
        "first_month": FIRST_MONTH,
        "last_month": LAST_MONTH,
    }
    if printed(as_json, as_csv, answer):
        return
    elsewhere = "POINTS_DATABASE_URL= " if settings.database_url else ""
    typer.echo(
        f"The demo programme is in {made.home}: {made.row_count:,} rows of transfers, {FIRST_MONTH} to"
        f" {LAST_MONTH}, are {made.entry_count:,} entries of its ledger. Close its months with"
        f" `POINTS_HOME={made.home} {elsewhere}points close --through {LAST_MONTH}`."
    )
