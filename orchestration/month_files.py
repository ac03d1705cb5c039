"""Writes the files of report months from the database of a build (docs/design.md, section 9).

Everything is written by DuckDB from its tables, on every engine, and every row order and number
format is fixed here: the same build gives the same CSV bytes and the same Parquet rows.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb

from ledger.amounts import points_text
from ledger.data_files import connect, fetch_rows, read_csv, read_parquet
from ledger.sql_text import identifier, literal
from orchestration.month_xlsx import Table, write_workbook
from orchestration.month_xml import xml_copy


@dataclass(frozen=True)
class MonthFiles:
    """The files of one report month, with what a reader wants to know before opening them."""

    report_month: str
    folder: Path
    relation_count: int
    posted_transfer_count: int
    closing_points: str


# The files of one currency of a month, here the programme's own: `currency_name` has the others.
OUTSTANDING_POINTS = "outstanding_points.csv"
POINTS_ROLL_FORWARD = "points_roll_forward.csv"
PROGRAMME_POINTS = "programme_points.csv"
OUTSTANDING_POINTS_XML = "outstanding_points.xml"
OUTSTANDING_POINTS_XLSX = "outstanding_points.xlsx"
# Of revisions after the first alone: what the close wrote of the revision before.
RESTATEMENT = "restatement.csv"

# Those with a row a relation reference: each title and its column of outstanding_points_by_month.
RELATION_COLUMNS = {
    OUTSTANDING_POINTS: {
        "Relation Reference": "relation_reference",
        "Total Earned Points": "total_earned_points",
        "Total Reversal Points": "total_reversal_points",
        "Total Redeemed Points": "total_redeemed_points",
        "Total Expired Points": "total_expired_points",
        "Total Outstanding Points": "total_outstanding_points",
    },
    POINTS_ROLL_FORWARD: {
        "Relation Reference": "relation_reference",
        "Opening Points": "opening_points",
        "Earned Points": "earned_points",
        "Reversal Points": "reversal_points",
        "Redeemed Points": "redeemed_points",
        "Expired Points": "expired_points",
        "Closing Points": "closing_points",
    },
}

# Of a restatement: the month's movement and the totals to date, and what a line says of the transfer that it
# is of; each title and its column.
RESTATED_MOVEMENT = {
    title: column
    for title, column in RELATION_COLUMNS[POINTS_ROLL_FORWARD].items()
    if column != "relation_reference"
}
_RESTATED_TOTALS = {
    title: column
    for title, column in RELATION_COLUMNS[OUTSTANDING_POINTS].items()
    if column != "relation_reference"
}
RESTATED = (*RESTATED_MOVEMENT.values(), *_RESTATED_TOTALS.values())
RESTATED_TRANSFER = {
    "Transfer ID": "transfer_id",
    "Entry": "entry_id",
    "Reason": "reason",
    "Cause": "cause",
}
RESTATEMENT_COLUMNS = {
    "Relation Reference": "relation_reference",
    "Line": "line",
    **RESTATED_MOVEMENT,
    **_RESTATED_TOTALS,
    **RESTATED_TRANSFER,
}

BASIS = "totals from the first transfer to the end of the period, all else within the period"

# Beyond, a workbook takes a spreadsheet long to open and a close long to write: it is made when asked for. A
# build comes every day and has many months that nobody opens; 50,000 rows take it two seconds.
MOST_ROWS_OF_A_WORKBOOK = 250_000
MOST_ROWS_OF_A_PROVISIONAL_WORKBOOK = 50_000

_DISCREPANCY_HEADINGS = ("Discrepancy", "Severity", "Count")

# What XML and workbook say of the month; a provisional one has no revision.
MONTH_FACTS = (
    *("programme", "report_month", "period_start_date", "period_end_date"),
    *("status", "revision", "currency"),
)
# Both of these together, in the XML.
POINTS_COLUMNS = [
    column
    for columns in RELATION_COLUMNS.values()
    for column in columns.values()
    if column != "relation_reference"
]

PROGRAMME_COLUMNS = ["Line", "Reason", "Transfers", "Points"]

# Each Parquet file of a month: the mart of which it is the month's part, that mart's month, and the order of
# rows.
PARQUET_FILES = {
    "outstanding_points_by_month": ("report_month", "currency, relation_reference"),
    "points_movements_by_month": ("report_month", "currency, relation_reference, bucket, reason"),
    "programme_points_by_month": ("report_month", "currency"),
    "discrepancies": (
        "report_month",
        "currency, relation_reference, discrepancy, transfer_id, points, severity",
    ),
    "posted_transfers": ("posting_month", "relation_reference, transfer_id"),
}

# A month's rows in one currency in the order of the files, their points as the files have them.
_TEXTS = "points_texts"

# Those that XML and workbook are made of.
_FOR_XML = ("outstanding_points_by_month",)
_FOR_WORKBOOK = (*_FOR_XML, "points_movements_by_month", "programme_points_by_month", "discrepancies")

# The status of a build's files, which is in the metadata of each.
PROVISIONAL = "provisional"

# The mart that the last month of a run has whole: what the run saw and left for later.
UNPOSTED = "unposted_transfers"

# The mart that a build has whole, and no close: every transfer that the run read.
HISTORY = "transfer_history"


@dataclass(frozen=True)
class MonthCurrency:
    """A report month in one currency; ``facts`` is what its files say of it (`MONTH_FACTS`)."""

    facts: Mapping[str, str]
    default_currency: str
    relation_count: int

    def name(self, file: str) -> str:
        """What a file of it is called."""
        return currency_name(file, self.facts["currency"], self.default_currency, self.facts["status"])

    @property
    def has_workbook(self) -> bool:
        """Whether a workbook stands among its files."""
        return self.relation_count <= most_rows_of_a_workbook(self.facts["status"])

    @property
    def where(self) -> str:
        """The condition for its rows in the marts of a month."""
        month = literal(_first_day(self.facts["report_month"]))
        return f"report_month = date {month} and currency = {literal(self.facts['currency'])}"

    @property
    def balances(self) -> str:
        """The relation of its rows of `outstanding_points_by_month`."""
        return f"(from outstanding_points_by_month where {self.where})"


def most_rows_of_a_workbook(status: str) -> int:
    """With how many rows a workbook still stands among the files of a month that have this status."""
    return MOST_ROWS_OF_A_PROVISIONAL_WORKBOOK if status == PROVISIONAL else MOST_ROWS_OF_A_WORKBOOK


def month_facts(said: Mapping[str, str]) -> dict[str, str]:
    """Those of `MONTH_FACTS` that are ``said``, in their order, and what points are counted over."""
    return {**{name: said[name] for name in MONTH_FACTS if name in said}, "basis": BASIS}


def named(file: str, status: str) -> str:
    """What a file of a month is called: one of a build says so, for its name goes where its folder does not.

    ``outstanding_points.csv`` of the status `PROVISIONAL` is ``provisional_outstanding_points.csv``.
    """
    return f"{PROVISIONAL}_{file}" if status == PROVISIONAL else file


def currency_name(file: str, currency: str, default_currency: str, status: str) -> str:
    """What a month's file of one currency is called: ``outstanding_points.MILES.csv`` in another one than the
    programme's."""
    stem, ending = file.split(".")
    return named(file if currency == default_currency else f"{stem}.{currency}.{ending}", status)


