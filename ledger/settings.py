"""The settings of a programme: environment variables with the prefix ``POINTS_``, checked once."""

import csv
import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ledger.access import READERS
from ledger.errors import PointsError
from ledger.zones import Zone, is_zone_name, read_zone, similar_zone_name

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# user:password@host:port/database?parameters, of which each part ends where it seems to end.
_CLEAR_URL = re.compile(
    r"postgres(ql)?://([^@:/?#\s]*(:[^@:/?#\s]*)?@)?[^@/?#\s]*(/[^@:/?#\s]*)?(\?[^@#\s]*)?"
)


class SettingInvalid(PointsError):
    """An environment variable holds what it may not."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name} is {value!r}, but {expected}.")
        self.name = name
        self.value = value


class MonthInvalid(PointsError):
    """A report month is not written ``YYYY-MM`` (docs/cases.md, C1)."""

    code = "MONTH"

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no report month; write one as YYYY-MM, like 2026-10.")
        self.text = text


@cache
def _models_variables() -> dict[str, Any]:
    return yaml.safe_load((PROJECT_ROOT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]


def transfer_patterns() -> dict[str, str]:
    """The patterns of a transfer's values, as dbt_project.yml gives them to the models too."""
    return _models_variables()["transfer_patterns"]


def transfer_rules() -> list[dict[str, Any]]:
    """The rules of a row of transfers, in the order in which they are tried, as dbt_project.yml gives them to
    the models too: ``code``, ``column``, ``kind`` and what belongs to it, ``expected``."""
    return _models_variables()["transfer_rules"]


def longest_span_in_months() -> int:
    """How many report months a build may make, as dbt_project.yml says to the models (docs/cases.md, R22)."""
    return _models_variables()["longest_span_in_months"]


def check_month(text: str) -> str:
    """Return ``text`` where it names a report month, ``YYYY-MM``; raise `MonthInvalid` otherwise."""
    if not re.fullmatch(transfer_patterns()["month"], text):
        raise MonthInvalid(text)
    return text


@dataclass(frozen=True)
class AlertSettings:
    """Whom to tell when something fails, and how: a webhook, people by e-mail, both or nobody.

    ``webhook_url`` and ``smtp_password`` are secrets. ``smtp_security`` is 'starttls', 'tls' or 'none'.
    """

    webhook_url: str | None = field(default=None, repr=False)
    email_to: tuple[str, ...] = ()
    email_from: str = ""
    smtp_host: str = "localhost"
    smtp_port: int = 25
    smtp_security: str = "none"
    smtp_user: str | None = None
    smtp_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """One programme's settings.

    ``home`` is absolute. ``transfers`` is a file, folder or glob of raw transfers, or None where the ledger
    is read. ``first_month`` is a report month (``YYYY-MM``) or None. ``database_url`` names a PostgreSQL, or
    None for SQLite in ``home``. ``approval_above`` is in points, or None for no limit. ``user`` is who acts.
    ``clock_confirmed`` is the date of which a person has said that the machine's clock is right, or None.
    ``close_after_days`` is how many days after its end a month is due to be closed. ``readers`` is who may
    read what is made for readers: 'owner', 'group' or 'everyone'.
    """

    home: Path
    transfers: str | None
    programme_name: str
    time_zone: str
    month_start_day: int
    default_currency: str
    first_month: str | None
    database_url: str | None = field(repr=False)
    database_owner_url: str | None = field(repr=False)
    approval_above: Decimal | None
    user: str
    clock_confirmed: date | None
    close_after_days: int
    readers: str
    alerts: AlertSettings

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read and check the settings (docs/design.md, section 4); raise `SettingInvalid`."""
        values = os.environ if environment is None else environment
        transfers = values.get("POINTS_TRANSFERS") or None
        if transfers:
            transfers = os.path.abspath(transfers)
        return cls(
            home=_home(values.get("POINTS_HOME") or "var"),
            transfers=transfers,
            programme_name=_programme_name(values.get("POINTS_PROGRAMME_NAME") or "Points programme"),
            time_zone=_time_zone(values.get("POINTS_TIME_ZONE") or "UTC"),
            month_start_day=_month_start_day(values.get("POINTS_MONTH_START_DAY") or "1"),
            default_currency=_currency(values.get("POINTS_DEFAULT_CURRENCY") or "POINTS"),
            first_month=_month("POINTS_FIRST_MONTH", values.get("POINTS_FIRST_MONTH")),
            database_url=_database_url("POINTS_DATABASE_URL", values.get("POINTS_DATABASE_URL")),
            database_owner_url=_database_url(
                "POINTS_DATABASE_OWNER_URL", values.get("POINTS_DATABASE_OWNER_URL")
            ),
            approval_above=_approval_above(values.get("POINTS_APPROVAL_ABOVE")),
            user=_user(values.get("POINTS_USER")),
            clock_confirmed=_clock_confirmed(values.get("POINTS_CLOCK_CONFIRMED")),
            close_after_days=_close_after_days(values.get("POINTS_CLOSE_AFTER_DAYS") or "2"),
            readers=_readers(values.get("POINTS_READERS") or "owner"),
            alerts=_alerts(values),
        )

    @property
    def zone(self) -> Zone:
        """The programme's zone, by which all of it goes."""
        return read_zone(self.time_zone)

    def for_dbt(self) -> dict[str, str]:
        """The environment variables that tell the models these settings, and nothing of any other."""
        return {
            "POINTS_HOME": str(self.home),
            "POINTS_TRANSFERS": self.transfers or "",
            "POINTS_TIME_ZONE": self.time_zone,
            "POINTS_ZONE_CHANGES": self.zone.text,
            "POINTS_MONTH_START_DAY": str(self.month_start_day),
            "POINTS_DEFAULT_CURRENCY": self.default_currency,
            "POINTS_FIRST_MONTH": self.first_month or "",
        }


