"""Affirms and signs off issued months (docs/design.md, section 6).

Who closed a month affirms its statements; somebody else affirms them too and signs. Where the schedule
closed it, any other person than the signer affirms. A signature is for one revision, and void for the next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.acts.approval import is_same_person
from ledger.acts.transfer_requests import checked_note
from ledger.certifications import affirm, affirmed_by, tied_out
from ledger.closes import ClosedMonth, CloseHistory, read_history
from ledger.database import Ledger, open_ledger
from ledger.errors import PointsError
from ledger.models import SignOff
from ledger.settings import SCHEDULE, Settings, check_month
from orchestration.close.commit import committing
from orchestration.close.publication import finish_closes
from orchestration.run_lock import run_lock


class NotIssued(PointsError):
    """A month is to be vouched for that readers do not have, or that is open again."""

    code = "MONTH_NOT_CLOSED"

    def __init__(self, month: str, finding: str) -> None:
        super().__init__(
            f"{month} {finding}, so nobody can vouch for it; `points months` shows which months are issued."
        )


class AlreadySignedOff(PointsError):
    """A revision has a signature."""

    code = "SIGNED_OFF"

    def __init__(self, name: str, signed_off_by: str) -> None:
        super().__init__(f"{name} was signed off by {signed_off_by}, and nothing more is to be said of it.")


class SignedByWhoPrepared(PointsError):
    """The same person closes or affirms a month and signs it off."""

    code = "OWN_MONTH"

    def __init__(self, name: str, user: str, act: str) -> None:
        super().__init__(f"{user} {act} {name}, and may not sign it off as well; ask another person to.")


class NotAffirmed(PointsError):
    """A month is to be signed off whose closer has affirmed nothing."""

    code = "NOT_AFFIRMED"

    def __init__(self, name: str, month: str, by: str) -> None:
        super().__init__(
            f"Nobody who may has affirmed the statements about {name}; let {by} run `points affirm {month}`"
            " first."
        )


class NotTiedOut(PointsError):
    """A month is to be signed off without a reconciliation and without a reason why there is none."""

    code = "NOT_TIED_OUT"

    def __init__(self, name: str, month: str) -> None:
        super().__init__(
            f"No tied-out reconciliation of {name} is recorded; record one with `points reconcile {month}"
            ' FILE --record`, or say why there is none: `--without-reconciliation "…"`.'
        )


class NotAffirmedByCloser(PointsError):
    """Somebody affirms a month that another person closed."""

    code = "NOT_CLOSER"

    def __init__(self, name: str, user: str, closed_by: str) -> None:
        super().__init__(
            f"{name} was closed by {closed_by}, so its statements are for {closed_by} to affirm, not for"
            f" {user}."
        )


@dataclass(frozen=True)
class SignedOff:
    """A revision that was signed off, who affirmed it before, and the other systems' files that it was tied
    out against, by their SHA-256: none where ``without_reconciliation`` says why."""

    closed: ClosedMonth
    affirmed_by: str
    files_sha256: Sequence[str]
    without_reconciliation: str


def affirm_month(settings: Settings, month: str, wait_seconds: float = 0.0) -> ClosedMonth:
    """Affirm every statement about ``month`` (``YYYY-MM``) as who closed it; a second time adds nothing.

    Raises `NotIssued`, `AlreadySignedOff`, `NotAffirmedByCloser` and what opening the ledger does.
    """
    with _issued(settings, month, "points affirm", wait_seconds) as (ledger, history, closed):
        if not is_same_person(closed.closed_by, SCHEDULE) and not is_same_person(
            closed.closed_by, ledger.user
        ):
            raise NotAffirmedByCloser(closed.name, ledger.user, closed.closed_by)
        if not any(is_same_person(name, ledger.user) for name in affirmed_by(closed)):
            with committing(ledger, history) as appender:
                affirm(appender, closed)
            finish_closes(ledger)
    return closed


def sign_off_month(
    settings: Settings, month: str, without_reconciliation: str = "", wait_seconds: float = 0.0
) -> SignedOff:
    """Affirm every statement about ``month`` (``YYYY-MM``) and sign it off, as somebody else than who closed
    it and who affirmed it.

    Raises `NotIssued`, `AlreadySignedOff`, `SignedByWhoPrepared`, `NotAffirmed`, `NotTiedOut` and what
    opening the ledger does.
    """
    reason = checked_note("without_reconciliation", without_reconciliation.strip())
    with _issued(settings, month, "points sign-off", wait_seconds) as (ledger, history, closed):
        if is_same_person(closed.closed_by, ledger.user):
            raise SignedByWhoPrepared(closed.name, ledger.user, "closed")
        affirming = [
            name
            for name in affirmed_by(closed)
            if is_same_person(closed.closed_by, SCHEDULE) or is_same_person(closed.closed_by, name)
        ]
        if any(is_same_person(name, ledger.user) for name in affirming):
            raise SignedByWhoPrepared(closed.name, ledger.user, "affirmed the statements about")
        if not affirming:
            is_scheduled = is_same_person(closed.closed_by, SCHEDULE)
            by = "somebody else than the signer" if is_scheduled else closed.closed_by
            raise NotAffirmed(closed.name, month, by)
        files = tied_out(closed)
        if not files and not reason:
            raise NotTiedOut(closed.name, month)
        with committing(ledger, history) as appender:
            affirm(appender, closed)
            appender.append(
                SignOff(
                    report_month=closed.report_month,
                    revision=closed.revision,
                    manifest_sha256=closed.manifest_sha256,
                )
            )
        finish_closes(ledger)
    return SignedOff(closed, affirming[0], files, "" if files else reason)


@contextmanager
def _issued(
    settings: Settings, month: str, command: str, wait_seconds: float
) -> Iterator[tuple[Ledger, CloseHistory, ClosedMonth]]:
    """The month as readers have it, where it counts and has no signature."""
    check_month(month)
    ledger = open_ledger(settings)
    with run_lock(settings.home, command, wait_seconds):
        finish_closes(ledger)
        history = read_history()
        closed = history.issued.get(month)
        if closed is None:
            raise NotIssued(month, "is not closed")
        if history.in_force.get(month) != closed:
            raise NotIssued(month, "was reopened")
        if signature := history.signatures.get((month, closed.revision)):
            raise AlreadySignedOff(closed.name, signature.signed_off_by)
        yield ledger, history, closed
