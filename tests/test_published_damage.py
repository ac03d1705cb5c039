"""Published files altered, lost or moved, and ledgers and settings that are not theirs.

docs/cases.md, X9, X10, X12, X18 and X20.
"""

import io
import itertools
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import pytest
from django.db import connection

from ledger.acts.transfers import give
from ledger.anchors import LedgerReplaced
from ledger.database import LedgerMissing, open_ledger
from ledger.disk import file_sha256
from ledger.errors import PointsError
from ledger.seals import SealBroken
from ledger.work_folders import private_folder
from orchestration.build import build_months
from orchestration.close.closing import close_months
from orchestration.close.publication import ClosedFilesLost
from orchestration.close.reopening import reopen_months
from orchestration.month_files import OUTSTANDING_POINTS
from orchestration.provisional import swap_in
from orchestration.published import known_files, manifests
from orchestration.published.layout import (
    DATABASE_REMEDY,
    DATABASES_NAME,
    LinkTaken,
    database_file,
    point_link,
    published_folder,
    set_link,
)
from orchestration.published.manifests import PublishedDamaged
from orchestration.published.soundness import check_published
from orchestration.reports import read_report
from orchestration.upkeep.doctor import examine
from orchestration.upkeep.verification import PublishedUnsound, verify_all
from simulator.transfer_files import write_transfers
from tests.closed_programme import (
    CLOSED,
    NEW,
    NEXT,
    OLD,
    Home,
    assert_as_it_was,
    assert_closed,
    assert_sound,
    current_links,
    published_bytes,
    readers_see,
)
from tests.conftest import answer, assert_refused, refusal, transfer

NOT_AS_MADE = "is not what is made of the ledger and the published months"
# Every file of the last month of a run.
FILES = [
    "discrepancies.parquet",
    "evidence.zip",
    "manifest.json",
    "outstanding_points.MILES.csv",
    "outstanding_points.MILES.xlsx",
    "outstanding_points.MILES.xml",
    "outstanding_points.csv",
    "outstanding_points.xlsx",
    "outstanding_points.xml",
    "outstanding_points_by_month.parquet",
    "points_movements_by_month.parquet",
    "points_roll_forward.MILES.csv",
    "points_roll_forward.csv",
    "posted_transfers.parquet",
    "programme_points.MILES.csv",
    "programme_points.csv",
    "programme_points_by_month.parquet",
    "unposted_transfers.parquet",
]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_file(path: Path) -> None:
    path.write_text("kept by nobody", encoding="utf-8")


def damages(home: Home) -> dict[Path, str]:
    """What verify finds of published files, which must be something: the finding by its path."""
    with pytest.raises(PublishedUnsound) as unsound:
        verify_all(home.settings())
    found = {damage.path: damage.finding for damage in unsound.value.damages}
    assert len(found) == len(unsound.value.damages)
    return found


def assert_named_and_refused(home: Home, path: Path) -> None:
    """Verify names ``path``, and the next close refuses to build on it; nothing is changed."""
    before = published_bytes(home)
    assert path in damages(home)
    with pytest.raises(PublishedDamaged) as refused:
        close_months(home.settings(), NEXT)
    assert refused.value.path == path
    assert published_bytes(home) == before
    assert list(home.history().in_force) == list(CLOSED)


def test_every_file_of_a_month_is_tried(programme):
    assert (
        sorted(path.name for path in (published_folder(programme.path) / CLOSED[1] / "r1").iterdir()) == FILES
    )


HARMS = [flip_a_byte, cut_short, Path.unlink, put_a_folder_there]


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *itertools.product(["manifest.json", "outstanding_points.csv"], HARMS),
        # Every file is harmed, each in one of the ways.
        *(
            pytest.param(name, harm, marks=pytest.mark.slow)
            for name, harm in zip(FILES, itertools.cycle(HARMS))
            if name not in ("manifest.json", "outstanding_points.csv")
        ),
    ],
)
def test_a_published_file_that_is_not_as_it_was_is_named_and_not_built_on(
    copied, name: str, harm: Callable[[Path], None]
):
    """docs/cases.md, X10."""
    path = published_folder(copied.path) / CLOSED[1] / "r1" / name
    harm(path)
    assert_named_and_refused(copied, path)


