"""Makes Faust hand over whole fetched batches, and commit exactly what the core has stored.

Stock Faust spends over 100 µs a record on four futures and one message each. Here a fetched batch *is* one
record to it: everything else (membership, assignment, seeks, the commit loop) stays Faust's. What is
overridden is private to Faust, so its version is pinned and a test compares what we rely on.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

Offsets = dict[TP, int]
_NO_PARTITION = {TP("", 0)}


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """Stands for a run of records of one partition where Faust expects one record. `offset` is the last one's."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    value: list[Any]
    headers: tuple[()] = ()
    key: None = None
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 0


def _batch(tp: TP, records: list[Any]) -> FetchedBatch:
    last = records[-1]
    return FetchedBatch(tp.topic, tp.partition, last.offset, last.timestamp, last.timestamp_type, records)


class BatchSchema(faust.Schema[Any, Any]):
    """The value is a list of records already; it is decoded elsewhere, at once."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> None:  # noqa: ARG002  Faust's signature
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002  Faust's signature
        return message.value


class BatchConsumer(driver.Consumer):
    """Faust's consumer, seven methods changed."""

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        """Its client reads on a loop of the kind that ours is: the standard one takes a socket's bytes in small pieces,
        and waits for the interpreter's lock at each.
        """
        loop = type(self.loop)()
        thread = driver.AIOKafkaConsumerThread(self, loop=self.loop, thread_loop=loop, beacon=self.beacon)
        thread._close_thread_loop_on_stop = True  # as it does with one that it made itself
        return thread

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109  Faust's signature
    ) -> Mapping[TP, list[FetchedBatch]]:
        if cast(BatchApp, self.app).full():
            # What is fetched waits in the client. A consumer that asks for nothing would be put out of the group.
            active_partitions = _NO_PARTITION
        fetched = await super()._getmany(active_partitions, timeout)
        # Faust drops in silence what lies below the last offset that it read. A replaced log does; the core judges.
        self._read_offset.clear()
        return {tp: [_batch(tp, records)] for tp, records in fetched.items() if records}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A batch leaves no gap behind its last offset."""

    def _new_offset(self, tp: TP) -> int | None:
        """What is stored, and not what was acked: an ack only wakes the commit loop."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        offset = cast(BatchApp, self.app).stored.get(tp)
        if offset is not None and offset < (self._committed_offset[tp] or 0):
            self._committed_offset[tp] = None  # a replaced log counts from 0 again
        return offset

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """aiokafka leaves a partition without a commit where it stands, and Faust drops what a rebalance interrupts:
        the first records of a fresh group would be skipped.
        """
        committed = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset]
        if fresh:
            await self._thread.seek_to_beginning(*fresh)
        return committed

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.stop_flow()  # what is fetched from here on is another worker's
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await cast(BatchApp, self.app).on_release(revoked)
        if not await self.commit():  # False also when it only waited for a commit that had begun before the flush
            await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        await cast(BatchApp, self.app).on_release(set(self.assignment()))
        await super().on_stop()


class BatchTransport(driver.Transport):
    Consumer = BatchConsumer


class BatchApp(faust.App):
    """An app whose streams yield whole batches. `stored` maps a partition to the offset that may be committed; while
    `full` says so, no partition is read.
    """

    stored: Offsets
    full: Callable[[], bool]
    on_release: Callable[[Iterable[TP]], Awaitable[None]]

    def _create_directories(self) -> None:
        """Faust keeps tables in a folder, made wherever the worker is started. We have no tables."""

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)
