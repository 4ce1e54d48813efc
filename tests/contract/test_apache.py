"""Facts that only a real broker can show: its clock, its memory of producers, its refusal of a member it gave up."""

import os
import signal
import time

import pytest

from runtime.emit.kafka import KafkaLog
from runtime.events import Topic
from tests.contract.ground import PATIENCE_S, by_key, house_on, until
from tests.contract.grounds import ground_named
from tests.contract.processes import Store
from tests.contract.said import calls, faults

_RETRIES = "turnlog_ingest_retries_total"


@pytest.fixture
def broker(apache):
    with apache() as running:
        yield running


def test_a_record_bears_the_time_at_which_the_broker_got_it_whatever_its_producer_says(broker):
    before_ms = time.time_ns() // 1_000_000
    broker.produce([("call-1", b"fact")], timestamp_ms=86_400_000)
    [record] = broker.records(Topic.CALLS)
    assert before_ms <= record.timestamp <= time.time_ns() // 1_000_000


def test_a_producer_outlives_its_broker_and_nothing_is_lost_or_doubled_or_out_of_order(broker):
    log = KafkaLog(broker.address)
    said = [(f"call-{n % 5}", b"%d" % n) for n in range(4_000)]
    for key, value in said[:2_000]:
        log.append(Topic.CALLS, key, value)
    until(lambda: log.delivered > 0, "the broker takes some")
    broker.kill()
    for key, value in said[2_000:]:
        log.append(Topic.CALLS, key, value)
    broker.start()
    assert log.close(timeout_s=PATIENCE_S) == 0
    assert by_key((r.key.decode(), r.value) for r in broker.records(Topic.CALLS)) == by_key(said)


@pytest.mark.parametrize("adapter", ["plain", "faust"])
def test_a_worker_that_its_group_gave_up_for_dead_writes_and_is_refused_and_it_costs_nothing(
    request, tmp_path, adapter
):
    """It stops breathing with records in hand, another one takes over, and then it breathes again."""
    first, second, third = calls(8), calls(8, seed=1), calls(8, seed=2)
    with (
        Store(tmp_path / "db") as store,
        house_on(ground_named(f"apache-{adapter}", request), store.url, tmp_path) as house,
    ):
        zombie = house.worker()
        house.broker.produce(first)
        house.read()
        store.kill()
        house.broker.produce(second)
        until(lambda: zombie.counted(_RETRIES) > 0, "it holds what the store does not take", zombie.words)
        os.kill(zombie.process.pid, signal.SIGSTOP)
        store.start()
        house.worker()
        house.read()
        os.kill(zombie.process.pid, signal.SIGCONT)
        until(lambda: zombie.said("OffsetCommit failed"), "its commit is refused", zombie.words)
        house.broker.produce(third)
        house.read()
        assert zombie.stop() == 0
        assert faults(store.url, first, second, third) == []
