"""The user's own OpenTelemetry back end, as the standard environment variables name it. Sends no words by itself."""

import importlib.util
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from deploy.errors import PartMissing
from deploy.settings import Settings
from runtime.tracing import Tracing

SPANS_MAX = 32_768  # waiting to be sent; what comes then is dropped and not told
END_MS = 3_000


class Outlet:
    """Spans for the calls of this process. `tracing` stands beside the log; `close` says how many were not taken."""

    def __init__(self, settings: Settings) -> None:
        """Raises PartMissing when an exporter is asked for and not installed."""
        self._exporter: _Counted | None = None
        processors = []
        if settings.otlp:
            if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is None:
                raise PartMissing(
                    "OTEL_EXPORTER_OTLP_ENDPOINT is set and the exporter is not installed: "
                    "pip install 'turnlog[otlp]', or unset it"
                )
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = _Counted(OTLPSpanExporter())
            processors.append(BatchSpanProcessor(self._exporter, max_queue_size=SPANS_MAX))
        self._processors = processors
        self.tracing = Tracing(*processors, content=settings.otlp_content)

    def close(self) -> int:
        """Send what waits, for a moment; the number of spans that were not taken."""
        for processor in self._processors:
            processor.force_flush(END_MS)
        self.tracing.close()
        return self._exporter.refused if self._exporter else 0


class _Counted(SpanExporter):
    def __init__(self, inner: SpanExporter) -> None:
        self._inner, self.refused = inner, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001  the edge to another system
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self.refused += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = END_MS) -> bool:
        return self._inner.force_flush(timeout_millis)
