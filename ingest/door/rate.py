"""A bucket of spans that fills steadily: what does not fit has to wait. Pure."""

from ingest.door.limits import SPANS_BURST_MAX, SPANS_PER_SECOND_MAX


class Rate:
    """Spans are charged after they were counted, so the bucket may be in debt; nothing is let in until that is paid."""

    def __init__(self, per_second: float = SPANS_PER_SECOND_MAX, burst: float = SPANS_BURST_MAX) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at_s = burst, 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next request may come; 0 now."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        return 0.0 if self._left > 0 else (1 - self._left) / self._per_second

    def charge(self, spans: int) -> None:
        self._left -= spans
