"""What people vouch for about a closed month: affirmations of statements, consents to reopen what is signed
off, and what a sign-off relies on (docs/design.md, section 6).

All of it is about one revision, by its manifest's hash, so a new revision has none of it.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from functools import cache

from ledger.append import Appender
from ledger.closes import ClosedMonth
from ledger.models import MonthEndEntry
from ledger.settings import PROJECT_ROOT

# Events of `MonthEndEntry`; its subject is a statement, nothing, or the SHA-256 of the other system's file.
AFFIRMED = "affirmed"
REOPENING_ASKED = "reopening_asked"
RECONCILED = "reconciled"


@cache
def statements() -> Mapping[str, str]:
    """The text of each statement of seeds/certification_statements.csv, by its name."""
    with open(PROJECT_ROOT / "seeds" / "certification_statements.csv", encoding="utf-8", newline="") as file:
        return {row["statement"]: row["text"] for row in csv.DictReader(file)}


def record(
    appender: Appender, closed: ClosedMonth, event: str, content: Mapping[str, object], subject: str = ""
) -> None:
    """Append an entry about a revision; ``content`` is kept as JSON."""
    appender.append(
        MonthEndEntry(
            event=event,
            report_month=closed.report_month,
            revision=closed.revision,
            manifest_sha256=closed.manifest_sha256,
            subject=subject,
            content=content_text(content),
        )
    )


def content_text(content: Mapping[str, object]) -> str:
    """The content of an entry as it is kept."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def affirm(appender: Appender, closed: ClosedMonth) -> None:
    """Append that the acting user affirms every statement, in its words of now."""
    for statement, text in statements().items():
        record(appender, closed, AFFIRMED, {"text": text}, statement)


def entries_about(closed: ClosedMonth, event: str) -> list[MonthEndEntry]:
    """The entries of one kind about a revision, in their order."""
    return list(
        MonthEndEntry.objects.filter(
            event=event,
            report_month=closed.report_month,
            revision=closed.revision,
            manifest_sha256=closed.manifest_sha256,
        ).order_by("entry_id")
    )


def affirmed_by(closed: ClosedMonth) -> Sequence[str]:
    """Who affirmed every statement that there is now, in the order in which they did."""
    affirmed: dict[str, set[str]] = {}
    for entry in entries_about(closed, AFFIRMED):
        affirmed.setdefault(entry.recorded_by, set()).add(entry.subject)
    return [name for name, found in affirmed.items() if found >= statements().keys()]


def tied_out(closed: ClosedMonth) -> Sequence[str]:
    """The SHA-256 of each file that a revision was tied out against, in every currency that it has by the
    newest recorded reconciliation of that currency; none where one is not tied out, or was not compared."""
    newest = {
        currency: (entry.subject, is_tied_out)
        for entry in entries_about(closed, RECONCILED)
        for currency, is_tied_out in json.loads(entry.content)["tied_out"].items()
    }
    files = [newest.get(currency, ("", False)) for currency in closed.control_totals]
    return list(dict.fromkeys(sha256 for sha256, _ in files)) if all(is_tied for _, is_tied in files) else []
