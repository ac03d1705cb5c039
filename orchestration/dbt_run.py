"""Runs dbt as a subprocess and says what came of each model and test."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.errors import PointsError
from orchestration.settings import PROJECT_ROOT


@dataclass(frozen=True)
class NodeProgress:
    """One model, seed or test that dbt has finished, and where it stands among all of them."""

    name: str
    resource_type: str
    status: str
    position: int
    total: int


@dataclass(frozen=True)
class DbtResult:
    """What a run of dbt left behind: ``statuses`` by unique id, and the folder of its artifacts."""

    target: Path
    statuses: Mapping[str, str] = field(default_factory=dict)


class DbtFailed(PointsError):
    """dbt ended without having built and tested everything."""

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code


def run_dbt(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    report: Callable[[NodeProgress], None] = lambda progress: None,
) -> DbtResult:
    """Run ``dbt <arguments>`` on the project and wait for it.

    ``environment`` is added to this process's own, without the ``POINTS_`` variables of it: a run sees the
    settings it is given and no others. Artifacts and the log go to ``folder``. Raises `DbtFailed` with the
    first error that dbt reports, as a sentence.
    """
    target = folder / "target"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("POINTS_")
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestration.dbt_child",
            *arguments,
            *("--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)),
            *("--target-path", str(target), "--log-path", str(folder)),
            *("--log-format", "json", "--no-version-check", "--no-use-colors"),
        ],
        cwd=PROJECT_ROOT,
        env={**inherited, **environment, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    errors: list[str] = []
    with process:
        for line in process.stdout:
            _follow(line, report, errors)
    if process.returncode != 0:
        raise _failure(errors, folder)
    return DbtResult(target, read_statuses(target))


def _follow(line: str, report: Callable[[NodeProgress], None], errors: list[str]) -> None:
    try:
        event = json.loads(line)
        info, data = event["info"], event["data"]
    except (ValueError, KeyError, TypeError):
        errors.append(line.strip())
        return
    if info["level"] == "error":
        errors.append(info["msg"])
    if info["name"] in ("LogModelResult", "LogTestResult", "LogSeedResult", "LogNodeResult"):
        node = data["node_info"]
        report(
            NodeProgress(
                name=node["node_name"],
                resource_type=node["resource_type"],
                status=data["status"],
                position=int(data["index"]),
                total=int(data["total"] if "total" in data else data["num_models"]),
            )
        )


def _statuses(target: Path) -> dict[str, str]:
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    return {result["unique_id"]: result["status"] for result in results}


def _failure(errors: list[str], folder: Path) -> DbtFailed:
    text = "\n".join(errors)
    for pattern, code, sentence in _KNOWN_FAILURES:
        if found := re.search(pattern, text, re.DOTALL):
            facts = {name: " ".join(value.split()) for name, value in found.groupdict().items()}
            return DbtFailed(sentence.format(**facts), facts.get("code", code))
    failed = re.findall(r"Failure in (test|model|seed) (\S+)", text)
    if failed:
        names = ", ".join(f"{kind} {name}" for kind, name in failed[:3])
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return DbtFailed(
            f"dbt did not pass {names}{more}; nothing was written, and {folder}/dbt.log says why."
        )
    first = next((line for line in text.splitlines() if line.strip()), "it said nothing")
    return DbtFailed(f"dbt ended with an error: {first.strip()} See {folder}/dbt.log.")


# What the reader of files says of a file that is no table of rows (CASES.md, F3, F7, F8), and what the models
# themselves refuse.
_KNOWN_FAILURES = [
    (
        r"(?P<code>HEADER|FILE_EMPTY|SPAN): (?P<sentence>.+?[.])\s*(\n|$|>|compiled code)",
        None,
        "{code}: {sentence}",
    ),
    (
        r"CSV Error on Line: (?P<line>\d+).*?unterminated quote.*?file = (?P<file>[^\n]+)",
        "QUOTE",
        "QUOTE: in {file}, line {line}, a quote opens and does not close before a comma or line end;"
        " close it or double it.",
    ),
    (
        r"CSV Error on Line: (?P<line>\d+).*?Invalid unicode.*?file = (?P<file>[^\n]+)",
        "ENCODING",
        "ENCODING: {file} is not UTF-8 in line {line}; save it as UTF-8.",
    ),
    (
        r"CSV Error on Line: (?P<line>\d+).*?Expected Number of Columns: (?P<expected>\d+)"
        r" Found: (?P<found>\d+).*?file = (?P<file>[^\n]+)",
        "FIELDS",
        "FIELDS: {file} has far too many fields in line {line}; check its commas and quotes.",
    ),
    (
        r"(?P<kind>CSV Error on Line: \d+|CSV Parser state machine).*?file = (?P<file>[^\n]+)",
        "NOT_CSV",
        "NOT_CSV: {file} cannot be read as CSV ({kind}); are its line ends of one kind and its quotes"
        " doubled?",
    ),
    (
        r"POINTS_TRANSFERS names (?P<rest>[^\n]+?[.])\s*(\n|$)",
        None,
        "POINTS_TRANSFERS names {rest}",
    ),
]
