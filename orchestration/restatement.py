"""What a revision of a month says otherwise than an earlier one, customer by customer, with the transfers
that caused it (docs/design.md, section 9).

A revision stands in a set: with it every other month is closed once, and every transfer counts in one of
them. So a transfer is the cause of a difference where one set posted it otherwise than the other: nowhere, in
another month, in another bucket. A late transfer of September that stood in November/r1 stands in
September/r2; so November's restatement takes it out of what the month earned and puts it into its opening.

Both sets are read from the files of their months. Months that are the same close in both say nothing, and of
the later set nothing is known beyond the month that is restated: it may be closed before the next one is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import duckdb

from ledger.closes import ClosedMonth, CloseHistory
from ledger.data_files import connect, fetch_rows, read_parquet
from ledger.errors import PointsError
from ledger.shown_text import counted
from ledger.sql_text import literal
from orchestration.month_files import (
    RESTATED,
    RESTATED_MOVEMENT,
    RESTATED_TRANSFER,
    RESTATEMENT,
    RESTATEMENT_COLUMNS,
    csv_copy,
    csv_line,
    currency_name,
    writing_cursor,
)
from orchestration.published.checked_files import checked_files
from orchestration.report_tables import EVERYTHING, Choice

_BUCKETS = ("earned", "reversal", "redeemed", "expired")
# Those of the programme's lines: the month's movement, of which the totals to date are made.
PROGRAMME_COLUMNS = ("line", "transfers", *RESTATED_MOVEMENT.values())


class RestatementDiffers(PointsError):
    """Figures of a month changed, and the transfers that changed do not add up to that."""

    code = "RESTATEMENT"

    def __init__(
        self, later: str, revision: int, begins: str, relation_reference: str, currency: str, more: int
    ) -> None:
        others = f", and of {counted(more, 'more relation reference')}" if more else ""
        super().__init__(
            f"{later} says otherwise of {relation_reference} in {currency}{others} than revision {revision}"
            f" did, and the transfers that changed from {begins} on do not add up to that, so nothing was"
            f" closed or shown; most likely a rule or a model was changed for months before {begins} too,"
            f" which stay closed: let the rule begin with {begins}, or reopen the months that it is for as"
            " well, and close again."
        )


class RevisionsOutOfOrder(PointsError):
    """A revision is compared with one that is not later."""

    code = "REVISIONS_OUT_OF_ORDER"

    def __init__(self, month: str, earlier: int, later: int) -> None:
        super().__init__(
            f"Revision {later} of {month} is not later than revision {earlier}, so there is nothing that it"
            " restates; name the earlier one first, as in `--compare 1 2`."
        )


@dataclass(frozen=True)
class Revision:
    """A revision of a month; ``find`` says where a file of it is, by its name."""

    report_month: str
    revision: int
    cutoff_entry_id: int
    find: Callable[[str], Path] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its folder under ``published``."""
        return f"{self.report_month}/r{self.revision}"


@dataclass(frozen=True)
class Restatement:
    """Two revisions of a month, and the closes of the months in which their sets differ, in order: those of
    the ``earlier`` one, to their end, and those of the ``later`` one up to the month."""

    earlier: Revision
    later: Revision
    replaced: tuple[Revision, ...]
    replacing: tuple[Revision, ...]


def published_revision(home: Path, closed: ClosedMonth) -> Revision:
    """A published revision. Its ``find`` raises `PublishedDamaged` where a file is not as it was
    published."""

    def find(name: str) -> Path:
        return checked_files(home, closed.report_month, closed.revision, closed.manifest_sha256).path(name)

    return Revision(closed.report_month, closed.revision, closed.cutoff_entry_id, find)


def restatement_of(
    home: Path, history: CloseHistory, earlier: ClosedMonth, later: Mapping[str, Revision]
) -> Restatement:
    """How the month of the published ``earlier`` close came out anew; ``later`` are the closes, by month,
    that stand with the new one, at least up to it."""
    month = earlier.report_month
    together = history.together_with(earlier)
    were = {name: published_revision(home, closed) for name, closed in together.items()}
    are = {name: revision for name, revision in sorted(later.items()) if name <= month}
    return Restatement(
        were[month],
        are[month],
        tuple(revision for name, revision in were.items() if are.get(name) != revision),
        tuple(revision for name, revision in are.items() if were.get(name) != revision),
    )


