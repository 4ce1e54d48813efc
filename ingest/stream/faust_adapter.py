"""The Faust adapter: Faust owns membership, assignment, offsets and commits; the intake owns everything else."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.types import TP
from yarl import URL

from ingest.errors import IngestError
from ingest.stream.faust_batch import BatchApp, BatchSchema
from ingest.stream.intake import Intake, Spot
from ingest.stream.meters import Meters
from ingest.stream.reading import FETCH_BYTES, METADATA_AGE_MS, POLL_RECORDS_MAX, Reading, left
from ingest.stream.room import TICK_S, WaitingRoom
from runtime.emit import Brokers

_COMMIT_EVERY_S = 0.5
_BATCHES_MAX = 8  # a topic's buffer counts batches
_log = logging.getLogger(__name__)


def _credentials(brokers: Brokers) -> SASLCredentials | SSLCredentials | None:
    context = brokers.tls_context() if brokers.with_tls else None
    if brokers.with_login:
        return SASLCredentials(
            username=brokers.username, password=brokers.password, ssl_context=context, mechanism=brokers.mechanism
        )
    return SSLCredentials(context) if context else None


class FaustStopped(IngestError):
    """Faust ended by itself, which it does not tell whoever started it."""


class FaustAdapter:
    """Reads a group's share of the log and feeds an intake until `stop` is set."""

    def __init__(self, reading: Reading, meters: Meters) -> None:
        self._meters, self._reading = meters, reading
        self._intake: Intake | None = None
        self._room: WaitingRoom | None = None
        self._unacked: defaultdict[TP, deque[Any]] = defaultdict(deque)
        self._failed: asyncio.Future[None] | None = None
        session_s = reading.session_timeout_ms / 1000
        self.app = app = BatchApp(
            reading.group,
            broker=[URL(f"kafka://{server}") for server in reading.brokers.addresses],
            broker_credentials=_credentials(reading.brokers),
            broker_session_timeout=session_s,
            broker_rebalance_timeout=session_s,
            broker_heartbeat_interval=session_s / 3,
            broker_commit_interval=_COMMIT_EVERY_S,
            broker_max_poll_records=POLL_RECORDS_MAX,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=FETCH_BYTES,
            consumer_metadata_max_age_ms=METADATA_AGE_MS,
            stream_wait_empty=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            autodiscover=False,
        )
        app.stored, app.on_release, app.full = {}, self._release, lambda: self._room is not None and self._room.full
        app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]  # its stubs forget the argument
        topic = app.topic(*(topic.value for topic in reading.topics), schema=BatchSchema(), maxsize=_BATCHES_MAX)
        app.agent(topic, concurrency=1, name="turnlog.ingest")(self._consume)

    def assigned(self) -> frozenset[Spot]:
        """The partitions that the group has given us."""
        return frozenset(Spot(tp.topic, tp.partition) for tp in self.app.consumer.assignment())

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group."""
        self._intake = intake_of(commit=self._stored)
        self._room = WaitingRoom(self._intake, self._meters, self._highwater, self._reading.held_bytes_max)
        self._failed = asyncio.get_running_loop().create_future()
        feeding = asyncio.create_task(self._room.run())
        others: list[asyncio.Future[Any]] = [asyncio.create_task(self._watch()), asyncio.create_task(stop.wait())]
        await self.app.start()
        try:
            done, _ = await asyncio.wait({feeding, *others, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for task in others:
                task.cancel()
            await left(self.app.stop())  # flushes; a flush that is under way is left to finish
            feeding.cancel()

    async def _consume(self, stream: Any) -> None:
        """The agent. It raises nothing: Faust would ack what it was given and go on."""
        assert self._failed is not None
        try:
            async for event in stream.noack().events():
                self._take(event)
        except Exception as error:  # noqa: BLE001  the worker must end, and only `run` can end it
            if not self._failed.done():
                self._failed.set_exception(error)

    def _take(self, event: Any) -> None:
        assert self._intake is not None
        assert self._room is not None
        message = event.message
        if message.generation_id != self.app.consumer_generation_id:
            return  # fetched before a rebalance; its partition may be another worker's now
        self._unacked[message.tp].append(event)
        self._room.put(Spot(message.topic, message.partition), message.value, self._intake.era)

    def _highwater(self, spot: Spot) -> int | None:
        return self.app.consumer.highwater(TP(*spot))

    async def _stored(self, spot: Spot, offset: int) -> None:
        tp = TP(*spot)
        self.app.stored[tp] = offset
        waiting = self._unacked[tp]
        while waiting and waiting[0].message.offset < offset:
            waiting.popleft().ack()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.app.crashed:
                reason = self.app.crash_reason
                raise FaustStopped(f"Faust stopped ({type(reason).__name__}): start the worker again") from reason

    async def _release(self, tps: Iterable[TP]) -> None:
        if self._intake is not None:
            await self._intake.release([Spot(tp.topic, tp.partition) for tp in tps])

    async def _assigned(self, _: Any, assigned: Iterable[TP], **__: Any) -> None:
        for tp in assigned:
            self._unacked[tp].clear()
            self.app.stored.pop(tp, None)
        if self._intake is not None:
            self._intake.forget([Spot(tp.topic, tp.partition) for tp in assigned])
