"""``points build``, ``cut``, ``months``, ``report``, ``demo``: months, and what they come from."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from console.help_panels import MONTHS, UPKEEP
from console.output import AsCsv, AsJson, only_one, print_json, printed
from console.screens import build_progress, show_build, show_cut, show_months, show_report
from ledger.settings import project_settings

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
    from orchestration.reports import read_provisional_report

    newest = finished.months[-1].report_month
    show_report(settings, read_provisional_report(settings, newest))
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
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A report month, YYYY-MM.")],
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Another currency than the programme's own.")
    ] = None,
    revision: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Another revision of a closed month than the one issued."),
    ] = None,
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
    from ledger.amounts import points_text
    from orchestration.reports import read_report

    settings = project_settings()
    found = read_report(settings, month, currency, revision)
    if as_csv:
        found.write_csv(sys.stdout.buffer)
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
                        name: points_text(value) if name.endswith("_points") else value
                        for name, value in vars(row).items()
                    }
                    for row in found.rows()
                ],
            }
        )
    else:
        show_report(settings, found, rows)


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
