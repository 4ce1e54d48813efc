"""The Faust adapter: Faust owns membership, assignment, offsets and commits; the intake owns everything else."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials
from faust.types import TP
from yarl import URL

from ingest.errors import IngestError
from ingest.stream.faust_batch import BatchApp, BatchSchema
from ingest.stream.intake import Intake, Spot
from ingest.stream.meters import Meters
from ingest.stream.plain import FETCH_BYTES, METADATA_AGE_MS, left, records_of
from runtime.emit import Brokers

_COMMIT_EVERY_S = 0.5
_TICK_S = 0.1
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
    """Reads `topics` in group `group` and feeds an intake until `stop` is set."""

    def __init__(
        self, brokers: Brokers, group: str, topics: Sequence[str], meters: Meters, session_timeout_ms: int
    ) -> None:
        self._meters = meters
        self._intake: Intake | None = None
        self._unacked: defaultdict[TP, deque[Any]] = defaultdict(deque)
        self._failed: asyncio.Future[None] | None = None
        self.app = app = BatchApp(
            group,
            broker=[URL(f"kafka://{server}") for server in brokers.addresses],
            broker_credentials=_credentials(brokers),
            broker_session_timeout=session_timeout_ms / 1000,
            broker_rebalance_timeout=session_timeout_ms / 1000,
            broker_heartbeat_interval=session_timeout_ms / 3000,
            broker_commit_interval=_COMMIT_EVERY_S,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=FETCH_BYTES,
            consumer_metadata_max_age_ms=METADATA_AGE_MS,
            stream_wait_empty=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            autodiscover=False,
        )
        app.stored, app.on_release = {}, self._release
        app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]  # its stubs forget the argument
        topic = app.topic(*topics, schema=BatchSchema(), maxsize=_BATCHES_MAX)
        app.agent(topic, concurrency=1, name="turnlog.ingest")(self._consume)

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group."""
        self._intake = intake_of(commit=self._stored)
        self._failed = asyncio.get_running_loop().create_future()
        ticking = asyncio.create_task(self._tick())
        stopping = asyncio.create_task(stop.wait())
        await self.app.start()
        try:
            ends: set[asyncio.Future[Any]] = {ticking, stopping, self._failed}
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            stopping.cancel()
            await left(self.app.stop())  # flushes; a tick in the middle of a flush is left to finish it
            ticking.cancel()

    async def _consume(self, stream: Any) -> None:
        """The agent. It raises nothing: Faust would ack what it was given and go on."""
        assert self._failed is not None
        try:
            async for event in stream.noack().events():
                await self._take(event)
        except Exception as error:  # noqa: BLE001  the worker must end, and only `run` can end it
            if not self._failed.done():
                self._failed.set_exception(error)

    async def _take(self, event: Any) -> None:
        assert self._intake is not None
        message = event.message
        if message.generation_id != self.app.consumer_generation_id:
            return  # fetched before a rebalance; its partition may be another worker's now
        self._unacked[message.tp].append(event)
        spot, era = Spot(message.topic, message.partition), self._intake.era
        await self._intake.feed(spot, records_of(message.value), era)
        if era != self._intake.era:
            return  # likewise, and aiokafka knows nothing of it
        high = self.app.consumer.highwater(message.tp)
        if high is not None:
            self._meters.lag(*spot, high - message.offset - 1)

    async def _stored(self, spot: Spot, offset: int) -> None:
        tp = TP(*spot)
        self.app.stored[tp] = offset
        waiting = self._unacked[tp]
        while waiting and waiting[0].message.offset < offset:
            waiting.popleft().ack()

    async def _tick(self) -> None:
        assert self._intake is not None
        while True:
            await asyncio.sleep(_TICK_S)
            if self.app.crashed:
                reason = self.app.crash_reason
                raise FaustStopped(f"Faust stopped ({type(reason).__name__}): start the worker again") from reason
            await self._intake.tick()

    async def _release(self, tps: Iterable[TP]) -> None:
        if self._intake is not None:
            await self._intake.release([Spot(tp.topic, tp.partition) for tp in tps])

    async def _assigned(self, _: Any, assigned: Iterable[TP], **__: Any) -> None:
        for tp in assigned:
            self._unacked[tp].clear()
            self.app.stored.pop(tp, None)
        if self._intake is not None:
            self._intake.forget([Spot(tp.topic, tp.partition) for tp in assigned])
