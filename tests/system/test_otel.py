"""A user's own OpenTelemetry exporter beside ours, over whole calls: the same spans, and no word unless told to."""

import asyncio
import gzip
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from deploy.embedded.child import free_port
from runtime.emit import MemoryLog
from runtime.events import ArgumentsGiven, SpanEnded, Topic, WordsHeard, WordsSaid, decode
from runtime.graph import library
from runtime.models import Provider
from runtime.models.simulated import serve
from runtime.run import Run, run_calls, world
from runtime.simulate import plan_faults
from runtime.tracing import Tracing
from tests.system.demo import stack_up, turnlog

CALLS = 12


@dataclass(frozen=True)
class Ran:
    log: MemoryLog
    exported: tuple[ReadableSpan, ...]

    def said(self) -> dict[str, list[SpanEnded]]:
        """What the log holds, by call."""
        spans: dict[str, list[SpanEnded]] = {}
        for _, value in self.log.records(Topic.CALLS):
            event = decode(value)
            if isinstance(event, SpanEnded):
                spans.setdefault(event.stream, []).append(event)
        return spans

    def seen(self) -> dict[str, list[ReadableSpan]]:
        """What the exporter got, by call."""
        spans: dict[str, list[ReadableSpan]] = {}
        for span in self.exported:
            spans.setdefault(str((span.attributes or {})["gen_ai.conversation.id"]), []).append(span)
        return spans

    def words(self) -> set[str]:
        """All that was said, and the tools' arguments."""
        found = set()
        for _, value in self.log.records(Topic.CONTENT):
            match decode(value):
                case WordsHeard(text=text) | WordsSaid(text=text):
                    found.add(text)
                case ArgumentsGiven(arguments=arguments):
                    found |= {str(v) for v in json.loads(arguments).values()}
                case _:
                    pass
        return {text for text in found if text}


async def ran(content: bool) -> Ran:
    log, exporter = MemoryLog(), InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), content=content)
    run = Run(library("appointments"), "tenant", "campaign", faults=plan_faults(1, CALLS))
    async with serve() as url, world(Provider("simulated", url), tracing) as ports:
        await run_calls(run, ports, log, CALLS)
    tracing.close()
    return Ran(log, exporter.get_finished_spans())


@pytest.fixture(scope="module")
def quiet() -> Ran:
    return asyncio.run(ran(content=False))


@pytest.fixture(scope="module")
def telling() -> Iterator[Ran]:
    """The SDK warns of what is said to a span that has ended; nothing is."""
    said: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = said.append  # type: ignore[method-assign]
    logging.getLogger("opentelemetry").addHandler(listener)
    yield asyncio.run(ran(content=True))
    logging.getLogger("opentelemetry").removeHandler(listener)
    assert [record.getMessage() for record in said] == []


