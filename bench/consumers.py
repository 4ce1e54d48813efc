"""Consumers that read the calls topic once, each a process of its own: `python -m bench.consumers NAME SERVERS EVENTS`.

Prints the CPU that the process spent from the start of the consumer to its last event, and a sum over what it decoded.
All are given the same fetch size and the worker's collector of garbage, and all decode every record into its type.
"""

import asyncio
import gc
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import faust
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer

from ingest.effects import Item
from ingest.projection import Record, project
from ingest.stream.faust_adapter import FaustAdapter
from ingest.stream.intake import Spot
from ingest.stream.meters import Meters
from ingest.stream.reading import FETCH_BYTES, POLL_RECORDS_MAX, Reading
from ingest.stream.worker import COLLECT_AFTER
from runtime.emit import Brokers
from runtime.events import ALL_TYPES, Event, Topic, decode_many

TAKEN = 5_000
WITHIN_S = 0.1
_decode = msgspec.json.Decoder(reduce(or_, ALL_TYPES)).decode


class Counted:
    """Counts what was decoded; its clock runs from `begin`, which comes before the consumer is started."""

    def __init__(self, events: int) -> None:
        self.wanted, self.events, self.sum = events, 0, 0
        self.done = asyncio.Event()
        self._began_s = self.cpu_s = 0.0

    def begin(self) -> None:
        self._began_s = time.process_time()

    def add(self, events: Sequence[Event]) -> None:
        self.events += len(events)
        self.sum += sum(event.seq for event in events)
        if self.events >= self.wanted and not self.done.is_set():
            self.cpu_s = time.process_time() - self._began_s
            self.done.set()


async def raw(servers: str, counted: Counted) -> None:
    """The library's bare loop: nothing can be thinner and have the events."""
    consumer = AIOKafkaConsumer(
        Topic.CALLS.value,
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    counted.begin()
    await consumer.start()
    try:
        while not counted.done.is_set():
            for records in (await consumer.getmany(timeout_ms=100, max_records=POLL_RECORDS_MAX)).values():
                counted.add([_decode(record.value) for record in records])
    finally:
        await consumer.stop()


class _Intake:
    """Stands where the worker's intake does, and keeps nothing."""

    held_bytes, era, spots = 0, 0, ()

    def __init__(self, counted: Counted, read: Callable[[Sequence[Record]], Sequence[Event]], commit: Any) -> None:
        self._counted, self._read, self._commit = counted, read, commit

    async def feed(self, spot: Spot, records: Sequence[Record], era: int) -> None:  # noqa: ARG002  the intake's
        self._counted.add(self._read(records))
        await self._commit(spot, records[-1].offset + 1)

    async def tick(self) -> None: ...
    async def release(self, spots: Iterable[Spot]) -> None: ...
    def forget(self, spots: Iterable[Spot]) -> None: ...


async def _worker(servers: str, counted: Counted, read: Callable[[Sequence[Record]], Sequence[Event]]) -> None:
    reading = Reading(Brokers(servers), f"bench-{uuid.uuid4()}", [Topic.CALLS])
    adapter = FaustAdapter(reading, Meters())
    counted.begin()
    await adapter.run(lambda commit: _Intake(counted, read, commit), counted.done)  # type: ignore[arg-type,return-value]


async def worker(servers: str, counted: Counted) -> None:
    """The worker's own way: Faust with batches, the waiting room, offsets handed back; decoded, and no more."""
    await _worker(servers, counted, lambda records: decode_many([r.value or b"" for r in records]))  # type: ignore[return-value,arg-type]


async def projected(servers: str, counted: Counted) -> None:
    """The same, and everything that the core needs: places, judgement, measures of rollups."""

    def read(records: Sequence[Record]) -> list[Event]:
        return [item.row.event for item in project(records, Topic.CALLS) if isinstance(item, Item)]

    await _worker(servers, counted, read)


async def take(servers: str, counted: Counted) -> None:
    """Faust as it comes, with its batching: `stream.take`."""
    app = faust.App(
        f"bench-{uuid.uuid4()}",
        broker=f"kafka://{servers}",
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_session_timeout=6,
        broker_rebalance_timeout=6,
        broker_heartbeat_interval=2,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        web_enabled=False,
        autodiscover=False,
    )
    app._create_directories = lambda: None  # it keeps tables in a folder of where it is started

    async def read(stream: Any) -> None:
        async for values in stream.take(TAKEN, within=WITHIN_S):
            counted.add([_decode(value) for value in values])

    topic = app.topic(Topic.CALLS.value, value_serializer="raw", key_serializer="raw")
    app.agent(topic, name="bench.take")(read)
    counted.begin()
    await app.start()
    await counted.done.wait()
    await app.stop()


async def faststream(servers: str, counted: Counted) -> None:
    """A peer on the same client: FastStream with batches, undecoded bodies."""
    from faststream.kafka import KafkaBroker, KafkaMessage

    broker = KafkaBroker(servers, logger=None)

    async def as_it_is(message: KafkaMessage) -> Any:
        return message.raw_message

    @broker.subscriber(
        Topic.CALLS.value,
        batch=True,
        max_records=TAKEN,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        decoder=as_it_is,
    )
    async def _(records: list[Any]) -> None:
        counted.add([_decode(record.value) for record in records])

    counted.begin()
    await broker.start()
    await counted.done.wait()
    await broker.stop()


CONSUMERS = {one.__name__: one for one in (raw, worker, projected, take, faststream)}


def main() -> None:
    """Reads once, and prints."""
    name, servers, events = sys.argv[1:]
    logging.disable(logging.WARNING)
    gc.set_threshold(*COLLECT_AFTER)
    gc.freeze()
    counted = Counted(int(events))

    async def read() -> None:
        await CONSUMERS[name](servers, counted)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(read())
    sys.stdout.write(json.dumps({"cpu_s": counted.cpu_s, "events": counted.events, "sum": counted.sum}) + "\n")


if __name__ == "__main__":
    main()
