"""Who else on the machine may read or change a home (docs/cases.md, S27 and S28)."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from orchestration.published.layout import database_file, published_folder, set_link
from orchestration.published.manifests import PublishedDamaged
from orchestration.upkeep import verification
from orchestration.upkeep.doctor import examine
from tests.closed_programme import Home
from tests.conftest import POINTS, answer, assert_refused, refusal

# What root would pass over: with it, a command is held to the modes of its files as any user is.
HELD_TO_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> dict[str, str]:
    """What below ``folder``, links aside, gives a right to others than its owner."""
    return {
        str(path.relative_to(folder)): oct(mode(path))
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and mode(path) & 0o077
    }


@pytest.fixture
def read_only(copied, tmp_path) -> Iterator[Home]:
    """A copy of the programme, elsewhere, to which nothing can be written."""
    home = copied.copy(tmp_path / "read_only")
    set_writable(home.path, False)
    yield home
    set_writable(home.path, True)


def set_writable(folder: Path, is_writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(mode(path) | stat.S_IWUSR if is_writable else mode(path) & ~0o222)


def verify_held_to_modes(home: Home) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*(HELD_TO_MODES if os.geteuid() == 0 else ()), POINTS, "verify"],
        env={**os.environ, "POINTS_HOME": str(home.path)},
        cwd=home.path.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_copy_to_which_nothing_can_be_written_is_verified(read_only):
    """docs/cases.md, X32: what cannot be made there is named, and nothing else is wrong."""
    done = verify_held_to_modes(read_only)
    assert (answer(done).count("Closed months are what was published"), done.stderr) == (1, "")
    assert f"{database_file(read_only.path)} names files of another folder" in done.stdout


def test_nothing_is_computed_again_where_nothing_can_be_written(copied, monkeypatch):
    """docs/cases.md, X32."""
    monkeypatch.setattr(verification, "may_write_into", lambda folder: False)
    with pytest.raises(verification.NothingWritable):
        verification.verify_all(copied.settings(), full=True)


def test_damage_in_such_a_copy_is_named(read_only):
    """docs/cases.md, X32."""
    altered = published_folder(read_only.path) / "2025-02" / "r1" / "outstanding_points.csv"
    altered.chmod(0o644)
    altered.write_bytes(altered.read_bytes().replace(b"C-1,", b"C-7,"))
    altered.chmod(0o444)
    damaged = PublishedDamaged(altered, "was altered: its hash is not the one in its manifest")
    assert_refused(verify_held_to_modes(read_only), verification.PublishedUnsound([damaged]))


def run_openly(arguments: Iterable[str], settings: dict[str, str], folder: Path) -> None:
    """Run a command, in a process of its own, under a umask that keeps nothing from anybody."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
    held = HELD_TO_MODES if os.geteuid() == 0 else ()
    subprocess.run([*held, *arguments], env={**inherited, **settings}, cwd=folder, umask=0, check=True)


def test_what_a_command_makes_is_for_its_user_alone_with_any_umask(tmp_path):
    """docs/cases.md, S27."""
    home = tmp_path / "above" / "home"
    run_openly([POINTS, "give", "C-1", "10", "--new"], {"POINTS_HOME": str(home)}, tmp_path)
    assert (home / "ledger.sqlite3").exists()
    assert open_to_others(tmp_path / "above") == {}


@pytest.mark.slow
def test_a_close_needs_no_right_that_it_took_away_and_gives_none(copied):
    """docs/cases.md, S27: months closed, reopened and closed again."""
    settings = {"POINTS_HOME": str(copied.path), **copied.environment, "POINTS_USER": "ada"}
    for arguments in (
        ["reopen", "2025-02", "--reason", "a late file"],
        ["close", "--through", "2025-02"],
        ["build"],
        ["verify"],
        ["doctor"],
    ):
        run_openly([POINTS, *arguments], settings, copied.path.parent)
    assert open_to_others(copied.path) == {}
    assert mode(copied.path / "published" / "2025-02" / "r2") == 0o500


