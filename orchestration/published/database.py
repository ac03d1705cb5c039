"""The read-only DuckDB over published months: views over the Parquet files of one set of revisions.

It is small and disposable: every change makes a new one under a name of its own, and a link goes over to
it. So a reader who has one open reads on, and sees whole sets only (docs/cases.md, X8). Views name files by
their full path, for others follow the reader's folder: in a home that was moved it is made again (X20).
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from ledger.closes import CloseHistory
from ledger.data_files import connect, log_of, read_parquet
from ledger.disk import file_sha256, sync_folder
from ledger.errors import PointsError, first_line
from ledger.rules import reasons
from ledger.sql_text import literal, literals
from orchestration.database_file import describe_database, new_database
from orchestration.dbt.descriptions import Description, comment_on
from orchestration.exports import new_export
from orchestration.fail_points import fail_point
from orchestration.month_files import PARQUET_FILES, UNPOSTED
from orchestration.published.checked_files import checked_files
from orchestration.published.layout import (
    DATABASE_NAME,
    DATABASE_REMEDY,
    DATABASES_NAME,
    LINK_REMEDY,
    check_link,
    database_file,
    database_flaw,
    database_folder_name,
    does_name,
    is_database_current,
    is_taken,
    open_published,
    point_link,
    published_folder,
    revision_folder,
    set_link,
)
from orchestration.published.manifests import PublishedDamaged, checked_manifest, read_manifest
from orchestration.published.month_views import describe_months, find_month_files, join_months

# The tables and views, those of months first.
NAMES = ("published_months", *PARQUET_FILES, UNPOSTED, "customer_point_balances")

_OF_THE_MONTH = {
    "revision": "1 for the first close of the month, one more for each time it was closed again.",
    "period_start_date": "The first day of the report month.",
    "period_end_date": "The last day of the report month.",
}
_MONTHS = Description(
    "The closed months as readers have them. One row for each month.",
    {
        "report_month": "The first day of the month of that name.",
        "period_start_date": _OF_THE_MONTH["period_start_date"],
        "period_end_date": _OF_THE_MONTH["period_end_date"],
        "revision": _OF_THE_MONTH["revision"],
        "status": "`issued`, `signed_off`, or `reopened` while the month is to be closed again.",
        "cutoff_entry_id": "The last entry of the ledger that the close knew.",
        "closed_at": "When the month was closed, in UTC.",
        "closed_by": "Who closed the month.",
        "signed_off_at": "When the month was signed off, in UTC; null until then.",
        "signed_off_by": "Who signed the month off; null until then.",
        "manifest_sha256": "The SHA-256 of the month's manifest, as the ledger's close entry names it.",
    },
)
_BALANCES = Description(
    "What each customer had at the end of the newest closed month, and what waited at its close; not what may"
    " be spent today. Points of two currencies are never added up. One row for each currency and relation"
    " reference.",
    {
        "currency": "The code of the currency. Points of two currencies are never added up.",
        "relation_reference": "The customer or account that the points belong to.",
        "approved_points": "The closing balance of the newest closed month.",
        "pending_given_points": "Points of pending gives. Not in the balance.",
        "pending_deducted_points": "Points of pending deducts, which are reserved.",
        "on_hold_given_points": "Points of gives on hold. Not in the balance.",
        "on_hold_deducted_points": "Points of deducts on hold, which are reserved.",
        "reserved_points": "Points of approved deducts that take effect later, but for expiries.",
        "spendable_points": "Approved points less what deducts reserve that wait or take effect later.",
        "is_account_closed": "Whether the account was closed by then.",
    },
)


class NothingPublished(PointsError):
    """No month has been closed yet."""

    code = "NOTHING_PUBLISHED"

    def __init__(self, home: Path) -> None:
        super().__init__(f"No month of {home} has been closed yet; close one with `points close`.")


@dataclass(frozen=True)
class PublishedMonth:
    """A month as readers have it; instants are in UTC, and null until it was signed off."""

    report_month: str
    revision: int
    status: str
    cutoff_entry_id: int
    closed_at: datetime
    closed_by: str
    signed_off_at: datetime | None
    signed_off_by: str | None
    manifest_sha256: str


def list_issued(history: CloseHistory) -> list[PublishedMonth]:
    """The months that readers have, in order, and who closed them and signed them off, as the ledger says."""
    return [
        PublishedMonth(
            closed.report_month,
            closed.revision,
            history.status(closed),
            closed.cutoff_entry_id,
            closed.closed_at.replace(tzinfo=None),
            closed.closed_by,
            signature.signed_off_at.replace(tzinfo=None) if signature else None,
            signature.signed_off_by if signature else None,
            closed.manifest_sha256,
        )
        for closed in history.issued.values()
        for signature in [history.signatures.get((closed.report_month, closed.revision))]
    ]


def list_published(home: Path) -> list[PublishedMonth]:
    """The months that readers have, in order; none where no month has been closed.

    Raises `PublishedDamaged` where the database was altered or cannot be read.
    """
    file = database_file(home)
    if not file.exists():
        return []
    _refuse_altered(home)
    try:
        with connect(file.resolve(), read_only=True) as connection:
            rows = connection.execute(
                "select strftime(report_month, '%Y-%m'), revision, status, cutoff_entry_id, closed_at,"
                " closed_by, signed_off_at, signed_off_by, manifest_sha256 from published_months"
                " order by report_month"
            ).fetchall()
    except duckdb.Error as error:
        raise PublishedDamaged(file, "cannot be read", DATABASE_REMEDY) from error
    return [PublishedMonth(*row) for row in rows]


def _refuse_altered(home: Path) -> None:
    if is_taken(database_file(home)):
        raise PublishedDamaged(database_file(home), "is no link", LINK_REMEDY)
    if flaw := database_flaw(home):
        raise PublishedDamaged(database_file(home), flaw, DATABASE_REMEDY)


def find_database_damage(home: Path, history: CloseHistory) -> Iterator[PublishedDamaged]:
    """What is wrong with the database that readers open, if anything.

    What stands where its link belongs is for `orchestration.published.soundness`.
    """
    file = database_file(home)
    if is_taken(file) or not history.issued:
        return
    if not file.exists():
        yield PublishedDamaged(file, "is missing", "the next command makes it, or says what hinders it")
        return
    if not is_database_current(home, history.last_entry_id):
        finding = "is an older one"
    else:
        finding = database_flaw(home) or _differs(home, history)
    if finding:
        yield PublishedDamaged(file, finding, DATABASE_REMEDY)


def _differs(home: Path, history: CloseHistory) -> str | None:
    """In what the database is not one that is made anew of what ``history`` issued; None where it is.

    The name of its folder proves nothing: one who alters the file can rename the folder to fit.
    """
    finding = "is not what is made of the ledger and the published months"
    expected = found = None
    try:
        with TemporaryDirectory() as folder:
            anew = Path(folder) / DATABASE_NAME
            with new_database(anew) as connection:
                _fill(connection, home, history)
            expected = describe_database(anew)
    except PublishedDamaged:
        return None  # a month that is no longer there to be read is named as such
    except duckdb.Error as error:
        finding = f"cannot be made anew and compared ({first_line(error)})"
    try:
        found = describe_database(database_file(home).resolve())
    except duckdb.Error:
        finding = "cannot be read"
    if expected is not None and found == expected:
        return None
    return None if _is_a_month_altered(home, history) else finding


def _is_a_month_altered(home: Path, history: CloseHistory) -> bool:
    """Whether what the database is made of is not as it was published, which is named as such."""
    try:
        for closed in history.issued.values():
            checked_manifest(closed, revision_folder(home, closed.report_month, closed.revision))
    except PublishedDamaged:
        return True
    return False


def is_set_made(home: Path, history: CloseHistory) -> bool:
    """Whether the set that readers have is that of what ``history`` issued."""
    return is_database_current(home, history.last_entry_id) and all(
        does_name(set_link(home) / month, target) for month, target in _month_links(history).items()
    )


def write_set(home: Path, history: CloseHistory, readers: str) -> None:
    """Make the set of what ``history`` issued, its database first, and let the link to it go over.

    ``readers`` (POINTS_READERS) may read what it leads to before it does.

    Raises `LinkTaken`.
    """
    folder = published_folder(home) / DATABASES_NAME
    folder.mkdir(exist_ok=True)
    unfinished = folder / ".unfinished.duckdb"
    with new_database(unfinished) as connection:
        _fill(connection, home, history)
    fail_point("database written")
    own = folder / database_folder_name(home, history.last_entry_id, file_sha256(unfinished))
    own.mkdir(exist_ok=True)
    file = own / DATABASE_NAME
    # A log that somebody has left there would be played back into the file that takes its name.
    log_of(file).unlink(missing_ok=True)
    unfinished.rename(file)
    for month, target in _month_links(history).items():
        if not does_name(own / month, target):
            check_link(own / month)
            (own / month).unlink(missing_ok=True)
            (own / month).symlink_to(target)
    sync_folder(own)
    sync_folder(folder)
    open_published(home, readers)
    before = database_file(home).resolve().parent
    point_link(set_link(home), f"{DATABASES_NAME}/{own.name}")
    for earlier in folder.iterdir():
        if earlier.is_dir() and not earlier.is_symlink() and earlier.resolve() not in (before, own.resolve()):
            shutil.rmtree(earlier)


def _month_links(history: CloseHistory) -> dict[str, str]:
    """By its name in a set's folder, what the link of each month names."""
    return {month: f"../../{month}/r{closed.revision}" for month, closed in history.issued.items()}


