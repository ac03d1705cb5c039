"""``points close``, ``affirm``, ``sign-off``, ``reopen``, ``export-database``: months made final, and the
files that readers have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.deliveries import deliver_afterwards
from console.gate_screen import gate_facts
from console.help_panels import MONTHS
from console.month_arguments import ClosedMonthName
from console.output import AsCsv, AsJson, printed
from console.screens import build_progress, show_closing, show_export, show_reopening, show_statements
from console.tables import Screen, error_console
from ledger.certifications import statements
from ledger.settings import Settings, project_settings

if TYPE_CHECKING:
    from ledger.closes import ClosedMonth

app = typer.Typer()

Yes = Annotated[
    bool, typer.Option("--yes", help="Affirm without being asked; where nobody can be, it is needed.")
]


@app.command(rich_help_panel=MONTHS, epilog="Example: points close --through 2026-10")
def close(
    month: Annotated[
        str | None,
        typer.Argument(metavar="[MONTH]", help="The month to close; by default the oldest open one."),
    ] = None,
    through: Annotated[
        str | None, typer.Option(metavar="MONTH", help="Close every open month up to this one.")
    ] = None,
    first_month: Annotated[
        str | None,
        typer.Option(
            metavar="MONTH",
            help="For the programme's first close: its first month. What is earlier posts to it.",
        ),
    ] = None,
    accept_quarantined: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Close without the rows that are quarantined; the manifest keeps why."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Do all of it, show what is open, and close nothing; 1 where refused."
        ),
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Close ended months for good: build, audit, seal, publish.

    Months are closed in order and without gaps. The first close seals the time zone, the start day of months,
    the first month and the default currency.
    """
    from orchestration.close.closing import close_months

    if month and through:
        raise typer.BadParameter("name one MONTH or --through, not both", param_hint="--through")
    settings = project_settings()
    with build_progress(quiet=as_json or as_csv) as report:
        closing = close_months(
            settings,
            month,
            through,
            first_month,
            report,
            accept_quarantined=accept_quarantined,
            dry_run=dry_run,
        )
    rows = [_facts(settings, closed) for closed in closing.closed]
    answer = {
        "closed": rows,
        "already_closed": _facts(settings, closing.already) if closing.already else None,
        "next_month": closing.next_month,
        "next_ends_at": f"{closing.next_ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "waiting": list(closing.waiting),
        "waiting_for": list(closing.waiting_for),
        "tried": list(closing.tried),
        "refusals": list(closing.refusals),
        "gate": gate_facts(closing.gate) if closing.gate else None,
        "zone_notes": list(closing.zone_notes),
    }
    if not printed(as_json, as_csv, answer, rows):
        show_closing(settings, closing)
    if closing.refusals:
        for sentence in closing.refusals:
            error_console().print(sentence)
        raise typer.Exit(1)
    if not dry_run:
        deliver_afterwards(settings, "What is closed stays closed", quiet=as_json or as_csv)


@app.command(rich_help_panel=MONTHS, epilog="Example: points affirm 2026-10")
def affirm(month: ClosedMonthName, yes: Yes = False, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Affirm the statements about a month, as who closed it.

    They stand in seeds/certification_statements.csv. Of a month that the schedule closed, any other person
    than the signer affirms them.
    """
    from orchestration.close.sign_off import affirm_month

    _let_affirm(month, yes, as_json or as_csv)
    settings = project_settings()
    row = _facts(settings, affirm_month(settings, month)) | {"affirmed_by": settings.user}
    if not printed(as_json, as_csv, row):
        Screen().print(
            f"Affirmed by {settings.user}: {month}/r{row['revision']}. Somebody else may sign it off now."
        )


@app.command("sign-off", rich_help_panel=MONTHS, epilog="Example: points sign-off 2026-10")
def sign_off(
    month: ClosedMonthName,
    without_reconciliation: Annotated[
        str, typer.Option(metavar="TEXT", help="Why it is not tied out against another system's balances.")
    ] = "",
    yes: Yes = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Affirm the statements about a month and sign it off, as somebody else than who closed it.

    It needs a tied-out reconciliation that was recorded (`points reconcile --record`), or why there is none.
    """
    from orchestration.close.sign_off import sign_off_month

    _let_affirm(month, yes, as_json or as_csv)
    settings = project_settings()
    signed = sign_off_month(settings, month, without_reconciliation)
    row = _facts(settings, signed.closed) | {
        "affirmed_by": signed.affirmed_by,
        "signed_off_by": settings.user,
        "reconciled_with_sha256": list(signed.files_sha256),
        "without_reconciliation": signed.without_reconciliation,
    }
    if not printed(as_json, as_csv, row):
        Screen().print(
            f"Signed off by {settings.user}: {signed.closed.name}, closed by {signed.closed.closed_by},"
            f" affirmed by {signed.affirmed_by}, manifest {signed.closed.manifest_sha256}."
        )
    deliver_afterwards(settings, "The signature stands", quiet=as_json or as_csv)


def _let_affirm(month: str, yes: bool, quiet: bool) -> None:
    """Show what is affirmed, and ask where nobody has said yes."""
    if not quiet:
        show_statements(month, statements())
    if not yes:
        typer.confirm("Do you affirm all of this?", abort=True, err=True)


@app.command(
    rich_help_panel=MONTHS, epilog='Example: points reopen 2026-08 --reason "Partner sent August anew"'
)
def reopen(
    month: ClosedMonthName,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept for ever.")] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Open a closed month, and every later one, to be closed again as the next revision.

    What was issued stays as it is; readers keep it, flagged as reopened, until all of it is closed again.
    Where a month is signed off, it takes two people who ask for the same.
    """
    from orchestration.close.reopening import reopen_months

    settings = project_settings()
    with build_progress(quiet=as_json or as_csv) as report:
        reopened = reopen_months(settings, month, reason, report=report)
    rows = [_facts(settings, closed) for closed in reopened.closes]
    waiting = [closed.name for closed in reopened.signed_off] if not reopened.closes else []
    if not printed(as_json, as_csv, {"reopened": rows, "waiting_for_second_person": waiting}, rows):
        show_reopening(reopened.closes, waiting, month)
    deliver_afterwards(settings, "What was recorded stays", quiet=as_json or as_csv)


@app.command(rich_help_panel=MONTHS, epilog="Example: points export-database outstanding_points_copy.duckdb")
def export_database(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Write the published months as one DuckDB database with tables, to carry away."""
    from orchestration.published.database import export_database as export

    tables = export(project_settings().home, file)
    rows = [{"table": name, "rows": count} for name, count in tables]
    if not printed(as_json, as_csv, {"file": str(file), "tables": rows}, rows):
        show_export(file, tables)


def _facts(settings: Settings, closed: "ClosedMonth") -> dict[str, object]:
    return {
        "report_month": closed.report_month,
        "revision": closed.revision,
        "cutoff_entry_id": closed.cutoff_entry_id,
        "closed_at": f"{closed.closed_at:%Y-%m-%dT%H:%M:%SZ}",
        "closed_by": closed.closed_by,
        "manifest_sha256": closed.manifest_sha256,
        "folder": str(settings.home / "published" / closed.report_month / f"r{closed.revision}"),
    }
