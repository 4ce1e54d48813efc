"""What fetching and decoding an event costs: `python -m bench.consume`.

A backlog of whole calls is read again and again, by a process of its own each time: by the library's bare loop, which
is the yardstick, by the worker's own way, by Faust's stock `take()`, and by FastStream, a peer on the same client. The
figure is events a second of CPU, from the start of the consumer to its last event. `consume.projected` is the worker's
way with all that the core needs of an event. All must have decoded the same events, or there is no figure.
"""

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable

from bench.consumers import CONSUMERS
from bench.figures import Figure, options, progress, tell
from bench.ground import send, stack
from bench.load import Load

EVENTS, EVENTS_QUICK = 500_000, 5_000
RUNS = 7  # a ratio of two threads to one moves by a tenth from run to run
# Stock Faust reads a twentieth in the same time: so much of the backlog is enough to tell.
SLOW, SLOW_SHARE = "take", 10
READ_MAX_S = 120
Say = Callable[[str], None]


def measure(events: int = EVENTS, runs: int = RUNS, say: Say = lambda _: None, *, apache: bool = False) -> list[Figure]:
    """All consumers in turns, `runs` times."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with stack(worker=False, apache=apache) as running:
        servers = running.addresses.kafka
        load = Load(tenant="consume")
        send(servers, load, events, time.time_ns() // 1000)
        say(f"{load.said.events:,} events stand in the log")
        for n in range(runs):
            say(f"round {n + 1} of {runs}")
            sums = set()
            for name in CONSUMERS:
                wanted = load.said.events // SLOW_SHARE if name == SLOW else load.said.events
                rate, sum_ = _read(name, servers, wanted)
                found[name].append(rate)
                sums |= {sum_} if name != SLOW else set()
            if len(sums) != 1:
                raise RuntimeError(f"the consumers did not decode the same events: {sums}")
    return [_figure(name, found) for name in ("worker", "projected", "take", "faststream")] + [_against_take(found)]


def _read(name: str, servers: str, events: int) -> tuple[float, int]:
    command = [sys.executable, "-m", "bench.consumers", name, servers, str(events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=READ_MAX_S, check=True)  # noqa: S603  ours
    told = json.loads(done.stdout)
    if told["events"] < events:
        raise RuntimeError(f"{name} read {told['events']:,} of {events:,} events")
    return told["events"] / told["cpu_s"], told["sum"]


def _figure(name: str, found: dict[str, list[float]]) -> Figure:
    mine, bare = found[name], found["raw"]
    ratio = statistics.median(a / b for a, b in zip(mine, bare, strict=True))
    yardstick = f"a bare loop {statistics.median(bare):,.0f}"
    return Figure(
        f"consume.{name}", round(statistics.median(mine)), "events/s of CPU", yardstick, round(ratio, 3), len(mine)
    )


def _against_take(found: dict[str, list[float]]) -> Figure:
    mine, stock = found["worker"], found["take"]
    ratio = statistics.median(a / b for a, b in zip(mine, stock, strict=True))
    yardstick = f"stock take() {statistics.median(stock):,.0f}"
    return Figure(
        "consume.against_take", round(statistics.median(mine)), "events/s of CPU", yardstick, round(ratio, 1), len(mine)
    )


def main() -> None:
    """Prints a line a consumer."""
    parser = options("consume", __doc__)
    parser.add_argument("--apache", action="store_true", help="on Apache Kafka, and not the embedded broker")
    asked = parser.parse_args()
    events, runs = (EVENTS_QUICK, 1) if asked.quick else (EVENTS, RUNS)
    tell(measure(events, runs, progress("consume"), apache=asked.apache), asked.json)


if __name__ == "__main__":
    sys.exit(main())
