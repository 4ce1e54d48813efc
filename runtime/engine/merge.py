"""Merges timed streams into the order of their times. Waits for items, never for time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar

from runtime.voice.clock import Clock


class Timed(Protocol):
    @property
    def at_us(self) -> int: ...


T = TypeVar("T", bound=Timed)


class Merged(Generic[T]):
    """`peek` gives the earliest item and keeps it until `pop`, so nothing is lost when a wait in between is cut.

    On the virtual clock an item is the earliest only when every stream has shown its next one; on the real clock
    also when its moment has come, so a stalled model never holds up audio that is already there.
    """

    def __init__(self, clock: Clock, *streams: AsyncIterator[T]) -> None:
        self._clock = clock
        self._streams = list(streams)
        self._heads: dict[int, asyncio.Task[T | None]] = {}
        for index in range(len(self._streams)):
            self._advance(index)
        self._first = -1

    async def peek(self) -> T | None:
        """The next item, or none when all streams are at their end. Raises what a stream raises."""
        while self._heads:
            done = {index: task.result() for index, task in self._heads.items() if task.done()}
            for index in [index for index, item in done.items() if item is None]:
                del self._heads[index], done[index]
            open_tasks = [task for task in self._heads.values() if not task.done()]
            items = {index: item for index, item in done.items() if item is not None}
            if not items:
                if open_tasks:
                    await asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED)
                continue
            index = min(items, key=lambda i: (items[i].at_us, i))
            if await self._clock.settled(items[index].at_us, open_tasks):
                self._first = index
                return items[index]
        return None

    def pop(self) -> None:
        """Go past the item that `peek` gave."""
        self._advance(self._first)

    async def aclose(self) -> None:
        """Stop reading; the streams are closed."""
        for task in self._heads.values():
            task.cancel()
        await asyncio.gather(*self._heads.values(), return_exceptions=True)
        self._heads.clear()
        for stream in self._streams:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _advance(self, index: int) -> None:
        self._heads[index] = asyncio.create_task(_next(self._streams[index]))


async def _next(stream: AsyncIterator[T]) -> T | None:
    return await anext(stream, None)
