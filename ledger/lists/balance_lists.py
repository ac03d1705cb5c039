"""Lists of customers' balances: filtered, ordered, page by page, and right the moment after a transfer.

Every row that is handed out is added up from the ledger when it is asked for. In the order of relation
references the ledger itself knows what comes next; in an order, or with a filter, of amounts, a snapshot says
where to look (`ledger.lists.balance_snapshots`).
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice

from django.db import connection

from ledger.database import Ledger
from ledger.lists.customer_balances import CustomerBalance, customer_balances
from ledger.lists.cut_files import Freeze
from ledger.lists.list_requests import (
    Condition,
    FilterInvalid,
    Page,
    Sort,
    check_filters,
    check_page_size,
    decode_cursor,
    encode_cursor,
    is_code,
    one_of,
    parse_amount,
    parse_sort,
    prefix_conditions,
    yes_or_no,
)
from ledger.relations import UnknownRelation, known_references
from ledger.rules import currencies

FILTERS = ("relation", "relation_prefix", "currency", "min", "max", "closed", "negative")
AMOUNTS = (
    "approved_points",
    "pending_given_points",
    "pending_deducted_points",
    "on_hold_given_points",
    "on_hold_deducted_points",
    "spendable_points",
    "later_points",
)
SORTS = ("relation_reference", *AMOUNTS)
DEFAULT_SORT = "relation_reference"
DEFAULT_PAGE_SIZE = 50

# The digits before the point that a sum of 38 has.
_SUM_DIGITS = 34
_REFERENCES_PER_READ = 500
# What an index answers, without a look at every balance.
_INDEXED = {"relation_reference"}

# Where a balance stands in a list: its amount, or "" in the order of relation references, and its pair.
_Key = tuple[Decimal | str, str, str]

# From one relation reference to the next through the index, however many transfers each has.
_WALK = """
    with recursive walk (relation_reference) as (
        select {extreme}(relation_reference) from {table} where {conditions}
        union all
        select (
            select {extreme}(t.relation_reference)
            from {table} as t
            where t.relation_reference {beyond} walk.relation_reference and {inner_conditions}
        )
        from walk
        where walk.relation_reference is not null
    )
    select relation_reference from walk where relation_reference is not null limit %s
