"""Decides what each good row of a file is: a transfer, a repetition, a status change, or neither.

The rules are those of docs/design.md, section 5 (import file). Within one file they are those of the models,
in `stg_files__repeated_rows`; what the ledger has comes before the rows of the file.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import duckdb

from ledger.acts.pairs import MOVE, MOVE_REASON
from ledger.data_files import fetch_rows
from ledger.files.known_transfers import CONTENT_COLUMNS, ids_of_moves
from ledger.files.row_rules import (
    ID_CONFLICT,
    MOVE_IN_FILE,
    MOVE_STATUS,
    OLDER_STATUS,
    REVOKES_MOVE,
    STATUS_TRANSITION,
    row_rules,
    rule_number,
)
from ledger.models import WAITING, Batch
from ledger.sql_text import literal, literals

_WAITING = f"({', '.join(repr(status) for status in WAITING)})"
# The verdicts on rows that are kept although they keep the row rules: bad ones, and those of history.
_KEPT = {
    "conflict": ID_CONFLICT,
    "history": OLDER_STATUS,
    "rejected": STATUS_TRANSITION,
    "new_move": MOVE_IN_FILE,
    "move_status": MOVE_STATUS,
    "revokes_move": REVOKES_MOVE,
}
_EARLIEST, _LATEST = -(2**62), 2**62


def find_repeated_ids(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``repeated_hashes``: those of the ids that stand more than once in `judged_rows`.

    Two ids may share a hash; their rows are then compared by id in the same step.
    """
    database.execute(
        """
        create or replace table repeated_hashes as
        select hash(transfer_id) as id_hash
        from judged_rows
        where broken_rule is null
        group by hash(transfer_id)
        having count(*) > 1
        """
    )


