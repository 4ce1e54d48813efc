"""Between the door and the log: takes spans, tells calls that are due, and loses nothing that it has answered for.

The order is: spans into the journal, the answer; later their events into the log, their delivery, the journal again.
Dying in between repeats events, which bear the same identities; the worker counts them once.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from ingest.door.call import Envelope, tell
from ingest.door.journal import Journal
from ingest.door.meters import DoorMeters
from ingest.door.span import ForeignSpan
from ingest.door.traces import Fate, Traces
from runtime.emit import DurableLog
from runtime.events import Event, PersonalDataRefused, Topic, Unreadable, decode, encode

FLUSH_S = 5.0
EVENTS_PER_FLUSH = 5_000  # well below what a producer lets wait: a call is never told into a full queue
_log = logging.getLogger(__name__)


class Desk:
    """Any thread may call it; one at a time gets in."""

    def __init__(
        self, traces: Traces, log: DurableLog, envelope: Envelope, meters: DoorMeters, journal: Journal | None = None
    ) -> None:
        self._traces, self._log, self._envelope = traces, log, envelope
        self._meters, self._journal = meters, journal
        self._lock = threading.Lock()  # of the traces and the journal
        self._telling = threading.Lock()
        self._behind = False
        meters.watch(lambda: len(traces))

    @property
    def full(self) -> bool:
        return self._traces.full

    def take(self, spans: Iterable[ForeignSpan], now_s: float) -> Counter[str]:
        """Keep the spans, on disk too; how many were not taken, by reason."""
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
                self._journal.took(taken)
                self._journal.sync()
        self._meters.accepted(len(taken))
        return refused

    def tell(self, now_s: float, at_once: bool = False) -> bool:
        """Say what is due, and forget what lingered. False when the log did not take all: then it is said again."""
        with self._telling:
            with self._lock:
                due = [(trace, list(held.spans.values()), held) for trace, held in self._traces.due(now_s, at_once)]
            for trace, spans, held in due:
                # The keys of what was told are kept only when the log has it all.
                keys = set(held.progress.keys)
                events = tell(spans, held.progress, self._envelope)
                if not self._say(events):
                    held.progress.keys = keys
                    return False
                with self._lock:
                    if len(held.spans) == len(spans):  # else something came meanwhile
                        self._traces.told(trace)
                        if self._journal is not None:
                            self._journal.told(trace)
                if not held.progress.call:
                    self._meters.dropped("no_dialect", len(spans))
            with self._lock:
                closed = self._traces.forget(now_s)
                if self._journal is not None and (closed or due):
                    self._journal.closed(closed)
                    if not self._journal.rewrite_if_large(self._traces):
                        self._journal.sync()
        return True

    def _say(self, events: list[Event]) -> bool:
        for start in range(0, len(events), EVENTS_PER_FLUSH):
            lost, said = self._lost(), 0
            for event in events[start : start + EVENTS_PER_FLUSH]:
                value = self._encoded(event)
                if value is not None:
                    self._log.append(Topic.CONTENT if event.CONTENT else Topic.CALLS, event.stream, value)
                    said += 1
            if self._log.flush(FLUSH_S) or self._lost() > lost:
                if not self._behind:
                    _log.warning("the brokers do not take what the door has to say: it waits, and says it again")
                self._behind = True
                return False
            self._behind = False
            self._meters.said(said)
        return True

    def _lost(self) -> int:
        """Records that the log gave up, for whichever reason."""
        return self._log.dropped + int(getattr(self._log, "failed", 0))

    def _encoded(self, event: Event) -> bytes | None:
        try:
            value = encode(event)
            decode(value)
        except (PersonalDataRefused, Unreadable, UnicodeEncodeError, OverflowError):
            self._meters.dropped("event")
            return None
        return value


Clock = Callable[[], float]
