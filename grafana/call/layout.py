"""Where everything of a call stands in its picture, on the scales of the call and of its turns. Writes no HTML."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from alerts.slos import Objective, SpanObjective
from grafana.call.breach import Breach, figure
from grafana.call.record import UNATTRIBUTED, CallRecord, Glitch, Segment, Span, Speech, Turn
from grafana.call.scale import Bar, Mark, Scale, Tick
from grafana.call.words import exact_ms
from runtime.events import Component, SpanStatus

LIMIT_TO_WAIT_MAX = 3  # a threshold that is further away than this would only make the waits too small to see
_NO_PART = (Component.TURN, Component.OPENING, Component.ASR)  # the whole itself, and what another part contains


class Lane(Struct, frozen=True):
    name: str
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()


class Work(Struct, frozen=True):
    """A span as a line of its turn: its bar, and what is told beside it."""

    span: Span
    lane: Lane
    breached: bool


class Row(Struct, frozen=True):
    """A turn: its wait as a stack, on the scale of all turns; what happened in it, on a scale of its own."""

    turn: Turn
    stack: Lane
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]
    works: tuple[Work, ...]
    breaches: tuple[Breach, ...]


class Band(Struct, frozen=True):
    turn: int
    bar: Bar


class Picture(Struct, frozen=True):
    ticks: tuple[Tick, ...]
    bands: tuple[Band, ...]
    lanes: tuple[Lane, ...]
    wait_ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]


def picture(record: CallRecord, objectives: Sequence[Objective], found: Sequence[Breach]) -> Picture:
    """The whole of it. `found` are the breaches of this record."""
    scale = Scale(record.begin_us, record.end_us)
    limits = [o for o in objectives if isinstance(o, SpanObjective)]
    waits = _wait_scale(record.turns, limits)
    return Picture(
        scale.ticks(),
        tuple(_band(t, scale) for t in record.turns if t.number),
        _lanes(record, scale, found),
        waits.ticks(5),
        tuple(_row(t, waits, limits, [b for b in found if b.turn == t.number]) for t in record.turns),
    )


def _band(turn: Turn, scale: Scale) -> Band:
    extent = f"from {exact_ms(turn.start_us)} to {exact_ms(turn.end_us)}"
    return Band(turn.number, scale.bar("band", turn.start_us, turn.end_us, f"turn {turn.number}, {extent}"))


# ── lanes that run with the call ──


def _lanes(record: CallRecord, scale: Scale, found: Sequence[Breach]) -> tuple[Lane, ...]:
    turns = record.turns
    speech = [s for t in turns for s in t.speech]
    bad = {(b.source, b.seq) for b in found if b.seq is not None}
    glitches = [g for t in turns for g in t.glitches]
    graph = _graph(turns, scale) + [
        scale.mark("unknown", p.at_us, f"{p.type}: a type that this version does not know") for p in record.points
    ]
    return (
        Lane("caller", _spoken([s for s in speech if s.speaker == "caller"], scale)),
        Lane("wait", tuple(b for t in turns for b in _waited(t, scale))),
        Lane(
            "agent",
            _spoken([s for s in speech if s.speaker == "agent"], scale) + _gaps(glitches, scale, bad),
            tuple(scale.mark("glitch", g.at_us, _gap_tip(g)) for g in glitches),
        ),
        Lane("graph", (), tuple(graph)),
    )


def _spoken(speech: Iterable[Speech], scale: Scale) -> tuple[Bar, ...]:
    bars = []
    for s in speech:
        length = "no end was said" if s.end_us is None else exact_ms(s.end_us - s.start_us)
        tip = f"{s.speaker} speaks, turn {s.turn}: {length}, from {exact_ms(s.start_us)} to {exact_ms(s.until_us)}"
        bars.append(scale.bar(s.speaker if s.end_us is not None else f"{s.speaker} open", s.start_us, s.until_us, tip))
    return tuple(bars)


def _gaps(glitches: Iterable[Glitch], scale: Scale, bad: set[tuple[str, int]]) -> tuple[Bar, ...]:
    return tuple(
        scale.bar("gap bad" if (g.source, g.seq) in bad else "gap", g.at_us, g.at_us + g.gap_us, _gap_tip(g))
        for g in glitches
    )


def _gap_tip(glitch: Glitch) -> str:
    heard = f"{glitch.kind} of {exact_ms(glitch.gap_us)} at {exact_ms(glitch.at_us)}"
    return f"{heard}, turn {glitch.turn}, heard by {glitch.detector}"


def _graph(turns: Iterable[Turn], scale: Scale) -> list[Mark]:
    marks = []
    for turn in turns:
        for n in turn.nodes:
            marks.append(scale.mark("node", n.at_us, f"node {n.node} entered at {exact_ms(n.at_us)}, turn {n.turn}"))
        for t in turn.tools:
            tip = f"tool {t.tool} fired at {exact_ms(t.at_us)}, turn {t.turn}: {t.node} → {t.next_node}"
            marks.append(scale.mark("tool", t.at_us, tip))
    return sorted(marks, key=lambda m: (m.at_us, m.kind))


def _waited(turn: Turn, scale: Scale) -> list[Bar]:
    if turn.asked_us is None:
        return []
    return [
        scale.bar(_kind(s), turn.asked_us + a, turn.asked_us + b, f"turn {turn.number}: {_segment_tip(s)}")
        for s in turn.segments
        for a, b in [_extent(s)]
    ]


def _extent(segment: Segment) -> tuple[int, int]:
    """A negative remainder lies over the parts that overlap."""
    end_us = segment.start_us + segment.length_us
    return min(segment.start_us, end_us), max(segment.start_us, end_us)


def _kind(segment: Segment) -> str:
    return f"{component_kind(segment.component)}{' cut' if segment.cut else ''}"


def component_kind(component: str) -> str:
    """One of the closed kinds that have a colour: a producer's name never becomes part of the page's markup."""
    return component if component == UNATTRIBUTED or component in set(Component) else "other"


def _segment_tip(segment: Segment) -> str:
    how = ", cut" if segment.cut else ", overlap" if segment.length_us < 0 else ""
    return f"{segment.component} {exact_ms(segment.length_us)}{how}"


# ── turns ──


def _wait_scale(turns: Sequence[Turn], limits: Sequence[SpanObjective]) -> Scale:
    longest_us = max((_extent(s)[1] for t in turns for s in t.segments), default=0) or 1_000_000
    lines = [at for t in turns for _, at in _lines(t, limits) if at <= LIMIT_TO_WAIT_MAX * longest_us]
    return Scale(0, round(1.02 * max([longest_us, *lines])))


def _lines(turn: Turn, limits: Sequence[SpanObjective]) -> list[tuple[SpanObjective, int]]:
    """Where each threshold stands in the stack: from the start of the part that it is about."""
    found = []
    for limit in limits:
        if limit.component == Component.TURN and turn.segments and limit.figure != "duration_us":
            found.append((limit, limit.above_us))
        found += [
            (limit, s.start_us + limit.above_us)
            for s in turn.segments
            if s.component == limit.component and limit.figure != "duration_us"
        ]
    return found


def _row(turn: Turn, waits: Scale, limits: Sequence[SpanObjective], found: Sequence[Breach]) -> Row:
    scale = Scale(turn.start_us, turn.end_us)
    bad = {(b.source, b.span) for b in found if b.span is not None}
    works = tuple(Work(s, _work(s, scale, limits), (s.source, s.span) in bad) for s in turn.spans)
    return Row(
        turn,
        _stack(turn, waits, limits, found),
        scale.ticks(8),
        _own_lanes(turn, scale, found),
        works,
        tuple(found),
    )


def _stack(turn: Turn, waits: Scale, limits: Sequence[SpanObjective], found: Sequence[Breach]) -> Lane:
    bars = [waits.bar(_kind(s), *_extent(s), _segment_tip(s)) for s in turn.segments]
    lines = [(limit, at) for limit, at in _lines(turn, limits) if at <= waits.end_us]
    breached = {b.objective for b in found}
    for limit, at in lines:
        end_us = next((_extent(s)[1] for s in turn.segments if s.component == limit.component), turn.waited_us)
        if limit.name in breached and end_us > at:
            bars.append(waits.bar("over", at, end_us, f"{limit.component} {exact_ms(end_us - at)} over its threshold"))
    marks = [waits.mark("limit", at, f"{o.component}: {exact_ms(o.above_us)} is the threshold") for o, at in lines]
    return Lane("wait", tuple(bars), tuple(marks))


def _own_lanes(turn: Turn, scale: Scale, found: Sequence[Breach]) -> tuple[Lane, ...]:
    heard = [s for s in turn.speech if s.speaker == "caller"]
    said = [s for s in turn.speech if s.speaker == "agent"]
    bad = {(b.source, b.seq) for b in found if b.seq is not None}
    lanes = [Lane("caller speaks", _spoken(heard, scale))] if heard else []
    if said or turn.glitches:
        lanes.append(Lane("agent speaks", _spoken(said, scale) + _gaps(turn.glitches, scale, bad)))
    if turn.nodes or turn.tools:
        lanes.append(Lane("graph", (), tuple(_graph([turn], scale))))
    return tuple(lanes)


def _work(span: Span, scale: Scale, limits: Sequence[SpanObjective]) -> Lane:
    """The whole span, and over it the part that the next component had to wait for."""
    kind = component_kind(span.component)
    whole = f"{span.component} {exact_ms(span.duration_us)}, from {exact_ms(span.start_us)} to {exact_ms(span.end_us)}"
    bars = [scale.bar(f"{kind} whole {span.status}", span.start_us, span.end_us, whole)]
    if span.component not in _NO_PART and span.status == SpanStatus.OK:
        useful_us = figure(span, "latency_us") or 0
        name = "ready" if span.ready_us is not None else "first" if span.first_us is not None else "done"
        tip = f"{span.component} {name} after {exact_ms(useful_us)}"
        bars.append(scale.bar(kind, span.start_us, span.start_us + useful_us, tip))
    marks = []
    for limit in limits:
        at_us = span.start_us + limit.above_us
        if limit.component == span.component and span.status == SpanStatus.OK and at_us <= scale.end_us:
            marks.append(scale.mark("limit", at_us, f"{limit.figure}: {exact_ms(limit.above_us)} is the threshold"))
    return Lane(span.component, tuple(bars), tuple(marks))
