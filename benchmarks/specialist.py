"""The yardstick: what a specialist writes by hand in DuckDB for these very months, and nothing else.

``python benchmarks/specialist.py --cut DIR --upto ENTRY --months 2023-01:2025-12 --output DIR`` makes all
months from the first entry; with ``--after ENTRY --opening DIR`` one month from what the close of the month
before left. From the cut that the project reads (CONTRIBUTING.md) come the marts that it publishes, under the
same checks (the six truths, grains, nulls), in the same CSV and Parquet files, synced to the disk and read
back by their hashes. It needs DuckDB and nothing of this project; whoever knows a quicker way, better it.

It may know this history, and ends where that is not so: months are UTC's, a reason's bucket is the same in
all months, each transfer is revoked once at most and no revocation is, what waits is approved once or never,
no account is opened or closed, nothing is cancelled or dated ahead.
"""

import argparse
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

SEEDS = Path(__file__).parent.parent / "seeds"
BUCKETS = ("earned", "reversal", "redeemed", "expired")
MOVED = [f"{bucket}_points" for bucket in BUCKETS]
TOTALS = [f"total_{name}" for name in MOVED]
PENDING = ["pending_given_points", "pending_deducted_points"]
BALANCES = ["opening_points", *MOVED, "closing_points", *TOTALS, "total_outstanding_points", *PENDING]
REMARKS = ("recorded_at", "recorded_by", "batch_id", "external_reference", "comment")
CREATED = f"""transfer_id, entry_id, relation_reference, currency, style, points, reason, occurred_at,
    reverses_transfer_id, {", ".join(REMARKS)}"""
# How much each bucket moved: earned as it is signed, the others the other way.
SIGNS = {"earned": ""} | dict.fromkeys(BUCKETS[1:], "-")
MOVEMENT = ", ".join(
    f"sum({sign}signed_points) filter (bucket = '{bucket}') as {bucket}_points"
    for bucket, sign in SIGNS.items()
)

# What the Parquet files of a month hold, of tables that are in a file's order already.
PARQUET_FILES = {
    "outstanding_points_by_month": f"""
        select report_month, currency, relation_reference,
            {", ".join(f"{name}::decimal(38, 4) as {name}" for name in BALANCES)}, false as is_account_closed
        from balances""",
    "points_movements_by_month": """
        select report_month, currency, relation_reference, bucket, reason,
            case bucket when 'earned' then signed_points else -signed_points end::decimal(38, 4)
                as bucket_points,
            signed_points::decimal(38, 4) as signed_points, transfer_count
        from movements where report_month = $month""",
    "programme_points_by_month": "from programme where report_month = $month order by currency",
    "discrepancies": """
        select report_month, currency, relation_reference, null::varchar as transfer_id,
            'negative_outstanding' as discrepancy, 'warning' as severity,
            closing_points::decimal(38, 4) as points
        from balances where closing_points < 0
        union all
        select posting_month, currency, relation_reference, transfer_id, 'late_posting', 'info', points
        from transfers where is_late and posting_month = $month
        order by currency, relation_reference, discrepancy, transfer_id""",
    "posted_transfers": """
        select transfer_id, entry_id, relation_reference, currency, style, points, reason, bucket,
            posting_month, is_late, occurred_at, effective_at, effective_entry_id, recorded_at, recorded_by,
            reverses_transfer_id, batch_id, external_reference, comment
        from transfers where posting_month = $month""",
}
UNPOSTED = """
    select *, case status when 'approved' then 'later' else status::varchar end as disposition
    from unposted"""
HISTORY = """
    select entry_id, transfer_id, relation_reference, currency, style, points, signed_points, reason, bucket,
        first_status, status, case when status <> 'approved' then status::varchar
            when posting_month > $month then 'later' else 'posted' end as disposition, posting_month, is_late,
        occurred_at, effective_at, effective_entry_id, recorded_at, recorded_by, reverses_transfer_id,
        revoked_by_transfer_ids, revoked_points::decimal(38, 4) as revoked_points,
        (points - revoked_points)::decimal(38, 4) as unrevoked_points, batch_id, external_reference, comment
    from transfers"""
