"""What a close keeps for an auditor, in each month's `EVIDENCE`: the SQL as it ran, the rules, the settings,
what the gate showed, the verdicts of the tests, and the recount (docs/design.md, section 9).

It stands in the month's manifest, so it must come out the same where the month is made again after a crash:
it holds no clock, no path of this machine, and nothing of how the cut is divided into files.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from ledger.amounts import points_text
from ledger.settings import PROJECT_ROOT
from orchestration.close.gate import Gate
from orchestration.dbt.invocation import target_folder
from orchestration.published.manifests import SEEDS
from orchestration.recount.figures import Figures
from orchestration.recount.recount import Recount

EVIDENCE = "evidence.zip"
# A list of segments of the cut in SQL, wherever the home is: ['/home/cut/transfers/1-9.parquet', '…'].
_CUT_FILES = re.compile(r"\[(?:'(?:[^']|'')*/cut/(\w+)/[0-9-]+\.parquet'(?:, )?)+\]")
# No zip file can say less; the same for every file and every close.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
# What a run is given beside what decides its figures: where things stand, and its share of the machine.
_OF_THE_MACHINE = ("POINTS_HOME", "POINTS_BUILD_DATABASE", "POINTS_MEMORY_LIMIT", "POINTS_THREADS")


@dataclass(frozen=True)
class RunEvidence:
    """What is the same for all months of a run.

    ``environment`` are the variables that its models were given, ``statuses`` dbt's by unique id.
    """

    programme_name: str
    run_folder: Path
    environment: Mapping[str, str]
    statuses: Mapping[str, str]
    gate: Gate
    recounted: Recount


def write_evidence(folder: Path, report_month: str, run: RunEvidence) -> None:
    """Write `EVIDENCE` of a month into its ``folder``; raises `OSError`."""
    with zipfile.ZipFile(folder / EVIDENCE, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(_contents(report_month, run)):
            archive.writestr(zip_entry(name), text)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """A file within a zip file, compressed, that anyone may read, without a time."""
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _contents(report_month: str, run: RunEvidence) -> Iterator[tuple[str, str]]:
    yield "gate.json", _json(run.gate.facts())
    yield "recount.json", _json(_recount(report_month, run.recounted))
    yield "settings.json", _json(_settings(run))
    yield "verdicts.json", _json(dict(sorted(run.statuses.items())))
    for path in (PROJECT_ROOT / "dbt_project.yml", *(PROJECT_ROOT / "seeds" / name for name in SEEDS)):
        yield path.relative_to(PROJECT_ROOT).as_posix(), path.read_text(encoding="utf-8")
    ran = target_folder(run.run_folder) / "run"
    for path in ran.rglob("*.sql"):
        yield f"sql/{path.relative_to(ran).as_posix()}", _as_it_ran(path)


def _as_it_ran(path: Path) -> str:
    """The SQL of a node; the files of the cut, which may be divided otherwise, stand as one pattern."""
    return _CUT_FILES.sub(r"['cut/\1/*.parquet']", path.read_text(encoding="utf-8"))


def _settings(run: RunEvidence) -> dict[str, str]:
    given = {name: value for name, value in run.environment.items() if value and name not in _OF_THE_MACHINE}
    return dict(sorted({**given, "POINTS_PROGRAMME_NAME": run.programme_name}.items()))


def _recount(report_month: str, recounted: Recount) -> dict[str, object]:
    return {
        "control_totals": recounted.control_totals[report_month],
        "rows_of_the_run": {model: str(count) for model, count in sorted(recounted.row_counts.items())},
        "figures": [_figures(report_month, figures) for figures in recounted.figures],
    }


def _figures(report_month: str, figures: Figures) -> dict[str, object]:
    """What a model must hold, and the query that was asked of it: the month's own groups, where it has
    months."""
    groups = [
        dict(zip((*figures.keys, *figures.numbers), map(_value, (*key, *numbers)), strict=True))
        for key, numbers in figures.expected.items()
        if figures.keys[0] != "report_month" or key[0] == report_month
    ]
    groups.sort(key=lambda group: [str(value) for value in group.values()])
    return {"model": figures.model, "query": " ".join(figures.query.split()), "groups": groups}


def _value(value: object) -> object:
    return points_text(value) if isinstance(value, Decimal) else value


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
