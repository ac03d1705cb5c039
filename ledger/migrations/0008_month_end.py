"""The entries by which people vouch for a month, guarded like all others."""

from importlib import import_module

from django.db import migrations, models

import ledger.fields

_APPEND_ONLY = import_module("ledger.migrations.0002_append_only")
_LINKED_AT_COMMIT = import_module("ledger.migrations.0003_linked_at_commit")
TABLE = "month_end_entries"


def guard(apps, schema_editor):
    _APPEND_ONLY.refuse_changes_of({TABLE: None}, schema_editor)
    if schema_editor.connection.vendor == "postgresql":
        _LINKED_AT_COMMIT.note_appends(TABLE, "note_entry_id", schema_editor)
        _LINKED_AT_COMMIT.make_check_of_links((*_LINKED_AT_COMMIT.TABLES, TABLE), schema_editor)


class Migration(migrations.Migration):
    dependencies = [("ledger", "0007_balances_in_no_log")]

    operations = [
        migrations.CreateModel(
            name="MonthEndEntry",
            fields=[
                ("entry_id", ledger.fields.EntryIdField(primary_key=True, serialize=False)),
                ("recorded_at", ledger.fields.InstantField()),
                ("recorded_by", models.TextField()),
                ("digest", models.BinaryField(max_length=32)),
                ("event", ledger.fields.CodeField()),
                ("report_month", ledger.fields.CodeField()),
                ("revision", models.BigIntegerField()),
                ("manifest_sha256", ledger.fields.CodeField()),
                ("subject", ledger.fields.CodeField(blank=True, default="")),
                ("content", models.TextField(blank=True, default="")),
            ],
            options={"db_table": TABLE},
        ),
        migrations.RunPython(guard),
    ]
