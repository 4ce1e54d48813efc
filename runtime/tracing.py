"""OpenTelemetry SDK spans with times of our own, each said to its call's log as SpanEnded; exports nothing itself.

A synchronous processor finds the call in the context that a span was started with, so a span that any library
starts inside such a context reaches the right call in the right order. Nothing global is set. The trace id is the
call id, so a trace in any other tool is found by the call. Processors of the user's stand beside ours: they get every
span with the conventions' names (`runtime.genai`), the call's own span around them, and no words unless told to.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as installed

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from runtime import genai
from runtime.emit import Recorder
from runtime.errors import TurnlogRuntimeError
from runtime.events import SpanEnded, SpanStatus

COMPONENT = "turnlog.component"
TURN = "turnlog.turn"
FIRST_US = "turnlog.first_us"
READY_US = "turnlog.ready_us"
STATUS = "turnlog.status"
CAMPAIGN = "turnlog.campaign"
DISPOSITION = "turnlog.disposition"
END_REASON = "turnlog.end_reason"

_CALL = otel_context.create_key("turnlog.call")
_CHARS_MAX = 4 * genai.CONTENT_CHARS_MAX  # content with the JSON around it; names are far shorter
# The SDK's own limits come from the environment, where a limit of 0 would silently take our figures away.
_LIMITS = SpanLimits(max_attributes=64, max_events=16, max_links=8, max_span_attribute_length=_CHARS_MAX)
_KINDS: Mapping[genai.Kind, otel.SpanKind] = {"client": otel.SpanKind.CLIENT, "internal": otel.SpanKind.INTERNAL}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _CallSpans:
    """The numbers of one call's spans: they count from 1 in the order of their starts; 0 is no span."""

    recorder: Recorder
    last: int = 0
    open: dict[int, tuple[int, int]] = field(default_factory=dict)  # span id → (number, parent's number)


class LogProcessor(SpanProcessor):
    """Numbers a span when it starts and says SpanEnded when it ends. The call's own span is none of a turn."""

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
            provider=str(said.get(genai.PROVIDER, "")),
            model=str(said.get(genai.MODEL, "")),
            status=SpanStatus(str(said.get(STATUS, SpanStatus.OK))),
            first_us=_whole(said.get(FIRST_US)),
            ready_us=_whole(said.get(READY_US)),
            duration_us=max(0, (span.end_time - span.start_time) // 1000),
        )


class _Guarded(SpanProcessor):
    """A processor of the user's, whose faults are told once and cost no call and no span of ours."""

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner, self._told = inner, False

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        self._shield(lambda: self._inner.on_start(span, parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        self._shield(lambda: self._inner.on_end(span))

    def shutdown(self) -> None:
        self._shield(self._inner.shutdown)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._shield(lambda: self._inner.force_flush(timeout_millis)))

    def _shield(self, act: Callable[[], bool | None]) -> bool | None:
        try:
            return act()
        except Exception as error:  # noqa: BLE001  the edge to code that is not ours
            if not self._told:
                self._told = True
                # Its message may quote the span.
                _log.warning("%s failed with %s", type(self._inner).__name__, type(error).__name__)
            return None


class _CallIds(RandomIdGenerator):
    """A call's own span takes the call's id for its trace; whatever else has no parent gets a random one."""

    def __init__(self) -> None:
        self.given = threading.local()

    def generate_trace_id(self) -> int:
        trace_id: int | None = getattr(self.given, "id", None)
        return super().generate_trace_id() if trace_id is None else trace_id


class Tracing:
    """The process's provider of spans for calls. `more` are the user's own processors, an exporter's for one.

    `content`: also tell them what was said, in the conventions' attributes. `resource` adds to what describes this
    process. Raises TurnlogRuntimeError when the environment switches the SDK off.
    """

    def __init__(self, *more: SpanProcessor, content: bool = False, resource: Mapping[str, str] | None = None) -> None:
        self._content = content
        self._ids = _CallIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": "turnlog", "service.version": installed("turnlog"), **(resource or {})}),
            id_generator=self._ids,
            span_limits=_LIMITS,
            shutdown_on_exit=False,
        )
        self._tracer = self._provider.get_tracer("turnlog.runtime")
        if not self._tracer.start_span("probe", otel_context.Context()).is_recording():
            raise TurnlogRuntimeError("OTEL_SDK_DISABLED is set, so no span would reach the log; unset it")
        self._provider.add_span_processor(LogProcessor())  # first: what comes after it sees what it has said
        for processor in more:
            self._provider.add_span_processor(_Guarded(processor))

    def of_call(self, call_id: str, recorder: Recorder, began_us: int) -> "CallTrace":
        """The spans of a call that began then. Close it."""
        self._ids.given.id = uuid.UUID(call_id).int
        try:
            return CallTrace(self._tracer, recorder, began_us, self._content)
        finally:
            self._ids.given.id = None

    def close(self) -> None:
        """Flush and stop the processors."""
        self._provider.shutdown()


