"""Triggers by which the database refuses everything but appends: update, delete, replace and truncate."""

from django.db import migrations

TABLES = {
    "transfers": "transfer_id",
    "status_changes": None,
    "account_events": "event_id",
    "comments": None,
    "batches": "batch_id",
    "quarantined_rows": None,
    "quarantine_dismissals": "quarantined_entry_id",
    "closes": None,
    "sign_offs": None,
    "chain_links": "first_entry_id",
}
NO_UNITS = "Points are kept as whole ten-thousandths."
REFUSAL = "The ledger is append-only: what was recorded is not changed, only followed by a new entry."


def refuse_changes(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"""
            create function refuse_change() returns trigger language plpgsql as $$
            begin
                raise exception '{REFUSAL}' using errcode = 'integrity_constraint_violation';
            end
            $$
            """
        )
    refuse_changes_of(TABLES, schema_editor)


def refuse_changes_of(tables, schema_editor):
    """``tables``: the column of each that is unique beside its key, or None."""
    if schema_editor.connection.vendor != "postgresql":
        _refuse_in_sqlite(tables, schema_editor)
        return
    for table in tables:
        schema_editor.execute(
            f"create trigger {table}_append_only before update or delete or truncate on {table}"
            " for each statement execute function refuse_change()"
        )


def _refuse_in_sqlite(tables, schema_editor):
    for table, unique_column in tables.items():
        key = "last_entry_id" if table == "chain_links" else "entry_id"
        for act in ("update", "delete"):
            schema_editor.execute(
                f"create trigger {table}_no_{act} before {act} on {table}"
                f" begin select raise(abort, '{REFUSAL}'); end"
            )
        # An `insert or replace` removes the row that is in its way without firing the trigger on delete.
        taken = f"exists (select 1 from {table} where {key} = new.{key})"
        if unique_column:
            taken += f" or exists (select 1 from {table} where {unique_column} = new.{unique_column})"
        refusal = f"raise(abort, '{REFUSAL}')"
        if table == "transfers":
            # A column of SQLite takes any type. In this trigger and not one of its own, for the speed of
            # imports.
            taken = f"typeof(new.points) <> 'integer' or {taken}"
            refusal = (
                f"case when typeof(new.points) = 'integer' then {refusal} else raise(abort, '{NO_UNITS}') end"
            )
        schema_editor.execute(
            f"create trigger {table}_no_replace before insert on {table} when {taken}"
            f" begin select {refusal}; end"
        )


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_entries")]

    operations = [migrations.RunPython(refuse_changes)]
