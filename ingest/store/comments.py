"""Puts what `ingest.views` says of views and columns into ClickHouse, where DESCRIBE and other tools show it."""

from collections.abc import Mapping

from clickhouse_connect.driver.client import Client

from ingest.views import VIEWS, View

_STORED = """
SELECT table, name, comment FROM system.columns WHERE database = currentDatabase() AND table IN {views:Array(String)}
UNION ALL
SELECT name, '', comment FROM system.tables WHERE database = currentDatabase() AND name IN {views:Array(String)}
"""

Comments = Mapping[View, Mapping[str, str]]  # view → column → words; the view itself stands under ''


def wanted() -> Comments:
    """What this version says of every view."""
    return {
        view: {"": f"{it.row}; {it.collapsed}", **{column.name: column.meaning for column in it.columns}}
        for view, it in VIEWS.items()
    }


def comment(client: Client) -> None:
    """Makes the comments of the views that are there those of this version. Changes nothing else."""
    found = client.query(_STORED, parameters={"views": [str(view) for view in View]}).result_rows
    stored = {(str(view), str(column)): str(words) for view, column, words in found}
    for view, words in wanted().items():
        # A view or column that is not there, as in a store that waits for a migration, needs none.
        changes = {column: said for column, said in words.items() if stored.get((view, column), said) != said}
        if changes:
            client.command(f"ALTER TABLE {view} {', '.join(_change(*change) for change in changes.items())}")


def _change(column: str, words: str) -> str:
    quoted = words.replace("\\", "\\\\").replace("'", "\\'")
    return f"COMMENT COLUMN {column} '{quoted}'" if column else f"MODIFY COMMENT '{quoted}'"
