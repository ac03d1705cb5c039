"""`.env`: only of the folder that a command is started in, only of its user, and only what is a setting."""

import json
import os
from pathlib import Path

import pytest

from ledger.settings import SettingInvalid, Settings
from ledger.settings_file import SettingsFileRefused, read_settings_file, take_settings_file
from tests.conftest import answer, assert_refused


@pytest.fixture
def file(tmp_path):
    file = tmp_path / ".env"
    file.write_text(
        'POINTS_PROGRAMME_NAME="Miles & Moor"\nLD_PRELOAD=/tmp/sly.so\nPOINTS_USER\n', encoding="utf-8"
    )
    file.chmod(0o644)
    return file


def test_only_settings_are_taken_and_the_environment_goes_first(file, monkeypatch):
    """docs/cases.md, S12."""
    monkeypatch.setattr(os, "environ", {"POINTS_USER": "ada"})
    take_settings_file(file.parent)
    assert os.environ == {"POINTS_USER": "ada", "POINTS_PROGRAMME_NAME": "Miles & Moor"}


def test_a_file_above_the_folder_is_not_looked_at(file):
    """docs/cases.md, S12."""
    below = file.parent / "below"
    below.mkdir()
    assert read_settings_file(below) == {}


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_file_that_others_may_change_is_refused(file, points, mode):
    """docs/cases.md, S12."""
    file.chmod(mode)
    advice = f"look at what it says, and run `chmod go-w {file}`"
    refused = SettingsFileRefused(file, "may be changed by other users", advice)
    assert_refused(points("months", home=file.parent / "home"), refused)


def problem_of(file: Path) -> str:
    """Why no setting is taken from ``file``, which is refused."""
    with pytest.raises(SettingsFileRefused) as refused:
        read_settings_file(file.parent)
    assert refused.value.path == file
    return refused.value.problem


def test_a_file_of_another_user_a_link_and_a_pipe_are_refused(file, monkeypatch, tmp_path):
    """docs/cases.md, S12."""
    if file.stat().st_uid == 0:
        os.chown(file, 54321, -1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        assert problem_of(file) == "belongs to another user"
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert problem_of(file) == "is a link"
    file.unlink()
    os.mkfifo(file, 0o600)
    assert problem_of(file) == "is no file"


def test_a_file_that_is_not_utf_8_is_a_sentence(file):
    file.write_bytes("POINTS_PROGRAMME_NAME=Münzen".encode("cp1252"))
    assert problem_of(file) == "is not UTF-8"


def test_doctor_names_the_file_and_what_it_does_not_take(file, points):
    """docs/cases.md, S12."""
    found = json.loads(points("doctor", "--json", home=file.parent / "home").stdout)
    (reported,) = [finding for finding in found["findings"] if "LD_PRELOAD" in finding["sentence"]]
    assert reported["verdict"] == "warning"
    assert str(file) in reported["sentence"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:pass@word@host/points",
        "postgresql://ada:pass/word@host/points",
        "postgresql://ada:pass?word@host/points",
        "postgresql://ada:pass#word@host/points",
        "postgresql://ada@corp:password@host/points",
    ],
)
def test_a_url_whose_password_may_end_elsewhere_is_refused_and_not_shown(url):
    """docs/cases.md, S13."""
    with pytest.raises(SettingInvalid) as refused:
        Settings.from_environment({"POINTS_DATABASE_URL": url})
    assert refused.value.name == "POINTS_DATABASE_URL"
    assert "word" not in str(refused.value).replace("password@host", "").replace("in the password", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:pass%40word@host:5432/points",
        "postgresql://ada@[::1]:5432/points?sslmode=require",
        "postgres:///points?host=/var/run/postgresql",
        "postgresql://ada:pa%2Fss@one:1,two:2/points",
        "postgresql://postgres:@/points?host=/tmp/x",
    ],
)
def test_a_url_that_can_be_read_in_one_way_is_taken_and_stands_in_no_repr(url):
    """docs/cases.md, S13."""
    settings = Settings.from_environment({"POINTS_DATABASE_URL": url, "POINTS_DATABASE_OWNER_URL": url})
    assert settings.database_url == url
    assert url not in repr(settings)


def test_a_project_of_djangos_in_the_environment_is_not_the_ledgers(points, tmp_path):
    """docs/cases.md, S12."""
    answer(points("doctor", home=tmp_path / "home", DJANGO_SETTINGS_MODULE="somebody.elses"))
