"""Roles, row policies, profiles and quotas on a ClickHouse server, as the embedded store has them. Pure."""

import re

from deploy.clickhouse.schema import CLUSTER, OWNER
from ingest.replay.rebuild import SHADOW
from ingest.store.judge import CONTENT, SYSTEM
from ingest.store.limits import (
    MEMORY_BYTES_MAX,
    RESULT_BYTES_MAX,
    RESULT_ROWS_MAX,
    SECONDS_MAX,
    STATEMENT_BYTES_MAX,
    TEMPORARY_BYTES_MAX,
    THREADS_MAX,
)
from ingest.views import View

_HEAD = """\
-- Who may do what on a ClickHouse server, as the embedded store has it (docs/store.md).
-- Written by: python -m deploy.clickhouse
-- Run it before schema.sql, as a user who may make users. Then make users of your own and give them a role each:
--     CREATE USER ann ON CLUSTER turnlog IDENTIFIED WITH sha256_password BY '…' DEFAULT ROLE turnlog_reader
-- Who is to see the rows of one tenant alone gets the role that `python -m deploy.clickhouse --tenant NAME` prints.
-- A server says no event when words are read: its own query log tells. Give turnlog_content to whom you watch there.
-- Our tests hold the engine to these grants and row policies; no server has run the file there yet.
"""
OF_WRITERS = {"disks", "merge_tree_settings", "parts"}  # which erasures and rebuilds ask
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def users() -> str:
    """One statement a paragraph."""
    on = f"ON CLUSTER {CLUSTER}"
    views = [str(view) for view in View if view != CONTENT]
    statements = [
        # Nobody signs in as the owner: views are read with its rights.
        f"CREATE USER IF NOT EXISTS {OWNER} {on} IDENTIFIED WITH no_authentication HOST NONE",
        f"GRANT {on} SELECT ON default.* TO {OWNER}",
        f"CREATE SETTINGS PROFILE IF NOT EXISTS turnlog_reader {on} SETTINGS\n    " + ",\n    ".join(_bounds()),
        # The order of logs and what was stored last are read right after they are written, from whichever replica.
        f"CREATE SETTINGS PROFILE IF NOT EXISTS turnlog_writer {on} SETTINGS\n"
        "    async_insert = 0, insert_quorum = 'auto', insert_quorum_parallel = 0, select_sequential_consistency = 1",
        *(f"CREATE ROLE IF NOT EXISTS {role} {on}" for role in ("turnlog_reader", "turnlog_content")),
        f"CREATE ROLE IF NOT EXISTS turnlog_writer {on} SETTINGS PROFILE 'turnlog_writer'",
        f"ALTER ROLE turnlog_reader {on} SETTINGS PROFILE 'turnlog_reader'",
        *(f"GRANT {on} SELECT ON default.{view} TO turnlog_reader" for view in views),
        *(f"GRANT {on} SELECT ON system.{table} TO turnlog_reader" for table in sorted(SYSTEM)),
        f"GRANT {on} turnlog_reader TO turnlog_content",
        f"GRANT {on} SELECT ON default.{CONTENT} TO turnlog_content",
        # Whom no other policy names sees every row, also where users_without_row_policies_can_read_rows is off.
        f"CREATE ROW POLICY IF NOT EXISTS turnlog_every_tenant {on} ON {_all_views()} USING 1 AS PERMISSIVE TO ALL",
        *(
            f"GRANT {on} SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE ON {database}.* TO turnlog_writer"
            for database in ("default", SHADOW)
        ),
        *(f"GRANT {on} SELECT ON system.{table} TO turnlog_writer" for table in sorted(SYSTEM | OF_WRITERS)),
        f"GRANT {on} CREATE FUNCTION, DROP FUNCTION ON *.* TO turnlog_writer",
        f"GRANT {on} SET DEFINER ON {OWNER} TO turnlog_writer",
        f"CREATE QUOTA IF NOT EXISTS turnlog_reader {on} KEYED BY user_name\n"
        "    FOR INTERVAL 1 hour MAX queries = 10000, execution_time = 7200 TO turnlog_reader",
    ]
    return _HEAD + "\n" + _text(statements)


def tenant_reader(tenant: str) -> str:
    """The statements of a role that reads the rows of that tenant alone, on every view; grant its bearers no other one.

    Raises ValueError for a name that no role can have.
    """
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"a tenant's name here is of letters, digits, '_', '.' and '-', at most 64: not {tenant!r}")
    on, role = f"ON CLUSTER {CLUSTER}", f"`turnlog_reader_{tenant}`"
    return _text(
        [
            f"CREATE ROLE IF NOT EXISTS {role} {on}",
            # Before it may read anything. It restricts: another policy cannot add rows.
            f"CREATE ROW POLICY IF NOT EXISTS {role} {on} ON {_all_views()}\n"
            f"    USING tenant = '{tenant}' AS RESTRICTIVE TO {role}",
            f"GRANT {on} turnlog_reader TO {role}",
        ]
    )


def _all_views() -> str:
    return ", ".join(f"default.{view}" for view in View)


def _text(statements: list[str]) -> str:
    return "".join(f"{statement};\n\n" for statement in statements)


def _bounds() -> list[str]:
    bounds = {
        "max_execution_time": SECONDS_MAX,
        "max_memory_usage": MEMORY_BYTES_MAX,
        "max_query_size": STATEMENT_BYTES_MAX,
        "max_result_bytes": RESULT_BYTES_MAX,
        "max_result_rows": RESULT_ROWS_MAX,
        "max_temporary_data_on_disk_size_for_query": TEMPORARY_BYTES_MAX,
        "max_threads": THREADS_MAX,
    }
    # readonly = 2: drivers set how an answer looks. No grant reaches a file or the network, whatever they set.
    return ["readonly = 2 CONST", *(f"{name} = {bound} MIN 1 MAX {bound}" for name, bound in bounds.items())]
