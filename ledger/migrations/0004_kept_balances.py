"""Balances that are kept beside the ledger and may be thrown away, and an index of external references."""

import django.db.models.functions.text
from django.db import migrations, models

import ledger.fields


def make_the_head(apps, schema_editor):
    apps.get_model("ledger", "BalanceHead").objects.using(schema_editor.connection.alias).create(
        chain_digest=bytes(32)
    )


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0003_linked_at_commit"),
    ]

    operations = [
        migrations.CreateModel(
            name="BalanceHead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("entry_id", models.BigIntegerField(default=0)),
                ("chain_digest", models.BinaryField(max_length=32)),
                ("default_currency", ledger.fields.CodeField(blank=True, default="")),
                ("newest_effective_at", ledger.fields.InstantField(null=True)),
            ],
            options={
                "db_table": "balance_heads",
            },
        ),
        migrations.CreateModel(
            name="KeptBalance",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "relation_reference",
                        "currency",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("relation_reference", ledger.fields.CodeField()),
                ("currency", ledger.fields.CodeField()),
                ("approved_points", ledger.fields.PointsField()),
                ("pending_given_points", ledger.fields.PointsField()),
                ("pending_deducted_points", ledger.fields.PointsField()),
                ("on_hold_given_points", ledger.fields.PointsField()),
                ("on_hold_deducted_points", ledger.fields.PointsField()),
                ("spendable_points", ledger.fields.PointsField()),
                ("later_points", ledger.fields.PointsField()),
                ("is_account_closed", models.BooleanField()),
                ("last_effective_at", ledger.fields.InstantField(null=True)),
                ("next_effective_at", ledger.fields.InstantField(null=True)),
                ("is_exact", models.BooleanField()),
            ],
            options={
                "db_table": "kept_balances",
            },
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                django.db.models.functions.text.Left("external_reference", 100),
                models.F("entry_id"),
                condition=models.Q(("external_reference", ""), _negated=True),
                name="transfers_of_reference",
            ),
        ),
        migrations.AddIndex(
            model_name="keptbalance",
            index=models.Index(
                condition=models.Q(("next_effective_at__isnull", False)),
                fields=["next_effective_at"],
                name="kept_balances_to_come",
            ),
        ),
        migrations.RunPython(make_the_head),
    ]
