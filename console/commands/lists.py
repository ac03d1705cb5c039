"""``points transfers`` and ``points balances``: lists with filters, order and pages, and their exports."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from console.help_panels import LOOKING
from console.output import AsJson, only_one, print_json, values_of
from console.standard_streams import while_read
from console.tables import error_console
from ledger.amounts import value_text
from ledger.database import Ledger, open_ledger
from ledger.lists.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page
from ledger.settings import project_settings
from ledger.zones import Zone

if TYPE_CHECKING:
    from ledger.lists.parquet_search import Postings
    from ledger.lists.transfer_details import TransferDetails
    from orchestration.transfer_postings import Posting

app = typer.Typer()

AsXml = Annotated[
    bool, typer.Option("--xml", help="Print XML; all that matches, not one page.", callback=only_one)
]
AllAsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV; all that matches, not one page.", callback=only_one)
]
Relation = Annotated[str, typer.Option(metavar="R", help="One customer's.")]
RelationPrefix = Annotated[
    str, typer.Option(metavar="TEXT", help="Of relation references that begin with it.")
]
Currency = Annotated[str, typer.Option(metavar="CODE", help="In one currency.")]
Limit = Annotated[int, typer.Option(min=1, max=MAX_PAGE_SIZE, help="The rows of a page.")]
After = Annotated[str, typer.Option(metavar="CURSOR", help="The page after; the page before it says how.")]
Before = Annotated[str, typer.Option(metavar="CURSOR", help="The page before; the page after it says how.")]


@app.command(
    rich_help_panel=LOOKING,
    epilog="Example: points transfers --relation C-1042 --status pending --sort -points",
)
def transfers(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="One shows the transfer whole; several are a selection."),
    ] = None,
    relation: Relation = "",
    relation_prefix: RelationPrefix = "",
    external_reference: Annotated[
        str, typer.Option(metavar="TEXT", help="Of one order, voucher or ticket: exactly this text.")
    ] = "",
    status: Annotated[str, typer.Option(help="By what they are now: approved, pending, …")] = "",
    reason: Annotated[str, typer.Option(metavar="CODE", help="For one reason.")] = "",
    style: Annotated[str, typer.Option(metavar="give|deduct", help="Of one style.")] = "",
    bucket: Annotated[str, typer.Option(help="Of a bucket, in closed or built months.")] = "",
    currency: Currency = "",
    batch: Annotated[str, typer.Option(metavar="ID", help="Of one import or mass transfer.")] = "",
    since: Annotated[
        str, typer.Option("--from", metavar="DATE|INSTANT", help="That occurred then or later.")
    ] = "",
    until: Annotated[
        str,
        typer.Option(
            "--to", metavar="DATE|INSTANT", help="That occurred before an instant, or by the end of a date."
        ),
    ] = "",
    min_points: Annotated[str, typer.Option(metavar="N", help="Of at least so many points.")] = "",
    max_points: Annotated[str, typer.Option(metavar="N", help="Of at most so many points.")] = "",
    posted_month: Annotated[
        str, typer.Option(metavar="YYYY-MM", help="Posted to a month, closed or built.")
    ] = "",
    revoked: Annotated[
        bool | None,
        typer.Option("--revoked/--not-revoked", help="Revoked now, wholly or in part; or not at all."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help="entry_id, occurred_at, points, relation_reference or transfer_id; -FIELD for the largest"
            " first. By default the newest first.",
        ),
    ] = "-entry_id",
    limit: Limit = DEFAULT_PAGE_SIZE,
    after: After = "",
    before: Before = "",
    as_json: AsJson = False,
    as_csv: AllAsCsv = False,
    as_xml: AsXml = False,
) -> None:
    """List transfers, or show one whole."""
    from ledger.lists.transfer_details import read_transfer
    from ledger.lists.transfer_lists import (
        TRANSFER_COLUMNS,
        every_listed_transfer,
        list_transfers,
        selected_transfers,
    )

    filters = {
        "relation": relation,
        "relation_prefix": relation_prefix,
        "external_reference": external_reference,
        "status": status,
        "reason": reason,
        "style": style,
        "bucket": bucket,
        "currency": currency,
        "batch": batch,
        "from": since,
        "to": until,
        "min_points": min_points,
        "max_points": max_points,
        "posted_month": posted_month,
        "revoked": "" if revoked is None else str(revoked).lower(),
    }
    _refuse_both(identifiers, filters, after, before, "IDs")
    ledger = open_ledger(project_settings())
    zone = ledger.settings.zone
    if identifiers and len(identifiers) == 1 and not (as_csv or as_xml):
        details = read_transfer(ledger, identifiers[0])
        _show_transfer(details, _posting(ledger, details), zone, as_json)
        return
    postings = _postings(ledger, filters)
    as_of = postings.entry_id if postings else None
    if as_csv or as_xml:
        rows = (
            selected_transfers(identifiers)
            if identifiers
            else every_listed_transfer(ledger, filters, sort, postings)
        )
        _export(rows, TRANSFER_COLUMNS, "transfer", as_csv)
        return
    if identifiers:
        page = Page(selected_transfers(identifiers), None)
    else:
        page = list_transfers(ledger, filters, sort, limit, after, before, postings, _freeze)
    if as_json:
        answer = _page(page, TRANSFER_COLUMNS)
        print_json(answer if as_of is None else answer | {"build_entry_id": as_of})
        return
    from console.list_screens import show_transfers

    show_transfers(page, zone, as_of)


@app.command(
    rich_help_panel=LOOKING,
    epilog="Example: points balances --relation-prefix C-10 --sort -spendable_points --limit 20",
)
def balances(
    relations: Annotated[
        list[str] | None, typer.Argument(metavar="RELATION", help="A selection of customers.")
    ] = None,
    relation: Relation = "",
    relation_prefix: RelationPrefix = "",
    currency: Currency = "",
    minimum: Annotated[
        str, typer.Option("--min", metavar="N", help="Of at least so many points outstanding.")
    ] = "",
    maximum: Annotated[
        str, typer.Option("--max", metavar="N", help="Of at most so many points outstanding.")
    ] = "",
    closed: Annotated[
        bool | None, typer.Option("--closed/--open", help="Of closed accounts, or not.")
    ] = None,
    negative: Annotated[bool, typer.Option("--negative", help="Below zero.")] = False,
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", metavar="DATE", help="What had taken effect by the end of a day, by all that is known."
        ),
    ] = "",
    known_at: Annotated[
        str, typer.Option("--known-at", metavar="DATE", help="What was recorded by the end of a day.")
    ] = "",
    sort: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help="relation_reference, or an amount like approved_points or spendable_points; -FIELD for the"
            " largest first.",
        ),
    ] = "relation_reference",
    limit: Limit = DEFAULT_PAGE_SIZE,
    after: After = "",
    before: Before = "",
    as_json: AsJson = False,
    as_csv: AllAsCsv = False,
    as_xml: AsXml = False,
) -> None:
    """List what customers have and may spend, as of this moment or of an earlier day."""
    from ledger.lists.balance_lists import (
        BALANCE_COLUMNS,
        every_listed_balance,
        list_balances,
        selected_balances,
    )
    from ledger.moments import moment_of

    filters = {
        "relation": relation,
        "relation_prefix": relation_prefix,
        "currency": currency,
        "min": minimum,
        "max": maximum,
        "closed": "" if closed is None else str(closed).lower(),
        "negative": "true" if negative else "",
    }
    _refuse_both(relations, filters, after, before, "RELATIONs")
    ledger = open_ledger(project_settings())
    moment = moment_of(ledger, as_of, known_at) if as_of or known_at else None
    if as_csv or as_xml:
        rows = (
            selected_balances(ledger, relations, moment)
            if relations
            else every_listed_balance(ledger, filters, sort, moment)
        )
        _export(rows, BALANCE_COLUMNS, "balance", as_csv)
        return
    if relations:
        page = Page(selected_balances(ledger, relations, moment), None)
    else:
        page = list_balances(ledger, filters, sort, limit, after, before, moment)
    if as_json:
        answer = _page(page, BALANCE_COLUMNS)
        if moment:
            answer |= {"as_of": value_text(moment.now), "upto_entry_id": moment.upto_entry_id}
        print_json(answer)
        return
    from console.list_screens import show_balances, show_moment

    if moment:
        show_moment(moment, ledger.settings.zone)
    show_balances(page)


def _refuse_both(
    identifiers: list[str] | None, filters: dict[str, str], after: str, before: str, what: str
) -> None:
    """A selection is what it is: a filter beside it would be lost without a word. So would one of two ways
    on."""
    if identifiers and (after or before or any(filters.values())):
        raise typer.BadParameter(f"name {what}, or filter; not both")
    if after and before:
        raise typer.BadParameter("--after or --before, not both")


def _postings(ledger: Ledger, filters: dict[str, str]) -> "Postings | None":
    if not (filters["bucket"] or filters["posted_month"]):
        return None
    from orchestration.transfer_postings import find_postings

    return find_postings(ledger, filters)


def _posting(ledger: Ledger, details: "TransferDetails") -> "Posting | None":
    """The month and bucket of one transfer; what is not approved has none."""
    transfer = details.transfer
    if transfer.status != "approved":
        return None
    from orchestration.transfer_postings import find_posting

    return find_posting(ledger.settings.home, transfer.transfer_id, transfer.entry_id)


def _freeze(ledger: Ledger) -> None:
    """Bring the cut of a large ledger up to date, where a list needs it and no build is going on."""
    from ledger.cut import freeze
    from orchestration.run_lock import RunInProgress, run_lock

    with (
        error_console().status("Reading what was recorded since …"),
        # Another run holds the lock for as long as it needs the cut: the list then does without.
        suppress(RunInProgress),
        run_lock(ledger.settings.home, "freezing the ledger for a list"),
    ):
        freeze(ledger)


def _page(page: Page, columns: Sequence[str]) -> dict:
    """A page for JSON."""
    rows = [values_of(row, columns) for row in page.rows]
    return {"rows": rows, "next": page.next_cursor, "previous": page.previous_cursor}


def _export(rows: Iterable, columns: Sequence[str], element: str, as_csv: bool) -> None:
    """Print all ``rows``, as CSV or as XML elements, while they are read."""
    from ledger.lists.list_exports import write_csv, write_xml

    rows = while_read(rows)
    if as_csv:
        write_csv(rows, columns, sys.stdout.buffer)
    else:
        write_xml(rows, columns, element, sys.stdout.buffer)


def _show_transfer(details: "TransferDetails", posting: "Posting | None", zone: Zone, as_json: bool) -> None:
    from ledger.lists.transfer_lists import TRANSFER_COLUMNS

    if not as_json:
        from console.list_screens import show_transfer

        show_transfer(details, posting, zone)
        return
    columns = (*TRANSFER_COLUMNS, "unrevoked_points")
    print_json(
        values_of(details.transfer, columns)
        | {
            "posting": vars(posting) if posting else None,
            "statuses": [values_of(event, tuple(vars(event))) for event in details.statuses],
            "notes": [values_of(note, tuple(vars(note))) for note in details.notes],
            "other_half": values_of(details.other_half, columns) if details.other_half else None,
            "revokes": [values_of(original, columns) for original in details.revokes],
            "missing_original": details.missing_original,
            "is_circular": details.is_circular,
            "revoked_by": [
                {"depth": revocation.depth} | values_of(revocation.transfer, columns)
                for revocation in details.revoked_by
            ],
        }
    )
