"""Answers one SQL statement: from the store that runs, or from the embedded one, opened for the occasion."""

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from deploy.embedded import found_stack
from deploy.embedded.child import Child, answers_http, free_port
from deploy.embedded.stack import OURS, require
from deploy.errors import DeployError
from deploy.settings import Settings
from ingest.query import Client, connect, table

Answer = tuple[list[str], list[Sequence[Any]]]


def ask(settings: Settings, query: str, say: Callable[[str], None]) -> Answer:
    """Column names and rows. Raises IngestError or DeployError with what to do."""
    with opened_store(settings, say) as client:
        return table(client, query, read_only=True)


@contextmanager
def opened_store(settings: Settings, say: Callable[[str], None]) -> Iterator[Client]:
    """A client of the store: of yours, of the stack's, or of the embedded one, which runs inside. `say` is told then.

    Raises IngestError or DeployError with what to do.
    """
    running = found_stack(settings)
    url = settings.clickhouse or (running.clickhouse if running else None)
    if url is not None:
        with closing(connect(url)) as client:
            yield client
        return
    folder = settings.state / "store"
    if not folder.is_dir():
        raise DeployError(
            f"there is no store in {str(settings.state)!r} yet: run `turnlog demo` first, or set CLICKHOUSE_URL"
        )
    require("chdb", "the embedded store")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="turnlog-") as room:  # reading must not need a state folder to write to
        child = Child("store", [*OURS, "store", "--path", str(folder), "--port", str(port)], Path(room) / "store.log")
        say("opening the store")
        child.start()
        try:
            child.wait_ready(lambda: answers_http(f"http://127.0.0.1:{port}/ping"))
            with closing(connect(f"http://127.0.0.1:{port}")) as client:
                yield client
        finally:
            child.stop()


def print_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A JSON array with an object a row. Times and decimals are text; what is no finite number is null."""
    found = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    sys.stdout.write(json.dumps(found, default=str, indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Every column and row, aligned; one column a line where a terminal is too narrow for them side by side."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)] if columns else []
    if sys.stdout.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        lines = (line for n, row in enumerate(cells, start=1) for line in _upright(n, columns, row))
    else:
        ruled = [list(columns), ["─" * width for width in widths], *cells]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in ruled)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _upright(number: int, columns: Sequence[str], row: Sequence[str]) -> list[str]:
    width = max(map(len, columns))
    return [f"── {number} ──", *(f"{name.ljust(width)}  {cell}" for name, cell in zip(columns, row, strict=True))]


def _cell(value: Any) -> str:
    """Text that moves no cursor: what a terminal would obey is shown and not sent."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