def decide_rows(
    database: duckdb.DuckDBPyConnection,
    columns: Collection[str],
    expected: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Decide on every row; `judged_rows`, `repeated_hashes` and `known_transfers` are there.

    ``columns`` are those that the rows say. ``expected`` has, by a rule's code, what people read in place
    of the rule's own words.

    Makes ``decided_rows`` of the good rows: `judged_rows` with their ``verdict``, which is ``transfer``,
    ``duplicate``, ``status_change`` with its ``change_number`` in the order in which changes are recorded,
    ``history``, ``conflict`` or a kind of bad row. A transfer that ``is_dated`` says since when it has its
    status (docs/cases.md, R25): it is recorded as pending, with a change to that status then. One approved
    at the instant at which it occurred needs no change.

    And ``kept_values``, what is bad in the bad rows and those of history: ``row_number``, ``position`` among
    those of the row, ``code``, ``column_name``, ``value`` as it was sent and ``expected``; and ``kept_rows``,
    with each row's first ``code``, all its columns as ``column_name`` (``points, occurred_at``) and the lines
    of ``expected``.
    """
    _accept_known_links(database)
    _find_conflicts(database, columns)
    _decide_statuses(database, "status" in columns)
    database.execute(
        """
        create or replace view decided_rows as
        select
            judged_rows.*,
            coalesce(verdicts.verdict, 'transfer') as verdict,
            verdicts.change_number,
            coalesce(verdicts.verdict, 'transfer') = 'transfer'
            and status_changed_at is not null
            and (status <> 'approved' or status_changed_at <> occurred_at) as is_dated
        from judged_rows
        left join verdicts on judged_rows.row_number = verdicts.row_number
        where judged_rows.broken_rule is null
        """
    )
    _reject_moves(database)
    _list_kept_rows(database, expected)


def _accept_known_links(database: duckdb.DuckDBPyConnection) -> None:
    """Let rows be good that break no rule but `REVERSES` where the ledger holds their transfer: it may have
    it just so, from before there was that rule (docs/cases.md, R24)."""
    database.execute(
        """
        update judged_rows set broken_rule = null
        where
            broken_rule = $reverses
            and transfer_id in (select transfer_id from known_transfers)
        """,
        {"reverses": rule_number("REVERSES")},
    )


def _find_conflicts(database: duckdb.DuckDBPyConnection, columns: Collection[str]) -> None:
    """Make the table ``conflicts`` of the rows whose id has other content elsewhere, and in which columns.

    Content is compared by value; the comment and the columns that the file has not do not count.
    """
    compared = [name for name in CONTENT_COLUMNS if name in columns]
    from_known = ", ".join(
        f"case when judged_rows.{name} <> known_transfers.{name} then '{name}' end" for name in compared
    )
    from_others = ", ".join(f"case when min({name}) <> max({name}) then '{name}' end" for name in compared)
    database.execute(
        f"""
        create or replace table conflicts as
        with against_ledger as (
            select judged_rows.row_number, concat_ws(', ', {from_known}) as differing
            from judged_rows
            inner join known_transfers on judged_rows.transfer_id = known_transfers.transfer_id
            where judged_rows.broken_rule is null
        ),
        within_file as (
            select transfer_id, concat_ws(', ', {from_others}) as differing
            from judged_rows
            where broken_rule is null and hash(transfer_id) in (select id_hash from repeated_hashes)
            group by transfer_id
        ),
        found as (
            select * from against_ledger
            union all
            select judged_rows.row_number, within_file.differing
            from judged_rows
            inner join within_file on judged_rows.transfer_id = within_file.transfer_id
            where judged_rows.broken_rule is null
        )
        select row_number, max(differing) as differing
        from found
        where differing <> ''
        group by row_number
        """
    )


def _decide_statuses(database: duckdb.DuckDBPyConnection, says_status: bool) -> None:
    """Make the table ``verdicts`` of the good rows that do not stand for themselves, as transfers do.

    A status that the ledger's transfer already had is a repetition unless it is dated after the last change;
    a status that it never had, dated before the last change, is history. With pending (1 May) and approved (5
    May) in the ledger, a row with on_hold of 3 May is history, one with approved of 5 May a repetition. Each
    new status counts once, in order of its date; an undated one comes first, unless it is final (approved or
    cancelled); at equal dates the final status is last.
    """
    database.execute(
        f"""
        create or replace table verdicts as
        with histories as (
            select
                transfer_id,
                arg_max(status, entry_id) as last_status,
                max(changed_at) as last_changed_at,
                list(distinct status) as changed_to
            from known_changes
            group by transfer_id
        ),
        known as (
            select
                known_transfers.transfer_id,
                coalesce(histories.last_status, known_transfers.status) as current_status,
                -- What began approved or cancelled was so when it occurred.
                coalesce(
                    histories.last_changed_at,
                    case when known_transfers.status not in {_WAITING} then known_transfers.occurred_at end
                ) as last_changed_at,
                list_append(coalesce(histories.changed_to, []), known_transfers.status) as held
            from known_transfers
            left join histories on known_transfers.transfer_id = histories.transfer_id
        ),
        statements as (
            select
                judged_rows.row_number,
                judged_rows.transfer_id,
                judged_rows.status,
                judged_rows.status_changed_at,
                judged_rows.status not in {_WAITING} as is_final,
                known.current_status,
                known.current_status is not null and (
                    not {says_status}
                    or judged_rows.status = known.current_status
                    or list_contains(known.held, judged_rows.status)
                    and coalesce(judged_rows.status_changed_at <= known.last_changed_at, true)
                ) as is_old,
                coalesce(judged_rows.status_changed_at < known.last_changed_at, false) as is_before_last
            from judged_rows
            left join known on judged_rows.transfer_id = known.transfer_id
            where
                judged_rows.broken_rule is null
                and (
                    known.transfer_id is not null
                    or hash(judged_rows.transfer_id) in (select id_hash from repeated_hashes)
                )
        ),
        news as (
            select
                *,
                row_number() over (
                    partition by transfer_id, status, status_changed_at order by row_number
                ) as copy_number,
                case
                    when status_changed_at is not null then status_changed_at
                    when
                        is_final
                        and (
                            current_status in {_WAITING}
                            or bool_or(not is_final) over (partition by transfer_id)
                        )
                        then {_LATEST}
                    else {_EARLIEST}
                end as order_at
            from statements
            where not is_old and not is_before_last
        ),
        followed as (
            select
                *,
                row_number() over in_order as position,
                coalesce(lag(status) over in_order, current_status) as status_before,
                coalesce(current_status not in {_WAITING}, false)
                or coalesce(
                    bool_or(is_final) over (
                        partition by transfer_id
                        order by order_at, is_final, status, row_number
                        rows between unbounded preceding and 1 preceding
                    ),
                    false
                ) as is_after_final
            from news
            where copy_number = 1
            window in_order as (partition by transfer_id order by order_at, is_final, status, row_number)
        ),
        decided as (
            select row_number, 'duplicate' as verdict, null as order_at, null as is_final, null as status
            from statements
            where is_old
            union all
            select row_number, 'history', null, null, null
            from statements
            where is_before_last and not is_old
            union all
            select row_number, 'duplicate', null, null, null
            from news
            where copy_number > 1
            union all
            select
                row_number,
                case
                    when current_status is null and position = 1 then 'transfer'
                    when status = status_before then 'duplicate'
                    when is_after_final then 'rejected'
                    else 'status_change'
                end,
                order_at,
                is_final,
                status
            from followed
        )
        select
            decided.row_number,
            case when conflicts.row_number is null then decided.verdict else 'conflict' end as verdict,
            case when decided.verdict = 'status_change' then
                row_number() over (
                    partition by decided.verdict
                    order by decided.order_at, decided.is_final, decided.status, decided.row_number
                )
            end as change_number
        from decided
        left join conflicts on decided.row_number = conflicts.row_number
        """
    )


def _reject_moves(database: duckdb.DuckDBPyConnection) -> None:
    """Take no part of a move from a file: not a new transfer of one, not a status or a revocation of one of
    the two (docs/design.md, section 5). What the ledger holds just so is a repetition."""
    _reject(
        database,
        "case verdict when 'status_change' then 'move_status' else 'new_move' end",
        "verdict in ('transfer', 'status_change') and reason = $move",
        {"move": MOVE_REASON},
    )
    # A move is in a batch, and a ledger without such a batch has none.
    if not Batch.objects.filter(origin__in=(MOVE, "mass")).exists():
        return
    revokes = "verdict = 'transfer' and reason = 'revocation' and reverses_transfer_id <> ''"
    revoked = fetch_rows(database, f"select distinct reverses_transfer_id from decided_rows where {revokes}")
    if moved := ids_of_moves(transfer_id for (transfer_id,) in revoked):
        of_move = f"{revokes} and list_contains($moved, reverses_transfer_id)"
        _reject(database, "'revokes_move'", of_move, {"moved": sorted(moved)})


def _reject(
    database: duckdb.DuckDBPyConnection, verdict: str, condition: str, values: dict[str, object]
) -> None:
    """Give another ``verdict`` to those of `decided_rows` for which a condition holds."""
    database.execute(
        f"create or replace temp table rejected as"
        f" select row_number, {verdict} as verdict from decided_rows where {condition}",
        values,
    )
    database.execute(
        "delete from verdicts where row_number in (select row_number from rejected);"
        " insert into verdicts select row_number, verdict, null from rejected"
    )


def _list_kept_rows(database: duckdb.DuckDBPyConnection, expected: Mapping[str, str]) -> None:
    """Make the tables ``kept_values`` and ``kept_rows``: bad rows with every rule that each breaks by itself,
    and those of history."""
    rules = row_rules()

    def case(of: str, texts: Mapping[object, str]) -> str:
        whens = " ".join(f"when {value} then {text}" for value, text in texts.items())
        return f"case {of} {whens} end"

    def by_rule(texts: Iterable[str]) -> str:
        return case("broken.rule", dict(enumerate(texts)))

    def by_verdict(texts: Iterable[str]) -> str:
        return case("verdicts.verdict", dict(zip(map(literal, _KEPT), texts, strict=True)))

    broken = ", ".join(
        f"case when broken_rule = {number} or ({rule.also_broken_when}) then {number} end"
        for number, rule in enumerate(rules)
    )
    database.execute(
        f"""
        create or replace table kept_values as
        with bad as (
            select
                judged_rows.*,
                sent_rows.has_wrong_field_count,
                coalesce(sent_rows.status_changed_at, '') <> '' as says_status_changed_at
            from judged_rows
            inner join sent_rows on judged_rows.row_number = sent_rows.row_number
            where judged_rows.broken_rule is not null
        ),
        broken as (
            select row_number, unnest(list_filter([{broken}], lambda rule: rule is not null)) as rule
            from bad
        )
        select
            broken.row_number,
            broken.rule as position,
            {by_rule(literal(rule.code) for rule in rules)} as code,
            {by_rule(literal(rule.column) for rule in rules)} as column_name,
            coalesce({by_rule(f"sent_rows.{rule.column}" if rule.column else "null" for rule in rules)}, '')
                as value,
            {by_rule(literal(expected.get(rule.code, rule.expected)) for rule in rules)} as expected
        from broken
        inner join sent_rows on broken.row_number = sent_rows.row_number
        union all
        select
            verdicts.row_number,
            0,
            {by_verdict(literal(rule.code) for rule in _KEPT.values())},
            {by_verdict(literal(rule.column) for rule in _KEPT.values())},
            coalesce({by_verdict(f"sent_rows.{rule.column}" for rule in _KEPT.values())}, ''),
            {by_verdict(literal(rule.expected) for rule in _KEPT.values())}
            || coalesce('; other: ' || conflicts.differing, '')
        from verdicts
        inner join sent_rows on verdicts.row_number = sent_rows.row_number
        left join conflicts on verdicts.row_number = conflicts.row_number
        where verdicts.verdict in {literals(_KEPT)}
        """
    )
    database.execute(
        """
        create or replace table kept_rows as
        select
            row_number,
            arg_min(code, position) as code,
            string_agg(column_name, ', ' order by position) as column_name,
            string_agg(expected, chr(10) order by position) as expected
        from kept_values
        group by row_number
        """
    )
