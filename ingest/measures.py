"""What an event adds to the rollups: pure, a batch at a time, so that buckets are computed in one pass."""

from collections.abc import Iterator, Sequence

from ingest.effects import Measure, RollupKey
from ingest.sketch import bucket_of
from ingest.tables import Log
from runtime.events import Event, SpanEnded


def measures_of(events: Sequence[Event]) -> Iterator[tuple[Measure, ...]]:
    """The measures of each event, in order. An event adds to rows of its own minute only."""
    latencies = [e.latency_us for e in events if isinstance(e, SpanEnded) and e.latency_us is not None]
    buckets = iter(bucket_of(latencies).tolist() if latencies else ())
    for event in events:
        if isinstance(event, SpanEnded) and event.latency_us is not None:
            yield ((latency_key(event), next(buckets)),)
        else:
            yield ()


def latency_key(span: SpanEnded) -> RollupKey:
    """The row of `latency_1m_log` that the span counts in; the minute in seconds since 1970."""
    minute_s = span.at // 60_000_000 * 60
    return (Log.LATENCY_1M, minute_s, span.tenant, span.campaign, span.component, span.provider, span.model)
