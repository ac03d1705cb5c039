"""``make bench [SIZE=10m]``: what a close and a build cost, against what a specialist writes by hand.

Months come as in life (`benchmarks.history`) into a ledger, and are closed. Measured are the close of the
third month and of the last one, a build before that, and then, with all months open again, the build of all
from the first entry; each from the command to the prompt, with every file. Before that `points verify --full`
computes all closed months again, and its part about published files is set against `sha256sum` of the same
files. After a close and a build of all comes `specialist.py`, which makes the same of the same cut, and what
both made is compared: the same bytes of each CSV file, the same rows of each Parquet file, or the benchmark
ends. Both go alternately, as often as ``--times`` says. A close is done again in the home as it was before,
so that none is a second revision; the cut's segments above the close before are taken away, so that it
freezes them.

Tables in Markdown go to standard output and to ``SIZE.md`` in the folder ``--output``, all figures to
``SIZE.json``. SIZE=100m needs some 70 GB on the disk of that folder.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from benchmarks import incremental, others
from benchmarks.history import write_month
from benchmarks.measured import Measured, machine, run_measured
from ledger.anchors import read_anchor
from ledger.cut import PARTS, cut_folder
from ledger.data_files import connect, read_parquet
from ledger.settings import PROJECT_ROOT
from ledger.sql_text import literal
from orchestration.month_files import RESTATEMENT
from orchestration.report_calendar import months_between

# Each part of a close, and the step that ends it (`orchestration.fail_points`).
PARTS_OF_CLOSE = {
    "start, look at what there is": "opened",
    "freezing the ledger, verifying entries": "frozen",
    "what revocations are connected with": "related written",
    "dbt, until its first node is done": "first node",
    "dbt, all other nodes": "verdicts audited",
    "recount": "recounted",
    "files": "files written",
    "manifests": "manifests written",
    "synced to the disk": "files synced",
    "read back in a new process": "read back",
    "commit, links, database": "finished",
}
CONTRACT = yaml.safe_load((PROJECT_ROOT / "orchestration" / "mart_contract.yml").read_text(encoding="utf-8"))


# The script makes these; XML and workbooks are the project's alone, and what it says of an earlier revision.
COMPARED = (".csv", ".parquet")
# Up to so many transfers the script is quicker with its tables in memory.
FIT_INTO_MEMORY = 20_000_000


@dataclass(frozen=True)
class Size:
    """How many transfers of how many customers come over how many months, and how often each is measured."""

    transfers: int
    customers: int
    months: int
    times: int


SIZES = {
    "small": Size(300, 10, 3, 3),
    "1m": Size(1_000_000, 20_000, 36, 3),
    "10m": Size(10_000_000, 200_000, 36, 3),
    "100m": Size(100_000_000, 2_000_000, 36, 1),
}


@dataclass(frozen=True)
class Pair:
    """What was measured of the project and of the script; of a close, its parts in seconds too."""

    project: list[Measured]
    script: list[Measured]
    parts: list[dict[str, float]]

    def median(self, whose: str, figure: str) -> float:
        return statistics.median(getattr(measured, figure) for measured in getattr(self, whose))


@dataclass(frozen=True)
class Verified:
    """Seconds of the part of `points verify` about published files, of `sha256sum` of the same ``mebibytes``,
    and what `points verify --full` took, all of it."""

    mebibytes: int
    files: list[float]
    sha256sum: list[float]
    full: Measured


class Bench:
    """A programme of a size, in a home of its own."""

    def __init__(self, folder: Path, size: Size, times: int) -> None:
        self.folder, self.size, self.times = folder, size, times
        self.home = folder / "home"
        self.months = months_between("2023-01", "2025-12")[: size.months]

    def points(self, *arguments: object, marks: Path | None = None) -> Measured:
        """Run ``points`` as a person would; with ``marks`` its steps are timed (`benchmarks.marked`)."""
        command = ["-m", "benchmarks.marked", marks] if marks else ["-m", "console.points"]
        return self.python(*command, *arguments)

    def python(self, *arguments: object) -> Measured:
        nothing = {name: "" for name in ("POINTS_TRANSFERS", "POINTS_DATABASE_URL", "POINTS_READERS")}
        environment = {**nothing, "POINTS_HOME": str(self.home), "PYTHONPATH": str(PROJECT_ROOT)}
        return run_measured([sys.executable, *arguments], self.folder, environment)

    def script(self, output: Path, *arguments: object) -> Measured:
        file = Path(__file__).with_name("specialist.py")
        cut = cut_folder(self.home)
        shutil.rmtree(output, ignore_errors=True)
        return run_measured([sys.executable, file, "--cut", cut, *arguments, "--output", output], self.folder)

    def measure(self) -> tuple[dict[str, Pair], dict[str, Measured], Verified]:
        """Close month after month, and build them all; by name, what was measured, what incremental engines
        took for the last month, and what it takes to verify all."""
        found = {}
        last = len(self.months)
        for number, month in enumerate(self.months, start=1):
            file = self.folder / "month.parquet"
            write_month(file, self.months, number, self.size.transfers // last, self.size.customers)
            self.points("import", file)
            if number in (3, last):
                before = self.months[number - 2]
                builds = self.measure_daily_builds(month, before) if number == last else []
                close = found[f"close of month {number}"] = self.measure_close(month, before)
                if builds:
                    # The newest build made of the month what its close made.
                    compare(self.folder / "script" / month, self.home / "provisional" / month, "provisional_")
                    found[f"build while month {number} is open"] = Pair(builds, close.script, [])
            elif number in (2, last - 1):
                self.points("close", "--through", month)
        by_engines = incremental.measure_incremental(self.folder, self.home / "published", self.months)
        verified = self.measure_verify()
        self.points("reopen", self.months[0], "--reason", "built from the first entry")
        found["build from the first entry"] = self.measure_build()
        return found, by_engines, verified

    def measure_daily_builds(self, month: str, before: str) -> list[Measured]:
        """Builds with all months but the last closed; each freezes what came since the last close."""
        cutoff, builds = _cutoff(self.home / "published" / before), []
        for _ in range(self.times):
            self.forget_above(cutoff)
            builds.append(self.points("build", "--through", month))
        return builds

    def measure_verify(self) -> Verified:
        published = [path for path in (self.home / "published").glob("????-??/r*/*") if path.is_file()]
        seconds, files, sums = self.folder / "seconds.json", [], []
        for _ in range(self.times):
            self.python("-m", "benchmarks.published_files", seconds)
            files.append(json.loads(seconds.read_text(encoding="utf-8")))
            sums.append(run_measured(["sha256sum", *published], self.folder).seconds)
        size = sum(path.stat().st_size for path in published)
        return Verified(size // 2**20, files, sums, self.points("verify", "--full"))

    def measure_close(self, month: str, before: str) -> Pair:
        published, output = self.home / "published", self.folder / "script"
        pair = Pair([], [], [])
        cutoff = _cutoff(published / before)
        self.forget_above(cutoff)
        kept = self.folder / "home_before"
        if self.times > 1:
            shutil.copytree(self.home, kept, symlinks=True)
        for time in range(self.times):
            if time:
                _remove_home(self.home)
                shutil.copytree(kept, self.home, symlinks=True)
            marks = self.folder / "marks.json"
            pair.project.append(self.points("close", month, marks=marks))
            pair.parts.append(_parts(marks, pair.project[-1]))
            pair.script.append(
                self.script(
                    *(output, "--after", cutoff, "--upto", _cutoff(published / month)),
                    *("--months", f"{month}:{month}", "--opening", published / before / "current"),
                )
            )
            compare(output / month, published / month / "current")
            compare_balances(output, published / "outstanding_points.duckdb")
        if self.times > 1:
            _remove_home(kept)
        return pair

    def measure_build(self) -> Pair:
        built, output = self.home / "provisional", self.folder / "script"
        pair = Pair([], [], [])
        for _ in range(self.times):
            pair.project.append(self.points("build", "--through", self.months[-1]))
            upto = read_anchor(built).entry_id
            months = f"{self.months[0]}:{self.months[-1]}"
            on_disk = ["--on-disk"] if self.size.transfers > FIT_INTO_MEMORY else []
            pair.script.append(self.script(output, "--upto", upto, "--months", months, *on_disk))
            for month in self.months:
                compare(output / month, built / month, "provisional_")
            compare_rows(output / "transfer_history.parquet", built / "provisional_transfer_history.parquet")
            compare_balances(output, built / "provisional.duckdb")
        return pair

    def forget_above(self, entry_id: int) -> None:
        """Take away the cut's segments above an entry, where one ends; the next freeze makes them again."""
        for part in PARTS:
            for segment in (cut_folder(self.home) / part.name).glob("*.parquet"):
                if int(segment.stem.split("-")[0]) > entry_id:
                    segment.unlink()


