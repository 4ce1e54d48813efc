"""Maps moments to places: a scale, and the bars, marks and ticks on it, in per cent of a width. Pure."""

import math

from msgspec import Struct

from grafana.call.words import clock

WIDTH_PCT_MIN = 0.12  # about a pixel: what took no time can still be seen, and found by the mouse
TICKS_MAX = 10
_STEPS_MS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000)
_HOUR_MS = 3_600_000


class Bar(Struct, frozen=True):
    """From `start_us` to `end_us`; `x` and `width` are per cent of the lane. `tip` says it exactly, in words."""

    kind: str
    start_us: int
    end_us: int
    x: float
    width: float
    tip: str


class Mark(Struct, frozen=True):
    """A moment in a lane."""

    kind: str
    at_us: int
    x: float
    tip: str


class Tick(Struct, frozen=True):
    x: float
    label: str


class Scale(Struct, frozen=True):
    """Maps moments to per cent of a width. What lies outside is drawn at the edge."""

    start_us: int
    end_us: int

    def x(self, at_us: int) -> float:
        length_us = max(1, self.end_us - self.start_us)
        return round(min(100.0, max(0.0, 100 * (at_us - self.start_us) / length_us)), 3)

    def bar(self, kind: str, start_us: int, end_us: int, tip: str) -> Bar:
        x, end = self.x(start_us), self.x(end_us)
        width = max(WIDTH_PCT_MIN, end - x)
        return Bar(kind, start_us, end_us, round(min(x, 100 - width), 3), round(width, 3), tip)

    def mark(self, kind: str, at_us: int, tip: str) -> Mark:
        return Mark(kind, at_us, self.x(at_us), tip)

    def ticks(self, count_max: int = TICKS_MAX) -> tuple[Tick, ...]:
        """At round times, counted from the call's own zero."""
        least_ms = (self.end_us - self.start_us) / 1000 / count_max
        hours_ms = math.ceil(least_ms / _HOUR_MS) * _HOUR_MS
        step_us = 1000 * next((s for s in _STEPS_MS if s >= least_ms), hours_ms)
        first = -(-self.start_us // step_us)
        moments = (step_us * n for n in range(first, self.end_us // step_us + 1))
        return tuple(Tick(self.x(at), clock(at, step_us)) for at in moments)
