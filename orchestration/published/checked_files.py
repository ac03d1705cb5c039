"""The one way by which commands read what was published: each file is as its manifest says, and the manifest
is the one of the close (docs/cases.md, C14)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.published.layout import revision_folder
from orchestration.published.manifests import PublishedDamaged, check_file, read_manifest


class NotInManifest(PublishedDamaged):
    """A file is asked for that the month's manifest does not name."""


@dataclass(frozen=True)
class CheckedFiles:
    """The files of a published revision, each looked at when it is asked for."""

    folder: Path
    manifest: Mapping

    def path(self, name: str) -> Path:
        """Where a file is whose bytes are those that were published; raise `PublishedDamaged`."""
        if name not in self.manifest["files"]:
            raise NotInManifest(self.folder / name, "is in no manifest")
        check_file(self.folder, self.manifest, name)
        return self.folder / name


def checked_files(home: Path, report_month: str, revision: int, manifest_sha256: str) -> CheckedFiles:
    """The files of a revision whose close names a manifest of that hash; raise `PublishedDamaged`."""
    folder = revision_folder(home, report_month, revision)
    return CheckedFiles(folder, read_manifest(folder, manifest_sha256))
