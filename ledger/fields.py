"""How values are kept, alike in SQLite and PostgreSQL: exact integers, and text in the order of its bytes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import models

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_units(points: Decimal) -> int:
    """Points as whole ten-thousandths; raise `ValueError` where they have more than four places."""
    units = points.scaleb(4)
    if units != units.to_integral_value():
        raise ValueError(f"{points} has more than four decimal places")
    return int(units)


def from_units(units: int) -> Decimal:
    """Whole ten-thousandths as points."""
    return Decimal(units).scaleb(-4)


def to_microseconds(instant: datetime) -> int:
    """An aware instant as whole microseconds since 1970 in UTC."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Whole microseconds since 1970 as an instant in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


class EntryIdField(models.BigIntegerField):
    """The key of an entry's table. In SQLite it is the row's own number, so that no row has another one."""

    def db_type(self, connection):
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class PointsField(models.BigIntegerField):
    """Exact points: a `Decimal` in Python, whole ten-thousandths in the database."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else from_units(value)

    def get_prep_value(self, value):
        return None if value is None else to_units(Decimal(value))

    def to_python(self, value):
        return None if value is None else Decimal(value)


class InstantField(models.BigIntegerField):
    """An instant: an aware `datetime` in Python, whole microseconds in UTC in the database."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else from_microseconds(value)

    def get_prep_value(self, value):
        return None if value is None else to_microseconds(value)

    def to_python(self, value):
        return value


class CodeField(models.TextField):
    """Text that is compared and sorted by its bytes in every locale of the database."""

    def db_parameters(self, connection):
        by_bytes = {"collation": "C"} if connection.vendor == "postgresql" else {}
        return super().db_parameters(connection) | by_bytes
