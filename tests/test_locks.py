"""Lock files are opened without following a link and without shortening a file (docs/cases.md, S2)."""

import ast
import fcntl
import os
from pathlib import Path

import pytest

from ledger.locks import LockNotOurs, open_lock
from orchestration.run_lock import RunInProgress, lock_holder, run_lock
from orchestration.upkeep.doctor import examine
from simulator.transfer_files import write_transfers
from tests.closed_programme import Home
from tests.conftest import PROJECT_ROOT, answer, refusal, transfer

PRECIOUS = "Somebody's only copy. " * 10
# Each lock of a home, and a command that takes it.
LOCKS = [
    ("run.lock", ("cut",)),
    ("ledger.lock", ("give", "C-1", "5", "--new")),
    (".ledger.queue", ("give", "C-1", "5", "--new")),
    (".work/lock", ("import", "a.csv")),
]


def put_link(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim)


def put_other_name(lock: Path, victim: Path) -> None:
    os.link(victim, lock)


@pytest.mark.parametrize("put", [put_link, put_other_name])
@pytest.mark.parametrize(("name", "command"), LOCKS, ids=[name for name, _ in LOCKS])
def test_a_file_under_a_locks_name_is_named_and_keeps_every_byte(tmp_path, name, command, put):
    """docs/cases.md, S2."""
    home = Home(tmp_path / "home")
    write_transfers(tmp_path / "a.csv", [transfer("T-1")])
    if command == ("cut",):
        answer(home.points("give", "C-1", "5", "--new"))
    lock, victim = home.path / name, tmp_path / "victim"
    lock.parent.mkdir(parents=True, exist_ok=True)
    victim.write_text(PRECIOUS, encoding="utf-8")
    put(lock, victim)
    said = refusal(home.points(*command))
    assert str(lock) in said
    assert "move it away" in said
    assert victim.read_text(encoding="utf-8") == PRECIOUS
    lock.unlink()
    answer(home.points(*command))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_is_no_lock(tmp_path, make):
    """docs/cases.md, S2 and F13."""
    make(tmp_path / "run.lock")
    with pytest.raises(LockNotOurs) as refused, run_lock(tmp_path, "the test"):
        pass
    assert (refused.value.path, refused.value.finding) == (tmp_path / "run.lock", "is no ordinary file")


def test_a_link_to_nothing_makes_no_file_there(tmp_path):
    """docs/cases.md, S2."""
    (tmp_path / "run.lock").symlink_to(tmp_path / "new")
    with pytest.raises(LockNotOurs) as refused, run_lock(tmp_path, "the test"):
        pass
    assert refused.value.finding == "is a link"
    assert not (tmp_path / "new").exists()


def test_the_doctor_names_what_is_no_lock(tmp_path):
    """docs/cases.md, S2."""
    (tmp_path / "run.lock").symlink_to("elsewhere")
    (lock,) = [
        found for found in examine({"POINTS_HOME": str(tmp_path)}, {}, "").findings if found.subject == "lock"
    ]
    assert (lock.verdict, lock.sentence) == ("problem", str(LockNotOurs(tmp_path / "run.lock", "is a link")))


def test_a_shorter_purpose_is_shown_without_the_rest_of_a_longer_one(tmp_path):
    with run_lock(tmp_path, "what takes long to say"):
        pass
    with run_lock(tmp_path, "short"):
        assert lock_holder(tmp_path) == f"short, process {os.getpid()}"
        with pytest.raises(RunInProgress) as refused, run_lock(tmp_path, "another"):
            pass
    assert refused.value.holder == f"short, process {os.getpid()}"
    assert lock_holder(tmp_path) is None


def test_a_lock_that_others_may_read_alone_is_looked_at(tmp_path):
    with run_lock(tmp_path, "the test"):
        (tmp_path / "run.lock").chmod(0o444)
        with open_lock(tmp_path / "run.lock", is_looked_at=True) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_every_lock_is_opened_by_the_one_place_that_follows_nothing():
    """docs/cases.md, S2. A folder that is its own lock cannot be shortened, nor be another if not
    followed."""
    rooms = ("ledger", "orchestration", "console")
    files = [file for room in rooms for file in (PROJECT_ROOT / room).rglob("*.py")]
    locking = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    locking = {file: tree for file, tree in locking.items() if "flock" in attributes(tree)}
    assert len(locking) > 3
    for file, tree in locking.items():
        called = {node.func.id for node in ast.walk(tree) if is_call_of_name(node)}
        assert "open_lock" in called or {"O_DIRECTORY", "O_NOFOLLOW"} <= attributes(tree), file
        assert "open" not in called, file


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def is_call_of_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
