"""One package of a closed month for an auditor: what its close kept, what came later, and a page on how
completeness and accuracy are shown (docs/month_end.md)."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from django.template import Context, Engine

from ledger.certifications import RECONCILED, entries_about
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.database import open_ledger
from ledger.errors import PointsError
from ledger.models import Close, Entry, MonthEndEntry, SignOff
from ledger.settings import Settings, check_month
from ledger.shown_text import counted
from orchestration.close.evidence import EVIDENCE, zip_entry
from orchestration.exports import new_export
from orchestration.month_files import RESTATEMENT
from orchestration.published.checked_files import CheckedFiles, checked_files
from orchestration.published.layout import MANIFEST_NAME
from orchestration.reports import find_close
from orchestration.upkeep.verification import Soundness, verify_all

_TRUTHS = {
    "1": "Total outstanding = total earned − total reversal − total redeemed − total expired, on every row",
    "2": "Closing = opening + earned − reversal − redeemed − expired, on every row",
    "3": "Closing = total outstanding, on every row",
    "4": "Opening = the closing of the month before, for every customer and currency",
    "5": "Every row that was read is counted once; counts and points add up",
    "6": "Closing = opening + the signed sum of what posted in the month, by a second way",
}
_TITLES = {
    "relation_references": "Customers",
    "posted_transfers": "Transfers that posted",
    "opening_points": "Opening points",
    "earned_points": "Earned",
    "reversal_points": "Reversal",
    "redeemed_points": "Redeemed",
    "expired_points": "Expired",
    "closing_points": "Closing points",
}
_OUTSIDE = {
    "pending": "Pending, in no balance",
    "on_hold": "On hold, in no balance",
    "cancelled": "Cancelled, in no balance",
    "later": "Of a later month",
}


class MonthNotIssued(PointsError):
    """Evidence is asked for of a month that is open."""

    code = "MONTH_NOT_CLOSED"

    def __init__(self, month: str) -> None:
        super().__init__(
            f"{month} is not closed, so there is no evidence of it; `points months` shows which months are."
        )


@dataclass(frozen=True)
class Package:
    """A package that was written, about a close; ``is_kept`` says whether the close kept its evidence."""

    closed: ClosedMonth
    file: Path
    is_kept: bool


def default_name(closed: ClosedMonth) -> str:
    """The name of a package where nobody gives one."""
    return f"evidence_{closed.report_month}_r{closed.revision}.zip"


def write_package(
    settings: Settings,
    month: str,
    file: Path | None = None,
    revision: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Package:
    """Verify all that is final and write the package of ``month`` (``YYYY-MM``) as a new ``file``, by default
    `default_name` in the working folder; it is that of the issued revision, or of ``revision``.

    ``report`` takes verified entries done and in all. Raises `MonthNotIssued`, `RevisionNotPublished`, and
    what `verify_all` and `new_export` raise.
    """
    check_month(month)
    if revision is None:
        open_ledger(settings)
        closed = read_history().issued.get(month)
        if closed is None:
            raise MonthNotIssued(month)
    else:
        closed = find_close(settings, month, revision)
    soundness = verify_all(settings, report=report)
    files = checked_files(settings.home, closed.report_month, closed.revision, closed.manifest_sha256)
    file = file or Path(default_name(closed))
    with new_export(file) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as package:
        about = dict(sorted(_contents(closed, files, soundness)))
        page = _page(settings, closed, files, soundness.history, list(about))
        for name, content in {"index.html": page, **about}.items():
            package.writestr(zip_entry(name), content)
    return Package(closed, file, EVIDENCE in files.manifest["files"])


def _contents(closed: ClosedMonth, files: CheckedFiles, soundness: Soundness) -> Iterator[tuple[str, bytes]]:
    yield MANIFEST_NAME, (files.folder / MANIFEST_NAME).read_bytes()
    yield "entries.json", _json(list(map(_entry, _entries(closed))))
    yield "verify.json", _json(soundness.facts())
    for name in files.manifest["files"]:
        if name.startswith(Path(RESTATEMENT).stem):
            yield name, files.path(name).read_bytes()
    if EVIDENCE in files.manifest["files"]:
        with zipfile.ZipFile(files.path(EVIDENCE)) as kept:
            for name in kept.namelist():
                yield f"as_closed/{name}", kept.read(name)


def _entries(closed: ClosedMonth) -> list[Entry]:
    """What the ledger has of a revision, and of what became of its month, in order."""
    revision = {"report_month": closed.report_month, "revision": closed.revision}
    of_revision = {**revision, "manifest_sha256": closed.manifest_sha256}
    found = [
        *Close.objects.filter(report_month=closed.report_month),
        *SignOff.objects.filter(**of_revision),
        *MonthEndEntry.objects.filter(**of_revision),
    ]
    return sorted(found, key=lambda entry: entry.entry_id)


def _entry(entry: Entry) -> dict[str, object]:
    facts = {
        "entry_id": entry.entry_id,
        "recorded_at": f"{entry.recorded_at:%Y-%m-%dT%H:%M:%SZ}",
        "recorded_by": entry.recorded_by,
        "event": "sign_off" if isinstance(entry, SignOff) else entry.event,
        "revision": entry.revision,
        "manifest_sha256": entry.manifest_sha256,
    }
    if isinstance(entry, Close):
        return {**facts, "cutoff_entry_id": entry.cutoff_entry_id, "reason": entry.reason}
    if isinstance(entry, MonthEndEntry):
        return {**facts, "subject": entry.subject, "content": json.loads(entry.content or "null")}
    return facts


def _page(
    settings: Settings,
    closed: ClosedMonth,
    files: CheckedFiles,
    history: CloseHistory,
    contents: list[str],
) -> bytes:
    manifest = files.manifest
    engine = Engine(dirs=[Path(__file__).with_name("templates")])
    page = engine.get_template("evidence.html").render(
        Context(
            {
                "closed": closed,
                "closed_at": f"{closed.closed_at:%Y-%m-%d %H:%M:%S}",
                "standing": _standing(history, closed),
                "manifest": manifest,
                "default_currency": settings.default_currency,
                "totals": list(_totals(manifest["control_totals"])),
                "truths": list(_verdicts(manifest["tests"])),
                "quarantine": _quarantine(manifest.get("quarantine_accepted")),
                "reconciliations": _reconciliations(closed),
                "restatement": _restatement(closed, contents),
                "versions": ", ".join(f"{name} {text}" for name, text in manifest["versions"].items()),
                "is_kept": EVIDENCE in manifest["files"],
                "contents": list(_described(contents)),
            }
        )
    )
    return page.encode("utf-8")


def _standing(history: CloseHistory, closed: ClosedMonth) -> str:
    status = history.status(closed)
    if status == "signed_off":
        signature = history.signatures[closed.report_month, closed.revision]
        return f"signed off {signature.signed_off_at:%Y-%m-%d %H:%M:%S} UTC by {signature.signed_off_by}"
    if status == "reopened":
        return "not in force: the month was reopened after it"
    return "issued; nobody has signed it off"


def _totals(control_totals: Mapping[str, Mapping]) -> Iterator[tuple[str, list[str]]]:
    """A title and the text of each currency, a row of the table."""
    for name, title in _TITLES.items():
        yield title, [_number(totals[name]) for totals in control_totals.values()]
    for name, title in _OUTSIDE.items():
        yield (
            title,
            [
                f"{totals[name]['transfers']:,}: +{_number(totals[name]['given_points'])}"
                f" −{_number(totals[name]['deducted_points'])}"
                for totals in control_totals.values()
            ],
        )


def _number(value: int | str) -> str:
    """A count, or points as a manifest has them, with thousands separated."""
    return f"{Decimal(value):,}".replace("-", "−")


def _verdicts(tests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each truth with the verdict of its test."""
    for number, text in _TRUTHS.items():
        yield text, ", ".join(verdict for test, verdict in tests.items() if f"truth_{number}_" in test)


