"""The settings that stand in a file: ``.env`` of the folder in which a command is started, and no other."""

import errno
import os
import stat
from pathlib import Path

from dotenv import dotenv_values

from ledger.errors import PointsError

PREFIX = "POINTS_"
_OWN_FILE = "put a file of your own in its place, or remove it"


class SettingsFileRefused(PointsError):
    """The file may be changed by other users, or is no file of settings."""

    code = "SETTINGS_FILE"

    def __init__(self, path: Path, problem: str, advice: str) -> None:
        super().__init__(f"{path} {problem}, so no setting is taken from it; {advice}.")


def settings_file(folder: Path) -> Path:
    """The settings file that applies in ``folder``, if there is one."""
    return folder / ".env"


def read_settings_file(folder: Path) -> dict[str, str]:
    """What ``.env`` in ``folder`` says, by name; empty where there is none.

    Names that do not begin with POINTS_ are in it too, for who names them, but set nothing. Raises
    `SettingsFileRefused` for a file that another user owns or may write to, and for what is no such file.
    """
    path = settings_file(folder)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        problem = "is a link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise SettingsFileRefused(path, problem, _OWN_FILE) from None
    with open(descriptor, encoding="utf-8-sig") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsFileRefused(path, "is no file", _OWN_FILE)
        if status.st_uid not in (os.geteuid(), 0):
            raise SettingsFileRefused(path, "belongs to another user", "copy it to a file of your own")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsFileRefused(
                path, "may be changed by other users", f"look at what it says, and run `chmod go-w {path}`"
            )
        try:
            values = dotenv_values(stream=file)
        except UnicodeDecodeError:
            raise SettingsFileRefused(path, "is not UTF-8", "save it as UTF-8") from None
    return {name: value for name, value in values.items() if value is not None}


def take_settings_file(folder: Path) -> None:
    """Let the file in ``folder`` say each setting of this process that its environment does not."""
    for name, value in read_settings_file(folder).items():
        if name.startswith(PREFIX):
            os.environ.setdefault(name, value)
