"""The checks of the published files: they are, byte by byte, what the ledger says was published.

They are held against the manifests and the ledger's close entries, never against a build: a closed month is
right because it is what was closed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ledger.closes import ClosedMonth, CloseHistory
from orchestration.assets.published_files import (
    MANIFEST,
    PUBLISHED_DATABASE,
    PUBLISHED_KINDS,
    kind_of,
    published_key,
)
from orchestration.published.layout import DATABASE_NAME, MANIFEST_NAME, revision_folder
from orchestration.published.manifests import PublishedDamaged, read_manifest
from orchestration.published.soundness import names_month_before

_AS_PUBLISHED = "is_as_published"
_NAMED_BY_LEDGER = dg.AssetCheckKey(published_key(MANIFEST), "is_the_one_that_the_ledger_names")
_NAMES_BEFORE = dg.AssetCheckKey(published_key(MANIFEST), "names_the_month_before")
_HOLDS_ISSUED = dg.AssetCheckKey(published_key(PUBLISHED_DATABASE), "holds_the_issued_months")

_DESCRIPTIONS = {
    **{
        dg.AssetCheckKey(
            published_key(kind), _AS_PUBLISHED
        ): "Of every month: size and SHA-256 = those in the month's manifest."
        for kind in PUBLISHED_KINDS
    },
    _NAMED_BY_LEDGER: "Of every month: SHA-256 of the manifest = that in the ledger's close entry, which"
    " was made from the same entries; and there is no other file.",
    _NAMES_BEFORE: "Of every month: its manifest names the manifest of the month before by its SHA-256.",
    _HOLDS_ISSUED: "Months and revisions in the database = those that the ledger says readers have.",
}


@dataclass(frozen=True)
class Finding:
    """A damaged file, and the check that it fails."""

    check: dg.AssetCheckKey
    damage: PublishedDamaged


def published_check_specs() -> list[dg.AssetCheckSpec]:
    """One check for each truth of the published files."""
    return [
        dg.AssetCheckSpec(key.name, asset=key.asset_key, description=description)
        for key, description in _DESCRIPTIONS.items()
    ]


def attribute(damages: Sequence[PublishedDamaged]) -> list[Finding]:
    """Each damage of a file with the check that it fails."""
    return [Finding(_check_of(damage.path), damage) for damage in damages]


def find_broken_links(home: Path, history: CloseHistory, closes: Sequence[ClosedMonth]) -> Iterator[Finding]:
    """The closes whose manifest does not name the manifest of the month before, as it was at that time."""
    for closed in closes:
        folder = revision_folder(home, closed.report_month, closed.revision)
        try:
            manifest = read_manifest(folder, closed.manifest_sha256)
        except PublishedDamaged:
            continue  # another check's finding
        if not names_month_before(history, closed, manifest):
            yield Finding(
                _NAMES_BEFORE,
                PublishedDamaged(folder / MANIFEST_NAME, "does not name the manifest of the month before"),
            )


def judge(findings: Sequence[Finding], closes: Sequence[ClosedMonth]) -> Iterator[dg.AssetCheckEvaluation]:
    """The verdict of every check on these closes."""
    months = ", ".join(closed.name for closed in closes) or "none: no month is closed yet"
    for key in _DESCRIPTIONS:
        failures = [f"{found.damage.path} {found.damage.finding}" for found in findings if found.check == key]
        yield dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not failures,
            metadata={"months": months, **({"found": "; ".join(failures)} if failures else {})},
        )


def _check_of(path: Path) -> dg.AssetCheckKey:
    if path.name == DATABASE_NAME:
        return _HOLDS_ISSUED
    kind = kind_of(path.name)
    if kind is None or kind is MANIFEST:
        return _NAMED_BY_LEDGER
    return dg.AssetCheckKey(published_key(kind), _AS_PUBLISHED)