def export_database(home: Path, file: Path) -> list[tuple[str, int]]:
    """Write a database with tables instead of views, to carry away; return each table and its rows.

    Raises `NothingPublished`, `PublishedDamaged`, and what `new_export` does.
    """
    source = database_file(home)
    if not source.exists():
        raise NothingPublished(home)
    _refuse_altered(home)
    with new_export(file) as unfinished:
        _refuse_altered_months(home)
        with new_database(unfinished) as connection:
            tables = _copy_tables(connection, source.resolve())
    return tables


def _refuse_altered_months(home: Path) -> None:
    """Raise `PublishedDamaged` where a file that the views read is not as it was published."""
    for month in list_published(home):
        files = checked_files(home, month.report_month, month.revision, month.manifest_sha256)
        for name in files.manifest["files"]:
            if name.endswith(".parquet"):
                files.path(name)


def _copy_tables(connection: duckdb.DuckDBPyConnection, source: Path) -> list[tuple[str, int]]:
    """Copy what ``source`` shows into tables of ``connection``; return each and its rows."""
    connection.execute(f"attach {literal(source)} as published (read_only)")
    tables = [
        (name, *connection.execute(f"create table {name} as from published.{name}").fetchone())
        for name in NAMES
    ]
    for name in NAMES:
        comment_on(connection, "table", name, _read_description(connection, name))
    connection.execute("detach published")
    return tables


