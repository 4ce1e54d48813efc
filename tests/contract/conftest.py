"""A real embedded store in a process of its own, and rows to put into it; Apache Kafka, once per session."""

import datetime as dt
import importlib.util
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deploy.embedded.child import free_port
from ingest import query
from ingest.position import first_of, position_of
from ingest.store.credentials import Role, kept
from ingest.store.migrate import migrate
from ingest.tables import SCHEMAS, Log
from tests.contract.apache import Apache, Part, jars, part_of, running

DAY = dt.datetime.now(dt.UTC).date()
NOON = dt.datetime.combine(DAY, dt.time(12), dt.UTC)


@dataclass
class Spawned:
    """`url` is the writer's."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def _spawned(path: Path, program: Sequence[str] = ("-m", "ingest.store")) -> Iterator[Spawned]:
    command = [sys.executable, *program, "--path", str(path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"the store did not start: {line}"
            yield Spawned(process, kept(path).url(Role.WRITER, found[0]))
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def spawn() -> Callable[..., AbstractContextManager[Spawned]]:
    """Starts a store in a folder, by this program; stops it at the end of the `with`."""
    if importlib.util.find_spec("chdb") is None:
        if "CI" in os.environ:
            pytest.fail("chdb is not installed: install the extra `embedded`")
        pytest.skip("chdb is not installed (extra `embedded`)")
    return _spawned


@pytest.fixture(scope="session")
def store_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The writer's URL of a store with all tables: embedded, or a database of our own on the server that was named."""
    server = request.config.getoption("--clickhouse")
    if server:
        with database_on(server) as url:
            yield url
        return
    spawn = request.getfixturevalue("spawn")
    with spawn(tmp_path_factory.mktemp("store") / "db") as store:
        with closing(query.connect(store.url)) as client:
            migrate(client)
        yield store.url


@contextmanager
def database_on(server: str) -> Iterator[str]:
    """A database on that server with the tables in it, and its URL; dropped at the end."""
    name = f"turnlog_test_{uuid.uuid4().hex[:8]}"
    with closing(query.connect(server)) as connected:
        connected.command(f"CREATE DATABASE {name}")
        try:
            url = f"{server.rstrip('/')}/{name}"
            with closing(query.connect(url)) as own:
                migrate(own)
            yield url
        finally:
            connected.command(f"DROP DATABASE {name}")


@pytest.fixture
def client(store_url: str) -> Iterator[query.Client]:
    """A client of a store whose tables are all empty."""
    with closing(query.connect(store_url)) as connected:
        for log in Log:
            connected.command(f"TRUNCATE TABLE {log}")
        yield connected


@pytest.fixture(scope="session")
def apache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], AbstractContextManager[Part]]]:
    """Gives the session's one broker, running and with empty topics, to one `with` at a time."""
    server = Apache(jars(request), tmp_path_factory.mktemp("kafka"), {"PLAINTEXT": free_port()}, {})
    server.format()
    with running(server):
        yield partial(part_of, server)


_USUAL: dict[str, Any] = {
    "tenant": "acme",
    "day": DAY,
    "stream": "call-1",
    "source": "runtime",
    "seq": 0,
    "at": NOON,
    "campaign": "spring",
    "agent": "booker",
    "agent_version": "7",
    "log": "topic-a",
    "partition": 0,
    "offset": 0,
    "arrived": NOON,
    "type": "NodeEntered",
    "env": "test",
    "lead": "l-1",
    "variants": {"greeting": "short"},
    "payload": "{}",
    "turn": 1,
    "outcome": "answered",
    "latency_us": 900_000,
    "unattributed_us": -17,
    "span": 1,
    "parent": 0,
    "component": "tts",
    "provider": "acme-ai",
    "model": "m-1",
    "status": "ok",
    "first_us": 100,
    "ready_us": None,
    "duration_us": 4_000_000_000,
    "detector": "playout",
    "kind": "underrun",
    "gap_ms": 41.5,
    "node": "hello",
    "tool": "book",
    "next_node": "bye",
    "minute": NOON,
    "epoch": 0,
    "version": 1,
    "buckets": {10: 1},
    "experiment": "greeting",
    "variation": "short",
    "what": "turns",
}

Arrow = Callable[..., pa.Table]


@pytest.fixture(scope="session")
def arrow() -> Arrow:
    """`arrow(log, {column: value}, …)`: an Arrow table of that log; what is not named is usual.

    `generation` and `offset` make `first`.
    """

    def build(log: Log, *named: dict[str, Any]) -> pa.Table:
        full = []
        for row in named:
            first = first_of(position_of(row.get("generation", 0), row.get("offset", 0)))
            full.append({**_USUAL, "first": first, **row})
        columns = [pa.array([_cell(row[f.name]) for row in full], f.type) for f in SCHEMAS[log]]
        return pa.Table.from_arrays(columns, schema=SCHEMAS[log])

    return build


def _cell(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value