def _remove_home(home: Path) -> None:
    """Remove a home, in which folders of what is published are read-only."""
    for folder in (home / "published").rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
    shutil.rmtree(home)


def _cutoff(month: Path) -> int:
    manifest = (month / "current" / "manifest.json").read_text(encoding="utf-8")
    return json.loads(manifest)["cutoff_entry_id"]


def _parts(file: Path, measured: Measured) -> dict[str, float]:
    marks = json.loads(file.read_text(encoding="utf-8"))
    ended = {step: times[-1] for step, times in marks.items()}
    ended["first node"] = min(marks["model built"] + marks["test passed"])
    parts, before = {}, 0.0
    for part, step in PARTS_OF_CLOSE.items():
        parts[part], before = ended[step] - before, ended[step]
    return {**parts, "end of the process": measured.seconds - before}


def compare(script: Path, project: Path, prefix: str = "") -> None:
    """Both made the same files of a month, or the benchmark is worth nothing."""
    made = {path.name: path for path in script.iterdir()}
    theirs = {
        path.name.removeprefix(prefix): path
        for path in project.iterdir()
        if path.suffix in COMPARED and not path.name.startswith(Path(RESTATEMENT).stem)
    }
    if made.keys() != theirs.keys():
        alone = sorted(made.keys() ^ theirs.keys())
        raise SystemExit(f"Of {project} and {script} one alone holds {', '.join(alone)}.")
    for name, path in made.items():
        if path.suffix == ".parquet":
            compare_rows(path, theirs[name])
        elif path.read_bytes() != theirs[name].read_bytes():
            raise SystemExit(f"{theirs[name]} and {path} are not the same bytes.")


