"""``points give``, ``deduct``, ``move``, ``mass``, ``approve``, ``hold``, ``cancel``, ``revoke``, ``comment``
and ``account``: the acts of an operator's day. Every rule stands in the ledger."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from console.help_panels import ACTING
from console.output import AsCsv, AsJson, printed
from console.tables import error_console
from ledger.acts.accounts import AccountOutcome, close_account, open_account
from ledger.acts.comments import add_comment
from ledger.acts.decisions import Decision
from ledger.acts.decisions import approve as approve_waiting
from ledger.acts.decisions import cancel as cancel_waiting
from ledger.acts.decisions import hold as hold_waiting
from ledger.acts.decisions import release as release_held
from ledger.acts.mass import mass_rows, read_mass_file, record_mass
from ledger.acts.moves import MoveOutcome, move_points
from ledger.acts.repeated_customers import RepeatedCustomer
from ledger.acts.revocations import RevocationAmbiguous
from ledger.acts.revocations import revoke as revoke_transfers
from ledger.acts.transfer_requests import DEFAULT_REASON, TransferRequest
from ledger.acts.transfers import RecordedTransfer, record_transfer
from ledger.amounts import points_text, value_text
from ledger.database import Ledger, open_ledger
from ledger.models import STYLES
from ledger.refusals import SeveralRefused
from ledger.settings import project_settings
from ledger.shown_text import counted

app = typer.Typer()
account = typer.Typer(
    help="Open and close customers' accounts.",
    no_args_is_help=True,
    epilog="Example: points account close C-1042",
)
app.add_typer(account, name="account", rich_help_panel=ACTING)


class WithoutSign(TyperCommand):
    """A command whose points have no sign: ``-5`` would be taken for an option."""

    def parse_args(self, context: typer.Context, arguments: list[str]) -> list[str]:
        """As Typer parses them, but a negative number is refused for what it is."""
        for before, argument in zip(["", *arguments], arguments, strict=False):
            if re.fullmatch(r"-[0-9][0-9.]*", argument) and not before.startswith("-"):
                raise typer.BadParameter(
                    f"{argument} has a sign; `points give` adds points, `points deduct` takes them away",
                    context,
                    param_hint="POINTS",
                )
        return super().parse_args(context, arguments)


Relation = Annotated[str, typer.Argument(metavar="RELATION", help="The customer's relation reference.")]
Points = Annotated[str, typer.Argument(metavar="POINTS", help="More than zero, at most four decimal places.")]
Identifiers = Annotated[list[str], typer.Argument(metavar="ID…", help="What is decided on; all or none.")]
Reason = Annotated[
    str, typer.Option(metavar="CODE", help=f"Why; one that people may choose. By default {DEFAULT_REASON}.")
]
Currency = Annotated[str, typer.Option(metavar="CODE", help="By default the programme's own.")]
Status = Annotated[str, typer.Option(help="approved, pending or on_hold; by default approved.")]
Comment = Annotated[str, typer.Option(metavar="TEXT", help="A note for later readers.")]
RequestId = Annotated[
    str, typer.Option("--id", metavar="ID", help="Makes the request repeatable: sent again, it adds nothing.")
]


def _day_begins(text: str) -> str:
    """A date alone is the beginning of its day, in the programme's zone."""
    return f"{text}T00:00:00" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else text


OccurredAt = Annotated[
    str,
    typer.Option(
        metavar="DATE|INSTANT",
        help="When it happened, like 2026-10-31, whose day then begins, or 2026-10-31T23:59:59Z; by default"
        " now.",
        callback=_day_begins,
    ),
]
ExternalReference = Annotated[
    str, typer.Option(metavar="TEXT", help="The order, voucher or ticket that it comes from.")
]
New = Annotated[bool, typer.Option("--new", help="The relation reference may be new to the ledger.")]
AllowNegative = Annotated[
    bool, typer.Option("--allow-negative", help="Deduct more than the customer has to spend.")
]
CancelPending = Annotated[
    bool, typer.Option("--cancel-pending", help="Cancel what is pending or on hold of a closed account.")
]
OnceEach = Annotated[
    bool, typer.Option("--once-each", help="Refuse a mass in which a customer stands more than once.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Try everything and record nothing.")]


