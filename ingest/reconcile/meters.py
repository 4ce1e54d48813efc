"""What the reconciler shows to Prometheus, whichever worker did the work. Decides nothing."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.reconcile.judge import Difference
from runtime.events import Label, Metric


class ReconcilerMeters:
    """Its series, in the registry of the worker that it runs beside."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of = (Label.ROLLUP,)
        self._differing = Gauge(
            Metric.RECONCILED_DIFFERING, "Rows of a recounted hour that differ from raw events", of, registry=registry
        )
        self._error = Gauge(
            Metric.RECONCILED_ERROR, "Counts that are wrong in that hour, over all that are true", of, registry=registry
        )
        self._at = Gauge(Metric.RECONCILED_AT, "When an hour was last recounted", registry=registry)
        self._lost = Counter(Metric.CALLS_LOST, "Calls that this worker said are lost", registry=registry)

    def recounted(self, at_us: int, found: Iterable[Difference]) -> None:
        """The last recount, whoever made it. Before the first there is no moment to show, which absence tells."""
        self._at.set(at_us / 1e6)
        for difference in found:
            self._differing.labels(difference.rollup).set(difference.differing)
            self._error.labels(difference.rollup).set(difference.relative_error)

    def lost(self, calls: int) -> None:
        self._lost.inc(calls)