def months_built(database: Path, only_open: bool = False) -> list[str]:
    """The report months (``YYYY-MM``) of a build's DuckDB file, in order; ``only_open``: those that were not
    closed where its cut ends."""
    where = "where revision is null" if only_open else ""
    with connect(database, read_only=True) as connection:
        return [
            month
            for (month,) in connection.execute(
                f"select strftime(report_month, '%Y-%m') from report_months {where} order by report_month"
            ).fetchall()
        ]


def write_months(
    database: Path,
    folders: Mapping[str, Path],
    default_currency: str,
    metadata: Mapping[str, Mapping[str, str]],
    report: Callable[[str, int, int], None] = lambda month, position, total: None,
) -> list[MonthFiles]:
    """Write the report months of a build, each into its folder, which is made.

    ``database`` is the build's DuckDB file, which is only read. ``folders`` and ``metadata``, which goes into
    each Parquet file and whose ``status`` names the files (`named`), are by month (``YYYY-MM``). ``report``
    takes each month, its position and their number. Returns the months in order.
    """
    last_month = max(months_built(database), default=None)
    with connect(database, read_only=True) as connection:
        (threads,) = connection.execute("select current_setting('threads')").fetchone()
        currencies, copies = {}, {}
        for month, folder in sorted(folders.items()):
            folder.mkdir(parents=True)
            currencies[month] = _month_currencies(connection, month, default_currency, metadata[month])
            parquet = _parquet_copies(folder, month, metadata[month], month == last_month)
            copies[month] = [[copy] for copy in parquet]
            for one in currencies[month]:
                copies[month] += _text_copies(folder, one)

        def write(statements: list[str]) -> None:
            with writing_cursor(connection) as cursor:
                for statement in statements:
                    cursor.execute(statement)

        # DuckDB writes an ordered Parquet file with one thread, so as many are written side by side as there
        # are threads.
        with ThreadPoolExecutor(max_workers=threads) as pool:
            written = pool.map(write, chain.from_iterable(copies.values()))
            months = []
            for position, month in enumerate(copies, start=1):
                # Python writes them meanwhile.
                for one in currencies[month]:
                    if one.has_workbook:
                        path = folders[month] / one.name(OUTSTANDING_POINTS_XLSX)
                        _write_workbook(connection, one, path)
                for _ in copies[month]:
                    next(written)
                months.append(_sum_up(connection, folders[month], month, default_currency))
                report(month, position, len(copies))
    return months


