from django.db import migrations, models

import ledger.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ChainLink",
            fields=[
                ("last_entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("first_entry_id", models.BigIntegerField(unique=True)),
                ("digest", models.BinaryField(max_length=32)),
            ],
            options={
                "db_table": "chain_links",
            },
        ),
        migrations.CreateModel(
            name="QuarantineDismissal",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("quarantined_entry_id", models.BigIntegerField(unique=True)),
                ("reason", models.TextField()),
            ],
            options={
                "db_table": "quarantine_dismissals",
            },
        ),
        migrations.CreateModel(
            name="SignOff",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("report_month", ledger.fields.CodeField()),
                ("revision", models.BigIntegerField()),
                ("manifest_sha256", ledger.fields.CodeField()),
            ],
            options={
                "db_table": "sign_offs",
            },
        ),
        migrations.CreateModel(
            name="AccountEvent",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("event_id", ledger.fields.CodeField()),
                ("relation_reference", ledger.fields.CodeField()),
                ("event", ledger.fields.CodeField()),
                ("occurred_at", ledger.fields.InstantField()),
                ("request_id", ledger.fields.CodeField(blank=True, default="")),
                ("batch_id", ledger.fields.CodeField(blank=True, default="")),
                ("comment", models.TextField(blank=True, default="")),
            ],
            options={
                "db_table": "account_events",
                "indexes": [
                    models.Index(fields=["relation_reference", "entry_id"], name="account_events_of_relation")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event_id",), name="account_events_event_id_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("event__in", ["open", "close", "open_requested", "close_requested", "declined"])
                        ),
                        name="account_events_event_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("batch_id", ledger.fields.CodeField()),
                ("origin", ledger.fields.CodeField()),
                ("file_name", models.TextField(blank=True, default="")),
                ("file_sha256", ledger.fields.CodeField(blank=True, default="")),
                ("last_entry_id", models.BigIntegerField()),
                ("row_count", models.BigIntegerField()),
                ("added_count", models.BigIntegerField()),
                ("duplicate_count", models.BigIntegerField(default=0)),
                ("status_change_count", models.BigIntegerField(default=0)),
                ("quarantined_count", models.BigIntegerField(default=0)),
            ],
            options={
                "db_table": "batches",
                "constraints": [models.UniqueConstraint(fields=("batch_id",), name="batches_batch_id_once")],
            },
        ),
        migrations.CreateModel(
            name="Close",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("event", ledger.fields.CodeField()),
                ("report_month", ledger.fields.CodeField()),
                ("revision", models.BigIntegerField()),
                ("cutoff_entry_id", models.BigIntegerField()),
                ("control_totals", models.TextField(blank=True, default="")),
                ("manifest_sha256", ledger.fields.CodeField(blank=True, default="")),
                ("seals", models.TextField(blank=True, default="")),
                ("reason", models.TextField(blank=True, default="")),
            ],
            options={
                "db_table": "closes",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("event__in", ["close", "reopen"])), name="closes_event_known"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Comment",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("transfer_id", ledger.fields.CodeField()),
                ("text", models.TextField()),
            ],
            options={
                "db_table": "comments",
                "indexes": [models.Index(fields=["transfer_id", "entry_id"], name="comments_of_transfer")],
            },
        ),
        migrations.CreateModel(
            name="QuarantinedRow",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("batch_id", ledger.fields.CodeField()),
                ("line", models.BigIntegerField()),
                ("transfer_id", ledger.fields.CodeField(blank=True, default="")),
                ("row", models.TextField()),
                ("code", ledger.fields.CodeField()),
                ("column", ledger.fields.CodeField(blank=True, default="")),
                ("expected", models.TextField()),
            ],
            options={
                "db_table": "quarantined_rows",
                "indexes": [models.Index(fields=["transfer_id"], name="quarantined_rows_of_transfer")],
            },
        ),
        migrations.CreateModel(
            name="StatusChange",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("transfer_id", ledger.fields.CodeField()),
                ("status", ledger.fields.CodeField()),
                ("changed_at", ledger.fields.InstantField()),
                ("batch_id", ledger.fields.CodeField(blank=True, default="")),
                ("comment", models.TextField(blank=True, default="")),
            ],
            options={
                "db_table": "status_changes",
                "indexes": [
                    models.Index(fields=["transfer_id", "entry_id"], name="status_changes_of_transfer")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ("approved", "pending", "on_hold", "cancelled"))),
                        name="status_changes_status_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Transfer",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("transfer_id", ledger.fields.CodeField()),
                ("relation_reference", ledger.fields.CodeField()),
                ("currency", ledger.fields.CodeField()),
                ("style", ledger.fields.CodeField()),
                ("points", ledger.fields.PointsField()),
                ("reason", ledger.fields.CodeField()),
                ("status", ledger.fields.CodeField()),
                ("occurred_at", ledger.fields.InstantField()),
                ("reverses_transfer_id", ledger.fields.CodeField(blank=True, default="")),
                ("batch_id", ledger.fields.CodeField(blank=True, default="")),
                ("external_reference", models.TextField(blank=True, default="")),
                ("comment", models.TextField(blank=True, default="")),
            ],
            options={
                "db_table": "transfers",
                "indexes": [
                    models.Index(fields=["relation_reference", "entry_id"], name="transfers_of_relation"),
                    models.Index(
                        condition=models.Q(("reverses_transfer_id", ""), _negated=True),
                        fields=["reverses_transfer_id"],
                        name="transfers_revocations",
                    ),
                    models.Index(
                        condition=models.Q(("status", "approved"), _negated=True),
                        fields=["entry_id"],
                        name="transfers_first_waiting",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("transfer_id",), name="transfers_transfer_id_once"),
                    models.CheckConstraint(
                        condition=models.Q(("points__gt", 0)), name="transfers_points_above_zero"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("style__in", ("give", "deduct"))), name="transfers_style_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ("approved", "pending", "on_hold", "cancelled"))),
                        name="transfers_status_known",
                    ),
                ],
            },
        ),
    ]
