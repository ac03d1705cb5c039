"""The settings of a programme: environment variables that begin with ``POINTS_``, each declared once.

`Settings` reads and checks them. `declared_settings` lists them, also those that only the models read, for
`points doctor`; ``python -m ledger.settings`` prints them as .env.example.
"""

import csv
import getpass
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ledger.access import READERS
from ledger.destinations import Destination, read_destinations
from ledger.errors import PointsError
from ledger.process import (
    DEFAULT_HOME,
    DEFAULT_MEMORY_LIMIT,
    MemoryLimit,
    read_memory_limit,
    read_threads,
)
from ledger.settings_file import PREFIX
from ledger.zones import Zone, is_zone_name, read_zone, similar_zone_name

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# user:password@host:port/database?parameters, of which each part ends where it seems to end.
_CLEAR_URL = re.compile(
    r"postgres(ql)?://([^@:/?#\s]*(:[^@:/?#\s]*)?@)?[^@/?#\s]*(/[^@:/?#\s]*)?(\?[^@#\s]*)?"
)
_EXAMPLE_WIDTH = 118
# Who acts where nobody does: months that are closed by schedule.
SCHEDULE = "schedule"
# How the names of people begin who signed in to the web console.
CONSOLE_PREFIX = "console:"


class SettingInvalid(PointsError):
    """An environment variable holds what it may not."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name} is {value!r}, but {expected}.")


class MonthInvalid(PointsError):
    """A report month is not written ``YYYY-MM`` (docs/cases.md, C1)."""

    code = "MONTH"

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no report month; write one as YYYY-MM, like 2026-10.")


class _Unfit(ValueError):
    """A text is no value of a setting; the message is the end of a sentence: "a port is a number …"."""


@cache
def _models_variables() -> dict[str, Any]:
    return yaml.safe_load((PROJECT_ROOT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]


def transfer_patterns() -> dict[str, str]:
    """The patterns of a transfer's values, as dbt_project.yml gives them to the models too."""
    return _models_variables()["transfer_patterns"]


def spreadsheet_patterns() -> dict[str, str]:
    """What a spreadsheet takes for the beginning of a cell and of a formula, as dbt_project.yml gives it to
    the models too: ``cell``, ``formula`` and ``blank``, each with one group."""
    return _models_variables()["spreadsheet_patterns"]


def transfer_rules() -> list[dict[str, Any]]:
    """The rules of a row of transfers, in the order in which they are tried, as dbt_project.yml gives them to
    the models too: ``code``, ``column``, ``kind`` and what belongs to it, ``expected``."""
    return _models_variables()["transfer_rules"]


def discrepancies_at_close() -> dict[str, str]:
    """What a close does about each kind of discrepancy, as dbt_project.yml says."""
    return _models_variables()["discrepancies_at_close"]


def longest_span_in_months() -> int:
    """How many report months a build may make, as dbt_project.yml says to the models (docs/cases.md, R22)."""
    return _models_variables()["longest_span_in_months"]


@cache
def currencies() -> tuple[str, ...]:
    """The codes of seeds/points_currencies.csv."""
    with open(PROJECT_ROOT / "seeds" / "points_currencies.csv", encoding="utf-8", newline="") as file:
        return tuple(row["currency"] for row in csv.DictReader(file))


