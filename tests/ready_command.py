"""The `points` command without its start: processes forked from one that has imported it.

A command that looks something up takes 0.4 s of a processor, nearly all of it for importing. A forked process
is one of its own all the same: it has its environment, folder, output, locks and end to itself.
"""

import gc
import io
import json
import os
import select
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NoReturn

import typer

from ledger.settings import PROJECT_ROOT
from tests.kept_build import KEPT_BUILD, take_build

# The arguments and the whole environment of a command.
_LONGEST_REQUEST = 1_000_000


class ReadyCommand:
    """A process that has imported ``points``, of which each command is a fork."""

    def __init__(self) -> None:
        self._address = f"\0points-{os.getpid()}-{id(self)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as requests:
            requests.bind(self._address)
            requests.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.ready_command", str(requests.fileno())],
                cwd=PROJECT_ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[requests.fileno()],
            )

    def run(
        self, arguments: list[str], environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess:
        """Run ``points`` in ``folder``, with this environment and no other, to its end."""
        request = json.dumps([arguments, dict(environment), str(folder)]).encode()
        with (
            open(os.memfd_create("output"), encoding="utf-8") as output,
            open(os.memfd_create("told"), encoding="utf-8") as told,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.connect(self._address)
            socket.send_fds(connection, [request], [output.fileno(), told.fileno()])
            status = int(connection.recv(16))
            output.seek(0)
            told.seek(0)
            return subprocess.CompletedProcess(["points", *arguments], status, output.read(), told.read())

    def end(self) -> None:
        """End the process of which commands are forked."""
        self._process.communicate()


def _take_requests(requests: socket.socket) -> None:
    """Return in a fork that is to become a command, its process prepared; end with whoever asks."""
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
        request, descriptors, _, _ = socket.recv_fds(connection, _LONGEST_REQUEST, 2)
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
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, stream in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    if kept := os.environ.pop(KEPT_BUILD, None):
        take_build(Path(kept))
    sys.argv = [str(Path(sys.executable).with_name("points")), *arguments]


def _warm_up(app: typer.Typer) -> None:
    """Import what every command imports once it runs."""
    with redirect_stdout(io.StringIO()), suppress(SystemExit):
        app(["months", "--help"])
    gc.freeze()


def _end(status: object) -> NoReturn:
    """End as Python does with this argument of ``sys.exit``, but at once."""
    if isinstance(status, str):
        print(status, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    # Not for whoever asks: the tests in this process import no more of the console than they name.
    from console.points import app, main

    _warm_up(app)
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        _take_requests(listening)
    try:
        main()
    except SystemExit as ended:
        _end(ended.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(None)
