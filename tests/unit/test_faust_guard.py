"""What the Faust adapter relies on stands as it was read.

When a test here fails after an upgrade, read the method anew, run tests/contract/test_adapters.py many times, and
only then write down the new hash.
"""

import asyncio
import hashlib
import inspect
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from faust.app.base import App
from faust.streams import Stream
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.threads import ServiceThread
from mode.utils.queues import FlowControlEvent

from ingest.stream.faust_batch import BatchApp, BatchConsumer, BatchSchema, BatchTransport

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}


@pytest.mark.parametrize("package", PINNED)
def test_the_version_is_the_one_that_was_read(package):
    assert version(package) == PINNED[package], f"{package} moved: work through every test of this file"


OVERRIDDEN = {
    (BatchConsumer, "_new_consumer_thread"): "(self)",
    (BatchConsumer, "_getmany"): "(self, active_partitions, timeout)",
    (BatchConsumer, "_add_gap"): "(self, tp, offset_from, offset_to)",
    (BatchConsumer, "_new_offset"): "(self, tp)",
    (BatchConsumer, "seek_to_committed"): "(self)",
    (BatchConsumer, "on_partitions_revoked"): "(self, revoked)",
    (BatchConsumer, "on_stop"): "(self)",
    (BatchApp, "_create_directories"): "(self)",
    (BatchApp, "_new_transport"): "(self)",
    (BatchSchema, "loads_key"): "(self, app, message, *, loads, serializer)",
    (BatchSchema, "loads_value"): "(self, app, message, *, loads, serializer)",
}


