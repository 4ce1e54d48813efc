"""What saying a span costs the thread that says it: `python -m bench.emit [--json]`.

The time of one `Recorder.record(SpanEnded, …)`, which encodes, checks and hands over, with the broker up, stalled
(SIGSTOP) and dead. Beside it OpenTelemetry's BatchSpanProcessor on the same spans: its `on_end`, with an exporter
towards a collector that is up, stalled and dead. It keeps a reference and encodes later, on a thread that shares the
interpreter, so the CPU of the whole process per span is told as well. Spans come in turns of seven, with a pause after
each; `lone` is a span after a pause, where the processor's caches are cold for both.
"""

import gc
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from bench.figures import Figure, options, progress, tell
from bench.otel import SINK
from deploy.embedded import Stack
from deploy.embedded.child import answers, free_port
from deploy.otlp import SPANS_MAX
from deploy.settings import Settings
from runtime.emit import Brokers, Context, Recorder, kafka_log
from runtime.events import SpanEnded, SpanStatus, new_call_id

SPANS = 1_500
RUNS = 5
TURN_SPANS = 7  # end of turn, ASR, decision, tool, response, TTS, and the turn itself
TURN_PAUSE_S = 0.0035
CONDITIONS = ("up", "stalled", "dead")
_SETTLE_S = 1.5  # longer than the hand-over waits before it takes the disk
_SIGNALS = {"stalled": signal.SIGSTOP, "dead": signal.SIGKILL}


class _Run(msgspec.Struct):
    median_us: float
    p99_us: float
    lone_us: float
    cpu_us: float


def measure(spans: int = SPANS, runs: int = RUNS, say: Callable[[str], None] = lambda _: None) -> list[Figure]:
    """Ours and the yardstick for each condition, in turns."""
    found: dict[tuple[str, str], list[_Run]] = {}
    for condition in CONDITIONS:
        for run in range(runs + 1):
            say(f"{condition}, run {run} of {runs}")
            for name, one in (("turnlog", _ours), ("otel", _theirs)):
                result = one(condition, spans)
                if run:  # the first warms up
                    found.setdefault((name, condition), []).append(result)
    figures = []
    for condition in CONDITIONS:
        ours, theirs = found["turnlog", condition], found["otel", condition]
        for what in ("median_us", "p99_us", "lone_us", "cpu_us"):
            mine, other = (statistics.median(getattr(r, what) for r in these) for these in (ours, theirs))
            figures.append(
                Figure(
                    f"emit.{condition}.{what.removesuffix('_us')}",
                    round(mine, 2),
                    "µs a span" + (" (whole process)" if what == "cpu_us" else ""),
                    f"BatchSpanProcessor {other:.2f}",
                    round(mine / other, 3),
                    runs,
                )
            )
    return figures


def _timed(say: Callable[[int], None], spans: int) -> _Run:
    times = []
    gc.collect()
    cpu = time.process_time()
    for n in range(spans):
        began = time.perf_counter_ns()
        say(n)
        times.append((time.perf_counter_ns() - began) / 1e3)
        if n % TURN_SPANS == TURN_SPANS - 1:
            time.sleep(TURN_PAUSE_S)
    cpu_us = (time.process_time() - cpu) * 1e6 / spans
    return _Run(
        statistics.median(times), sorted(times)[len(times) * 99 // 100], statistics.median(times[::TURN_SPANS]), cpu_us
    )


def _ours(condition: str, spans: int) -> _Run:
    payloads = [_payload(n) for n in range(spans)]
    with (
        tempfile.TemporaryDirectory(prefix="turnlog-bench-") as folder,
        Stack(Settings(Path(folder) / "state"), lambda _: None, worker=False) as stack,
    ):
        log = kafka_log(Brokers(stack.addresses.kafka), Path(folder) / "spool", beats=True)
        recorder = Recorder(log, _context(), "runtime")
        recorder.record(SpanEnded, **_payload(0))
        log.flush()
        broker = stack.addresses.children["broker"]
        _strike(condition, broker)
        if condition != "up":
            recorder.record(SpanEnded, **_payload(0))
            time.sleep(_SETTLE_S)
        found = _timed(lambda n: recorder.record(SpanEnded, **payloads[n]), spans)
        taken = log.taken
        log.close(10.0 if condition == "up" else 0.01)
        counts = log.counts()
        if log.dropped or counts.delivered.total() + counts.spooled.total() < taken:
            raise RuntimeError(f"the figure is none: records were dropped ({counts.dropped})")
        if condition == "stalled":
            os.kill(broker, signal.SIGCONT)
    return found


def _theirs(condition: str, spans: int) -> _Run:
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    ended = _spans(spans + 1)
    with _collector() as (process, port):
        exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces", timeout=1)
        processor = BatchSpanProcessor(exporter, max_queue_size=SPANS_MAX)
        processor.on_end(ended[-1])
        processor.force_flush()
        _strike(condition, process.pid)
        found = _timed(lambda n: processor.on_end(ended[n]), spans)
        processor.shutdown()
    return found


def _strike(condition: str, pid: int) -> None:
    if number := _SIGNALS.get(condition):
        os.kill(pid, number)


def _context() -> Context:
    call = new_call_id(time.time_ns() // 1000)
    return Context(call, "acme", "spring", "booker", "7", "production", "9f86d081884c7d659a2feaa0c55ad015", {"a": "b"})


def _payload(n: int) -> dict[str, object]:
    r = random.Random(n)
    return {
        "at": time.time_ns() // 1000,
        "span": n + 1,
        "parent": max(0, n - 1),
        "turn": n % 40,
        "component": "response",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "status": SpanStatus.OK,
        "first_us": r.randrange(500_000),
        "ready_us": r.randrange(900_000),
        "duration_us": r.randrange(2_000_000),
    }


def _spans(count: int) -> list[ReadableSpan]:
    """The same spans as OpenTelemetry's, made and ended beforehand."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    made = []
    for n in range(count):
        payload = _payload(n)
        attributes = {f"turnlog.{k}": v for k, v in payload.items() if isinstance(v, int | str)}
        span = tracer.start_span("chat gpt-4o-mini", attributes=attributes)
        span.end()
        assert isinstance(span, ReadableSpan)
        made.append(span)
    return made


@contextmanager
def _collector() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-P", "-c", SINK, str(port)]) as process:  # noqa: S603  our own program
        try:
            while not answers(port):
                time.sleep(0.02)
            yield process, port
        finally:
            process.send_signal(signal.SIGKILL)


def main() -> None:
    """Prints a line a figure."""
    parser = options("emit", __doc__)
    parser.add_argument("--spans", type=int, default=SPANS)
    parser.add_argument("--runs", type=int, default=RUNS)
    asked = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    tell(measure(*((100, 1) if asked.quick else (asked.spans, asked.runs)), progress("emit")), asked.json)


if __name__ == "__main__":
    main()
