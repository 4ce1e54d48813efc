"""One part of the stack: performs what its course decides on its child. Decides nothing itself."""

from collections.abc import Callable, Sequence
from typing import Self

from deploy.embedded.child import Child, rotate
from deploy.embedded.state import PartState
from deploy.embedded.supervise import CHECK_EVERY_S, MISSES_MAX, READY_TIMEOUT_S, Act, Course, Seen


class Part:
    """`answers` says whether it is well, `ready` whether its start is over (else the same). It starts when those that
    it needs run. `lost` says what does not survive it.
    """

    def __init__(
        self,
        child: Child,
        address: str,
        answers: Callable[[], bool],
        *,
        ready: Callable[[], bool] | None = None,
        needs: Sequence[Self] = (),
        lost: str = "",
    ) -> None:
        self.child, self.address = child, address
        self._answers, self._ready, self._needs, self._lost = answers, ready or answers, needs, lost
        self.course = Course()
        self.ending = ""
        self._why = ""  # it ended, when that was our doing
        self._since_us = 0

    @property
    def runs(self) -> bool:
        return self.course.phase == "running"

    @property
    def mourning(self) -> str:
        """How it ended, where its log is, and its last lines."""
        return f"the {self.child.name} {self.ending}; its log is {self.child.log}:\n{self.child.last_lines()}"

    @property
    def state(self) -> PartState:
        return PartState(
            self.child.name,
            self.address,
            self.child.pid if self.child.alive else None,
            self.course.phase,
            self.course.restarts,
            self._since_us,
            self.ending,
        )

    def tend(self, now_s: float, at_us: int) -> str:
        """Look at it once, do what is due and return the news. `now_s` never goes back; `at_us` is the time of day."""
        if self.course.phase == "waiting" and not all(part.runs for part in self._needs):
            return ""
        before = self.course.phase
        self.course, act = self.course.step(now_s, self._seen(now_s))
        if self.course.phase != before:
            self._since_us = at_us
        match act:
            case Act.START:
                return self._start()
            case Act.KILL_SLOW:
                self._kill(f"was not ready in {READY_TIMEOUT_S:g} s and was killed")
            case Act.KILL_HUNG:
                self._kill(f"lived and did not answer for {MISSES_MAX * CHECK_EVERY_S:g} s, and was killed")
            case Act.TELL_ENDED:
                self.ending = self._why or self.child.how
                return f"{self.mourning}\nIt is started again in {self.course.pause_s:g} s"
            case Act.TELL_READY:
                again, lost = (" again", self._lost) if self.course.restarts else ("", "")
                return f"the {self.child.name} runs{again}: {self.address}, pid {self.child.pid}{lost}"
            case Act.NOTHING:
                pass
        return ""

    def _seen(self, now_s: float) -> Seen:
        if not self.child.alive:
            return Seen.ENDED
        if not self.course.asks(now_s):
            return Seen.LIVES
        if self.course.phase == "starting":
            return Seen.ANSWERS if self._ready() else Seen.SILENT
        rotate(self.child.log)
        return Seen.ANSWERS if self._answers() else Seen.SILENT

    def _start(self) -> str:
        self._why = ""
        try:
            self.child.start()
        except OSError as error:
            self._why = f"could not be started ({error.strerror}: make room, or set TURNLOG_STATE to another folder)"
        return f"starting the {self.child.name}"

    def _kill(self, why: str) -> None:
        self._why = why
        self.child.kill()
