"""Where fetched batches wait for the intake, so that reading goes on beside storing. Bounded; talks to no client."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ingest.stream.intake import Intake, Spot
from ingest.stream.meters import Meters
from ingest.stream.reading import HELD_BYTES_MAX, records_of

TICK_S = 0.1
RECORD_BYTES = 100  # of a record beside its value


class _Batch(NamedTuple):
    spot: Spot
    fetched: list[Any]
    era: int
    size: int


class WaitingRoom:
    """Batches in the order of their fetching. When they and what the intake holds exceed `bytes_max`, `full` says so
    until half of it is stored: an adapter then pauses its partitions, and goes on speaking to its group.
    """

    def __init__(
        self,
        intake: Intake,
        meters: Meters,
        highwater: Callable[[Spot], int | None],
        bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        """`highwater` gives the next offset of a partition's log, as far as the client knows it."""
        self._intake, self._meters, self._highwater, self._bytes_max = intake, meters, highwater, bytes_max
        self._waiting: deque[_Batch] = deque()
        self._bytes = 0
        self._full = False
        self._arrived = asyncio.Event()

    @property
    def full(self) -> bool:
        """Ask before every fetch."""
        held = self._bytes + self._intake.held_bytes
        self._meters.held(held)
        if not self._full and held >= self._bytes_max:
            self._meters.paused()
        self._full = held >= (self._bytes_max // 2 if self._full else self._bytes_max)
        return self._full

    def put(self, spot: Spot, fetched: list[Any], era: int) -> None:
        """Never waits: who is told `full` does not fetch. `fetched` are aiokafka's records; the list is ours from here
        on, and emptied when they are fed, since a client may keep it until they are committed.
        """
        size = sum(map(len, [r.value or b"" for r in fetched])) + RECORD_BYTES * len(fetched)
        self._bytes += size
        self._waiting.append(_Batch(spot, fetched, era, size))
        self._arrived.set()

    async def run(self) -> None:
        """Feed the intake for ever, and let it flush in time. Raises what it raises."""
        ticked_s = time.monotonic()
        while True:
            if self._waiting:
                await self._feed(self._waiting[0])
            else:
                self._arrived.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):  # `wait_for` may swallow a cancellation
                        await self._arrived.wait()
            if not self._waiting or time.monotonic() - ticked_s > TICK_S:
                ticked_s = time.monotonic()
                await self._intake.tick()

    async def _feed(self, batch: _Batch) -> None:
        spot, era = batch.spot, batch.era
        last: int = batch.fetched[-1].offset
        try:
            await self._intake.feed(spot, records_of(batch.fetched), era)
        finally:
            self._waiting.popleft()
            self._bytes -= batch.size
            batch.fetched.clear()
        if era != self._intake.era:
            return  # the partition may be another worker's now, and the client knows nothing of it
        high = self._highwater(spot)
        if high is not None:
            self._meters.lag(*spot, high - last - 1)
