"""Answers one SQL statement: from the store that runs, or from the embedded one, opened for the occasion."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.embedded import found_stack
from deploy.embedded.child import Child, answers_http, free_port
from deploy.embedded.stack import OURS, require
from deploy.errors import DeployError
from deploy.settings import Settings
from ingest.query import connect, table

Answer = tuple[list[str], list[Sequence[Any]]]


def ask(settings: Settings, query: str, say: Callable[[str], None]) -> Answer:
    """Column names and rows. Raises IngestError or DeployError with what to do."""
    running = found_stack(settings)
    url = settings.clickhouse or (running.clickhouse if running else None)
    if url is not None:
        return _answer(url, query)
    folder = settings.state / "store"
    if not folder.is_dir():
        raise DeployError(
            f"there is no store in {str(settings.state)!r} yet: run `turnlog demo` first, or set CLICKHOUSE_URL"
        )
    require("chdb", "the embedded store")
    port = free_port()
    child = Child("store", [*OURS, "store", "--path", str(folder), "--port", str(port)], settings.state / "sql.log")
    say("opening the store")
    child.start()
    try:
        child.wait_ready(lambda: answers_http(f"http://127.0.0.1:{port}/ping"))
        return _answer(f"http://127.0.0.1:{port}", query)
    finally:
        child.stop()


def _answer(url: str, query: str) -> Answer:
    client = connect(url)
    try:
        return table(client, query)
    finally:
        client.close()


def print_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A JSON array with an object a row."""
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    sys.stdout.write(json.dumps(found, default=str, indent=1) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as wide as the terminal; all columns and all rows."""
    drawn = Table(*columns)
    for row in rows:
        drawn.add_row(*("" if value is None else str(value) for value in row))
    Console(highlight=False, markup=False).print(drawn)