class CallTrace:
    """Starts the spans of one call. All times are µs on the call's clock."""

    def __init__(self, tracer: otel.Tracer, recorder: Recorder, began_us: int, content: bool) -> None:
        about = recorder.context
        self._everywhere = {genai.CONVERSATION: about.stream, CAMPAIGN: about.campaign}
        self._tracer, self._content = tracer, content
        named = genai.invocation(about.agent, about.agent_version)
        # The log knows a call without a span of its own, so this one starts outside the context that leads there.
        self._root = tracer.start_span(
            named.name,
            otel_context.Context(),
            attributes={**named.attributes, **self._everywhere},
            start_time=began_us * 1000,
        )
        empty = otel_context.set_value(_CALL, _CallSpans(recorder), otel_context.Context())
        self._context = otel.set_span_in_context(self._root, empty)
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
        tool: str = "",
        seed: int | None = None,
    ) -> "OpenSpan":
        """Begin a span; without a parent it is the root of its turn. `tool` is what a tool's span runs."""
        context = self._context if parent is None else otel.set_span_in_context(parent.span, self._context)
        named = genai.component(component, provider, model, tool)
        attributes = {COMPONENT: component, TURN: turn, **named.attributes, **self._everywhere}
        if seed is not None:
            attributes[genai.SEED] = seed
        span = self._tracer.start_span(
            named.name, context, _KINDS[named.kind], attributes=attributes, start_time=at_us * 1000
        )
        opened = OpenSpan(span, at_us, self._open, streams=genai.STREAM in named.attributes, content=self._content)
        self._open.append(opened)
        return opened

    def end_open(self, at_us: int, status: SpanStatus, why: str = "") -> None:
        """End what is still open, children before parents, at a cut or a failure; `why` is a type, not a message."""
        for span in reversed(tuple(self._open)):
            span.end(max(at_us, span.started_us), status=status, why=why)

    def close(self, at_us: int, *, reason: str, disposition: str, why: str = "") -> None:
        """The call is over."""
        self._root.set_attributes({END_REASON: reason, DISPOSITION: disposition})
        if why:
            self._root.set_attribute(genai.ERROR, why)
            self._root.set_status(otel.StatusCode.ERROR)
        self._root.end(end_time=at_us * 1000)


@dataclass(slots=True, eq=False)
class OpenSpan:
    """A span that has begun. Set `first_us` and `ready_us` (from its start) as they happen; `end` says it."""

    span: otel.Span
    started_us: int
    _among: list["OpenSpan"]
    streams: bool = False
    content: bool = False
    first_us: int | None = None
    ready_us: int | None = None

    def words(self, attribute: str, text: Callable[[], str]) -> None:
        """What was said, for processors that are told it; `text` is not even made for others."""
        if self.content and self in self._among:
            self.span.set_attribute(attribute, text())

    def end(self, at_us: int, status: SpanStatus = SpanStatus.OK, why: str = "") -> None:
        """Ended once; a second end changes nothing."""
        if self not in self._among:
            return
        self._among.remove(self)
        if self.first_us is not None:
            self.span.set_attribute(FIRST_US, self.first_us)
            if self.streams:
                self.span.set_attribute(genai.TIME_TO_FIRST_CHUNK, self.first_us / 1e6)
        if self.ready_us is not None:
            self.span.set_attribute(READY_US, self.ready_us)
        if status is not SpanStatus.OK:
            self.span.set_attribute(STATUS, str(status))
        if status is SpanStatus.ERROR:
            self.span.set_attribute(genai.ERROR, why or "_OTHER")
            self.span.set_status(otel.StatusCode.ERROR)  # without a description: providers quote callers
        self.span.end(end_time=at_us * 1000)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
