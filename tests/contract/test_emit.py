"""The log keeps one suite of facts in memory and on a broker; the broker's own failures never reach a call."""

import gc
import logging
import subprocess
import sys
import threading
from collections import defaultdict

import pytest

from deploy.embedded.child import free_port
from runtime.emit import Brokers, LogUnreachable, MemoryLog
from runtime.emit.kafka import KafkaLog
from runtime.events import Topic
from tests.contract.ground import by_key, until
from tests.contract.grounds import BROKERS, broker_named

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # as below


@pytest.fixture(autouse=True)
def _collected():
    """kafka-python leaves the sockets of refused connections to the garbage collector, and its log keeps them alive."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("kafka").setLevel(logging.NOTSET)
    gc.collect()


@pytest.fixture(params=BROKERS)
def broker(request):
    with broker_named(request.param, request) as running:
        yield running


class InMemory:
    def open(self, records_max=1_000):
        self.log = MemoryLog(records_max)
        return self.log

    def read(self, topic, _least=1):
        return self.log.records(topic)


class OnBroker:
    def __init__(self, broker):
        self._broker = broker

    def open(self, records_max=1_000):
        return KafkaLog(self._broker.address, queue_records_max=records_max)

    def read(self, topic, least=1):
        return [(r.key.decode(), r.value) for r in self._broker.records(topic, least)]


@pytest.fixture(params=["memory", *BROKERS])
def home(request):
    if request.param == "memory":
        yield InMemory()
    else:
        with broker_named(request.param, request) as running:
            yield OnBroker(running)


def test_records_of_one_key_keep_their_order(home):
    log = home.open()
    expected = defaultdict(list)
    for n in range(600):
        key = f"call-{n % 7}"
        log.append(Topic.CALLS, key, b"%d" % n)
        expected[key].append(b"%d" % n)
    assert log.close() == 0
    assert by_key(home.read(Topic.CALLS, 600)) == expected


def test_calls_and_content_lie_on_their_own_topics(home):
    log = home.open()
    log.append(Topic.CALLS, "call-1", b"fact")
    log.append(Topic.CONTENT, "call-1", b"words")
    assert log.close() == 0
    assert home.read(Topic.CALLS) == [("call-1", b"fact")]
    assert home.read(Topic.CONTENT) == [("call-1", b"words")]


def test_what_is_flushed_can_be_read_and_the_log_goes_on(home):
    log = home.open()
    for n in range(3):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
        assert log.flush() == 0
        assert home.read(Topic.CALLS, n + 1)[-1] == ("call-1", b"%d" % n)
    assert log.close() == 0
    assert log.dropped == 0


def test_several_speakers_lose_and_count_nothing_wrong(home):
    log = home.open(10_000)
    speakers = [
        threading.Thread(target=lambda k=k: [log.append(Topic.CALLS, f"call-{k}", b"%d" % n) for n in range(500)])
        for k in range(4)
    ]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    assert log.close() == 0
    assert by_key(home.read(Topic.CALLS, 2_000)) == {f"call-{k}": [b"%d" % n for n in range(500)] for k in range(4)}


def test_closing_twice_is_harmless(home):
    log = home.open()
    log.append(Topic.CALLS, "call-1", b"fact")
    assert log.close() == 0
    assert log.close() == 0
    assert log.flush() == 0


def test_a_key_that_is_no_text_takes_no_other_record_along():
    log = MemoryLog()
    log.append(Topic.CALLS, "\ud800", b"lost")
    log.append(Topic.CALLS, "call-1", b"kept")
    assert ("call-1", b"kept") in log.records(Topic.CALLS)


def test_a_full_memory_drops_and_counts():
    log = MemoryLog(2)
    for n in range(5):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
    assert log.records(Topic.CALLS) == [("call-1", b"0"), ("call-1", b"1")]
    assert (log.dropped, log.close()) == (3, 0)


# ── only a broker can fail like this ──────────────────────────────────────────────────────────────────────────


def test_a_record_that_the_producer_refuses_takes_no_other_along(broker):
    home = OnBroker(broker)
    log = home.open()
    log.append(Topic.CALLS, "\ud800", b"a key that is no text")
    log.append(Topic.CALLS, "call-1", b"x" * 2**21)
    log.append(Topic.CALLS, "call-1", b"kept")
    assert log.close() == 2
    assert log.failed == 2
    assert home.read(Topic.CALLS) == [("call-1", b"kept")]


def test_what_is_appended_after_closing_is_dropped_and_counted(broker):
    log = OnBroker(broker).open()
    assert log.close() == 0
    log.append(Topic.CALLS, "call-1", b"late")
    assert (log.dropped, log.flush(), log.close()) == (1, 0, 0)


def test_a_full_hand_over_drops_and_counts_and_blocks_nobody(broker):
    log = KafkaLog(broker.address, queue_records_max=10)
    broker.kill()
    for _ in range(200):
        log.append(Topic.CALLS, "call-1", b"x" * 10_000)
    assert (log.taken, log.dropped) == (10, 190)
    assert log.close(timeout_s=0.1) == 10


def test_a_broker_that_dies_under_way_leaves_a_count_and_no_error(broker):
    log = KafkaLog(broker.address)
    log.append(Topic.CALLS, "call-1", b"before")
    assert log.flush() == 0
    broker.kill()
    for n in range(100):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
    assert log.flush(timeout_s=0.1) == 100
    assert log.close(timeout_s=0.1) == 100
    assert (log.delivered, log.dropped) == (1, 0)


def test_a_broker_that_returns_is_written_to_again_and_every_record_is_accounted_for(broker):
    log = KafkaLog(broker.address)
    log.append(Topic.CALLS, "call-1", b"before")
    assert log.flush() == 0
    broker.wipe()  # it forgets its producers, too, and so refuses what was numbered for the one before

    def taken_again():
        log.append(Topic.CALLS, "call-1", b"after")
        log.flush(timeout_s=0.5)
        return log.delivered > 1

    until(taken_again, "it takes records again")
    assert log.close() == log.failed == log.taken - log.delivered
    assert len(broker.records(Topic.CALLS, log.delivered - 1)) == log.delivered - 1


def test_nobody_at_the_address_is_one_error_with_the_address_and_the_remedy():
    servers = f"127.0.0.1:{free_port()}"
    with pytest.raises(LogUnreachable, match=rf"{servers}.*KAFKA_BOOTSTRAP_SERVERS") as refused:
        KafkaLog(Brokers(servers), bootstrap_timeout_ms=300)
    assert "\n" not in str(refused.value)


def test_nobody_at_the_address_leaves_no_traceback_on_the_terminal():
    script = f"""
from runtime.emit import Brokers, LogUnreachable
from runtime.emit.kafka import KafkaLog
try:
    KafkaLog(Brokers("127.0.0.1:{free_port()}"), bootstrap_timeout_ms=300)
except LogUnreachable:
    print("unreachable")
"""
    ran = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "unreachable\n"
    assert "Traceback" not in ran.stderr
