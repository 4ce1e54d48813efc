"""What the worker and the store spend on an event: `python -m bench.ingest`.

A backlog of whole calls is drained into the embedded store, with rollups and the facts of calls. The figure is CPU of
the worker and the store together for an event. The yardstick, in the same run, is the sum of the two limits that no
worker can beat: fetching and decoding by a bare loop, and inserting columns that stand ready into the same tables (the
client and the store). `ratio` is yardstick / figure: the share that is not overhead of ours. Memory is the worker's
peak after the first backlog and after four times that.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from bench.consumers import Counted, raw
from bench.figures import Figure, options, progress, tell
from bench.ground import ANSWER_MAX_S, STALL_S, await_events, send, stack
from bench.load import Load
from deploy.embedded import Addresses
from ingest.columns import raw_tables, rollup_tables
from ingest.effects import Dead, Item, Lookup, Skipped, Write, WriteRollups
from ingest.partition import FLUSH_RECORDS_MAX, Partition
from ingest.projection import Record, project
from ingest.query import connect
from ingest.store.writer import Writer
from ingest.tables import RAW, Log
from runtime.events import Topic

EVENTS, EVENTS_QUICK = 100_000, 10_000
RUNS = 3
FETCH_MAX_S = 60.0
_LAST_ROLLUPS_S = 1.0  # they and the commit follow the last rows; what they cost is counted
_TICKS_S = os.sysconf("SC_CLK_TCK")
Say = Callable[[str], None]


class _Run(msgspec.Struct):
    """Of one round; µs of CPU an event, but for the rate."""

    whole: float
    worker: float
    store: float
    fetched: float
    inserted: float
    events_s: float


def measure(events: int = EVENTS, runs: int = RUNS, say: Say = lambda _: None) -> list[Figure]:
    """One stack; a backlog, the fetching and the inserting in turns. The first backlog warms up; `runs` at least 3."""
    found: list[_Run] = []
    with stack(worker=True) as running:
        at = running.addresses
        with closing(connect(at.clickhouse, ANSWER_MAX_S)) as client:
            peaks = []
            for n in range(runs + 1):
                say(f"round {n} of {runs}")
                one = _round(at, client, events, n)
                peaks.append(_peak_mb(at.children["worker"]))
                found += [one] if n else []
    return _figures(found, peaks[0], peaks[3], events)


def _figures(found: list[_Run], once: float, often: float, events: int) -> list[Figure]:
    def median(name: str) -> float:
        return statistics.median(getattr(r, name) for r in found)

    runs, unit = len(found), "µs CPU/event"
    ratio = statistics.median((r.fetched + r.inserted) / r.whole for r in found)
    limits = f"{median('fetched'):.1f} fetched + {median('inserted'):.1f} inserted"
    note = f"worker {median('worker'):.1f}, store {median('store'):.1f}"
    return [
        Figure("ingest.cpu", round(median("whole"), 2), unit, limits, round(ratio, 3), runs, note),
        Figure("ingest.rate", round(median("events_s")), "events/s", f"a backlog of {events:,}", 1.0, runs),
        Figure("ingest.memory", often, "MB", f"{once} MB after a fourth of it", round(often / once, 3), 1),
    ]


def _round(at: Addresses, client: Client, events: int, n: int) -> _Run:
    load = Load(seed=n, tenant=f"backlog {n}")
    pids = [at.children["worker"], at.children["store"]]
    before, began = [_cpu_s(pid) for pid in pids], time.monotonic()
    send(at.kafka, load, events, time.time_ns() // 1000)
    _drained(client, f"backlog {n}", load.said.events)
    elapsed_s = time.monotonic() - began
    time.sleep(_LAST_ROLLUPS_S)
    worker, store = ((_cpu_s(pid) - old) * 1e6 / load.said.events for pid, old in zip(pids, before, strict=True))
    await_events(client, load.said.events, lambda _: None, tenant=f"backlog {n}")  # each of them, and once
    fetched = asyncio.run(_fetched(at.kafka, load.said.events))
    inserted = _inserted(client, pids[1], Load(seed=n, tenant=f"ready {n}"), events)
    return _Run(worker + store, worker, store, fetched, inserted, load.said.events / elapsed_s)


def _drained(client: Client, tenant: str, events: int) -> None:
    """Asks without FINAL, which would be a good part of what the store spends."""
    stored, moved = -1, time.monotonic()
    while stored < events:
        now = int(str(client.command("SELECT count() FROM events_log WHERE tenant = {t:String}", {"t": tenant})))
        if now != stored:
            stored, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALL_S:
            raise TimeoutError(f"{stored} of {events} events stored, and no more for {STALL_S:g} s")
        time.sleep(0.25)


async def _fetched(servers: str, events: int) -> float:
    """A bare loop over the whole topic. The library's fetching is in it, and nothing of ours but the types."""
    counted = Counted(events)
    async with asyncio.timeout(FETCH_MAX_S):
        await raw(servers, counted)
    return counted.cpu_s * 1e6 / counted.events


def _inserted(client: Client, store: int, load: Load, events: int) -> float:
    """Tables that stand ready, in flushes as large as the worker's largest: its client and the store."""
    ready = list(_ready(load, events))
    writer = Writer(client)
    before, own = _cpu_s(store), time.process_time()
    for table, rows in ready:
        writer.insert(table, rows)
    return (time.process_time() - own + _cpu_s(store) - before) * 1e6 / load.said.events


def _ready(load: Load, events: int) -> Iterator[tuple[Log, pa.Table]]:
    now_us = time.time_ns() // 1000
    values = [value for call in load.calls(events, now_us) for _, value in call]
    records = [Record(n, now_us // 1000, value) for n, value in enumerate(values)]
    core = Partition("ready", 0, 0, 0)
    for start in range(0, len(records), FLUSH_RECORDS_MAX):
        batch = project(records[start : start + FLUSH_RECORDS_MAX], Topic.CALLS)
        if not all(isinstance(item, Item) for item in batch):
            raise RuntimeError("an event of the load cannot be stored")
        yield from _written(core, batch)


def _written(core: Partition, batch: Sequence[Item | Dead | Skipped]) -> Iterator[tuple[Log, pa.Table]]:
    place = {"log": core.log, "partition": core.number}
    for effects in (core.feed(batch, 0.0), core.flush()):
        answer: object = None
        while True:
            try:
                effect = effects.send(answer)
            except StopIteration:
                break
            answer = [] if isinstance(effect, Lookup) else None
            match effect:
                case Write(items, firsts, repeated):
                    yield from raw_tables(items, firsts, repeated, RAW[Topic.CALLS], place)
                case WriteRollups(rows):
                    yield from rollup_tables(rows)


def _cpu_s(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"the kernel says nothing of the memory of process {pid}")


def main() -> None:
    """Prints the CPU, the rate and the memory."""
    asked = options("ingest", __doc__).parse_args()
    tell(measure(EVENTS_QUICK if asked.quick else EVENTS, say=progress("ingest")), asked.json)


if __name__ == "__main__":
    sys.exit(main())
