"""The plain adapter: one aiokafka consumer loop. No Faust; the same suite holds it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError

from ingest.errors import IngestError
from ingest.projection import Record
from ingest.stream.intake import RELEASE_TIMEOUT_S, Intake, Spot
from ingest.stream.meters import Meters
from runtime.emit import Brokers

FETCH_BYTES = 4 * 2**20
METADATA_AGE_MS = 5_000  # how soon a topic is met again that was deleted and created anew; the default is 5 minutes
_POLL_MS = 100
LEAVE_TIMEOUT_S = 8.0  # with the last flush in it; the embedded stack kills after 12
_APPENDED = 1  # the record's timestamp is the broker's: LogAppendTime
_log = logging.getLogger(__name__)


class ReadingFailed(IngestError):
    """The broker refused for good what the consumer asked for."""


class PlainAdapter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no type hints
    """Reads `topics` in group `group` and feeds an intake until `stop` is set."""

    def __init__(
        self, brokers: Brokers, group: str, topics: Sequence[str], meters: Meters, session_timeout_ms: int
    ) -> None:
        self._topics, self._meters = topics, meters
        self._intake: Intake | None = None
        self._consumer = AIOKafkaConsumer(
            **brokers.options(),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // 3,
            max_partition_fetch_bytes=FETCH_BYTES,
            metadata_max_age_ms=METADATA_AGE_MS,
        )

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group."""
        self._intake = intake = intake_of(commit=self._commit)
        try:
            await self._run(intake, stop)
        except KafkaError as error:
            raise ReadingFailed(f"reading the log failed ({type(error).__name__}): start the worker again") from error

    async def _run(self, intake: Intake, stop: asyncio.Event) -> None:
        await self._consumer.start()
        consuming = asyncio.create_task(self._consume(intake, stop))
        stopping = asyncio.create_task(stop.wait())
        try:
            self._consumer.subscribe(list(self._topics), listener=self)
            await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # Its release, and a moment for the batch in hand: with LEAVE_TIMEOUT_S, what the worker has to stop in.
            await asyncio.wait({consuming}, timeout=RELEASE_TIMEOUT_S + 1)
            if consuming.done():
                consuming.result()
            else:
                _log.warning("the store did not take the batch in hand; it will be read again")
        finally:
            stopping.cancel()
            consuming.cancel()
            await left(self._consumer.stop())

    async def _consume(self, intake: Intake, stop: asyncio.Event) -> None:
        while not stop.is_set():
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
            era = intake.era
            for where, records in fetched.items():
                await self._take(intake, where, records, era)
            await intake.tick()
        await intake.release(intake.spots)

    async def _take(self, intake: Intake, where: TopicPartition, records: Sequence[Any], era: int) -> None:
        spot = Spot(where.topic, where.partition)
        await intake.feed(spot, records_of(records), era)
        if era != intake.era:
            return  # the partition may be another worker's now, and aiokafka knows nothing of it
        high = self._consumer.highwater(where)
        if high is not None:
            self._meters.lag(*spot, high - records[-1].offset - 1)

    async def _commit(self, spot: Spot, offset: int) -> None:
        try:
            await self._consumer.commit({TopicPartition(*spot): offset})
        except (CommitFailedError, IllegalGenerationError) as fenced:
            # The group has moved on without us. What we wrote stands; whoever has the partition now reads it again.
            _log.warning("%s/%d: the group refused our commit (%s)", *spot, type(fenced).__name__)
        except KafkaError as error:
            _log.warning("%s/%d: not committed (%s); a later flush will", *spot, type(error).__name__)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if self._intake is not None:
            await self._intake.release([Spot(p.topic, p.partition) for p in revoked])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if self._intake is not None:
            self._intake.forget([Spot(p.topic, p.partition) for p in assigned])


async def left(stopping: Coroutine[Any, Any, None]) -> None:
    """Waits until a client has left its group, but not for ever: with a broker that is away some never do, and some
    raise what they cancelled themselves. Nothing hangs on it: what is not committed is read again.
    """
    leaving = asyncio.create_task(stopping)
    await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT_S)
    if not leaving.done():
        _log.warning("the broker did not let us go in %g s", LEAVE_TIMEOUT_S)
    elif leaving.cancelled() or leaving.exception() is not None:
        _log.warning("leaving the group failed; it will notice by itself")


def records_of(fetched: Iterable[Any]) -> list[Record]:
    """aiokafka's records as ours. A timestamp that the producer made says nothing about the arrival."""
    now_ms = time.time_ns() // 1_000_000
    return [Record(r.offset, r.timestamp if r.timestamp_type == _APPENDED else now_ms, r.value) for r in fetched]
