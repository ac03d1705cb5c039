"""The one reader of the transfers that counted in months: what statements and explanations are made of
(docs/design.md, sections 7 and 10).

They come from the Parquet files of months, published or built. What a close did not keep yet is null.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb

from ledger.data_files import fetch_rows, read_parquet
from ledger.lists.transfer_lists import BUCKETS
from ledger.sql_text import literal

# Null in months that were closed before they were kept.
KEPT_LATER = {
    "recorded_at": "timestamp",
    "recorded_by": "varchar",
    "batch_id": "varchar",
    "external_reference": "varchar",
    "comment": "varchar",
}
# As the equation has them: earned - reversal - redeemed - expired.
BY_BUCKET = f"list_position({list(BUCKETS)}, bucket)"
# As transfers took effect.
EFFECTIVE_ORDER = "report_month, effective_at, effective_entry_id, transfer_id"


@dataclass(frozen=True, kw_only=True)
class PostedTransfer:
    """A transfer that counts in ``report_month`` (``YYYY-MM``).

    ``signed_points`` is what it does to the balance, ``bucket_points`` what it does to its bucket: a
    redemption of 30 has -30 and, in the bucket redeemed, 30. Instants are in UTC.
    """

    report_month: str
    relation_reference: str
    transfer_id: str
    reason: str
    bucket: str
    signed_points: Decimal
    bucket_points: Decimal
    is_late: bool
    occurred_at: datetime
    effective_at: datetime
    reverses_transfer_id: str | None
    recorded_at: datetime | None
    recorded_by: str | None
    batch_id: str | None
    external_reference: str | None
    comment: str | None


COLUMNS = tuple(field.name for field in fields(PostedTransfer))


def posted_transfers(files: Sequence[Path], where: str) -> str:
    """A relation of the rows of ``posted_transfers.parquet`` of some months for which a condition holds, with
    `COLUMNS` and those of `EFFECTIVE_ORDER`."""
    return f"""(
        select
            *,
            strftime(posting_month, '%Y-%m') as report_month,
            cast(case when style = 'give' then points else -points end as decimal(38, 4)) as signed_points,
            -- As the macro bucket_points has it: to give adds to earned and takes from the others.
            cast(
                case when (style = 'give') = (bucket = 'earned') then points else -points end
                as decimal(38, 4)
            ) as bucket_points
        from {completed(f"select * from {read_parquet(files)} where {where}", KEPT_LATER)}
    )"""


def completed(query: str, columns: Mapping[str, str]) -> str:
    """A relation of the rows of ``query``, null in those of ``columns`` (name to type) that it lacks."""
    nulls = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in columns.items())
    return f"(select * from (select {nulls}) where false union all by name {query})"


def of_customer(relation_reference: str, currency: str) -> str:
    """The condition for the rows of one customer in one currency."""
    return f"relation_reference = {literal(relation_reference)} and currency = {literal(currency)}"


def fetch_transfers(duck: duckdb.DuckDBPyConnection, query: str, more: Sequence[str] = ()) -> Iterator[dict]:
    """The rows of a ``query`` of `COLUMNS` and ``more``, by name, with their instants in UTC."""
    names = (*COLUMNS, *more)
    for row in fetch_rows(duck, query):
        yield {name: in_utc(value) for name, value in zip(names, row, strict=True)}


def in_utc(value: object) -> object:
    """A value of a Parquet file, which does not say that its instants are in UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
