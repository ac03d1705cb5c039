"""From transfers to balances and files by others, where they are installed: hledger and ledger-cli.

They get a journal with a transaction for each transfer that counts, in order of dates, and write the balance
of each customer to a file. The project gets a CSV of the same transfers and makes a build of it, in a new
home: every month, every file. All balances must be the same.
"""

import csv
import shutil
import sys
from decimal import Decimal
from pathlib import Path

from benchmarks.history import COLUMNS
from benchmarks.measured import Measured, run_measured
from ledger.data_files import connect, read_parquet
from ledger.settings import PROJECT_ROOT
from simulator.many_transfers import select_transfers, write_query

PROJECT = "`points build` of a CSV"
OTHERS = {
    "hledger": ["balance", "^C-", "--flat", "--no-total", "--empty", "--output-format=csv", "--output-file"],
    "ledger": [
        *("balance", "^C-", "--flat", "--no-total", "--empty"),
        *("--format", "%(account),%(display_total)\\n", "--output"),
    ],
}


def measure_others(folder: Path, transfers: int, customers: int) -> dict[str, Measured]:
    """What the project and each of the others that is installed took, by name; numbers that differ end it."""
    programmes = [name for name in OTHERS if shutil.which(name)]
    if not programmes:
        return {}
    query = select_transfers(transfers, customers)
    file, journal, home = folder / "transfers.csv", folder / "transfers.journal", folder / "home_of_files"
    write_query(
        file,
        f"""
        select {COLUMNS} from (
            select *, null::timestamp as status_changed_at from ({query})
            union all
            select * replace ('approved' as status), approved_at from ({query}) where approved_at is not null
        ) order by status_changed_at is not null, number
        """,
        "format csv, header, timestampformat '%Y-%m-%dT%H:%M:%SZ'",
    )
    write_query(
        journal,
        f"""
        select strftime(coalesce(approved_at, occurred_at), '%Y-%m-%d ') || transfer_id || chr(10)
            || '    ' || relation_reference || ':' || currency || '  '
            || (case style when 'give' then points else -points end)::decimal(18, 2) || ' ' || currency
            || chr(10) || '    programme' || chr(10)
        from ({query}) where status = 'approved' or approved_at is not null
        order by coalesce(approved_at, occurred_at)
        """,
        "format csv, header false, delimiter '', quote '', escape ''",
    )
    environment = {
        "POINTS_HOME": str(home),
        "POINTS_TRANSFERS": str(file),
        "POINTS_DATABASE_URL": "",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    found = {PROJECT: run_measured([sys.executable, "-m", "console.points", "build"], folder, environment)}
    expected = _built_balances(home)
    for name in programmes:
        output = folder / f"{name}.csv"
        found[name] = run_measured([name, "--file", journal, *OTHERS[name], output], folder)
        if _balances_in(output) != expected:
            raise SystemExit(f"The balances of {name}, in {output}, are not those of the project.")
    return found


def _built_balances(home: Path) -> dict[str, Decimal]:
    """Each customer's closing balance in a currency (`C-0000001:POINTS`) by a build's last month."""
    last = sorted((home / "provisional").glob("*/provisional_outstanding_points_by_month.parquet"))[-1]
    with connect() as database:
        return dict(
            database.execute(
                f"select relation_reference || ':' || currency, closing_points from {read_parquet(last)}"
            ).fetchall()
        )


def _balances_in(file: Path) -> dict[str, Decimal]:
    """Lines like `C-0000001:POINTS,12.5 POINTS`; hledger's have a header and quotes."""
    with open(file, encoding="utf-8", newline="") as lines:
        return {
            account: Decimal(amount.split()[0])
            for account, amount in csv.reader(lines)
            if account != "account"
        }


def table(transfers: int, found: dict[str, Measured]) -> list[str]:
    """A Markdown table, and a sentence for each that is not installed."""
    lines = [f"{name} is not installed, and was not measured." for name in OTHERS if name not in found]
    if found:
        lines += ["", f"| {transfers:,} transfers, end to end | s | MiB |", "|---|---|---|"]
        lines += [f"| {name} | {one.seconds:.1f} | {one.peak_memory:,} |" for name, one in found.items()]
    return lines