def _fill(connection: duckdb.DuckDBPyConnection, home: Path, history: CloseHistory) -> None:
    issued = list(history.issued.values())
    folders = [revision_folder(home.absolute(), closed.report_month, closed.revision) for closed in issued]
    manifests = [
        read_manifest(folder, closed.manifest_sha256) for closed, folder in zip(issued, folders, strict=True)
    ]
    _create_months(connection, history, manifests)
    comment_on(connection, "table", "published_months", _MONTHS)
    fail_point("database begun")
    for name, (month_column, _) in PARQUET_FILES.items():
        files = list(find_month_files(name, folders, manifests))
        connection.execute(
            f"create view {name} as"
            " select files.*, months.revision, months.period_start_date, months.period_end_date"
            f" from ({join_months(files)}) as files"
            f" inner join published_months as months on files.{month_column} = months.report_month"
        )
        comment_on(connection, "view", name, describe_months(files, _OF_THE_MONTH))
    unposted = list(find_month_files(UNPOSTED, folders[-1:], manifests[-1:]))
    connection.execute(f"create view {UNPOSTED} as {join_months(unposted)}")
    comment_on(connection, "view", UNPOSTED, describe_months(unposted))
    connection.execute(_customer_point_balances(folders[-1]))
    comment_on(connection, "view", "customer_point_balances", _BALANCES)


def _read_description(connection: duckdb.DuckDBPyConnection, name: str) -> Description:
    """What the attached database of published months says of a table or view of it."""
    texts = connection.execute(
        "select comment from duckdb_views() where database_name = 'published' and view_name = $name union all"
        " select comment from duckdb_tables() where database_name = 'published' and table_name = $name",
        {"name": name},
    ).fetchone()
    columns = connection.execute(
        "select column_name, comment from duckdb_columns() where database_name = 'published'"
        " and table_name = $name and comment is not null",
        {"name": name},
    ).fetchall()
    return Description(texts[0] or "", dict(columns))


