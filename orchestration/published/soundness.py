"""Are the published files what the ledger says was published? (docs/cases.md, X10 and X12)"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ledger.anchors import ANCHOR_NAME
from ledger.closes import ClosedMonth, CloseHistory
from ledger.models import ChainLink
from orchestration.published.layout import (
    CURRENT_NAME,
    DATABASE_FOLDER,
    DATABASE_NAME,
    DATABASES_NAME,
    LINK_REMEDY,
    MANIFEST_NAME,
    SET_NAME,
    database_file,
    is_taken,
    list_month_folders,
    list_revisions,
    published_folder,
    revision_folder,
    set_link,
)
from orchestration.published.manifests import (
    PublishedDamaged,
    bytes_of_files,
    check_files,
    read_manifest,
)
from orchestration.report_calendar import previous_month

# What a close hashes before it goes on, newest month first: what takes a second or two. All of it, however
# much, is for `points verify`.
_BYTES_HASHED_BY_A_CLOSE = 1024**3
_ANCHOR_REMEDY = (
    "compare the head of the ledger with one that was kept elsewhere (`points verify --head ENTRY:DIGEST`),"
    " and the next close remembers it again"
)
# What a file system keeps at its root, where published files have one of their own.
_OF_THE_FILE_SYSTEM = "lost+found"


def check_published(home: Path, history: CloseHistory) -> None:
    """Refuse to go on beside damaged files: all manifests, names and sizes, and the newest files by hash.

    Raises `PublishedDamaged`, naming the first.
    """
    for damage in find_damage(home, history, _BYTES_HASHED_BY_A_CLOSE):
        raise damage


def find_damage(
    home: Path,
    history: CloseHistory,
    bytes_to_hash: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[PublishedDamaged]:
    """All published files that differ from what the ledger says, the newest month first.

    Files are hashed until ``bytes_to_hash`` are used up; None: all of them. ``report`` takes revisions done
    and in all.
    """
    hashed = 0
    for position, closed in enumerate(reversed(history.closes), start=1):
        folder = revision_folder(home, closed.report_month, closed.revision)
        try:
            manifest = read_manifest(folder, closed.manifest_sha256)
            is_hashed = bytes_to_hash is None or hashed < bytes_to_hash
            check_files(folder, manifest, is_hashed)
            hashed += bytes_of_files(manifest) if is_hashed else 0
            _check_against_ledger(folder, manifest, closed)
            if not names_month_before(history, closed, manifest):
                yield PublishedDamaged(
                    folder / MANIFEST_NAME, "does not name the manifest of the month before"
                )
        except PublishedDamaged as damage:
            yield damage
        report(position, len(history.closes))
    yield from find_strangers(home, history)
    if history.closes and not (home / ANCHOR_NAME).exists():
        yield PublishedDamaged(home / ANCHOR_NAME, "is missing, though months are closed", _ANCHOR_REMEDY)
    for month, closed in history.issued.items():
        link = published_folder(home) / month / CURRENT_NAME
        issued = revision_folder(home, month, closed.revision)
        if is_taken(link):
            yield PublishedDamaged(link, "is no link", LINK_REMEDY)
        elif link.exists() and link.resolve() != issued.resolve():  # one that is missing is made again
            yield PublishedDamaged(
                link,
                f"does not name {closed.name}, which was issued",
                "delete the link, and the next command makes it again",
            )


def _check_against_ledger(folder: Path, manifest: dict, closed: ClosedMonth) -> None:
    """The manifest is the close entry's by its hash; what it says of the ledger must be so too."""
    link = ChainLink.objects.filter(last_entry_id=closed.cutoff_entry_id).first()
    if link is None or bytes(link.digest).hex() != manifest["ledger_chain_digest"]:
        raise PublishedDamaged(
            folder, f"was made from other entries up to {closed.cutoff_entry_id:,} than the ledger holds"
        )
    if manifest["control_totals"] != closed.control_totals:
        raise PublishedDamaged(folder, "has other control totals than the ledger's close entry")


def names_month_before(history: CloseHistory, closed: ClosedMonth, manifest: Mapping) -> bool:
    """Whether a close's manifest names, by its hash, that of the month before, as it was in force then."""
    before = history.before(closed.entry_id).in_force.get(previous_month(closed.report_month))
    return manifest["previous_manifest_sha256"] == (before.manifest_sha256 if before else None)


def find_strangers(home: Path, history: CloseHistory) -> Iterator[PublishedDamaged]:
    """Revisions that no close entry names: the ledger is another, or an older copy (docs/cases.md, X12)."""
    known = {closed.name for closed in history.closes}
    for month in list_month_folders(home):
        for name in list_revisions(home, month.name):
            if f"{month.name}/{name}" in known:
                continue
            yield PublishedDamaged(
                month / name,
                "is in no close entry of the ledger",
                "restore the newest backup of the ledger, for this one is an older copy or another, or set"
                " POINTS_HOME to the home that belongs to it",
            )


def find_strays(home: Path, history: CloseHistory) -> Iterator[PublishedDamaged]:
    """What stands beside the revisions and belongs there neither by its name nor by its kind
    (docs/cases.md, S6).

    Revisions that no close entry names are for `find_strangers`.
    """
    published = published_folder(home)
    months = {closed.report_month for closed in history.closes}
    months |= {month.name for month in list_month_folders(home) if list_revisions(home, month.name)}
    databases = published / DATABASES_NAME
    made = [path for path in _entries(databases) if DATABASE_FOLDER.fullmatch(path.name)]
    belonging = {
        published: {*months, DATABASES_NAME, DATABASE_NAME, SET_NAME, ANCHOR_NAME, _OF_THE_FILE_SYSTEM},
        **{published / month: {*list_revisions(home, month), CURRENT_NAME} for month in sorted(months)},
        databases: {path.name for path in made},
        **{path: {DATABASE_NAME, *months} for path in made},
    }
    for folder, names in belonging.items():
        if folder != published and folder.is_symlink():
            yield PublishedDamaged(folder, "is a link")
        for path in _entries(folder):
            if path.name not in names:
                yield PublishedDamaged(
                    path, "is no part of what was published", "move it to where nothing is published"
                )
    for path in made:
        if (path / DATABASE_NAME).is_symlink():
            yield PublishedDamaged(path / DATABASE_NAME, "is a link")
    for link in (database_file(home), set_link(home)):
        if is_taken(link):
            yield PublishedDamaged(link, "is no link", LINK_REMEDY)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
