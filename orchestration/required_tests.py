"""The audit of dbt's verdicts: every required test is there, has run and has passed.

`required_tests.yml` is the list, and changing it is a reviewed change: a test that was deleted, deselected,
skipped or made to warn no longer stands between a wrong number and its readers (docs/cases.md, X13).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from ledger.errors import PointsError

REQUIRED_TESTS = Path(__file__).with_name("required_tests.yml")


class AuditFailed(PointsError):
    """A build may not be published: ``problems`` names each test and what is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        shown = "; ".join(problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        super().__init__(f"The audit refuses the build, so nothing was written: {shown}{more}.")


def required_tests(path: Path = REQUIRED_TESTS) -> list[str]:
    """The unique ids of the tests that a build cannot do without."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["required_tests"]


def audit_verdicts(statuses: Mapping[str, str], required: list[str]) -> None:
    """Raise `AuditFailed` unless each required test passed and nothing else in ``statuses`` went wrong.

    ``statuses`` maps dbt's unique ids to the statuses of one run.
    """
    problems = [
        f"{_name(test)} {'did not run' if test not in statuses else 'ended as ' + statuses[test]}"
        for test in required
        if statuses.get(test) != "pass"
    ]
    problems += [
        f"{_name(node)} ended as {status}"
        for node, status in statuses.items()
        if status not in ("pass", "success") and node not in required and not node.startswith("exposure.")
    ]
    if problems:
        raise AuditFailed(problems)


def tests_in_manifest(manifest: Mapping) -> list[str]:
    """The unique ids of all data tests in dbt's manifest, in order; unit tests are not of a build."""
    return sorted(unique_id for unique_id in manifest["nodes"] if unique_id.startswith("test."))


def write_required_tests(manifest: Mapping, path: Path = REQUIRED_TESTS) -> None:
    """Rewrite the list from dbt's manifest (``make required-tests``)."""
    lines = [
        "# The tests that every build must have run and passed before a file of it is written",
        "# (docs/design.md, section 9).",
        "# `make required-tests` rewrites this list; what it takes away, a reviewer must agree to.",
        "required_tests:",
        *(f"  - {test}" for test in tests_in_manifest(manifest)),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _name(unique_id: str) -> str:
    return unique_id.split(".")[2]


if __name__ == "__main__":
    from ledger.settings import PROJECT_ROOT

    write_required_tests(json.loads((PROJECT_ROOT / "target" / "manifest.json").read_bytes()))