"""


def list_balances(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    limit: int = DEFAULT_PAGE_SIZE,
    after: str | None = None,
    freeze: Freeze | None = None,
) -> Page[CustomerBalance]:
    """A page of at most ``limit`` balances after the cursor ``after``, as of now.

    ``filters`` are text by name (`FILTERS`); ``sort`` is one of `SORTS`, with a ``-`` before it for the
    largest first. ``freeze`` is for lists by amounts (`every_balance`). Raises `FilterUnknown`,
    `FilterInvalid`, `SortUnknown` and `CursorInvalid`.
    """
    conditions = _conditions(filters)
    order = parse_sort(sort, SORTS)
    check_page_size(limit)
    key = _decode_key(after, sort) if after else None
    found = list(islice(_balances(ledger, conditions, order, key, freeze, limit + 1), limit + 1))
    rows = [balance for _, balance in found[:limit]]
    cursor = _encode_key(found[limit - 1][0], sort) if len(found) > limit else None
    return Page(rows, cursor)


def every_listed_balance(
    ledger: Ledger,
    filters: Mapping[str, str],
    sort: str = DEFAULT_SORT,
    freeze: Freeze | None = None,
) -> Iterator[CustomerBalance]:
    """All balances of the list, in its order and in bounded memory; arguments and errors are those of
    `list_balances`, which are raised before the first row."""
    conditions = _conditions(filters)
    order = parse_sort(sort, SORTS)
    return (balance for _, balance in _balances(ledger, conditions, order, None, freeze, None))


def selected_balances(ledger: Ledger, references: Sequence[str]) -> list[CustomerBalance]:
    """The balances of the relation ``references``, in their order; raise `UnknownRelation`."""
    known = known_references(references)
    for reference in references:
        if reference not in known:
            raise UnknownRelation(reference)
    balances = customer_balances(references, ledger.clock(), ledger.settings.default_currency)
    return [balances[key] for key in sorted(balances)]


def _conditions(filters: Mapping[str, str]) -> list[Condition]:
    conditions: list[Condition] = []
    for name, value in check_filters(filters, FILTERS).items():
        match name:
            case "relation":
                conditions.append(Condition("relation_reference", "=", value))
            case "relation_prefix":
                conditions += prefix_conditions("relation_reference", value)
            case "currency":
                conditions.append(Condition("currency", "=", one_of(name, value, currencies())))
            case "min":
                conditions.append(Condition("approved_points", ">=", _amount(name, value)))
            case "max":
                conditions.append(Condition("approved_points", "<=", _amount(name, value)))
            case "closed":
                conditions.append(Condition("is_account_closed", "=", yes_or_no(name, value)))
            case "negative":
                comparison = "<" if yes_or_no(name, value) else ">="
                conditions.append(Condition("approved_points", comparison, Decimal(0)))
    return conditions


def _amount(name: str, value: str) -> Decimal:
    return parse_amount(name, value, _SUM_DIGITS, signed=True)


def _balances(
    ledger: Ledger,
    conditions: list[Condition],
    order: Sort,
    after: _Key | None,
    freeze: Freeze | None,
    wanted: int | None,
) -> Iterator[tuple[_Key, CustomerBalance]]:
    """The balances after a key, each with its own; ``wanted`` is how many are needed, None for all."""
    is_one = any(
        condition.column == "relation_reference" and condition.comparison == "=" for condition in conditions
    )
    is_indexed = all(condition.column in _INDEXED for condition in conditions)
    if is_one or (is_indexed and order.field == "relation_reference"):
        return _through_index(ledger, conditions, order, after, wanted)
    return _through_snapshot(ledger, conditions, order, after, freeze, wanted)


def _through_index(
    ledger: Ledger,
    conditions: list[Condition],
    order: Sort,
    after: _Key | None,
    wanted: int | None,
) -> Iterator[tuple[_Key, CustomerBalance]]:
    now = ledger.clock()
    named = [condition.value for condition in conditions if condition.comparison == "="]
    chunks = [named] if named else _walk(conditions, order, after, wanted or _REFERENCES_PER_READ)
    for references in chunks:
        found = customer_balances(references, now, ledger.settings.default_currency).values()
        keyed = [(_key_of(balance, order), balance) for balance in found]
        for key, balance in sorted(keyed, key=lambda pair: pair[0], reverse=order.descending):
            if after and (key >= after if order.descending else key <= after):
                continue
            if all(condition.matches(balance) for condition in conditions):
                yield key, balance


def _key_of(balance: CustomerBalance, order: Sort) -> _Key:
    amount = "" if order.field == "relation_reference" else getattr(balance, order.field)
    return amount, balance.relation_reference, balance.currency


def _walk(conditions: list[Condition], order: Sort, after: _Key | None, size: int) -> Iterator[list[str]]:
    """The relation references with a transfer or an opening that meet ``conditions``, ``size`` at a time."""
    conditions = list(conditions)
    if after:
        # The reference of the last row may have rows in more currencies.
        conditions.append(Condition("relation_reference", f"{order.beyond}=", after[1]))
    while True:
        references = {
            reference
            for table, condition in (("transfers", "true"), ("account_events", "event = 'open'"))
            for reference in _walk_table(table, condition, conditions, order, size)
        }
        chunk = sorted(references, reverse=order.descending)[:size]
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        conditions = [*conditions, Condition("relation_reference", order.beyond, chunk[-1])]


def _walk_table(table: str, condition: str, conditions: list[Condition], order: Sort, size: int) -> list[str]:
    wheres = [condition, *(f"relation_reference {where.comparison} %s" for where in conditions)]
    query = _WALK.format(
        table=table,
        extreme="max" if order.descending else "min",
        beyond=order.beyond,
        conditions=" and ".join(wheres),
        inner_conditions=" and ".join(
            where.replace("relation_reference", "t.relation_reference") for where in wheres
        ),
    )
    values = [where.value for where in conditions]
    with connection.cursor() as cursor:
        cursor.execute(query, [*values, *values, size])
        return [reference for (reference,) in cursor.fetchall()]


def _through_snapshot(
    ledger: Ledger,
    conditions: list[Condition],
    order: Sort,
    after: _Key | None,
    freeze: Freeze | None,
    wanted: int | None,
) -> Iterator[tuple[_Key, CustomerBalance]]:
    # It needs DuckDB, which one customer's balance does without.
    from ledger.lists.balance_snapshots import every_balance

    now = ledger.clock()
    key_columns = [*([order.field] if order.field in AMOUNTS else []), "relation_reference", "currency"]
    wheres = [
        f"{condition.column} {condition.comparison} {_mark(condition.column)}" for condition in conditions
    ]
    values = [_bound(condition.value) for condition in conditions]
    if after:
        where, key_values = _beyond(key_columns, order, after)
        wheres.append(where)
        values += key_values
    where = " and ".join(wheres) or "true"
    ordered = ", ".join(f"{column} {order.direction}" for column in key_columns)
    with every_balance(ledger, now, freeze) as balances:
        found = balances.find(key_columns, where, values, ordered, wanted)
        while keys := found.fetchmany(_REFERENCES_PER_READ):
            references = list(dict.fromkeys(key[-2] for key in keys))
            rows = customer_balances(references, now, ledger.settings.default_currency)
            for *amount, reference, currency in keys:
                key = (amount[0] if amount else "", reference, currency)
                yield key, rows[reference, currency]


def _beyond(columns: list[str], order: Sort, after: _Key) -> tuple[str, list]:
    """What comes after a key in an order of several columns: later in the first, or alike in it and later in
    the next, and so on."""
    values = [_bound(value) for value in after if value != ""]
    alternatives, bound = [], []
    for position, column in enumerate(columns):
        alike = [f"{earlier} = {_mark(earlier)}" for earlier in columns[:position]]
        alternatives.append(" and ".join([*alike, f"{column} {order.beyond} {_mark(column)}"]))
        bound += values[: position + 1]
    return f"({' or '.join(f'({alternative})' for alternative in alternatives)})", bound


def _mark(column: str) -> str:
    """Where a value is bound; points come as text, which no engine makes a float of on the way."""
    return "cast(? as decimal(38, 4))" if column in AMOUNTS else "?"


def _bound(value: object) -> object:
    return f"{value:f}" if isinstance(value, Decimal) else value


def _encode_key(key: _Key, sort: str) -> str:
    return encode_cursor(sort, [_bound(part) for part in key])


def _decode_key(text: str, sort: str) -> _Key:
    is_by_amount = sort.removeprefix("-") in AMOUNTS
    amount, reference, currency = decode_cursor(
        text, sort, (_is_amount if is_by_amount else "".__eq__, is_code, is_code)
    )
    return (Decimal(amount) if is_by_amount else amount, reference, currency)


def _is_amount(value: object) -> bool:
    try:
        return isinstance(value, str) and _amount("after", value) is not None
    except FilterInvalid:
        return False
