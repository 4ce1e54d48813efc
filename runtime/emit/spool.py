"""Records of one process on disk, until a broker has them: bounded, in order, with a reserve. Sends nothing.

A record that `put` took and `sync` followed survives the process and the machine. What has been read and not
been `done` is read again by the next life: a repetition is harmless, since readers know an event by its identity.
"""

import errno
import logging
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runtime.emit.disk import Disk
from runtime.emit.frames import PROTECTED, VALUE_BYTES_MAX, Record, encode_frame, kind_of
from runtime.emit.segments import Reading, Reserve, Segment, Segments
from runtime.events import Loss

SEGMENT_BYTES = 1_048_576
FACTS_BYTES_MAX = 268_435_456
WORDS_BYTES_MAX = 67_108_864
RECORDS_MAX = 500_000
RESERVE_SLOTS = 4
RESERVE_SLOT_BYTES = 1_048_576
RESERVE_FREE_MIN = 0.5  # below it no call starts: the rest, 2 MiB, is 8 records of 1 KiB for each of 256 running calls
WORDS_AGE_MAX_S = 3 * 86_400.0  # words lie here as briefly as is useful; their topic keeps them 7 days at most
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """The limits of a spool. `age_max_s`: what lies longer is dropped. Without slots there is no reserve."""

    bytes_max: int = FACTS_BYTES_MAX
    records_max: int = RECORDS_MAX
    segment_bytes: int = SEGMENT_BYTES
    slots: int = RESERVE_SLOTS
    slot_bytes: int = RESERVE_SLOT_BYTES
    age_max_s: float | None = None


FACTS = Room()
WORDS = Room(bytes_max=WORDS_BYTES_MAX, slots=0, age_max_s=WORDS_AGE_MAX_S)


class Spooled(NamedTuple):
    number: int
    record: Record
    kind: str
    segment: Segment
    at_ms: int


class Spool:
    """One numbering of records in `folder`, under file names that begin with `name`.

    `dropped` counts by (type, why); `spooled` by type what was put and is not done; `found` what an earlier life left.
    """

    def __init__(self, folder: Path, name: str, room: Room, now_s: Callable[[], float], disk: Disk) -> None:
        """Raises OSError when the folder cannot be used, or the disk does not grant the reserve."""
        self._room, self._now_s = room, now_s
        self._files = Segments(folder, name, room.segment_bytes, disk)
        try:
            self._reserve = Reserve(folder, room.slots, room.slot_bytes, disk)
        except OSError:
            self._files.close()
            raise
        self._reading = Reading(self._files, self._reserve)
        self.next_number = max(self._files.last, self._reserve.last) + 1
        self.dropped: Counter[tuple[str, Loss]] = Counter()
        self.spooled: Counter[str] = Counter()
        for segment in (*self._files, *self._reserve):
            self.spooled += segment.unread
        self.found = self.spooled.copy()
        self.records = self.unread = self.spooled.total()
        self._told: set[int | None] = set()
        self._refusing = False
        self.expire()

    @property
    def free_ratio(self) -> float:
        """Of the reserve; 0 while its disk refuses even what it had granted."""
        return 0.0 if self._refusing else self._reserve.free_ratio

    def put(
        self, record: Record, kind: str, number: int, *, held: bool = False, at_ms: int | None = None
    ) -> Segment | Loss:
        """Numbers rise. What is not protected is refused when the ordinary room is full. `held`: who puts it has it in
        memory, too, so `read` passes it over; only while nothing is unread. `at_ms`: since when it waits, if not now.
        """
        at_ms = int(self._now_s() * 1000) if at_ms is None else at_ms
        try:
            if len(record.value) > VALUE_BYTES_MAX:
                return Loss.REFUSED
            frame = encode_frame(number, at_ms, record)
        except (UnicodeEncodeError, struct.error):
            return Loss.REFUSED
        segment = self._ordinary(number, at_ms, frame)
        if segment is None and kind in PROTECTED:
            segment = self._reserved(number, at_ms, frame)
        if segment is None:
            return Loss.NO_ROOM
        self.spooled[kind] += 1
        self.records += 1
        if held:
            segment.read_to = segment.size
        else:
            segment.unread[kind] += 1
            self.unread += 1
        self.next_number = number + 1
        return segment

    def _ordinary(self, number: int, at_ms: int, frame: bytes) -> Segment | None:
        if self._files.size + len(frame) > self._room.bytes_max or self.records >= self._room.records_max:
            return None
        try:
            return self._files.append(number, at_ms, frame)
        except OSError as error:
            self._tell(error)
            return None

    def _reserved(self, number: int, at_ms: int, frame: bytes) -> Segment | None:
        try:
            return self._reserve.append(number, at_ms, frame)
        except OSError as error:
            self._refusing = True
            self._tell(error)
            return None

    def sync(self) -> None:
        """What was put is safe from a power cut when this returns; a disk that refuses is told once."""
        try:
            self._files.sync()
            self._reserve.sync()
            if self._refusing:
                self._reserve.probe()
                self._refusing = False
        except OSError as error:
            self._tell(error)

    def read(self) -> Spooled | None:
        """The next record, in the order of the numbers; none when all that is there has been read."""
        try:
            head = self._reading.next(self._damaged)
        except OSError as error:
            self._tell(error)
            return None
        if head is None:
            return None
        frame, segment = head
        kind = kind_of(frame.record.value)
        segment.unread[kind] -= 1
        self.unread -= 1
        return Spooled(frame.number, frame.record, kind, segment, frame.at_ms)

    def done(self, segment: Segment, kind: str) -> None:
        """A record that was read is delivered, or given up by whoever counts it."""
        self.spooled[kind] -= 1
        self.records -= 1
        segment.left -= 1
        self._release(segment)

    def expire(self) -> None:
        """Drop what has lain here for longer than it may."""
        if self._room.age_max_s is None:
            return
        oldest_ms = (self._now_s() - self._room.age_max_s) * 1000
        for segment in self._files:
            if segment.first_at_ms < oldest_ms and segment.size:
                self._lose_unread(segment, Loss.AGED)
                self._release(segment, whole=True)

    def close(self) -> None:
        self.sync()
        self._files.close()
        self._reserve.close()

    def _damaged(self, segment: Segment) -> None:
        self._lose_unread(segment, Loss.DAMAGED)
        self._release(segment)

    def _lose_unread(self, segment: Segment, why: Loss) -> None:
        for kind, count in segment.unread.items():
            self.dropped[kind, why] += count
            self.spooled[kind] -= count
        lost = segment.unread.total()
        self.records -= lost
        self.unread -= lost
        segment.left -= lost
        segment.unread.clear()
        segment.read_to = segment.size
        self._reading.forget(segment)

    def _release(self, segment: Segment, *, whole: bool = False) -> None:
        try:
            for queue in (self._files, self._reserve):
                queue.release(segment, whole=whole)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Once a kind: a full disk would fill the program's own log with it."""
        if error.errno not in self._told:
            self._told.add(error.errno)
            _log.warning("the spool's disk refuses: %s", errno.errorcode.get(error.errno or 0, type(error).__name__))
