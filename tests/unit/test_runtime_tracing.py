"""OpenTelemetry spans become SpanEnded, in the call's own order and with its own numbers."""

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from runtime.emit import Context, MemoryLog, Recorder
from runtime.errors import TurnlogRuntimeError
from runtime.events import SpanEnded, SpanStatus, Topic, decode, new_call_id
from runtime.tracing import Tracing


class Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def recorder(log: MemoryLog, call_id: str) -> Recorder:
    return Recorder(log, Context(call_id, "tenant", "campaign", "agent"), "runtime")


def said(log: MemoryLog) -> list[SpanEnded]:
    events = [decode(value) for _, value in log.records(Topic.CALLS)]
    return [event for event in events if isinstance(event, SpanEnded)]


def test_a_span_says_its_times_its_number_and_its_parent() -> None:
    log, call_id = MemoryLog(), new_call_id(0)
    trace = Tracing().of_call(call_id, recorder(log, call_id), 0)
    turn = trace.start("turn", 3, 1_000)
    tts = trace.start("tts", 3, 1_500, parent=turn, provider="acme", model="voice-1")
    tts.first_us = 250
    tts.end(2_000)
    turn.end(4_000)
    first, second = said(log)
    assert (first.span, first.parent, first.component, first.turn) == (2, 1, "tts", 3)
    assert (first.at, first.duration_us, first.first_us, first.ready_us) == (2_000, 500, 250, None)
    assert (first.provider, first.model, first.status) == ("acme", "voice-1", SpanStatus.OK)
    assert (second.span, second.parent, second.duration_us) == (1, 0, 3_000)


def test_a_cut_ends_children_before_parents_and_only_once() -> None:
    log, call_id = MemoryLog(), new_call_id(0)
    trace = Tracing().of_call(call_id, recorder(log, call_id), 0)
    turn = trace.start("turn", 1, 1_000)
    trace.start("decision", 1, 1_500, parent=turn)
    trace.end_open(1_700, SpanStatus.CANCELLED)
    turn.end(9_000)
    assert [(s.component, s.at, s.status) for s in said(log)] == [
        ("decision", 1_700, SpanStatus.CANCELLED),
        ("turn", 1_700, SpanStatus.CANCELLED),
    ]


def test_calls_that_run_together_keep_their_own_numbers() -> None:
    tracing, logs, traces = Tracing(), [MemoryLog(), MemoryLog()], []
    for log in logs:
        call_id = new_call_id(0)
        traces.append(tracing.of_call(call_id, recorder(log, call_id), 0))
    open_spans = [(trace.start("turn", 1, 0), trace) for _ in range(3) for trace in traces]
    for span, _ in reversed(open_spans):
        span.end(10)
    for log in logs:
        assert [span.span for span in said(log)] == [3, 2, 1]


def test_an_exporter_sees_the_same_spans_under_the_call_s_id_and_no_words() -> None:
    kept, log, call_id = Kept(), MemoryLog(), new_call_id(5)
    trace = Tracing(kept).of_call(call_id, recorder(log, call_id), 0)
    trace.start("asr", 1, 1_000, provider="acme", model="ears").end(2_000)
    trace.close(9_000, reason="agent_ended", disposition="booked")
    span, root = kept.spans
    for seen in (span, root):
        assert seen.context is not None
        assert f"{seen.context.trace_id:032x}" == call_id.replace("-", "")
    assert span.name == "generate_content ears"
    assert span.parent is not None
    assert root.context is not None
    assert span.parent.span_id == root.context.span_id
    assert dict(span.attributes or {}) == {
        "turnlog.component": "asr",
        "turnlog.turn": 1,
        "turnlog.campaign": "campaign",
        "gen_ai.conversation.id": call_id,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "text",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "ears",
        "gen_ai.request.stream": True,
    }
    assert (root.name, root.parent, root.start_time, root.end_time) == ("invoke_agent agent", None, 0, 9_000_000)


def test_a_processor_that_fails_costs_neither_the_call_nor_its_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanProcessor):
        def on_start(self, *_: object) -> None:
            raise RuntimeError("secret words")

        def on_end(self, *_: object) -> None:
            raise RuntimeError("secret words")

        def force_flush(self, *_: object) -> bool:
            raise RuntimeError("secret words")

        def shutdown(self) -> None:
            raise RuntimeError("secret words")

    kept, log, call_id = Kept(), MemoryLog(), new_call_id(0)
    tracing = Tracing(Broken(), kept)
    trace = tracing.of_call(call_id, recorder(log, call_id), 0)
    trace.start("asr", 1, 0).end(10)
    trace.close(20, reason="agent_ended", disposition="booked")
    tracing.close()
    assert [s.component for s in said(log)] == ["asr"]
    assert [s.name for s in kept.spans] == ["asr", "invoke_agent agent"]
    assert [r.getMessage() for r in caplog.records] == ["Broken failed with RuntimeError"]


def test_a_failure_has_a_type_and_no_message() -> None:
    kept, log, call_id = Kept(), MemoryLog(), new_call_id(0)
    trace = Tracing(kept).of_call(call_id, recorder(log, call_id), 0)
    trace.start("decision", 1, 0, provider="acme", model="m")
    trace.end_open(10, SpanStatus.ERROR, "ProviderFailed")
    trace.close(20, reason="failed", disposition="failed", why="ProviderFailed")
    assert [(s.name, (s.attributes or {})["error.type"]) for s in kept.spans] == [
        ("chat m", "ProviderFailed"),
        ("invoke_agent agent", "ProviderFailed"),
    ]
    assert all(s.status.status_code is otel.StatusCode.ERROR and s.status.description is None for s in kept.spans)


def test_nothing_global_is_set() -> None:
    before = otel.get_tracer_provider()
    Tracing().close()
    assert otel.get_tracer_provider() is before


def test_limits_of_the_environment_do_not_take_figures_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    log, call_id = MemoryLog(), new_call_id(0)
    Tracing().of_call(call_id, recorder(log, call_id), 0).start("asr", 1, 0).end(10)
    assert said(log)[0].component == "asr"


def test_a_switched_off_sdk_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(TurnlogRuntimeError, match="OTEL_SDK_DISABLED"):
        Tracing()