def _names(function):
    signature = inspect.signature(function)
    kept = [p.replace(annotation=p.empty, default=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(kept))


@pytest.mark.parametrize(("owner", "name"), OVERRIDDEN)
def test_what_we_override_is_there_and_takes_what_we_take(owner, name):
    assert name in vars(owner)
    theirs = getattr(owner.__mro__[1], name)
    assert _names(theirs) == OVERRIDDEN[owner, name], f"Faust's {name} takes something else now"
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(vars(owner)[name])


@pytest.mark.parametrize(
    "name",
    ["_acked", "_acked_index", "_committed_offset", "_read_offset", "_thread", "stop_flow", "commit", "assignment"],
)
def test_what_we_touch_of_the_consumer_is_there(name):
    annotated = {key for cls in BatchConsumer.__mro__ for key in getattr(cls, "__annotations__", {})}
    assert name in annotated or hasattr(BatchConsumer, name)


def test_the_transport_makes_our_consumer():
    assert BatchTransport.Consumer is BatchConsumer
    assert "self.Consumer(" in inspect.getsource(driver.Transport.create_consumer)
    assert "self._new_transport()" in inspect.getsource(App.transport.fget)


# (what, hash of its source, what we rely on)
BEHAVIOUR = [
    (
        base.Consumer._drain_messages,
        "44a2500309e83c63",
        "reads `_read_offset` for each message and drops what lies below it",
    ),
    (
        base.Consumer.getmany,
        "4b168d84882a70d6",
        "yields one message a record of `_getmany`, drops and seeks while the flow is stopped",
    ),
    (
        base.Consumer._wait_next_records,
        "6218e1969a636b3f",
        "is the only caller of `_getmany`, which it awaits before any is yielded",
    ),
    (base.Consumer.perform_seek, "0e8c130ff4b0afd8", "seeks by `seek_to_committed` and keeps its answer as committed"),
    (
        base.Consumer.ack,
        "5fcf41cf45153475",
        "leaves an entry in `_acked`, which is what makes a partition one to commit",
    ),
    (base.Consumer.commit, "a354437baaa08bf8", "answers False when it only waited for another commit"),
    (base.Consumer._filter_committable_offsets, "dc5e9baf5d994485", "commits what `_new_offset` says"),
    (base.Consumer._should_commit, "5ce941793947ad42", "takes any offset when `_committed_offset` is None"),
    (base.Consumer._commit_offsets, "1a69799041188441", "discards what is no longer assigned"),
    (base.Consumer.on_partitions_revoked, "d04b7ae72c6fc206", "forgets the offsets of what is revoked"),
    (base.Consumer.on_stop, "45b1d2210ce2b526", "commits"),
    (
        driver.Consumer._to_message,
        "7c24f6511b2fcef7",
        "reads exactly the fields of FetchedBatch and stamps the generation",
    ),
    (
        driver.AIOKafkaConsumerThread.getmany,
        "26fc5fc9f3b667e1",
        "fetches no more records at once than `broker_max_poll_records`",
    ),
    (
        driver.AIOKafkaConsumerThread._fetch_records,
        "39a2c6c79fc1455a",
        "asks for the partitions that it is given, and counts as a poll whatever they are",
    ),
    (driver.Consumer._new_consumer_thread, "0870ec53dea75083", "only makes the thread"),
    (ServiceThread.__init__, "82979878990cdff5", "takes a loop, and closes it when it is told to"),
    (driver.AIOKafkaConsumerThread._commit, "932852ce7a23f658", "crashes on what is not an ordinary rebalance"),
    (
        driver.ConsumerRebalanceListener.on_partitions_assigned,
        "1c1f8406ad3698a6",
        "sets the generation before anything is fetched in it",
    ),
    (App._on_partitions_revoked, "d5c895bbe57dc73a", "stops the flow and clears the queues"),
    (App._on_partitions_assigned, "de932b7927db85b3", "sends on_partitions_assigned before any flow is resumed"),
    (App._stop_consumer, "55854a5de12c3f52", "stops the flow before the agents"),
    (Recovery._resume_streams, "d986a6710c1aca98", "seeks, and only then resumes"),
    (Stream.noack, "921a6f5c674d32d4", "turns acknowledging off, so that only we do it"),
    (Service.crash, "14980000465df0af", "sets `crashed`, which is all that we are told"),
    (FlowControlEvent.clear, "dda5e40d80288a8f", "empties the queues of the streams"),
    (
        AIOKafkaConsumer.seek_to_committed,
        "f6cd85c8b70a4ccf",
        "answers None for what was never committed, and leaves its position alone",
    ),
    (
        Fetcher.fetched_records,
        "be4348896b9b66af",
        "moves the position when records are drained, and drains none that were not asked for",
    ),
]


def _hash(function):
    return hashlib.sha256(inspect.getsource(inspect.unwrap(function)).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("function", "known", "relied_on"), BEHAVIOUR, ids=[b[0].__qualname__ for b in BEHAVIOUR])
def test_what_we_rely_on_reads_as_it_did(function, known, relied_on):
    found = _hash(function)
    assert found == known, (
        f"{function.__qualname__} changed ({found}). We rely on this: it {relied_on}. Check that first"
    )


class _Thread:
    """The consumer's thread, as far as seeking goes."""

    def __init__(self, committed):
        self.committed, self.rewound = committed, []

    async def seek_to_committed(self):
        return self.committed

    async def seek_to_beginning(self, *tps):
        self.rewound += tps


class _Apart(BatchConsumer):
    """The consumer without its app."""

    def __init__(self, thread, stored=None):
        self._thread = thread
        self._committed_offset, self._acked, self._acked_index, self._read_offset = {}, {}, {}, {}
        self.app = type("App", (), {"stored": stored or {}})()


def test_the_client_reads_on_a_loop_of_the_kind_that_ours_is(monkeypatch):
    monkeypatch.setattr(driver, "AIOKafkaConsumerThread", lambda _, **told: SimpleNamespace(**told))
    for make in (asyncio.SelectorEventLoop, uvloop.Loop):
        consumer = _Apart(None)
        consumer.loop, consumer.beacon = make(), None
        thread = consumer._new_consumer_thread()
        assert type(thread.thread_loop) is make
        assert thread.thread_loop is not thread.loop is consumer.loop
        assert thread._close_thread_loop_on_stop
        thread.thread_loop.close()
        consumer.loop.close()


async def test_a_partition_without_a_commit_is_read_from_its_beginning():
    a, b, c = (TP("calls", n) for n in range(3))
    thread = _Thread({a: None, b: 0, c: 7})
    assert await _Apart(thread).seek_to_committed() == {a: None, b: 0, c: 7}
    assert thread.rewound == [a, b]


@pytest.mark.parametrize(
    ("stored", "committed", "commits"), [(1, None, 1), (1, 0, 1), (7, 7, None), (8, 7, 8), (3, 7, 3), (None, 7, None)]
)
def test_what_is_stored_is_committed_also_when_a_replaced_log_counts_anew(stored, committed, commits):
    tp = TP("calls", 0)
    consumer = _Apart(None, {} if stored is None else {tp: stored})
    consumer._committed_offset[tp] = committed
    consumer._acked[tp], consumer._acked_index[tp] = [0], {0}
    offset = consumer._new_offset(tp)
    would = offset if offset is not None and consumer._should_commit(tp, offset) else None
    assert would == commits
    assert not consumer._acked[tp]
