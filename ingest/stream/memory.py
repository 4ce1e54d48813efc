"""The adapter over a log in memory, and its worker in a thread of this process. No broker; the same suite holds it."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial

from ingest.partition import Limits
from ingest.projection import Record
from ingest.query import connect
from ingest.store.migrate import migrate
from ingest.store.performer import Tables
from ingest.stream.intake import POISON, Intake, Spot
from ingest.stream.letters import DeadLetters
from ingest.stream.memory_group import Fenced, MemoryGroup
from ingest.stream.meters import Meters
from runtime.events import Topic

FETCH_RECORDS_MAX = 5_000
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.01
_log = logging.getLogger(__name__)


class MemoryAdapter:
    """Reads a group's share of the log and feeds an intake until `stop` is set."""

    def __init__(self, group: MemoryGroup, meters: Meters) -> None:
        self._group, self._meters = group, meters
        self._member = -1
        self._generation = -1
        self._positions: dict[Spot, int] = {}

    async def run(self, intake_of: Callable[..., Intake], stop: asyncio.Event) -> None:
        """Consume until `stop`; then flush, commit and leave the group. Cancelled, it ends where it stands."""
        intake = intake_of(commit=self._commit)
        self._member = self._group.join()
        tasks = [asyncio.create_task(work) for work in (self._keep(intake), self._consume(intake), stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
            await intake.release(intake.spots)  # bounded, whether or not the store takes the last flush
            self._group.leave(self._member)
        finally:
            for task in tasks:
                task.cancel()

    async def _keep(self, intake: Intake) -> None:
        """Membership, beside the reading: a store that is away must not cost it."""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                if self._group.beat(self._member):
                    await self._give_up(intake)
                    self._group.ready(self._member)
                shared = self._group.share(self._member)
            except Fenced:
                await self._give_up(intake)
                self._member = self._group.join()
                continue
            if shared is not None and shared[0] != self._generation:
                self._generation, spots = shared
                intake.forget(spots)
                self._positions = {spot: self._group.committed(spot) or 0 for spot in spots}

    async def _give_up(self, intake: Intake) -> None:
        self._positions = {}
        await intake.release(intake.spots)

    async def _consume(self, intake: Intake) -> None:
        while True:
            if not await self._round(intake):
                await asyncio.sleep(_POLL_S)

    async def _round(self, intake: Intake) -> bool:
        """One fetch from each partition; whether there was anything."""
        found = False
        era = intake.era
        for spot, offset in list(self._positions.items()):
            records = self._fetch(spot, offset)
            if records and spot in self._positions and era == intake.era:
                found = True
                self._positions[spot] = records[-1].offset + 1
                await intake.feed(spot, records, era)
                if era == intake.era:
                    end = self._group.log.end(Topic(spot.topic), spot.partition)
                    self._meters.lag(*spot, end - records[-1].offset - 1)
        await intake.tick()
        return found

    def _fetch(self, spot: Spot, offset: int) -> list[Record]:
        log, topic = self._group.log, Topic(spot.topic)
        if offset > log.end(topic, spot.partition):  # another log, which begins anew: as `auto.offset.reset=earliest`
            offset = self._positions[spot] = self._group.committed(spot) or 0
        kept = log.fetch(topic, spot.partition, offset, FETCH_RECORDS_MAX)
        return [Record(k.offset, k.at_ms, k.value) for k in kept]

    async def _commit(self, spot: Spot, offset: int) -> None:
        try:
            self._group.commit(self._member, self._generation, spot, offset)
        except Fenced as fenced:
            # What we wrote stands; whoever has the partition now reads it again.
            _log.warning("not committed: %s", fenced)


class MemoryWorker:
    """A worker in a thread of this process, from a log in memory into the store at `clickhouse`.

    Use it in `with`, or `start` and `stop` it. What ended it by itself is raised by `stop`.
    """

    def __init__(
        self, group: MemoryGroup, clickhouse: str, limits: Limits | None = None, accept_invalid: bool = False
    ) -> None:
        """`accept_invalid` buries invalid records however many there are."""
        self.group, self.meters = group, Meters()
        self._clickhouse, self._limits = clickhouse, limits
        self._invalid = None if accept_invalid else POISON
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = threading.Event()
        self._failure: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name="turnlog-worker", daemon=True)

    def start(self) -> None:
        """Returns when it runs."""
        self.thread.start()
        self._running.wait()

    def wait_read(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Until the group has committed all that is in the log. Raises TimeoutError, or what ended the worker."""
        spots = [Spot(topic, n) for topic in self.group.topics for n in range(self.group.log.partitions)]
        deadline = time.monotonic() + timeout_s
        while any((self.group.committed(s) or 0) < self.group.log.end(Topic(s.topic), s.partition) for s in spots):
            if self._failure is not None:
                raise self._failure
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker has not read the whole log in {timeout_s:g} s")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Flush, commit, leave, and wait for that. Raises what ended it before, or TimeoutError."""
        self._tell(lambda: self._stop.set() if self._stop else None)
        self.thread.join(STOP_TIMEOUT_S)
        if self._failure is not None:
            raise self._failure
        if self.thread.is_alive():
            raise TimeoutError(f"the worker did not stop in {STOP_TIMEOUT_S:g} s")

    def kill(self) -> None:
        """End it where it stands: no flush, no commit, no word to the group. What it sent to the store may land."""
        self._tell(lambda: self._task.cancel() if self._task else None)
        self.thread.join(STOP_TIMEOUT_S)

    def _tell(self, act: Callable[[], object]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(act)

    def __enter__(self) -> "MemoryWorker":
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    def _work(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  the edge of a thread: told to whoever stops it
            self._failure = error
        finally:
            self._running.set()

    async def _run(self) -> None:
        self._loop, self._stop, self._task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()
        with closing(connect(self._clickhouse)) as client:
            migrate(client)
            intake_of = partial(
                Intake,
                store=Tables(client),
                log_id=self.group.log.log_id,
                letters=DeadLetters(self.group.log),
                meters=self.meters,
                limits=self._limits,
                invalid=self._invalid,
            )
            self._running.set()
            await MemoryAdapter(self.group, self.meters).run(intake_of, self._stop)
