"""`points` and `dbt` without their start: processes forked from one that has imported them.

A command that looks something up takes 0.4 s of a processor, nearly all of it for importing; a build by dbt
takes 6, of which 3 are for what dbt imports and compiles. A forked process is one of its own all the same:
it has its environment, folder, output, locks and end to itself.
"""

import atexit
import gc
import io
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO

from ledger.settings import PROJECT_ROOT, project_settings
from orchestration.close import read_back
from orchestration.dbt import invocation
from orchestration.dbt.manifest import BUILD_DATABASE_NAME
from tests.kept_build import KEPT_BUILD, take_build

# The arguments and the whole environment of a command.
_LONGEST_REQUEST = 1_000_000


class ReadyCommand:
    """A process that has imported a program, of which each command is a fork.

    ``program`` is 'points' or 'dbt'. With ``dbt``, a command of `points` has builds made by forks of it.
    """

    def __init__(self, program: str, dbt: "ReadyCommand | None" = None) -> None:
        self.address = f"\0{program}-{os.getpid()}-{id(self)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as requests:
            requests.bind(self.address)
            requests.listen()
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.ready_command", program, str(requests.fileno())),
                    *([dbt.address[1:]] if dbt else []),
                ],
                cwd=PROJECT_ROOT,
                env={**os.environ, "PYTHONUTF8": "1"},
                stdin=subprocess.PIPE,
                pass_fds=[requests.fileno()],
            )

    def run(
        self, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess:
        """Run the program in ``folder``, with this environment and no other, to its end."""
        return _run(self.address, arguments, environment, folder)

    def end(self) -> None:
        """End the process of which commands are forked."""
        self._process.communicate()


class ForkedDbt:
    """A fork of a ready dbt, as far as `orchestration.dbt.invocation` needs one; ends with this process."""

    def __init__(self, address: str) -> None:
        theirs, stdin = os.pipe()
        output, written = os.pipe()
        self.stdin: TextIO = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout: TextIO = os.fdopen(output, encoding="utf-8")
        self.returncode: int | None = None
        files = [theirs, written, written]
        self._connection = _ask(address, [], invocation.inherited_environment(), PROJECT_ROOT, files)
        os.close(theirs)
        os.close(written)

    def __enter__(self) -> "ForkedDbt":
        return self

    def __exit__(self, *raised: object) -> None:
        if self.returncode is None:
            self.stdout.close()
            self.stdin.close()
            with self._connection:
                self.returncode = int(self._connection.recv(16))


def fork_dbt(dbt: str) -> None:
    """Let this process have its builds made, and its closes read back, by forks of the ready dbt at this
    address."""
    invocation.start_dbt = partial(ForkedDbt, dbt)
    read_back.run_reader = lambda folder: _run(dbt, [str(folder)], os.environ, PROJECT_ROOT)


def with_ready_dbt(dbt: ReadyCommand) -> list[str]:
    """What starts a ``points`` that is no fork, but has its builds made by forks of this dbt."""
    return [sys.executable, "-m", "tests.ready_command", "start", dbt.address[1:]]


def _run(
    address: str, arguments: list[str], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess:
    with (
        open(os.memfd_create("output"), encoding="utf-8") as output,
        open(os.memfd_create("errors"), encoding="utf-8") as errors,
        open(os.devnull) as nothing,
    ):
        files = [nothing.fileno(), output.fileno(), errors.fileno()]
        with _ask(address, arguments, environment, folder, files) as connection:
            status = int(connection.recv(16))
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def _ask(
    address: str, arguments: list[str], environment: Mapping[str, str], folder: Path, files: list[int]
) -> socket.socket:
    request = json.dumps([arguments, dict(environment), str(folder)]).encode()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address)
    socket.send_fds(connection, [request], files)
    return connection


def _take_requests(requests: socket.socket) -> None:
    """Return in a fork that is to become a command, its process prepared; end with the process that asks."""
    waiting = set()
    while True:
        ready, _, _ = select.select([requests, sys.stdin], [], [])
        waiting = {process for process in waiting if os.waitpid(process, os.WNOHANG)[0] == 0}
        if sys.stdin in ready:
            sys.exit()
        connection, _ = requests.accept()
        if process := os.fork():
            waiting.add(process)
            connection.close()
            continue
        request, descriptors, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 3)
        command = os.fork()
        if command:
            _, status = os.waitpid(command, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        _become(*json.loads(request), descriptors)
        connection.close()
        return


def _become(arguments: list[str], environment: dict[str, str], folder: str, descriptors: list[int]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    project_settings.cache_clear()
    for descriptor, stream in zip(descriptors, (0, 1, 2), strict=True):
        os.dup2(descriptor, stream)
    for descriptor in set(descriptors):
        os.close(descriptor)
    if kept := os.environ.pop(KEPT_BUILD, None):
        take_build(Path(kept))
    sys.argv = [str(Path(sys.executable).with_name("points")), *arguments]


def _import_points() -> Callable[[], object]:
    # Not in the asking process: the tests in this process import no more of the console than they name.
    from console.app import app
    from console.points import main
    from tests.any_home import allow_any_home

    # Django was set up for no home before any fork knew its own.
    allow_any_home()
    # What every command imports once it runs.
    with redirect_stdout(io.StringIO()), suppress(SystemExit):
        app(["months", "--help"])
    return main


def _import_dbt() -> Callable[[], object]:
    import sqlparse  # noqa: F401

    from orchestration.dbt import child

    manifest = child.import_dbt()
    # A fork takes what is imported here.
    child.import_dbt = lambda: manifest
    # A folder is named of a close that is read back.
    return lambda: read_back.main() if sys.argv[1:] else child.main()


def _compile_dbt() -> None:
    """Parse the project once, for what each process of dbt would compile anew: 1.6 s of a processor.

    It opens no database, and without dbt's static parser it starts no thread, which would not outlive a fork.
    """
    from dbt.cli.main import dbtRunner

    from orchestration.dbt import child

    os.environ["POINTS_BUILD_DATABASE"] = BUILD_DATABASE_NAME
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        parsed = dbtRunner(child.import_dbt()).invoke(
            [
                *("parse", "--quiet", "--no-static-parser", "--target", "dev"),
                *("--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)),
                *("--target-path", folder, "--log-path", folder),
            ]
        )
    assert parsed.success, parsed.exception
    child.import_dbt = lambda: parsed.result


def _end(status: object) -> NoReturn:
    """End as Python does with this argument of ``sys.exit``, but at once."""
    if isinstance(status, str):
        print(status, file=sys.stderr)
    # With it DuckDB writes the last of its file. Nothing else of an orderly end is safe in a fork.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    if sys.argv[1] == "start":
        from console.points import main as points

        fork_dbt(f"\0{sys.argv[2]}")
        sys.argv[:3] = ["points"]
        sys.exit(points())
    program, descriptor, *ready_dbt = sys.argv[1:]
    main = {"points": _import_points, "dbt": _import_dbt}[program]()
    for name in ready_dbt:
        fork_dbt(f"\0{name}")
    with socket.socket(fileno=int(descriptor)) as listening:
        # Many a test file builds nothing.
        if program == "dbt" and sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            _compile_dbt()
        gc.freeze()
        _take_requests(listening)
    try:
        main()
    except SystemExit as ended:
        _end(ended.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(None)
