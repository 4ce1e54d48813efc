"""Memory of the ingest worker after 40 and after 400 calls: `python -m bench.worker_memory [--json]`.

The calls are those of one demo run, repeated under fresh ids: real shapes, without the cost of models. They come
40 at a time, as they do from calls in progress; the last figure is the same 400 calls met as a backlog.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from bench.figures import Figure, options, tell
from deploy.demo.run import Order, run_demo
from deploy.embedded import Stack
from deploy.settings import Settings
from ingest.query import connect, rows
from runtime.emit import Brokers, MemoryLog, kafka_log
from runtime.events import Topic, new_call_id

CALLS = 40
TIMES = 10
_STALL_S = 60.0


class Memory(msgspec.Struct, frozen=True):
    """Peak resident set of the worker in MB, after `calls` calls of `events` events in all."""

    case: str
    calls: int
    events: int
    peak_mb: float


def measure(calls: int = CALLS, times: int = TIMES) -> tuple[Memory, Memory, Memory]:
    """Fresh workers: one given `calls` calls, one given `times` as many, one that finds those waiting. Linux only."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        log = MemoryLog()
        run_demo(Settings(state / "demo"), Order(calls=calls), Console(quiet=True), also=log)
        records = log.records(Topic.CALLS)
        return (
            _worker(state / "once", records, 1, "live"),
            _worker(state / "often", records, times, "live"),
            _worker(state / "backlog", records, times, "backlog"),
        )


def _worker(state: Path, records: Sequence[tuple[str, bytes]], times: int, case: str) -> Memory:
    with Stack(Settings(state), lambda _: None) as stack:
        log = kafka_log(Brokers(stack.addresses.kafka))
        calls = 0
        for i in range(times):
            fresh = {key: new_call_id(time.time_ns() // 1000) for key, _ in records}
            calls += len(fresh)
            for key, value in records:
                log.append(Topic.CALLS, fresh[key], value.replace(key.encode(), fresh[key].encode()))
            log.flush()
            if case == "live":
                _await(stack.addresses.clickhouse, len(records) * (i + 1))
        log.close()
        events = len(records) * times
        _await(stack.addresses.clickhouse, events)
        return Memory(case, calls, events, _peak_mb(stack.addresses.children["worker"]))


def _await(url: str, events: int) -> None:
    client = connect(url)
    stored, moved = -1, time.monotonic()
    try:
        while stored < events:
            now = rows(client, "SELECT count() AS n FROM events")[0]["n"]
            if now != stored:
                stored, moved = now, time.monotonic()
            elif time.monotonic() - moved > _STALL_S:
                raise TimeoutError(f"{stored} of {events} events stored, and no more for {_STALL_S:g} s")
            time.sleep(0.2)
    finally:
        client.close()


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"the kernel says nothing of the memory of process {pid}")


def main() -> None:
    """Prints a line a case."""
    asked = options("worker_memory", __doc__).parse_args()
    found = measure(*((4, 2) if asked.quick else (CALLS, TIMES)))
    first = found[0]
    tell(
        [
            Figure(
                f"worker_memory.{m.case}.{m.calls}_calls",
                m.peak_mb,
                "MB at most",
                f"after {first.calls} calls {first.peak_mb:.1f}",
                round(m.peak_mb / first.peak_mb, 3),
                1,
                f"{m.events:,} events",
            )
            for m in found
        ],
        asked.json,
    )


if __name__ == "__main__":
    main()
