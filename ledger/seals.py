"""What the first close sealed: settings that decide which month a transfer belongs to
(docs/design.md, section 4).

They stand in that close's entry. Under others, closed months would come out differently, so nothing runs with
others any more (docs/cases.md, X18).
"""

import json
from collections.abc import Mapping

from ledger.errors import PointsError
from ledger.models import Close
from ledger.settings import Settings

# Each seal, and the environment variable that sets it.
SEALS = {
    "time_zone": "POINTS_TIME_ZONE",
    "month_start_day": "POINTS_MONTH_START_DAY",
    "first_month": "POINTS_FIRST_MONTH",
    "default_currency": "POINTS_DEFAULT_CURRENCY",
}


class SealBroken(PointsError):
    """A setting is not what the first close sealed."""

    code = "SEALED"

    def __init__(self, name: str, value: object, sealed: object) -> None:
        super().__init__(
            f"{name} is {value}, but the programme's first close sealed it as {sealed}, and with another"
            f" closed months would come out differently; set {name}={sealed}."
        )


def seals_of(settings: Settings, first_month: str) -> dict[str, object]:
    """What a first close with these settings seals; ``first_month`` is the programme's, ``YYYY-MM``."""
    values = {**vars(settings), "first_month": first_month}
    return {name: values[name] for name in SEALS}


def read_seals() -> Mapping[str, object] | None:
    """The seals of the open ledger; None where no month has been closed yet."""
    first = Close.objects.filter(event="close").exclude(seals="").order_by("entry_id").first()
    return json.loads(first.seals) if first else None


def check_seals(settings: Settings) -> None:
    """Raise `SealBroken` where a setting is not what the first close sealed.

    A first month that is not set breaks nothing: the seal holds without it.
    """
    sealed = read_seals()
    if sealed is None:
        return
    for name, variable in SEALS.items():
        value = getattr(settings, name)
        if value != sealed[name] and not (name == "first_month" and value is None):
            raise SealBroken(variable, value, sealed[name])
