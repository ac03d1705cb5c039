"""PostgreSQL refuses to commit entries that do not stand in links which follow the head before them.

Of SQLite nobody can ask that: whoever may write to its file may change anything in it.
"""

from django.db import migrations

TABLES = (
    "transfers",
    "status_changes",
    "account_events",
    "comments",
    "batches",
    "quarantined_rows",
    "quarantine_dismissals",
    "closes",
    "sign_offs",
)
LINKS = "chain_links"
# From which number on the transaction that is going on has appended. Each statement looks at what it inserted
# as a whole, since a trigger for each row would cost an import a tenth. Empty after every commit.
NOTES = "unchecked_appends"
ENTRIES_PER_LINK = 1_000
REFUSAL = (
    "Nothing was recorded: at the end of a transaction each of its entries must stand in a link, and each link"
    " must follow the one before and hold the digests of its entries."
)


def check_links_at_commit(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    as_owner = _as_owner(schema_editor)
    for tables, number in ((TABLES, "entry_id"), ((LINKS,), "last_entry_id")):
        function = f"note_{number}"
        schema_editor.execute(
            f"""
            create function {function}() {as_owner} $$
            begin
                insert into {NOTES}
                select lowest
                from (select min({number}) as lowest from appended) as statement
                where lowest is not null and not exists (select from {NOTES} where entry_id <= lowest);
                return null;
            end
            $$
            """
        )
        for table in tables:
            note_appends(table, function, schema_editor)
    schema_editor.execute(f"create table {NOTES} (entry_id bigint not null)")
    make_check_of_links(TABLES, schema_editor)
    schema_editor.execute(
        f"create constraint trigger {LINKS}_checked after insert on {NOTES} deferrable initially deferred"
        " for each row execute function check_links()"
    )


def _as_owner(schema_editor):
    """As the owner, and not through tables that the application's role made in the place of the ledger's."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"select relnamespace::regnamespace from pg_class where oid = '{LINKS}'::regclass")
        (schema,) = cursor.fetchone()
    return (
        "returns trigger language plpgsql security definer"
        f" set search_path to '{schema.strip(chr(34))}', 'pg_temp' as"
    )


def note_appends(table, function, schema_editor):
    schema_editor.execute(
        f"create trigger {table}_noted after insert on {table} referencing new table as appended"
        f" for each statement execute function {function}()"
    )


def make_check_of_links(tables, schema_editor):
    """Make the function that looks at the links, over the entries of all ``tables``, or make it anew."""
    newest = ", ".join(f"(select max(entry_id) from {table})" for table in tables)
    entries = " union all ".join(
        f"select entry_id, digest from {table}"
        " where entry_id between link.first_entry_id and link.last_entry_id"
        for table in tables
    )
    schema_editor.execute(
        f"""
        create or replace function check_links() {_as_owner(schema_editor)} $$
        declare
            lowest bigint;
        begin
            with noted as (delete from {NOTES} returning entry_id) select min(entry_id) into lowest from noted;
            if lowest is null then
                return null;  -- the first note that was looked at was for all of this transaction's
            end if;
            if lowest < 1 or greatest({newest}) > (select coalesce(max(last_entry_id), 0) from {LINKS}) or exists (
                select from {LINKS} as link
                left join {LINKS} as previous on previous.last_entry_id = link.first_entry_id - 1
                cross join lateral (
                    select
                        count(*) as entries,
                        count(distinct entry_id) as numbers,
                        string_agg(digest, ''::bytea order by entry_id) as digests
                    from ({entries}) as entry
                ) as held
                where
                    link.last_entry_id >= lowest
                    and (
                        previous.last_entry_id is null and link.first_entry_id <> 1
                        or link.last_entry_id - link.first_entry_id not between 0 and {ENTRIES_PER_LINK - 1}
                        or link.last_entry_id - link.first_entry_id + 1 <> held.entries
                        or held.entries <> held.numbers
                        or link.digest is distinct from sha256(
                            coalesce(previous.digest, decode(repeat('00', 32), 'hex'))
                            || int8send(link.first_entry_id)
                            || int8send(link.last_entry_id)
                            || sha256(held.digests)
                        )
                    )
            ) then
                raise exception '{REFUSAL}' using errcode = 'integrity_constraint_violation';
            end if;
            return null;
        end
        $$
        """
    )


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_append_only")]

    operations = [migrations.RunPython(check_links_at_commit)]
