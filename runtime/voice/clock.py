"""What time it is in a call, really or virtually; says nothing to the log.

The rule that makes one code right on both clocks: whatever arrives carries its absolute time, and only the
call's own line of control waits (`until`). On the virtual clock nothing else moves time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from runtime.errors import ProviderFailed


class Clock(Protocol):
    """Times are µs since 1970-01-01 UTC."""

    def now_us(self) -> int: ...

    async def until(self, at_us: int) -> None:
        """Wait for that moment; a moment that has passed costs nothing."""

    def timeout(self, at_us: int) -> AbstractAsyncContextManager[None]:
        """The body is left at that moment with TimeoutError, unless it is done before. Not to be nested."""

    def stamp(self, started_us: int, declared_us: int | None) -> int:
        """When something arrived that was asked for at `started_us`; `declared_us` is the sender's own offset."""

    async def settled(self, at_us: int, others: Collection[asyncio.Future[Any]]) -> bool:
        """True once nothing of `others` can turn out to lie before `at_us`; False when one of them is done."""


class RealClock:
    """Wall time, anchored once and then monotonic: it never jumps inside a call."""

    def __init__(self) -> None:
        self._anchor_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        return self._anchor_us + time.monotonic_ns() // 1000

    async def until(self, at_us: int) -> None:
        left_us = at_us - self.now_us()
        if left_us > 0:
            await asyncio.sleep(left_us / 1e6)

    @asynccontextmanager
    async def timeout(self, at_us: int) -> AsyncIterator[None]:
        async with asyncio.timeout((at_us - self.now_us()) / 1e6):
            yield

    def stamp(self, started_us: int, declared_us: int | None) -> int:  # noqa: ARG002  the clock's own time counts
        return self.now_us()

    async def settled(self, at_us: int, others: Collection[asyncio.Future[Any]]) -> bool:
        left_s = (at_us - self.now_us()) / 1e6
        if left_s <= 0 or not others:
            return True
        done, _ = await asyncio.wait(others, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        return not done


class VirtualClock:
    """Time that moves by `until` alone, so a minute of talk takes milliseconds and its figures repeat."""

    def __init__(self, start_us: int) -> None:
        self._now_us = start_us
        self._deadline_us: int | None = None

    def now_us(self) -> int:
        return self._now_us

    async def until(self, at_us: int) -> None:
        target_us = max(at_us, self._now_us)
        if self._deadline_us is not None and target_us > self._deadline_us:
            # Exactly here the real clock would have cancelled the body.
            self._now_us = max(self._now_us, self._deadline_us)
            raise TimeoutError
        self._now_us = target_us

    @asynccontextmanager
    async def timeout(self, at_us: int) -> AsyncIterator[None]:
        if self._deadline_us is not None:
            raise RuntimeError("timeouts of one virtual clock cannot be nested: leave the first one before the second")
        self._deadline_us = at_us
        try:
            yield
        finally:
            self._deadline_us = None

    def stamp(self, started_us: int, declared_us: int | None) -> int:
        if declared_us is None:
            # Its time would be a guess, and a guess must not become a figure.
            raise ProviderFailed("undeclared", "it declares no times, so it needs the real clock")
        return started_us + declared_us

    async def settled(self, at_us: int, others: Collection[asyncio.Future[Any]]) -> bool:  # noqa: ARG002
        # What is still on its way may carry any time, so all of it must be there before one is the earliest.
        if not others:
            return True
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        return False
