"""PostgreSQL leaves room beside each kept balance.

It never changes a row in place: where the new one has room in the same block, no index needs an entry more.
"""

from django.db import migrations


def leave_room(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("alter table kept_balances set (fillfactor = 75)")


class Migration(migrations.Migration):
    dependencies = [("ledger", "0004_kept_balances")]

    operations = [migrations.RunPython(leave_room)]
