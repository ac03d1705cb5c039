"""Millions of transfers, written by DuckDB: what benchmarks measure with.

They are numbered from 0 in the order in which they are sent, and each is worked out from its number alone,
so that any stretch of a programme can be made by itself. Of every ten in a row:

| last digit | transfer |
|---|---|
| 0, 1, 5 | give, rule_credit |
| 2, 3, 4 | give, tier_bonus, campaign_bonus, referral_bonus |
| 6, 7 | deduct, redemption |
| 8 | deduct, expiry |
| 9 | revokes all of another transfer, none of which is revoked twice |

One in ten revocations undoes a transfer of long before, the others one of the last nine. Two in a hundred are
pending at first, and half of those are approved a day later; nothing revokes them. One in forty is of MILES.
Few customers have much: of the transfers, a hundredth of them has a fifth, and a fifth of them three fifths.
"""

from pathlib import Path

from ledger.data_files import connect
from ledger.sql_text import literal

FIRST_DAY = "2023-01-01"
DAYS = 1_096  # three years

# What `select_transfers` gives that a file of raw transfers takes as it is, all of it approved and of POINTS.
RAW_COLUMNS = "transfer_id, relation_reference, style, points, reason, occurred_at, reverses_transfer_id"


def select_transfers(
    count: int,
    relations: int,
    *,
    first: int = 0,
    first_day: str = FIRST_DAY,
    days: int = DAYS,
    long_before: int | None = None,
    random_ids: bool = False,
) -> str:
    """A query of DuckDB for ``count`` transfers from number ``first`` on, spread evenly over ``days``.

    Customers are `C-0000000` and on, less than ``relations`` (a billion at most) of them. Far revocations
    undo what was sent ``long_before`` transfers earlier (a twelfth of ``count`` unless given). Ids ascend, or
    look like those of a random generator. Columns: ``number`` bigint, ``transfer_id``,
    ``relation_reference``, ``currency``, ``style``, ``points`` decimal(18, 4) of 0.01 to 1000, ``reason``,
    ``status`` (the first one), ``occurred_at`` timestamp in UTC, ``approved_at`` (null unless approved later)
    and ``reverses_transfer_id`` (null unless it revokes).
    """
    long_before = long_before or count // 12
    transfer_id = "md5(cast({} as varchar))" if random_ids else "'T-' || lpad(cast({} as varchar), 9, '0')"
    # 31 bits of chance from a number: DuckDB's `hash` may give other values in another release. Three of them
    # multiplied favour low customers: 0.5 * 0.5 * 0.5 of all comes to the first eighth.
    return f"""
        with linked as (
            select
                number,
                case
                    when number % 10 <> 9 then number
                    when number % 100 = 99 and number >= {long_before}
                        then (number - {long_before}) // 10 * 10 + [1, 3, 5][1 + number // 100 % 3]
                    else number - 9 + [0, 4, 6, 8][1 + number // 10 % 4]
                end as original
            from range({first}, {first + count}) as numbers (number)
        ),
        mixed as (
            select *, (original + 1) * 1103515245 % 2147483648 as once from linked
        ),
        drawn as (
            select *, xor(once, once >> 15) * 1823457291 % 2147483648 as chance from mixed
        )
        select
            number,
            {transfer_id.format("number")} as transfer_id,
            'C-' || lpad(
                cast(((chance * chance >> 31) * chance >> 31) * {relations} >> 31 as varchar), 7, '0'
            ) as relation_reference,
            case when chance % 40 = 0 then 'MILES' else 'POINTS' end as currency,
            case when (original % 10 < 6) = (number = original) then 'give' else 'deduct' end as style,
            cast((1 + chance * 16807 % 2147483647 % 100000) * 0.01 as decimal(18, 4)) as points,
            [
                'rule_credit', 'rule_credit', 'tier_bonus', 'campaign_bonus', 'referral_bonus',
                'rule_credit', 'redemption', 'redemption', 'expiry', 'revocation'
            ][1 + number % 10] as reason,
            case when number % 100 in (2, 57) then 'pending' else 'approved' end as status,
            timestamp '{first_day}' + to_seconds(
                (number - {first}) * {(days - 1) * 86_400} // {count} + number * 7919 % 86400
            ) as occurred_at,
            case when number % 200 in (2, 57) then occurred_at + interval 1 day end as approved_at,
            case when number <> original then {transfer_id.format("original")} end as reverses_transfer_id
        from drawn
    """


def write_query(path: Path, query: str, options: str = "format parquet") -> None:
    """Write the rows of a query to a file, in their order, with DuckDB's options of a copy."""
    with connect() as database:
        database.execute(f"copy ({query}) to {literal(path)} ({options})")
