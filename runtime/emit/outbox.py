"""What waits for a broker's word, in order: in memory while all is well, else on disk. Pure but for its spool.

Records are numbered as they are taken and sent in that order. While something on disk has not been sent, whatever comes
goes behind it; so the order holds. A record leaves when it is delivered, never before.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

from runtime.emit.frames import Record
from runtime.emit.segments import Segment
from runtime.emit.spool import Spool
from runtime.events import Loss

WINDOW_RECORDS = 5_000  # sent and not acknowledged
SLOW_S = 1.0  # a broker that owes a word for so long is away: what it owes is written to the disk


class Sent(NamedTuple):
    number: int
    record: Record


@dataclass(eq=False, slots=True)
class _Held:
    record: Record
    kind: str
    since_s: float
    segment: Segment | None = None
    stored: bool = False  # or tried: the order on disk does not allow for a second attempt


class Outbox:
    """Without a spool memory holds it all: whoever calls `take` bounds that. `in_memory` counts what is not on disk."""

    def __init__(self, spool: Spool | None, window_records: int = WINDOW_RECORDS, slow_s: float = SLOW_S) -> None:
        self._spool, self._window_records, self._slow_s = spool, window_records, slow_s
        self._held: dict[int, _Held] = {}  # by number, in order
        self._unsent: deque[int] = deque()
        self._next = spool.next_number if spool else 0
        self._away = spool is not None and spool.unread > 0
        self._fresh = False  # memory may hold what was not yet put on the disk
        self.in_memory = 0
        self.taken: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, Loss]] = Counter()

    @property
    def waiting(self) -> Counter[str]:
        """In memory alone, by type."""
        return Counter(held.kind for held in self._held.values() if held.segment is None)

    @property
    def idle(self) -> bool:
        """All that was taken, in this life or an earlier one, is delivered or given up."""
        return not self._held and (self._spool is None or self._spool.unread == 0)

    def take(self, record: Record, kind: str, now_s: float) -> None:
        self.taken[kind] += 1
        number, self._next = self._next, self._next + 1
        if not self._away and len(self._held) >= self._window_records:
            self._store()
        if self._away and self._spool is not None:
            outcome = self._spool.put(record, kind, number)
            if isinstance(outcome, Loss):
                self.dropped[kind, outcome] += 1
        else:
            self._held[number] = _Held(record, kind, now_s)
            self._unsent.append(number)
            self._fresh = True
            self.in_memory += 1

    def tick(self, now_s: float) -> None:
        """Time has passed: a broker may have become slow, or caught up."""
        if self._slow(now_s):
            self._store()
        elif self._away and self._spool is not None and self._spool.unread == 0 and not self._full:
            self._away = False

    def next(self, records_max: int, now_s: float) -> list[Sent]:
        """What to send now, in order."""
        self._refill(now_s)
        numbers = [self._unsent.popleft() for _ in range(min(records_max, len(self._unsent)))]
        return [Sent(number, held.record) for number in numbers if (held := self._held.get(number)) is not None]

    def acknowledged(self, number: int) -> None:
        """The broker has it. A second word about one record says nothing."""
        if (held := self._held.pop(number, None)) is not None:
            self.delivered[held.kind] += 1
            self._done(held)

    def refused(self, number: int) -> None:
        """No broker would ever take this record."""
        if (held := self._held.pop(number, None)) is not None:
            self.dropped[held.kind, Loss.REFUSED] += 1
            self._done(held)

    def lost(self) -> None:
        """Who was to deliver is gone, and nobody knows what of it arrived: all is sent again, from the first on."""
        self._store()
        self._unsent = deque(self._held)

    def end(self) -> None:
        """The process ends: what is not delivered stays on the disk, for the next."""
        self._store()
        for number, held in list(self._held.items()):
            if held.segment is None:
                del self._held[number]
                self.in_memory -= 1
                self.dropped[held.kind, Loss.NO_ROOM if self._spool else Loss.CLOSED] += 1

    @property
    def _full(self) -> bool:
        return len(self._held) >= self._window_records

    def _slow(self, now_s: float) -> bool:
        first = next(iter(self._held.values()), None)
        return first is not None and now_s - first.since_s > self._slow_s

    def _store(self) -> None:
        """From here on everything goes through the disk, beginning with what memory holds."""
        if self._spool is None or (self._away and not self._fresh):
            return
        self._away, self._fresh = True, False
        for number, held in self._held.items():
            if not held.stored and self._spool.unread == 0:
                outcome = self._spool.put(held.record, held.kind, number, held=True)
                held.stored = True
                if isinstance(outcome, Segment):
                    held.segment = outcome
                    self.in_memory -= 1

    def _refill(self, now_s: float) -> None:
        while self._spool is not None and self._spool.unread and not self._full:
            spooled = self._spool.read()
            if spooled is None:
                return
            self._held[spooled.number] = _Held(spooled.record, spooled.kind, now_s, spooled.segment, stored=True)
            self._unsent.append(spooled.number)

    def _done(self, held: _Held) -> None:
        if held.segment is None:
            self.in_memory -= 1
        elif self._spool is not None:
            self._spool.done(held.segment, held.kind)
