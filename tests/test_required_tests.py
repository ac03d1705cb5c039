"""The audit: what dbt says of its tests decides whether a build is published (docs/cases.md, X13)."""

import errno

import duckdb
import pytest

from ledger.settings import Settings
from orchestration import build
from orchestration.required_tests import AuditFailed, audit_verdicts, required_tests

REQUIRED = ["test.outstanding_points.truth_1.aaa", "test.outstanding_points.truth_2.bbb"]
PASSED = dict.fromkeys(REQUIRED, "pass") | {"model.outstanding_points.some_mart": "success"}


def test_a_build_whose_required_tests_all_passed_is_let_through():
    audit_verdicts(PASSED, REQUIRED)


def problems(statuses: dict[str, str]) -> list[str]:
    """What the audit refuses a build of these verdicts for."""
    with pytest.raises(AuditFailed) as refused:
        audit_verdicts(statuses, REQUIRED)
    return refused.value.problems


@pytest.mark.parametrize("status", ["fail", "warn", "skipped", "error", "no-op"])
def test_a_required_test_that_did_anything_but_pass_stops_the_build_by_name(status):
    assert problems(PASSED | {REQUIRED[1]: status}) == [f"truth_2 ended as {status}"]


def test_a_required_test_that_was_deleted_or_deselected_stops_the_build_by_name():
    verdicts = {name: status for name, status in PASSED.items() if name != REQUIRED[0]}
    assert problems(verdicts) == ["truth_1 did not run"]


def test_a_test_that_is_not_required_yet_must_not_fail_either():
    failed = PASSED | {"test.outstanding_points.new_one.ccc": "fail"}
    assert problems(failed) == ["new_one ended as fail"]


def test_the_six_truths_are_required():
    names = " ".join(required_tests())
    for number in range(1, 7):
        assert f"truth_{number}_" in names


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (duckdb.IOException("Could not write file: No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_files_that_cannot_be_written_leave_readers_what_they_had(tmp_path, monkeypatch, fault, reason):
    """docs/cases.md, X5, as far as a build goes."""

    def fail(*arguments):
        raise fault

    monkeypatch.setattr(build, "months_built", fail)
    settings = Settings.from_environment({"POINTS_HOME": str(tmp_path)})
    (tmp_path / "run").mkdir()
    with pytest.raises(build.FilesNotWritten, match=f"not be written to {tmp_path}: {reason};"):
        build.publish_build(settings, None, tmp_path / "run", dict.fromkeys(required_tests(), "pass"))
    assert not (tmp_path / "provisional").exists()


def test_a_build_that_left_a_test_out_publishes_nothing(tmp_path):
    settings = Settings.from_environment({"POINTS_HOME": str(tmp_path)})
    (tmp_path / "run").mkdir()
    statuses = dict.fromkeys(required_tests(), "pass")
    (left_out,) = [name for name in statuses if ".truth_3_closing_is_outstanding." in name]
    del statuses[left_out]
    with pytest.raises(AuditFailed) as refused:
        build.publish_build(settings, None, tmp_path / "run", statuses)
    assert refused.value.problems == ["truth_3_closing_is_outstanding did not run"]
    assert not (tmp_path / "provisional").exists()
