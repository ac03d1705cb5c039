"""What the role of POINTS_DATABASE_URL may do in PostgreSQL beyond reading and appending."""

from dataclasses import dataclass
from itertools import groupby

from django.db import connection

from ledger.guards import GUARDED_TABLES
from ledger.models import LEDGER_TABLES

# The migrations' own table is read by every command.
_TABLES = (*GUARDED_TABLES, "django_migrations")
# Of the roles that PostgreSQL brings along, those by which nothing can be changed and no file be read.
_READERS = (
    "pg_monitor",
    "pg_read_all_data",
    "pg_read_all_settings",
    "pg_read_all_stats",
    "pg_stat_scan_tables",
    "pg_use_reserved_connections",
)
# A role's attributes, for people and as `alter role` spells them.
_ATTRIBUTES = {
    "rolcreaterole": ("can make roles", "nocreaterole"),
    "rolcreatedb": ("can make databases", "nocreatedb"),
    "rolreplication": ("can replicate, and read every file of the server", "noreplication"),
    "rolbypassrls": ("bypasses row security", "nobypassrls"),
}


@dataclass(frozen=True)
class ExcessivePrivilege:
    """A privilege that no append needs; ``description`` continues a sentence about the role: "may delete …".

    ``statement`` revokes it, executed by a role that may do so; empty where the set-up must change: the role
    is a superuser or, ``is_owner``, owns what guards the ledger.
    """

    description: str
    statement: str = ""
    is_owner: bool = False


def find_excessive_privileges() -> list[ExcessivePrivilege]:
    """What the connected role, and every role that it can become, may do beyond appending; in a fixed order.

    Asked are attributes, memberships, owners, and what is granted on tables, columns, schemas, the database
    and parameters, to the role, to roles that it is a member of, and to everybody.
    """
    with connection.cursor() as cursor:
        cursor.execute("select quote_ident(rolname), rolsuper from pg_roles where rolname = current_user")
        user, is_superuser = cursor.fetchone()
        if is_superuser:
            return [ExcessivePrivilege("is a superuser", is_owner=True)]
        found = [*_attributes(cursor, user), *_owned(cursor, user), *_granted(cursor, user)]
    return list(dict.fromkeys(found))


# Each role that the connected one is or can become, and the one of its memberships that leads there;
# everybody is role 0.
_HELD = """
with held as (
    select
        role.oid,
        quote_ident(role.rolname) as role_name,
        membership.roleid::regrole::text as through
    from pg_roles as role
    left join pg_auth_members as membership
        on membership.member = current_user::regrole and pg_has_role(membership.roleid, role.oid, 'member')
    where pg_has_role(role.oid, 'member')
    union all
    select 0, 'public', null
)
"""


def _attributes(cursor, user: str) -> list[ExcessivePrivilege]:
    cursor.execute(
        f"{_HELD} select role_name, through, rolsuper, {', '.join(_ATTRIBUTES)}"
        " from held inner join pg_roles on pg_roles.oid = held.oid order by role_name, through"
    )
    found = []
    for role, through, is_superuser, *attributes in cursor.fetchall():
        if is_superuser or (role.startswith("pg_") and role not in _READERS):
            what = f"is a member of {role}" + (", a superuser" if is_superuser else "")
            # The role of a database's owner has no members by name.
            if through:
                found.append(ExcessivePrivilege(what, f"revoke {through} from {user}"))
        for (description, attribute), is_set in zip(_ATTRIBUTES.values(), attributes, strict=True):
            if is_set:
                statement = f"alter role {user} {attribute}"
                found.append(_through(description, role, through, user, statement))
    return found


def _owned(cursor, user: str) -> list[ExcessivePrivilege]:
    cursor.execute(
        f"""
        {_HELD},
        guarded as (
            select relowner, oid
            from pg_class
            where oid in (select to_regclass(name) from unnest(%s::text[]) as n (name))
        ),
        owned as (
            select relowner as owner, 'the tables' as what
            from guarded
            union
            select proowner, 'functions that guard them'
            from pg_trigger
            inner join guarded on guarded.oid = pg_trigger.tgrelid
            inner join pg_proc on pg_proc.oid = pg_trigger.tgfoid
            union
            select nspowner, 'the schema ' || quote_ident(nspname)
            from pg_namespace
            where nspname = any (current_schemas(false))
            union
            select datdba, 'the database' from pg_database where datname = current_database()
        )
        select what, role_name, through
        from owned
        inner join held on held.oid = owned.owner
        where held.role_name <> 'pg_database_owner'
        order by what, role_name, through
        """,
        [list(GUARDED_TABLES)],
    )
    return [
        ExcessivePrivilege(_through(f"owns {what}", role, through, user, "").description, is_owner=True)
        for what, role, through in cursor.fetchall()
    ]


def _granted(cursor, user: str) -> list[ExcessivePrivilege]:
    parameters = (
        "union all select 'parameter ' || parname, null, paracl, 0 from pg_parameter_acl"
        if connection.pg_version >= 150_000
        else ""
    )
    cursor.execute(
        f"""
        {_HELD},
        granted (object, column_name, acl, owner) as (
            select quote_ident(relname), null, relacl, relowner
            from pg_class
            where oid in (select to_regclass(name) from unnest(%s::text[]) as n (name))
            union all
            select attrelid::regclass::text, quote_ident(attname), attacl, 0
            from pg_attribute
            where attrelid in (select to_regclass(name) from unnest(%s::text[]) as n (name))
            union all
            select 'schema ' || quote_ident(nspname), null, nspacl, nspowner
            from pg_namespace
            where nspname = any (current_schemas(false))
            union all
            select 'database ' || quote_ident(datname), null, datacl, datdba
            from pg_database
            where datname = current_database()
            {parameters}
        )
        select object, role_name, through, column_name, lower(privilege_type)
        from granted
        cross join aclexplode(acl) as item
        inner join held on held.oid = item.grantee
        where
            item.grantee <> granted.owner
            and privilege_type not in ('SELECT', 'USAGE', 'CONNECT', 'TEMPORARY')
            and not (privilege_type = 'INSERT' and object = any (%s::text[]))
        order by object, role_name, through, column_name nulls first, privilege_type
        """,
        [list(_TABLES), list(_TABLES), list(LEDGER_TABLES)],
    )
    found = []
    for (object_, role, through, column), rows in groupby(cursor.fetchall(), lambda row: row[:4]):
        columns = f" ({column})" if column else ""
        privileges = ", ".join(row[4] + columns for row in rows)
        statement = f"revoke {privileges} on {object_} from {role}"
        may = f"may {privileges} on {object_}" + (" as everybody may" if role == "public" else "")
        found.append(_through(may, role, through, user, statement))
    return found


def _through(
    description: str, role: str, through: str | None, user: str, statement: str
) -> ExcessivePrivilege:
    """A privilege of ``role`` as one of ``user``: its own, or by a membership, which is then to be
    revoked."""
    if through is None:
        return ExcessivePrivilege(description, statement)
    return ExcessivePrivilege(f"{description} as a member of {role}", f"revoke {through} from {user}")
