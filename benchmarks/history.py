"""Months as they come in life: a file of transfers is imported, then its month is closed."""

from pathlib import Path

from simulator.many_transfers import RAW_COLUMNS, select_transfers, write_query

COLUMNS = f"{RAW_COLUMNS}, currency, status, status_changed_at"


def write_month(path: Path, months: list[str], number: int, transfers: int, customers: int) -> None:
    """Write the import file of a month, the ``number``-th of ``months``: so many transfers in random order.

    Beside what `simulator.many_transfers` gives, of which far revocations undo transfers of three months
    before, one in 250 is late by a month, and of what is approved after it waited half is approved a month
    later, by a row of the next file. The changed statuses stand last.
    """

    def stretch(month: int) -> str:
        query = select_transfers(
            transfers,
            customers,
            first=(month - 1) * transfers,
            first_day=f"{months[month - 1]}-01",
            days=28,
            long_before=3 * transfers,
        )
        late = f"case when number % 250 = 20 and {month} > 1 then interval 31 day else interval 0 day end"
        return f"select * replace (occurred_at - {late} as occurred_at) from ({query})"

    approved = [f"from ({stretch(number)}) where number % 400 in (202, 257)"]
    if number > 1:
        approved.append(f"from ({stretch(number - 1)}) where number % 400 in (2, 57)")
    changes = " union all ".join(
        "select * replace ('approved' as status),"
        f" approved_at + interval {30 * position} day as status_changed_at {rows}"
        for position, rows in enumerate(approved)
    )
    write_query(
        path,
        f"""
        select {COLUMNS} from (
            select *, null::timestamp as status_changed_at from ({stretch(number)}) union all {changes}
        )
        order by status_changed_at is not null, number * 1103515245 % 2147483648
        """,
    )