READERS = {
    "report --csv": (["report", CLOSED[0], "--csv"], "outstanding_points.csv"),
    "report --csv --currency": (
        ["report", CLOSED[0], "--csv", "--currency", "MILES"],
        "outstanding_points.MILES.csv",
    ),
    "report --json": (["report", CLOSED[0], "--json"], "outstanding_points_by_month.parquet"),
    "report": (["report", CLOSED[0]], "outstanding_points_by_month.parquet"),
    "report, its total": (["report", CLOSED[0], "--rows", "0"], "programme_points_by_month.parquet"),
    "report, the manifest": (["report", CLOSED[0]], "manifest.json"),
    "months": (["months"], "programme_points_by_month.parquet"),
    "export-database": (["export-database", "copy.duckdb"], "discrepancies.parquet"),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_command_shows_or_exports_a_published_file_that_was_altered(copied, reader):
    """docs/cases.md, C14."""
    arguments, name = READERS[reader]
    answer(copied.points(*arguments))
    (copied.path.parent / "copy.duckdb").unlink(missing_ok=True)
    path = copied.path / "published" / CLOSED[0] / "r1" / name
    flip_a_byte(path)
    refused = copied.points(*arguments)
    assert str(path) in refusal(refused)
    assert refused.stdout == ""
    assert not (copied.path.parent / "copy.duckdb").exists()


@pytest.fixture
def hashed(monkeypatch) -> list[Path]:
    """The published files that commands read whole to compare their hash."""
    read: list[Path] = []
    monkeypatch.setattr(manifests, "file_sha256", lambda path: read.append(path) or file_sha256(path))
    return read


def show_csv(home: Home) -> bytes:
    output = io.BytesIO()
    read_report(home.settings(), CLOSED[0]).write_csv(OUTSTANDING_POINTS, output)
    return output.getvalue()


def test_a_published_file_is_read_whole_once_and_again_when_it_was_touched(copied, hashed, monkeypatch):
    """docs/cases.md, C14: also where it is as long as before and says that it is as old."""
    monkeypatch.setattr(known_files, "_LONGEST_TICK", 0)
    path = copied.path / "published" / CLOSED[0] / "r1" / OUTSTANDING_POINTS
    shown = show_csv(copied)
    assert path in hashed
    hashed.clear()
    assert show_csv(copied) == shown
    assert hashed == []
    before = path.stat()
    flip_a_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(PublishedDamaged):
            show_csv(copied)
    flip_a_byte(path)
    assert show_csv(copied) == shown
    assert hashed == [path] * 3


def test_a_published_file_that_has_just_changed_is_read_again(copied, hashed):
    """docs/cases.md, C14: within a tick of the system's clock a file could change twice."""
    for path in (copied.path / "published" / CLOSED[0] / "r1").iterdir():
        path.chmod(0o444)
    show_csv(copied)
    read = list(hashed)
    show_csv(copied)
    assert hashed == read * 2 != []


@pytest.mark.parametrize(("name", "put"), [("", put_file), ("known_files", Path.mkdir)])
def test_published_files_are_shown_where_nothing_can_be_remembered(copied, hashed, monkeypatch, name, put):
    """docs/cases.md, C14."""
    monkeypatch.setattr(known_files, "_LONGEST_TICK", 0)
    shutil.rmtree(private_folder(copied.path), ignore_errors=True)
    taken = private_folder(copied.path) / name
    taken.parent.mkdir(exist_ok=True)
    put(taken)
    shown = show_csv(copied)
    read = list(hashed)
    assert show_csv(copied) == shown
    assert hashed == read * 2 != []


def test_an_earlier_revision_is_shown_only_as_the_ledger_says_it_was_published(copied):
    """docs/cases.md, C14."""
    settings = copied.settings()
    reopen_months(settings, CLOSED[1], "try")
    close_months(settings, CLOSED[1])
    show = ["report", CLOSED[1], "--csv", "--revision", "1"]
    answer(copied.points(*show))
    folder = copied.path / "published" / CLOSED[1] / "r1"
    flip_a_byte(folder / "outstanding_points.csv")
    assert_refused(
        copied.points(*show),
        PublishedDamaged(
            folder / "outstanding_points.csv", "was altered: its hash is not the one in its manifest"
        ),
    )
    # A manifest that vouches for it is not the one of the ledger's close entry.
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["outstanding_points.csv"]["sha256"] = file_sha256(folder / "outstanding_points.csv")
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert str(folder / "manifest.json") in refusal(copied.points(*show))


def test_damage_in_an_earlier_month_is_named_too(copied):
    """docs/cases.md, X10: what the next close reads is the newest month alone."""
    path = published_folder(copied.path) / CLOSED[0] / "r1" / "outstanding_points.csv"
    flip_a_byte(path)
    assert_named_and_refused(copied, path)


@pytest.mark.parametrize("name", [f"{CLOSED[0]}/r1/notes.txt", f"{CLOSED[0]}/r2", "2024-12/r1"])
def test_what_was_never_published_is_named(copied, name):
    """docs/cases.md, X10."""
    path = published_folder(copied.path) / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if path.name.startswith("r") else path.write_text("checked by nobody")
    assert_named_and_refused(copied, path)


@pytest.mark.parametrize("name", ["", "/manifest.json", "/outstanding_points.csv"])
def test_a_revision_and_its_files_are_no_links(copied, tmp_path, name):
    """docs/cases.md, S6: to the byte what it was, but where others may write."""
    path = published_folder(copied.path) / f"{CLOSED[1]}/r1{name}"
    path.symlink_to(path.rename(tmp_path / "away"))
    assert damages(copied) == {path: "is a link"}
    with pytest.raises(PublishedDamaged) as refused:
        close_months(copied.settings(), NEXT)
    assert refused.value.path == path


def test_a_link_to_nothing_is_no_month_to_be_made_again(copied):
    """docs/cases.md, S6."""
    path = published_folder(copied.path) / CLOSED[1] / "r1"
    shutil.rmtree(path)
    path.symlink_to("nothing")
    database_file(copied.path).unlink()
    assert copied.points("transfers").stderr == f"{PublishedDamaged(path, 'is a link')}\n"
    assert damages(copied)[path] == "is a link"


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("notes.csv", put_file),
        ("2024-12", Path.mkdir),
        (".hidden", Path.mkdir),
        (f"{CLOSED[0]}/r2.old", Path.mkdir),
        (f"{CLOSED[0]}/outstanding_points.csv", put_file),
        (".databases/outstanding_points.duckdb", put_file),
    ],
)
def test_strays_beside_revisions_are_named_and_stop_no_close(copied, name, put):
    """docs/cases.md, S6."""
    path = published_folder(copied.path) / name
    put(path)
    assert list(damages(copied)) == [path]
    check_published(copied.path, copied.history())


