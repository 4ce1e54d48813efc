"""What measurements run on: the embedded store alone, or with a broker and a worker. Measures nothing."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench.batches import Batches
from bench.figures import progress
from bench.load import Load
from deploy.embedded import Stack
from deploy.embedded.child import free_port
from deploy.settings import Settings
from ingest.query import connect
from ingest.store.migrate import migrate
from runtime.emit import Brokers

ANSWER_MAX_S = 600
STALL_S = 60.0
_STORED = "SELECT count() FROM events WHERE tenant = {tenant:String} OR {tenant:String} = ''"


@contextmanager
def stack(*, worker: bool, apache: bool = False) -> Iterator[Stack]:
    """A stack of its own in a folder that goes with it. `apache`: on a broker of Apache Kafka, and not the embedded."""
    with tempfile.TemporaryDirectory(prefix="turnlog-bench-") as folder, _broker(Path(folder), apache) as kafka:
        settings = Settings(Path(folder) / "state", kafka)
        with Stack(settings, lambda _: None, worker=worker) as running:
            yield running


@contextmanager
def _broker(folder: Path, apache: bool) -> Iterator[Brokers | None]:
    if not apache:
        yield None
        return
    from tests.contract.apache import Apache, fetched, running  # what only the long run needs

    server = Apache(fetched(progress("Apache Kafka")), folder, {"PLAINTEXT": free_port()}, {})
    server.format()
    with running(server):
        yield server.address


@contextmanager
def store() -> Iterator[Client]:
    """An empty store with its tables."""
    with stack(worker=False) as running, closing(connect(running.addresses.clickhouse, ANSWER_MAX_S)) as client:
        migrate(client)
        yield client


def send(servers: str, load: Load, events: int, started_us: int) -> None:
    """Whole calls into the topic as fast as one thread can; returns when all are acknowledged."""
    asyncio.run(_send(servers, load, events, started_us))


async def _send(servers: str, load: Load, events: int, started_us: int) -> None:
    async with Batches(servers) as batches:
        for call in load.calls(events, started_us):
            await batches.add(call)
        await batches.flush()


def await_events(client: Client, events: int, say: Callable[[str], None], tenant: str = "") -> None:
    """Until the store holds that many, of the tenant or in all. Raises TimeoutError when no more come for a minute."""
    stored, moved = -1, time.monotonic()
    while stored < events:
        now = int(client.command(_STORED, {"tenant": tenant}))  # type: ignore[arg-type]
        if now != stored:
            say(f"{now:,} of {events:,} events stored")
            stored, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALL_S:
            raise TimeoutError(f"{stored} of {events} events stored, and no more for {STALL_S:g} s")
        time.sleep(0.5)
    if stored != events:
        raise RuntimeError(f"{stored} events are stored, and {events} were said")
