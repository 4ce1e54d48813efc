"""Holds one call against the objectives: which of its spans, gaps and turns breach one. Pure; knows no threshold."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from alerts.slos import GlitchObjective, Objective, SpanObjective, TurnObjective
from grafana.call.record import CallRecord, Glitch, Span, Turn
from runtime.events import SpanStatus


class Breach(Struct, frozen=True, kw_only=True):
    """One thing in a call that breaches an objective. `value_us` is absent where it counts that it happened at all.

    `span` numbers a span of the `source`, `seq` a glitch; both are absent for a turn.
    """

    objective: str
    summary: str
    turn: int
    value_us: int | None = None
    limit_us: int | None = None
    source: str = ""
    span: int | None = None
    seq: int | None = None


def breaches(record: CallRecord, objectives: Sequence[Objective]) -> tuple[Breach, ...]:
    """In the order of the objectives, then of the turns."""
    return tuple(b for objective in objectives for turn in record.turns for b in _of_turn(turn, objective))


def _of_turn(turn: Turn, objective: Objective) -> Iterable[Breach]:
    match objective:
        case SpanObjective():
            return [_span(s, figure, objective) for s in turn.spans if (figure := over(s, objective)) is not None]
        case GlitchObjective():
            return [_glitch(g, objective) for g in turn.glitches if g.gap_ms >= objective.at_least_ms]
        case TurnObjective():
            if turn.outcome != objective.outcome:
                return []
            return [Breach(objective=objective.name, summary=objective.summary, turn=turn.number)]


def over(span: Span, objective: SpanObjective) -> int | None:
    """The span's figure, when it is above the objective's threshold. Only a span that succeeded is judged."""
    if span.component != objective.component or span.status != SpanStatus.OK:
        return None
    value_us = figure(span, objective.figure)
    return value_us if value_us is not None and value_us > objective.above_us else None


def figure(span: Span, name: str) -> int | None:
    """A span's figure by its column's name."""
    match name:
        case "first_us":
            return span.first_us
        case "ready_us":
            return span.ready_us
        case "duration_us":
            return span.duration_us
        case _:  # latency_us: ready, else first, else the whole
            return next((v for v in (span.ready_us, span.first_us) if v is not None), span.duration_us)


def _span(span: Span, value_us: int, objective: Objective) -> Breach:
    assert isinstance(objective, SpanObjective)
    return Breach(
        objective=objective.name,
        summary=objective.summary,
        turn=span.turn,
        value_us=value_us,
        limit_us=objective.above_us,
        source=span.source,
        span=span.span,
    )


def _glitch(glitch: Glitch, objective: GlitchObjective) -> Breach:
    return Breach(
        objective=objective.name,
        summary=objective.summary,
        turn=glitch.turn,
        value_us=glitch.gap_us,
        limit_us=round(objective.at_least_ms * 1000),
        source=glitch.source,
        seq=glitch.seq,
    )
