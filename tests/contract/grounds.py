"""The grounds that there are: each kind of broker with each adapter that reads it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.ground import Ground, Worker
from tests.contract.kafka_broker import Contents, embedded_broker
from tests.contract.memory_ground import OverMemory
from tests.contract.processes import start_worker

BROKERS = ("embedded", "apache")
# By a connection, which can be lost. Each broker and each adapter is here; the embedded one with the adapter that its
# stack runs.
CONNECTED = ("embedded-faust", "apache-plain", "apache-faust")
GROUNDS = ("memory", *CONNECTED)
LASTING = ("apache-plain", "apache-faust")  # whose broker keeps its log when it is killed


@dataclass(frozen=True)
class OverKafka:
    """A broker that speaks Kafka's protocol, and worker processes with one of the two adapters."""

    broker: "Callable[[], AbstractContextManager[Contents]]"
    adapter: str

    def worker(self, broker: Contents, clickhouse: str, log: Path, flush_records_max: int, **settings: Any) -> Worker:
        return start_worker(broker.servers, broker.group, clickhouse, self.adapter, log, flush_records_max, **settings)


def broker_named(kind: str, request: pytest.FixtureRequest) -> AbstractContextManager[Contents]:
    """One of BROKERS, running inside the `with`; skips where it is not installed, fails on CI."""
    if kind == "embedded":
        return embedded_broker()
    broker: AbstractContextManager[Contents] = request.getfixturevalue("apache")()
    return broker


def ground_named(name: str, request: pytest.FixtureRequest) -> Ground:
    """One of GROUNDS; skips where its broker is not installed, fails on CI."""
    if name == "memory":
        return OverMemory()
    kind, _, adapter = name.partition("-")
    return OverKafka(embedded_broker if kind == "embedded" else request.getfixturevalue("apache"), adapter)
