"""What readers get when a disk has little room left, at any size (docs/cases.md, X25)."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from ledger.errors import PointsError
from orchestration.build import publish_build
from orchestration.close.publication import PublishingUnfinished, finish_if_needed
from orchestration.dbt.invocation import read_statuses, target_folder
from orchestration.exports import ExportNotWritten
from orchestration.provisional import DATABASE_NAME, NAMES
from orchestration.published.database import export_database, find_database_damage
from orchestration.published.layout import database_file, point_link, set_link
from orchestration.runs import FilesNotWritten
from tests.closed_programme import OLD, Home, leftovers, readers_see
from tests.small_disks import SmallDisk, SmallFiles

KB = 1024
# More than any of them writes.
ENOUGH = 4 * KB * KB


def at_every(step: int, in_ci: int):
    """Try with room that grows by ``step`` KB, and in CI by ``in_ci``."""
    return pytest.mark.parametrize("step", [step * KB, pytest.param(in_ci * KB, marks=pytest.mark.slow)])


def try_with_little_room(
    disk: SmallDisk | SmallFiles, step: int, act: Callable[[], object], refused: type[PointsError]
) -> Iterator[tuple[int, object]]:
    """Act with ever more room, each time after the caller has looked around, until it has succeeded twice.

    Gives the room in bytes and what came of it, None where it was refused for want of room.
    """
    outcomes = []
    for room in range(0, ENOUGH, step):
        outcome, reported = None, ""
        with disk.nearly_full(room):
            try:
                outcome = act()
            except refused as refusal:
                reported = refusal.sentence
        assert outcome or any(sentence in reported for sentence in disk.sentences), (room, reported)
        outcomes.append(bool(outcome))
        yield room, outcome
        if outcomes.count(True) == 2:
            break
    # Less room is never enough where more was not.
    assert outcomes == [*[False] * (len(outcomes) - 2), True, True], outcomes
    assert len(outcomes) > 2


@pytest.fixture
def home(programme, disk, tmp_path) -> Iterator[Home]:
    """A home that was copied, so that its readers' database is to be made again."""
    home = programme.copy(disk.folder / tmp_path.name)
    yield home
    shutil.rmtree(home.path)


@at_every(64, in_ci=8)
def test_the_readers_database_is_whole_or_refused(home, disk, step):
    """Refused, readers have the one that they had."""
    had = os.readlink(set_link(home.path))

    def publish() -> bool:
        finish_if_needed(home.settings())
        return True

    for room, is_whole in try_with_little_room(disk, step, publish, PublishingUnfinished):
        assert not leftovers(home), room
        if not is_whole:
            assert os.readlink(set_link(home.path)) == had, room
            continue
        assert readers_see(home) == OLD, room
        assert not list(find_database_damage(home.path, home.history())), room
        shutil.rmtree(database_file(home.path).resolve().parent)
        point_link(set_link(home.path), had)


@at_every(512, in_ci=64)
def test_an_export_is_whole_or_refused(home, disk, step):
    """Refused, nothing is left of it."""
    finish_if_needed(home.settings())
    folder = home.path / "carried"
    folder.mkdir()
    file = folder / "copy.duckdb"
    for room, tables in try_with_little_room(
        disk, step, lambda: export_database(home.path, file), ExportNotWritten
    ):
        assert list(folder.iterdir()) == ([file] if tables else []), room
        if tables:
            with duckdb.connect(str(file), read_only=True) as connection:
                for name, rows in tables:
                    assert connection.execute(f"select count(*) from {name}").fetchone() == (rows,), room
            file.unlink()


@at_every(256, in_ci=64)
def test_provisional_files_are_whole_or_refused(home, disk, step):
    """CSV, Parquet and the database over them; refused, readers have those of the build before."""
    run, earlier = home.path / "runs" / "000001", home.path / "runs" / "000000"
    shutil.copytree(run, earlier)
    statuses = read_statuses(target_folder(run))
    shown = publish_build(home.settings(), None, earlier, statuses).folder
    whole = files_beside_database(shown)
    for room, build in try_with_little_room(
        disk, step, lambda: publish_build(home.settings(), None, run, statuses), FilesNotWritten
    ):
        assert shown.resolve().parent == (run if build else earlier), room
        assert files_beside_database(shown) == whole, room
        with duckdb.connect(str((shown / DATABASE_NAME).resolve()), read_only=True) as connection:
            for name in NAMES:
                connection.execute(f"select count(*) from {name}")
        shutil.rmtree(run / "provisional")


def files_beside_database(folder: Path) -> dict[str, bytes]:
    """Every file but the database, whose views name the files of its run; its log would be among them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != DATABASE_NAME
    }
