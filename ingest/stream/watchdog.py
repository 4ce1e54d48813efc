"""Ends a worker whose consumer is stuck, so that its supervisor starts another. Reads and commits nothing for it.

Stuck is: the log has a record behind what the group has committed, that record can be read, the store answers, and
for a while nobody was waited for and nothing was taken in. A store or a broker that is away is waited for instead.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Any, Protocol

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from ingest.errors import IngestError, StoreError
from ingest.stream.intake import Spot
from ingest.stream.logs import BrokerUnreachable
from ingest.stream.reading import Reading

STUCK_AFTER_S = 60.0  # ten sessions: a group that divides its partitions anew is long done
_CHECKS = 6  # in that time
_READ_MS = 5_000  # the first fetch of a consumer takes longest
_POLL_MS = 500


class ConsumerStuck(IngestError):
    """The consumer takes nothing though there is something to take."""


class Watched(Protocol):
    """What is seen of the intake."""

    @property
    def moves(self) -> int: ...
    @property
    def waits(self) -> bool: ...


Behind = dict[Spot, int]  # partitions with records behind what is committed: the next offset to read


class Around(Protocol):
    """Who is asked beside the consumer. Both may block."""

    def behind(self) -> Behind:
        """What can be read of our topics and is not committed. Raises BrokerUnreachable."""

    def store_answers(self) -> bool: ...


class Watchdog:
    """Watches one intake beside its adapter."""

    def __init__(
        self,
        intake: Watched,
        assigned: Callable[[], Collection[Spot]],
        around: Around,
        stuck_after_s: float = STUCK_AFTER_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake, self._assigned, self._around = intake, assigned, around
        self._stuck_after_s, self._now = stuck_after_s, now
        self._moves = -1
        self._suspected: dict[Spot, tuple[int, float]] = {}  # its offset, and since when

    async def run(self) -> None:
        """For ever. Raises ConsumerStuck."""
        while True:
            await asyncio.sleep(self._stuck_after_s / _CHECKS)
            stuck = await self.check()
            if stuck is not None:
                raise ConsumerStuck(
                    f"nothing was taken of {stuck.topic}/{stuck.partition} in {self._stuck_after_s:g} s, though its "
                    "log goes on, and broker and store answer: the worker ends, to be started again"
                )

    async def check(self) -> Spot | None:
        """A partition that is stuck, if one is."""
        moves, self._moves = self._moves, self._intake.moves
        if moves != self._moves or self._intake.waits:
            self._suspected.clear()
            return None
        try:
            behind = await asyncio.to_thread(self._around.behind)
        except BrokerUnreachable:
            behind = {}
        if self._intake.moves != self._moves or self._intake.waits:
            behind = {}
        return await self._judge(behind)

    async def _judge(self, behind: Behind) -> Spot | None:
        ours = self._assigned() or behind.keys()  # one who was never given any may be stuck in that
        now_s, was = self._now(), self._suspected
        self._suspected = {
            spot: was[spot] if spot in was and was[spot][0] == offset else (offset, now_s)
            for spot, offset in behind.items()
            if spot in ours
        }
        late = [s for s, (_, since_s) in self._suspected.items() if now_s - since_s >= self._stuck_after_s]
        if late and not await asyncio.to_thread(self._around.store_answers):
            self._suspected.clear()
            return None
        return late[0] if late else None


class AroundAWorker:
    """Asks the broker by connections of its own, and the store by `ping`."""

    def __init__(self, reading: Reading, ping: Callable[[], object]) -> None:
        self._reading, self._ping = reading, ping

    def store_answers(self) -> bool:
        try:
            self._ping()
        except StoreError:
            return False
        return True

    def behind(self) -> Behind:
        """An offset may be a transaction's marker, or have been compacted away: whatever is named here was read."""
        try:
            with closing(KafkaAdminClient(**self._options())) as admin:
                found = self._uncommitted(admin)
            return self._readable(found) if found else {}
        except (KafkaError, OSError, KeyError, ValueError) as error:  # or an answer that kafka-python cannot read
            raise BrokerUnreachable(f"asking what is unread failed: {type(error).__name__}") from error

    def _options(self) -> dict[str, Any]:
        return {**self._reading.brokers.options(), "client_id": "turnlog-watchdog", "bootstrap_timeout_ms": _READ_MS}

    def _uncommitted(self, admin: Any) -> Behind:
        described: Sequence[dict[str, Any]] = admin.describe_topics([t.value for t in self._reading.topics])
        places = [TopicPartition(t["name"], p["partition_index"]) for t in described for p in t["partitions"]]
        group = self._reading.group
        read = admin.list_group_offsets({group: places})[group]
        ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        begins = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
        due = {p: max(begins[p].offset, read[p].offset if p in read else 0) for p in places}
        return {Spot(p.topic, p.partition): offset for p, offset in due.items() if offset < ends[p].offset}

    def _readable(self, found: Behind) -> Behind:
        there: Behind = {}
        deadline_s = time.monotonic() + _READ_MS / 1000
        with closing(KafkaConsumer(enable_auto_commit=False, **self._options())) as consumer:
            consumer.assign([TopicPartition(*spot) for spot in found])
            for spot, offset in found.items():
                consumer.seek(TopicPartition(*spot), offset)
            while len(there) < len(found) and time.monotonic() < deadline_s:
                for place in consumer.poll(timeout_ms=_POLL_MS, max_records=1):
                    consumer.pause(place)
                    there[Spot(place.topic, place.partition)] = found[Spot(place.topic, place.partition)]
        return there
