"""Facts that only a real broker can show: its clock, its memory of producers, its refusal of a member it gave up."""

import os
import signal
import time
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from ingest.stream.intake import Spot
from ingest.stream.logs import BrokerUnreachable
from ingest.stream.reading import Reading
from ingest.stream.topics import configs_of
from ingest.stream.watchdog import AroundAWorker
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


def test_each_topic_is_made_with_its_own_retention(broker):
    with closing(KafkaAdminClient(**broker.address.options())) as admin:
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic.value) for topic in Topic]
        found = admin.describe_configs(asked)["topic"]
    for topic in Topic:
        wanted = configs_of(topic)
        assert {name: found[topic.value][name]["value"] for name in wanted} == wanted


def test_a_watchdog_takes_no_marker_of_a_transaction_for_a_record(broker):
    """A log that ends in one is never committed to its end, and there is nothing to read all the same."""
    around = AroundAWorker(Reading(broker.address, broker.group), lambda: None)
    with closing(KafkaProducer(bootstrap_servers=broker.servers, transactional_id="t")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        offset = producer.send(Topic.CALLS.value, value=b"fact", key=b"k").get(10).offset
        producer.commit_transaction()
    [record] = broker.records(Topic.CALLS)
    spot = Spot(Topic.CALLS.value, record.partition)
    broker.committed()  # a broker that has just started makes itself a coordinator when it is asked

    def behind():
        try:
            return around.behind()
        except BrokerUnreachable:
            return None

    until(lambda: behind() == {spot: offset}, "the record is there to be read")
    with closing(KafkaAdminClient(**broker.address.options())) as admin:
        admin.alter_group_offsets(broker.group, {TopicPartition(*spot): OffsetAndMetadata(offset + 1, "", -1)})
        [end] = admin.list_partition_offsets({TopicPartition(*spot): OffsetSpec.LATEST}).values()
    assert end.offset == offset + 2
    assert behind() == {}


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
        assert zombie.stop() == 0, zombie.words()
        assert faults(store.url, first, second, third) == []
