"""What marts promise: the columns that files, readers and the next close rely on (docs/design.md, section 8).

`mart_contract.yml` is the list, beside the models and not among them, so that who changes a mart cannot break
the promise silently. All other columns of a mart may come and go from close to close (docs/cases.md, X22).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from ledger.data_files import connect
from ledger.errors import PointsError
from ledger.sql_text import literal
from orchestration.month_files import HISTORY, PARQUET_FILES, UNPOSTED

MART_CONTRACT = Path(__file__).with_name("mart_contract.yml")

# What readers' views put beside a mart's own columns.
ADDED_COLUMNS = ("revision", "period_start_date", "period_end_date", "publication_status")

# Sums of integers have these types unless they are cast.
_FLOATS_IN_PARQUET = ("HUGEINT", "UHUGEINT")


class ContractBroken(PointsError):
    """A mart lacks a column that it promises, or has one that it may not; ``problems`` names each."""

    code = "CONTRACT"

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            f"The marts are not what their readers are promised, so nothing was written:"
            f" {'; '.join(problems)}; fix the model, or change orchestration/{MART_CONTRACT.name}, which a"
            " reviewer must agree to."
        )


@cache
def mart_contract() -> dict[str, dict[str, str]]:
    """The promised columns of each mart with their types, as DuckDB calls them in capitals."""
    marts = yaml.safe_load(MART_CONTRACT.read_text(encoding="utf-8"))
    return {
        mart: {column: data_type.upper() for column, data_type in columns.items()}
        for mart, columns in marts.items()
    }


def figure_columns(mart: str) -> list[str]:
    """The promised columns of a mart that say what a row is of and its numbers; none of dates and marks."""
    _, order = PARQUET_FILES.get(mart, (None, "transfer_id"))
    grain = order.split(", ")
    return [
        column
        for column, data_type in mart_contract()[mart].items()
        if column in grain or data_type.startswith(("DECIMAL", "BIGINT"))
    ]


def check_contract(database: Path, is_finished: bool = True) -> None:
    """Raise `ContractBroken` where the marts in a build's DuckDB file do not keep their promise.

    Of a build that is not finished, marts that are not there yet are passed over.
    """
    built: dict[str, dict[str, str]] = {}
    with connect(database, read_only=True) as connection:
        # The build's views name some files relative to the folder of the run.
        connection.execute(f"set file_search_path = {literal(database.parent)}")
        for mart, column, data_type in connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).fetchall():
            built.setdefault(mart, {})[column.lower()] = data_type
    missing = [f"there is no mart {mart}" for mart in mart_contract() if is_finished and mart not in built]
    broken = [
        problem for mart in mart_contract() if mart in built for problem in _find_problems(mart, built[mart])
    ]
    if missing or broken:
        raise ContractBroken(missing + broken)


def _find_problems(mart: str, columns: Mapping[str, str]) -> Iterator[str]:
    for column, data_type in mart_contract()[mart].items():
        if column not in columns:
            yield f"{mart} has no column {column}"
        elif columns[column] != data_type:
            yield f"{mart} has {column} as {columns[column]} in place of {data_type}"
    for column, data_type in columns.items():
        if mart in PARQUET_FILES and column in ADDED_COLUMNS:
            yield f"{mart} has a column {column}, the name of one that readers' views put beside its own"
        if data_type in _FLOATS_IN_PARQUET and mart in (*PARQUET_FILES, UNPOSTED, HISTORY):
            yield f"{mart} has {column} as {data_type}, of which Parquet makes a float: cast it to bigint"
