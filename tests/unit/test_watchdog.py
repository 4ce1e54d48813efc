"""Stuck is only who takes nothing though there is something to take, with a store and a broker that answer."""

import pytest

from ingest.errors import StoreUnreachable
from ingest.stream.intake import Spot
from ingest.stream.logs import BrokerUnreachable
from ingest.stream.reading import Reading
from ingest.stream.watchdog import STUCK_AFTER_S, AroundAWorker, ConsumerStuck, Watchdog
from runtime.emit import Brokers

OURS, THEIRS = Spot("calls", 0), Spot("calls", 1)


class Scene:
    """A worker and what is around it, and a clock that the test moves."""

    def __init__(self):
        self.moves, self.waits, self.now_s = 0, False, 0.0
        self.assigned = {OURS}
        self.unread = {OURS: 5}
        self.broker = self.store = True
        self.dog = Watchdog(self, lambda: self.assigned, self, STUCK_AFTER_S, lambda: self.now_s)

    def behind(self):
        if not self.broker:
            raise BrokerUnreachable("away")
        return dict(self.unread)

    def store_answers(self):
        return self.store

    async def later(self, seconds=STUCK_AFTER_S):
        self.now_s += seconds
        return await self.dog.check()


@pytest.fixture
async def scene():
    scene = Scene()
    assert await scene.later() is None  # the first look knows nothing to compare with
    assert await scene.later(0) is None  # from here on it is suspected
    return scene


async def test_what_has_taken_nothing_for_as_long_is_stuck_and_no_sooner(scene):
    assert await scene.later(STUCK_AFTER_S - 0.001) is None
    assert await scene.later(0.001) == OURS


async def test_who_takes_something_is_not_stuck(scene):
    scene.moves += 1
    assert await scene.later() is None
    assert await scene.later(0) is None
    assert await scene.later(STUCK_AFTER_S - 0.001) is None


async def test_who_waits_for_the_store_or_the_broker_is_not_stuck(scene):
    scene.waits = True
    for _ in range(5):
        assert await scene.later() is None
    scene.waits = False
    assert await scene.later(0) is None
    assert await scene.later(STUCK_AFTER_S - 0.001) is None


async def test_a_store_that_does_not_answer_is_no_stuck_consumer(scene):
    scene.store = False
    for _ in range(5):
        assert await scene.later() is None


async def test_a_broker_that_does_not_answer_is_no_stuck_consumer_and_time_begins_anew_with_it(scene):
    scene.broker = False
    assert await scene.later() is None
    scene.broker = True
    assert await scene.later() is None
    assert await scene.later(STUCK_AFTER_S - 0.001) is None


async def test_who_has_nothing_to_read_may_be_idle_for_ever(scene):
    scene.unread = {}
    for _ in range(5):
        assert await scene.later() is None
    scene.unread = {OURS: 5}  # just come
    assert await scene.later() is None


async def test_a_commit_that_moves_is_progress_whoever_made_it(scene):
    for offset in range(6, 12):
        scene.unread = {OURS: offset}
        assert await scene.later() is None


async def test_a_partition_of_another_worker_is_its_own_to_answer_for(scene):
    scene.unread = {THEIRS: 5}
    for _ in range(5):
        assert await scene.later() is None


async def test_who_was_never_given_a_partition_is_stuck_when_nobody_reads(scene):
    scene.assigned, scene.unread = set(), {THEIRS: 5}
    assert await scene.later() is None
    assert await scene.later() == THEIRS


async def test_it_says_so_in_one_error():
    scene = Scene()
    scene.dog = Watchdog(scene, lambda: {OURS}, scene, 0.001)
    with pytest.raises(ConsumerStuck, match=r"nothing was taken of calls/0 .* to be started again"):
        await scene.dog.run()


def test_the_store_answers_or_does_not():
    def away():
        raise StoreUnreachable("away")

    reading = Reading(Brokers("127.0.0.1:1"), "group")
    assert AroundAWorker(reading, lambda: None).store_answers()
    assert not AroundAWorker(reading, away).store_answers()
