"""Knows when the caller's line runs dry, from arrivals alone; plays nothing.

The deadline is the moment at which all audio fed so far has been played. Audio that arrives later than the
deadline was preceded by silence. Judging the spacing of arrivals instead raises an alarm for every burst.
"""

from dataclasses import dataclass

PREBUFFER_US = 60_000
GAP_US_MIN = 20_000  # one frame of a telephone line; less cannot be heard


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence inside an utterance: when it was heard to begin, and for how long."""

    at_us: int
    gap_us: int


class PlayoutLedger:
    """One utterance at a time; O(1) per chunk. Arrivals must not go back in time."""

    def __init__(self, prebuffer_us: int = PREBUFFER_US, gap_us_min: int = GAP_US_MIN) -> None:
        self._prebuffer_us = prebuffer_us
        self._gap_us_min = gap_us_min
        self._held_us = 0
        self.started_us: int | None = None
        self.deadline_us: int | None = None

    def feed(self, arrival_us: int, duration_us: int) -> Gap | None:
        """Take one chunk; the gap that it ended, when that was long enough to be heard."""
        if self.deadline_us is None:
            self._held_us += duration_us
            if self._held_us >= self._prebuffer_us:
                self._start(arrival_us)
            return None
        gap_us = arrival_us - self.deadline_us
        if gap_us <= 0:
            self.deadline_us += duration_us
            return None
        gap = Gap(self.deadline_us, gap_us)
        self.deadline_us = arrival_us + duration_us
        return gap if gap_us >= self._gap_us_min else None

    def flush(self, now_us: int) -> None:
        """No more chunks will come: what the prebuffer holds is played now, however short it is."""
        if self.deadline_us is None and self._held_us > 0:
            self._start(now_us)

    def reset(self) -> None:
        """The utterance is over or was interrupted; silence from here on is nobody's fault."""
        self._held_us = 0
        self.started_us = None
        self.deadline_us = None

    def _start(self, now_us: int) -> None:
        self.started_us = now_us
        self.deadline_us = now_us + self._held_us
        self._held_us = 0
