"""Every balance as of one entry, kept in the ledger's database so that lists need not add all transfers up.

It is never the truth: `ledger.balances` is, which fills it, and `throw_away` empties it at any time. Its head
says up to which entry it holds. A request that appends little brings it along in its own transaction, where
it held up to the entry before; an import leaves that to whoever asks next, in a transaction and under a lock
of its own. What takes effect without an entry, being dated ahead, is counted when its instant has come.

What is new is added to what is kept: after two gives of 10, C-1's 100 are 120. What a new entry may change
otherwise is then counted anew from all of the customer's transfers (`_to_count_anew`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

from django.db import DatabaseError, connection, transaction

from ledger.anchors import Head
from ledger.balances import SUMMED_AMOUNTS, Balance, balances_of, sums_of
from ledger.database import Ledger
from ledger.digests import NO_LINK
from ledger.errors import PointsError, first_line
from ledger.fields import from_units, to_microseconds
from ledger.links import ledger_head
from ledger.models import AccountEvent, BalanceHead, ChainLink, KeptBalance
from ledger.relations import closed_by, closed_references
from ledger.writers_queue import writers_queue

# A sum beyond this (400,000,000,000,000 points) is kept as this: adding one such to another stays within 64
# bits. It is added up again where it is shown.
LARGEST_UNITS = 4 * 10**18
_LARGEST_WHOLE = LARGEST_UNITS // 10_000
# A request that appends more leaves its balances to whoever asks next.
MOST_ENTRIES_AT_ONCE = 1_000
# Stands for the instant at which a kept balance changes where what is new cannot be added to it: whoever has
# added counts such rows anew before anyone sees them, and finds them by the index of that instant.
_COUNT_ANEW = 0
_REFERENCES_PER_WRITE = 500
_REFERENCES_PER_COMPARISON = 2_000
_ENTRIES_PER_COMPARISON = 100_000
# How PostgreSQL says that another transaction was faster, so that this one begins again.
_SERIALIZATION_FAILURE = "40001"
# How PostgreSQL and SQLite say that a user may only read.
_MAY_NOT_WRITE = ("42501", "25006", "SQLITE_READONLY")

_MOVE_ON = """
    update balance_heads
    set
        entry_id = %(entry_id)s, chain_digest = %(chain_digest)s,
        newest_effective_at = case
            when newest_effective_at > %(now)s then newest_effective_at else %(now)s
        end
    where id in (
        select id from balance_heads
        where
            entry_id = %(before)s and chain_digest = %(digest_before)s
            and default_currency = %(default_currency)s
        {skipping}
    )
