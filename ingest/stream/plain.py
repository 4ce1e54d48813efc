"""The plain adapter: one aiokafka consumer loop. No Faust; the same suite holds it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaError

from ingest.projection import Record
from ingest.stream.intake import Intake, Spot
from ingest.stream.meters import Meters

FETCH_BYTES = 4 * 2**20
SESSION_TIMEOUT_MS = 6_000
_POLL_MS = 100
_log = logging.getLogger(__name__)


class PlainAdapter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no type hints
    """Reads `topics` in group `group` and feeds an intake until `stop` is set."""

    def __init__(self, servers: str, group: str, topics: Sequence[str], meters: Meters) -> None:
        self._topics, self._meters = topics, meters
        self._intake: Intake | None = None
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            rebalance_timeout_ms=SESSION_TIMEOUT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
        )

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group."""
        self._intake = intake = intake_of(commit=self._commit)
        await self._consumer.start()
        try:
            self._consumer.subscribe(list(self._topics), listener=self)
            while not stop.is_set():
                fetched = await self._consumer.getmany(timeout_ms=_POLL_MS)
                for where, records in fetched.items():
                    await self._take(intake, where, records)
                await intake.tick()
            await intake.release(intake.spots)
        finally:
            await self._consumer.stop()

    async def _take(self, intake: Intake, where: TopicPartition, records: Sequence[Any]) -> None:
        spot = Spot(where.topic, where.partition)
        await intake.feed(spot, records_of(records))
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


def records_of(fetched: Iterable[Any]) -> list[Record]:
    """aiokafka's records as ours."""
    return [Record(r.offset, r.timestamp, r.value) for r in fetched]
