"""PostgreSQL keeps balances in no log: they may be lost, and are added up again.

Both tables together: after a server that stopped halfway both are empty, so that no head speaks of balances that
are gone.
"""

from django.db import migrations


def leave_out_of_log(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in ("kept_balances", "balance_heads"):
            schema_editor.execute(f"alter table {table} set unlogged")


class Migration(migrations.Migration):
    dependencies = [("ledger", "0006_closed_accounts")]

    operations = [migrations.RunPython(leave_out_of_log)]