def compare_rows(script: Path, project: Path) -> None:
    """The promised columns of two Parquet files hold the same rows."""
    with connect() as database:
        _compare(database, script.stem, read_parquet(script), read_parquet(project))


def compare_balances(script: Path, database_of_project: Path) -> None:
    """What customers have, in the script's database and in the one that the project gives to readers."""
    mart = "customer_point_balances"
    with connect() as database:
        database.execute(f"attach {literal(script / 'marts.duckdb')} as script (read_only)")
        database.execute(f"attach {literal(database_of_project)} as project (read_only)")
        _compare(database, mart, f"script.{mart}", f"project.{mart}")


def _compare(database, mart: str, script: str, project: str) -> None:
    columns = ", ".join(CONTRACT[mart])
    of_script, of_project = (
        database.execute(f"select count(*), sum(hash({columns})) from {rows}").fetchone()
        for rows in (script, project)
    )
    if of_script != of_project:
        raise SystemExit(f"Not the same rows of {mart}: {project} {of_project}, {script} {of_script}.")


def table(size: Size, found: dict[str, Pair]) -> list[str]:
    """A Markdown table of all pairs, and one of the parts of closes."""
    lines = [
        f"| {size.transfers:,} transfers of {size.customers:,} customers, {size.months} months"
        " | script, s | project, s | ratio | 1.5 × script + 5 s | script, MiB | project, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, pair in found.items():
        script, project = pair.median("script", "seconds"), pair.median("project", "seconds")
        lines.append(
            f"| {name} | {script:.2f} | {project:.2f} | {project / script:.1f} | {1.5 * script + 5:.2f}"
            f" | {pair.median('script', 'peak_memory'):,.0f} | {pair.median('project', 'peak_memory'):,.0f} |"
        )
    closes = {name: pair for name, pair in found.items() if pair.parts}
    lines += ["", f"| parts, s | {' | '.join(closes)} |", f"|---|{'---|' * len(closes)}"]
    for part in next(iter(closes.values())).parts[0]:
        medians = (statistics.median(parts[part] for parts in pair.parts) for pair in closes.values())
        lines.append(f"| {part} | {' | '.join(f'{median:.2f}' for median in medians)} |")
    return lines


def verify_table(verified: Verified, build: Pair) -> list[str]:
    """A Markdown table of `points verify` beside what it is measured by."""
    files, sums = statistics.median(verified.files), statistics.median(verified.sha256sum)
    full, built = verified.full.seconds, build.median("project", "seconds")
    return [
        "| verify | s | beside | s | ratio | goal |",
        "|---|---|---|---|---|---|",
        f"| published files, {verified.mebibytes:,} MiB | {files:.2f} | `sha256sum` | {sums:.2f}"
        f" | {files / sums:.2f} | 1.5 |",
        f"| `verify --full` | {full:.2f} | build from the first entry | {built:.2f}"
        f" | {full / built:.2f} | 1.3 |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--times", type=int, help="how often each is measured")
    parser.add_argument("--output", type=Path, default=PROJECT_ROOT / "var" / "bench")
    arguments = parser.parse_args()
    size, output = SIZES[arguments.size], arguments.output
    output.mkdir(parents=True, exist_ok=True)
    where, few = machine(), (min(size.transfers, 1_000_000), min(size.customers, 20_000))
    # Beside the results, for a system's temporary folder is often too small.
    with tempfile.TemporaryDirectory(prefix="bench_", dir=output) as name:
        found, by_engines, verified = Bench(Path(name), size, arguments.times or size.times).measure()
        by_others = others.measure_others(Path(name), *few)
    lines = [
        f"`make bench SIZE={arguments.size}`: {', '.join(f'{key} {value}' for key, value in where.items())}.",
        "",
        *table(size, found),
        "",
        *verify_table(verified, found["build from the first entry"]),
        "",
        *incremental.table(by_engines, f"month {size.months}"),
        "",
        *others.table(few[0], by_others),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (output / f"{arguments.size}.md").write_text(text, encoding="utf-8")
    figures = {
        "machine": where,
        "size": asdict(size),
        "measured": {name: asdict(pair) for name, pair in found.items()},
        "verify": asdict(verified),
        "incremental engines": {name: asdict(measured) for name, measured in by_engines.items()},
        "others": {name: asdict(measured) for name, measured in by_others.items()},
    }
    (output / f"{arguments.size}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
