"""Sends ready bytes to the calls topic in whole batches, which costs a tenth of sending records. Spools nothing."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from runtime.events import Topic

BATCH_BYTES_MAX = 256 * 1024
UNDERWAY_MAX = 16
_RECORD_MORE = 40  # bytes of a record beside its key and value, at most


class Batches:
    """A context manager. `add` keeps records by partition until a batch is full; `flush` sends what is there.

    One call's records go one way and in order. Each sending ends with the acknowledgement.
    """

    def __init__(self, servers: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=2 * BATCH_BYTES_MAX, acks="all")
        self._partition_of = DefaultPartitioner()
        self._open: dict[int, Any] = {}
        self._partitions: list[int] = []
        self._underway: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._producer.start()
        self._partitions = sorted(await self._producer.partitions_for(Topic.CALLS.value))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def add(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Records of one key each after the other; sends batches that are full."""
        for key, value in records:
            partition = self._partition_of(key, self._partitions, self._partitions)
            batch = self._open.get(partition)
            if batch is not None and batch.size() + len(value) + len(key) + _RECORD_MORE > BATCH_BYTES_MAX:
                await self._send(partition)
                batch = None
            if batch is None:
                batch = self._open[partition] = self._producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None) is None:
                raise RuntimeError("a record is larger than a batch")

    async def flush(self) -> None:
        """Returns when everything that was added is acknowledged."""
        await self.push()
        await self._settled(0)

    async def push(self) -> None:
        """Sends what is there, and waits only while too much is underway."""
        for partition in list(self._open):
            await self._send(partition)

    async def _send(self, partition: int) -> None:
        await self._settled(UNDERWAY_MAX - 1)
        sent = await self._producer.send_batch(self._open.pop(partition), Topic.CALLS.value, partition=partition)
        self._underway.add(sent)

    async def _settled(self, left: int) -> None:
        """Until no more than `left` batches wait for their acknowledgement. Raises what the broker said."""
        while len(self._underway) > left:
            done, self._underway = await asyncio.wait(self._underway, return_when=asyncio.FIRST_COMPLETED)
            for sent in done:
                sent.result()