def test_a_month_and_a_database_behind_links_are_named(copied, tmp_path):
    """docs/cases.md, S6."""
    database = database_file(copied.path).resolve()
    month = published_folder(copied.path) / CLOSED[0]
    for path in (month, database):
        path.symlink_to(path.rename(tmp_path / path.name))
    assert {month, database} <= set(damages(copied))


def put_folder(path: Path) -> None:
    path.mkdir()
    put_file(path / "kept.txt")


@pytest.mark.parametrize("put", [put_file, put_folder])
@pytest.mark.parametrize("name", [f"published/{CLOSED[1]}/current", "published/outstanding_points.duckdb"])
def test_what_stands_where_a_link_belongs_is_named_and_kept(copied, name, put):
    """docs/cases.md, S8."""
    link = copied.path / name
    databases = published_folder(copied.path) / ".databases"
    made = sorted(databases.iterdir())
    link.unlink()
    put(link)
    if name.endswith("current"):
        with pytest.raises(PublishedDamaged) as damaged:
            check_published(copied.path, copied.history())
        assert (damaged.value.path, damaged.value.finding) == (link, "is no link")
        database_file(copied.path).unlink()  # and every command makes the links anew
    assert copied.points("transfers").stderr == f"{LinkTaken(link)}\n"
    assert_refused(copied.points("close", NEXT), LinkTaken(link))
    assert damages(copied)[link] == "is no link"
    assert sorted(databases.iterdir()) == made
    kept = link if put is put_file else link / "kept.txt"
    assert kept.read_text(encoding="utf-8") == "kept by nobody"
    link.rename(copied.path.parent / "away")
    answer(copied.points("months"))
    assert readers_see(copied) == OLD
    assert_sound(copied)


