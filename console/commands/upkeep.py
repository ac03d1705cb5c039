"""``points verify``, ``doctor``, ``backup`` and ``restore``: is everything what it was, and will it be."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.help_panels import UPKEEP
from console.output import AsJson, print_json
from ledger.amounts import points_text
from ledger.settings import project_settings

if TYPE_CHECKING:
    from ledger.anchors import Head
    from ledger.errors import PointsError
    from ledger.upkeep.backup import Backup

app = typer.Typer()


@app.command(rich_help_panel=UPKEEP, epilog="Example: points verify --full")
def verify(
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also compute every closed month again from the first entry, and compare."
        ),
    ] = False,
    head: Annotated[
        str,
        typer.Option(
            metavar="ENTRY:DIGEST",
            help="Also ask whether the ledger goes on from this head, which `points verify` showed once.",
        ),
    ] = "",
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="First throw the kept balances away and add them up anew."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every entry of the ledger and every byte that was published: name what is not as it was."""
    from console.screens import build_progress
    from console.upkeep_screens import counting_progress, show_recomputed_otherwise, show_soundness
    from ledger.errors import PointsError
    from orchestration.upkeep.verification import RecomputedOtherwise, verify_all

    settings = project_settings()
    if rebuild:
        from ledger.database import open_ledger
        from ledger.kept_balances import bring_up_to_date, throw_away

        ledger = open_ledger(settings)
        throw_away(ledger)
        bring_up_to_date(ledger)
    try:
        with (
            counting_progress("Entries", quiet=as_json) as report,
            build_progress(quiet=as_json or not full) as report_build,
        ):
            found = verify_all(settings, full, _head(head) if head else None, report, report_build)
    except PointsError as error:
        if as_json:
            print_json(_findings(error))
            raise typer.Exit(1) from error
        if isinstance(error, RecomputedOtherwise):
            show_recomputed_otherwise(error.recomputation)
        raise
    if as_json:
        print_json(found.facts())
    else:
        show_soundness(found)


def _head(text: str) -> "Head":
    from ledger.anchors import Head

    entry_id, _, digest = text.partition(":")
    if not re.fullmatch("[1-9][0-9]{0,17}", entry_id) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise typer.BadParameter(
            f"{text!r} is no head; write it as ENTRY:DIGEST, like 1042:{'0a' * 32}, as `points verify --json`"
            " gives head_entry_id and chain_digest.",
            param_hint="--head",
        )
    return Head(int(entry_id), bytes.fromhex(digest))


def _findings(error: "PointsError") -> dict[str, object]:
    """The findings of a failed verification, for programs."""
    from ledger.guards import LedgerUnguarded
    from ledger.upkeep.verification import LedgerDamaged
    from orchestration.upkeep.verification import PublishedUnsound, RecomputedOtherwise

    findings: dict[str, object] = {
        "verdict": "failed",
        "finding": type(error).__name__,
        "code": error.code,
        "sentence": str(error),
    }
    match error:
        case LedgerDamaged():
            return findings | {
                "verdict": "damaged",
                "first_entry_id": error.first_entry_id,
                "last_entry_id": error.last_entry_id,
                "kind": error.kind,
                "transfer_id": error.transfer_id,
            }
        case LedgerUnguarded():
            return findings | {"verdict": "unguarded", "guards": [vars(guard) for guard in error.unguarded]}
        case PublishedUnsound():
            damages = [{"path": str(damage.path), "finding": damage.finding} for damage in error.damages]
            return findings | {"verdict": "damaged", "published": damages}
        case RecomputedOtherwise():
            return findings | {
                "verdict": "recomputed_otherwise",
                "files": [vars(difference) for difference in error.recomputation.files],
                "figures": [
                    vars(difference)
                    | {
                        "published": points_text(difference.published),
                        "recomputed": points_text(difference.recomputed),
                    }
                    for difference in error.recomputation.figures
                ],
            }
    return findings


@app.command(rich_help_panel=UPKEEP, epilog="Example: points doctor")
def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong with the settings, the ledger, the disk and the last runs, and what to do."""
    from console.upkeep_screens import show_examination
    from ledger.settings_file import read_settings_file, settings_file
    from orchestration.upkeep.doctor import examine

    folder = Path.cwd()
    examination = examine(os.environ, read_settings_file(folder), settings_file(folder))
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


@app.command(rich_help_panel=UPKEEP, epilog="Example: points backup /backups/points-2026-11-22.sqlite3")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the ledger into one file, as of now, while others go on writing."""
    from console.upkeep_screens import counting_progress, show_backup
    from ledger.database import open_ledger
    from ledger.upkeep.backup import back_up

    ledger = open_ledger(project_settings())
    with (
        counting_progress("Copied", quiet=as_json) as report,
        counting_progress("Checked", quiet=as_json) as report_check,
    ):
        made = back_up(ledger, file, report, report_check)
    if as_json:
        print_json(_facts(made))
    else:
        show_backup("Backed up to", made)


@app.command(
    rich_help_panel=UPKEEP,
    epilog="Example: POINTS_HOME=var/restored points restore /backups/points-2026-11-22.sqlite3",
)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `points backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Make a backup the ledger of a home that has none."""
    from console.upkeep_screens import counting_progress, show_backup
    from ledger.upkeep.backup import restore as restore_ledger

    with (
        counting_progress("Copied", quiet=as_json) as report,
        counting_progress("Checked", quiet=as_json) as report_check,
    ):
        made = restore_ledger(project_settings(), file, report, report_check)
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
