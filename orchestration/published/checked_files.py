"""The one way by which commands read what was published: each file is as its manifest says, and the manifest
is the one of the close (docs/cases.md, C14)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.published.known_files import KnownFiles
from orchestration.published.layout import revision_folder
from orchestration.published.manifests import PublishedDamaged, check_file, read_manifest


class NotInManifest(PublishedDamaged):
    """A file is asked for that the month's manifest does not name."""


@dataclass(frozen=True)
class CheckedFiles:
    """The files of a published revision, each looked at when it is asked for."""

    folder: Path
    manifest: Mapping
    known: KnownFiles

    def path(self, name: str) -> Path:
        """Where a file is whose bytes are those that were published; raise `PublishedDamaged`."""
        if name not in self.manifest["files"]:
            raise NotInManifest(self.folder / name, "is in no manifest")
        path, sha256 = self.folder / name, self.manifest["files"][name]["sha256"]
        check_file(self.folder, self.manifest, name, hashed=False)
        if not self.known.is_known(path, sha256):
            before = path.stat()
            check_file(self.folder, self.manifest, name)
            self.known.add(path, before, sha256)
        return path


def checked_files(home: Path, report_month: str, revision: int, manifest_sha256: str) -> CheckedFiles:
    """The files of a revision whose close names a manifest of that hash; raise `PublishedDamaged`."""
    folder = revision_folder(home, report_month, revision)
    return CheckedFiles(folder, read_manifest(folder, manifest_sha256), KnownFiles(home))