def read_month_csv(path: Path) -> str:
    """A DuckDB relation of the rows of one of a month's CSV files, every value as text."""
    with open(path, encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    return read_csv(path, dict.fromkeys(names, "varchar"))


def writing_cursor(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor with the macro ``points_text``, which is what `ledger.amounts.points_text` is in Python."""
    cursor = connection.cursor()
    cursor.execute(f"create temp macro points_text(points) as {_points_text('points')}")
    return cursor


def _points_text(points: str) -> str:
    """The expression of `points_text` in SQL."""
    # Up to 18 digits DuckDB prints a decimal four times as fast, and most are zero or whole, which saves what
    # would take off their zeros: 22 million take 1.6 s of a processor in place of 7.2.
    short = f"cast({points} as decimal(18, 4))"
    return (
        f"case when {points} = 0 then '0'"
        f" when {points} not between -99999999999999 and 99999999999999"
        f" then rtrim(rtrim(cast({points} as varchar), '0'), '.')"
        f" when {short} % 1 = 0 then cast(cast({short} as bigint) as varchar)"
        f" else rtrim(cast({short} as varchar), '0') end"
    )


def _month_currencies(
    connection: duckdb.DuckDBPyConnection, month: str, default_currency: str, metadata: Mapping[str, str]
) -> list[MonthCurrency]:
    """The month in each of its currencies."""
    first, last = connection.execute(
        "select period_start_date, period_end_date from report_months where report_month = ?",
        [_first_day(month)],
    ).fetchone()
    said = {
        **metadata,
        "report_month": month,
        "period_start_date": first.isoformat(),
        "period_end_date": last.isoformat(),
    }
    found = connection.execute(
        "select currency, relation_count from programme_points_by_month"
        " where report_month = ? order by currency",
        [_first_day(month)],
    ).fetchall()
    return [
        MonthCurrency(month_facts({**said, "currency": currency}), default_currency, relation_count)
        for currency, relation_count in found
    ]


def _parquet_copies(folder: Path, month: str, metadata: Mapping[str, str], is_last: bool) -> Iterator[str]:
    """The statements that write the Parquet files of a month."""
    queries = {
        name: f"select * from {name} where {month_column} = date '{_first_day(month)}' order by {order}"
        for name, (month_column, order) in PARQUET_FILES.items()
    }
    if is_last:
        queries[UNPOSTED] = f"select * from {UNPOSTED} order by transfer_id"
    for name, query in queries.items():
        path = folder / named(f"{name}.parquet", metadata["status"])
        yield parquet_copy(query, path, {**metadata, "report_month": month})


def _text_copies(folder: Path, one: MonthCurrency) -> Iterator[list[str]]:
    """The statements that write CSV and XML of a month in one currency; each list is for one cursor."""
    yield [
        _texts(one),
        *(
            csv_copy(
                f"select {csv_line(columns.values())} as line from {_TEXTS}", columns, folder / one.name(file)
            )
            for file, columns in RELATION_COLUMNS.items()
        ),
        _xml_copy(one, folder / one.name(OUTSTANDING_POINTS_XML)),
    ]
    yield [csv_copy(_programme_lines(one.where), PROGRAMME_COLUMNS, folder / one.name(PROGRAMME_POINTS))]


def _texts(one: MonthCurrency) -> str:
    """The statement that makes `_TEXTS` of a month in one currency. Sorted before texts are made, and texts
    before lines, rows are narrower, and XML and CSV share both."""
    points = ", ".join(f"points_text({column}) as {column}" for column in POINTS_COLUMNS)
    return (
        f"create temp table {_TEXTS} as select relation_reference, {points}"
        f" from (from {one.balances} order by relation_reference)"
    )


def _xml_copy(one: MonthCurrency, path: Path) -> str:
    return xml_copy(_TEXTS, POINTS_COLUMNS, one.facts, path, is_empty=not one.relation_count)


def make_xml(find: Callable[[str], Path], one: MonthCurrency, path: Path) -> None:
    """Write the XML of a month from its Parquet files; ``find`` says where each is, by its name."""
    with opened_marts(find, one, _FOR_XML) as connection, writing_cursor(connection) as cursor:
        cursor.execute(_texts(one))
        cursor.execute(_xml_copy(one, path))


def make_workbook(find: Callable[[str], Path], one: MonthCurrency, path: Path) -> None:
    """Write the workbook of a month, of any length, from its Parquet files, as `make_xml` does."""
    with opened_marts(find, one, _FOR_WORKBOOK) as connection:
        _write_workbook(connection, one, path)


@contextmanager
def opened_marts(
    find: Callable[[str], Path], one: MonthCurrency, marts: Iterable[str]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the Parquet files of a month have the names of their ``marts``."""
    with connect() as connection:
        for name in marts:
            file = find(named(f"{name}.parquet", one.facts["status"]))
            connection.execute(f"create view {name} as select * from {read_parquet(file)}")
        yield connection


def _write_workbook(connection: duckdb.DuckDBPyConnection, one: MonthCurrency, path: Path) -> None:
    programme = f"""
        select name, reason, try_cast(transfers as bigint), points
        from (
            select -1 as part, 'Previous Closing Points' as name, '' as reason, '' as transfers,
                opening_points as points
            from programme_points_by_month where {one.where}
            union all
            {programme_rows(one.where)}
        )
        order by part, reason
    """
    discrepancies = f"""
        select discrepancy, severity, count(*) from discrepancies where {one.where} group by all order by all
    """
    write_workbook(
        path,
        one.facts,
        [
            Table("The programme's roll-forward", PROGRAMME_COLUMNS, fetch_rows(connection, programme)),
            Table("Discrepancies", _DISCREPANCY_HEADINGS, fetch_rows(connection, discrepancies)),
        ],
        [
            Table(
                title,
                list(RELATION_COLUMNS[file]),
                fetch_rows(connection, _relation_rows(one, list(RELATION_COLUMNS[file].values()))),
            )
            for title, file in (("Report", OUTSTANDING_POINTS), ("Roll-forward", POINTS_ROLL_FORWARD))
        ],
        one.relation_count,
    )


def _relation_rows(one: MonthCurrency, columns: list[str]) -> str:
    """A row of texts for each relation reference, which is the first of ``columns``."""
    points = ", ".join(map(_points_text, columns[1:]))
    return f"select {columns[0]}, {points} from {one.balances} order by {columns[0]}"


def _programme_lines(where: str) -> str:
    fields = ["name", "reason", "transfers", "coalesce(points_text(points), '')"]
    return f"select {csv_line(fields)} as line from ({programme_rows(where)}) order by part, reason"


def programme_rows(where: str) -> str:
    """The programme's roll-forward by bucket and reason, then the control totals; empty where not counted.
    Their order is that of ``part`` and ``reason``."""
    programme = f"from programme_points_by_month where {where}"
    parts = [
        "select 0 as part, 'Opening Points' as name, '' as reason, '' as transfers,"
        f" opening_points as points {programme}"
    ]
    for part, bucket in enumerate(("earned", "reversal", "redeemed", "expired")):
        name = f"{bucket.capitalize()} Points"
        parts.append(
            f"select {2 * part + 1}, '{name}', reason, cast(sum(transfer_count) as varchar),"
            f" sum(bucket_points) from points_movements_by_month"
            f" where {where} and bucket = '{bucket}' group by reason"
        )
        parts.append(f"select {2 * part + 2}, 'All {name}', '', '', {bucket}_points {programme}")
    parts.append(f"select 9, 'Closing Points', '', '', closing_points {programme}")
    controls = [
        ("Posted Transfers", "posted_transfer_count", "cast(null as decimal(38, 4))"),
        ("Late Transfers", "late_transfer_count", "late_points"),
        ("Redemptions Given Back", "''", "redemptions_given_back_points"),
        ("Pending Transfers", "pending_transfer_count", "cast(null as decimal(38, 4))"),
        ("Pending Given Points", "''", "pending_given_points"),
        ("Pending Deducted Points", "''", "pending_deducted_points"),
        ("Relation References", "relation_count", "cast(null as decimal(38, 4))"),
        ("Relation References Not Zero", "nonzero_relation_count", "cast(null as decimal(38, 4))"),
        ("Relation References Below Zero", "negative_relation_count", "negative_points"),
    ]
    parts += [
        f"select {10 + part}, '{name}', '', cast({count} as varchar), {points} {programme}"
        for part, (name, count, points) in enumerate(controls)
    ]
    return " union all ".join(parts)


def csv_line(fields: Iterable[str]) -> str:
    """The expression that makes a line of CSV of the expressions of its fields."""
    return " || ',' || ".join(fields)


def csv_copy(query: str, header: Iterable[str], path: Path) -> str:
    """The statement that writes a query of finished lines as a CSV file with CRLF line ends.

    No field here can hold a comma, a quote or a line break: names are fixed, identifiers and reasons match
    their patterns. So DuckDB writes the lines as they are; the carriage return is the end of each.
    """
    heading = ",".join(header) + "\r"
    return (
        f"copy (select line || chr(13) as {identifier(heading)} from ({query}))"
        f" to {literal(path)} (format csv, header true, delimiter '', quote '', escape '')"
    )


def parquet_copy(query: str, path: Path, metadata: Mapping[str, str]) -> str:
    """The statement that writes the rows of ``query``, in its order, as a Parquet file that says ``metadata``
    of itself."""
    pairs = ", ".join(f"{name}: {literal(value)}" for name, value in metadata.items())
    return f"copy ({query}) to {literal(path)} (format parquet, compression zstd, kv_metadata {{{pairs}}})"


def _sum_up(
    connection: duckdb.DuckDBPyConnection, folder: Path, month: str, default_currency: str
) -> MonthFiles:
    relations, transfers, closing = connection.execute(
        "select relation_count, posted_transfer_count, closing_points from programme_points_by_month"
        " where report_month = ? and currency = ?",
        [_first_day(month), default_currency],
    ).fetchone()
    return MonthFiles(month, folder, relations, transfers, points_text(closing))


def _first_day(month: str) -> str:
    return f"{month}-01"
