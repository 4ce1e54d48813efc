"""What the door exposes to Prometheus: what it took, refused and dropped, and why. Holds no span."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from runtime.events import Label, Metric


class DoorMeters:
    """The series of one door, in a registry of its own. Reasons are closed sets."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self._accepted = Counter(Metric.DOOR_SPANS, "Foreign spans taken", registry=r)
        self._refused = Counter(Metric.DOOR_REFUSED, "Requests refused", (Label.REASON,), registry=r)
        self._dropped = Counter(
            Metric.DOOR_DROPPED, "Spans, attributes and events dropped", (Label.REASON,), registry=r
        )
        self._events = Counter(Metric.DOOR_EVENTS, "Events said", registry=r)
        self._held = Gauge(Metric.DOOR_HELD, "Traces held", registry=r)

    def accepted(self, spans: int) -> None:
        self._accepted.inc(spans)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def dropped(self, reason: str, count: int = 1) -> None:
        if count:
            self._dropped.labels(reason).inc(count)

    def said(self, events: int) -> None:
        self._events.inc(events)

    def watch(self, held: Callable[[], int]) -> None:
        self._held.set_function(held)
