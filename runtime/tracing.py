"""OpenTelemetry SDK spans with times of our own, each said to its call's log as SpanEnded; exports nothing itself.

A synchronous processor finds the call in the context that a span was started with, so a span that any library
starts inside such a context reaches the right call in the right order. Nothing global is set. The trace id is
the call id, so a trace in any other tool is found by the call. No words in attributes: they leave the process.
"""

import uuid
from dataclasses import dataclass, field

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from runtime.emit import Recorder
from runtime.errors import TurnlogRuntimeError
from runtime.events import SpanEnded, SpanStatus

COMPONENT = "turnlog.component"
TURN = "turnlog.turn"
FIRST_US = "turnlog.first_us"
READY_US = "turnlog.ready_us"
STATUS = "turnlog.status"
PROVIDER = "gen_ai.provider.name"
MODEL = "gen_ai.request.model"

_CALL = otel_context.create_key("turnlog.call")
# The SDK's own limits come from the environment, where a limit of 0 would silently take our figures away.
_LIMITS = SpanLimits(max_attributes=64, max_events=16, max_links=8, max_span_attribute_length=256)


@dataclass(slots=True)
class _CallSpans:
    """The numbers of one call's spans: they count from 1 in the order of their starts; 0 is no span."""

    recorder: Recorder
    last: int = 0
    open: dict[int, tuple[int, int]] = field(default_factory=dict)  # span id → (number, parent's number)


class LogProcessor(SpanProcessor):
    """Numbers a span when it starts and says SpanEnded when it ends."""

    def __init__(self) -> None:
        self._calls: dict[int, _CallSpans] = {}  # by span id, while the span is open

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        call = otel_context.get_value(_CALL, parent_context)
        own = span.get_span_context()
        if not isinstance(call, _CallSpans) or own is None:
            return
        parent = call.open.get(span.parent.span_id, (0, 0))[0] if span.parent is not None else 0
        call.last += 1
        call.open[own.span_id] = (call.last, parent)
        self._calls[own.span_id] = call

    def on_end(self, span: ReadableSpan) -> None:
        own = span.get_span_context()
        call = None if own is None else self._calls.pop(own.span_id, None)
        if call is None or own is None or span.start_time is None or span.end_time is None:
            return
        number, parent = call.open.pop(own.span_id)
        said = dict(span.attributes or {})
        call.recorder.record(
            SpanEnded,
            at=span.end_time // 1000,
            span=number,
            parent=parent,
            turn=_whole(said.get(TURN)) or 0,
            component=str(said.get(COMPONENT, span.name)),
            provider=str(said.get(PROVIDER, "")),
            model=str(said.get(MODEL, "")),
            status=SpanStatus(str(said.get(STATUS, SpanStatus.OK))),
            first_us=_whole(said.get(FIRST_US)),
            ready_us=_whole(said.get(READY_US)),
            duration_us=max(0, (span.end_time - span.start_time) // 1000),
        )


class Tracing:
    """The process's provider of spans for calls. `more` are the user's own processors, an exporter's for one."""

    def __init__(self, *more: SpanProcessor) -> None:
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": "turnlog"}),
            span_limits=_LIMITS,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(LogProcessor())
        for processor in more:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("turnlog.runtime")
        if not self._tracer.start_span("probe", otel_context.Context()).is_recording():
            raise TurnlogRuntimeError("OTEL_SDK_DISABLED is set, so no span would reach the log; unset it")

    def of_call(self, call_id: str, recorder: Recorder) -> "CallTrace":
        return CallTrace(self._tracer, call_id, recorder)

    def close(self) -> None:
        """Flush and stop the processors."""
        self._provider.shutdown()


class CallTrace:
    """Starts the spans of one call. All times are µs on the call's clock."""

    def __init__(self, tracer: otel.Tracer, call_id: str, recorder: Recorder) -> None:
        bits = uuid.UUID(call_id).int
        root = SpanContext(bits, bits & (2**64 - 1), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        empty = otel_context.set_value(_CALL, _CallSpans(recorder), otel_context.Context())
        self._context = otel.set_span_in_context(NonRecordingSpan(root), empty)
        self._tracer = tracer
        self._open: list[OpenSpan] = []

    def start(
        self,
        component: str,
        turn: int,
        at_us: int,
        *,
        parent: "OpenSpan | None" = None,
        provider: str = "",
        model: str = "",
    ) -> "OpenSpan":
        """Begin a span; without a parent it is the root of its turn."""
        context = self._context if parent is None else otel.set_span_in_context(parent.span, self._context)
        attributes: dict[str, str | int] = {COMPONENT: component, TURN: turn}
        if provider:
            attributes |= {PROVIDER: provider, MODEL: model}
        span = self._tracer.start_span(component, context, attributes=attributes, start_time=at_us * 1000)
        opened = OpenSpan(span, at_us, self._open)
        self._open.append(opened)
        return opened

    def end_open(self, at_us: int, status: SpanStatus) -> None:
        """End what is still open, children before parents, at a cut or a failure."""
        for span in reversed(tuple(self._open)):
            span.end(max(at_us, span.started_us), status=status)


@dataclass(slots=True, eq=False)
class OpenSpan:
    """A span that has begun. Set `first_us` and `ready_us` (from its start) as they happen; `end` says it."""

    span: otel.Span
    started_us: int
    _among: list["OpenSpan"]
    first_us: int | None = None
    ready_us: int | None = None

    def end(self, at_us: int, status: SpanStatus = SpanStatus.OK) -> None:
        """Ended once; a second end changes nothing."""
        if self not in self._among:
            return
        self._among.remove(self)
        if self.first_us is not None:
            self.span.set_attribute(FIRST_US, self.first_us)
        if self.ready_us is not None:
            self.span.set_attribute(READY_US, self.ready_us)
        if status is not SpanStatus.OK:
            self.span.set_attribute(STATUS, str(status))
        if status is SpanStatus.ERROR:
            self.span.set_status(otel.StatusCode.ERROR)  # without a description: providers quote callers
        self.span.end(end_time=at_us * 1000)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