def check_month(text: str) -> str:
    """Return ``text`` where it names a report month, ``YYYY-MM``; raise `MonthInvalid` otherwise."""
    if not re.fullmatch(transfer_patterns()["month"], text):
        raise MonthInvalid(text)
    return text


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    ``about`` describes it in .env.example; where it is empty, the setting before it describes both.
    ``default`` is what is read where the variable is unset or empty. ``read`` turns a text into the value.
    ``mask`` makes a text of the value that shows no secret in it; it is None where nothing is secret.
    """

    name: str
    about: str = ""
    default: str = ""
    read: Callable[[str], Any] = str
    mask: Callable[[Any], str] | None = None

    def value_in(self, environment: Mapping[str, str]) -> Any:
        """Its value; raise `SettingInvalid`, which shows nothing of a secret."""
        text = environment.get(self.name) or self.default
        try:
            return self.read(text)
        except _Unfit as error:
            raise SettingInvalid(self.name, "…" if self.mask else text, str(error)) from None

    def shown_in(self, environment: Mapping[str, str]) -> str:
        """The text of it that may be shown, whether or not it can be read."""
        try:
            value = self.value_in(environment)
        except SettingInvalid:
            return "… (cannot be read)" if self.mask else environment[self.name]
        if value is None:
            return ""
        if self.mask:
            return self.mask(value)
        return ", ".join(value) if isinstance(value, tuple) else str(value)


def _setting(about: str = "", **declared: Any) -> Any:
    """A field of `Settings`, read from the variable of its name."""
    return field(repr="mask" not in declared, metadata={"about": about, **declared})


def _matches(pattern: str) -> Callable[[str], Any]:
    return lambda text: re.fullmatch(transfer_patterns()[pattern], text)


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if text else None


def _reading(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of `ledger.process`, which knows nothing of settings."""

    def read_value(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise _Unfit(str(error)) from None

    return read_value


def _value(
    expected: str, is_right: Callable[[str], Any], make: Callable[[str], Any] = str
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if not is_right(text):
            raise _Unfit(expected)
        return make(text)

    return read


def _whole_number(least: int, most: int, expected: str) -> Callable[[str], int]:
    def is_right(text: str) -> bool:
        return bool(re.fullmatch("0|[1-9][0-9]{0,4}", text)) and least <= int(text) <= most

    return _value(expected, is_right, int)


def _home(path: str) -> Path:
    home = Path(path).absolute()
    if any(character in str(home) for character in "?\\"):
        raise _Unfit("with ? or \\ in its path DuckDB keeps no database there; name another")
    if home.exists() and not home.is_dir():
        raise _Unfit("it is a file; name a folder")
    if str(home).splitlines() != [str(home)]:
        raise _Unfit("dbt cannot work where a line break is in the path; name another")
    return home


def _time_zone(name: str) -> str:
    if not is_zone_name(name):
        like = similar_zone_name(name) or "Europe/Berlin or UTC"
        raise _Unfit(f"no time zone has that name; use one like {like}")
    return name


def _today_in_utc(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise _Unfit("it is today's date in UTC, like 2026-10-31") from None


def _currency(code: str) -> str:
    if not re.fullmatch(transfer_patterns()["currency"], code):
        raise _Unfit("a currency's code is 1 to 16 capital letters, digits or underscores")
    if code not in currencies():
        raise _Unfit(f"seeds/points_currencies.csv knows {', '.join(currencies())} alone; add it there")
    return code


def _database_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise _Unfit("it must begin with postgresql://; unset it for SQLite in POINTS_HOME")
    from psycopg import Error, conninfo

    try:
        # A password with an @ or a / in it would be taken for a part of the host or the database, and shown.
        is_clear = bool(_CLEAR_URL.fullmatch(text))
        conninfo.conninfo_to_dict(text)
    except Error:
        is_clear = False
    if not is_clear:
        raise _Unfit(
            "it must be postgresql://user:password@host:port/database, with what is special in the password"
            " percent-encoded (@ is %40, / is %2F)"
        )
    return text


def _without_password(url: str) -> str:
    """A database URL by its user, host and database alone: a password can stand in many of its places."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"


def _user(name: str) -> str:
    user = name or getpass.getuser()
    if not user.isprintable() or len(user) > 128:
        raise _Unfit("a name is at most 128 printable characters")
    if user.strip().casefold().startswith(CONSOLE_PREFIX):
        raise _Unfit(
            f"names that begin with {CONSOLE_PREFIX} are those of people who signed in to the console"
        )
    return user


def is_this_machine(host: str | None) -> bool:
    """Whether what is sent to ``host`` leaves this machine not."""
    return host in ("localhost", "127.0.0.1", "::1")


def _webhook_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
        is_usable = is_usable and (parts.port is None or parts.port > 0) and " " not in text
    except ValueError:
        is_usable = False
    if not is_usable:
        raise _Unfit("it must be an address like https://host/path")
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise _Unfit("it must begin with https://, for http:// shows what is sent to all on the way")
    return text


def _without_path(url: str) -> str:
    """Whoever has the whole address of a webhook can post to it."""
    return f"{urlsplit(url).scheme}://{urlsplit(url).hostname}/…"


def _names_of(destinations: tuple[Destination, ...]) -> str:
    return " ".join(destination.name for destination in destinations)


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    for address in addresses:
        if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", address):
            raise _Unfit(
                f"{address!r} in it is no address; one is written name@host, and several with commas between"
            )
    return addresses


@dataclass(frozen=True)
class Settings:
    """One programme's settings (docs/design.md, section 4).

    ``home`` is absolute. ``transfers`` is an absolute file, folder or glob, or None where the ledger is read.
    ``first_month`` is a report month (``YYYY-MM``). ``approval_above`` is in points. None stands where a
    setting without a default is not set.
    """

    home: Path = _setting(
        "Where everything of one programme is kept: runs, provisional files, Dagster's state.",
        default=DEFAULT_HOME,
        read=_home,
    )
    transfers: str | None = _setting(
        "Raw transfers: a CSV, CSV.gz or Parquet file, a folder of them, or a glob. Unset, `points` reads the"
        " ledger, and a plain `dbt build` the cut in POINTS_HOME that was frozen from it, or else"
        " seeds/sample_transfers.csv. Links in such a folder, or that a glob finds, are refused.",
        read=_optional(os.path.abspath),
    )
    database_url: str | None = _setting(
        "Where the ledger is kept: unset, SQLite in POINTS_HOME; for teams"
        " postgresql://user:password@host/database. That user needs only to read and append; the owner's URL"
        " is read where tables must be made or changed.",
        read=_optional(_database_url),
        mask=_without_password,
    )
    database_owner_url: str | None = _setting(read=_optional(_database_url), mask=_without_password)
    user: str = _setting(
        "Who gives, deducts, approves: recorded with every entry. Unset, the name of the operating system's"
        " user.",
        read=_user,
    )
    sign_in_required: bool = _setting(
        "1: `points` refuses what needs to be sure of who acts (approve, affirm, sign-off, reopen), since a"
        " name in POINTS_USER is a claim.",
        default="0",
        read=_value("it is 0 or 1", ("0", "1").__contains__, lambda text: text == "1"),
    )
    clock_confirmed: date | None = _setting(
        "Today's date in UTC, YYYY-MM-DD, where the newest entry is far from it and a person has seen that"
        " this machine's clock is right. On any other day it has no effect.",
        read=_optional(_today_in_utc),
    )
    approval_above: Decimal | None = _setting(
        "What a person enters above so many points waits until another person approves it. Unset, there is no"
        " limit.",
        read=_optional(_value("it is a number of points, like 1000", _matches("points"), Decimal)),
    )
    programme_name: str = _setting(
        "The name on reports and in the files.",
        default="Points programme",
        read=_value("it stands on reports, so it is one line of printable UTF-8 text", str.isprintable),
    )
    time_zone: str = _setting(
        "The zone whose calendar decides to which month an instant belongs, by its name, like Europe/Berlin.",
        default="UTC",
        read=_time_zone,
    )
    month_start_day: int = _setting(
        "The day on which a report month starts, 1 to 28. With 15, 2026-10 is 15 October to 14 November.",
        default="1",
        read=_whole_number(1, 28, "a report month starts on a day from 1 to 28"),
    )
    default_currency: str = _setting(
        "The currency of transfers that name none. It must stand in seeds/points_currencies.csv.",
        default="POINTS",
        read=_currency,
    )
    first_month: str | None = _setting(
        "The first month, YYYY-MM, that anything posts to: earlier transfers post to it. Unset, that of the"
        " earliest.",
        read=_optional(_value("a report month is written YYYY-MM, like 2026-10", _matches("month"))),
    )
    close_after_days: int = _setting(
        "How many days after its end a month is closed by the schedule, 0 to 28: time for what comes late.",
        default="2",
        read=_whole_number(0, 28, "a month is closed a whole number of days after its end, 0 to 28"),
    )
    readers: str = _setting(
        "Who on this machine may read what is made for readers, published and provisional months: owner (who"
        " runs this), group (that of the files) or everyone. All else in POINTS_HOME is for its owner alone.",
        default="owner",
        read=_value("who may read is owner, group or everyone", READERS.__contains__),
    )
    memory_limit: MemoryLimit = _setting(
        "How much memory a command or a run may use for data, like 4GiB, or as a share of what the machine,"
        " or its control group, has, like 75%; what does not fit goes to POINTS_HOME. Programs and all else"
        " take up to three quarters of a GiB beside it.",
        default=DEFAULT_MEMORY_LIMIT,
        read=_reading(read_memory_limit),
    )
    threads: int | None = _setting(
        "How many threads DuckDB may use, each of which wants memory; unset, one for each processor.",
        read=_optional(_reading(read_threads)),
    )
    deliver_to: tuple[Destination, ...] = _setting(
        "Where the files of closed months are delivered, URLs with spaces between: an absolute folder or"
        " file:///folder, s3://bucket/prefix, sftp://user:password@host:port/folder. In a URL a space is %20."
        " Keys and the endpoint of S3 come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        " of the environment, or AWS's own files; for SFTP without a password the user's SSH keys are tried.",
        read=_reading(read_destinations),
        mask=_names_of,
    )
    sftp_known_hosts: str | None = _setting(
        "The file of keys by which SFTP servers are known, as `ssh-keyscan` writes them; unset,"
        " ~/.ssh/known_hosts. A server whose key is not in it is delivered nothing.",
        read=_optional(os.path.abspath),
    )
    alert_webhook_url: str | None = _setting(
        "Who is alerted when a run fails, a month is not closed in time or something was tampered with, and"
        " told when a month is issued, signed off or reopened: an https address that takes JSON (Slack's or"
        " Mattermost's incoming webhook, or one of your own; keep it secret), people by e-mail, or both.",
        read=_optional(_webhook_url),
        mask=_without_path,
    )
    alert_webhook_secret: str | None = _setting(
        "What is posted there is signed with this secret, so that the receiver knows who sent it: the header"
        " X-Points-Signature is sha256= and the HMAC-SHA256 of the body, in hexadecimal.",
        read=_optional(str),
        mask=lambda secret: "…",
    )
    alert_email_to: tuple[str, ...] = _setting(
        "Whom mail goes to, addresses with commas between.", read=_addresses
    )
    alert_email_from: tuple[str, ...] = _setting(
        "How mail is sent. Unset: from the first of those people; through localhost, port 25; through another"
        " host, port 587 and starttls (or tls with port 465, or none).",
        read=_addresses,
    )
    alert_smtp_host: str = _setting(default="localhost")
    alert_smtp_port: int | None = _setting(
        read=_optional(_whole_number(1, 65535, "a port is a number from 1 to 65535"))
    )
    alert_smtp_security: str | None = _setting(
        read=_optional(_value("it is starttls, tls or none", ("starttls", "tls", "none").__contains__))
    )
    alert_smtp_user: str | None = _setting(read=_optional(str))
    alert_smtp_password: str | None = _setting(read=_optional(str), mask=lambda password: "…")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read and check the settings; raise `SettingInvalid`."""
        values = os.environ if environment is None else environment
        return cls(**{name: setting.value_in(values) for name, setting in _settings_by_field().items()})

    @property
    def zone(self) -> Zone:
        """The programme's zone, by which all of it goes."""
        return read_zone(self.time_zone)

    def for_dbt(self) -> dict[str, str]:
        """The environment variables that give the models these settings, and no other."""
        return {
            "POINTS_HOME": str(self.home),
            "POINTS_MEMORY_LIMIT": self.memory_limit.text,
            "POINTS_THREADS": "" if self.threads is None else str(self.threads),
            "POINTS_TRANSFERS": self.transfers or "",
            "POINTS_TIME_ZONE": self.time_zone,
            "POINTS_ZONE_CHANGES": self.zone.text,
            "POINTS_MONTH_START_DAY": str(self.month_start_day),
            "POINTS_DEFAULT_CURRENCY": self.default_currency,
            "POINTS_FIRST_MONTH": self.first_month or "",
        }


@cache
def project_settings() -> Settings:
    """The settings of this process: its environment, read once. Raises `SettingInvalid`."""
    return Settings.from_environment()


# What only the models read, dbt_project/macros/settings.sql and profiles.yml, which check it too.
_OF_MODELS = (
    Setting(
        "POINTS_THROUGH_MONTH",
        "Only for a plain `dbt build`; `points build --through` sets it. The last month to make, YYYY-MM.",
    ),
    Setting(
        "POINTS_TRANSFER_ROWS",
        "Only for the models of a run: what it has read of POINTS_TRANSFERS already, as Parquet. `points"
        " build` sets it.",
    ),
    Setting(
        "POINTS_STATUS_CHANGES",
        "Optional relations of Parquet, each a file or glob, for a plain `dbt build` alone: `points build`"
        " does not hand them on. CONTRIBUTING.md says what is in them.",
    ),
    Setting("POINTS_ACCOUNT_EVENTS"),
    Setting("POINTS_CLOSES"),
    Setting("POINTS_OPENING_BALANCES"),
    Setting("POINTS_OPENING_CUTOFF"),
    Setting("POINTS_UNPOSTED_TRANSFERS"),
    Setting("POINTS_RELATED_TRANSFERS"),
    Setting("POINTS_RELATED_STATUS_CHANGES"),
    Setting(
        "POINTS_ZONE_CHANGES",
        "Only for a plain `dbt build` on Spark, in another zone than UTC: DuckDB's changes of its offset,"
        " which decide there too, as `python -m ledger.zones` prints them. `points build` hands them on.",
    ),
    Setting(
        "POINTS_UPTO_ENTRY_ID",
        "The last entry that a plain `dbt build` knows, a whole number; what came after it is left out."
        " Unset, all is read.",
    ),
    Setting(
        "POINTS_BUILD_DATABASE", "The DuckDB file that dbt builds into; unset, dev.duckdb in POINTS_HOME."
    ),
)


@cache
def _settings_by_field() -> dict[str, Setting]:
    return {each.name: Setting(f"{PREFIX}{each.name.upper()}", **each.metadata) for each in fields(Settings)}


def declared_settings() -> tuple[Setting, ...]:
    """Every setting there is, in the order of .env.example."""
    return (*_settings_by_field().values(), *_OF_MODELS)


def settings_example() -> str:
    """The text of .env.example: every setting with its default, in a comment of its own."""
    head = (
        "Every setting, with its default. Copy to .env and uncomment what you change: `points` and `make dev`"
        " read the .env of the folder they are started from, which must be yours alone to change; names that"
        " are not here set nothing. For a plain `dbt build`, export the variables."
    )
    lines = _comment(head)
    for setting in declared_settings():
        if setting.about:
            lines += ["", *_comment(setting.about)]
        lines.append(f"# {setting.name}={setting.default}")
    return "\n".join((*lines, ""))


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _EXAMPLE_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


if __name__ == "__main__":
    print(settings_example(), end="")
