"""Keeps every record until a broker has it: between the hand-over, the outboxes, the spool and the courier.

One thread drives it, a round at a time; it starts none and waits for nothing but its disk.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from runtime.emit.courier import Courier, Delivered, Lost, Refused
from runtime.emit.folder import SpoolFolder
from runtime.emit.frames import Record, kind_of
from runtime.emit.outbox import WINDOW_RECORDS, Outbox
from runtime.emit.pulse import BEAT_EVERY_S, Head, Pulse
from runtime.events import Loss, Topic, encode

ROUND_RECORDS = 1_000
SYNC_EVERY_S = 0.2  # what a power cut may take of what lies in the spool
EXPIRE_EVERY_S = 600.0
FACTS, WORDS = range(2)
_HEAD = msgspec.json.Decoder(Head)


class Handed(NamedTuple):
    """A record from a call."""

    topic: Topic
    key: str
    value: bytes


class Missed(NamedTuple):
    """A record of the calls topic that was dropped at the hand-over: a beat has to name its call all the same."""

    value: bytes


class LastBeat:
    """Nothing more will be handed over."""


class End:
    """Leave what is not delivered on the disk, and stop."""


Item = Handed | Missed | LastBeat | End | Delivered | Refused | Lost


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by type at one moment: `taken + found == delivered + waiting + spooled + dropped`, for each type.

    `found` was in the spool when this process began; `waiting` is in memory alone, `spooled` on disk; `dropped` is by
    (type, why). `unseen` are handed over and not looked at yet: they are in none of the others.
    """

    taken: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    spooled: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, Loss]] = field(default_factory=Counter)
    unseen: int = 0


class Keeper:
    """`clock` is monotonic, `wall` the time of day, both in seconds."""

    def __init__(
        self,
        courier: Courier,
        spool: SpoolFolder | None,
        pulse: Pulse | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        window_records: int = WINDOW_RECORDS,
    ) -> None:
        self._courier, self._folder, self._pulse, self._clock, self._wall = courier, spool, pulse, clock, wall
        self._spools = (spool.facts, spool.words) if spool else ()
        self._boxes = tuple(Outbox(one, window_records) for one in self._spools or (None, None))
        self._beat_s = self._expire_s = self._sync_s = clock()
        self._last = False
        self.found = sum(one.found.total() for one in self._spools)
        self.renewed = 0  # couriers that gave up
        self.picked = self.said = 0  # handed over by calls; our own beats
        self.turned_away = 0  # at the hand-over, as it says

    @property
    def in_memory(self) -> int:
        return sum(box.in_memory for box in self._boxes)

    @property
    def delivered(self) -> int:
        return sum(box.delivered.total() for box in self._boxes)

    @property
    def failed(self) -> int:
        """Taken, and given up."""
        return sum(one.dropped.total() for one in (*self._boxes, *self._spools))

    @property
    def reserve_free(self) -> float:
        """The free part of the spool's reserve; 1 without a spool."""
        return self._spools[FACTS].free_ratio if self._spools else 1.0

    @property
    def said_last(self) -> bool:
        """The last beat has been taken, where there are beats."""
        return self._last

    def counts(self) -> Counts:
        boxes, spools = self._boxes, self._spools
        none: Counter[str] = Counter()
        return Counts(
            taken=sum((box.taken for box in boxes), none),
            found=sum((one.found for one in spools), none),
            delivered=sum((box.delivered for box in boxes), none),
            waiting=sum((box.waiting for box in boxes), none),
            spooled=sum((one.spooled for one in spools), none),
            dropped=sum((one.dropped for one in (*boxes, *spools)), Counter()),
        )

    def round(self, items: Sequence[Item]) -> bool:
        """Take these in, and do what is due. True when it has ended."""
        now_s = self._clock()
        for item in items:
            self._take(item, now_s)
        if self._pulse is not None and now_s - self._beat_s >= BEAT_EVERY_S:
            self._beat(now_s)
        for box in self._boxes:
            box.tick(now_s)
        if any(isinstance(item, End) for item in items):
            self._end()
            return True
        self._care(now_s)
        for lane, box in enumerate(self._boxes):
            if sent := box.next(ROUND_RECORDS, now_s):
                self._courier.send(lane, sent)
        return False

    def _take(self, item: Item, now_s: float) -> None:
        match item:
            case Handed(topic, key, value):
                self.picked += 1
                self._keep(topic, key, value, now_s)
            case Delivered(lane, number):
                self._boxes[lane].acknowledged(number)
            case Refused(lane, number):
                self._boxes[lane].refused(number)
            case Lost():
                for box in self._boxes:
                    box.lost()
                self._courier.renew()
                self.renewed += 1
            case Missed(value):
                self._hear(value)
            case LastBeat():
                self._beat(now_s, last=True)
                self._last = True
            case End():
                pass

    def _keep(self, topic: Topic, key: str, value: bytes, now_s: float, *, own: bool = False) -> None:
        lane = WORDS if topic in (Topic.CONTENT, Topic.DEAD_CONTENT) else FACTS
        self._boxes[lane].take(Record(topic, key, value), kind_of(value), now_s)
        if self._pulse is not None and topic is Topic.CALLS and not own:
            self._hear(value)

    def _hear(self, value: bytes) -> None:
        assert self._pulse is not None
        try:
            self._pulse.heard(_HEAD.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # no event of ours, so of no call

    def _beat(self, now_s: float, *, last: bool = False) -> None:
        self._beat_s = now_s
        if self._pulse is None:
            return
        now_us = int(self._wall() * 1e6)
        spooled = sum(one.records for one in self._spools)
        said = self._pulse.beats(now_us, spooled, self.failed + self.turned_away)
        for beat in [*said, *(self._pulse.close(now_us) if last else [])]:
            self.said += 1
            self._keep(Topic.CALLS, beat.stream, encode(beat), now_s, own=True)

    def _care(self, now_s: float) -> None:
        if now_s - self._sync_s >= SYNC_EVERY_S:
            self._sync_s = now_s
            for one in self._spools:
                one.sync()
        if now_s - self._expire_s >= EXPIRE_EVERY_S:
            self._expire_s = now_s
            for one in self._spools:
                one.expire()

    def _end(self) -> None:
        self._courier.close()
        for box in self._boxes:
            box.end()
        if self._folder is not None:
            self._folder.close()
