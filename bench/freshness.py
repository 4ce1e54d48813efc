"""How soon what is said can be read: `python -m bench.freshness`.

Calls arrive at an even rate, each saying something twice a second, and among them a marker every 50 ms, a span with a
number of its own. A reader asks the view `spans` and the rollup `latency_1m` again and again: a marker's delay is from
its acknowledgement by the broker to the end of the first answer that has it. The yardstick: a plain consumer of the
topic in the same run, from the acknowledgement to having the record. The rates: 1,000 and 10,000 events a second, and
70 % of what is drained of a backlog on this machine. At the end the store holds every event that was said, or there is
no figure. Producer, readers, broker, worker and store share the machine.
"""

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.batches import Batches
from bench.figures import Figure, options, progress, tell
from bench.ground import ANSWER_MAX_S, await_events, send, stack
from bench.load import Load
from bench.markers import Markers, Reader
from deploy.embedded import Addresses
from ingest.query import connect
from runtime.events import Topic

RATES = (1_000, 10_000)
OF_MAXIMUM = 0.7
SECONDS, SECONDS_QUICK = 20.0, 3.0
BACKLOG, BACKLOG_QUICK = 300_000, 20_000
MARKERS_EVERY_S = 0.05
TICK_S = 0.01
CONSUMED_MAX_S = 60.0
EVENTS_OF_A_CALL_A_SECOND = 2
Say = Callable[[str], None]


def measure(
    seconds: float = SECONDS, backlog: int = BACKLOG, say: Say = lambda _: None, *, apache: bool = False
) -> list[Figure]:
    """What is drained, then the delays at each rate."""
    with stack(worker=True, apache=apache) as running:
        at = running.addresses
        maximum = _drained(at, backlog, say)
        figures = [Figure("freshness.drained", round(maximum), "events/s", f"a backlog of {backlog:,}", 1.0, 1)]
        rates = [*((str(rate), rate) for rate in RATES), ("70_percent", int(maximum * OF_MAXIMUM))]
        for name, rate in rates:
            say(f"{rate:,} events a second for {seconds:g} s")
            figures += _figures(name, *_at_rate(at, rate, seconds))
    return figures


def _drained(at: Addresses, backlog: int, say: Say) -> float:
    """Events a second from the first acknowledgement until all are stored; the sending is a small part of it."""
    load = Load(seed=1, tenant="backlog")
    with closing(connect(at.clickhouse, ANSWER_MAX_S)) as client:
        began = time.monotonic()
        send(at.kafka, load, backlog, time.time_ns() // 1000)
        say(f"sent {backlog:,} events in {time.monotonic() - began:.1f} s")
        await_events(client, load.said.events, lambda _: None)
        return load.said.events / (time.monotonic() - began)


def _at_rate(at: Addresses, rate: int, seconds: float) -> tuple[Markers, float]:
    """The markers, and the rate that was really sent. Raises when something is missing in the store."""
    markers = Markers(f"rate {rate}")
    done: list[int] = []
    reader = Reader(at.clickhouse, markers, lambda: done[0] if done else None)
    reader.start()
    load = Load(seed=rate, tenant=markers.tenant)
    sent = asyncio.run(_say_all(at.kafka, load, rate, seconds, markers))
    done.append(len(markers.acknowledged))
    reader.join()
    if reader.stalled:
        raise RuntimeError(f"{len(markers.in_view)} of {done[0]} markers came to the view, and no more")
    with closing(connect(at.clickhouse, ANSWER_MAX_S)) as client:
        await_events(client, sent + done[0], lambda _: None, tenant=markers.tenant)
    return markers, sent / seconds


async def _say_all(servers: str, load: Load, rate: int, seconds: float, markers: Markers) -> int:
    """How many events beside the markers."""
    consumer = AIOKafkaConsumer(Topic.CALLS.value, bootstrap_servers=servers, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await consumer.start()
    await consumer.seek_to_end()
    await producer.start()
    try:
        count = int(seconds / MARKERS_EVERY_S)
        reading = asyncio.create_task(_consume(consumer, markers, count))
        marking = asyncio.create_task(_mark(producer, markers, count))
        sent = await _load(servers, load, rate, seconds)
        await marking
        await asyncio.wait_for(reading, CONSUMED_MAX_S)
        return sent
    finally:
        await producer.stop()
        await consumer.stop()


async def _load(servers: str, load: Load, rate: int, seconds: float) -> int:
    sent = 0
    records = load.interleaved(max(1, rate // EVENTS_OF_A_CALL_A_SECOND), lambda: time.time_ns() // 1000)
    async with Batches(servers) as batches:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * rate) - sent
            await batches.add(list(itertools.islice(records, due)))
            await batches.push()
            sent += due
            await asyncio.sleep(TICK_S)
        await batches.flush()
    return sent


async def _mark(producer: AIOKafkaProducer, markers: Markers, count: int) -> None:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number * MARKERS_EVERY_S - time.monotonic()))
        key, value = markers.record(number)
        await producer.send_and_wait(Topic.CALLS.value, value, key)
        markers.acknowledged[number] = time.monotonic()


async def _consume(consumer: AIOKafkaConsumer, markers: Markers, count: int) -> None:
    async for record in consumer:
        markers.note_consumed(record.value)
        if len(markers.consumed) == count:
            return


def _figures(name: str, markers: Markers, rate: float) -> list[Figure]:
    figures = []
    note = f"{rate:,.0f} events/s sent; an answer takes {statistics.median(markers.polls_s) * 1e3:.0f} ms"
    plain = markers.delays_ms(markers.consumed)
    for where, had in (("view", markers.in_view), ("rollup", markers.in_rollup)):
        delays = markers.delays_ms(had)
        for q in (50, 99):
            mine, other = _percentile(delays, q), _percentile(plain, q)
            ratio = round(mine / max(other, 0.1), 1)
            yardstick = f"a plain consumer {other:.1f}"
            figures.append(Figure(f"freshness.{name}.{where}.p{q}", round(mine, 1), "ms", yardstick, ratio, 1, note))
    return figures


def _percentile(values: list[float], q: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * q // 100)]


def main() -> int:
    """Prints a line a rate, place and quantile."""
    parser = options("freshness", __doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each rate")
    parser.add_argument("--apache", action="store_true", help="on Apache Kafka, and not the embedded broker")
    asked = parser.parse_args()
    seconds, backlog = (SECONDS_QUICK, BACKLOG_QUICK) if asked.quick else (asked.seconds, BACKLOG)
    tell(measure(seconds, backlog, progress("freshness"), apache=asked.apache), asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