def restatements_of_run(home: Path, history: CloseHistory, made: Mapping[str, Revision]) -> list[Restatement]:
    """How each month that a run ``made`` (by month) restates the revision before it, in order; first
    revisions restate nothing. ``history`` is that before the run."""
    later = {month: published_revision(home, closed) for month, closed in history.in_force.items()} | made
    before = {(closed.report_month, closed.revision): closed for closed in history.closes}
    return [
        restatement_of(home, history, before[month, revision.revision - 1], later)
        for month, revision in sorted(made.items())
        if revision.revision > 1
    ]


def write_restatements(
    restatements: Sequence[Restatement],
    folders: Mapping[str, Path],
    default_currency: str,
    is_proved: bool = True,
) -> None:
    """Write `RESTATEMENT` into the folder of each month, one for each currency that either revision has.

    ``restatements`` are those of one run, in order. Raises `PublishedDamaged` and, where ``is_proved``
    asks for it, `RestatementDiffers`.
    """
    for _, alike in groupby(restatements, key=lambda restatement: restatement.replaced):
        together = list(alike)
        with _changed_transfers(together[-1]) as duck:
            for restatement in together:
                restated = RestatedMonth(duck, restatement)
                if is_proved:
                    restated.prove()
                for currency in sorted({default_currency, *restated.currencies()}):
                    name = currency_name(RESTATEMENT, currency, default_currency, "closed")
                    restated.write_csv(currency, folders[restatement.later.report_month] / name)


@contextmanager
def opened_restatement(restatement: Restatement) -> Iterator["RestatedMonth"]:
    """What changed between two published revisions; raises `RestatementDiffers` and `PublishedDamaged`."""
    with _changed_transfers(restatement) as duck:
        restated = RestatedMonth(duck, restatement)
        restated.prove()
        yield restated


