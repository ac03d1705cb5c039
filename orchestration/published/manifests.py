"""The manifest of a closed month: what its files are, what they come from, and who vouches for them.

It holds no clock and no path, so that the same cut, closed again, gives the same bytes; the hash of it stands
in the ledger's close entry and in the next month's manifest (docs/design.md, section 9).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ledger.data_files import connect, parquet_footer, read_parquet
from ledger.disk import file_sha256
from ledger.errors import PointsError
from ledger.settings import PROJECT_ROOT
from orchestration.dbt.descriptions import Description
from orchestration.published.layout import MANIFEST_NAME

if TYPE_CHECKING:  # the process that reads a close back needs no Django, which takes half a second
    from ledger.anchors import Head
    from ledger.closes import ClosedMonth

SEEDS = ("transfer_reasons.csv", "points_currencies.csv")
_VERSIONS = ("outstanding-points", "dbt-core", "dbt-duckdb", "duckdb")


class PublishedDamaged(PointsError):
    """A published file is not what was published."""

    code = "PUBLISHED_DAMAGED"

    def __init__(
        self,
        path: Path,
        finding: str,
        remedy: str = "put the file back from a backup of the published folder, and let `points verify` look"
        " at all of them",
    ) -> None:
        super().__init__(f"{path} {finding}, so nothing may be shown or made of it; {remedy}.")


@dataclass(frozen=True)
class Facts:
    """What a manifest says besides its files.

    ``zone_changes_sha256`` is the hash of the zone's changes (`ledger.zones`) that decided its days;
    ``control_totals`` are by currency (`orchestration.recount`); ``tests`` are dbt's verdicts by unique
    id; ``ledger_head`` is where the ledger was frozen. ``models_sha256`` and ``descriptions``, by mart, are
    those of the models that were run. ``quarantine_accepted`` says how many quarantined rows were open and
    why the month was closed without them; None where none was.
    """

    programme: str
    report_month: str
    period_start_date: str
    period_end_date: str
    revision: int
    seals: Mapping[str, object]
    zone_changes_sha256: str
    control_totals: Mapping[str, Mapping]
    tests: Mapping[str, str]
    ledger_head: Head
    previous_manifest_sha256: str | None
    models_sha256: str
    descriptions: Mapping[str, Description]
    quarantine_accepted: Mapping[str, object] | None


@dataclass(frozen=True)
class Column:
    """A column of a Parquet file: its name, its type as DuckDB calls it, and what it means."""

    name: str
    type: str
    description: str


def write_manifest(folder: Path, facts: Facts) -> str:
    """Write the manifest of the files in ``folder`` beside them; return its SHA-256."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST_NAME)
    content = {
        "programme": facts.programme,
        "report_month": facts.report_month,
        "period_start_date": facts.period_start_date,
        "period_end_date": facts.period_end_date,
        "revision": facts.revision,
        "cutoff_entry_id": facts.ledger_head.entry_id,
        "sealed_settings": dict(facts.seals),
        "zone_changes_sha256": facts.zone_changes_sha256,
        "counts": _count_rows(path for path in files if path.suffix == ".parquet"),
        "control_totals": facts.control_totals,
        "quarantine_accepted": facts.quarantine_accepted,
        "files": {path.name: _describe_file(path, facts.descriptions) for path in files},
        "seeds_sha256": seeds_sha256(),
        "models_sha256": facts.models_sha256,
        "versions": {name: version(name) for name in _VERSIONS},
        "tests": dict(sorted(facts.tests.items())),
        "ledger_chain_digest": facts.ledger_head.chain_digest.hex(),
        "previous_manifest_sha256": facts.previous_manifest_sha256,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_manifest(folder: Path, sha256: str | None = None) -> dict:
    """The manifest in ``folder``; where ``sha256`` is given it must have that hash.

    Raises `PublishedDamaged` where it is missing or another.
    """
    path = folder / MANIFEST_NAME
    for part in (folder, path):
        _refuse_link(part)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise PublishedDamaged(path, "is missing") from None
    except OSError as error:
        raise PublishedDamaged(path, f"cannot be read ({error.strerror})") from error
    if sha256 is not None and hashlib.sha256(text).hexdigest() != sha256:
        raise PublishedDamaged(path, "is not the one that the ledger's close entry names by its hash")
    return json.loads(text)


def check_files(folder: Path, manifest: Mapping, hashed: bool = True) -> None:
    """Raise `PublishedDamaged` at the first file of ``folder`` that is not as its manifest says.

    Without ``hashed`` only names and sizes are looked at.
    """
    for name in manifest["files"]:
        check_file(folder, manifest, name, hashed)
    for path in sorted(folder.iterdir()):
        if path.name not in (*manifest["files"], MANIFEST_NAME):
            raise PublishedDamaged(path, "is in no manifest", "move it to where nothing is published")


def check_file(folder: Path, manifest: Mapping, name: str, hashed: bool = True) -> None:
    """Raise `PublishedDamaged` where one file of ``folder`` is not as its manifest says.

    Without ``hashed`` only its size is looked at.
    """
    expected, path = manifest["files"][name], folder / name
    _refuse_link(path)
    if not path.is_file():
        raise PublishedDamaged(path, "is missing")
    if path.stat().st_size != expected["bytes"]:
        raise PublishedDamaged(
            path, f"has {path.stat().st_size:,} bytes where its manifest says {expected['bytes']:,}"
        )
    if hashed and _sha256_of_published(path) != expected["sha256"]:
        raise PublishedDamaged(path, "was altered: its hash is not the one in its manifest")


def _refuse_link(path: Path) -> None:
    """The target of a link is not what was published, even where its bytes are the same (docs/cases.md,
    S6)."""
    if path.is_symlink():
        raise PublishedDamaged(path, "is a link")


def _count_rows(files: Iterable[Path]) -> dict[str, int]:
    """The rows of each Parquet file, from its own footer, by its name without the ending."""
    with connect() as connection:
        return {
            file.stem: connection.execute(f"select num_rows from {parquet_footer(file)}").fetchone()[0]
            for file in files
        }


def _describe_file(path: Path, descriptions: Mapping[str, Description]) -> dict[str, object]:
    facts: dict[str, object] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    if path.suffix != ".parquet":
        return facts
    mart = descriptions[path.stem]
    columns = [asdict(column) for column in read_columns(path, mart.columns)]
    return {**facts, "description": mart.text, "columns": columns}


def list_columns(folder: Path, manifest: Mapping, name: str) -> list[Column]:
    """The columns of a Parquet file of ``folder``, in order; an older manifest says no word of them."""
    columns = manifest["files"][name].get("columns")
    return read_columns(folder / name) if columns is None else [Column(**column) for column in columns]


def read_columns(path: Path, descriptions: Mapping[str, str] = MappingProxyType({})) -> list[Column]:
    """The columns of a Parquet file as it has them."""
    with connect() as connection:
        described = connection.execute(f"describe from {read_parquet(path)}").fetchall()
    return [Column(name, data_type, descriptions.get(name, "")) for name, data_type, *_ in described]


def _sha256_of_published(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise PublishedDamaged(path, f"cannot be read ({error.strerror})") from error


def bytes_of_files(manifest: Mapping) -> int:
    """How large the files of a manifest are, all together."""
    return sum(file["bytes"] for file in manifest["files"].values())


def seeds_sha256() -> str:
    """One hash over the rules that classify: the seeds' rows, with any line ends."""
    digest = hashlib.sha256()
    for name in SEEDS:
        with open(PROJECT_ROOT / "seeds" / name, encoding="utf-8", newline="") as file:
            digest.update(json.dumps([name, list(csv.reader(file))]).encode("utf-8"))
    return digest.hexdigest()


def checked_manifest(closed: ClosedMonth, folder: Path) -> dict:
    """The manifest of a published month whose files are all as they were published.

    Raises `PublishedDamaged`.
    """
    manifest = read_manifest(folder, closed.manifest_sha256)
    check_files(folder, manifest)
    return manifest
