"""Tells who waits at a terminal that an answer is under way, once it takes a while. Knows nothing of the answer."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

QUIET_S = 2.0


class Patience:
    """A context manager; silent where nobody watches, and for the first `quiet_s`. `end` it before other output."""

    def __init__(self, talk: Console, quiet_s: float = QUIET_S) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=talk, transient=True)
        self._task = self._progress.add_task("asking")
        self._rows = 0
        self._guard = threading.Lock()
        self._over = not talk.is_terminal
        self._later = threading.Timer(quiet_s, self._begin)
        self._later.daemon = True

    def __enter__(self) -> Self:
        if not self._over:
            self._later.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def advance(self, rows: int) -> None:
        """So many rows more have come."""
        self._rows += rows
        self._progress.update(self._task, description=f"{self._rows:,} rows")

    def end(self) -> None:
        """Nothing is shown any more."""
        self._later.cancel()
        with self._guard:
            if self._progress.live.is_started:
                self._progress.stop()
            self._over = True

    def _begin(self) -> None:
        with self._guard:
            if not self._over:
                self._progress.start()
