"""Other spans of generative AI become components named by their operation. Pure.

Only operations of the conventions' list keep their name: any other could be anything.
"""

from collections.abc import Iterator

from ingest.door.span import Dialect, ForeignSpan
from ingest.door.told import CALL, Told, span_ended
from ingest.door.trace import Trace
from runtime.events import CallEnded, CallStarted, Direction, EndReason, SpanStatus

_OPERATIONS = frozenset(
    {"chat", "generate_content", "text_completion", "embeddings", "retrieval", "execute_tool", "create_agent"}
    | {"invoke_agent", "invoke_workflow", "plan", "search_memory", "update_memory"}
)
OTHER = "other"


def components(trace: Trace) -> Iterator[Told]:
    """Each such span, beside what a framework's spans in the same trace tell; in the turn that it is part of."""
    for span in trace.spans:
        if span.dialect is Dialect.OTHER and is_genai(span):
            operation = span.text("gen_ai.operation.name")
            yield span_ended(
                span,
                trace.turn_of(span),
                operation if operation in _OPERATIONS else OTHER,
                first_us=span.micros("gen_ai.response.time_to_first_chunk"),
                status=SpanStatus.ERROR if span.failed else SpanStatus.OK,
            )


def call(trace: Trace) -> Iterator[Told]:
    """The call around them, in a trace without a framework: its root is its end."""
    yield Told(CallStarted, trace.spans[0].start_us, f"{CALL}:started", {"direction": Direction.UNKNOWN})
    roots = [s for s in trace.spans if not s.parent]
    if roots:
        last = max(roots, key=lambda s: s.end_us)
        reason = EndReason.FAILED if last.failed else EndReason.UNKNOWN
        yield Told(CallEnded, last.end_us, f"{CALL}:ended", {"reason": reason})


def is_genai(span: ForeignSpan) -> bool:
    return bool(span.text("gen_ai.operation.name") or span.text("gen_ai.system"))
