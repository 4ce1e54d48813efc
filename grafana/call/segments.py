"""Lays the parts of a turn's wait end to end, so that they add up to its latency. Pure; draws nothing."""

from collections.abc import Sequence

from grafana.call.record import UNATTRIBUTED, Segment, Span
from runtime.events import Component, SpanStatus, TurnEnded

_ROOTS = (Component.TURN, Component.OPENING)


def segments(spans: Sequence[Span], end: TurnEnded | None) -> tuple[int | None, tuple[Segment, ...]]:
    """When the wait began, and what it was made of: the spans right under the turn's root, and the rest.

    A part counts to its useful moment, which it has reached even if it was cut later. Without an answer the whole of
    what was under way counts, until the cut. The beginning is absent when no span tells it.
    """
    teller = end.source if end else next((s.source for s in spans), "")
    parts = _parts([s for s in spans if s.source == teller])
    latency_us = end.latency_us if end else None
    found: list[Segment] = []
    at_us = 0
    for span in sorted(parts, key=lambda s: (s.start_us, s.span)):
        useful_us = _useful_us(span)
        cut = useful_us is None
        length_us = useful_us if useful_us is not None else span.duration_us if latency_us is None else 0
        found.append(Segment(span.component, at_us, length_us, span.span, cut))
        at_us += length_us
    if latency_us is not None and latency_us != at_us:
        found.append(Segment(UNATTRIBUTED, at_us, latency_us - at_us))
    return min((s.start_us for s in parts), default=None), tuple(found)


def _parts(spans: Sequence[Span]) -> list[Span]:
    """The children of the turn's root. The root ends last, so it is the first to be missing: its number is then the
    lowest that orphans name as their parent, because it started first.
    """
    root = next((s.span for s in spans if s.component in _ROOTS and s.parent == 0), None)
    if root is None:
        root = min((s.parent for s in spans if s.orphan), default=0)
    return [s for s in spans if root and s.parent == root]


def _useful_us(span: Span) -> int | None:
    """From its start to where the next part could begin; none when it was ended before."""
    if span.ready_us is not None:
        return span.ready_us
    if span.first_us is not None:
        return span.first_us
    return span.duration_us if span.status == SpanStatus.OK else None
