"""What an event adds to the rollups: pure, a batch at a time, so that buckets are computed in one pass."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from ingest.effects import Measure, RollupKey
from ingest.sketch import bucket_of
from ingest.tables import Log
from runtime.events import (
    CallEnded,
    CallLost,
    CallStarted,
    Detector,
    Event,
    GlitchDetected,
    GlitchKind,
    LoopDetected,
    Outcome,
    SpanEnded,
    TurnEnded,
)

_MINUTE_US = 60_000_000
_ONE = 0  # the bucket of what is only counted


class Counted(StrEnum):
    """What `quality_1m` counts: a column of the view each."""

    CALLS_STARTED = "calls_started"
    CALLS_ENDED = "calls_ended"
    CALLS_LOST = "calls_lost"
    TURNS = "turns"
    DISAPPEARED = "disappeared"
    INTERRUPTED = "interrupted"
    UNDERRUNS_PLAYOUT = "underruns_playout"
    UNDERRUNS_AUDIO = "underruns_audio"
    DEAD_AIR = "dead_air"
    LOOPS = "loops"


_OF_TYPE: dict[type[Event], Counted] = {
    CallStarted: Counted.CALLS_STARTED,
    CallEnded: Counted.CALLS_ENDED,
    CallLost: Counted.CALLS_LOST,
    LoopDetected: Counted.LOOPS,
}
_OF_OUTCOME = {Outcome.DISAPPEARED: Counted.DISAPPEARED, Outcome.INTERRUPTED: Counted.INTERRUPTED}
_OF_DETECTOR = {Detector.PLAYOUT: Counted.UNDERRUNS_PLAYOUT, Detector.AUDIO: Counted.UNDERRUNS_AUDIO}


def measures_of(events: Sequence[Event]) -> Iterator[tuple[Measure, ...]]:
    """The measures of each event, in order. An event adds to rows of its own minute only."""
    latencies = [e.latency_us for e in events if type(e) is SpanEnded and e.latency_us is not None]
    buckets = iter(bucket_of(latencies).tolist() if latencies else ())
    for event in events:
        if type(event) is SpanEnded:
            yield () if event.latency_us is None else _of_span(event, next(buckets))
        else:
            yield tuple((quality_key(event, what), _ONE) for what in counted(event))


def _of_span(span: SpanEnded, bucket: int) -> tuple[Measure, ...]:
    alone = ((latency_key(span), bucket),)
    if not span.variants:
        return alone
    return alone + tuple((variation_key(span, *arm), bucket) for arm in span.variants.items())


def counted(event: Event) -> tuple[Counted, ...]:
    """What of `quality_1m` the event is one more of. A gap that both detectors report is one of each."""
    match event:
        case TurnEnded():
            also = _OF_OUTCOME.get(event.outcome)
            return (Counted.TURNS,) if also is None else (Counted.TURNS, also)
        case GlitchDetected():
            return (Counted.DEAD_AIR if event.kind is GlitchKind.DEAD_AIR else _OF_DETECTOR[event.detector],)
        case _:
            what = _OF_TYPE.get(type(event))
            return () if what is None else (what,)


def latency_key(span: SpanEnded) -> RollupKey:
    """The row of `latency_1m_log` that the span counts in; the minute in seconds since 1970."""
    return (Log.LATENCY_1M, _minute_s(span), span.tenant, span.campaign, span.component, span.provider, span.model)


def variation_key(span: SpanEnded, experiment: str, variation: str) -> RollupKey:
    """The row of `latency_by_variation_1m_log` that the span counts in, for one arm of its call."""
    arm = (experiment, variation)
    return (Log.LATENCY_BY_VARIATION_1M, _minute_s(span), span.tenant, span.campaign, *arm, span.component)


def quality_key(event: Event, what: Counted) -> RollupKey:
    """The row of `quality_1m_log` that the event counts in."""
    return (Log.QUALITY_1M, _minute_s(event), event.tenant, event.campaign, what)


def _minute_s(event: Event) -> int:
    return event.at // _MINUTE_US * 60
