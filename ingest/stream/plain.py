"""The plain adapter: one aiokafka consumer loop. No Faust; the same suite holds it."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError

from ingest.errors import IngestError
from ingest.stream.intake import Intake, Spot
from ingest.stream.meters import Meters
from ingest.stream.reading import FETCH_BYTES, METADATA_AGE_MS, POLL_RECORDS_MAX, Reading, left
from ingest.stream.room import WaitingRoom

_POLL_MS = 100
_log = logging.getLogger(__name__)


class ReadingFailed(IngestError):
    """The broker refused for good what the consumer asked for."""


class PlainAdapter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no type hints
    """Reads a group's share of the log and feeds an intake until `stop` is set."""

    def __init__(self, reading: Reading, meters: Meters) -> None:
        self._reading, self._meters = reading, meters
        self._intake: Intake | None = None
        self._consumer = AIOKafkaConsumer(
            **reading.brokers.options(),
            group_id=reading.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=reading.session_timeout_ms,
            rebalance_timeout_ms=reading.session_timeout_ms,
            heartbeat_interval_ms=reading.session_timeout_ms // 3,
            max_partition_fetch_bytes=FETCH_BYTES,
            metadata_max_age_ms=METADATA_AGE_MS,
        )

    def assigned(self) -> frozenset[Spot]:
        """The partitions that the group has given us."""
        return frozenset(Spot(p.topic, p.partition) for p in self._consumer.assignment())

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group."""
        self._intake = intake = intake_of(commit=self._commit)
        try:
            await self._run(intake, stop)
        except KafkaError as error:
            raise ReadingFailed(f"reading the log failed ({type(error).__name__}): start the worker again") from error

    async def _run(self, intake: Intake, stop: asyncio.Event) -> None:
        room = WaitingRoom(intake, self._meters, self._highwater, self._reading.held_bytes_max)
        await self._consumer.start()
        tasks = [asyncio.create_task(work) for work in (self._read(intake, room), room.run(), stop.wait())]
        try:
            self._consumer.subscribe([topic.value for topic in self._reading.topics], listener=self)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
            await intake.release(intake.spots)  # what waits in the room is read again
        finally:
            for task in tasks:
                task.cancel()
            await left(self._consumer.stop())

    async def _read(self, intake: Intake, room: WaitingRoom) -> None:
        while True:
            if room.full:
                self._consumer.pause(*self._consumer.assignment())
            elif self._consumer.paused():
                self._consumer.resume(*self._consumer.paused())
            # Also when all are paused: who does not poll is put out of the group.
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=POLL_RECORDS_MAX)
            era = intake.era
            for where, records in fetched.items():
                room.put(Spot(where.topic, where.partition), records, era)

    def _highwater(self, spot: Spot) -> int | None:
        where = TopicPartition(*spot)
        return self._consumer.highwater(where) if where in self._consumer.assignment() else None

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
