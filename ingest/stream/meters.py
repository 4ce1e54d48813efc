"""What the worker exposes to Prometheus. A backlog or a rebuild moves nothing that pages."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.effects import Dead, Item
from ingest.projection import Row
from runtime.events import GlitchDetected, Label, Metric, SpanEnded, TurnEnded

FRESH_US = 120_000_000
SERIES_MAX = 2_000  # label sets that producers name; 4,000 cost over a second a scrape
OTHER = "other"
# The thresholds that people set are edges, so that the share beyond one is exact.
BUCKETS_S = (
    *(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8),
    *(2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 7.0, 10.0),
)
_CALL = (Label.TENANT, Label.CAMPAIGN)


class Meters:
    """The series of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        place = (Label.TOPIC, Label.PARTITION)
        self._latency = Histogram(
            Metric.LATENCY,
            "What a component added to the caller's wait",
            (*_CALL, Label.COMPONENT, Label.PROVIDER, Label.MODEL),
            registry=r,
            buckets=BUCKETS_S,
        )
        self._glitches = Counter(Metric.GLITCHES, "Glitches heard", (*_CALL, Label.DETECTOR), registry=r)
        self._turns = Counter(Metric.TURNS, "Turns of the caller", (*_CALL, Label.OUTCOME), registry=r)
        self._records = Counter(Metric.RECORDS, "Records stored", (Label.TOPIC,), registry=r)
        self._repeated = Counter(Metric.DUPLICATES, "Records that had been stored before", (Label.TOPIC,), registry=r)
        self._conflicts = Counter(Metric.CONFLICTS, "Same identity, another payload", (Label.TOPIC,), registry=r)
        self._dead = Counter(Metric.DEAD_LETTERS, "Records buried", (Label.TOPIC, Label.REASON), registry=r)
        self._retries = Counter(Metric.RETRIES, "Requests to the store or the broker that were repeated", registry=r)
        self._flush = Histogram(Metric.FLUSH_SECONDS, "Time to store one flush", registry=r)
        self._lag = Gauge(Metric.LAG, "Records in the log that are not taken in", place, registry=r)
        self._held = Gauge(Metric.HELD_BYTES, "Bytes that were read and are not stored", registry=r)
        self._pauses = Counter(Metric.PAUSES, "Times that reading was paused because too much was held", registry=r)
        # A moment and not an age: an age stops growing when nothing is stored, just when it should be looked at.
        self._youngest = Gauge(Metric.YOUNGEST, "When the youngest stored event happened", place, registry=r)
        self._series: set[tuple[str, ...]] = set()
        self._children: dict[tuple[Any, ...], Any] = {}  # to ask a metric for a child costs as much as to count in it

    def stored(self, topic: str, items: Iterable[Item], repeated: frozenset[int], beyond: int, now_us: int) -> None:
        """Count a flush. Events are observed when younger than two minutes and beyond offset `beyond`, the
        highest that was stored when this worker took the partition up.
        """
        count = 0
        for item in items:
            count += 1
            row: Row = item.row
            if item.offset > beyond and item.offset not in repeated and now_us - row.event.at < FRESH_US:
                self._observe(row)
        self._records.labels(topic).inc(count)
        self._repeated.labels(topic).inc(len(repeated))

    def _observe(self, row: Row) -> None:
        match row.event:
            case SpanEnded() as e if e.latency_us is not None:
                labels = (e.tenant, e.campaign, e.component, e.provider, e.model)
                self._child(self._latency, labels).observe(e.latency_us / 1e6)
            case GlitchDetected() as e:
                self._child(self._glitches, (e.tenant, e.campaign), e.detector.value).inc()
            case TurnEnded() as e:
                self._child(self._turns, (e.tenant, e.campaign), e.outcome.value).inc()
            case _:
                pass

    def _child(self, metric: Any, labels: tuple[str, ...], *closed: str) -> Any:
        """The series of these labels, which producers name, and of those that come of a `closed` list."""
        child = self._children.get((metric, labels, closed))
        if child is None:
            bounded = self._bounded(*labels)
            child = metric.labels(*bounded, *closed)
            if bounded == labels:
                self._children[metric, labels, closed] = child
        return child

    def _bounded(self, *labels: str) -> tuple[str, ...]:
        """The labels, or OTHER for each once there are SERIES_MAX of them: names come from producers."""
        if labels not in self._series:
            if len(self._series) >= SERIES_MAX:
                return (OTHER,) * len(labels)
            self._series.add(labels)
        return labels

    def buried(self, topic: str, letters: Iterable[Dead]) -> None:
        for dead in letters:
            self._dead.labels(topic, dead.reason.value).inc()

    def conflicts(self, topic: str, count: int) -> None:
        self._conflicts.labels(topic).inc(count)

    def retried(self) -> None:
        self._retries.inc()

    def flushed(self, seconds: float) -> None:
        self._flush.observe(seconds)

    def held(self, count: int) -> None:
        self._held.set(count)

    def paused(self) -> None:
        self._pauses.inc()

    def lag(self, topic: str, partition: int, records: int) -> None:
        self._lag.labels(topic, partition).set(max(0, records))

    def youngest(self, topic: str, partition: int, at_us: int) -> None:
        self._youngest.labels(topic, partition).set(at_us / 1e6)

    def released(self, topic: str, partition: int) -> None:
        """Another worker speaks for the partition from here on."""
        for gauge in (self._lag, self._youngest):
            with suppress(KeyError):
                gauge.remove(topic, partition)
