"""One relation over the files of many months, whose columns may have come, gone or changed
(docs/cases.md, X22).

Months are joined by the names of their columns. A column that a month does not have is null there; one that
months have in different types is text, for DuckDB would cast some to others' type, or fail. What columns a
month has its manifest says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ledger.data_files import read_parquet
from ledger.sql_text import identifier
from orchestration.dbt.descriptions import Description
from orchestration.published.manifests import Column, list_columns


@dataclass(frozen=True)
class MonthFile:
    """A month's Parquet file, with what its manifest says that it is."""

    path: Path
    description: str
    columns: Sequence[Column]


@dataclass
class _Joined:
    """A column of the months together: its name as the first has it, its types, how many months have it, and
    what the newest that says so says that it is."""

    name: str
    types: set[str] = field(default_factory=set)
    months: int = 0
    description: str = ""

    @property
    def is_text(self) -> bool:
        return len(self.types) > 1


def find_month_files(mart: str, folders: Sequence[Path], manifests: Sequence[Mapping]) -> Iterator[MonthFile]:
    """A mart's Parquet file in each of the months, given by folder and manifest, that has one."""
    name = f"{mart}.parquet"
    for folder, manifest in zip(folders, manifests, strict=True):
        if name in manifest["files"]:
            description = manifest["files"][name].get("description", "")
            yield MonthFile(folder / name, description, list_columns(folder, manifest, name))


def join_months(files: Sequence[MonthFile]) -> str:
    """A query that gives all rows of ``files``."""
    texts = {key for key, joined in _join_columns(files).items() if joined.is_text}
    # DuckDB gives a column of files that it reads together one type: those of another type are read apart.
    alike: dict[tuple, list[MonthFile]] = {}
    for file in files:
        types = [(column.name, column.type) for column in file.columns if column.name.lower() in texts]
        alike.setdefault(tuple(sorted(types)), []).append(file)
    return " union all by name ".join(
        _read([file.path for file in together], [name for name, _ in types])
        for types, together in alike.items()
    )


def _read(paths: Sequence[Path], texts: Sequence[str]) -> str:
    casts = ", ".join(f"cast({identifier(name)} as varchar) as {identifier(name)}" for name in texts)
    return f"select *{f' replace ({casts})' if casts else ''} from {read_parquet(paths)}"


def describe_months(
    files: Sequence[MonthFile], added: Mapping[str, str] = MappingProxyType({})
) -> Description:
    """What that relation and its columns are; ``added`` columns stand beside them."""
    columns = {}
    for joined in _join_columns(files).values():
        remarks = [
            joined.description,
            "Text, because months have it in different types." if joined.is_text else "",
            "Null in months whose files do not have it." if joined.months < len(files) else "",
        ]
        columns[joined.name] = " ".join(filter(None, remarks))
    newest = next((file.description for file in reversed(files) if file.description), "")
    return Description(newest, {**columns, **added})


def _join_columns(files: Sequence[MonthFile]) -> dict[str, _Joined]:
    """The columns of all files by their names in small letters, for DuckDB makes no difference."""
    columns: dict[str, _Joined] = {}
    for file in files:
        for column in file.columns:
            joined = columns.setdefault(column.name.lower(), _Joined(column.name))
            joined.types.add(column.type)
            joined.months += 1
            joined.description = column.description or joined.description
    return columns