def _home(path: str) -> Path:
    home = Path(path).absolute()
    if any(character in str(home) for character in "?\\"):
        raise SettingInvalid(
            "POINTS_HOME", str(home), "with ? or \\ in its path DuckDB keeps no database there; name another"
        )
    if str(home).splitlines() != [str(home)]:
        raise SettingInvalid(
            "POINTS_HOME", str(home), "dbt cannot work where a line break is in the path; name another"
        )
    return home


def _programme_name(name: str) -> str:
    if not name.isprintable():
        raise SettingInvalid(
            "POINTS_PROGRAMME_NAME", name, "it stands on reports, so it is one line of printable UTF-8 text"
        )
    return name


def _time_zone(name: str) -> str:
    if not is_zone_name(name):
        raise SettingInvalid(
            "POINTS_TIME_ZONE",
            name,
            f"no time zone has that name; use one like {similar_zone_name(name) or 'Europe/Berlin or UTC'}",
        )
    return name


def _clock_confirmed(text: str | None) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date() if text else None
    except ValueError:
        raise SettingInvalid(
            "POINTS_CLOCK_CONFIRMED", text, "it is today's date in UTC, like 2026-10-31"
        ) from None


def _month_start_day(text: str) -> int:
    if text not in {str(day) for day in range(1, 29)}:
        raise SettingInvalid("POINTS_MONTH_START_DAY", text, "a report month starts on a day from 1 to 28")
    return int(text)


def _currency(code: str) -> str:
    if not re.fullmatch(transfer_patterns()["currency"], code):
        raise SettingInvalid(
            "POINTS_DEFAULT_CURRENCY",
            code,
            "a currency's code is 1 to 16 capital letters, digits or underscores",
        )
    with open(PROJECT_ROOT / "seeds" / "points_currencies.csv", encoding="utf-8", newline="") as file:
        known = [row["currency"] for row in csv.DictReader(file)]
    if code not in known:
        raise SettingInvalid(
            "POINTS_DEFAULT_CURRENCY",
            code,
            f"seeds/points_currencies.csv knows {', '.join(known)} alone; add it there",
        )
    return code