CSV_FILES = {
    "outstanding_points": [*TOTALS, "total_outstanding_points"],
    "points_roll_forward": ["opening_points", *MOVED, "closing_points"],
}
CONTROLS = {  # the last lines of programme_points.csv: a count, and points
    "Posted Transfers": ("posted_transfer_count", ""),
    "Late Transfers": ("late_transfer_count", "late_points"),
    "Redemptions Given Back": ("", "redemptions_given_back_points"),
    "Pending Transfers": ("pending_transfer_count", ""),
    "Pending Given Points": ("", "pending_given_points"),
    "Pending Deducted Points": ("", "pending_deducted_points"),
    "Relation References": ("relation_count", ""),
    "Relation References Not Zero": ("nonzero_relation_count", ""),
    "Relation References Below Zero": ("negative_relation_count", "negative_points"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cut", type=Path, required=True)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--upto", type=int, required=True)
    parser.add_argument("--months", required=True)
    parser.add_argument("--opening", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--on-disk", action="store_true", help="keep the tables in a file")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    with (
        TemporaryDirectory(dir=arguments.output.parent) as work,
        duckdb.connect(f"{work}/tables.duckdb" if arguments.on_disk else ":memory:") as database,
        ThreadPoolExecutor(2) as writers,
    ):
        database.execute(f"set TimeZone = 'UTC'; set temp_directory = '{work}/spilled'")
        months = months_between(database, *arguments.months.split(":"))
        read_transfers(database, arguments, months[0], months[-1])
        add_up_movements(database, months[-1])
        for month in months:
            add_up_balances(database, month)
            check_balances(database, month)
            copies = files_of_month(database, arguments.output / month[:7], month)
            if month == months[-1]:
                copies |= {arguments.output / month[:7] / "unposted_transfers.parquet": UNPOSTED}
            if month == months[-1] and not arguments.opening:
                copies |= {arguments.output / "transfer_history.parquet": HISTORY}
            list(writers.map(lambda file: copy(database, *file, month), copies.items()))  # noqa: B023
        write_marts(database, arguments.output / "marts.duckdb", months[-1])
    keep(arguments.output)


def months_between(database: duckdb.DuckDBPyConnection, first: str, last: str) -> list[str]:
    months = f"range(date '{first}-01', date '{last}-02', interval 1 month) as months (month)"
    return [month for (month,) in database.sql(f"select month::date::varchar from {months}").fetchall()]


def segments(folder: Path, after: int = 0, upto: int | None = None) -> str:
    """The files of a part of the cut that hold entries above ``after`` and up to ``upto``."""
    spans = ((path, *map(int, path.stem.split("-"))) for path in sorted(folder.glob("*.parquet")))
    files = [str(path) for path, begin, end in spans if end > after and begin <= (upto or end)]
    return f"read_parquet({files})"


def must_be_zero(database: duckdb.DuckDBPyConnection, what: str, query: str) -> None:
    """End the script where a count of ``query`` is not zero."""
    (counts,) = database.sql(query).fetchall()
    if any(counts):
        raise SystemExit(f"{what}: {counts}")


def read_transfers(
    database: duckdb.DuckDBPyConnection, arguments: argparse.Namespace, first_month: str, last_month: str
) -> None:
    """`balances` to start from, and `transfers`: each that the run reads, with bucket and month."""
    cut, after, upto, opening = arguments.cut, arguments.after, arguments.upto, arguments.opening
    run = f"entry_id > {after} and entry_id <= {upto}"
    new, before = segments(cut / "transfers", after, upto), segments(cut / "transfers", upto=upto)
    came = f"""select {CREATED}, status as first_status, status as known_status, occurred_at as known_at,
        entry_id as known_entry_id from {new} where {run}"""
    remarks = ", ".join(f"came.{name}" for name in REMARKS)
    names = ["currency", "relation_reference", "closing_points", *TOTALS]
    balances = f"(select {', '.join(f'null as {name}' for name in names)} limit 0)"
    if opening:
        known = "first_status, status, effective_at, effective_entry_id"
        came += f" union all select {CREATED}, {known} from '{opening}/unposted_transfers.parquet'"
        balances = f"'{opening}/outstanding_points_by_month.parquet'"
        more, undone = "", ""
    else:
        more = """, revocations.transfer_id as revoked_by_transfer_ids,
            coalesce(revocations.points, 0) as revoked_points"""
        undone = "left join revocations on came.transfer_id = revocations.reverses_transfer_id"
    database.execute(f"""
        create table rules as from read_csv('{SEEDS}/transfer_reasons.csv', all_varchar = true);
        create type reason as enum (select distinct reason from rules order by 1);
        create type currency as enum (
            select currency from read_csv('{SEEDS}/points_currencies.csv') order by 1);
        create type bucket as enum ('earned', 'expired', 'redeemed', 'reversal');
        create type style as enum ('deduct', 'give');
        create type status as enum ('approved', 'cancelled', 'on_hold', 'pending');

        create table balances as
        select currency::currency as currency, relation_reference::varchar as relation_reference,
            {", ".join(f"{name}::decimal(18, 4) as {name}" for name in names[2:])}
        from {balances};

        create table changes as
        select * from {segments(cut / "status_changes", after, upto)} where {run};

        create table revocations as
        select transfer_id, reverses_transfer_id, points, style, status, currency, relation_reference
        from {new} where {run} and reason = 'revocation';

        create table originals as
        select transfer_id, reason, style, status, points, currency, relation_reference,
            case bucket when 'earned' then 'reversal' else bucket end::bucket as revoking_bucket
        from {before} left join rules using (reason, style)
        where entry_id <= {upto} and transfer_id in (select reverses_transfer_id from revocations);

        create table transfers as
        select
            came.transfer_id, came.entry_id, came.relation_reference, came.currency::currency as currency,
            came.style::style as style, came.points, came.reason::reason as reason,
            case came.style when 'give' then came.points else -came.points end as signed_points,
            came.first_status::status as first_status,
            coalesce(changes.status, came.known_status)::status as status,
            case when came.known_status = 'approved' then came.known_at
                else case when changes.changed_at > came.occurred_at then changes.changed_at
                    when changes.changed_at is not null then came.occurred_at end end as effective_at,
            case when came.known_status = 'approved' then came.known_entry_id else changes.entry_id end
                as effective_entry_id,
            case when effective_at < date '{first_month}' then date '{first_month}'
                else date_trunc('month', effective_at)::date end as posting_month,
            coalesce(effective_at < date '{first_month}', false) as is_late,
            coalesce(originals.revoking_bucket,
                case when effective_at is not null then rules.bucket::bucket end) as bucket,
            came.occurred_at, came.reverses_transfer_id, {remarks}{more}
        from ({came}) as came
        left join changes
            on case when came.known_status <> 'approved' then came.transfer_id end = changes.transfer_id
        left join originals on came.reverses_transfer_id = originals.transfer_id
        left join rules on came.reason = rules.reason and came.style = rules.style
        {undone}
        order by came.relation_reference, came.transfer_id;

        create table unposted as
        from transfers where transfers.status <> 'approved' or transfers.posting_month > date '{last_month}'
        order by transfer_id
    """)
    # What is taken for granted.
    events = segments(cut / "account_events", upto=upto)
    earlier = f"(select * from {before} where entry_id <= {after} and reason = 'revocation')"
    must_be_zero(database, "rules by month", "select count(*) from rules where from_month <> ''")
    must_be_zero(database, "account events", f"select count(*) from {events} where entry_id <= {upto}")
    must_be_zero(
        database,
        "statuses that do more than approve once",
        "select count(*) filter (status <> 'approved'), count(*) - count(distinct transfer_id) from changes",
    )
    must_be_zero(
        database,
        "revocations that are a discrepancy or of a revocation, of something waiting, or not the only one",
        f"""select
            count(*) filter (originals.reason is null or originals.reason = 'revocation'),
            count(*) filter (originals.status <> 'approved' or revocations.status <> 'approved'),
            count(*) filter (originals.style = revocations.style),
            count(*) filter (originals.currency <> revocations.currency),
            count(*) filter (originals.relation_reference <> revocations.relation_reference),
            count(*) filter (originals.points < revocations.points),
            count(*) - count(distinct revocations.reverses_transfer_id),
            (select count(*) from {earlier} where reverses_transfer_id in (select transfer_id from originals))
        from revocations left join originals on originals.transfer_id = revocations.reverses_transfer_id""",
    )
    # Truth 5: what was read is there once, in one place; and the grain.
    kind = "currency::varchar as currency, style::varchar as style, reason::varchar as reason"
    must_be_zero(
        database,
        "transfers that were read and are not counted once, close an account or are dated ahead",
        f"""select
            count(*) filter (
                came.number is distinct from made.number or came.points is distinct from made.points),
            sum(made.misplaced), count(*) filter (reason = 'account_closure'), sum(came.ahead)
        from (
            select {kind}, count(*) as number, sum(points) as points,
                count(*) filter (occurred_at > recorded_at) as ahead
            from ({came}) group by all
        ) as came
        full join (
            select {kind}, count(*) as number, sum(points) as points, count(*) filter (case
                when status = 'approved' then posting_month >= date '{first_month}' and bucket is not null
                else status in ('pending', 'on_hold') and posting_month is null end is not true) as misplaced
            from transfers group by all
        ) as made using (currency, style, reason)""",
    )
    must_be_zero(
        database,
        "transfers that stand twice",
        "select count(*) - count(distinct transfer_id) from transfers",
    )


def add_up_movements(database: duckdb.DuckDBPyConnection, last_month: str) -> None:
    """`movements` in the order of their files, and what is `waiting`."""
    database.execute(f"""
        create table movements as
        select posting_month as report_month, currency, relation_reference, bucket, reason,
            sum(signed_points)::decimal(18, 4) as signed_points, count(*) as transfer_count
        from transfers where posting_month <= date '{last_month}' group by all
        order by report_month, currency, relation_reference, bucket, reason;

        create table waiting as
        select date_trunc('month', occurred_at)::date as occurred_month, currency, relation_reference, status,
            case style when 'give' then points else 0 end as given, points - given as deducted
        from transfers where status <> 'approved';
    """)
    must_be_zero(
        database,
        "movements that stand twice, or not all that posted",
        f"""select count(*) filter (is_wrong), sum(transfer_count)
            - (select count(*) from transfers where posting_month <= date '{last_month}')
        from (
            select transfer_count, (report_month, currency, relation_reference, bucket, reason)
                <= lag((report_month, currency, relation_reference, bucket, reason)) over () as is_wrong
            from movements
        )""",
    )


def add_up_balances(database: duckdb.DuckDBPyConnection, month: str) -> None:
    """`balances` of the month from those before it, now `previous`; the month's part of the programme."""
    sums = ", ".join(f"sum({name})::decimal(38, 4) as {name}" for name in BALANCES if name not in PENDING)
    summed = ", ".join(
        f"coalesce({name}, 0)::decimal(38, 4) as {name}" for name in BALANCES if name not in PENDING
    )
    new_totals = [
        f"(coalesce(previous.{total}, 0) + coalesce(moved.{name}, 0))"
        for name, total in zip(MOVED, TOTALS, strict=True)
    ]
    totals = ", ".join(
        f"{sum}::decimal(18, 4) as {total}" for sum, total in zip(new_totals, TOTALS, strict=True)
    )
    is_first = not database.sql("from duckdb_tables() where table_name = 'programme'").fetchall()
    database.execute(f"""
        drop table if exists previous;
        alter table balances rename to previous;
        create table balances as
        with moved as (
            select currency, relation_reference, {MOVEMENT}, sum(signed_points) as signed_points
            from movements where report_month = date '{month}' group by all
        ),
        pending as (
            select currency, relation_reference, sum(given) as pending_given_points,
                sum(deducted) as pending_deducted_points
            from waiting where occurred_month <= date '{month}' group by all
        )
        select date '{month}' as report_month, currency, relation_reference,
            coalesce(previous.closing_points, 0)::decimal(18, 4) as opening_points,
            {", ".join(f"coalesce(moved.{name}, 0)::decimal(18, 4) as {name}" for name in MOVED)},
            (coalesce(previous.closing_points, 0) + coalesce(signed_points, 0))::decimal(18, 4)
                as closing_points,
            {totals},
            ({" - ".join(new_totals)})::decimal(18, 4) as total_outstanding_points,
            {", ".join(f"coalesce(pending.{name}, 0)::decimal(18, 4) as {name}" for name in PENDING)}
        from previous full join moved using (currency, relation_reference)
        left join pending using (currency, relation_reference)
        order by currency, relation_reference;

        {"create table programme as" if is_first else "insert into programme"}
        with grain as (
            select 'POINTS' as currency union select currency from balances
            union select currency from waiting where occurred_month <= date '{month}'
        ),
        summed as (
            select currency, {sums}, count(*) as relation_count,
                count(*) filter (closing_points <> 0) as nonzero_relation_count,
                count(*) filter (closing_points < 0) as negative_relation_count,
                sum(closing_points) filter (closing_points < 0) as negative_points
            from balances group by all
        ),
        posted as (
            select currency, sum(transfer_count) as posted_transfer_count
            from movements where report_month = date '{month}' group by all
        ),
        remarkable as (
            select currency, count(*) filter (is_late) as late_transfer_count,
                sum(signed_points) filter (is_late) as late_points,
                sum(points) filter (bucket = 'redeemed' and style = 'give') as redemptions_given_back_points
            from transfers where posting_month = date '{month}' and (is_late or bucket = 'redeemed')
            group by all
        ),
        pending as (
            select currency, count(*) as pending_transfer_count, sum(given) as pending_given_points,
                sum(deducted) as pending_deducted_points
            from waiting where occurred_month <= date '{month}' group by all
        )
        select date '{month}' as report_month, currency, {summed},
            coalesce(relation_count, 0) as relation_count,
            coalesce(nonzero_relation_count, 0) as nonzero_relation_count,
            coalesce(negative_relation_count, 0) as negative_relation_count,
            coalesce(negative_points, 0)::decimal(38, 4) as negative_points,
            coalesce(posted_transfer_count, 0)::bigint as posted_transfer_count,
            coalesce(late_transfer_count, 0) as late_transfer_count,
            coalesce(late_points, 0)::decimal(38, 4) as late_points,
            coalesce(redemptions_given_back_points, 0)::decimal(38, 4) as redemptions_given_back_points,
            coalesce(pending_transfer_count, 0) as pending_transfer_count,
            coalesce(pending_given_points, 0)::decimal(38, 4) as pending_given_points,
            coalesce(pending_deducted_points, 0)::decimal(38, 4) as pending_deducted_points
        from grain left join summed using (currency) left join posted using (currency)
        left join remarkable using (currency) left join pending using (currency)
    """)


def check_balances(database: duckdb.DuckDBPyConnection, month: str) -> None:
    """Truths 1 to 4 and 6, and that no balance is null or stands twice, in one scan of the month."""
    unlike = " or ".join(f"balances.{name} is distinct from coalesce(plain.{name}, 0)" for name in MOVED)
    must_be_zero(
        database,
        f"balances of {month}",
        f"""
        with plain as (
            select currency, relation_reference, {MOVEMENT},
                sum(case style when 'give' then points when 'deduct' then -points end) as points
            from transfers where status = 'approved' and posting_month = date '{month}' group by all
        )
        select
            count(*) filter (balances.total_outstanding_points is distinct from
                balances.total_earned_points - balances.total_reversal_points - balances.total_redeemed_points
                - balances.total_expired_points),
            count(*) filter (balances.closing_points is distinct from balances.opening_points
                + balances.earned_points - balances.reversal_points - balances.redeemed_points
                - balances.expired_points),
            count(*) filter (balances.closing_points is distinct from balances.total_outstanding_points),
            count(*) filter (balances.opening_points is distinct from coalesce(previous.closing_points, 0)),
            count(*) filter (
                balances.closing_points - balances.opening_points is distinct from coalesce(plain.points, 0)),
            count(*) filter ({unlike}),
            count(*) filter ({" or ".join(f"balances.{name} is null" for name in (*TOTALS, *PENDING))}),
            (select count(*) from (
                select currency = lag(currency) over ()
                    and relation_reference <= lag(relation_reference) over () as is_wrong
                from balances) where is_wrong)
        from balances
        full join previous using (currency, relation_reference)
        full join plain using (currency, relation_reference)
        """,
    )
    must_be_zero(
        database,
        f"the programme of {month}",
        f"""select
            count(*) filter (closing_points is distinct from total_outstanding_points or closing_points
                is distinct from opening_points + earned_points - reversal_points - redeemed_points
                - expired_points),
            count(*) - count(distinct currency)
        from programme where report_month = date '{month}'""",
    )


def files_of_month(database: duckdb.DuckDBPyConnection, folder: Path, month: str) -> dict[Path, str]:
    """What is to be written for a month, by file; the small CSV of the programme is written at once."""
    folder.mkdir()
    files = {folder / f"{name}.parquet": query for name, query in PARQUET_FILES.items()}
    programmes = database.sql(f"from programme where report_month = date '{month}'")
    for row in programmes.fetchall():
        programme = dict(zip(programmes.columns, row, strict=True))
        currency = programme["currency"]
        suffix = "" if currency == "POINTS" else f".{currency}"
        write_programme(database, folder / f"programme_points{suffix}.csv", programme)
        for name, columns in CSV_FILES.items():
            titles = ["Relation Reference", *(column.replace("_", " ").title() for column in columns)]
            line = " || ',' || ".join(["relation_reference", *map(points_text, columns)])
            files[folder / f"{name}{suffix}.csv"] = (
                f"""select {line} || chr(13) as "{",".join(titles)}\r" from balances"""
                f" where currency = '{currency}'"
            )
    return files


def points_text(column: str) -> str:
    """Points without trailing zeros; taking none off is what is quick."""
    return f"if({column} % 1 = 0, {column}::bigint::varchar, rtrim({column}::varchar, '0'))"


def write_programme(database: duckdb.DuckDBPyConnection, path: Path, programme: dict) -> None:
    def text(points: object) -> str:
        return f"{points:f}".rstrip("0").rstrip(".")

    lines = [("Line", "Reason", "Transfers", "Points")]
    lines.append(("Opening Points", "", "", text(programme["opening_points"])))
    for bucket in BUCKETS:
        title, sign = f"{bucket.title()} Points", "" if bucket == "earned" else "-"
        reasons = f"""select reason::varchar, sum(transfer_count)::varchar, sum({sign}signed_points)
            from movements where report_month = date '{programme["report_month"]}' and bucket = '{bucket}'
            and currency = '{programme["currency"]}' group by reason order by 1"""
        for reason, transfers, points in database.sql(reasons).fetchall():
            lines.append((title, reason, transfers, text(points)))
        lines.append((f"All {title}", "", "", text(programme[f"{bucket}_points"])))
    lines.append(("Closing Points", "", "", text(programme["closing_points"])))
    for title, (count, points) in CONTROLS.items():
        lines.append(
            (title, "", str(programme[count]) if count else "", text(programme[points]) if points else "")
        )
    path.write_bytes("".join(f"{','.join(line)}\r\n" for line in lines).encode())


def copy(database: duckdb.DuckDBPyConnection, path: Path, query: str, month: str) -> None:
    """Write a query to a file: Parquet, or finished lines that already end in a carriage return."""
    options = (
        "format parquet, compression zstd"
        if path.suffix == ".parquet"
        else "format csv, header true, delimiter '', quote '', escape ''"
    )
    query = query.replace("$month", f"date '{month}'")
    database.cursor().execute(f"copy ({query}) to '{path}' ({options})")


def write_marts(database: duckdb.DuckDBPyConnection, path: Path, last_month: str) -> None:
    """A database with what customers have now: the last closing, what waits and what takes effect later."""
    waiting = {
        f"{status}_{style}_points": f"sum({style}) filter (status = '{status}')"
        for status in ("pending", "on_hold")
        for style in ("given", "deducted")
    }
    database.execute(f"""
        attach '{path}' as marts;
        create table marts.customer_point_balances as
        with unposted as (
            select currency, relation_reference,
                {", ".join(f"coalesce({total}, 0) as {name}" for name, total in waiting.items())},
                coalesce(sum(signed_points) filter (status = 'approved'), 0) as later_points
            from (select *, case style when 'give' then points else 0 end as given, points - given as deducted
                from unposted) group by all
        )
        select currency::varchar as currency, relation_reference,
            (coalesce(closing_points, 0) + coalesce(later_points, 0))::decimal(38, 4) as approved_points,
            {", ".join(f"coalesce(unposted.{name}, 0)::decimal(38, 4) as {name}" for name in waiting)},
            (coalesce(closing_points, 0) + coalesce(later_points, 0)
                - coalesce(unposted.pending_deducted_points, 0) - coalesce(on_hold_deducted_points, 0)
            )::decimal(38, 4) as spendable_points,
            false as is_account_closed
        from balances full join unposted using (currency, relation_reference)
    """)
    must_be_zero(
        database,
        "what customers have, beside the programme's last closing and what is unposted",
        f"""select count(*) - count(distinct (currency, relation_reference)),
            sum(approved_points)
                - (select sum(closing_points) from programme where report_month = date '{last_month}')
                - (select coalesce(sum(signed_points), 0) from unposted where status = 'approved'),
            sum(pending_given_points + pending_deducted_points + on_hold_given_points
                + on_hold_deducted_points)
                - (select coalesce(sum(points), 0) from unposted where status <> 'approved')
        from marts.customer_point_balances""",
    )
    database.execute("detach marts")


def keep(folder: Path) -> None:
    """Wait until every file is on the disk, and read it from there: it must be what was written."""

    def keep_file(path: Path) -> None:
        with open(path, "rb") as file:
            written = hashlib.file_digest(file, "sha256").digest()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            if hashlib.file_digest(file, "sha256").digest() != written:
                raise SystemExit(f"{path} is not what was written")

    paths = [folder, *folder.rglob("*")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(keep_file, (path for path in paths if path.is_file())))
    for path in (path for path in paths if path.is_dir()):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


if __name__ == "__main__":
    main()