def _quarantine(accepted: Mapping | None) -> str:
    if not accepted:
        return "no row of an imported file was in quarantine at the cutoff."
    rows = counted(accepted["rows"], "row of an imported file was", "rows of imported files were")
    return f"{rows} in quarantine at the cutoff, and the month was closed without: “{accepted['reason']}”."


def _reconciliations(closed: ClosedMonth) -> str:
    found = entries_about(closed, RECONCILED)
    if not found:
        return "No comparison with another system's balances was recorded for this revision."
    tied = sum(all(json.loads(entry.content)["tied_out"].values()) for entry in found)
    times = counted(len(found), "comparison", "comparisons")
    return (
        f"{times} with another system's balances recorded for this revision, {tied:,} of them tied out to the"
        " last digit; entries.json has each, with the hash of the other file."
    )


def _restatement(closed: ClosedMonth, contents: list[str]) -> str:
    if RESTATEMENT in contents:
        return f"{RESTATEMENT} says what changed since the revision before, and which entries changed it."
    if closed.revision == 1:
        return "It is the month's first revision, so nothing is restated."
    return f"Revision {closed.revision} was closed by a version that wrote no restatement: not kept."


def _described(contents: list[str]) -> Iterator[tuple[str, str]]:
    yield MANIFEST_NAME, "what the month's files are, what they come from, and their hashes"
    yield (
        "entries.json",
        "closes, reopenings, affirmations, sign-off, reconciliations and their items, as the ledger has them",
    )
    yield "verify.json", "that ledger and published files were verified for this package, and what was found"
    for name in contents:
        if name.startswith(Path(RESTATEMENT).stem):
            yield name, "what changed since the revision before, customer by customer"
    if any(name.startswith("as_closed/") for name in contents):
        yield "as_closed/", f"{EVIDENCE} of the close, whose hash is in manifest.json"


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
