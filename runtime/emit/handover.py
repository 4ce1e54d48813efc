"""Takes records from calls and never lets one wait: a bounded queue, and the thread that drives the keeper.

What a call pays is `append`: a lock that nobody holds for longer than a count, and the end of a queue.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from runtime.emit.courier import Courier, Report
from runtime.emit.folder import SpoolFolder
from runtime.emit.frames import PROTECTED, kind_of
from runtime.emit.keeper import ROUND_RECORDS, Counts, End, Handed, Item, Keeper, LastBeat, Missed
from runtime.emit.pulse import Pulse
from runtime.emit.spool import RESERVE_FREE_MIN
from runtime.events import Loss, Topic

QUEUE_RECORDS_MAX = 20_000  # in memory and not on the disk
PROTECTED_EXTRA_RECORDS = 2_000  # beyond that, for what must not be dropped
LOOK_EVERY_S = 0.01
_END_S = 10.0
_log = logging.getLogger(__name__)


class Handover:
    """A log in front of a courier. `courier` makes it, given whom to report to; `spool` is where records wait on disk,
    and is closed with the log; without one they wait in memory. `beats`: say ProducerBeat. Clocks in seconds.
    """

    def __init__(
        self,
        courier: Callable[[Report], Courier],
        spool: SpoolFolder | None = None,
        *,
        queue_records_max: int = QUEUE_RECORDS_MAX,
        beats: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._records_max, self._beats = queue_records_max, beats
        # Nobody is woken by it: a wake-up would cost a call more than all the rest of `append`.
        self._inbox: deque[Item] = deque()
        self._door = threading.Lock()  # between calls and the thread: held for a count at most
        self._inside = threading.Lock()  # around a round of the keeper: no call takes it
        self._settled = threading.Condition()  # told of every round
        self._turned_away: Counter[tuple[str, Loss]] = Counter()
        self._closed = False
        self._gone = 0  # of those taken, what is no more in memory alone
        self._said = 0  # beats
        self.taken = self.dropped = self.delivered = self.failed = 0
        self._keeper = Keeper(courier(self._inbox.append), spool, Pulse() if beats else None, clock, wall)
        self._found = self._keeper.found
        self._thread = threading.Thread(target=self._run, name="turnlog-emit", daemon=True)
        self._thread.start()

    # ── what a call sees ──

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        with self._door:
            if self.taken - self._gone < self._records_max and not self._closed:
                self.taken += 1
                self._inbox.append(Handed(topic, key, value))
                return
        self._crowded(topic, key, value)

    def _crowded(self, topic: Topic, key: str, value: bytes) -> None:
        kind = kind_of(value)
        extra = PROTECTED_EXTRA_RECORDS if kind in PROTECTED else 0
        with self._door:
            if self.taken - self._gone < self._records_max + extra and not self._closed:
                self.taken += 1
                self._inbox.append(Handed(topic, key, value))
                return
            self.dropped += 1
            self._turned_away[kind, Loss.CLOSED if self._closed else Loss.HAND_OVER] += 1
        if self._beats and topic is Topic.CALLS:
            self._inbox.append(Missed(value))

    @property
    def accepts_calls(self) -> bool:
        """Whether a call may start: there is room for what must not be lost of it and of those that run."""
        crowded = self.taken - self._gone > self._records_max
        return not (self._closed or crowded) and self._keeper.reserve_free >= RESERVE_FREE_MIN

    # ── what the program that opened it sees ──

    @property
    def reserve_free(self) -> float:
        """The free part of the spool's reserve, 0 … 1; 1 without a spool."""
        return self._keeper.reserve_free

    @property
    def renewed(self) -> int:
        """How often whoever delivers gave up and was replaced."""
        return self._keeper.renewed

    def counts(self) -> Counts:
        with self._inside, self._door:
            found = self._keeper.counts()
            turned: Counter[str] = Counter()
            for (kind, _), count in self._turned_away.items():
                turned[kind] += count
            unseen = self.taken - self._keeper.picked
            return replace(found, taken=found.taken + turned, dropped=found.dropped + self._turned_away, unseen=unseen)

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until what was taken so far is acknowledged or given up; the records that are not acknowledged."""
        with self._settled:
            wanted = self._all
            if not self._closed:
                self._settled.wait_for(lambda: self.delivered + self.failed >= wanted, timeout_s)
            return self._all - self.delivered

    def close(self, timeout_s: float = 10.0) -> int:
        """Say a last beat, deliver what was taken, and stop. Returns the records that were not delivered: with a spool
        they lie there for the next process, but for those that `counts` names as dropped.
        """
        with self._door:
            closed, self._closed = self._closed, True
        if not closed:
            self._inbox.append(LastBeat())
            with self._settled:
                self._settled.wait_for(self._all_settled, timeout_s)
            self._inbox.append(End())
            self._thread.join(_END_S)
        return self._all - self.delivered

    @property
    def _all(self) -> int:
        return self.taken + self._said + self._found

    def _all_settled(self) -> bool:
        return self._keeper.said_last and self.delivered + self.failed >= self._all

    # ── the thread ──

    def _run(self) -> None:
        ended = False
        while not ended:
            items = self._items()
            try:
                with self._inside:
                    self._keeper.turned_away = self.dropped
                    ended = self._keeper.round(items)
            except Exception as error:  # noqa: BLE001  the edge of the thread: without it nothing would be kept
                _log.error("the hand-over failed with %s", type(error).__name__)  # no message: it may quote
            self._publish()

    def _items(self) -> list[Item]:
        if len(self._inbox) < ROUND_RECORDS:
            time.sleep(LOOK_EVERY_S)  # a round for each record would cost more than the records do
        return [self._inbox.popleft() for _ in range(min(ROUND_RECORDS, len(self._inbox)))]

    def _publish(self) -> None:
        keeper = self._keeper
        with self._door:
            self._gone = keeper.picked - keeper.in_memory
        with self._settled:
            self._said = keeper.said
            self.delivered, self.failed = keeper.delivered, keeper.failed
            self._settled.notify_all()
