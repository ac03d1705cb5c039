"""``points import`` and ``quarantine``: files of transfers, and the rows of them that were set aside."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from console.help_panels import FILES
from console.output import AsCsv, AsJson, printed, values_of
from ledger.settings import project_settings

_QUARANTINE_COLUMNS = (
    *("entry_id", "recorded_at", "batch_id", "file_name", "line", "transfer_id"),
    *("code", "column", "value", "expected", "row"),
)

app = typer.Typer()
quarantine = typer.Typer(
    help="List the quarantined rows that are open, or dismiss one.",
    invoke_without_command=True,
)
app.add_typer(quarantine, name="quarantine", rich_help_panel=FILES)


@app.command(
    "import",
    rich_help_panel=FILES,
    epilog="Example: points import transfers.csv --map member=relation_reference",
)
def import_transfers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV, CSV.gz or Parquet file of transfers.")],
    keep_bad_rows: Annotated[
        bool,
        typer.Option("--quarantine", help="Add the good rows, and keep the bad ones aside with the reason."),
    ] = False,
    renamed: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="THEIRS=OURS", help="A column of the file and our name of it; repeatable."
        ),
    ] = None,
    ignored: Annotated[
        str, typer.Option("--ignore-columns", metavar="A,B", help="Columns of the file to leave out.")
    ] = "",
    expected_rows: Annotated[
        int | None, typer.Option("--expect-rows", min=0, metavar="N", help="Refuse a file of other length.")
    ] = None,
    expected_points: Annotated[
        str | None,
        typer.Option(
            "--expect-points", metavar="P", help="Refuse a file whose points do not add up to this."
        ),
    ] = None,
    signed_points: Annotated[
        bool,
        typer.Option(
            "--signed-points", help="The file has no style: -5 points are deducted, 5 and +5 given."
        ),
    ] = False,
    date_at: Annotated[
        str,
        typer.Option(
            "--date-at",
            metavar="HH:MM",
            help="Take a date without a time for this one, in the programme's zone.",
        ),
    ] = "",
    reasons: Annotated[
        Path | None,
        typer.Option(
            "--reasons",
            metavar="FILE",
            help="A CSV that translates their reasons: their_reason, their_sign, reason, style.",
        ),
    ] = None,
    skip_zero: Annotated[
        bool, typer.Option("--skip-zero", help="Leave rows of zero points out, and count them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and record nothing.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Add a file of transfers: all of it, or nothing."""
    from console.file_screens import import_progress, show_bad_rows, show_import
    from ledger.database import open_ledger
    from ledger.files.imports import ImportRefused, import_file
    from ledger.files.translations import Translation

    translation = Translation(signed_points, date_at, reasons, skip_zero)
    names, points = _names(renamed or []), _points(expected_points)
    ledger = open_ledger(project_settings(), create=True)
    is_quiet = as_json or as_csv
    try:
        with import_progress(quiet=is_quiet) as report:
            result = import_file(
                ledger,
                file,
                quarantine=keep_bad_rows,
                renamed=names,
                ignored=[name.strip() for name in ignored.split(",") if name.strip()],
                expected_rows=expected_rows,
                expected_points=points,
                translation=translation,
                dry_run=dry_run,
                report=report,
            )
    except ImportRefused as refused:
        rows = [{name: getattr(row, name) for name in row.__slots__} for row in refused.bad_rows]
        found = {"code": refused.code, "bad_row_count": refused.bad_row_count, "bad_rows": rows}
        if not printed(as_json, as_csv, found, rows):
            show_bad_rows(refused)
        raise
    answer = {
        "file": str(result.path),
        "batch_id": result.batch_id,
        "dry_run": result.dry_run,
        "rows": result.row_count,
        "skipped": result.skipped,
        "added": result.added,
        "duplicates": result.duplicates,
        "status_changes": result.status_changes,
        "history": result.history,
        "quarantined": result.quarantined,
        "closed_accounts": result.closed_accounts,
        "rows_per_second": result.rows_per_second,
    }
    if not printed(as_json, as_csv, answer | {"warnings": list(result.warnings)}, [answer]):
        show_import(result)


@quarantine.callback(epilog="Example: points quarantine --csv > quarantined.csv")
def list_quarantined(context: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the quarantined rows that are open, or dismiss one."""
    if context.invoked_subcommand:
        return
    from console.file_screens import show_open_rows
    from ledger.database import open_ledger
    from ledger.files.quarantine import list_open_rows

    ledger = open_ledger(project_settings())
    rows = list(list_open_rows(ledger))
    answer = [values_of(row, _QUARANTINE_COLUMNS) for row in rows]
    if not printed(as_json, as_csv, answer):
        show_open_rows(rows)


@quarantine.command(epilog="Example: points quarantine dismiss 1042 --reason 'sent by mistake'")
def dismiss(
    entry_id: Annotated[int, typer.Argument(metavar="ENTRY_ID", help="The row's entry, as listed.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why the row will not be corrected.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Record why a quarantined row will not be corrected."""
    from ledger.database import open_ledger
    from ledger.files.quarantine import dismiss as dismiss_row

    ledger = open_ledger(project_settings())
    dismissal = dismiss_row(ledger, entry_id, reason)
    answer = {"entry_id": dismissal.entry_id, "quarantined_entry_id": entry_id, "reason": dismissal.reason}
    if not printed(as_json, as_csv, answer):
        typer.echo(f"Quarantined row {entry_id:,} is dismissed: {dismissal.reason}")


def _names(pairs: list[str]) -> dict[str, str]:
    names = {}
    for pair in pairs:
        theirs, equals, ours = pair.rpartition("=")
        if not (theirs and equals and ours):
            raise typer.BadParameter(f"--map is {pair!r}, but it is written theirs=ours.")
        names[theirs] = ours
    return names


def _points(text: str | None) -> Decimal | None:
    if text is not None and not re.fullmatch(r"[0-9]{1,34}(\.[0-9]{1,4})?", text, re.ASCII):
        raise typer.BadParameter(f"--expect-points is {text!r}, but it is a sum of points, like 1250.5.")
    return None if text is None else Decimal(text)
