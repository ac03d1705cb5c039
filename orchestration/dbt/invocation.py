"""Runs dbt as a subprocess and says what came of each model and test."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ledger.disk import lack_of_room
from ledger.errors import PointsError
from ledger.settings import PROJECT_ROOT


@dataclass(frozen=True)
class NodeProgress:
    """One model, seed or test that dbt has finished, and where it stands among all of them.

    ``failed_rows`` is what a test returned, None for others; ``seconds`` is how long it took.
    """

    unique_id: str
    name: str
    resource_type: str
    status: str
    position: int
    total: int
    seconds: float
    failed_rows: int | None


@dataclass(frozen=True)
class NodeFailure:
    """A model, seed or test that dbt did not pass.

    ``message`` is dbt's own, ``query`` the file with the SQL that dbt ran, None where it ran none.
    """

    name: str
    resource_type: str
    message: str
    query: Path | None = None


class DbtFailed(PointsError):
    """dbt ended without having built and tested everything."""

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)


def target_folder(folder: Path) -> Path:
    """Where dbt leaves its artifacts when it runs with ``folder``."""
    return folder / "target"


def start_dbt() -> subprocess.Popen[str]:
    """Start a process that imports dbt and then waits for its one command; it ends with this process.

    Whoever knows that dbt will be needed starts it first, for to import it takes as long as to run a few
    dozen models.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration.dbt.child"],
        # Python looks for modules there first: not among what lies where somebody called a command.
        cwd=PROJECT_ROOT,
        env=inherited_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def inherited_environment() -> dict[str, str]:
    """This process's environment as dbt has it, without ``POINTS_`` and ``DBT_`` variables: a run sees the
    settings it is given and no others."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("POINTS_", "DBT_"))
    }
    return {**inherited, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUTF8": "1"}


@contextmanager
def ready_dbt() -> Iterator[subprocess.Popen[str]]:
    """A process of dbt (`start_dbt`) for one command; it is ended where none comes."""
    with start_dbt() as dbt:
        yield dbt


def send_command(
    dbt: subprocess.Popen[str],
    arguments: Iterable[str],
    environment: Mapping[str, str],
    folder: Path,
    takes_kept_parse: bool = False,
) -> None:
    """Send a process of dbt its one command (`orchestration.dbt.child`)."""
    command = [list(arguments), dict(environment), str(folder), takes_kept_parse]
    # Where it has ended already, what it said and its status say why.
    with suppress(BrokenPipeError):
        dbt.stdin.write(json.dumps(command) + "\n")
        dbt.stdin.flush()


def stream_dbt(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    dbt: subprocess.Popen[str] | None = None,
    takes_kept_parse: bool = False,
) -> Iterator[NodeProgress]:
    """Run ``dbt <arguments>`` on the project and yield each node as dbt finishes it.

    ``dbt`` is a process that was started for it (`ready_dbt`; None: it is started now). ``environment`` is
    added to what it has. It works in ``folder``: relative paths in the environment start there, artifacts and
    the log go there. No earlier parse that lies there is taken, for it is run as if it were the project; with
    ``takes_kept_parse`` the one that this user keeps is (docs/cases.md, S21). Raises `DbtFailed` with the
    first error that dbt reports and how to look at it. Whoever stops reading ends dbt too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        *arguments,
        *("--target", "dev"),
        *("--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)),
        *("--target-path", str(target_folder(folder)), "--log-path", str(folder)),
        *("--log-format", "json", "--no-version-check", "--no-use-colors", "--no-partial-parse"),
        # The log is for people: at the level of debugging it has 1.8 MB of JSON.
        *("--log-format-file", "text", "--log-level-file", "info", "--no-use-colors-file"),
    ]
    errors: list[str] = []
    failures: dict[str, NodeFailure] = {}
    with dbt or start_dbt() as process:
        send_command(process, arguments, environment, folder, takes_kept_parse)
        for line in process.stdout:
            if step := _follow(line, errors, failures, folder):
                yield step
    if process.returncode < 0:
        raise DbtFailed(
            f"dbt was killed by signal {-process.returncode}, most often by a system without memory left;"
            " nothing was written: lower POINTS_MEMORY_LIMIT, or give the machine more, and run the same"
            " again."
        )
    if process.returncode != 0:
        database = environment.get("POINTS_BUILD_DATABASE") or Path(environment["POINTS_HOME"], "dev.duckdb")
        raise _failure(errors, list(failures.values()), folder, folder / database)


def _follow(
    line: str, errors: list[str], failures: dict[str, NodeFailure], folder: Path
) -> NodeProgress | None:
    """What an event of dbt says; errors, and failed nodes by unique id, are added to those before."""
    try:
        event = json.loads(line)
        info, data = event["info"], event["data"]
    except (ValueError, KeyError, TypeError):
        errors.append(line.strip())
        return None
    if info["level"] == "error":
        errors.append(info["msg"])
    # After the last node dbt says of each failed one what went wrong and, where it ran, which SQL.
    if info["name"] == "RunResultError":
        node = data["node_info"]
        failures[node["unique_id"]] = NodeFailure(node["node_name"], node["resource_type"], data["msg"])
    if info["name"] == "SQLCompiledPath" and (failure := failures.get(data["node_info"]["unique_id"])):
        failures[data["node_info"]["unique_id"]] = replace(failure, query=folder / data["path"])
    if info["name"] not in ("LogModelResult", "LogTestResult", "LogSeedResult", "LogNodeResult"):
        return None
    node = data["node_info"]
    return NodeProgress(
        unique_id=node["unique_id"],
        name=node["node_name"],
        resource_type=node["resource_type"],
        status=node["node_status"],
        position=int(data["index"]),
        total=int(data["total"] if "total" in data else data["num_models"]),
        seconds=float(data["execution_time"]),
        failed_rows=int(data["num_failures"]) if "num_failures" in data else None,
    )


def read_statuses(target: Path) -> dict[str, str]:
    """What came of each node, by unique id, from the artifacts of a run of dbt in ``target``."""
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    return {result["unique_id"]: result["status"] for result in results}


def _failure(errors: list[str], failures: list[NodeFailure], folder: Path, database: Path) -> DbtFailed:
    text = "\n".join(errors)
    if lack := lack_of_room(text):
        where = f" at {failures[0].resource_type} {failures[0].name}" if failures else ""
        return DbtFailed(lack.sentence(f"{where}, so nothing was written"))
    # What a model refuses by itself (docs/cases.md, R22), in an error of the engine, whose text goes on.
    if span := re.search(r"SPAN: .+?[.](?=\s*(?:\n|$|>|compiled code))", text, re.DOTALL):
        return DbtFailed(" ".join(span[0].split()), "SPAN")
    log = folder / "dbt.log"
    if failures:
        names = ", ".join(f"{failure.resource_type} {failure.name}" for failure in failures[:3])
        more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
        first = failures[0]
        again = ""
        if first.query:
            again = f" To run its query again: {shlex.join(['duckdb', '-readonly', str(database)])}"
            again += f" < {shlex.quote(str(first.query))}."
        return DbtFailed(
            f"dbt did not pass {names}{more}; nothing was written. Of {first.name} dbt says:"
            f" {' '.join(first.message.split())}.{again} All that dbt said is in {log}."
        )
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line not in ("", "Encountered an error:")]
    return DbtFailed(f"dbt ended with an error: {' '.join(said) or 'it gave no reason'}; see {log}.")