def _month(name: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        return check_month(text)
    except MonthInvalid:
        raise SettingInvalid(name, text, "a report month is written YYYY-MM, like 2026-10") from None


def _database_url(name: str, text: str | None) -> str | None:
    if not text:
        return None
    if not text.startswith(("postgresql://", "postgres://")):
        # The value may hold a password, so it is not shown.
        raise SettingInvalid(
            name, "…", "it must begin with postgresql://; unset it for SQLite in POINTS_HOME"
        )
    from psycopg import Error, conninfo

    try:
        # A password with an @ or a / in it would be taken for a part of the host or the database, and shown.
        is_clear = bool(_CLEAR_URL.fullmatch(text))
        conninfo.conninfo_to_dict(text)
    except Error:
        is_clear = False
    if not is_clear:
        raise SettingInvalid(
            name,
            "…",
            "it must be postgresql://user:password@host:port/database, with what is special in the password"
            " percent-encoded (@ is %40, / is %2F)",
        )
    return text


def _approval_above(text: str | None) -> Decimal | None:
    if not text:
        return None
    if not re.fullmatch(transfer_patterns()["points"], text):
        raise SettingInvalid("POINTS_APPROVAL_ABOVE", text, "it is a number of points, like 1000")
    return Decimal(text)


def _user(name: str | None) -> str:
    user = name or getpass.getuser()
    if not user.isprintable() or len(user) > 128:
        raise SettingInvalid("POINTS_USER", user, "a name is at most 128 printable characters")
    return user


def _close_after_days(text: str) -> int:
    if text not in {str(days) for days in range(29)}:
        raise SettingInvalid(
            "POINTS_CLOSE_AFTER_DAYS", text, "a month is closed a whole number of days after its end, 0 to 28"
        )
    return int(text)


def _readers(text: str) -> str:
    if text not in READERS:
        raise SettingInvalid("POINTS_READERS", text, "who may read is owner, group or everyone")
    return text


def _alerts(values: Mapping[str, str]) -> AlertSettings:
    email_to = _addresses("POINTS_ALERT_EMAIL_TO", values.get("POINTS_ALERT_EMAIL_TO"))
    email_from = _addresses("POINTS_ALERT_EMAIL_FROM", values.get("POINTS_ALERT_EMAIL_FROM"))
    host = values.get("POINTS_ALERT_SMTP_HOST") or "localhost"
    is_here = host in ("localhost", "127.0.0.1", "::1")
    port = _port(
        "POINTS_ALERT_SMTP_PORT", values.get("POINTS_ALERT_SMTP_PORT") or ("25" if is_here else "587")
    )
    usual = "none" if is_here else "tls" if port == 465 else "starttls"
    return AlertSettings(
        webhook_url=_webhook_url("POINTS_ALERT_WEBHOOK_URL", values.get("POINTS_ALERT_WEBHOOK_URL")),
        email_to=email_to,
        email_from=(email_from or email_to or ("",))[0],
        smtp_host=host,
        smtp_port=port,
        smtp_security=_smtp_security(values.get("POINTS_ALERT_SMTP_SECURITY") or usual),
        smtp_user=values.get("POINTS_ALERT_SMTP_USER") or None,
        smtp_password=values.get("POINTS_ALERT_SMTP_PASSWORD") or None,
    )


def _webhook_url(name: str, text: str | None) -> str | None:
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
        is_usable = is_usable and (parts.port is None or parts.port > 0) and " " not in text
    except ValueError:
        is_usable = False
    if not is_usable:
        # Whoever has the address can post to it, so it is not shown.
        raise SettingInvalid(name, "…", "it must be an address like https://host/path")
    return text


def _addresses(name: str, text: str | None) -> tuple[str, ...]:
    addresses = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for address in addresses:
        if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", address):
            raise SettingInvalid(
                name, address, "an address is written name@host, and several with commas between"
            )
    return addresses


def _port(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise SettingInvalid(name, text, "a port is a number from 1 to 65535")
    return int(text)


def _smtp_security(text: str) -> str:
    if text not in ("starttls", "tls", "none"):
        raise SettingInvalid("POINTS_ALERT_SMTP_SECURITY", text, "it is starttls, tls or none")
    return text