def named(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def root_of(spans: list[ReadableSpan]) -> ReadableSpan:
    (root,) = [s for s in spans if s.parent is None]
    return root


def test_an_exporter_sees_every_span_with_the_timings_of_the_log(quiet: Ran) -> None:
    said, seen = quiet.said(), quiet.seen()
    assert len(said) == CALLS
    assert said.keys() == seen.keys()
    for call, events in said.items():
        of_turns = [s for s in seen[call] if s is not root_of(seen[call])]
        assert Counter(
            (e.component, e.turn, e.at - e.duration_us, e.at, e.first_us, e.ready_us) for e in events
        ) == Counter(
            (
                *(named(s)["turnlog.component"], named(s)["turnlog.turn"]),
                *((s.start_time or 0) // 1000, (s.end_time or 0) // 1000),
                *(named(s).get("turnlog.first_us"), named(s).get("turnlog.ready_us")),
            )
            for s in of_turns
        )


def test_spans_nest_as_in_the_log_and_the_call_is_around_them(quiet: Ran) -> None:
    for call, spans in quiet.seen().items():
        root = root_of(spans)
        by_id = {s.context.span_id: s for s in spans if s.context}
        events = quiet.said()[call]
        number = {e.span: (e.component, e.turn, e.at) for e in events}
        expected = Counter(((e.component, e.turn, e.at), number.get(e.parent)) for e in events)

        def key(span: ReadableSpan) -> tuple[str, int, int]:
            return named(span)["turnlog.component"], named(span)["turnlog.turn"], (span.end_time or 0) // 1000

        found = Counter()  # type: ignore[var-annotated]
        for span in spans:
            if span is root:
                continue
            assert span.parent is not None
            above = by_id[span.parent.span_id]  # nothing points to a span that nobody exports
            found[key(span), None if above is root else key(above)] += 1
        assert found == expected
        assert {f"{s.context.trace_id:032x}" for s in spans if s.context} == {call.replace("-", "")}
        assert (root.start_time or 0) <= min(s.start_time or 0 for s in spans)
        assert (root.end_time or 0) >= max(s.end_time or 0 for s in spans)


def test_spans_bear_the_names_of_the_conventions(quiet: Ran) -> None:
    operations = Counter()  # type: ignore[var-annotated]
    for span in quiet.exported:
        said = named(span)
        operation = said.get("gen_ai.operation.name")
        operations[operation] += 1
        if operation == "chat":
            assert span.name == f"chat {said['gen_ai.request.model']}"
            assert span.kind is SpanKind.CLIENT
            assert said["gen_ai.provider.name"] == "simulated"
            assert said["gen_ai.request.stream"] is True
            assert isinstance(said["gen_ai.request.seed"], int)
        if operation == "execute_tool":
            assert span.name == f"execute_tool {said['gen_ai.tool.name']}"
            assert said["gen_ai.tool.type"] == "function"
        if operation == "invoke_agent":
            assert span.name == "invoke_agent appointments"
            assert said["turnlog.disposition"]
        if "gen_ai.response.time_to_first_chunk" in said:
            assert said["gen_ai.response.time_to_first_chunk"] == said["turnlog.first_us"] / 1e6
    assert operations["invoke_agent"] == CALLS
    assert set(operations) == {"invoke_agent", "chat", "execute_tool", "generate_content", None}


def test_no_word_that_was_said_leaves_unless_told_to(quiet: Ran, telling: Ran) -> None:
    words = quiet.words()
    assert len(words) > 20
    silent = "\n".join(span.to_json() for span in quiet.exported)
    assert not [text for text in words if len(text) > 12 and json.dumps(text)[1:-1] in silent]
    assert not {key for s in quiet.exported for key in named(s)} & {
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"),
        *("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    }
    told = json.dumps([named(span) for span in telling.exported], ensure_ascii=False)
    for text in telling.words():
        assert json.dumps(json.dumps(text, ensure_ascii=False)[1:-1], ensure_ascii=False)[1:-1] in told
    for ours in (quiet, telling):
        calls_topic = b"\n".join(value for _, value in ours.log.records(Topic.CALLS)).decode()
        assert not [text for text in words if len(text) > 12 and text in calls_topic]


def test_content_has_the_conventions_shape(telling: Ran) -> None:
    for span in telling.exported:
        said = named(span)
        for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
            for message in json.loads(said.get(name, "[]")):
                assert message["role"] in {"user", "assistant"}
                assert all(part["type"] in {"text", "tool_call"} for part in message["parts"])
        if said.get("gen_ai.operation.name") == "chat":
            assert json.loads(said["gen_ai.system_instructions"])[0]["type"] == "text"
            assert "gen_ai.input.messages" in said
    assert {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"} <= {k for s in telling.exported for k in named(s)}


# ── the command line, and a collector that is real HTTP ───────────────────────────────────────────────────────


@contextmanager
def silent_collector() -> Iterator[str]:
    """It takes a connection, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    got: list[ExportTraceServiceRequest] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a stack that runs: a demo uses it, and starts none."""
    state = tmp_path_factory.mktemp("stack")
    with stack_up(state):
        yield state


def test_the_demo_sends_its_spans_where_the_environment_says(stack: Path) -> None:
    with collector() as (url, got):
        told = turnlog(
            *(stack, "demo", "--calls", "4", "--no-faults", "--no-pages", "--json"),
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        )
    assert told.returncode == 0, told.stderr
    spans = [s for request in got for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert sum(s.name == "invoke_agent appointments" for s in spans) == 4
    expected = sum(row["n"] for row in json.loads(told.stdout)["report"]["latency"] if row["component"] == "turn")
    assert sum(s.name == "turn" for s in spans) >= expected > 0
    assert b"gen_ai.output.messages" not in b"".join(request.SerializeToString() for request in got)
    with collector() as (url, got):
        told = turnlog(
            *(stack, "demo", "--calls", "2", "--no-faults", "--no-pages"),
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true",
        )
    assert told.returncode == 0, told.stderr
    assert b"gen_ai.output.messages" in b"".join(request.SerializeToString() for request in got)


@pytest.mark.parametrize("manner", ["away", "silent"])
def test_a_collector_that_does_not_take_spans_costs_one_line_and_no_call(stack: Path, manner: str) -> None:
    nowhere = nullcontext(f"http://127.0.0.1:{free_port()}")
    wanted = ("demo", "--calls", "2", "--no-faults", "--no-pages", "--json")
    with silent_collector() if manner == "silent" else nowhere as url:
        told = turnlog(stack, *wanted, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["report"]["calls"] == 2
    assert told.stderr.count("spans were not taken") == 1
    assert "Traceback" not in told.stderr


def test_the_example_of_the_documentation_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "otel.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-P", "-c", example], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "invoke_agent appointments" in ran.stdout
