"""The few kept balances of closed accounts are found without reading all."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ledger", "0005_room_for_balances")]

    operations = [
        migrations.AddIndex(
            model_name="keptbalance",
            index=models.Index(
                fields=["relation_reference"],
                name="kept_balances_closed",
                condition=models.Q(is_account_closed=True),
            ),
        ),
    ]
