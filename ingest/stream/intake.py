"""Drives the core of each assigned partition: performs its effects in order. Knows no Kafka client.

Both adapters feed this, so that what is exactly-once in effect does not depend on either.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ingest.effects import Bury, Commit, Dead, Effect, Effects, Identity, Item, Write
from ingest.errors import StoreUnreachable
from ingest.partition import Limits, OffsetsBroken, Partition
from ingest.projection import Record, Row, project
from ingest.store.performer import Place
from ingest.stream.letters import DeadLetters
from ingest.stream.meters import Meters
from runtime.events import Reason

_RETRY_FIRST_S, _RETRY_MAX_S = 0.2, 5.0
_log = logging.getLogger(__name__)


class Spot(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Store(Protocol):
    """What the effects are performed on; may block, so it is called off the event loop."""

    def generation(self, topic: str, log: str) -> int: ...
    def highest_offset(self, place: Place) -> int: ...
    def stored_payloads(self, items: Sequence[Item]) -> dict[Identity, bytes]: ...
    def perform(self, place: Place, effect: Any) -> Any: ...


@dataclass(slots=True)
class _Taken:
    """A partition that we have taken up."""

    core: Partition
    place: Place
    beyond: int  # the highest offset stored when we took it up


class Intake:
    """The partitions of one worker. One thing happens at a time; a store that is away holds everything up."""

    def __init__(
        self,
        *,
        store: Store,
        log_id: Callable[[str], str],
        letters: DeadLetters,
        commit: Callable[[Spot, int], Awaitable[None]],
        meters: Meters,
        limits: Limits | None = None,
    ) -> None:
        """`log_id` gives a topic's id and may block; `commit` is awaited with the next offset to read."""
        self._store, self._log_id, self._letters, self._commit = store, log_id, letters, commit
        self._meters = meters
        self._limits = limits or Limits()
        self._taken: dict[Spot, _Taken] = {}
        self._lock = asyncio.Lock()

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The partitions taken up."""
        return tuple(self._taken)

    async def feed(self, spot: Spot, records: Sequence[Record]) -> None:
        """Take in one fetched batch, in offset order."""
        if not records:
            return
        async with self._lock:
            batch = project(records, time.time_ns() // 1000)
            taken = self._taken.get(spot) or await self._take_up(spot, records[0].offset)
            try:
                await self._drive(spot, taken, taken.core.feed(batch, time.monotonic()))
            except OffsetsBroken as broken:
                _log.warning("%s/%d: %s; taking it up anew", *spot, broken)
                # What we hold is of the log as we knew it. Its offset may mean nothing any more, so no commit.
                await self._drive(spot, taken, taken.core.flush(), commits=False)
                taken = await self._take_up(spot, records[0].offset)
                await self._drive(spot, taken, taken.core.feed(batch, time.monotonic()))

    async def tick(self) -> None:
        """Flush what has waited long enough."""
        async with self._lock:
            for spot, taken in list(self._taken.items()):
                await self._drive(spot, taken, taken.core.tick(time.monotonic()))

    async def release(self, spots: Iterable[Spot]) -> None:
        """Flush and forget these partitions: another worker may take them up."""
        async with self._lock:
            for spot in spots:
                taken = self._taken.get(spot)
                if taken is not None:
                    await self._drive(spot, taken, taken.core.flush())
                    del self._taken[spot]

    def forget(self, spots: Iterable[Spot]) -> None:
        """Drop these partitions as they are. Nothing is lost: what was not flushed was not committed."""
        for spot in spots:
            self._taken.pop(spot, None)

    async def _take_up(self, spot: Spot, offset: int) -> _Taken:
        log = await asyncio.to_thread(self._log_id, spot.topic)
        generation = await self._patiently(self._store.generation, spot.topic, log)
        place = Place(spot.topic, log, generation, spot.partition)
        beyond = await self._patiently(self._store.highest_offset, place)
        core = Partition(log, generation, spot.partition, offset, self._limits)
        taken = _Taken(core, place, beyond)
        await self._drive(spot, taken, core.start())
        self._taken[spot] = taken
        _log.info("took up %s/%d of log %s at offset %d", spot.topic, spot.partition, log, offset)
        return taken

    async def _drive(self, spot: Spot, taken: _Taken, effects: Effects, commits: bool = True) -> None:
        answer: Any = None
        while True:
            try:
                effect = effects.send(answer)
            except StopIteration:
                return
            if isinstance(effect, Commit) and not commits:
                continue
            try:
                answer = await self._perform(spot, taken, effect)
            except BaseException:
                # The core believes that its effect is done or under way. Only a fresh one knows what is stored.
                self._taken.pop(spot, None)
                raise

    async def _perform(self, spot: Spot, taken: _Taken, effect: Effect) -> Any:
        match effect:
            case Commit(offset):
                await self._commit(spot, offset)
                return None
            case Bury(letters):
                await self._bury(taken.place, letters)
                return None
            case Write():
                return await self._write(taken, effect)
            case _:
                return await self._patiently(self._store.perform, taken.place, effect)

    async def _write(self, taken: _Taken, write: Write) -> dict[int, Dead]:
        place = taken.place
        if write.repeated:
            await self._compare(place, write)
        began = time.monotonic()
        refused: dict[int, Dead] = await self._patiently(self._store.perform, place, write)
        self._meters.flushed(time.monotonic() - began)
        now_us = time.time_ns() // 1000
        items = [i for i in write.items if i.offset not in refused]
        self._meters.stored(place.topic, items, write.repeated, taken.beyond, now_us)
        youngest_ms = max(i.arrived_ms for i in write.items)
        self._meters.freshness(place.topic, place.partition, now_us / 1e6 - youngest_ms / 1e3)
        return refused

    async def _compare(self, place: Place, write: Write) -> None:
        """One identity with two payloads is a fault of its producer: counted, and the later one buried."""
        repeats = [i for i in write.items if i.offset in write.repeated]
        known = await self._patiently(self._store.stored_payloads, repeats)
        for item in write.items:
            known.setdefault(item.identity, item.row.payload)
        conflicts = []
        for item in repeats:
            row: Row = item.row
            if known[item.identity] != row.payload:
                detail = f"{type(row.event).__name__}: its identity is stored with another payload"
                conflicts.append(Dead(item.offset, item.size, Reason.CONFLICT, detail, row.payload))
        if conflicts:
            self._meters.conflicts(place.topic, len(conflicts))
            await self._bury(place, conflicts)

    async def _bury(self, place: Place, letters: Sequence[Dead]) -> None:
        now_us = time.time_ns() // 1000
        await asyncio.to_thread(self._letters.bury, place.topic, place.log, place.partition, letters, now_us)
        self._meters.buried(place.topic, letters)

    async def _patiently(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call the store until it answers. Nothing is lost meanwhile: nothing is committed either."""
        wait_s = _RETRY_FIRST_S
        while True:
            try:
                return await asyncio.to_thread(call, *args)
            except StoreUnreachable as error:
                self._meters.retried()
                _log.warning("%s; trying again in %.1f s", error, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_MAX_S)
