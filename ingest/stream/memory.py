"""The adapter over a log in memory, and the groups of its readers. No broker; the same suite holds it.

A group keeps Kafka's rules, those that a worker leans on: members join and are told to join again when others come or
go; a member that is silent for its session is out; all have given up their partitions before anybody gets new ones; a
commit of a past generation is refused. Workers are threads of this process.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from ingest.errors import IngestError
from ingest.partition import Limits
from ingest.projection import Record
from ingest.query import connect
from ingest.store.migrate import migrate
from ingest.store.performer import Tables
from ingest.stream.intake import Intake, Spot
from ingest.stream.letters import DeadLetters
from ingest.stream.meters import Meters
from runtime.emit import MemoryLog
from runtime.events import Topic

SESSION_S = 2.0
FETCH_RECORDS_MAX = 5_000
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.01
_log = logging.getLogger(__name__)


class Fenced(IngestError):
    """The group has moved on without this member."""


@dataclass(slots=True)
class _Member:
    seen: float
    ready: bool = True  # it has given up what it had, and waits for its share
    share: tuple[Spot, ...] = ()


@dataclass(slots=True)
class MemoryGroup:
    """One group that reads `topics` of `log`. Any thread may use it. `now` is monotonic, in seconds."""

    log: MemoryLog
    topics: Sequence[Topic] = (Topic.CALLS,)
    session_s: float = SESSION_S
    now: Callable[[], float] = time.monotonic
    _members: dict[int, _Member] = field(default_factory=dict)
    _committed: dict[tuple[str, int], int] = field(default_factory=dict)  # by log id and partition
    _generation: int = 0
    _settled: bool = True
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def join(self) -> int:
        """A new member; its id."""
        with self._lock:
            member = next(self._ids)
            self._members[member] = _Member(self.now())
            self._unsettle()
            return member

    def leave(self, member: int) -> None:
        """An orderly end."""
        with self._lock:
            if self._members.pop(member, None) is not None:
                self._unsettle()

    def beat(self, member: int) -> bool:
        """A sign of life; whether the member must give up its share and call `ready`. Raises Fenced."""
        with self._lock:
            one = self._one(member)
            one.seen = self.now()
            self._expel()
            return not self._settled and not one.ready

    def ready(self, member: int) -> None:
        """The member has given up its share. Raises Fenced."""
        with self._lock:
            self._one(member).ready = True
            self._settle()

    def share(self, member: int) -> tuple[int, tuple[Spot, ...]] | None:
        """The generation and the member's partitions in it; none while others still hold theirs. Raises Fenced."""
        with self._lock:
            one = self._one(member)
            return (self._generation, one.share) if self._settled else None

    def commit(self, member: int, generation: int, spot: Spot, offset: int) -> None:
        """Raises Fenced for a member that is out, or one of a past generation."""
        with self._lock:
            one = self._one(member)
            if generation != self._generation or spot not in one.share:
                raise Fenced(f"{spot.topic}/{spot.partition} is not this member's any more")
            self._committed[self.log.log_id(spot.topic), spot.partition] = offset

    def committed(self, spot: Spot) -> int | None:
        """The next offset to read, if any was committed to the log as it is now."""
        return self.commits(Topic(spot.topic)).get(spot.partition)

    def commits(self, topic: Topic) -> dict[int, int]:
        """What is committed to the log as it is now, by partition."""
        with self._lock:
            log = self.log.log_id(topic)
            return {partition: offset for (of, partition), offset in self._committed.items() if of == log}

    def forget(self) -> None:
        """What a broker does that was wiped: no members, nothing committed."""
        with self._lock:
            self._members.clear()
            self._committed.clear()
            self._settled = True

    def _one(self, member: int) -> _Member:
        try:
            return self._members[member]
        except KeyError:
            raise Fenced(f"member {member} is not in the group any more") from None

    def _expel(self) -> None:
        silent = [m for m, one in self._members.items() if self.now() - one.seen > self.session_s]
        for member in silent:
            del self._members[member]
        if silent:
            self._unsettle()

    def _unsettle(self) -> None:
        if self._settled:
            self._settled = False
            for one in self._members.values():
                one.ready = not one.share
        self._settle()

    def _settle(self) -> None:
        if self._settled or not all(one.ready for one in self._members.values()):
            return
        spots = [Spot(topic, n) for topic in self.topics for n in range(self.log.partitions)]
        members = list(self._members.values())
        for number, one in enumerate(members):
            one.share = tuple(spots[number :: len(members)])
        self._generation += 1
        self._settled = True


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

    def __init__(self, group: MemoryGroup, clickhouse: str, limits: Limits | None = None) -> None:
        self.group, self.meters = group, Meters()
        self._clickhouse, self._limits = clickhouse, limits
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
            )
            self._running.set()
            await MemoryAdapter(self.group, self.meters).run(intake_of, self._stop)
