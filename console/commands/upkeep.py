"""``points verify``, ``doctor``, ``backup`` and ``restore``: is the ledger what it was, and will it be."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.output import AsJson, print_json
from ledger.settings import Settings

if TYPE_CHECKING:
    from ledger.upkeep.backup import Backup

app = typer.Typer()


@app.command(epilog="Example: points verify --json")
def verify(as_json: AsJson = False) -> None:
    """Look at every entry of the ledger: name the first that was altered, removed or slipped in."""
    from console.upkeep_screens import counting_progress, show_verification
    from ledger.errors import PointsError
    from ledger.upkeep.verification import LedgerDamaged, LedgerUnguarded
    from ledger.upkeep.verification import verify as verify_ledger

    settings = Settings.from_environment()
    try:
        with counting_progress("Entries", quiet=as_json) as report:
            found = verify_ledger(settings, report)
    except PointsError as error:
        if not as_json:
            raise
        told = {
            "verdict": "failed",
            "finding": type(error).__name__,
            "code": error.code,
            "sentence": str(error),
        }
        if isinstance(error, LedgerDamaged):
            told |= {
                "verdict": "damaged",
                "first_entry_id": error.first_entry_id,
                "last_entry_id": error.last_entry_id,
                "kind": error.kind,
                "transfer_id": error.transfer_id,
            }
        elif isinstance(error, LedgerUnguarded):
            told |= {"verdict": "unguarded", "guards": [vars(guard) for guard in error.unguarded]}
        print_json(told)
        raise typer.Exit(1) from error
    if not as_json:
        show_verification(found)
        return
    print_json(
        {
            "verdict": "sound",
            "place": found.place,
            "entries": found.entries,
            "links": found.links,
            "head_entry_id": found.head.entry_id,
            "chain_digest": found.head.chain_digest.hex(),
            "anchors": [str(folder) for folder in found.anchors],
        }
    )


@app.command(epilog="Example: points doctor")
def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with the settings, the ledger, the disk and the last runs, and what to do."""
    from dotenv import dotenv_values, find_dotenv

    from console.upkeep_screens import show_examination
    from orchestration.doctor import examine

    file = find_dotenv(usecwd=True)
    examination = examine(os.environ, dotenv_values(file) if file else {}, file)
    if as_json:
        print_json(
            {
                "verdict": examination.verdict,
                "settings": [vars(setting) for setting in examination.settings],
                "ledger": vars(examination.ledger) if examination.ledger else None,
                "findings": [vars(finding) for finding in examination.findings],
            }
        )
    else:
        show_examination(examination)
    if examination.verdict == "problem":
        raise typer.Exit(1)


@app.command(epilog="Example: points backup /backups/points-2026-11-22.sqlite3")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the ledger into one file, as of now, while others go on writing."""
    from console.upkeep_screens import counting_progress, show_backup
    from ledger.database import open_ledger
    from ledger.upkeep.backup import back_up

    ledger = open_ledger(Settings.from_environment())
    with counting_progress("Pages", quiet=as_json) as report:
        made = back_up(ledger, file, report)
    if as_json:
        print_json(_facts(made))
    else:
        show_backup("Backed up to", made)


@app.command(epilog="Example: POINTS_HOME=var/restored points restore /backups/points-2026-11-22.sqlite3")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `points backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Make a backup the ledger of a home that has none."""
    from console.upkeep_screens import counting_progress, show_backup
    from ledger.upkeep.backup import restore as restore_ledger

    with counting_progress("Pages", quiet=as_json) as report:
        made = restore_ledger(Settings.from_environment(), file, report)
    if as_json:
        print_json(_facts(made))
    else:
        show_backup("Restored to", made)


def _facts(made: "Backup") -> dict[str, object]:
    return {
        "file": str(made.file),
        "size": made.size,
        "head_entry_id": made.head.entry_id,
        "chain_digest": made.head.chain_digest.hex(),
    }