@pytest.mark.parametrize("put", [put_file, put_folder])
def test_what_stands_where_provisional_belongs_is_named_and_kept(tmp_path, put):
    """docs/cases.md, S8: before a build begins, too."""
    put(tmp_path / "provisional")
    transfers = write_transfers(tmp_path.parent / f"{tmp_path.name}.csv", [transfer("T-1")])
    build = partial(build_months, Home(tmp_path).settings(POINTS_TRANSFERS=str(transfers)))
    for act in (build, partial(swap_in, tmp_path, tmp_path / "runs" / "000001" / "provisional")):
        with pytest.raises(LinkTaken) as refused:
            act()
        assert refused.value.link == tmp_path / "provisional"
    assert [path.name for path in tmp_path.iterdir()] == ["provisional"]


@pytest.mark.parametrize(
    "command", [["verify"], ["close", NEXT], ["reopen", CLOSED[0], "--reason", "Sent anew"]]
)
def test_what_no_close_knows_is_said_once(copied, command):
    """docs/cases.md, X12: where something is to be published, too."""
    stranger = published_folder(copied.path) / NEXT / "r1"
    stranger.mkdir(parents=True)
    sentence = refusal(copied.points(*command))
    assert sentence.count(f"{stranger} is in no close entry of the ledger") == 1
    assert len(sentence.splitlines()) == 1


def test_the_command_says_which_file_it_was(copied):
    """docs/cases.md, X10, as people and programs see it."""
    path = published_folder(copied.path) / CLOSED[1] / "r1" / "outstanding_points.csv"
    flip_a_byte(path)
    altered = PublishedDamaged(path, "was altered: its hash is not the one in its manifest")
    assert_refused(copied.points("verify"), PublishedUnsound([altered]))
    found = json.loads(copied.points("verify", "--json").stdout)["published"]
    assert found == [{"path": str(path), "finding": altered.finding}]
    assert_refused(copied.points("close", NEXT), altered)


def test_a_damaged_database_is_named_and_made_again_once_it_is_deleted(copied):
    """docs/cases.md, X10: nothing is built on it, so it stands in no close's way."""
    file = database_file(copied.path).resolve()
    flip_a_byte(file)
    assert damages(copied) == {database_file(copied.path): "was altered"}
    file.unlink()
    answer(copied.points("months"))
    assert readers_see(copied) == OLD
    assert_sound(copied)


def test_every_command_says_that_the_database_is_not_what_was_published(copied):
    """docs/cases.md, X25: it does its own work, and hides nothing from who is to find out."""
    file = database_file(copied.path).resolve()
    flip_a_byte(file)
    damaged = file.read_bytes()
    done = copied.points("transfers", "E1-1")
    assert "E1-1" in answer(done)
    altered = PublishedDamaged(database_file(copied.path), "was altered", DATABASE_REMEDY)
    assert done.stderr == f"{altered}\n"
    assert file.read_bytes() == damaged
    database_file(copied.path).unlink()
    done = copied.points("transfers", "E1-1")
    assert (answer(done).count("E1-1"), done.stderr) == (1, "")
    assert_sound(copied)


def test_a_log_beside_the_database_is_named_and_not_played_back_into_the_next_one(copied):
    """docs/cases.md, X25: a reader of a database sees what stands in a log beside it."""
    file = database_file(copied.path).resolve()
    log = file.with_name(f"{file.name}.wal")
    log.write_bytes(b"")
    assert list(damages(copied)) == [log]
    database_file(copied.path).unlink()
    answer(copied.points("transfers"))
    assert database_file(copied.path).resolve() == file
    assert_sound(copied)


def put_hollow_database(home: Home, digits: int) -> None:
    """Publish a database without tables, as a full disk once did, under a name that vouches for its bytes."""
    hollow = database_file(home.path).resolve().with_name("hollow.duckdb")
    duckdb.connect(str(hollow)).close()
    vouch_for(home, hollow, digits)


