"""Says that words were read: a `ContentRead` on the control topic, acknowledged before the rows are given out."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from runtime.emit import DurableLog, LogUnreachable, say
from runtime.events import ContentRead, PersonalDataRefused, Unreadable

SOURCE = "store"
TENANT = "turnlog"  # a statement may ask of any: the reading is the store's own
SAY_TIMEOUT_S = 5.0
_ROWS_MAX = 2**32 - 1


class LogWitness:
    """Speaks over a log that is opened by `connect` at the first reading, and again after one that failed.

    May be used by several threads; one of them speaks at a time.
    """

    def __init__(self, connect: Callable[[], DurableLog], now_us: Callable[[], int] = lambda: time.time_ns() // 1000):
        self._connect, self._now_us = connect, now_us
        self._log: DurableLog | None = None
        self._turn = threading.Lock()

    def say(self, reader: str, statement: str, rows: int) -> None:
        """Raises OSError with the reason; then it may or may not become known, and nothing may be shown."""
        with self._turn:
            try:
                if self._log is None:
                    self._log = self._connect()
                key = f"content-read:{uuid.uuid4()}"
                at, rows = self._now_us(), min(rows, _ROWS_MAX)
                read: dict[str, Any] = {"reader": reader, "statement": statement, "rows": rows}
                say(self._log, TENANT, key, ContentRead, source=SOURCE, at=at, **read)
                missing = self._log.flush(SAY_TIMEOUT_S)
            except LogUnreachable as error:
                raise ConnectionError(str(error)) from None
            except (PersonalDataRefused, Unreadable):
                raise ConnectionError("the reader's name is not one that an event may hold") from None
            if missing:
                self._forget()
                raise TimeoutError(f"no broker acknowledged it in {SAY_TIMEOUT_S:g} s")

    def close(self) -> None:
        """Let the log go."""
        with self._turn:
            self._forget()

    def _forget(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close(0.0)
