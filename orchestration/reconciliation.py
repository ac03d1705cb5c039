"""Ties a month's balances out against a file of balances from elsewhere (docs/design.md, section 10).

Customers are matched by relation reference and currency, and points compared to the last digit. Who has
nothing on one side and zero points on the other is no difference: systems leave such accounts out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb

from ledger.acts.transfer_requests import checked_note
from ledger.amounts import value_text
from ledger.append import appending
from ledger.certifications import RECONCILED, record
from ledger.closes import read_history
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.database import open_ledger
from ledger.errors import PointsError
from ledger.files.file_rows import FileShape, LoadedFile, load_rows
from ledger.files.imports import bad_value_text
from ledger.files.transfers_file import sent_file
from ledger.lists.balance_lists import BALANCE_COLUMNS
from ledger.reconciliation_items import MOST_ITEMS, TooManyItems, follow_items, open_items
from ledger.settings import Settings, transfer_patterns
from ledger.shown_text import shown
from ledger.sql_text import literal
from orchestration.close.sign_off import NotIssued
from orchestration.mart_contract import mart_contract
from orchestration.month_files import PARQUET_FILES, RELATION_COLUMNS
from orchestration.published.layout import list_month_folders, list_revisions
from orchestration.published.manifests import read_manifest
from orchestration.reports import MonthSummary, read_report

NEEDED = ("relation_reference", "points")
ITEM_COLUMNS = (
    *("kind", "currency", "relation_reference", "points_here", "points_there", "difference"),
    *("category", "comment", "owner", "since_month"),
)
# What an item is, by the name of its kind.
KINDS = {
    "missing_there": "here alone",
    "missing_here": "there alone",
    "different": "with other points",
}
# A balance may be below zero, and a database writes more places than points have, which are zeros.
_POINTS = "-?[0-9]{1,30}([.][0-9]{1,4}0*)?"


class BalancesRefused(PointsError):
    """A file's rows are no balances; nothing was compared."""

    code = "BAD_ROWS"

    def __init__(self, path: Path, finding: str) -> None:
        super().__init__(
            f"Nothing was compared with {path}: {finding}; have it put right where the file comes from, and"
            " send it again."
        )


class ProvesNothing(PointsError):
    """A file of balances that this project wrote itself."""

    code = "OWN_FILE"

    def __init__(self, path: Path, finding: str) -> None:
        super().__init__(
            f"{path} {finding}: this project's own figures agree with themselves and prove nothing; take a"
            " file that another system wrote from its own books."
        )


@dataclass(frozen=True)
class Group:
    """Some customers: how many, and what they have here and there."""

    count: int
    points_here: Decimal
    points_there: Decimal

    @property
    def difference(self) -> Decimal:
        """What they have here beyond what they have there."""
        return self.points_here - self.points_there


NOBODY = Group(0, Decimal(0), Decimal(0))


@dataclass(frozen=True)
class TieOut:
    """The customers of either side in one currency, each in one of these groups; points are exact.

    ``explained`` are those of the last three whose difference an open item explains.
    """

    currency: str
    matched: Group
    missing_there: Group
    missing_here: Group
    different: Group
    explained: Group

    @property
    def groups(self) -> dict[str, Group]:
        """Each group by its name, ``total``, the sum of the first four, and of these ``explained``."""
        parts = {name: getattr(self, name) for name in ("matched", *KINDS)}
        return {**parts, "total": _sum(parts.values()), "explained": self.explained}

    @property
    def is_tied_out(self) -> bool:
        """Whether what matches and what is explained is all there is, on both sides."""
        return _sum([self.matched, self.explained]) == self.groups["total"]


def _sum(groups: Iterable[Group]) -> Group:
    rows = [(group.count, group.points_here, group.points_there) for group in groups]
    return Group(*map(sum, zip(*rows, strict=True)))


@dataclass(frozen=True)
class Reconciliation:
    """A month's balances beside those of a file, whose bytes have the hash ``file_sha256``."""

    month: MonthSummary
    path: Path
    file_sha256: str
    currencies: Sequence[TieOut]
    _database: duckdb.DuckDBPyConnection = field(repr=False)

    @property
    def is_tied_out(self) -> bool:
        """Whether every currency is."""
        return all(currency.is_tied_out for currency in self.currencies)

    def sums(self) -> dict[str, dict[str, dict[str, object]]]:
        """Of each currency each group's count and points, as exact text."""
        return {
            one.currency: {
                name: {
                    "count": group.count,
                    "points_here": value_text(group.points_here),
                    "points_there": value_text(group.points_there),
                    "difference": value_text(group.difference),
                }
                for name, group in one.groups.items()
            }
            for one in self.currencies
        }

    def items(self, limit: int | None = None) -> Iterator[tuple]:
        """What does not match, with `ITEM_COLUMNS`, the largest difference first; None is no such row."""
        query = (
            f"select {', '.join(ITEM_COLUMNS)} from balances where kind <> 'matched'"
            " order by abs(difference) desc, currency, relation_reference"
        )
        yield from fetch_rows(self._database, query if limit is None else f"{query} limit {limit:d}")