def vouch_for(home: Home, database: Path, digits: int = 32) -> None:
    """Give a database beside the readers' one its name, and let the folder's name say its hash."""
    file = database_file(home.path).resolve()
    known_up_to_and_path = file.parent.name.rpartition("-")[0]
    folder = file.parent.with_name(f"{known_up_to_and_path}-{file_sha256(database)[:digits]}")
    file.parent.rename(folder)
    (folder / database.name).rename(folder / file.name)
    point_link(set_link(home.path), f"{DATABASES_NAME}/{folder.name}")


def test_a_database_that_was_not_read_back_is_made_again_by_any_command(copied, programme):
    """docs/cases.md, X25 and X26: earlier releases put 16 digits of its hash, and had no link to the set."""
    put_hollow_database(copied, digits=16)
    published = published_folder(copied.path)
    point_link(database_file(copied.path), str(database_file(copied.path).resolve().relative_to(published)))
    for month in CLOSED:
        point_link(published / month / "current", "r1")
    set_link(copied.path).unlink()
    answer(copied.points("transfers"))
    assert {os.readlink(link) for link in published.glob("*/current")} == {
        f"../.current/{month}" for month in CLOSED
    }
    assert_as_it_was(copied, programme)
    assert_sound(copied)


def test_a_database_without_its_tables_is_named_even_with_the_right_hash(copied):
    """docs/cases.md, X25."""
    put_hollow_database(copied, digits=32)
    file = database_file(copied.path)
    assert damages(copied) == {file: NOT_AS_MADE}
    findings = examine({"POINTS_HOME": str(copied.path)}, {}, "").findings
    assert [finding.sentence for finding in findings if finding.verdict == "problem"] == [
        f"{file} {NOT_AS_MADE}."
    ]


@pytest.mark.parametrize(
    "alteration",
    [
        "update published_months set closed_by = 'mallory'",
        "update published_months set signed_off_by = 'eve', signed_off_at = timestamp '2025-03-09 12:00:00'",
        "create or replace view customer_point_balances as {view} where relation_reference <> 'C-2'",
        "comment on column published_months.closed_by is 'Who asked for it.'",
        "create macro spendable(relation) as 100",
        "create table more as select 1 as points",
        "create schema more",
    ],
)
def test_a_database_that_was_altered_and_vouches_for_itself_is_named(copied, alteration):
    """docs/cases.md, S23 and S25: it is compared with one that is made anew, and `months` asks the ledger."""
    file = database_file(copied.path)
    altered = file.resolve().with_name("altered.duckdb")
    shutil.copyfile(file.resolve(), altered)
    with duckdb.connect(str(altered)) as database:
        (view,) = database.execute(
            "select sql from duckdb_views() where view_name = 'customer_point_balances'"
        ).fetchone()
        before = view.partition(" AS ")[2].rstrip(";\n")
        database.execute(alteration.format(view=f"from ({before})"))
    vouch_for(copied, altered)
    assert damages(copied) == {file: NOT_AS_MADE}
    months = json.loads(answer(copied.points("months", "--json")))
    closed = {(month["closed_by"], month["signed_off_by"]) for month in months if month["revision"]}
    assert closed == {(copied.history().closes[0].closed_by, None)}


def test_a_database_that_cannot_be_made_is_missing(copied):
    """docs/cases.md, S23: verify says so, and why."""
    database_file(copied.path).unlink()
    shutil.rmtree(published_folder(copied.path) / DATABASES_NAME)
    (published_folder(copied.path) / DATABASES_NAME).write_text("")
    assert damages(copied)[database_file(copied.path)] == "is missing"


@pytest.mark.parametrize("elsewhere", [".", f"../{CLOSED[0]}/r1"])
def test_a_link_that_leads_readers_elsewhere_is_named(copied, elsewhere):
    """docs/cases.md, X10: every file is whole, and people would open the wrong one."""
    link = published_folder(copied.path) / CLOSED[1] / "current"
    point_link(link, elsewhere)
    assert list(damages(copied)) == [link]


