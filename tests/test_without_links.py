"""A home on a file system without symbolic or hard links, like exFAT (docs/cases.md, X27)."""

import errno
import os

import duckdb
import pytest

from ledger.database import open_ledger
from ledger.upkeep.backup import back_up
from orchestration.build import build_months
from orchestration.close.closing import close_months
from orchestration.exports import ExportTargetTaken
from orchestration.published.database import export_database
from orchestration.published.layout import NoLinks
from orchestration.upkeep.doctor import examine
from tests.closed_programme import CLOSED, NEXT, Home, assert_sound, published_bytes


@pytest.fixture
def without_links(copied, monkeypatch) -> Home:
    """A home whose file system says what exFAT says of links."""

    def refuse(*arguments, **options) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    return copied


@pytest.mark.parametrize("act", [lambda settings: close_months(settings, NEXT), build_months])
def test_nothing_is_begun_that_could_not_be_given_to_readers(without_links, programme, monkeypatch, act):
    """docs/cases.md, X27: above all no month is closed that could never be published."""
    runs = list((without_links.path / "runs").iterdir())
    with pytest.raises(NoLinks) as refused:
        act(without_links.settings())
    assert refused.value.folder == without_links.path
    assert list((without_links.path / "runs").iterdir()) == runs
    assert list(without_links.history().in_force) == list(CLOSED)
    assert published_bytes(without_links) == published_bytes(programme)
    monkeypatch.undo()
    assert_sound(without_links)


def test_doctor_says_so(without_links):
    """docs/cases.md, X27."""
    findings = examine({"POINTS_HOME": str(without_links.path)}, {}, "").findings
    (found,) = [finding for finding in findings if finding.verdict == "problem"]
    assert (found.subject, found.sentence) == ("home", NoLinks(without_links.path).sentence)


def test_exports_and_backups_need_no_links_and_overwrite_nothing_all_the_same(without_links, tmp_path):
    """docs/cases.md, X27."""
    exported, copy = tmp_path / "carried" / "copy.duckdb", tmp_path / "carried" / "ledger.sqlite3"
    exported.parent.mkdir()
    tables = dict(export_database(without_links.path, exported))
    with duckdb.connect(str(exported), read_only=True) as connection:
        (rows,) = connection.execute("select count(*) from outstanding_points_by_month").fetchone()
    assert rows == tables["outstanding_points_by_month"] > 0
    with pytest.raises(ExportTargetTaken):
        export_database(without_links.path, exported)
    back_up(open_ledger(without_links.settings()), copy)
    assert sorted(exported.parent.iterdir()) == [exported, copy]