@contextmanager
def reconciled(
    settings: Settings,
    month: str,
    path: Path,
    columns: Mapping[str, str],
    currency: str | None = None,
    revision: int | None = None,
) -> Iterator[Reconciliation]:
    """Compare what customers have at the end of ``month`` (``YYYY-MM``) with a file (CSV, CSV.gz, Parquet).

    ``columns`` maps names of the file to relation_reference, points and, where it has several, currency; all
    its other columns are left out. Without that column its rows are in ``currency``, by default the
    programme's own, and no other is compared. Raises `TransfersFileRefused` (docs/cases.md, F1 to F20),
    `BalancesRefused`, `ProvesNothing` and what `read_report` does.
    """
    shape = FileShape(NEEDED, ("currency",), renamed=columns, takes_others=True)
    report = read_report(settings, month, currency, revision)
    open_ledger(settings)
    with connect() as duck:
        _load_items(duck)
        loaded = load_rows(duck, sent_file(path), shape)
        _refuse_own(settings, loaded)
        one = report.summary.currency
        _refuse_bad(duck, loaded, one)
        has_several = "currency" in loaded.columns
        duck.execute(
            f"""
            create table balances as
            with here as (
                select currency, relation_reference, total_outstanding_points as points
                from {read_parquet(report.mart("outstanding_points_by_month"))}
                where {"true" if has_several else f"currency = {literal(one)}"}
            ),
            compared as (
                select
                    coalesce(here.currency, theirs.currency) as currency,
                    coalesce(here.relation_reference, theirs.relation_reference) as relation_reference,
                    here.points as points_here,
                    theirs.points as points_there,
                    coalesce(here.points, 0) - coalesce(theirs.points, 0) as difference
                from here
                full outer join theirs
                    on here.currency = theirs.currency
                    and here.relation_reference = theirs.relation_reference
            )
            select
                compared.*,
                case
                    when compared.difference = 0 then 'matched'
                    when points_there is null then 'missing_there'
                    when points_here is null then 'missing_here'
                    else 'different'
                end as kind,
                items.difference is not distinct from compared.difference and category <> '' as is_explained,
                category, comment, owner, since_month
            from compared
            left join items using (currency, relation_reference)
            """
        )
        yield Reconciliation(report.summary, path, loaded.sha256, list(_tie_outs(duck)), duck)


def record_reconciliation(settings: Settings, found: Reconciliation, basis: str = "") -> None:
    """Keep in the ledger what came out: the sums of every group, the file's name and hash, and the bases, of
    which ``basis`` says what the file's points are.

    Its items open, change or close (`ledger.reconciliation_items`). Raises `NotIssued` for a month that is
    not closed, `TooManyItems`, and what opening the ledger does.
    """
    ledger = open_ledger(settings)
    month = found.month
    count = sum(one.groups["total"].count - one.matched.count for one in found.currencies)
    if count > MOST_ITEMS:
        raise TooManyItems(count)
    closes = {(closed.report_month, closed.revision): closed for closed in read_history().closes}
    if (month.report_month, month.revision) not in closes:
        raise NotIssued(month.report_month, "is not closed")
    content = {
        "tied_out": {one.currency: one.is_tied_out for one in found.currencies},
        "file": found.path.name,
        "basis_here": f"total_outstanding_points of {month.report_month}, revision {month.revision}",
        "basis_there": checked_note("basis", basis.strip()),
        "currencies": found.sums(),
    }
    closed = closes[month.report_month, month.revision]
    items = {(currency, reference): tuple(said[:3]) for _, currency, reference, *said in found.items()}
    with appending(ledger, says_when=True) as appender:
        record(appender, closed, RECONCILED, content, found.file_sha256)
        follow_items(appender, closed, content["tied_out"], items)


