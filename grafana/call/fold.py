"""Folds the events of one call into its record. Pure: reads no store, judges nothing.

Calls are looked at while they run and after something went missing, so nothing is taken for granted: an end without a
start, a span without its parent, several sources, types that are not known here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from msgspec import Struct

from grafana.call.record import CallRecord, Glitch, Node, Said, Source, Span, Speech, Tool, Turn
from grafana.call.segments import segments
from runtime.events import (
    UNCOUNTED,
    CallEnded,
    CallStarted,
    DispositionSet,
    Event,
    EventRefused,
    GlitchDetected,
    NodeEntered,
    SourceClosed,
    SpanEnded,
    SpeechEnded,
    SpeechStarted,
    ToolFired,
    TurnEnded,
)

MISSING_RANGES_MAX = 20  # named for a source; a reader who sees twenty holes needs no twenty-first
_KNOWN = (
    CallStarted,
    SpeechStarted,
    SpeechEnded,
    TurnEnded,
    SpanEnded,
    NodeEntered,
    ToolFired,
    GlitchDetected,
    DispositionSet,
    CallEnded,
    EventRefused,
    SourceClosed,
)


class Unknown(Struct, frozen=True, kw_only=True):
    """The envelope of an event whose type or version this program cannot read."""

    stream: str
    source: str
    seq: int
    at: int
    type: str
    tenant: str = ""
    campaign: str = ""


def call_record(events: Iterable[Event | Unknown], cut: bool = False) -> CallRecord:
    """The record of the one call that all events belong to, in whatever order they come. `cut`: there are more.

    Raises ValueError when there are none, or of several calls.
    """
    by_place = {(e.source, e.seq): e for e in reversed(list(events))}  # of a repeated one, the first
    told = [by_place[place] for place in sorted(by_place)]
    if len({e.stream for e in told}) != 1:
        raise ValueError("a record is of one call: give the events of exactly one stream")
    told = _chief_first(told)
    known = [e for e in told if isinstance(e, Event)]
    start = next((e for e in known if isinstance(e, CallStarted)), None)
    zero_us = start.at if start is not None else min(map(_began, told))
    spans = _spans([e for e in known if isinstance(e, SpanEnded)], zero_us)
    speech = _speech(known, zero_us)
    turns = _turns(known, spans, speech, zero_us)
    moments = [e.at - zero_us for e in told] + [m for t in turns for m in (t.start_us, t.end_us)]
    ended = [e for e in known if isinstance(e, CallEnded)]
    disposed = [e for e in known if isinstance(e, DispositionSet)]
    face = start or next((e for e in known if e.agent), None) or min(told, key=lambda e: (e.at, e.source, e.seq))
    named = face if isinstance(face, Event) else None
    return CallRecord(
        call_id=face.stream,
        tenant=face.tenant,
        campaign=face.campaign,
        agent=named.agent if named else "",
        agent_version=named.agent_version if named else "",
        env=named.env if named else "",
        lead=named.lead if named else "",
        variants=dict(named.variants) if named else {},
        direction=start.direction.value if start else "",
        started_us=zero_us,
        begin_us=min(moments),
        end_us=max(moments),
        started=start is not None,
        ended=bool(ended),
        end_reason=max(ended, key=_order).reason.value if ended else "",
        disposition=max(disposed, key=_order).disposition if disposed else "",
        turns=turns,
        sources=_sources(told),
        events=tuple(
            Said(e.source, e.seq, e.at - zero_us, _type(e), getattr(e, "turn", None), isinstance(e, _KNOWN))
            for e in sorted(told, key=_order)
        ),
        cut=cut,
    )


def _order(event: Event | Unknown) -> tuple[int, int, str]:
    return event.at, event.seq, event.source


def _type(event: Event | Unknown) -> str:
    return event.type if isinstance(event, Unknown) else type(event).__name__


def _began(event: Event | Unknown) -> int:
    return event.at - (event.duration_us if isinstance(event, SpanEnded | SpeechEnded) else 0)


def _chief_first(told: Sequence[Event | Unknown]) -> list[Event | Unknown]:
    """The source that started the call speaks for it where several do; then by name."""
    chief = next((e.source for e in told if isinstance(e, CallStarted)), None)
    return sorted(told, key=lambda e: (e.source != chief, e.source, e.seq))


# ── completeness ──


def _sources(told: Sequence[Event | Unknown]) -> tuple[Source, ...]:
    found = []
    for name, its in groupby(told, key=lambda e: e.source):
        events = list(its)
        closing = [e.last_seq + 1 for e in events if isinstance(e, SourceClosed)]
        said = max(closing) if closing else None
        seqs = [e.seq for e in events]
        holes = () if name in UNCOUNTED else _holes(seqs, max(seqs[-1] + 1, said or 0))
        found.append(Source(name, len(seqs), said, holes))
    return tuple(found)


def _holes(seqs: Sequence[int], count: int) -> tuple[tuple[int, int], ...]:
    """Ranges that are missing from 0 … `count` - 1, first and last included; `seqs` ascend."""
    edges = [-1, *seqs, count]
    holes = [(a + 1, b - 1) for a, b in pairwise(edges) if b - a > 1]
    return tuple(holes[:MISSING_RANGES_MAX])


# ── speech ──


def _speech(known: Sequence[Event], zero_us: int) -> list[Speech]:
    """An end brings its own length, so it needs no start; a start without an end stays open."""
    found: list[Speech] = []
    open_: dict[tuple[str, str], SpeechStarted] = {}
    for e in known:
        if isinstance(e, SpeechStarted):
            place = (e.source, e.speaker.value)
            if place in open_:
                found.append(_open(open_[place], e.at, zero_us))
            open_[place] = e
        elif isinstance(e, SpeechEnded):
            began = open_.pop((e.source, e.speaker.value), None)
            start_us, end_us = e.at - e.duration_us - zero_us, e.at - zero_us
            if began is not None and began.turn != e.turn:
                found.append(_open(began, start_us + zero_us, zero_us))
            found.append(Speech(e.source, e.speaker.value, e.turn, start_us, end_us, end_us))
    last = max((e.at for e in known), default=0)
    found += [_open(began, last, zero_us) for began in open_.values()]
    return sorted(found, key=lambda s: (s.start_us, s.source, s.speaker))


def _open(began: SpeechStarted, by: int, zero_us: int) -> Speech:
    start_us = began.at - zero_us
    return Speech(began.source, began.speaker.value, began.turn, start_us, None, max(start_us, by - zero_us))


# ── spans ──


def _spans(ended: Sequence[SpanEnded], zero_us: int) -> list[Span]:
    """All spans, each after its parent, siblings by their start.

    A parent's number is below its child's, because they count in the order of their starts. One that is not, or that
    was never said, leaves an orphan at the top: so there are no circles.
    """
    there = {(e.source, e.span) for e in ended}
    children: defaultdict[tuple[str, int], list[SpanEnded]] = defaultdict(list)
    for e in ended:
        at_top = e.parent == 0 or _is_orphan(e, there)
        children[("", 0) if at_top else (e.source, e.parent)].append(e)
    found: list[Span] = []
    given: set[tuple[str, int]] = set()
    waiting = [(e, 0) for e in _latest_first(children[("", 0)])]
    while waiting:
        e, depth = waiting.pop()
        found.append(_span(e, depth, _is_orphan(e, there), zero_us))
        place = (e.source, e.span)
        if place not in given:  # a number that was given twice has its children once
            given.add(place)
            waiting += [(child, depth + 1) for child in _latest_first(children[place])]
    return found


def _is_orphan(e: SpanEnded, there: set[tuple[str, int]]) -> bool:
    return e.parent != 0 and (e.parent >= e.span or (e.source, e.parent) not in there)


def _latest_first(ended: Iterable[SpanEnded]) -> list[SpanEnded]:
    return sorted(ended, key=lambda e: (_began(e), e.span, e.seq), reverse=True)


def _span(e: SpanEnded, depth: int, orphan: bool, zero_us: int) -> Span:
    return Span(
        source=e.source,
        span=e.span,
        parent=e.parent,
        depth=depth,
        orphan=orphan,
        turn=e.turn,
        component=e.component,
        provider=e.provider,
        model=e.model,
        status=e.status.value,
        start_us=e.at - e.duration_us - zero_us,
        end_us=e.at - zero_us,
        first_us=e.first_us,
        ready_us=e.ready_us,
    )


# ── turns ──


@dataclass(slots=True)
class _Pieces:
    """What one turn consists of, while it is gathered."""

    end: TurnEnded | None = None
    speech: list[Speech] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    glitches: list[Glitch] = field(default_factory=list)


def _turns(known: Sequence[Event], spans: Sequence[Span], speech: Sequence[Speech], zero_us: int) -> tuple[Turn, ...]:
    pieces: defaultdict[int, _Pieces] = defaultdict(_Pieces)
    for span in spans:
        pieces[span.turn].spans.append(span)
    for spoken in speech:
        pieces[spoken.turn].speech.append(spoken)
    for e in known:
        at_us = e.at - zero_us
        match e:
            case TurnEnded():
                pieces[e.turn].end = pieces[e.turn].end or e  # of the source that speaks for the call
            case NodeEntered():
                pieces[e.turn].nodes.append(Node(e.turn, at_us, e.node))
            case ToolFired():
                pieces[e.turn].tools.append(Tool(e.turn, at_us, e.node, e.tool, e.next_node))
            case GlitchDetected():
                heard = Glitch(e.source, e.seq, e.turn, at_us, e.detector.value, e.kind.value, e.gap_ms)
                pieces[e.turn].glitches.append(heard)
    return tuple(_turn(number, pieces[number], zero_us) for number in sorted(pieces))


def _turn(number: int, its: _Pieces, zero_us: int) -> Turn:
    extents = [(s.start_us, s.end_us) for s in its.spans]
    extents += [(s.start_us, s.until_us) for s in its.speech]
    extents += [(g.at_us, g.at_us + g.gap_us) for g in its.glitches]
    extents += [(n.at_us, n.at_us) for n in its.nodes] + [(t.at_us, t.at_us) for t in its.tools]
    end = its.end
    if not extents and end is not None:  # nothing of the turn but its end has arrived
        extents = [(end.at - zero_us, end.at - zero_us)]
    asked_us, parts = segments(its.spans, end) if number else (None, ())
    return Turn(
        number=number,
        start_us=min(start for start, _ in extents),
        end_us=max(stop for _, stop in extents),
        outcome=end.outcome.value if end else "",
        latency_us=end.latency_us if end else None,
        unattributed_us=end.unattributed_us if end else None,
        asked_us=asked_us,
        segments=parts,
        speech=tuple(its.speech),
        spans=tuple(its.spans),
        nodes=tuple(its.nodes),
        tools=tuple(its.tools),
        glitches=tuple(its.glitches),
    )
