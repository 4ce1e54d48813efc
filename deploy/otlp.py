"""The user's own OpenTelemetry back end, as the standard environment variables name it. Sends no words by itself."""

import importlib.util
import threading
from collections.abc import Sequence
from typing import Self

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from deploy.errors import PartMissing
from deploy.settings import Settings
from runtime.tracing import Tracing

SPANS_MAX = 32_768  # waiting to be sent; what comes then is dropped, and counted as not taken
END_S = 5.0


class Outlet:
    """A context manager: `tracing` makes the spans of the calls inside, and sends them on where that is asked for."""

    def __init__(self, settings: Settings) -> None:
        """Raises PartMissing when an exporter is asked for and not installed."""
        self._batches: _Batches | None = None
        if settings.otlp:
            if importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is None:
                raise PartMissing(
                    "OTEL_EXPORTER_OTLP_ENDPOINT is set and the exporter is not installed: "
                    "pip install 'turnlog[otlp]', or unset it"
                )
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._batches = _Batches(_Counted(OTLPSpanExporter()))
        self.tracing = Tracing(*([self._batches] if self._batches else []), content=settings.otlp_content)
        self._over = False

    def close(self) -> int:
        """Send what waits, for END_S at most: a collector may take a request and never answer. The spans that were not
        taken.
        """
        if not self._over:
            self._over = True
            ending = threading.Thread(target=self.tracing.close, name="turnlog-otlp-end", daemon=True)
            ending.start()
            ending.join(END_S)
        return self._batches.not_taken if self._batches else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Counted(SpanExporter):
    def __init__(self, inner: SpanExporter) -> None:
        self._inner, self.taken = inner, 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001  the edge to another system
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self.taken += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class _Batches(BatchSpanProcessor):
    def __init__(self, exporter: _Counted) -> None:
        super().__init__(exporter, max_queue_size=SPANS_MAX)
        self._exporter, self._ended = exporter, 0

    def on_end(self, span: ReadableSpan) -> None:
        self._ended += 1
        super().on_end(span)

    @property
    def not_taken(self) -> int:
        return self._ended - self._exporter.taken
