"""The ledger's tables (docs/design.md, section 5). Every row but a chain link is an entry; none is ever
changed.

Text that was not given is empty, never null. An entry's digest covers all its columns, in the order in which
they stand here (`ledger.digests`).
"""

from datetime import datetime

from django.db import models
from django.db.models.functions import Left

import ledger.django_setup  # noqa: F401 - the models below need it
from ledger.fields import CodeField, EntryIdField, InstantField, PointsField

STYLES = ("give", "deduct")
STATUSES = ("approved", "pending", "on_hold", "cancelled")
WAITING = ("pending", "on_hold")
# By so many of its characters an external reference is found first.
INDEXED_CHARACTERS = 100


class Entries(models.QuerySet):
    """Entries of one kind."""

    def upto(self, entry_id: int | None) -> "Entries":
        """Those that the ledger had when it stood at that entry; None is the newest."""
        return self.all() if entry_id is None else self.filter(entry_id__lte=entry_id)

    def there(self, now: datetime, upto_entry_id: int | None) -> "Entries":
        """Those up to an entry that had occurred or been recorded by ``now``; all where no entry is named.

        What neither had happened nor was dated ahead then was not there, though that entry knows it."""
        if upto_entry_id is None:
            return self.all()
        had_come = models.Q(occurred_at__lte=now) | models.Q(recorded_at__lte=now)
        return self.upto(upto_entry_id).filter(had_come)


class Entry(models.Model):
    """One appended line of the ledger; `entry_id` is its place in the order of commits."""

    kind: str

    entry_id = EntryIdField(primary_key=True)
    recorded_at = InstantField()
    recorded_by = models.TextField()
    digest = models.BinaryField(max_length=32)

    objects = Entries.as_manager()

    class Meta:
        abstract = True


class Transfer(Entry):
    """One immutable movement of points; `status` is the first it had."""

    kind = "transfer"

    transfer_id = CodeField()
    relation_reference = CodeField()
    currency = CodeField()
    style = CodeField()
    points = PointsField()
    reason = CodeField()
    status = CodeField()
    occurred_at = InstantField()
    reverses_transfer_id = CodeField(default="", blank=True)
    batch_id = CodeField(default="", blank=True)
    external_reference = models.TextField(default="", blank=True)
    comment = models.TextField(default="", blank=True)

    class Meta:
        db_table = "transfers"
        indexes = [
            models.Index(fields=["relation_reference", "entry_id"], name="transfers_of_relation"),
            # A reference may be as long as its sender likes, an index of PostgreSQL's may not.
            models.Index(
                Left("external_reference", INDEXED_CHARACTERS),
                "entry_id",
                name="transfers_of_reference",
                condition=~models.Q(external_reference=""),
            ),
            models.Index(
                fields=["reverses_transfer_id"],
                name="transfers_revocations",
                condition=~models.Q(reverses_transfer_id=""),
            ),
            models.Index(
                fields=["entry_id"],
                name="transfers_first_waiting",
                condition=~models.Q(status="approved"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["transfer_id"], name="transfers_transfer_id_once"),
            models.CheckConstraint(condition=models.Q(points__gt=0), name="transfers_points_above_zero"),
            models.CheckConstraint(condition=models.Q(style__in=STYLES), name="transfers_style_known"),
            models.CheckConstraint(condition=models.Q(status__in=STATUSES), name="transfers_status_known"),
        ]

    @property
    def revokes_transfer_id(self) -> str:
        """The transfer that this one undoes; empty where it undoes none. Only the reason `revocation` revokes
        (docs/cases.md, R24): older ledgers hold links of other reasons, which say where points came from."""
        return self.reverses_transfer_id if self.reason == "revocation" else ""


class StatusChange(Entry):
    """A transfer's move to another status."""

    kind = "status_change"

    transfer_id = CodeField()
    status = CodeField()
    changed_at = InstantField()
    batch_id = CodeField(default="", blank=True)
    comment = models.TextField(default="", blank=True)

    class Meta:
        db_table = "status_changes"
        indexes = [models.Index(fields=["transfer_id", "entry_id"], name="status_changes_of_transfer")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=STATUSES), name="status_changes_status_known"
            )
        ]


class AccountEvent(Entry):
    """An account is opened or closed; the `_requested` ones wait for another person's approval.

    `event_id` is what a person approves; a decision (`open`, `close`, `declined`) names the request that it
    settles in `request_id`.
    """

    kind = "account_event"

    event_id = CodeField()
    relation_reference = CodeField()
    event = CodeField()
    occurred_at = InstantField()
    request_id = CodeField(default="", blank=True)
    batch_id = CodeField(default="", blank=True)
    comment = models.TextField(default="", blank=True)

    class Meta:
        db_table = "account_events"
        indexes = [models.Index(fields=["relation_reference", "entry_id"], name="account_events_of_relation")]
        constraints = [
            models.UniqueConstraint(fields=["event_id"], name="account_events_event_id_once"),
            models.CheckConstraint(
                condition=models.Q(
                    event__in=["open", "close", "open_requested", "close_requested", "declined"]
                ),
                name="account_events_event_known",
            ),
        ]


class Comment(Entry):
    """A note added to a transfer later."""

    kind = "comment"

    transfer_id = CodeField()
    text = models.TextField()

    class Meta:
        db_table = "comments"
        indexes = [models.Index(fields=["transfer_id", "entry_id"], name="comments_of_transfer")]


