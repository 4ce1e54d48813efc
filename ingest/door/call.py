"""One trace as one call: which map speaks, whose call it is, and which events are new. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ingest.door import generic, livekit, pipecat, words
from ingest.door.span import Dialect, ForeignSpan
from ingest.door.told import SOURCE, Told, call_id, numbered, seq_of
from ingest.door.trace import Trace
from runtime.emit import Context
from runtime.events import CallStarted, Direction, Event, SpanEnded

_PSEUDONYM_CHARS = 32


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the door says of every call, where its spans do not say better."""

    tenant: str = "default"
    campaign: str = "door"
    env: str = ""
    tools: frozenset[str] = frozenset()  # names of tools that may be told


@dataclass(slots=True)
class Progress:
    """What was told of a trace so far. Nothing in it changes once it is there: a correction changes no identity."""

    call: str = ""
    keys: set[str] = field(default_factory=set)
    turns: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)


def is_call(span: ForeignSpan) -> bool:
    """Whether it is the span around a whole call, which ends last: the conversation, the session."""
    return (span.dialect, span.name) in {(Dialect.PIPECAT, "conversation"), (Dialect.LIVEKIT, "agent_session")}


def tell(spans: Iterable[ForeignSpan], progress: Progress, envelope: Envelope) -> list[Event]:
    """The events that these spans tell and that were not told before, which `progress` then knows.

    None for a trace in which there is nothing of ours to tell.
    """
    trace = Trace(spans, progress.turns)
    told = _told(trace, envelope)
    if not told:
        return []
    if not progress.call:
        began = next((t.at for t in told if t.event is CallStarted), trace.spans[0].start_us)
        progress.call = call_id(trace.spans[0].trace, began)
    progress.numbers = numbered(told, progress.call, progress.numbers)
    context = _context(trace, progress.call, envelope)
    events = []
    for t in told:
        if t.key in progress.keys:
            continue
        progress.keys.add(t.key)
        events.append(_event(t, context, progress.numbers, _direction(trace)))
    return events


def _told(trace: Trace, envelope: Envelope) -> list[Told]:
    dialects = {s.dialect for s in trace.spans}
    told: list[Told] = []
    if Dialect.PIPECAT in dialects:
        told += pipecat.told(trace)
    elif Dialect.LIVEKIT in dialects:
        told += livekit.told(trace, envelope.tools)
    elif any(map(generic.is_genai, trace.spans)):
        told += generic.call(trace)
    else:
        return []
    told += generic.components(trace)
    told += words.content(trace)
    return told


def _context(trace: Trace, call: str, envelope: Envelope) -> Context:
    """By the call's own span first, then by the process that sent it, then by the door's own settings."""
    owners = [s for s in trace.spans if is_call(s)] or [s for s in trace.spans if not s.parent]
    spoken = [*owners, *trace.spans]

    def of_span(fact: str) -> str:
        return next((s.text(fact) for s in spoken if s.text(fact)), "")

    def of_process(*names: str) -> str:
        return next((s.about[n] for s in spoken for n in names if s.about.get(n)), "")

    lead = of_span("turnlog.lead")
    return Context(
        stream=call,
        tenant=envelope.tenant,
        campaign=of_span("turnlog.campaign") or of_process("turnlog.campaign") or envelope.campaign,
        agent=of_process("service.name"),
        agent_version=of_process("service.version")[:64] or "0",
        env=envelope.env or of_process("deployment.environment.name", "deployment.environment") or "development",
        lead=lead if _is_pseudonym(lead) else "",
    )


def _is_pseudonym(lead: str) -> bool:
    """What `lead_id` makes, and nothing that names a person."""
    return len(lead) == _PSEUDONYM_CHARS and all(c in "0123456789abcdef" for c in lead)


def _direction(trace: Trace) -> Direction:
    said = {s.text("turnlog.direction") or s.about.get("turnlog.direction", "") for s in trace.spans}
    return next((d for d in (Direction.INBOUND, Direction.OUTBOUND) if d in said), Direction.UNKNOWN)


def _event(told: Told, context: Context, numbers: dict[str, int], direction: Direction) -> Event:
    payload: dict[str, Any] = told.payload
    if told.event is SpanEnded:
        payload = {**payload, "span": numbers[told.key], "parent": _parent(told, numbers)}
    elif told.event is CallStarted:
        payload = {"direction": direction}
    return told.event(
        **asdict(context),
        source=f"{SOURCE}.words" if told.event.CONTENT else SOURCE,
        seq=seq_of(told.key),
        at=told.at,
        v=1,
        **payload,
    )


def _parent(told: Told, numbers: dict[str, int]) -> int:
    return numbers.get(told.within, 0)
