"""What an exporter beside ours costs a call: `python -m bench.otel [--json]`.

CPU of one process per virtual call, models simulated in another process: no exporter (the yardstick), one in memory,
and one that sends OTLP over HTTP to a sink on loopback, in a process of its own. Repeats are interleaved; medians.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bench.figures import Figure, options, tell
from deploy.embedded.child import answers, free_port
from runtime.emit import MemoryLog
from runtime.graph import library
from runtime.models import Provider
from runtime.run import Run, run_calls, world
from runtime.tracing import Tracing

CALLS = 40
REPEATS = 7
SINK = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
"""


def measure(calls: int = CALLS, repeats: int = REPEATS) -> list[Figure]:
    """The three cases, in the order of their names above."""
    spent: dict[str, list[float]] = {"none": [], "memory": [], "otlp": []}
    with _process("-m", "runtime.models.simulated", "--port") as models, _process("-c", SINK) as sink:
        for repeat in range(repeats + 1):
            for case, found in spent.items():
                cpu_ms = _cpu_ms(_processors(case, sink), models, calls)
                if repeat:  # the first round warms up
                    found.append(cpu_ms)
    yardstick = statistics.median(spent["none"])
    medians = {case: statistics.median(found) for case, found in spent.items()}
    without = f"no exporter {yardstick:.2f}"
    return [
        Figure(
            f"otel.{case}", round(ms, 2), "ms CPU a call", without, round(ms / yardstick, 3), repeats, f"{calls} calls"
        )
        for case, ms in medians.items()
    ]


def _processors(case: str, sink: int) -> tuple[SpanProcessor, ...]:
    if case == "memory":
        return (SimpleSpanProcessor(InMemorySpanExporter()),)
    if case == "otlp":
        return (BatchSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{sink}/v1/traces")),)
    return ()


def _cpu_ms(processors: tuple[SpanProcessor, ...], models: int, calls: int) -> float:
    async def run() -> float:
        tracing = Tracing(*processors)
        wanted = Run(library("appointments"), "bench", "bench")
        async with world(Provider("simulated", f"http://127.0.0.1:{models}/v1"), tracing) as ports:
            began = time.process_time()
            await run_calls(wanted, ports, MemoryLog(), calls)
            tracing.close()  # what is still to be sent is part of the cost
            return (time.process_time() - began) * 1e3 / calls

    return asyncio.run(run())


@contextmanager
def _process(*argv: str) -> Iterator[int]:
    """A child that listens on the port which it gets as its last argument."""
    port = free_port()
    command = [sys.executable, "-P", *argv, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:  # noqa: S603  our own programs
        try:
            while not answers(port):
                if child.poll() is not None:
                    raise RuntimeError(f"{argv[:2]} ended with code {child.returncode}")
                time.sleep(0.05)
            yield port
        finally:
            child.terminate()


def main() -> None:
    """Prints a line a case."""
    parser = options("otel", __doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    tell(measure(*((3, 1) if asked.quick else (asked.calls, asked.repeats))), asked.json)


if __name__ == "__main__":
    main()
