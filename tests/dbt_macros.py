"""The macros of the models as they stand, without dbt around them."""

import datetime
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2

from tests.conftest import PROJECT_ROOT

_MACRO = re.compile(r"{%-? macro (\w+)\(.*?{%-? endmacro -?%}", re.DOTALL)
_FILES = ("zones.sql", "report_month.sql")


class _Returned(Exception):
    """How dbt's ``return`` leaves a macro with a value that is no text."""

    def __init__(self, value: Any) -> None:
        self.value = value


class CompilerError(Exception):
    """A macro refused."""


def load_macros(
    duck: duckdb.DuckDBPyConnection, settings: Mapping[str, str], engine: str = "default"
) -> SimpleNamespace:
    """The macros of zones and months, under ``settings``; what they ask of DuckDB is asked of ``duck``.

    ``engine`` is whose variants are dispatched to: 'default', which is DuckDB, or 'spark'.
    """
    macros: dict[str, Callable] = {}
    known = {
        "POINTS_TIME_ZONE": "UTC",
        "POINTS_ZONE_CHANGES": "",
        "POINTS_MONTH_START_DAY": "1",
        **settings,
    }
    around = {
        "execute": True,
        "modules": SimpleNamespace(datetime=datetime, re=re),
        "return": _leave_with,
        "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
        "adapter": SimpleNamespace(dispatch=lambda name, _package: macros[f"{engine}__{name}"]),
        "run_query": lambda query: SimpleNamespace(
            columns=[
                SimpleNamespace(values=lambda: tuple(value for (value,) in duck.execute(query).fetchall()))
            ]
        ),
        "setting": known.__getitem__,
        "month_start_day": lambda: int(known["POINTS_MONTH_START_DAY"]),
        "dbt": SimpleNamespace(
            # As dbt-duckdb has them.
            dateadd=lambda part, number, value: f"({value} + cast({number} as bigint) * interval 1 {part})",
            date_trunc=lambda part, value: f"date_trunc('{part}', {value})",
            string_literal=lambda text: f"'{text}'",
        ),
    }
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    for file in _FILES:
        source = (PROJECT_ROOT / "dbt_project/macros" / file).read_text(encoding="utf-8")
        for found in _MACRO.finditer(source):
            macros[found[1]] = _returning(environment, found[0], found[1], around, macros)
    return SimpleNamespace(**macros)


def _returning(
    environment: jinja2.Environment, source: str, name: str, around: Mapping, macros: Mapping
) -> Callable:
    def call(*arguments: Any) -> Any:
        try:
            return getattr(environment.from_string(source).make_module({**around, **macros}), name)(
                *arguments
            )
        except _Returned as returned:
            return returned.value

    return call


def _leave_with(value: Any) -> None:
    raise _Returned(value)


def _refuse(sentence: str) -> None:
    raise CompilerError(sentence)