def test_a_database_that_is_older_than_what_was_issued_is_named(copied):
    """docs/cases.md, X10: it is whole, and does not show the reopening."""
    before = os.readlink(set_link(copied.path))
    reopen_months(copied.settings(), CLOSED[1], "Sent anew")
    assert readers_see(copied)[CLOSED[1]] == (1, "reopened")
    point_link(set_link(copied.path), before)
    assert list(damages(copied)) == [database_file(copied.path)]


@pytest.mark.parametrize("command", [["months"], ["transfers"], ["give", "C-1", "5"], ["close", CLOSED[0]]])
def test_readers_database_and_links_are_made_again_by_any_command(copied, programme, command):
    """docs/cases.md, X9."""
    published = published_folder(copied.path)
    shutil.rmtree(published / ".databases")
    database_file(copied.path).unlink()
    for link in published.glob("*/current"):
        link.unlink()
    answer(copied.points(*command))
    assert_as_it_was(copied, programme)
    assert_sound(copied)


def test_a_link_that_is_lost_alone_is_made_again(copied):
    """docs/cases.md, X9."""
    (published_folder(copied.path) / CLOSED[0] / "current").unlink()
    answer(copied.points("transfers"))
    assert current_links(copied) == dict.fromkeys(CLOSED, "r1")


@pytest.mark.slow
def test_all_that_can_be_made_again_is_made_again_with_the_same_bytes(copied, undisturbed):
    """docs/cases.md, X9: nothing is left but the ledger, whose entries name the hash of every manifest."""
    for name in ("published", "runs", "cut"):
        shutil.rmtree(copied.path / name)
    answer(copied.points("close", NEXT))
    assert_closed(copied, undisturbed)


def test_closed_months_that_would_be_made_again_otherwise_are_not(copied, monkeypatch):
    """docs/cases.md, X9: another rule, setting or version would put other files where the old ones were."""
    lost = published_folder(copied.path) / CLOSED[0]
    shutil.rmtree(lost)
    shutil.rmtree(copied.path / "runs")
    monkeypatch.setattr(manifests, "seeds_sha256", lambda: "of other rules")
    with pytest.raises(ClosedFilesLost) as refused:
        close_months(copied.settings(), NEXT)
    assert refused.value.closed.name == f"{CLOSED[0]}/r1"
    assert not (lost / "r1").exists()
    assert list(copied.history().in_force) == list(CLOSED)


def delete_ledger(home: Home, programme: Home) -> None:
    (home.path / "ledger.sqlite3").unlink()


def restore_older_copy(home: Home, programme: Home) -> None:
    shutil.copyfile(programme.path.parent / "older.sqlite3", home.path / "ledger.sqlite3")


def put_another_there(home: Home, programme: Home) -> None:
    another = Home(home.path.parent / "another")
    give(open_ledger(another.settings(), create=True), "X-1", "5", new=True)
    connection.close()
    shutil.copyfile(another.path / "ledger.sqlite3", home.path / "ledger.sqlite3")


MADE_FROM_IT = ("cut", "runs", "provisional")


@pytest.mark.parametrize("forgotten", [(), MADE_FROM_IT], ids=["", "cut and runs deleted"])
@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (delete_ledger, LedgerMissing),
        (restore_older_copy, LedgerReplaced),
        (put_another_there, LedgerReplaced),
    ],
)
def test_a_ledger_that_is_not_the_one_of_the_closed_months_is_refused(
    programme, copied, harm, error: type[PointsError], forgotten
):
    """docs/cases.md, X12."""
    forget(copied, forgotten)
    harm(copied, programme)
    for act in (
        lambda: open_ledger(copied.settings()),
        lambda: open_ledger(copied.settings(), create=True),
        lambda: close_months(copied.settings()),
        lambda: reopen_months(copied.settings(), CLOSED[1], "Sent anew"),
        lambda: verify_all(copied.settings()),
    ):
        with pytest.raises(error):
            act()
    assert readers_see(copied) == OLD


def forget(home: Home, names: tuple[str, ...]) -> None:
    for name in names:
        path = home.path / name
        shutil.rmtree(path, ignore_errors=True) if not path.is_file() else path.unlink()