class Batch(Entry):
    """Many entries of one request: an imported file, or a mass of transfers. It is their first entry."""

    kind = "batch"

    batch_id = CodeField()
    origin = CodeField()
    file_name = models.TextField(default="", blank=True)
    file_sha256 = CodeField(default="", blank=True)
    last_entry_id = models.BigIntegerField()
    row_count = models.BigIntegerField()
    added_count = models.BigIntegerField()
    duplicate_count = models.BigIntegerField(default=0)
    status_change_count = models.BigIntegerField(default=0)
    quarantined_count = models.BigIntegerField(default=0)

    class Meta:
        db_table = "batches"
        constraints = [models.UniqueConstraint(fields=["batch_id"], name="batches_batch_id_once")]


class QuarantinedRow(Entry):
    """A row of a file that changes nothing, being bad or, by its `code`, history. It is kept as it was sent:
    `row` is a JSON object of its columns."""

    kind = "quarantined_row"

    batch_id = CodeField()
    line = models.BigIntegerField()
    transfer_id = CodeField(default="", blank=True)
    row = models.TextField()
    code = CodeField()
    column = CodeField(default="", blank=True)
    expected = models.TextField()

    class Meta:
        db_table = "quarantined_rows"
        indexes = [models.Index(fields=["transfer_id"], name="quarantined_rows_of_transfer")]


class QuarantineDismissal(Entry):
    """Says why a quarantined row will not come again."""

    kind = "quarantine_dismissal"

    quarantined_entry_id = models.BigIntegerField(unique=True)
    reason = models.TextField()

    class Meta:
        db_table = "quarantine_dismissals"


class Close(Entry):
    """A report month becomes final (`close`), or its close goes out of force (`reopen`).

    `control_totals` and `seals` are JSON; `report_month` is `YYYY-MM`. `reason` says why a month was
    reopened, or why it was closed while rows of files were quarantined.
    """

    kind = "close"

    event = CodeField()
    report_month = CodeField()
    revision = models.BigIntegerField()
    cutoff_entry_id = models.BigIntegerField()
    control_totals = models.TextField(default="", blank=True)
    manifest_sha256 = CodeField(default="", blank=True)
    seals = models.TextField(default="", blank=True)
    reason = models.TextField(default="", blank=True)

    class Meta:
        db_table = "closes"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(event__in=["close", "reopen"]), name="closes_event_known"
            )
        ]


class SignOff(Entry):
    """Someone other than who closed a month vouches for its issued files."""

    kind = "sign_off"

    report_month = CodeField()
    revision = models.BigIntegerField()
    manifest_sha256 = CodeField()

    class Meta:
        db_table = "sign_offs"


class MonthEndEntry(Entry):
    """What somebody vouches for, or did, about a revision of a month (`ledger.certifications`).

    `event` says what, `subject` of what: a statement's name or a file's SHA-256, say; `content` is JSON.
    """

    kind = "month_end"

    event = CodeField()
    report_month = CodeField()
    revision = models.BigIntegerField()
    manifest_sha256 = CodeField()
    subject = CodeField(default="", blank=True)
    content = models.TextField(default="", blank=True)

    class Meta:
        db_table = "month_end_entries"


class ChainLink(models.Model):
    """Ties the entries of one commit, or of a part of a bulk one, to all that stand before them."""

    last_entry_id = EntryIdField(primary_key=True)
    first_entry_id = models.BigIntegerField(unique=True)
    digest = models.BinaryField(max_length=32)

    class Meta:
        db_table = "chain_links"


class KeptBalance(models.Model):
    """A customer's points in one currency, kept so that lists need not add them up (`ledger.kept_balances`);
    the columns are those of the mart customer_point_balances, and ``later_points``, approved but not yet
    effective.

    It is right from ``last_effective_at`` until ``next_effective_at``, null being no bound, as long as no
    entry is added. Where it is not ``is_exact``, it is added up again to be shown.
    """

    pk = models.CompositePrimaryKey("relation_reference", "currency")
    relation_reference = CodeField()
    currency = CodeField()
    approved_points = PointsField()
    pending_given_points = PointsField()
    pending_deducted_points = PointsField()
    on_hold_given_points = PointsField()
    on_hold_deducted_points = PointsField()
    spendable_points = PointsField()
    later_points = PointsField()
    is_account_closed = models.BooleanField()
    last_effective_at = InstantField(null=True)
    next_effective_at = InstantField(null=True)
    is_exact = models.BooleanField()

    class Meta:
        db_table = "kept_balances"
        indexes = [
            models.Index(
                fields=["next_effective_at"],
                name="kept_balances_to_come",
                condition=models.Q(next_effective_at__isnull=False),
            ),
            models.Index(
                fields=["relation_reference"],
                name="kept_balances_closed",
                condition=models.Q(is_account_closed=True),
            ),
        ]


class BalanceHead(models.Model):
    """The one row that says of which entry `KeptBalance` is, by the digest of the chain there, and for which
    default currency; no balance took effect after ``newest_effective_at``."""

    entry_id = models.BigIntegerField(default=0)
    chain_digest = models.BinaryField(max_length=32)
    default_currency = CodeField(default="", blank=True)
    newest_effective_at = InstantField(null=True)

    class Meta:
        db_table = "balance_heads"


ENTRY_MODELS: tuple[type[Entry], ...] = (
    Transfer,
    StatusChange,
    AccountEvent,
    Comment,
    Batch,
    QuarantinedRow,
    QuarantineDismissal,
    Close,
    SignOff,
    MonthEndEntry,
)
# What can be thrown away: no entry, and nothing that an entry or a link vouches for.
KEPT_TABLES = tuple(model._meta.db_table for model in (KeptBalance, BalanceHead))
LEDGER_TABLES = tuple(model._meta.db_table for model in (*ENTRY_MODELS, ChainLink))