def _load_items(duck: duckdb.DuckDBPyConnection) -> None:
    """Make ``items`` of those that are open."""
    duck.execute(
        "create table items (currency text, relation_reference text, difference decimal(38, 4),"
        " category text, comment text, owner text, since_month text)"
    )
    rows = [
        (
            *(item.currency, item.relation_reference, item.difference),
            *(item.category, item.comment, item.owner, item.since_month),
        )
        for item in open_items().values()
    ]
    if rows:
        duck.executemany("insert into items values (?, ?, ?, ?, ?, ?, ?)", rows)


def _tie_outs(duck: duckdb.DuckDBPyConnection) -> Iterator[TieOut]:
    figures = "count(*), coalesce(sum(points_here), 0), coalesce(sum(points_there), 0)"
    rows = duck.execute(
        f"select currency, kind, {figures} from balances group by currency, kind"
        f" union all select currency, 'explained', {figures} from balances"
        " where kind <> 'matched' and is_explained group by currency order by currency"
    ).fetchall()
    for currency, found in groupby(rows, key=itemgetter(0)):
        groups = {kind: Group(*figures) for _, kind, *figures in found}
        yield TieOut(currency, *(groups.get(kind, NOBODY) for kind in ("matched", *KINDS, "explained")))


def _refuse_bad(duck: duckdb.DuckDBPyConnection, loaded: LoadedFile, currency: str) -> None:
    """Make ``theirs`` of `sent_rows`; raise `BalancesRefused` where one of them is no balance, or a customer
    has two."""
    patterns = transfer_patterns()
    code = f"coalesce(nullif(currency, ''), {literal(currency)})"
    rules = {
        "": ("has_wrong_field_count", "as many fields as the first line has names"),
        "relation_reference": (
            f"relation_reference = '' or not regexp_full_match(relation_reference,"
            f" {literal(patterns['plain_text'])})",
            "a relation reference",
        ),
        "currency": (
            f"not regexp_full_match({code}, {literal(patterns['currency'])})",
            "a currency's code",
        ),
        "points": (
            f"not regexp_full_match(points, {literal(_POINTS)})",
            "a number like -12.5, with no thousands' separators and at most four places",
        ),
    }
    broken = " ".join(
        f"when coalesce({condition}, true) then {literal(column)}" for column, (condition, _) in rules.items()
    )
    duck.execute(
        f"""
        create table theirs as
        select
            row_number, {code} as currency, relation_reference, points as points_sent,
            case {broken} end as broken,
            case when broken is null then cast(points as decimal(38, 4)) end as points
        from sent_rows
        """
    )
    bad = duck.execute(
        "select count(*) over (), row_number, broken, currency, relation_reference, points_sent from theirs"
        " where broken is not null order by row_number limit 1"
    ).fetchone()
    if bad:
        count, row, column, *values = bad
        said = {"currency": values[0], "relation_reference": values[1], "points": values[2], "": ""}
        what = bad_value_text(column, said[column] or "", rules[column][1])
        raise BalancesRefused(
            loaded.sent.path,
            f"{count:,} of its {loaded.row_count:,} rows {'is' if count == 1 else 'are'} no balance (the"
            f" first: line {_line(loaded, row):,}, {what})",
        )
    twice = duck.execute(
        "select min(row_number), max(row_number), relation_reference, currency from theirs"
        " group by relation_reference, currency having count(*) > 1 order by min(row_number) limit 1"
    ).fetchone()
    if twice:
        *rows, reference, code = twice
        first, last = (_line(loaded, row) for row in rows)
        raise BalancesRefused(
            loaded.sent.path,
            f"{shown(reference)} has two balances in {code}, in lines {first:,} and {last:,}",
        )


def _line(loaded: LoadedFile, row: int) -> int:
    return loaded.lines([row])[row]


def _refuse_own(settings: Settings, loaded: LoadedFile) -> None:
    """Raise `ProvesNothing` for a file whose bytes were published, or whose header is one of ours."""
    for month in list_month_folders(settings.home):
        for revision in list_revisions(settings.home, month.name):
            for name, file in read_manifest(month / revision)["files"].items():
                if file["sha256"] == loaded.sha256:
                    raise ProvesNothing(
                        loaded.sent.path, f"is {name} of {month.name}, revision {revision[1:]}, to the byte"
                    )
    marts = {mart: set(names) for mart, names in mart_contract().items() if mart in PARQUET_FILES}
    ours = [list(columns) for columns in RELATION_COLUMNS.values()]
    if list(loaded.header) in [*ours, list(BALANCE_COLUMNS)] or any(
        names <= set(loaded.header) for names in marts.values()
    ):
        raise ProvesNothing(loaded.sent.path, "has the very columns of a file of this project")
