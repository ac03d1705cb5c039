"""The checks of a build's files, after they were swapped in: those of `orchestration.file_checks`, and
whether what they add up to is the programme's line. What may be swapped in at all, the audit decides before.
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from ledger.amounts import points_text
from ledger.data_files import connect, read_parquet
from ledger.settings import Settings
from ledger.sql_text import literal
from orchestration.assets.month_files import FILE_KINDS, MONTHLY_MART, PROVISIONAL_DATABASE
from orchestration.file_checks import FILE_CHECKS, Finding
from orchestration.month_files import PROVISIONAL
from orchestration.reports import MonthSummary, list_provisional, read_provisional_report

_KEYS = {kind.file_name: kind.key for kind in FILE_KINDS}
_PROGRAMMES_LINE = "rows and closing points = relation_count and closing_points of programme_points_by_month"


def provisional_check_specs() -> list[dg.AssetCheckSpec]:
    """One check for each truth of a kind of file."""
    return [
        *(
            dg.AssetCheckSpec(check.name, asset=_KEYS[check.file_name], description=check.description)
            for check in FILE_CHECKS
        ),
        dg.AssetCheckSpec(
            "adds_up_to_the_programme", asset=MONTHLY_MART.key, description=f"{_PROGRAMMES_LINE}."
        ),
        dg.AssetCheckSpec(
            "readers_see_the_month",
            asset=PROVISIONAL_DATABASE.key,
            description=f"Of outstanding_points_by_month in the month, {_PROGRAMMES_LINE}.",
        ),
    ]


def check_provisional(
    settings: Settings, report_month: str, selected: set[dg.AssetCheckKey]
) -> Iterator[dg.AssetCheckResult]:
    """Look at the files of a month (``YYYY-MM``) in ``provisional/``, in every currency of it.

    A check passes where every currency's file is as expected; what differs is in its metadata. Raises
    `MonthNotBuilt`.
    """
    default_currency = settings.default_currency
    default = read_provisional_report(settings, report_month).summary
    others = (summary for summary in list_provisional(settings.home) if summary.report_month == report_month)
    summaries = [default, *(summary for summary in others if summary.currency != default_currency)]
    for spec in provisional_check_specs():
        if spec.key not in selected:
            continue
        findings = {summary.currency: _find(spec.key, summary, default_currency) for summary in summaries}
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=all(finding.holds for finding in findings.values()),
            metadata={"report month": report_month, **dict(_metadata(findings.items()))},
        )


def _find(key: dg.AssetCheckKey, summary: MonthSummary, default_currency: str) -> Finding:
    for check in FILE_CHECKS:
        if (_KEYS[check.file_name], check.name) == (key.asset_key, key.name):
            with connect() as duck:
                return check.find(duck, summary.folder, summary.currency, default_currency, PROVISIONAL)[1]
    if key.asset_key == MONTHLY_MART.key:
        path = MONTHLY_MART.path(summary.folder.parent, summary.report_month)
        with connect() as connection:
            rows = connection.sql(f"from {read_parquet(path)}")
            return _against_programme(rows, summary)
    with connect(PROVISIONAL_DATABASE.path(summary.folder.parent, ""), read_only=True) as connection:
        return _against_programme(connection.table("outstanding_points_by_month"), summary)


def _against_programme(rows, summary: MonthSummary) -> Finding:
    """What the rows of the mart say of a month and currency, against the programme's line."""
    of_month = f"strftime(report_month, '%Y-%m') = {literal(summary.report_month)}"
    count, closing = (
        rows.filter(f"{of_month} and currency = {literal(summary.currency)}")
        .aggregate("count(*), coalesce(sum(closing_points), 0)")
        .fetchone()
    )
    return Finding(
        f"{summary.relation_count:,} rows, closing {points_text(summary.closing_points)}",
        f"{count:,} rows, closing {points_text(closing)}",
    )


def _metadata(findings: Iterable[tuple[str, Finding]]) -> Iterator[tuple[str, str]]:
    for currency, finding in findings:
        yield f"{currency} expected", finding.expected
        yield f"{currency} found", finding.found
