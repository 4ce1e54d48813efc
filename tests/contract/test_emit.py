"""The log keeps one suite of facts in memory and on a broker, with a spool in front and without; the broker's own
failures never reach a call.
"""

import gc
import logging
import subprocess
import sys
import threading
from collections import defaultdict

import pytest

from deploy.embedded.child import free_port
from runtime.emit import Brokers, LogUnreachable, MemoryLog, SpoolUnusable, kafka_log, spooled
from runtime.emit.folder import SpoolFolder
from runtime.emit.kafka import KafkaLog
from runtime.events import Topic
from tests.contract.ground import by_key, until
from tests.contract.grounds import BROKERS, broker_named
from tests.contract.kafka_broker import embedded_broker

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


class BehindSpool(InMemory):
    def __init__(self, folder):
        self._folder = folder

    def open(self, records_max=1_000):
        return spooled(super().open(records_max), self._folder)


class OnBroker:
    def __init__(self, broker, folder=None):
        self._broker, self._folder = broker, folder

    def open(self, records_max=1_000):
        spool = SpoolFolder(self._folder) if self._folder else None
        return KafkaLog(self._broker.address, queue_records_max=records_max, spool=spool)

    def read(self, topic, least=1):
        return [(r.key.decode(), r.value) for r in self._broker.records(topic, least)]


@pytest.fixture(params=[f"{kind}{spool}" for kind in ("memory", *BROKERS) for spool in ("", "-spooled")])
def home(request, tmp_path):
    kind, _, spool = request.param.partition("-")
    folder = tmp_path / "spool" if spool else None
    if kind == "memory":
        yield BehindSpool(folder) if folder else InMemory()
    else:
        with broker_named(kind, request) as running:
            yield OnBroker(running, folder)


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


def firsts(broker, count):
    """The distinct (key, value) of the calls topic, by partition, in the order of their first arrival."""
    least = count
    while True:
        records = broker.records(Topic.CALLS, least)
        found = list(dict.fromkeys((r.key.decode(), r.value) for r in records))
        if len(found) >= count or len(records) < least:
            return found
        least = len(records) + count - len(found)  # a repetition had stood in for a record yet to be read


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory alone", "spooled"])
def test_what_was_under_way_when_a_broker_was_wiped_arrives_in_order(broker, tmp_path, with_spool):
    """It forgets its producers, too, and so refuses what was numbered for the one before."""
    log = kafka_log(broker.address, tmp_path / "spool" if with_spool else None)
    for n in range(100):
        log.append(Topic.CALLS, "call-1", b"before %d" % n)
    assert log.flush() == 0
    if broker.survives:
        broker.wipe()  # what it still took before that would be gone, and rightly
    else:
        broker.kill()
    for n in range(2_000):
        log.append(Topic.CALLS, f"call-{n % 3}", b"%d" % n)
    if not broker.survives:
        broker.wipe()
    for n in range(2_000, 2_300):
        log.append(Topic.CALLS, f"call-{n % 3}", b"%d" % n)
    assert log.close(timeout_s=60.0) == 0
    came = by_key(firsts(broker, 2_300))
    for k in range(3):
        said = [b"%d" % n for n in range(2_300) if n % 3 == k]
        assert [value for value in came[f"call-{k}"] if not value.startswith(b"before")] == said
    assert (log.failed, log.dropped) == (0, 0)


def test_a_partition_that_a_wiped_broker_had_never_answered_for_is_not_asked_for_ever():
    """kafka-python takes such forgetting for retention, and repeats until it may no longer deliver."""
    with embedded_broker() as broker:
        log = kafka_log(broker.address)
        log.append(Topic.CALLS, "call-1", b"before")
        assert log.flush() == 0
        broker.pause()
        log.append(Topic.CALLS, "call-2", b"the first of its partition")
        assert log.flush(timeout_s=0.2) == 1
        broker.wipe()
        assert log.close(timeout_s=60.0) == 0
        assert [r.value for r in broker.records(Topic.CALLS, 1)] == [b"the first of its partition"]


def test_a_process_that_starts_where_another_ended_sends_what_it_left_first(broker, tmp_path):
    log = kafka_log(broker.address, tmp_path)
    broker.kill()
    for n in range(50):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
        log.append(Topic.CONTENT, "call-1", b"word %d" % n)
    assert log.close(timeout_s=0.1) == 100
    assert log.counts().spooled.total() == 100
    broker.start()
    log = kafka_log(broker.address, tmp_path)
    log.append(Topic.CALLS, "call-1", b"after")
    assert log.close(timeout_s=60.0) == 0
    assert [value for _, value in firsts(broker, 51)] == [*(b"%d" % n for n in range(50)), b"after"]
    assert [r.value for r in broker.records(Topic.CONTENT, 50)] == [b"word %d" % n for n in range(50)]
    assert not list(tmp_path.glob("*/facts-*")) + list(tmp_path.glob("*/words-*"))


def test_a_broker_that_stands_still_is_spooled_for_and_then_caught_up_with(broker, tmp_path):
    log = kafka_log(broker.address, tmp_path)
    log.append(Topic.CALLS, "call-1", b"first")
    assert log.flush() == 0
    broker.pause()
    for n in range(300):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
    until(lambda: log.counts().spooled.total() == 300, "what the broker owes lies on the disk")
    broker.go_on()
    assert log.flush(timeout_s=60.0) == 0
    assert log.close() == 0
    assert [value for _, value in firsts(broker, 301)] == [b"first", *(b"%d" % n for n in range(300))]


def test_what_the_client_gives_up_after_its_own_patience_is_sent_again_in_order(broker, tmp_path):
    patience = {"request_timeout_ms": 400, "delivery_timeout_ms": 600}
    log = KafkaLog(broker.address, spool=SpoolFolder(tmp_path), **patience)
    log.append(Topic.CALLS, "call-1", b"first")
    assert log.flush() == 0
    broker.pause()
    for n in range(300):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
    until(lambda: log.renewed, "the client has given up")
    broker.go_on()
    for n in range(300, 400):
        log.append(Topic.CALLS, "call-1", b"%d" % n)
    assert log.close(timeout_s=60.0) == 0
    assert [value for _, value in firsts(broker, 401)] == [b"first", *(b"%d" % n for n in range(400))]


def test_without_a_broker_it_starts_where_that_is_asked_for(tmp_path):
    log = kafka_log(Brokers(f"127.0.0.1:{free_port()}"), tmp_path, answering=False)
    log.append(Topic.CALLS, "call-1", b"kept")
    assert log.close(timeout_s=0.1) == 1
    assert log.counts().spooled.total() == 1


def test_a_spool_without_a_place_is_one_error_with_the_folder_and_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match=r"have no place in .*file.* name another folder"):
        spooled(MemoryLog(), tmp_path / "file")


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