@app.command(
    rich_help_panel=ACTING,
    cls=WithoutSign,
    epilog="Example: points give C-1042 250 --reason manual_credit --comment 'late flight' --new",
)
def give(
    relation: Relation,
    points: Points,
    reason: Reason = "",
    status: Status = "",
    currency: Currency = "",
    comment: Comment = "",
    request_id: RequestId = "",
    occurred_at: OccurredAt = "",
    external_reference: ExternalReference = "",
    new: New = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Give points to a customer."""
    request = TransferRequest(
        relation,
        "give",
        points,
        reason=reason,
        currency=currency,
        status=status,
        occurred_at=occurred_at,
        transfer_id=request_id,
        external_reference=external_reference,
        comment=comment,
    )
    transfer = record_transfer(_ledger(begin=new), request, new=new, dry_run=dry_run)
    _answer(_transfer_row(transfer, dry_run), [_transfer_sentence(transfer)], dry_run, as_json, as_csv)
    _warn_of_dates([transfer] if occurred_at else [])


@app.command(
    rich_help_panel=ACTING,
    cls=WithoutSign,
    epilog="Example: points deduct C-1042 80 --reason redemption --external-reference ORDER-77",
)
def deduct(
    relation: Relation,
    points: Points,
    reason: Reason = "",
    status: Status = "",
    currency: Currency = "",
    comment: Comment = "",
    request_id: RequestId = "",
    occurred_at: OccurredAt = "",
    external_reference: ExternalReference = "",
    new: New = False,
    allow_negative: AllowNegative = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Deduct points from a customer."""
    request = TransferRequest(
        relation,
        "deduct",
        points,
        reason=reason,
        currency=currency,
        status=status,
        occurred_at=occurred_at,
        transfer_id=request_id,
        external_reference=external_reference,
        comment=comment,
    )
    transfer = record_transfer(
        _ledger(begin=new), request, new=new, allow_negative=allow_negative, dry_run=dry_run
    )
    _answer(_transfer_row(transfer, dry_run), [_transfer_sentence(transfer)], dry_run, as_json, as_csv)
    _warn_of_dates([transfer] if occurred_at else [])


@app.command(
    rich_help_panel=ACTING,
    epilog="Example: points move C-1042 C-2077 --points 120 --comment 'joined accounts'",
)
def move(
    from_relation: Annotated[str, typer.Argument(metavar="FROM", help="Whose points are moved.")],
    to_relation: Annotated[str, typer.Argument(metavar="TO", help="Who gets them.")],
    points: Annotated[
        str | None, typer.Option(metavar="N", help="How many; by default all that FROM may spend.")
    ] = None,
    close: Annotated[
        bool, typer.Option("--close", help="Close the account of FROM, which the move must empty.")
    ] = False,
    status: Status = "",
    currency: Currency = "",
    comment: Comment = "",
    request_id: RequestId = "",
    occurred_at: OccurredAt = "",
    external_reference: ExternalReference = "",
    new: Annotated[bool, typer.Option("--new", help="TO may be new to the ledger.")] = False,
    allow_negative: AllowNegative = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Move points from one customer to another.

    It is a deduct and a give, which are approved, held, cancelled and revoked together, by either id. The
    programme's earned and reversal points do not grow.
    """
    outcome = move_points(
        _ledger(),
        from_relation,
        to_relation,
        points,
        new=new,
        close=close,
        allow_negative=allow_negative,
        dry_run=dry_run,
        currency=currency,
        status=status,
        occurred_at=occurred_at,
        transfer_id=request_id,
        external_reference=external_reference,
        comment=comment,
    )
    moved = (outcome.deducted, outcome.given)
    rows = [_transfer_row(transfer, dry_run) for transfer in moved]
    content = rows
    if as_json:
        content = {
            "move_id": outcome.move_id,
            "transfers": rows,
            "account": _account_row(outcome.account, dry_run) if outcome.account else None,
        } | _recorded(outcome.was_known, dry_run)
    sentences = [_move_sentence(outcome)]
    if outcome.account:
        sentences += _account_sentences(outcome.account)
    _answer(content, sentences, dry_run, as_json, as_csv)
    _warn_of_dates(moved if occurred_at else ())


@app.command(
    rich_help_panel=ACTING,
    epilog="Example: points mass give --points 50 C-1042 C-1043 --reason manual_credit --id MAY-1",
)
def mass(
    what: Annotated[
        str, typer.Argument(metavar="FILE|give|deduct", help="A file of transfers, or what to do.")
    ],
    relations: Annotated[
        list[str] | None, typer.Argument(metavar="[RELATION]…", help="With give or deduct: the customers.")
    ] = None,
    points: Annotated[
        str, typer.Option(metavar="N", help="With give or deduct: the points of each customer.")
    ] = "",
    style: Annotated[
        str, typer.Option(metavar="give|deduct", help="Of every row of a FILE that does not say it.")
    ] = "",
    reason: Reason = "",
    currency: Currency = "",
    comment: Comment = "",
    request_id: RequestId = "",
    new: New = False,
    allow_negative: AllowNegative = False,
    once_each: OnceEach = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Give or deduct for many customers at once: all of it or nothing.

    A FILE (CSV, CSV.gz, Parquet) has the columns relation_reference and points; style, unless --style says
    it; transfer_id, reason, currency, occurred_at, external_reference and comment where wanted. What a row
    does not say is as the options say. A row with a to_relation_reference moves points between two customers,
    and has no style.
    """
    request = TransferRequest("", style, points, reason=reason, currency=currency, comment=comment)
    if what in STYLES:
        if not relations or not points or style:
            raise typer.BadParameter(f"mass {what} needs --points and RELATIONs, and no --style")
        file_name, file_sha256 = "", ""
        request = TransferRequest("", what, points, reason=reason, currency=currency, comment=comment)
        rows = mass_rows(request, relations)
    else:
        if relations or points:
            raise typer.BadParameter("a FILE says the relation references and points; give neither beside it")
        file = read_mass_file(Path(what), request)
        file_name, file_sha256, rows = file.name, file.sha256, file.rows
    with _reporting_every_problem():
        outcome = record_mass(
            _ledger(begin=new),
            rows,
            mass_id=request_id,
            file_name=file_name,
            file_sha256=file_sha256,
            new=new,
            allow_negative=allow_negative,
            once_each=once_each,
            dry_run=dry_run,
        )
    content = [_transfer_row(transfer, dry_run) for transfer in outcome.transfers]
    repeated = len(outcome.transfers) - outcome.added_count
    totals = ", ".join(
        f"{points_text(points)} {code}" for code, points in sorted(outcome.points_by_currency.items())
    )
    found = f"{counted(len(outcome.transfers), 'transfer')} of mass {outcome.mass_id}"
    found += f", {totals}" if totals else ""
    sentences = [f"Nothing was added: {found}, were recorded before." if repeated else f"{found}."]
    waiting = sum(transfer.is_waiting for transfer in outcome.transfers)
    if waiting:
        sentences.append(f"{waiting:,} of them wait for another person's approval.")
    warnings = [_repeated_sentence(customer) for customer in outcome.repeated_customers]
    if as_json:
        content = {
            "mass_id": outcome.mass_id,
            "added": outcome.added_count,
            "already_recorded": repeated,
            "waiting": waiting,
            "warnings": warnings,
            "dry_run": dry_run,
            "transfers": content,
        }
    for warning in warnings:
        error_console().print(warning, style="yellow")
    _answer(content, sentences, dry_run, as_json, as_csv)
    _warn_of_dates(outcome.transfers)


@app.command(rich_help_panel=ACTING, epilog="Example: points approve T-4M9Q-07XK-RD5B-HW2Z")
def approve(
    identifiers: Identifiers,
    comment: Comment = "",
    allow_negative: AllowNegative = False,
    cancel_pending: CancelPending = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Approve transfers, or accounts' openings and closings, that another person entered."""
    with _reporting_every_problem():
        decisions = approve_waiting(
            _ledger(),
            identifiers,
            comment=comment,
            allow_negative=allow_negative,
            cancel_pending=cancel_pending,
            dry_run=dry_run,
        )
    _answer_decisions(decisions, dry_run, as_json, as_csv)


@app.command(
    rich_help_panel=ACTING, epilog="Example: points hold T-4M9Q-07XK-RD5B-HW2Z --comment 'asked the shop'"
)
def hold(
    identifiers: Identifiers,
    release: Annotated[bool, typer.Option("--release", help="Make held transfers pending again.")] = False,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Put pending transfers on hold, or release them."""
    act = release_held if release else hold_waiting
    with _reporting_every_problem():
        decisions = act(_ledger(), identifiers, comment=comment, dry_run=dry_run)
    _answer_decisions(decisions, dry_run, as_json, as_csv)


@app.command(rich_help_panel=ACTING, epilog="Example: points cancel T-4M9Q-07XK-RD5B-HW2Z")
def cancel(
    identifiers: Identifiers,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Cancel what is pending or on hold, for good; decline an account's opening or closing."""
    with _reporting_every_problem():
        decisions = cancel_waiting(_ledger(), identifiers, comment=comment, dry_run=dry_run)
    _answer_decisions(decisions, dry_run, as_json, as_csv)


@app.command(rich_help_panel=ACTING, epilog="Example: points revoke T-4M9Q-07XK-RD5B-HW2Z --points 20")
def revoke(
    identifiers: Annotated[list[str], typer.Argument(metavar="ID…", help="Approved transfers; all or none.")],
    points: Annotated[
        str | None, typer.Option(metavar="N", help="How many, of one transfer; by default what is left.")
    ] = None,
    comment: Comment = "",
    request_id: RequestId = "",
    allow_negative: AllowNegative = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Undo approved transfers by opposite ones."""
    try:
        with _reporting_every_problem():
            transfers = revoke_transfers(
                _ledger(),
                identifiers,
                points,
                revocation_id=request_id,
                comment=comment,
                allow_negative=allow_negative,
                dry_run=dry_run,
            )
    except RevocationAmbiguous as error:
        raise typer.BadParameter(error.sentence) from error
    _answer(
        [_transfer_row(transfer, dry_run) for transfer in transfers],
        [_transfer_sentence(transfer) for transfer in transfers],
        dry_run,
        as_json,
        as_csv,
    )


@app.command(
    rich_help_panel=ACTING, epilog="Example: points comment T-4M9Q-07XK-RD5B-HW2Z 'the shop confirmed it'"
)
def comment(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="A transfer.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is to be noted.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Add a note to a transfer."""
    added = add_comment(_ledger(), identifier, text, dry_run=dry_run)
    row = {"transfer_id": added.transfer_id, "comment": added.text} | _recorded(added.was_known, dry_run)
    known = " It was there already." if added.was_known else ""
    _answer(row, [f"Noted beside {added.transfer_id}: {added.text}{known}"], dry_run, as_json, as_csv)


@account.command("open", epilog="Example: points account open C-1042")
def account_open(
    relation: Relation,
    comment: Comment = "",
    request_id: RequestId = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Make a customer known, or open a closed account again."""
    outcome = open_account(
        _ledger(begin=True), relation, event_id=request_id, comment=comment, dry_run=dry_run
    )
    _answer(_account_row(outcome, dry_run), _account_sentences(outcome), dry_run, as_json, as_csv)


@account.command("close", epilog="Example: points account close C-1042 --cancel-pending")
def account_close(
    relation: Relation,
    cancel_pending: CancelPending = False,
    comment: Comment = "",
    request_id: RequestId = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Bring every currency of an account to zero and close it."""
    outcome = close_account(
        _ledger(),
        relation,
        cancel_pending=cancel_pending,
        event_id=request_id,
        comment=comment,
        dry_run=dry_run,
    )
    _answer(_account_row(outcome, dry_run), _account_sentences(outcome), dry_run, as_json, as_csv)


def _ledger(begin: bool = False) -> Ledger:
    return open_ledger(project_settings(), create=begin)


@contextmanager
def _reporting_every_problem() -> Iterator[None]:
    """A line on standard error for each part that is refused, before the sentence about the whole."""
    try:
        yield
    except SeveralRefused as refused:
        for problem in refused.problems:
            error_console().print(str(problem), style="red")
        raise


def _warn_of_dates(transfers: Sequence[RecordedTransfer]) -> None:
    """A line on standard error where what was recorded now is dated far from now."""
    fresh = [transfer for transfer in transfers if not transfer.was_known]
    if not fresh:
        return
    from orchestration.distant_dates import find_distant_dates

    for sentence in find_distant_dates(project_settings(), fresh):
        error_console().print(sentence, style="yellow")


def _answer(
    content: dict | list[dict], sentences: Sequence[str], dry_run: bool, as_json: bool, as_csv: bool
) -> None:
    """Print ``content``, one row or many, for programs, or the ``sentences`` for people."""
    if printed(as_json, as_csv, content):
        return
    for sentence in sentences:
        typer.echo(sentence)
    if dry_run:
        typer.echo("This was a dry run: nothing was recorded.")


def _recorded(was_known: bool, dry_run: bool) -> dict[str, bool]:
    return {"already_recorded": was_known, "recorded": not (was_known or dry_run), "dry_run": dry_run}


def _transfer_row(transfer: RecordedTransfer, dry_run: bool) -> dict:
    row = {name: value_text(value) for name, value in vars(transfer).items() if name != "was_known"}
    return row | _recorded(transfer.was_known, dry_run)


def _transfer_sentence(transfer: RecordedTransfer) -> str:
    act, preposition = {"give": ("Given", "to"), "deduct": ("Deducted", "from")}[transfer.style]
    if transfer.is_waiting or transfer.status == "cancelled":
        act = {"give": "To give", "deduct": "To deduct"}[transfer.style]
    revoking = f", which revokes {transfer.reverses_transfer_id}" if transfer.reverses_transfer_id else ""
    return _with_state(
        transfer,
        f"{act}: {points_text(transfer.points)} {transfer.currency} {preposition}"
        f" {transfer.relation_reference}, transfer {transfer.transfer_id}{revoking} ({transfer.status}).",
    )


def _move_sentence(outcome: MoveOutcome) -> str:
    deducted, given = outcome.deducted, outcome.given
    act = "To move" if deducted.is_waiting or deducted.status == "cancelled" else "Moved"
    return _with_state(
        deducted,
        f"{act}: {points_text(deducted.points)} {deducted.currency} from {deducted.relation_reference} to"
        f" {given.relation_reference}, transfers {deducted.transfer_id} and {given.transfer_id}"
        f" ({deducted.status}).",
    )


def _with_state(transfer: RecordedTransfer, sentence: str) -> str:
    waits = " It waits for another person's approval." if transfer.is_waiting else ""
    return sentence + waits + (" It was recorded before." if transfer.was_known else "")


def _repeated_sentence(customer: RepeatedCustomer) -> str:
    sums = ", ".join(f"{points_text(points)} {code}" for code, points in sorted(customer.points.items()))
    return (
        f"{customer.relation_reference} stands in {customer.transfer_count:,} rows, together {sums};"
        " --once-each refuses that."
    )


def _answer_decisions(decisions: Sequence[Decision], dry_run: bool, as_json: bool, as_csv: bool) -> None:
    rows, sentences = [], []
    for decision in decisions:
        rows.append(
            {"id": decision.identifier, "status": decision.status} | _recorded(decision.was_known, dry_run)
        )
        if decision.account:
            sentences += _account_sentences(decision.account)
        else:
            already = "was already" if decision.was_known else "is now"
            sentences.append(f"{decision.identifier} {already} {decision.status}.")
    _answer(rows, sentences, dry_run, as_json, as_csv)


def _account_row(outcome: AccountOutcome, dry_run: bool) -> dict:
    return {
        "relation_reference": outcome.relation_reference,
        "event": outcome.event,
        "id": outcome.event_id,
        "transfers": " ".join(transfer.transfer_id for transfer in outcome.transfers),
        "cancelled": " ".join(outcome.cancelled),
    } | _recorded(outcome.was_known, dry_run)


def _account_sentences(outcome: AccountOutcome) -> list[str]:
    reference, known = outcome.relation_reference, outcome.was_known
    if outcome.is_waiting:
        act = "open" if outcome.event == "open_requested" else "close"
        return [
            f"To {act} the account of {reference} waits for another person's approval, with"
            f" `points approve {outcome.event_id}`."
        ]
    if outcome.event == "declined":
        return [f"The request about the account of {reference} is declined; it stays as it is."]
    state = "closed" if outcome.event == "close" else "open"
    event = f", event {outcome.event_id}" if outcome.event_id else ""
    sentences = [f"The account of {reference} {'was already' if known else 'is now'} {state}{event}."]
    sentences += [f"{transfer_id} is now cancelled." for transfer_id in outcome.cancelled]
    return sentences + [_transfer_sentence(transfer) for transfer in outcome.transfers]
