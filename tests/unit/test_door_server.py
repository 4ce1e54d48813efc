"""OTLP over real HTTP: what is taken, what is refused and how, and every limit reached."""

import asyncio
import base64
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from ingest.door import limits, otlp
from ingest.door.call import Envelope
from ingest.door.desk import Desk
from ingest.door.meters import DoorMeters
from ingest.door.rate import Rate
from ingest.door.run import DoorError, DoorSettings, check
from ingest.door.server import Guard, Server
from ingest.door.traces import Traces
from runtime.emit import Brokers, MemoryLog
from tests.unit.foreign import NOW_US, TRACE, request, span

TOKEN = "correct horse battery"
JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Door:
    """A door that listens on loopback, and a client at it."""

    def __init__(self, url: str, session: ClientSession, meters: DoorMeters, traces: Traces) -> None:
        self.url, self.session, self.meters, self.traces = url, session, meters, traces

    async def post(self, body: bytes, headers: dict[str, str], path: str = "/v1/traces") -> tuple[int, bytes, Any]:
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def send(self, *spans: tuple[str, dict[str, Any]], **headers: str) -> tuple[int, dict[str, Any], Any]:
        status, body, got = await self.post(json.dumps(request(spans)).encode(), {**JSON, **headers})
        return status, json.loads(body), got

    def refused(self, reason: str) -> float:
        return self.meters.registry.get_sample_value("turnlog_door_refused_requests_total", {"reason": reason}) or 0

    def dropped(self, reason: str) -> float:
        return self.meters.registry.get_sample_value("turnlog_door_dropped_total", {"reason": reason}) or 0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traces of the tests are of that day."""
    monkeypatch.setattr("ingest.door.server.time.time_ns", lambda: NOW_US * 1000)


@asynccontextmanager
async def door(
    guard: Guard | None = None,
    rate: Rate | None = None,
    traces: Traces | None = None,
    content: bool = False,
    clock: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Door]:
    meters, traces = DoorMeters(), Traces() if traces is None else traces
    desk = Desk(traces, MemoryLog(), Envelope(), meters)
    server = Server(desk, meters, guard, rate, content=content, clock=clock)
    runner = web.AppRunner(server.application(), access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with ClientSession() as session:
            yield Door(f"http://127.0.0.1:{runner.addresses[0][1]}", session, meters, traces)
    finally:
        await runner.cleanup()


def llm(id: int = 1, **more: Any) -> tuple[str, dict[str, Any]]:
    return span("llm", 0, 100, {"metrics.ttfb": 0.1}, id=id, **more)


def protobuf(*spans: Span) -> bytes:
    made = ExportTraceServiceRequest()
    made.resource_spans.add().scope_spans.add().spans.extend(spans)
    return made.SerializeToString()


def proto_span(id: int = 1) -> Span:
    at = NOW_US * 1000
    return Span(
        trace_id=bytes.fromhex(TRACE),
        span_id=id.to_bytes(8, "big"),
        name="llm",
        start_time_unix_nano=at,
        end_time_unix_nano=at + 1,
    )


# ── taken ──


async def test_json_and_protobuf_are_taken_plain_and_by_gzip() -> None:
    async with door() as at:
        assert (await at.send(llm(1)))[:2] == (200, {})
        assert (await at.send(llm(2), **{"Content-Encoding": "identity"}))[:2] == (200, {})
        body = protobuf(proto_span(3))
        status, answer, headers = await at.post(body, PROTOBUF)
        assert (status, headers["Content-Type"]) == (200, "application/x-protobuf")
        assert not ExportTraceServiceResponse.FromString(answer).HasField("partial_success")
        zipped = {"Content-Encoding": "gzip"}
        assert (await at.post(gzip.compress(protobuf(proto_span(4))), {**PROTOBUF, **zipped}))[0] == 200
        assert (await at.post(gzip.compress(json.dumps(request([llm(5)])).encode()), {**JSON, **zipped}))[0] == 200
        assert (
            await at.post(json.dumps(request([llm(6)])).encode(), {"Content-Type": "application/json; charset=utf-8"})
        )[0] == 200
        assert at.traces.spans == 6


async def test_both_encodings_come_to_the_same() -> None:
    made = span(
        *("llm", 0, 100),
        {
            "metrics.ttfb": 0.25,
            "gen_ai.usage.output_tokens": 3,
            "tts.interrupted": True,
            "output": "Yes.",
            "x": [1, "a"],
        },
        id=1,
        parent=2,
        events=[("exception", {"exception.message": "no"})],
        error="no",
    )
    plain = request([made], service_name="agent")
    based = json.loads(json.dumps(plain))
    (inner,) = based["resourceSpans"][0]["scopeSpans"][0]["spans"]
    for name in ("traceId", "spanId", "parentSpanId"):  # as protobuf's own JSON has them
        inner[name] = base64.b64encode(bytes.fromhex(inner[name])).decode()
    message = ParseDict(based, ExportTraceServiceRequest())
    one = otlp.read_json(json.dumps(plain).encode(), NOW_US, True)
    other = otlp.read_protobuf(message.SerializeToString(), NOW_US, True)
    assert one.spans == other.spans
    assert one.attributes_dropped == other.attributes_dropped == 1
    (kept,) = one.spans
    assert (kept.failed, kept.said, kept.facts["metrics.ttfb"]) == (True, True, 0.25)


async def test_some_spans_are_refused_and_the_others_taken() -> None:
    bad = [
        (scope, {**made, **change})
        for change in ({"traceId": "00"}, {"spanId": "0" * 16}, {"endTimeUnixNano": "1"}, {"startTimeUnixNano": "0"})
        for scope, made in [llm(9)]
    ]
    old = span("llm", -31 * 86_400_000, -31 * 86_400_000 + 1, id=10)
    future = span("llm", 3_600_000, 3_600_001, id=11)
    async with door() as at:
        status, answer, _ = await at.send(llm(), *bad, old, future)
        assert status == 200
        assert answer["partialSuccess"]["rejectedSpans"] == "6"
        assert "2 spans of a time that is 29 days behind" in answer["partialSuccess"]["errorMessage"]
        assert at.traces.spans == 1
        assert (at.dropped("no_id"), at.dropped("no_time"), at.dropped("clock")) == (2, 2, 2)


async def test_spans_of_our_own_runtime_are_in_the_log_already() -> None:
    async with door() as at:
        assert (await at.send(llm(scope="turnlog.runtime")))[:2] == (200, {})
        assert (at.traces.spans, at.dropped("ours")) == (0, 1)


# ── refused ──


@pytest.mark.parametrize(
    ("body", "headers", "http", "reason"),
    [
        (b"{", JSON, 400, "malformed"),
        (b"\xff\xff", PROTOBUF, 400, "malformed"),
        (b'{"resourceSpans": 1}', JSON, 400, "malformed"),
        (b"[" * 100_000, JSON, 400, "malformed"),
        (b"no gzip", {**JSON, "Content-Encoding": "gzip"}, 400, "malformed"),
        (gzip.compress(b"{}", mtime=0)[:-4], {**JSON, "Content-Encoding": "gzip"}, 400, "malformed"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "type"),
        (b"{}", {**JSON, "Content-Encoding": "br"}, 415, "encoding"),
    ],
)
async def test_what_is_no_otlp_is_refused_in_its_own_encoding(
    body: bytes, headers: dict[str, str], http: int, reason: str
) -> None:
    async with door() as at:
        status, answer, _ = await at.post(body, headers)
        assert (status, at.refused(reason)) == (http, 1)
        if headers["Content-Type"] == "application/json":
            assert set(json.loads(answer)) == {"code", "message"}
        else:
            assert answer[:2] == b"\x08\x03"  # google.rpc.Status: code 3, INVALID_ARGUMENT
            assert answer[2:3] == b"\x12"


async def test_other_paths_and_methods_are_told_what_there_is() -> None:
    async with door() as at:
        status, answer, _ = await at.post(b"{}", JSON, path="/v1/logs")
        assert (status, json.loads(answer)["message"]) == (404, "POST /v1/traces is all there is")
        async with at.session.get(at.url + "/v1/traces") as got:
            assert got.status == 405
        async with at.session.get(at.url + "/ping") as got:
            assert (got.status, await got.text()) == (200, "the door is open\n")


async def test_a_door_with_a_token_wants_it() -> None:
    async with door(Guard(token=TOKEN)) as at:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
        ):
            status, _, got = await at.send(llm(), **headers)
            assert (status, got["WWW-Authenticate"]) == (401, "Bearer")
        assert at.traces.spans == 0
        assert (await at.send(llm(), Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await at.send(llm(2), Authorization=f"bearer {TOKEN}"))[0] == 200
        assert (at.traces.spans, at.refused("token")) == (2, 4)


def test_beyond_loopback_a_door_does_not_open_without_a_token(tmp_path: Path) -> None:
    settings = DoorSettings(Brokers("127.0.0.1:9"), folder=tmp_path)
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        check(replace(settings, host=host))
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""):
        with pytest.raises(DoorError, match="wants a token: set TURNLOG_DOOR_TOKEN"):
            check(replace(settings, host=host))
        check(replace(settings, host=host, token=TOKEN))
    with pytest.raises(DoorError, match="shorter than 16 characters"):
        check(replace(settings, token="short"))
    assert TOKEN not in repr(replace(settings, token=TOKEN))


# ── limits ──


async def test_a_body_has_a_size() -> None:
    async with door(Guard(body_bytes_max=100)) as at:
        for body in (b" " * 101, _chunks(b" " * 60, 2)):
            status, _, _ = await at.post(body, JSON)  # type: ignore[arg-type]
            assert status == 413
        assert at.refused("size") == 2
    assert limits.BODY_BYTES_MAX == 4 * 2**20


async def _chunks(chunk: bytes, count: int) -> AsyncIterator[bytes]:
    """A body whose length nobody states."""
    for _ in range(count):
        yield chunk


async def test_a_bomb_is_not_unpacked_beyond_its_limit() -> None:
    async with door(Guard(unpacked_bytes_max=10_000)) as at:
        status, answer, _ = await at.post(gzip.compress(b" " * 10_001), {**JSON, "Content-Encoding": "gzip"})
        assert (status, at.refused("size")) == (413, 1)
        assert "more than 10000 bytes" in json.loads(answer)["message"]
    stream = zlib.compressobj(wbits=31)
    bomb = b"".join(stream.compress(bytes(2**20)) for _ in range(64)) + stream.flush()
    with pytest.raises(otlp.BodyRefused, match="unpacks to more than"):
        otlp.unpack(bomb)
    assert limits.BODY_UNPACKED_BYTES_MAX == 32 * 2**20


async def test_a_request_has_so_many_spans() -> None:
    async with door(Guard(spans_max=2)) as at:
        status, answer, _ = await at.send(llm(1), llm(2), llm(3))
        assert (status, answer["partialSuccess"]["rejectedSpans"]) == (200, "1")
        assert at.traces.spans == 2
    assert limits.SPANS_PER_REQUEST_MAX == 10_000


async def test_a_trace_has_so_many_spans() -> None:
    async with door(traces=Traces(spans_max=2)) as at:
        _, answer, _ = await at.send(llm(1), llm(2), llm(3))
        assert answer["partialSuccess"] == {
            "rejectedSpans": "1",
            "errorMessage": "1 spans beyond the limit of a request or a trace",
        }


async def test_so_many_spans_a_second_are_taken_and_the_rest_told_when_to_come() -> None:
    now = [0.0]
    async with door(rate=Rate(per_second=1, burst=2), clock=lambda: now[0]) as at:
        assert (await at.send(*(llm(n) for n in range(1, 8))))[0] == 200  # charged when counted: now in debt by 5
        status, _, headers = await at.send(llm(20))
        assert (status, headers["Retry-After"], at.refused("rate")) == (429, "6", 1)
        now[0] = 6.1
        assert (await at.send(llm(20)))[0] == 200
    assert (limits.SPANS_PER_SECOND_MAX, limits.SPANS_BURST_MAX) == (5_000, 20_000)


async def test_so_much_is_held() -> None:
    async with door(traces=Traces(bytes_max=1)) as at:
        assert (await at.send(llm(1)))[0] == 200
        status, _, headers = await at.send(llm(2))
        assert (status, headers["Retry-After"], at.refused("memory")) == (429, "30", 1)
    assert limits.HELD_BYTES_MAX == 256 * 2**20


async def test_a_body_comes_within_a_time() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with door(Guard(read_s=0.05)) as at:
        status, _, _ = await at.post(slowly(), JSON)  # type: ignore[arg-type]
        assert (status, at.refused("slow")) == (408, 1)
    assert limits.BODY_READ_S == 20


async def test_so_many_requests_are_read_at_once() -> None:
    async with door(Guard(at_once_max=0)) as at:
        status, _, headers = await at.send(llm())
        assert (status, headers["Retry-After"], at.refused("at_once")) == (429, "1", 1)
    assert limits.REQUESTS_AT_ONCE_MAX == 8


def test_a_span_has_so_many_attributes_and_events_and_words_of_such_a_length() -> None:
    many = {f"x{n}": n for n in range(limits.ATTRIBUTES_PER_SPAN_MAX - 1)}
    made = span("llm", 0, 1, {**many, "output": "a" * (limits.WORDS_CHARS_MAX + 1), "metrics.ttfb": 0.1}, id=1)
    taken = otlp.read_json(json.dumps(request([made])).encode(), NOW_US, True)
    (kept,) = taken.spans
    assert kept.words == (("output", "a" * limits.WORDS_CHARS_MAX),)
    assert "metrics.ttfb" not in kept.facts  # the 129th
    assert taken.attributes_dropped == limits.ATTRIBUTES_PER_SPAN_MAX
    events = [("preemptive_generation_discarded", {})] * (limits.SPAN_EVENTS_MAX + 1)
    taken = otlp.read_json(json.dumps(request([span("llm", 0, 1, id=1, events=events)])).encode(), NOW_US, True)
    assert len(taken.spans[0].marks) == limits.SPAN_EVENTS_MAX


async def test_a_refusal_and_an_answer_quote_nothing_that_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = "Ottilie-555-0100"
    async with door() as at:
        for body, headers in (
            (words.encode(), JSON),
            (words.encode(), PROTOBUF),
            (json.dumps({"resourceSpans": words}).encode(), JSON),
            (b"{}", {"Content-Type": f"text/{words}"}),
            (b"{}", {**JSON, "Content-Encoding": words}),
        ):
            _, answer, got = await at.post(body, headers)
            assert words.encode() not in answer
            assert words not in str(got)
        _, answer, _ = await at.post(b"{}", JSON, path=f"/{words}")
        assert words.encode() not in answer
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("ingest", "runtime", "aiohttp"))]
    assert words not in "\n".join(ours)
