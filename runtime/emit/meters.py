"""What a producer exposes to Prometheus: read from its log when it is asked, so that no call pays for it."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from runtime.emit.handover import Handover
from runtime.events import Label, Metric


def expose(log: Handover, registry: CollectorRegistry) -> None:
    """Add the log's series to the registry of a process's own page. Labels are event types and reasons, both closed."""
    registry.register(_OfLog(log))


class _OfLog(Collector):
    def __init__(self, log: Handover) -> None:
        self._log = log

    def collect(self) -> Iterator[Family]:
        counts = self._log.counts()
        taken = CounterMetricFamily(Metric.EMIT_TAKEN, "Records that calls handed over", labels=[Label.TYPE])
        delivered = CounterMetricFamily(Metric.EMIT_DELIVERED, "Records that a broker has", labels=[Label.TYPE])
        for family, counted in ((taken, counts.taken), (delivered, counts.delivered)):
            for kind, number in counted.items():
                family.add_metric([kind], number)
            yield family
        dropped = CounterMetricFamily(Metric.EMIT_DROPPED, "Records given up", labels=[Label.TYPE, Label.REASON])
        for (kind, why), number in counts.dropped.items():
            dropped.add_metric([kind, why], number)
        yield dropped
        waiting = GaugeMetricFamily(Metric.EMIT_WAITING, "Records in memory alone")
        waiting.add_metric([], counts.waiting.total() + counts.unseen)
        yield waiting
        spooled = GaugeMetricFamily(Metric.EMIT_SPOOLED, "Records on disk", labels=[Label.TYPE])
        for kind, number in counts.spooled.items():
            spooled.add_metric([kind], number)
        yield spooled
        for name, words, value in (
            (Metric.EMIT_RESERVE, "The free part of the spool's reserve", self._log.reserve_free),
            (Metric.EMIT_ACCEPTS, "1 while calls may start", float(self._log.accepts_calls)),
        ):
            gauge = GaugeMetricFamily(name, words)
            gauge.add_metric([], value)
            yield gauge
