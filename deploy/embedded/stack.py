"""Starts a stack in order, keeps it running while it is tended, stops it. What it is made of is planned elsewhere."""

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from deploy.embedded.part import Part
from deploy.embedded.plan import ANY_PORTS, PARTITIONS, Plan, Ports, planned
from deploy.embedded.state import Addresses, hold, is_written, release, write
from deploy.errors import StackError
from deploy.settings import Settings
from ingest.stream.logs import create_topics

TEND_EVERY_S = 0.25
_POLL_S = 0.05


class Stack:
    """A context manager: the stack runs inside, and is kept running by whoever calls `tend` again and again.

    `say` is told what is going on. The parts end with the thread that enters. When `stopped` says so while they start,
    entering raises KeyboardInterrupt.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        worker: bool = True,
        *,
        ports: Ports = ANY_PORTS,
        shared: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._say, self._stopped = settings, say, stopped
        self._with_worker, self._ports, self._shared = worker, ports, shared
        self._plan: Plan | None = None
        self._lock: int | None = None
        self._written: Addresses | None = None

    @property
    def addresses(self) -> Addresses:
        assert self._plan is not None, "the stack does not run"
        parts = tuple(part.state for part in self._plan.parts)
        return Addresses(
            kafka=self._plan.brokers.servers,
            clickhouse=self._plan.clickhouse,
            metrics=next((part.address for part in parts if part.name == "worker"), ""),
            pid=os.getpid(),
            children={part.name: part.pid for part in parts if part.pid is not None},
            started_at=self._started_at,
            parts=parts,
            shared=self._shared,
        )

    def __enter__(self) -> Self:
        state = self._settings.state
        self._lock = hold(state, self._say)
        try:
            self._started_at = _now_us()
            self._plan = planned(self._settings, self._ports, self._lock, self._with_worker)
            if self._settings.kafka is not None:
                create_topics(self._settings.kafka, PARTITIONS)
            self._start(self._plan.parts)
            self._written = self.addresses
            write(state, self._written)
        except BaseException:
            self._stop()
            raise
        return self

    def tend(self) -> None:
        """Notice what ended or hangs, and start it again when it is due. To be called several times a second."""
        for part in self._plan.parts if self._plan else ():
            news = part.tend(time.monotonic(), _now_us())
            if news:
                self._say(news)
        now = self.addresses
        if now == self._written and is_written(self._settings.state, now):
            return
        told, self._written = now == self._written, now
        try:
            write(self._settings.state, now)
        except StackError as error:
            if not told:
                self._say(str(error))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, parts: Sequence[Part]) -> None:
        """The first start is not tried twice: what keeps a part from starting is somebody's to mend."""
        while not all(part.runs for part in parts):
            if self._stopped():
                raise KeyboardInterrupt
            for part in parts:
                news = part.tend(time.monotonic(), _now_us())
                if part.ending:
                    raise StackError(part.mourning)
                if news:
                    self._say(news)
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        """In reverse: the worker flushes into a store that is still there."""
        for part in reversed(self._plan.parts if self._plan else ()):
            part.child.stop()
        self._plan = None
        if self._lock is not None:
            release(self._settings.state, self._lock)
            self._lock = None


def _now_us() -> int:
    return time.time_ns() // 1000
