"""What was read and is not stored is bounded: reading pauses at the limit and goes on at half of it."""

import asyncio
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from ingest.stream import room as module
from ingest.stream.intake import Spot
from ingest.stream.meters import Meters
from ingest.stream.reading import HELD_BYTES_MAX, records_of
from ingest.stream.room import RECORD_BYTES, WaitingRoom

SPOT = Spot("calls", 0)


class Slow:
    """An intake that takes a batch in when it is told to."""

    def __init__(self):
        self.era, self.held_bytes, self.fed, self.ticks = 0, 0, [], 0
        self.may = asyncio.Semaphore(0)

    async def feed(self, spot, records, era):
        await self.may.acquire()
        self.fed.append((spot, [r.offset for r in records], era))

    async def tick(self):
        self.ticks += 1


def fetched(*offsets, size=1_000 - RECORD_BYTES):
    return [SimpleNamespace(offset=o, timestamp=0, timestamp_type=1, value=b"x" * size) for o in offsets]


async def until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "not so in time"
        await asyncio.sleep(0.001)


class House:
    def __init__(self, bytes_max=10_000):
        self.intake, self.meters = Slow(), Meters()
        self.room = WaitingRoom(self.intake, self.meters, lambda _: 100, bytes_max)

    def counted(self, sample, **labels):
        return self.meters.registry.get_sample_value(sample, labels)

    async def fed(self, count):
        for _ in range(count):
            self.intake.may.release()
        await until(lambda: len(self.intake.fed) >= count)


@pytest.fixture
async def house():
    house = House()
    running = asyncio.create_task(house.room.run())
    yield house
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def test_the_limit_is_the_named_constant():
    assert WaitingRoom(None, None, None)._bytes_max == HELD_BYTES_MAX == 64 * 2**20


async def test_the_room_is_full_at_its_limit_and_open_again_at_half_of_it(house):
    for n in range(9):
        house.room.put(SPOT, fetched(n), 0)
    assert not house.room.full
    house.room.put(SPOT, fetched(9), 0)
    assert house.room.full
    assert house.counted("turnlog_ingest_held_bytes") == 10_000
    await house.fed(4)
    assert house.room.full
    await house.fed(6)
    assert not house.room.full
    assert house.counted("turnlog_ingest_pauses_total") == 1


async def test_what_the_intake_holds_counts_as_well(house):
    house.intake.held_bytes = 9_999
    assert not house.room.full
    house.room.put(SPOT, fetched(0), 0)
    assert house.room.full


async def test_batches_are_fed_in_order_and_in_the_era_of_their_fetching(house):
    house.room.put(SPOT, fetched(0, 1), 0)
    house.room.put(SPOT, fetched(2), 1)
    await house.fed(2)
    assert house.intake.fed == [(SPOT, [0, 1], 0), (SPOT, [2], 1)]


async def test_the_lag_is_told_of_what_is_still_ours(house):
    house.room.put(SPOT, fetched(41), 0)
    await house.fed(1)
    await asyncio.sleep(0)
    assert house.counted("turnlog_ingest_lag_records", topic="calls", partition="0") == 58
    house.room.put(Spot("calls", 1), fetched(41), 7)  # an era that is not this one
    await house.fed(2)
    assert house.counted("turnlog_ingest_lag_records", topic="calls", partition="1") is None


async def test_what_was_fed_is_not_kept_by_whoever_fetched_it(house):
    records = fetched(0, 1)
    house.room.put(SPOT, records, 0)
    assert len(records) == 2
    await house.fed(1)
    await until(lambda: records == [])


def test_a_clients_records_are_read_as_they_are_unless_their_time_is_the_producers():
    records = fetched(3, 4)
    assert records_of(records) is records
    records[1].timestamp_type = 0
    before_ms = time.time_ns() // 1_000_000
    ours = records_of(records)
    assert [(r.offset, r.value) for r in ours] == [(r.offset, r.value) for r in records]
    assert ours[0].timestamp == 0
    assert before_ms <= ours[1].timestamp <= time.time_ns() // 1_000_000


async def test_an_idle_room_lets_the_intake_flush(house, monkeypatch):
    monkeypatch.setattr(module, "TICK_S", 0.001)
    await until(lambda: house.intake.ticks >= 3)


async def test_what_ends_the_intake_ends_the_room():
    house = House()

    async def broken(*_):
        raise RuntimeError("no")

    house.intake.feed = broken
    house.room.put(SPOT, fetched(0), 0)
    with pytest.raises(RuntimeError):
        await house.room.run()