@pytest.mark.parametrize("harm", [delete_ledger, restore_older_copy, put_another_there])
def test_closed_months_alone_show_that_the_ledger_is_not_theirs(copied, programme, harm):
    """docs/cases.md, X12: also where everything that remembers the ledger was deleted with it."""
    forget(copied, (*MADE_FROM_IT, "ledger_head.json", "published/ledger_head.json"))
    harm(copied, programme)
    for command in (["close"], ["reopen", CLOSED[1], "--reason", "Sent anew"]):
        refusal(copied.points(*command))
    found = json.loads(copied.points("verify", "--json").stdout)
    assert found["code"] == ("LEDGER_MISSING" if harm is delete_ledger else "PUBLISHED_DAMAGED")
    # Neither the readers' database nor a link was taken back to what that ledger knows.
    assert readers_see(copied) == OLD
    assert published_bytes(copied) == published_bytes(programme)
    assert current_links(copied) == dict.fromkeys(CLOSED, "r1")


def test_a_ledger_that_lacks_only_the_newest_close_takes_no_reader_back(copied, programme):
    """docs/cases.md, X12: the copy was made between two closes, and nothing else remembers the second."""
    shutil.copyfile(copied.path / "ledger.sqlite3", copied.path.parent / "backup.sqlite3")
    answer(copied.points("close", NEXT))
    shutil.copyfile(copied.path.parent / "backup.sqlite3", copied.path / "ledger.sqlite3")
    forget(copied, (*MADE_FROM_IT, "ledger_head.json", "published/ledger_head.json"))
    # Nor is anything given to readers on the way of another command.
    database_file(copied.path).unlink()
    assert "is in no close entry of the ledger" in copied.points("transfers").stderr
    refusal(copied.points("close", NEXT))
    assert current_links(copied) == dict.fromkeys(NEW, "r1")
    assert readers_see(copied) == {}


OTHER_SETTINGS = [
    ("POINTS_TIME_ZONE", "Asia/Tokyo", "UTC"),
    ("POINTS_MONTH_START_DAY", "2", "1"),
    ("POINTS_DEFAULT_CURRENCY", "MILES", "POINTS"),
    ("POINTS_FIRST_MONTH", "2024-12", "2025-01"),
]


@pytest.mark.parametrize(("name", "value", "sealed"), OTHER_SETTINGS)
def test_settings_other_than_the_sealed_ones_are_refused_by_every_command(copied, name, value, sealed):
    """docs/cases.md, X18."""
    broken = SealBroken(name, value, sealed)
    for command in (["close"], ["give", "C-1", "5"], ["transfers"], ["build"], ["verify"]):
        assert_refused(copied.points(*command, **{name: value}), broken)
    examined = copied.points("doctor", "--json", **{name: value})
    assert examined.returncode == 1
    assert str(broken) in [finding["sentence"] for finding in json.loads(examined.stdout)["findings"]]
    # The seal itself, and a first month that is not set, are fine.
    answer(copied.points("transfers", **{name: sealed}))


def test_a_home_that_was_moved_has_its_database_mended_and_nothing_else(copied, tmp_path):
    """docs/cases.md, X20."""
    answer(copied.points("give", "C-1", "5"))
    before = all_bytes(copied)
    moved = Home(tmp_path / "moved" / "there")
    moved.path.parent.mkdir()
    copied.path.rename(moved.path)
    answer(moved.points("transfers"))
    assert readers_see(moved) == OLD
    with duckdb.connect(str(database_file(moved.path).resolve()), read_only=True) as connected:
        (views,) = connected.execute(
            "select string_agg(sql) from duckdb_views() where not internal"
        ).fetchone()
    assert f"'{moved.path}/published/{CLOSED[0]}/r1/" in views
    assert str(copied.path) not in views
    assert all_bytes(moved) == before
    assert_sound(moved)


def all_bytes(home: Home) -> dict[str, bytes | str]:
    """Every file of a home and every link, but for the readers' set and the note of who ran last."""
    return {
        str(path.relative_to(home.path)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(home.path.rglob("*"))
        if (path.is_symlink() or path.is_file())
        and ".databases" not in path.parts
        and path != set_link(home.path)
        and path.name != "run.lock"
    }
