"""Puts what `ingest.views` says of views and columns into ClickHouse, where DESCRIBE and other tools show it."""

import logging
from collections.abc import Mapping

from clickhouse_connect.driver.client import Client

from ingest.errors import StoreRefused
from ingest.store.faults import translated
from ingest.views import VIEWS, View

_STORED = """
SELECT table, name, comment FROM system.columns WHERE database = currentDatabase() AND table IN {views:Array(String)}
UNION ALL
SELECT name, '', comment FROM system.tables WHERE database = currentDatabase() AND name IN {views:Array(String)}
"""
_log = logging.getLogger(__name__)

Place = tuple[str, str]  # a view and its column; the view itself has an empty one


def statements(stored: Mapping[Place, str]) -> list[str]:
    """What makes the comments that are stored those of this version: nothing, most of the time.

    A view or column that is not there, as in a store that waits for a migration, needs none.
    """
    found = []
    for view, its in VIEWS.items():
        wanted = {"": f"{its.row}; {its.collapsed}", **{column.name: column.meaning for column in its.columns}}
        changes = [_change(name, words) for name, words in wanted.items() if stored.get((view, name), words) != words]
        if changes:
            found.append(f"ALTER TABLE {view} {', '.join(changes)}")
    return found


def comment(client: Client) -> None:
    """Makes the comments of the views those of this version. A server that refuses them keeps its own."""
    try:
        with translated("commenting the views"):
            rows = client.query(_STORED, parameters={"views": [str(view) for view in View]}).result_rows
            for statement in statements({(str(view), str(name)): str(words) for view, name, words in rows}):
                client.command(statement)
    except StoreRefused as refused:
        _log.warning("the views work, but without their descriptions: %s", refused)


def _change(column: str, words: str) -> str:
    quoted = words.replace("\\", "\\\\").replace("'", "\\'")
    return f"COMMENT COLUMN {column} '{quoted}'" if column else f"MODIFY COMMENT '{quoted}'"
