"""Drives the core of each assigned partition: performs its effects in order. Knows no Kafka client.

Both adapters feed this, so that what is exactly-once in effect does not depend on either.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from ingest.effects import Bury, Commit, Dead, Identity, Item, Skipped, Write
from ingest.errors import IngestError, StoreUnreachable
from ingest.partition import Limits, OffsetsBroken, Partition
from ingest.projection import Record, Row, project
from ingest.store.performer import Place
from ingest.stream.driving import Driven, drive
from ingest.stream.invalid import InvalidGate, InvalidLimits
from ingest.stream.letters import DeadLetters
from ingest.stream.logs import BrokerUnreachable, TopicMissing
from ingest.stream.meters import Meters
from runtime.events import Reason, Topic

POISON = InvalidLimits()
RELEASE_TIMEOUT_S = 5.0  # less than a session: the group waits for whoever releases
FLUSH_ALL_BYTES = 32 * 2**20  # of payload: dozens of partitions that are read at once fill memory before any is due
FAILED_MAX_S = 30.0  # a group rebalances much sooner when its broker was wiped
_RETRY_FIRST_S, _RETRY_MAX_S = 0.2, 5.0
_log = logging.getLogger(__name__)


class LogReplaced(IngestError):
    """A topic is not the one that we read, and the group did not notice."""


class Spot(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Store(Protocol):
    """What the effects are performed on; may block, so it is called off the event loop."""

    def generation(self, topic: str, log: str) -> int: ...
    def highest_offset(self, place: Place) -> int: ...
    def stored_payloads(self, place: Place, items: Sequence[Item]) -> dict[Identity, bytes]: ...
    def perform_all(self, work: Sequence[tuple[Place, Any]]) -> list[Any]:
        """The answers to effects of one kind, each of another partition. What can be one statement for all is one."""


Projected: TypeAlias = Item | Dead | Skipped
Amend: TypeAlias = Callable[[Spot, Sequence[Projected]], Sequence[Projected]]


def as_it_is(_: Spot, batch: Sequence[Projected]) -> Sequence[Projected]:
    """An `Amend` answers a batch with one of the same offsets, in order: an Item may be another one, without what is to
    be forgotten, or Skipped. It must answer a batch that is delivered again in the same way.
    """
    return batch


@dataclass(slots=True)
class _Taken:
    """A partition that we have taken up."""

    spot: Spot
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
        amend: Amend = as_it_is,
        invalid: InvalidLimits | None = POISON,
        held_bytes_max: int = FLUSH_ALL_BYTES,
    ) -> None:
        """`log_id` gives a topic's id and may block; `commit` is awaited with the next offset to read. `amend` sees
        every batch before anything of it is stored. Beyond `invalid` records the worker stops; None buries them all.
        What all partitions hold together is flushed at `held_bytes_max`, however little each of them has.
        """
        self._held_bytes_max = held_bytes_max
        self._amend, self._gate = amend, InvalidGate(invalid)
        self._store, self._log_id, self._letters, self._commit = store, log_id, letters, commit
        self._meters = meters
        self._limits = limits or Limits()
        self._taken: dict[Spot, _Taken] = {}
        self._failed: dict[Spot, float] = {}  # since when, monotonic
        self._era = 0
        self._moves = self._waits = 0
        self._lock = asyncio.Lock()

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The partitions taken up."""
        return tuple(self._taken)

    @property
    def held_bytes(self) -> int:
        """Bytes of the records that were taken in and are not committed."""
        return sum(taken.core.held_bytes for taken in self._taken.values())

    @property
    def moves(self) -> int:
        """Rises with every batch that is taken in and every commit."""
        return self._moves

    @property
    def waits(self) -> bool:
        """Whether the store or the broker is waited for right now."""
        return self._waits > 0

    @property
    def era(self) -> int:
        """Another one begins whenever partitions change hands. Note it as soon as records are fetched."""
        return self._era

    async def feed(self, spot: Spot, records: Sequence[Record], era: int) -> None:
        """Take in one fetched batch, in offset order.

        Records of a past era are dropped, and those behind a failure: what came before them may not be stored, so
        taking them up would commit a hole. Whoever has the partition next reads them again.
        """
        if not records:
            return
        async with self._lock:
            if era != self._era or spot in self._failed:
                return
            try:
                await self._take_in(spot, records)
                self._moves += 1
                if self.held_bytes >= self._held_bytes_max:
                    await self._flush(self._taken)
            except BaseException:
                if era == self._era:
                    self._fail(spot)
                raise

    async def _take_in(self, spot: Spot, records: Sequence[Record]) -> None:
        if spot not in self._taken:
            self._gate.begin(*spot)
        batch = self._amend(spot, project(records, Topic(spot.topic)))
        self._gate.read(*spot, batch)
        taken = self._taken.get(spot) or await self._take_up(spot, records[0].offset)
        try:
            await self._drive([Driven(taken, taken.core.feed(batch, time.monotonic()))])
        except OffsetsBroken as broken:
            _log.warning("%s/%d: %s; taking it up anew", *spot, broken)
            # What we hold is of the log as we knew it. Its offset may mean nothing any more, so no commit.
            await self._drive([Driven(taken, taken.core.flush())], commits=False)
            taken = await self._take_up(spot, records[0].offset)
            await self._drive([Driven(taken, taken.core.feed(batch, time.monotonic()))])

    async def tick(self) -> None:
        """Flush all that is held once any of it has waited long enough: one flush of all costs little more than one of
        a single partition.
        """
        if any(time.monotonic() - since_s > FAILED_MAX_S for since_s in self._failed.values()):
            raise LogReplaced("a topic was replaced while we read it: start the worker again, it will read it anew")
        async with self._lock:
            now_s = time.monotonic()
            if any(taken.core.due(now_s) for taken in self._taken.values()):
                await self._flush(self._taken)

    async def release(self, spots: Iterable[Spot]) -> None:
        """Flush and forget these partitions: another worker may take them up. Waits RELEASE_TIMEOUT_S at most."""
        spots = list(spots)
        self._era += 1
        try:
            await asyncio.wait_for(self._flush_in_turn(spots), RELEASE_TIMEOUT_S)
        except TimeoutError:
            _log.warning("the store did not take the last flush in time; those records will be read again")
        finally:
            self.forget(spots)

    async def _flush_in_turn(self, spots: Iterable[Spot]) -> None:
        async with self._lock:
            await self._flush(spots)

    async def _flush(self, spots: Iterable[Spot]) -> None:
        taken = [self._taken[spot] for spot in spots if spot in self._taken]
        await self._drive([Driven(one, one.core.flush()) for one in taken])

    def forget(self, spots: Iterable[Spot]) -> None:
        """Drop these partitions as they are. Nothing is lost: what was not flushed was not committed."""
        self._era += 1
        for spot in spots:
            self._taken.pop(spot, None)
            self._failed.pop(spot, None)
            self._meters.released(*spot)

    async def _take_up(self, spot: Spot, offset: int) -> _Taken:
        era = self._era
        log = await self._patiently(self._log_id, spot.topic)
        generation = await self._patiently(self._store.generation, spot.topic, log)
        place = Place(spot.topic, log, generation, spot.partition)
        beyond = await self._patiently(self._store.highest_offset, place)
        core = Partition(log, generation, spot.partition, offset, self._limits)
        taken = _Taken(spot, core, place, beyond)
        await self._drive([Driven(taken, core.start())])
        if era == self._era:
            self._taken[spot] = taken
        _log.info("took up %s/%d of log %s at offset %d", spot.topic, spot.partition, log, offset)
        return taken

    async def _drive(self, driven: Sequence[Driven[_Taken]], commits: bool = True) -> None:
        try:
            await drive(driven, self._perform if commits else self._perform_without_commits)
        except BaseException:
            # The cores believe that their effects are done or under way. Only fresh ones know what is stored.
            for each in driven:
                if each.effect is not None:
                    self._give_up(each)
            raise

    def _give_up(self, driven: Driven[_Taken]) -> None:
        driven.give_up()
        if self._taken.get(driven.one.spot) is driven.one:
            self._fail(driven.one.spot)

    def _fail(self, spot: Spot) -> None:
        self._taken.pop(spot, None)
        self._failed[spot] = time.monotonic()

    async def _log_of(self, topic: str) -> str | None:
        """Waits for an answer: a broker that did not give one may take a commit nevertheless, of another log. None: the
        topic is being made anew, and a commit would skip what comes into it.
        """
        try:
            return str(await self._patiently(self._log_id, topic))
        except TopicMissing:
            return None

    async def _perform(self, kind: type, these: Sequence[Driven[_Taken]]) -> Sequence[Any]:
        if kind is Commit:
            await self._commit_all(these)
        elif kind is Bury:
            for each in these:
                await self._bury(each.one.place, cast(Bury, each.effect).letters)
        elif kind is Write:
            return await self._write(these)
        else:
            return await self._stored(these)
        return [None] * len(these)

    async def _perform_without_commits(self, kind: type, these: Sequence[Driven[_Taken]]) -> Sequence[Any]:
        return [None] * len(these) if kind is Commit else await self._perform(kind, these)

    async def _commit_all(self, these: Sequence[Driven[_Taken]]) -> None:
        logs: dict[str, str | None] = {}
        for each in these:
            place = each.one.place
            if place.topic not in logs:
                logs[place.topic] = await self._log_of(place.topic)
            if place.log != logs[place.topic]:  # of each: one of them may have been taken up after the log was replaced
                # A broker may take the commit of a member that it does not know, and so skip what we never read.
                _log.warning("%s/%d: the log was replaced; not committed", *each.one.spot)
                self._give_up(each)
            else:
                await self._commit(each.one.spot, cast(Commit, each.effect).offset)
                self._moves += 1

    async def _stored(self, these: Sequence[Driven[_Taken]]) -> list[Any]:
        work = [(each.one.place, each.effect) for each in these]
        answers: list[Any] = await self._patiently(self._store.perform_all, work)
        return answers

    async def _write(self, these: Sequence[Driven[_Taken]]) -> list[dict[int, Dead]]:
        began = time.monotonic()
        answers: list[dict[int, Dead]] = await self._stored(these)
        self._meters.flushed(time.monotonic() - began)
        for each, refused in zip(these, answers, strict=True):
            await self._note(each.one, cast(Write, each.effect), refused)
        return answers

    async def _note(self, taken: _Taken, write: Write, refused: dict[int, Dead]) -> None:
        """Count what was stored of a partition, and look at what was said twice."""
        place = taken.place
        self._gate.stored(place.topic, len(write.items), refused.values())
        now_us = time.time_ns() // 1000
        items = [i for i in write.items if i.offset not in refused]
        self._meters.stored(place.topic, items, write.repeated, taken.beyond, now_us)
        if items:
            self._meters.youngest(place.topic, place.partition, min(now_us, max(i.row.event.at for i in items)))
        if write.repeated:
            await self._compare(place, [i for i in items if i.offset in write.repeated])

    async def _compare(self, place: Place, repeats: Sequence[Item]) -> None:
        """One identity with two payloads is a fault of its producer: counted, and the later one buried."""
        known = await self._patiently(self._store.stored_payloads, place, repeats)
        conflicts = []
        for item in repeats:
            row: Row = item.row
            if known.get(item.identity, row.payload) != row.payload:
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
        """Call the store, or the broker for an id, until it answers. Nothing is lost: nothing is committed either."""
        wait_s = _RETRY_FIRST_S
        self._waits += 1
        try:
            while True:
                try:
                    return await asyncio.to_thread(call, *args)
                except (StoreUnreachable, BrokerUnreachable) as error:
                    self._meters.retried()
                    _log.warning("%s; trying again in %.1f s", error, wait_s)
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, _RETRY_MAX_S)
        finally:
            self._waits -= 1