def _create_months(
    connection: duckdb.DuckDBPyConnection, history: CloseHistory, manifests: Sequence[Mapping]
) -> None:
    connection.execute(
        "create table published_months (report_month date, period_start_date date, period_end_date date,"
        " revision integer, status varchar, cutoff_entry_id bigint, closed_at timestamp, closed_by varchar,"
        " signed_off_at timestamp, signed_off_by varchar, manifest_sha256 varchar)"
    )
    for month, manifest in zip(list_issued(history), manifests, strict=True):
        connection.execute(
            "insert into published_months values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                f"{month.report_month}-01",
                manifest["period_start_date"],
                manifest["period_end_date"],
                month.revision,
                month.status,
                month.cutoff_entry_id,
                month.closed_at,
                month.closed_by,
                month.signed_off_at,
                month.signed_off_by,
                month.manifest_sha256,
            ],
        )


def _customer_point_balances(newest: Path) -> str:
    """What each customer had at the end of the newest closed month, and what waited at its close."""
    waiting = ", ".join(
        f"case when status = '{status}' and style = '{style}' then points else 0 end"
        f" as {status}_{name}_points"
        for status in ("pending", "on_hold")
        for style, name in (("give", "given"), ("deduct", "deducted"))
    )
    points = [
        "approved_points",
        *(f"{status}_{name}_points" for status in ("pending", "on_hold") for name in ("given", "deducted")),
    ]
    sums = ", ".join(f"cast(sum({name}) as decimal(38, 4)) as {name}" for name in points)
    expiring = literals(
        tuple(
            reason
            for (reason, style), rule in reasons().items()
            if (style, rule.bucket) == ("deduct", "expired")
        )
    )
    return f"""
        create view customer_point_balances as
        with recursive parts as (
            select currency, relation_reference, closing_points as approved_points,
                0 as pending_given_points, 0 as pending_deducted_points,
                0 as on_hold_given_points, 0 as on_hold_deducted_points, is_account_closed
            from {read_parquet(newest / "outstanding_points_by_month.parquet")}
            union all by name
            select currency, relation_reference, 0 as approved_points, {waiting}, false as is_account_closed
            from unposted_transfers
            where status in ('pending', 'on_hold')
        ),
        summed as (
            -- An account is closed as a whole, also where it has a currency only in what waits.
            select currency, relation_reference, {sums},
                bool_or(bool_or(is_account_closed)) over (partition by relation_reference)
                    as is_account_closed
            from parts
            group by currency, relation_reference
        ),
        -- As in int_points_reserved.
        ahead as (
            select transfer_id, currency, relation_reference, reason, style,
                case when style = 'give' then points else -points end as signed_points,
                case when reason = 'revocation' then reverses_transfer_id end as revoked_transfer_id
            from unposted_transfers
            where status = 'approved'
        ),
        chains as (
            select ahead.transfer_id, ahead.transfer_id as first_transfer_id
            from ahead
            left join ahead as originals on ahead.revoked_transfer_id = originals.transfer_id
            where originals.transfer_id is null and ahead.style = 'deduct'
                and ahead.reason not in {expiring}
            union all
            select ahead.transfer_id, chains.first_transfer_id
            from chains
            inner join ahead on chains.transfer_id = ahead.revoked_transfer_id
        ),
        reserved as (
            select currency, relation_reference, sum(points) as reserved_points
            from (
                select currency, relation_reference, greatest(-sum(signed_points), 0) as points
                from chains
                inner join ahead using (transfer_id)
                group by currency, relation_reference, first_transfer_id
            )
            group by currency, relation_reference
        )
        select currency, relation_reference, {", ".join(points)},
            cast(coalesce(reserved_points, 0) as decimal(38, 4)) as reserved_points,
            cast(
                approved_points - pending_deducted_points - on_hold_deducted_points
                - coalesce(reserved_points, 0) as decimal(38, 4)
            ) as spendable_points,
            is_account_closed
        from summed
        left join reserved using (currency, relation_reference)
    """