"""

AMOUNTS = (*SUMMED_AMOUNTS, "spendable_points")


class BalancesBehind(PointsError):
    """The kept balances are not those of the newest entry, and this user may not bring them up to date."""

    code = "BALANCES_BEHIND"

    def __init__(self, entry_id: int, newest_entry_id: int, reason: str) -> None:
        super().__init__(
            f"The list of balances is not up to date since entry {entry_id:,} of {newest_entry_id:,}, and it"
            f" cannot be brought up to date here ({reason}); ask for customers by name, or let a user who may"
            " write to the ledger list the balances once."
        )


class BalanceDiffers(PointsError):
    """A kept balance is not what the transfers add up to (docs/cases.md, X33)."""

    code = "KEPT_BALANCES"

    def __init__(self, relation_reference: str) -> None:
        super().__init__(
            f"The kept balance of {relation_reference} is not what its transfers add up to; the ledger itself"
            " holds what was recorded, so throw the kept balances away with `points verify --rebuild`, which"
            " adds them up anew, and find out who changed them."
        )


def kept_balance(balance: Balance, is_account_closed: bool) -> KeptBalance:
    """``balance`` as a row of a list; not saved."""
    amounts = {name: getattr(balance, name) for name in AMOUNTS}
    return KeptBalance(
        relation_reference=balance.relation_reference,
        currency=balance.currency,
        **amounts,
        is_account_closed=is_account_closed,
        last_effective_at=balance.last_effective_at,
        next_effective_at=balance.next_effective_at,
        is_exact=not balance.hangs_on_others and all(map(_fits, amounts.values())),
    )


def counted_balances(
    references: Sequence[str], now: datetime, default_currency: str, upto_entry_id: int | None = None
) -> list[KeptBalance]:
    """The balances at ``now`` of the relation ``references``, added up from the ledger as it stands, or stood
    at an entry; in no order.

    An account that was opened has one in the default currency from then on. As of an entry, an account that
    was closed later than ``now`` is not closed.
    """
    balances = balances_of(references, now, upto_entry_id)
    for start in range(0, len(references), _REFERENCES_PER_WRITE):
        opened = AccountEvent.objects.there(now, upto_entry_id).filter(
            relation_reference__in=references[start : start + _REFERENCES_PER_WRITE], event="open"
        )
        for reference in opened.order_by().values_list("relation_reference", flat=True).distinct():
            balances.setdefault((reference, default_currency), Balance(reference, default_currency))
    closed = (
        closed_references(references) if upto_entry_id is None else closed_by(references, now, upto_entry_id)
    )
    return [kept_balance(balance, key[0] in closed) for key, balance in balances.items()]


def follow(ledger: Ledger, before: Head, after: Head, now: datetime) -> None:
    """Bring the kept balances along with what the transaction that is going on has appended to ``before``.

    Does nothing where they did not hold up to the entry before, where another process is at work on them, or
    where it is much: then the next who asks does it, who is also left what time alone changes.
    """
    if not 0 < after.entry_id - before.entry_id <= MOST_ENTRIES_AT_ONCE:
        return
    default_currency = ledger.settings.default_currency
    skipping = "for update skip locked" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE_ON.format(skipping=skipping),
            {
                "entry_id": after.entry_id,
                "chain_digest": after.chain_digest,
                "now": to_microseconds(now),
                "before": before.entry_id,
                "digest_before": before.chain_digest,
                "default_currency": default_currency,
            },
        )
        if not cursor.rowcount:
            return
    _add_up(before.entry_id, after.entry_id, now)
    _count_anew(_to_count_anew(before.entry_id, after.entry_id), now, default_currency)


def bring_up_to_date(ledger: Ledger) -> int:
    """Make the kept balances those of the ledger's newest entry and of this moment; return that entry.

    Raises `BalancesBehind` where this user may not write, and `LedgerBusy`.
    """
    head = _head()
    # After it was read, so that no writer of this machine can have dated it later.
    now = ledger.clock()
    newest = ledger_head()
    if _is_current(head, newest, now, ledger.settings.default_currency):
        return newest.entry_id
    while True:
        try:
            return _brought_up_to_date(ledger)
        except DatabaseError as error:
            state = getattr(error.__cause__, "sqlstate", None) or getattr(
                error.__cause__, "sqlite_errorname", ""
            )
            if state.startswith(_MAY_NOT_WRITE):
                raise BalancesBehind(head.entry_id, newest.entry_id, first_line(error)) from error
            if state != _SERIALIZATION_FAILURE:
                raise


def throw_away(ledger: Ledger) -> None:
    """Empty the kept balances; the next who asks adds them up anew."""
    with _upkeep(ledger) as head:
        _empty(head)


def check_kept_balances(ledger: Ledger) -> int:
    """Add every balance up anew and compare it with what is kept, writing nothing; return up to which entry
    they are kept. Where that is not the newest, there is nothing to compare.

    Raises `BalanceDiffers` naming a customer.
    """
    reference = ""
    while (head := _head()).entry_id == (newest := ledger_head().entry_id):
        rows = _rows_after(reference)
        references = list(dict.fromkeys(row.relation_reference for row in rows))
        _compare(ledger, references)
        if not rows:
            break
        reference = references[-1]
    for after in range(0, newest, _ENTRIES_PER_COMPARISON):
        _compare(ledger, _without_row(after, min(after + _ENTRIES_PER_COMPARISON, head.entry_id)))
    return head.entry_id


def _compare(ledger: Ledger, references: Sequence[str]) -> None:
    """Raise `BalanceDiffers` where one of ``references`` differs while nobody writes."""
    while differing := _differing(ledger, references):
        head = _head()
        differing = _differing(ledger, differing)
        # Whoever appended or brought them up to date meanwhile has moved one of the two.
        newest = ledger_head().entry_id
        if differing and _head().entry_id == head.entry_id == newest:
            raise BalanceDiffers(differing[0])
        if not differing or head.entry_id < newest:
            return


def _head() -> BalanceHead:
    """The row that says of which entry the kept balances are: of none where PostgreSQL, after it stopped
    halfway, has emptied these tables, which are in no log of its."""
    return BalanceHead.objects.first() or BalanceHead(chain_digest=NO_LINK)


def _head_to_write() -> BalanceHead:
    """That row, locked by this transaction; put back where it was lost."""
    if not BalanceHead.objects.exists():
        BalanceHead.objects.bulk_create([BalanceHead(pk=1, chain_digest=NO_LINK)], ignore_conflicts=True)
    return BalanceHead.objects.select_for_update().get()


def _is_current(head: BalanceHead, newest: Head, now: datetime, default_currency: str) -> bool:
    return (
        (head.entry_id, bytes(head.chain_digest)) == (newest.entry_id, newest.chain_digest)
        and head.default_currency == default_currency
        and (head.newest_effective_at is None or head.newest_effective_at <= now)
        and not _is_due(now)
    )


def _is_due(now: datetime) -> bool:
    """Whether something that was ahead has taken effect. Asked in the order of the index: PostgreSQL would
    look for any such row from the first one on, and mostly find none."""
    ahead = KeptBalance.objects.filter(next_effective_at__isnull=False).order_by("next_effective_at")
    first = ahead.values_list("next_effective_at", flat=True).first()
    return first is not None and first <= now


def _brought_up_to_date(ledger: Ledger) -> int:
    with _upkeep(ledger) as head:
        is_of_this_chain = (
            not head.entry_id
            or ChainLink.objects.filter(last_entry_id=head.entry_id, digest=head.chain_digest).exists()
        )
        if not is_of_this_chain or head.default_currency != ledger.settings.default_currency:
            _empty(head)
            head.default_currency = ledger.settings.default_currency
        newest = ledger_head()
        _advance(head, newest, ledger.clock())
        return newest.entry_id


@contextmanager
def _upkeep(ledger: Ledger) -> Iterator[BalanceHead]:
    """A transaction that sees the ledger at one moment and is the only one to write kept balances."""
    with writers_queue(ledger), transaction.atomic(durable=True):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("set transaction isolation level repeatable read")
        yield _head_to_write()


def _empty(head: BalanceHead) -> None:
    KeptBalance.objects.all().delete()
    head.entry_id, head.chain_digest = 0, NO_LINK
    head.newest_effective_at = None
    head.save()


def _advance(head: BalanceHead, newest: Head, now: datetime) -> None:
    """Bring the balances of ``head`` up to ``newest``, the end of the ledger, and to ``now``."""
    if newest.entry_id > head.entry_id:
        _add_up(head.entry_id, newest.entry_id, now)
    references = _to_count_anew(head.entry_id, newest.entry_id)
    if _is_due(now):
        references += _references(next_effective_at__lte=now)
    if head.newest_effective_at and head.newest_effective_at > now:
        # A clock ahead of this one has counted them.
        references += _references(last_effective_at__gt=now)
    _count_anew(references, now, head.default_currency)
    head.entry_id, head.chain_digest = newest.entry_id, newest.chain_digest
    head.newest_effective_at = now
    head.save()


def _add_up(after: int, upto: int, now: datetime) -> None:
    """Add the transfers after entry ``after`` and up to ``upto``, as they stand now, to what is kept."""
    sums, parameters = sums_of("entry_id > %s and entry_id <= %s", [after, upto], now)
    amounts = {name: _bounded(f"{name}_whole", f"{name}_units") for name in SUMMED_AMOUNTS}
    amounts["spendable_points"] = _bounded(*(_spendable(part) for part in ("whole", "units")))
    columns = ("relation_reference", "currency", *amounts, "last_effective_at", "next_effective_at")
    is_exact = " and ".join(
        f"{whole} between -{_LARGEST_WHOLE - 1} and {_LARGEST_WHOLE - 1}"
        for whole in (*(f"{name}_whole" for name in SUMMED_AMOUNTS), _spendable("whole"))
    )
    added = {name: f"kept_balances.{name} + excluded.{name}" for name in amounts}
    fits = " and ".join(
        f"{total} between -{LARGEST_UNITS - 1} and {LARGEST_UNITS - 1}" for total in added.values()
    )
    updates = [
        *(f"{name} = {_within(total)}" for name, total in added.items()),
        "last_effective_at = case when kept_balances.last_effective_at > excluded.last_effective_at"
        " or excluded.last_effective_at is null"
        " then kept_balances.last_effective_at else excluded.last_effective_at end",
        "next_effective_at = case when"
        " coalesce(kept_balances.next_effective_at, excluded.next_effective_at) is not null"
        f" or not kept_balances.is_exact or not ({fits})"
        f" then {_COUNT_ANEW} end",
    ]
    with connection.cursor() as cursor:
        # Closed accounts are put down first: looked for row by row, PostgreSQL would read the whole table for
        # each row that it adds to it, as long as it takes it for the small one that it was.
        cursor.execute(
            f"""
            with closed as materialized (
                select distinct relation_reference from kept_balances where is_account_closed
            )
            insert into kept_balances ({", ".join(columns)}, is_exact, is_account_closed)
            select
                sums.relation_reference, currency, {", ".join(amounts.values())}, last_effective_at,
                case when next_effective_at is not null or not ({is_exact}) then {_COUNT_ANEW} end,
                true,
                closed.relation_reference is not null
            from ({sums}) as sums
            left join closed on closed.relation_reference = sums.relation_reference
            where true
            on conflict (relation_reference, currency) do update set {", ".join(updates)}
            """,
            parameters,
        )


def _spendable(part: str) -> str:
    """What may be spent as far as nothing is ahead: what is, is counted anew."""
    waiting = (f"{name}_{part}" for name in ("pending_deducted_points", "on_hold_deducted_points"))
    return " - ".join((f"approved_points_{part}", *waiting))


def _bounded(whole: str, units: str) -> str:
    """A sum of whole points and ten-thousandths as ten-thousandths, at most `LARGEST_UNITS`."""
    return (
        f"cast(case when {whole} >= {_LARGEST_WHOLE} then {LARGEST_UNITS}"
        f" when {whole} <= -{_LARGEST_WHOLE} then -{LARGEST_UNITS}"
        f" else ({whole}) * 10000 + {units} end as bigint)"
    )


def _within(total: str) -> str:
    return (
        f"case when {total} > {LARGEST_UNITS} then {LARGEST_UNITS}"
        f" when {total} < -{LARGEST_UNITS} then -{LARGEST_UNITS} else {total} end"
    )


def _to_count_anew(after: int, upto: int) -> list[str]:
    """The relation references whose balance is not what was kept and what is new after entry ``after``, put
    together.

    A transfer of before changed its status; the account was opened or closed; something is ahead, whose
    chain decides what it reserves; or a sum is too large.
    """
    new = "entry_id > %(after)s and entry_id <= %(upto)s"
    query = f"""
        select t.relation_reference
        from status_changes as c
        inner join transfers as t on t.transfer_id = c.transfer_id
        where c.entry_id > %(after)s and c.entry_id <= %(upto)s and t.entry_id <= %(after)s
        union
        select relation_reference from account_events where {new}
        union
        select relation_reference from transfers where {new} and reason = 'account_closure'
        union
        select relation_reference from kept_balances where next_effective_at = {_COUNT_ANEW}
    """
    with connection.cursor() as cursor:
        cursor.execute(query, {"after": after, "upto": upto})
        return [reference for (reference,) in cursor.fetchall()]


def _references(**condition: datetime) -> list[str]:
    return list(KeptBalance.objects.filter(**condition).values_list("relation_reference", flat=True))


def _count_anew(references: Sequence[str], now: datetime, default_currency: str) -> None:
    for chunk in _chunks(dict.fromkeys(references), _REFERENCES_PER_WRITE):
        KeptBalance.objects.filter(relation_reference__in=chunk).delete()
        counted = counted_balances(chunk, now, default_currency)
        KeptBalance.objects.bulk_create(_storable(balance) for balance in counted)


def _storable(balance: KeptBalance) -> KeptBalance:
    """With amounts that fit into the columns."""
    largest = from_units(LARGEST_UNITS)
    for name in AMOUNTS:
        setattr(balance, name, max(-largest, min(largest, getattr(balance, name))))
    return balance


def _fits(points: Decimal) -> bool:
    return abs(points) < from_units(LARGEST_UNITS)


def _chunks(references: Iterable[str], size: int) -> Iterator[list[str]]:
    references = list(references)
    for start in range(0, len(references), size):
        yield references[start : start + size]


def _rows_after(reference: str) -> list[KeptBalance]:
    """The kept rows of the next customers, all of each."""
    following = KeptBalance.objects.filter(relation_reference__gt=reference).order_by("relation_reference")
    rows = list(following[:_REFERENCES_PER_COMPARISON])
    if len(rows) == _REFERENCES_PER_COMPARISON:
        last = rows[-1].relation_reference
        rows += KeptBalance.objects.filter(relation_reference=last).exclude(
            currency__in=[row.currency for row in rows if row.relation_reference == last]
        )
    return rows


def _differing(ledger: Ledger, references: Sequence[str]) -> list[str]:
    """Those of the relation ``references`` whose kept rows are not what the ledger adds up to."""
    now = ledger.clock()
    default_currency = _head().default_currency
    differing: set[str] = set()
    for chunk in _chunks(references, _REFERENCES_PER_WRITE):
        rows = KeptBalance.objects.filter(relation_reference__in=chunk)
        kept = {(row.relation_reference, row.currency): row for row in rows}
        counted = {
            (balance.relation_reference, balance.currency): balance
            for balance in counted_balances(chunk, now, default_currency)
        }
        for key in kept.keys() | counted.keys():
            row, balance = kept.get(key), counted.get(key)
            if row is None or balance is None or not _is_right(row, balance, now):
                differing.add(key[0])
    return sorted(differing)


def _is_right(row: KeptBalance, balance: KeptBalance, now: datetime) -> bool:
    """Whether a kept row is what was added up, or is going to be counted anew before it is shown."""
    if row.next_effective_at is not None and row.next_effective_at <= now:
        return True
    if row.last_effective_at is not None and row.last_effective_at > now:
        return True
    return _content(row) == _content(_storable(balance))


def _content(row: KeptBalance) -> tuple:
    return tuple(getattr(row, name) for name in (*AMOUNTS, "is_account_closed", "next_effective_at"))


def _without_row(after: int, upto: int) -> list[str]:
    """Customers with a transfer among the entries after ``after`` and up to ``upto`` that have no kept row of
    its currency."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select distinct relation_reference
            from transfers as t
            where
                entry_id > %s and entry_id <= %s
                and not exists (
                    select 1 from kept_balances as k
                    where k.relation_reference = t.relation_reference and k.currency = t.currency
                )
            """,
            [after, upto],
        )
        return [reference for (reference,) in cursor.fetchall()]
