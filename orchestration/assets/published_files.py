"""The published files as assets, one for each kind, with a partition for each closed month.

A month is closed by the job ``close_months`` or by the command, and what is published is never written again.
So they are assets that Dagster shows and cannot make: "materialise all" builds, and closes nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ledger.closes import ClosedMonth, CloseHistory
from ledger.disk import file_sha256
from ledger.settings import Settings
from orchestration.assets.month_files import FILE_KINDS, FileKind, describe_content
from orchestration.close.evidence import EVIDENCE
from orchestration.month_files import RESTATEMENT
from orchestration.published.checked_files import checked_files
from orchestration.published.database import PublishedMonth, list_published
from orchestration.published.layout import DATABASE_NAME, MANIFEST_NAME, database_file

FOLDER = "published"
CLOSE = dg.AssetKey([FOLDER, "close"])

PUBLISHED_KINDS = (
    *(kind for kind in FILE_KINDS if kind.is_monthly),
    FileKind(
        RESTATEMENT,
        ["outstanding_points_by_month", "posted_transfers"],
        "What the month says otherwise than the revision before, and the transfers that caused it. Only"
        " revisions after the first have it.",
    ),
    FileKind(
        EVIDENCE,
        [],
        "For an auditor: the SQL of models and tests as it ran, the rules, the settings, what was open, the"
        " verdicts of the tests and the recount.",
    ),
)
MANIFEST = FileKind(
    MANIFEST_NAME,
    [],
    "What the files of the month are, what they come from, and their hashes. The ledger's close entry names"
    " it by its own hash, and so does the manifest of the month after.",
)
PUBLISHED_DATABASE = FileKind(
    DATABASE_NAME,
    [],
    "A read-only DuckDB database over the Parquet files of one consistent set of closed months: what BI tools"
    " open.",
    is_monthly=False,
)


def published_key(kind: FileKind) -> dg.AssetKey:
    """``published/outstanding_points_csv`` for outstanding_points.csv."""
    return kind.key_in(FOLDER)


def published_specs(months: dg.PartitionsDefinition) -> list[dg.AssetSpec]:
    """The close of a month, and the assets of what it publishes: files, their manifest, the database over all
    months."""
    file_keys = [published_key(kind) for kind in PUBLISHED_KINDS]
    parquet_keys = [published_key(kind) for kind in PUBLISHED_KINDS if kind.file_name.endswith(".parquet")]
    upstream = [
        *((kind, [CLOSE]) for kind in PUBLISHED_KINDS),
        (MANIFEST, file_keys),
        (PUBLISHED_DATABASE, [*parquet_keys, published_key(MANIFEST)]),
    ]
    close = dg.AssetSpec(
        CLOSE,
        deps=sorted({model for kind in PUBLISHED_KINDS for model in kind.models}),
        description="The entry of the ledger that closes a month: its cutoff, and the hash of its manifest."
        " The job close_months or `points close` makes it.",
        group_name="published_files",
        partitions_def=months,
    )
    return [
        close,
        *(
            dg.AssetSpec(
                key=published_key(kind),
                deps=deps,
                description=f"{kind.description} Final: the job close_months or `points close` publishes it.",
                group_name="published_files",
                kinds={kind.file_name.rpartition(".")[2]},
                partitions_def=months if kind.is_monthly else None,
            )
            for kind, deps in upstream
        ),
    ]


def unseen_months(instance: dg.DagsterInstance, history: CloseHistory) -> list[ClosedMonth]:
    """The closes in force that Dagster does not show yet, in order: new ones, and what the command closed."""
    return [
        closed
        for closed in history.in_force.values()
        if _shown_manifest(instance, closed) != closed.manifest_sha256
    ]


def _shown_manifest(instance: dg.DagsterInstance, closed: ClosedMonth) -> str | None:
    newest = instance.fetch_materializations(
        dg.AssetRecordsFilter(published_key(MANIFEST), asset_partitions=[_partition(closed)]), limit=1
    ).records
    if not newest or newest[0].asset_materialization is None:
        return None
    sha256 = newest[0].asset_materialization.metadata.get("SHA-256")
    return sha256.value if sha256 else None


def show_month(settings: Settings, closed: ClosedMonth) -> Iterator[dg.AssetMaterialization]:
    """The close of a month and its files, each with what a person wants to know before opening it.

    Raises `PublishedDamaged` where its manifest is not the one that the ledger names, or a file not the one
    that its manifest names.
    """
    files = checked_files(settings.home, closed.report_month, closed.revision, closed.manifest_sha256)
    manifest = files.manifest
    facts = {
        "report month": closed.report_month,
        "revision": closed.revision,
        "cutoff": f"entry {closed.cutoff_entry_id}",
        "closed by": closed.closed_by,
        "control totals": dg.MetadataValue.md(_control_totals(closed.control_totals)),
    }
    yield dg.AssetMaterialization(
        CLOSE, partition=_partition(closed), metadata={**facts, "SHA-256 of manifest": closed.manifest_sha256}
    )
    for kind in PUBLISHED_KINDS:
        if recorded := manifest["files"].get(kind.file_name):
            others = [name for name in manifest["files"] if name != kind.file_name and kind_of(name) is kind]
            yield dg.AssetMaterialization(
                published_key(kind),
                partition=_partition(closed),
                metadata={
                    **facts,
                    **describe_content(files.path(kind.file_name)),
                    "SHA-256": recorded["sha256"],
                    **({"files of other currencies": ", ".join(others)} if others else {}),
                },
            )
    path = files.folder / MANIFEST_NAME
    yield dg.AssetMaterialization(
        published_key(MANIFEST),
        partition=_partition(closed),
        metadata={
            **facts,
            "path": dg.MetadataValue.path(str(path)),
            "bytes": path.stat().st_size,
            "SHA-256": closed.manifest_sha256,
            "files": len(manifest["files"]),
            "tests passed": len(manifest["tests"]),
            "previous manifest": manifest["previous_manifest_sha256"] or "none: it is the first month",
        },
    )


def show_database(settings: Settings) -> dg.AssetMaterialization:
    """The database that readers have now, with the months in it."""
    file = database_file(settings.home)
    months = list_published(settings.home)
    return dg.AssetMaterialization(
        published_key(PUBLISHED_DATABASE),
        metadata={
            "path": dg.MetadataValue.path(str(file)),
            "bytes": file.stat().st_size,
            "SHA-256": file_sha256(file),
            "dagster/row_count": len(months),
            "months": dg.MetadataValue.md("\n".join(map(_line, months))),
        },
    )


def kind_of(file_name: str) -> FileKind | None:
    """The kind of a published file by its name, in any currency; None where no kind has that name."""
    stem, _, ending = file_name.partition(".")[0], "", file_name.rpartition(".")[2]
    kinds = (*PUBLISHED_KINDS, MANIFEST)
    return next((kind for kind in kinds if kind.file_name == f"{stem}.{ending}"), None)


def _partition(closed: ClosedMonth) -> str:
    return f"{closed.report_month}-01"


def _line(month: PublishedMonth) -> str:
    return (
        f"- {month.report_month}, revision {month.revision}, {month.status}, cutoff {month.cutoff_entry_id}"
    )


def _control_totals(totals: Mapping[str, Mapping[str, Any]]) -> str:
    """Control totals as lines of text: exact, and the same as in the manifest."""
    lines = []
    for currency, line in totals.items():
        for name, value in line.items():
            text = (
                ", ".join(f"{part} {held}" for part, held in value.items())
                if isinstance(value, dict)
                else value
            )
            lines.append(f"- {currency}: {name} {text}")
    return "\n".join(lines)