@contextmanager
def _changed_transfers(restatement: Restatement) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with ``changed``: the transfers that the later set posted otherwise than the earlier one.

    It serves every month that has the same earlier set and comes no later. Numbers alone are joined, and what
    else is said of a transfer is looked up for those that changed: they are few.
    """
    were, are = (
        read_parquet([revision.find("posted_transfers.parquet") for revision in revisions])
        for revisions in (restatement.replaced, restatement.replacing)
    )
    said = "entry_id, transfer_id, relation_reference, currency, reason, style, points"
    signed = "cast(case style when 'give' then points else -points end as decimal(38, 4))"
    with connect() as duck:
        duck.execute(
            f"""
            create table differences as
            select
                coalesce(later.entry_id, earlier.entry_id) as entry_id,
                later.effective_entry_id,
                earlier.posting_month as earlier_month, earlier.bucket as earlier_bucket,
                later.posting_month as later_month, later.bucket as later_bucket
            from (select entry_id, effective_entry_id, posting_month, bucket from {are}) as later
            full outer join (select entry_id, posting_month, bucket from {were}) as earlier
                on later.entry_id = earlier.entry_id
            where (
                later.posting_month is distinct from earlier.posting_month
                or later.bucket is distinct from earlier.bucket
            )
            -- What stood beyond the last month that is known anew may stand there again.
            and (later.entry_id is not null or earlier.posting_month <= {_day(restatement.later)})
            """
        )
        duck.execute(
            f"""
            create table changed as
            select * from differences
            inner join (
                select distinct entry_id, transfer_id, relation_reference, currency, reason,
                    {signed} as signed_points
                from (
                    select {said} from {are} union all select {said} from {were}
                )
                where entry_id in (select entry_id from differences)
            ) using (entry_id)
            """
        )
        yield duck


class RestatedMonth:
    """What changed in a month, in a database with ``changed`` (`_changed_transfers`).

    ``transfers`` has a row for each of these that moves a figure of the month, with what it adds to each of
    `RESTATED`; ``restated`` one for each relation reference of which a figure or a transfer changed.
    """

    def __init__(self, duck: duckdb.DuckDBPyConnection, restatement: Restatement) -> None:
        self._duck = duck
        self._restatement = restatement
        earlier, later = restatement.earlier, restatement.later
        duck.execute(f"create or replace table transfers as {_transfers(restatement)}")
        balances = {
            name: f"select currency, relation_reference, {', '.join(RESTATED)}"
            f" from {read_parquet(revision.find('outstanding_points_by_month.parquet'))}"
            for name, revision in (("earlier", earlier), ("later", later))
        }
        values = ", ".join(
            f"coalesce({name}.{figure}, 0) as {name}_{figure}"
            for figure in RESTATED
            for name in ("earlier", "later", "moved")
        )
        differs = " or ".join(f"earlier.{figure} is distinct from later.{figure}" for figure in RESTATED)
        duck.execute(
            f"""
            create or replace table restated as
            select
                currency,
                relation_reference,
                earlier.closing_points is not null as is_in_earlier,
                later.closing_points is not null as is_in_later,
                {values}
            from ({balances["earlier"]}) as earlier
            full outer join ({balances["later"]}) as later using (currency, relation_reference)
            full outer join (
                select currency, relation_reference, {_sums({figure: figure for figure in RESTATED})}
                from transfers group by all
            ) as moved using (currency, relation_reference)
            where {differs} or moved.relation_reference is not null
            """
        )

    def prove(self) -> None:
        """Raise `RestatementDiffers` where transfers do not add up to what changed of a relation
        reference."""
        unlike = " or ".join(
            f"later_{figure} - earlier_{figure} is distinct from moved_{figure}" for figure in RESTATED
        )
        found = self._duck.execute(
            f"select relation_reference, currency, count(*) over () from restated where {unlike}"
            " order by relation_reference, currency limit 1"
        ).fetchone()
        if found:
            relation_reference, currency, count = found
            restatement = self._restatement
            raise RestatementDiffers(
                restatement.later.name,
                restatement.earlier.revision,
                restatement.replacing[0].report_month,
                relation_reference,
                currency,
                count - 1,
            )

    def currencies(self) -> list[str]:
        """The currencies that either revision has."""
        files = [
            revision.find("programme_points_by_month.parquet")
            for revision in (self._restatement.earlier, self._restatement.later)
        ]
        rows = self._duck.execute(f"select distinct currency from {read_parquet(files)} order by currency")
        return [currency for (currency,) in rows.fetchall()]

    def count(self, currency: str, choice: Choice = EVERYTHING) -> int:
        """How many relation references are restated."""
        (count,) = self._duck.execute(
            f"select count(*) from restated where currency = {literal(currency)} and {choice.condition}"
        ).fetchone()
        return count

    def rows(self, currency: str, choice: Choice = EVERYTHING, limit: int | None = None) -> Iterator[tuple]:
        """The lines of ``limit`` relation references, in byte order, with `RESTATEMENT_COLUMNS`: texts and
        exact points, None where a line is of no transfer."""
        yield from fetch_rows(self._duck, self._lines(currency, choice, limit))

    def programme(self, currency: str) -> list[tuple]:
        """The programme's movement in either revision, between them what each cause adds, with the number of
        its transfers, and the difference: `PROGRAMME_COLUMNS`."""
        movement = {figure: figure for figure in RESTATED_MOVEMENT.values()}
        differences = {figure: f"later_{figure} - earlier_{figure}" for figure in movement}
        earlier, later = (
            f"""
            select {part} as part, 'revision {revision.revision}' as line,
                cast(null as bigint) as transfers, {_sums(movement)}
            from {read_parquet(revision.find("programme_points_by_month.parquet"))}
            where currency = {literal(currency)}
            """
            for part, revision in ((1, self._restatement.earlier), (3, self._restatement.later))
        )
        return self._duck.execute(
            f"""
            select {", ".join(PROGRAMME_COLUMNS)} from (
                {earlier}
                union all
                select 2, cause, count(*), {_sums(movement)} from transfers
                where currency = {literal(currency)} group by cause
                union all
                {later}
                union all
                select 4, 'difference', null, {_sums(differences)} from restated
                where currency = {literal(currency)}
            ) order by part, line
            """
        ).fetchall()

    def write_csv(self, currency: str, path: Path) -> None:
        """Write all lines of a currency as a CSV file."""
        fields = [
            f"points_text({column})"
            if column in RESTATED
            else f"coalesce(cast({column} as varchar), '')"
            if column in RESTATED_TRANSFER.values()
            else column
            for column in RESTATEMENT_COLUMNS.values()
        ]
        lines = f"select {csv_line(fields)} as line from ({self._lines(currency, EVERYTHING, None)})"
        with writing_cursor(self._duck) as cursor:
            cursor.execute(csv_copy(lines, RESTATEMENT_COLUMNS, path))

    def _lines(self, currency: str, choice: Choice, limit: int | None) -> str:
        """A query of an accountant's bridge for each relation reference: revision, transfers, revision,
        difference."""
        earlier, later = self._restatement.earlier, self._restatement.later
        chosen = (
            f"(from restated where currency = {literal(currency)} and {choice.condition}"
            f" order by relation_reference{'' if limit is None else f' limit {limit:d}'})"
        )
        of_none = "cast(null as varchar) as transfer_id, cast(null as bigint) as entry_id, null as reason"
        of_revisions = " union all ".join(
            f"""
            select {part} as part, relation_reference, 'revision {revision.revision}' as line,
                {", ".join(f"{name}_{figure} as {figure}" for figure in RESTATED)}, {of_none},
                case when not is_in_{name} then 'not in revision {revision.revision}' end as cause
            from {chosen}
            """
            for part, name, revision in ((1, "earlier", earlier), (3, "later", later))
        )
        return f"""
            select {", ".join(RESTATEMENT_COLUMNS.values())} from (
                {of_revisions}
                union all
                select 2, relation_reference, 'transfer', {", ".join(RESTATED)},
                    transfer_id, entry_id, reason, cause
                from transfers
                where currency = {literal(currency)}
                    and relation_reference in (select relation_reference from {chosen})
                union all
                select 4, relation_reference, 'difference',
                    {", ".join(f"later_{figure} - earlier_{figure}" for figure in RESTATED)}, {of_none}, null
                from {chosen}
            ) order by relation_reference, part, entry_id
        """


def _transfers(restatement: Restatement) -> str:
    """The query of ``transfers``."""
    month = _day(restatement.later)
    was, now = _counted("earlier", month), _counted("later", month)
    effects = ", ".join(
        f"cast({now[figure]} - {was[figure]} as decimal(38, 4)) as {figure}" for figure in RESTATED
    )
    return f"""
        select currency, relation_reference, transfer_id, entry_id, reason, {effects},
            {_cause(restatement, month)} as cause
        from changed
        where {" or ".join(f"{now[figure]} <> {was[figure]}" for figure in RESTATED)}
    """


def _counted(name: str, month: str) -> dict[str, str]:
    """What a transfer adds to each figure of a month by where a set posted it; 0 where it did not.

    This is no classification: bucket and month are those that the models gave it.
    """

    def where(condition: str, points: str = "signed_points") -> str:
        return f"case when {condition} then {points} else 0 end"

    by_end = f"{name}_month <= {month}"
    figures = {
        "opening_points": where(f"{name}_month < {month}"),
        "closing_points": where(by_end),
        "total_outstanding_points": where(by_end),
    }
    for bucket in _BUCKETS:
        points = "signed_points" if bucket == "earned" else "-signed_points"
        in_bucket = f"{name}_bucket = {literal(bucket)}"
        figures[f"{bucket}_points"] = where(f"{name}_month = {month} and {in_bucket}", points)
        figures[f"total_{bucket}_points"] = where(f"{by_end} and {in_bucket}", points)
    return figures


def _cause(restatement: Restatement, month: str) -> str:
    """Why a transfer counts otherwise, in a few words."""
    was, now = "strftime(earlier_month, '%Y-%m')", "strftime(later_month, '%Y-%m')"
    buckets = "earlier_bucket || ' to ' || later_bucket"
    cutoff = restatement.earlier.cutoff_entry_id
    return f"""
        case
            when later_month is null or later_month > {month}
                then 'no longer posted by {restatement.later.report_month}'
            when earlier_month is null and entry_id > {cutoff} then 'recorded since'
            when earlier_month is null and effective_entry_id > {cutoff} then 'approved since'
            when earlier_month is null then 'not posted before'
            when earlier_month = later_month then 'moved from ' || {buckets}
            when earlier_bucket = later_bucket then 'moved from ' || {was} || ' to ' || {now}
            else 'moved from ' || {was} || ' to ' || {now} || ' and from ' || {buckets}
        end
    """


def _sums(points: Mapping[str, str]) -> str:
    return ", ".join(
        f"cast(coalesce(sum({added}), 0) as decimal(38, 4)) as {figure}" for figure, added in points.items()
    )


def _day(revision: Revision) -> str:
    return f"date '{revision.report_month}-01'"
