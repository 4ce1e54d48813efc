"""What becomes of a part as time passes, decided from what is seen of it. Knows no clock, process or socket."""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal, Self

READY_TIMEOUT_S = 30.0
PAUSE_MIN_S = 0.5
PAUSE_MAX_S = 30.0
WELL_S = 60.0  # a part that ran so long was well: its next pause is the shortest one
CHECK_EVERY_S = 5.0
MISSES_MAX = 3


class Seen(Enum):
    """What the edge saw of the process."""

    ENDED = auto()
    SILENT = auto()  # it lives and does not answer
    ANSWERS = auto()
    LIVES = auto()  # and was not asked


class Act(Enum):
    """What the edge has to do."""

    NOTHING = auto()
    START = auto()
    TELL_ENDED = auto()
    TELL_READY = auto()
    KILL_SLOW = auto()  # it was not ready in time
    KILL_HUNG = auto()  # it lives and does not answer any more


@dataclass(frozen=True, slots=True)
class Course:
    """Where a part is between waiting, starting and running. Times in seconds of any clock that goes forward only.

    `due` is when something happens next: the start, the end of patience with a start, the next check.
    """

    phase: Literal["waiting", "starting", "running"] = "waiting"
    since: float = 0.0
    due: float = 0.0
    pause_s: float = 0.0
    misses: int = 0
    starts: int = 0

    @property
    def restarts(self) -> int:
        return max(0, self.starts - 1)

    def asks(self, now: float) -> bool:
        """Whether the part is to be asked now if it is well."""
        return self.phase == "starting" or (self.phase == "running" and now >= self.due)

    def step(self, now: float, seen: Seen) -> tuple[Self, Act]:
        """The course from now on, and what to do about it."""
        if self.phase == "waiting":
            if now < self.due:
                return self, Act.NOTHING
            started = replace(self, phase="starting", since=now, due=now + READY_TIMEOUT_S, starts=self.starts + 1)
            return started, Act.START
        if seen is Seen.ENDED:
            return self._waits(now), Act.TELL_ENDED
        return self._starts(now, seen) if self.phase == "starting" else self._runs(now, seen)

    def _starts(self, now: float, seen: Seen) -> tuple[Self, Act]:
        if seen is Seen.ANSWERS:
            return replace(self, phase="running", since=now, due=now + CHECK_EVERY_S, misses=0), Act.TELL_READY
        return self, Act.KILL_SLOW if now >= self.due else Act.NOTHING

    def _runs(self, now: float, seen: Seen) -> tuple[Self, Act]:
        if seen is Seen.LIVES:
            return self, Act.NOTHING
        misses = self.misses + 1 if seen is Seen.SILENT else 0
        checked = replace(self, misses=misses, due=now + CHECK_EVERY_S)
        return checked, Act.KILL_HUNG if misses >= MISSES_MAX else Act.NOTHING

    def _waits(self, now: float) -> Self:
        well = self.phase == "running" and now - self.since >= WELL_S
        pause_s = PAUSE_MIN_S if well or not self.pause_s else min(PAUSE_MAX_S, 2 * self.pause_s)
        return replace(self, phase="waiting", since=now, due=now + pause_s, pause_s=pause_s, misses=0)
