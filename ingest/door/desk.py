"""Between the door and the log: takes spans, tells calls that are due, and loses nothing that it has answered for.

The order is: spans into the journal, the answer; later their events into the log, their delivery, the journal again.
Dying in between repeats events, which bear the same identities; the worker counts them once.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ingest.door.call import Envelope, tell
from ingest.door.journal import Journal
from ingest.door.meters import DoorMeters
from ingest.door.span import ForeignSpan
from ingest.door.traces import Fate, Held, Traces
from runtime.emit import DurableLog
from runtime.events import Event, PersonalDataRefused, Topic, Unreadable, decode, encode

FLUSH_S = 5.0
EVENTS_PER_FLUSH = 5_000  # well below what a producer lets wait: a call is never told into a full queue
_log = logging.getLogger(__name__)


class _Owed(NamedTuple):
    """A trace that was said: of so many spans, with the keys that were said before."""

    trace: str
    held: Held
    spans: int
    keys: set[str]


class Desk:
    """Any thread may call it; one at a time gets in."""

    def __init__(
        self, traces: Traces, log: DurableLog, envelope: Envelope, meters: DoorMeters, journal: Journal | None = None
    ) -> None:
        self._traces, self._log, self._envelope = traces, log, envelope
        self._meters, self._journal = meters, journal
        self._lock = threading.Lock()  # of the traces and the journal
        self._telling = threading.Lock()
        self._behind = self._unwritten = False
        self._owed: list[_Owed] = []  # handed to the log, and not known to be delivered
        self._lost_before = self._lost()
        meters.watch(lambda: len(traces))

    @property
    def full(self) -> bool:
        return self._traces.full

    def take(self, spans: Iterable[ForeignSpan], now_s: float) -> Counter[str]:
        """Keep the spans, on disk too; how many were not taken, by reason. Raises OSError when the disk takes none."""
        refused: Counter[str] = Counter()
        taken = []
        with self._lock:
            for span in spans:
                fate = self._traces.offer(span, now_s)
                if fate is Fate.TAKEN:
                    taken.append(span)
                elif fate is Fate.TOO_MANY:
                    refused[fate.value] += 1
                else:
                    self._meters.dropped(fate.value)  # the sender has done its duty
            if self._journal is not None and taken:
                try:
                    self._journal.took(taken)
                    self._journal.sync()
                except OSError:
                    for span in taken:
                        self._traces.withdraw(span)
                    raise
        self._meters.accepted(len(taken))
        return refused

    def tell(self, now_s: float, at_once: bool = False) -> bool:
        """Say what is due, and forget what lingered. False when the log has not taken all yet: it is asked again."""
        with self._telling:
            all_taken = self._tell(now_s, at_once)
            self._forget(now_s)  # in any case: a broker that is away must not keep the words of calls that it has
        return all_taken

    def stop(self, now_s: float) -> None:
        """Leave on disk only what the next door has to know. What is not told yet, it tells."""
        with self._lock:
            self._tidy(now_s, at_once=True)

    def _tell(self, now_s: float, at_once: bool) -> bool:
        if not self._settled():
            return False
        with self._lock:
            due = [(trace, held, list(held.spans.values())) for trace, held in self._traces.due(now_s, at_once)]
        said = 0
        for trace, held, spans in due:
            self._owed.append(_Owed(trace, held, len(spans), set(held.progress.keys)))
            said += self._say(self._told(spans, held))
            if not held.progress.call:
                self._meters.dropped("no_dialect", len(spans))
            if said >= EVENTS_PER_FLUSH:
                said = 0
                if not self._settled():
                    return False
        return self._settled()

    def _told(self, spans: list[ForeignSpan], held: Held) -> list[Event]:
        try:
            return tell(spans, held.progress, self._envelope)
        except Exception as error:  # noqa: BLE001  one call that no map can read must not stop the others, nor a restart
            _log.error("a trace of %d spans could not be read: %s", len(spans), type(error).__name__)
            self._meters.dropped("unreadable", len(spans))
            return []

    def _say(self, events: list[Event]) -> int:
        values = [(event, value) for event in events if (value := self._encoded(event)) is not None]
        for event, value in values:
            self._log.append(Topic.CONTENT if event.CONTENT else Topic.CALLS, event.stream, value)
        self._meters.said(len(values))
        return len(values)

    def _settled(self) -> bool:
        """Whether the log has all that it was given. What it gave up is said again; what waits there is not."""
        if not self._owed:
            return True
        waiting = self._log.flush(FLUSH_S)
        lost, self._lost_before = self._lost() - self._lost_before, self._lost()
        if lost:
            for owed in self._owed:
                owed.held.progress.keys = owed.keys
            self._owed.clear()
        elif not waiting:
            with self._lock:
                # Of others something came meanwhile.
                whole = [owed.trace for owed in self._owed if len(owed.held.spans) == owed.spans]
                for trace in whole:
                    self._traces.told(trace)
                self._note(whole, [])
            self._owed.clear()
        behind, self._behind = self._behind, bool(lost or waiting)
        if self._behind and not behind:
            _log.warning("the brokers do not take what the door has to say: it waits for them")
        return not self._behind

    def _forget(self, now_s: float) -> None:
        with self._lock:
            self._note([], self._traces.forget(now_s))
            self._tidy(now_s)

    def _note(self, told: list[str], closed: list[str]) -> None:
        """Into the journal. What a full disk does not take is said again after a restart, under the same identities."""
        if self._journal is None or not (told or closed):
            return
        with self._disk():
            self._journal.told(told)
            self._journal.closed(closed)
            if not self._journal.rewrite_if_large(self._traces):
                self._journal.sync()
            self._unwritten &= self._journal.stale  # a disk that takes a line may still refuse the whole

    def _tidy(self, now_s: float, at_once: bool = False) -> None:
        """Take out of the journal what nobody holds. What a disk refuses now is asked of it again later."""
        if self._journal is None:
            return
        with self._disk():
            if self._journal.rewrite_if_stale(self._traces, now_s, at_once):
                self._unwritten = False

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """A disk that fails is said once."""
        try:
            yield
        except OSError as error:
            if not self._unwritten:
                _log.warning("the door cannot write its journal: %s", error.strerror)
            self._unwritten = True

    def _lost(self) -> int:
        """Records that the log gave up: it was full, or the brokers refused them, which not every log can tell."""
        return self._log.dropped + int(getattr(self._log, "failed", 0))

    def _encoded(self, event: Event) -> bytes | None:
        try:
            value = encode(event)
            decode(value)
        except (PersonalDataRefused, Unreadable, UnicodeEncodeError, OverflowError):
            self._meters.dropped("event")
            return None
        return value
