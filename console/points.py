"""The ``points`` command: it parses, calls and shows. Rules stand elsewhere."""

import csv
import errno
import json
import sys
from typing import Annotated

import duckdb
import typer
from dotenv import find_dotenv, load_dotenv

from console.screens import build_progress, error_console, show_build, show_months, show_report
from ledger.errors import PointsError
from ledger.settings import Settings

app = typer.Typer(
    name="points",
    help="A loyalty programme's points, from raw transfers to the monthly report.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, points as exact text.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def main() -> None:
    """Run the command; a refusal is one sentence and exit status 1."""
    load_dotenv(find_dotenv(usecwd=True))
    try:
        app()
    except PointsError as error:
        error_console().print(error.sentence, style="red", markup=False, highlight=False)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except duckdb.Error as error:
        error_console().print(_database_sentence(error), style="red", markup=False)
        sys.exit(1)
    except OSError as error:
        error_console().print(_operating_system_sentence(error), style="red", markup=False)
        sys.exit(1)


@app.command(epilog="Example: POINTS_TRANSFERS=transfers.csv points build --through 2026-10")
def build(
    through: Annotated[
        str | None,
        typer.Option(metavar="MONTH", help="The last month to build; by default the newest."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Build the months, test them, write provisional files and show the newest report."""
    from orchestration.build import build_months

    settings = Settings.from_environment()
    with build_progress(quiet=as_json or as_csv) as report:
        finished = build_months(settings, through, report)
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
    if as_csv:
        _print_csv(rows)
        return
    if as_json:
        _print_json(
            {
                "run": finished.run,
                "folder": str(finished.folder),
                "quarantined": finished.quarantined,
                "tests_passed": finished.test_count,
                "months": rows,
            }
        )
        return
    from orchestration.reports import read_report

    newest = finished.months[-1].report_month
    show_report(settings, read_report(settings.home, newest, settings.default_currency))
    show_build(finished)


@app.command(epilog="Example: points months --json")
def months(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the months with their totals, one line a currency."""
    from orchestration.month_files import plain_points
    from orchestration.reports import list_months

    settings = Settings.from_environment()
    summaries = list_months(settings.home)
    if not (as_json or as_csv):
        show_months(settings, summaries)
        return
    rows = [
        {
            name: plain_points(value) if name.endswith("_points") else value
            for name, value in vars(summary).items()
            if name != "folder"
        }
        | {"folder": str(summary.folder)}
        for summary in summaries
    ]
    _print_json(rows) if as_json else _print_csv(rows)


@app.command(epilog="Example: points report 2026-10 --csv > outstanding_points.csv")
def report(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A report month, YYYY-MM.")],
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Another currency than the programme's own.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many customers to show on the screen.")] = 10,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show a month's report, or print it whole: --csv gives the very bytes of its file."""
    from orchestration.month_files import plain_points
    from orchestration.reports import read_report

    settings = Settings.from_environment()
    found = read_report(settings.home, month, settings.default_currency, currency)
    if as_csv:
        sys.stdout.buffer.write(found.csv_bytes())
    elif as_json:
        _print_json(
            {
                "report_month": found.summary.report_month,
                "status": found.summary.status,
                "currency": found.summary.currency,
                "rows": [
                    {
                        name: plain_points(value) if name.endswith("_points") else value
                        for name, value in vars(row).items()
                    }
                    for row in found.rows()
                ],
            }
        )
    else:
        show_report(settings, found, rows)


@app.command(epilog="Example: points demo && POINTS_HOME=var/demo points build")
def demo(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Write a small programme with every kind of transfer, in a home of its own."""
    from orchestration.demo import DEMO_FIRST_MONTH, DEMO_LAST_MONTH, demo_home, write_demo

    home = demo_home(Settings.from_environment())
    rows = write_demo(home)
    told = {
        "home": str(home),
        "transfers": str(home / "transfers.csv"),
        "rows": rows,
        "first_month": DEMO_FIRST_MONTH,
        "last_month": DEMO_LAST_MONTH,
    }
    if as_json or as_csv:
        _print_json(told) if as_json else _print_csv([told])
        return
    typer.echo(
        f"The demo programme is in {home}: {rows:,} rows of transfers, {DEMO_FIRST_MONTH} to"
        f" {DEMO_LAST_MONTH}. Build it with `POINTS_HOME={home} POINTS_TRANSFERS={home}/transfers.csv"
        " points build`."
    )


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _print_csv(rows: list[dict]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _database_sentence(error: duckdb.Error) -> str:
    text = str(error)
    if "No space left on device" in text:
        return "The disk is full; make room and run the same command again."
    return f"DuckDB stopped: {text.splitlines()[0]} Nothing that readers see has changed."


def _operating_system_sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full; make room and run the same command again."
    where = f" {error.filename}" if error.filename else ""
    return f"The operating system refused{where}: {error.strerror}; mend that and run the same again."


if __name__ == "__main__":
    main()
