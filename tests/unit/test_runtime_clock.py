"""One suite over both clocks, and what only the virtual one promises."""

import asyncio
import time

import pytest

from runtime.errors import ProviderFailed
from runtime.voice import Clock, RealClock, VirtualClock

STEP_US = 3_000


@pytest.fixture(params=["real", "virtual"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return RealClock() if request.param == "real" else VirtualClock(1_000_000)


async def test_until_waits_for_a_moment_and_not_for_the_past(clock: Clock) -> None:
    began_us = clock.now_us()
    await clock.until(began_us + STEP_US)
    assert clock.now_us() >= began_us + STEP_US
    late_us = clock.now_us()
    await clock.until(began_us)
    assert late_us <= clock.now_us() < late_us + 1_000_000


async def test_timeout_leaves_the_body_at_its_moment(clock: Clock) -> None:
    began_us = clock.now_us()
    with pytest.raises(TimeoutError):
        async with clock.timeout(began_us + STEP_US):
            await clock.until(began_us + 60_000_000)
    assert began_us + STEP_US <= clock.now_us() < began_us + 1_000_000


async def test_a_body_that_is_done_in_time_is_left_alone(clock: Clock) -> None:
    began_us = clock.now_us()
    async with clock.timeout(began_us + 60_000_000):
        await clock.until(began_us + STEP_US)
    await clock.until(clock.now_us() + STEP_US)


async def test_what_is_under_way_may_still_come_first(clock: Clock) -> None:
    async def soon() -> None:
        await asyncio.sleep(0)

    task = asyncio.create_task(soon())
    assert not await clock.settled(clock.now_us() + 500_000, [task])
    assert await clock.settled(clock.now_us() + STEP_US, [])


async def test_virtual_time_moves_by_until_alone_and_to_the_microsecond() -> None:
    clock = VirtualClock(5)
    await asyncio.sleep(0.002)
    assert clock.now_us() == 5

    async def cut() -> None:
        async with clock.timeout(105):
            await clock.until(60)
            await clock.until(106)

    with pytest.raises(TimeoutError):
        await cut()
    assert clock.now_us() == 105
    await clock.until(1_000)
    assert clock.now_us() == 1_000


async def test_a_deadline_itself_is_still_in_time() -> None:
    clock = VirtualClock(0)
    async with clock.timeout(100):
        await clock.until(100)


async def test_nested_virtual_timeouts_are_refused() -> None:
    clock = VirtualClock(0)
    with pytest.raises(RuntimeError, match="nested"):
        async with clock.timeout(1), clock.timeout(2):
            pass


def test_stamps_are_declared_on_the_virtual_clock_and_true_on_the_real_one() -> None:
    assert VirtualClock(7).stamp(100, 23) == 123
    with pytest.raises(ProviderFailed, match="real clock"):
        VirtualClock(7).stamp(100, None)
    real = RealClock()
    assert abs(real.stamp(100, 23) - time.time_ns() // 1000) < 5_000_000


async def test_audio_that_is_due_does_not_wait_for_a_stalled_model_on_the_real_clock() -> None:
    clock = RealClock()
    stalled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert await clock.settled(clock.now_us() - 1, [stalled])
    assert await clock.settled(clock.now_us() + STEP_US, [stalled])
