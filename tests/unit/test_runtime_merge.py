"""Streams merged in the order of their times, on both clocks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from runtime.engine.merge import Merged
from runtime.voice import Clock, RealClock, VirtualClock


@dataclass(frozen=True)
class At:
    at_us: int
    name: str = ""


async def stream(*items: At, late_s: float = 0.0) -> AsyncIterator[At]:
    for item in items:
        await asyncio.sleep(late_s)
        yield item


async def drain(merged: Merged[At]) -> list[int]:
    seen = []
    while (item := await merged.peek()) is not None:
        seen.append(item.at_us)
        merged.pop()
    return seen


async def test_virtual_order_does_not_depend_on_who_is_slow() -> None:
    clock = VirtualClock(0)
    slow = stream(At(1), At(4), At(5), late_s=0.003)
    fast = stream(At(2), At(3), At(6))
    assert await drain(Merged(clock, slow, fast)) == [1, 2, 3, 4, 5, 6]


async def test_a_tie_goes_to_the_first_stream() -> None:
    merged = Merged(VirtualClock(0), stream(At(1, "words")), stream(At(1, "audio")))
    first = await merged.peek()
    assert first == At(1, "words")
    await merged.aclose()


async def test_nothing_is_lost_when_the_wait_is_cut() -> None:
    clock = VirtualClock(0)
    merged = Merged(clock, stream(At(10)), stream(At(20)))

    async def cut() -> None:
        async with clock.timeout(5):
            item = await merged.peek()
            assert item is not None
            await clock.until(item.at_us)
            merged.pop()

    with pytest.raises(TimeoutError):
        await cut()
    assert await drain(merged) == [10, 20]


async def test_real_audio_does_not_wait_for_a_stalled_model() -> None:
    clock: Clock = RealClock()
    stalled = stream(At(clock.now_us()), late_s=30.0)
    merged = Merged(clock, stalled, stream(At(clock.now_us(), "audio")))
    item = await asyncio.wait_for(merged.peek(), 5.0)
    assert item is not None
    assert item.name == "audio"
    await merged.aclose()


async def test_real_arrivals_overtake_what_is_still_to_come() -> None:
    clock: Clock = RealClock()
    future = stream(At(clock.now_us() + 30_000, "audio"))
    now = stream(At(clock.now_us(), "words"), late_s=0.002)
    merged = Merged(clock, now, future)
    item = await merged.peek()
    assert item is not None
    assert item.name == "words"
    await merged.aclose()


async def test_an_error_of_a_stream_is_raised() -> None:
    async def broken() -> AsyncIterator[At]:
        yield At(1)
        raise LookupError("gone")

    merged = Merged(VirtualClock(0), broken())
    await merged.peek()
    merged.pop()
    with pytest.raises(LookupError):
        await merged.peek()
    await merged.aclose()