@pytest.mark.parametrize(
    ("readers", "home", "folder", "revision", "file"),
    [("group", 0o710, 0o750, 0o550, 0o440), ("everyone", 0o711, 0o755, 0o555, 0o444)],
)
def test_readers_get_what_is_published_and_no_more(
    programme, tmp_path, readers, home, folder, revision, file
):
    """docs/cases.md, S27: by POINTS_READERS, also what was published under another; and back again."""
    copy = programme.copy(tmp_path / "home")
    published = copy.path / "published"
    assert open_to_others(copy.path) == {}
    answer(copy.points("months", POINTS_READERS=readers))
    assert mode(copy.path) == home
    assert {mode(path) for path in (published, published / "2025-01", set_link(copy.path).resolve())} == {
        folder
    }
    assert mode(published / "2025-01" / "r1") == revision
    assert {mode(path) for path in (published / "2025-01" / "r1").iterdir()} == {file}
    assert mode(database_file(copy.path).resolve()) == file
    assert {name.split("/")[0] for name in open_to_others(copy.path)} == {".", "published"}
    shutil.rmtree(published / ".databases")
    answer(copy.points("months"))
    assert open_to_others(published) == {}


def test_readers_are_one_of_three(copied):
    said = refusal(copied.points("months", POINTS_READERS="finance"))
    assert said.strip() == "POINTS_READERS is 'finance', but who may read is owner, group or everyone."


@pytest.fixture
def home(tmp_path) -> Path:
    home = tmp_path / "home"
    for folder in ("cut", "inbox", "published/2026-01/r1"):
        (home / folder).mkdir(parents=True)
    (home / "ledger.sqlite3").touch()
    (home / "published/2026-01/r1/manifest.json").touch()
    return home


def findings(home: Path, readers: str = "owner") -> list[tuple[str, str]]:
    found = examine({"POINTS_HOME": str(home), "POINTS_READERS": readers}, {}, "").findings
    return [(finding.verdict, finding.sentence) for finding in found if finding.subject == "access"]


def test_a_home_that_is_its_users_own_is_well(home):
    (home / "inbox").chmod(0o1777)
    assert [verdict for verdict, _ in findings(home)] == ["ok"]


@pytest.mark.parametrize(
    ("name", "changed", "verdict", "whom"),
    [
        ("ledger.sqlite3", 0o644, "warning", "can be read by every user"),
        ("ledger.sqlite3", 0o640, "warning", "can be read by the group"),
        ("ledger.sqlite3", 0o666, "problem", "can be written to by every user"),
        ("ledger.sqlite3", 0o620, "problem", "can be written to by the group"),
        ("cut", 0o755, "warning", "can be read by every user"),
        (".", 0o770, "problem", "can be written to by the group"),
        ("published/2026-01/r1", 0o702, "problem", "can be written to by every user"),
        ("published/2026-01/r1/manifest.json", 0o604, "warning", "can be read by every user"),
        ("..", 0o777, "problem", "put others in the place of"),
        ("..", 0o770, "warning", "put others in the place of"),
    ],
)
def test_other_users_who_may_read_or_change_are_reported(home, name, changed, verdict, whom):
    """docs/cases.md, S28: who reads the ledger is a warning, who changes anything a problem."""
    path = (home / name).resolve()
    path.chmod(changed)
    reported = [sentence for found, sentence in findings(home) if found == verdict and whom in sentence]
    assert len(reported) == 1
    assert reported[0].startswith(str(path))


def test_of_much_that_others_may_read_the_ledger_is_named(home):
    """docs/cases.md, S28."""
    (home / ".work").mkdir()
    for path in home.iterdir():
        path.chmod(0o755)
    ((_, reported),) = findings(home)
    assert reported.startswith(f"{home}/ledger.sqlite3, ")
    assert "and 1 more can be read by every user of this machine" in reported


def test_a_file_of_another_user_is_a_problem(home):
    """docs/cases.md, S28."""
    if os.geteuid():
        pytest.skip("Only root can give a file to another user.")
    os.chown(home / "ledger.sqlite3", 4321, -1)
    assert findings(home) == [("problem", f"{home}/ledger.sqlite3 belongs to 4321, who may change it.")]


def test_what_readers_are_given_is_theirs_to_read_and_no_less(home):
    """docs/cases.md, S28."""
    assert [verdict for verdict, _ in findings(home, "group")] == ["warning"]
    (home / "published").chmod(0o750)
    assert [verdict for verdict, _ in findings(home, "group")] == ["ok"]
    assert [verdict for verdict, _ in findings(home)] == ["warning"]


def test_doctor_refuses_to_call_well_what_others_may_change(copied):
    """docs/cases.md, S28."""
    answer(copied.points("doctor"))
    (copied.path / "ledger.sqlite3").chmod(0o666)
    refused = copied.points("doctor")
    assert refused.returncode == 1
    assert f"chmod -R go-w {copied.path}/ledger.sqlite3" in " ".join(refused.stdout.split())
