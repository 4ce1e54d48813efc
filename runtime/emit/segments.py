"""A queue of records in files: appended at the end, read from the front, a file gone when all of it is done.

Knows of no limit and no event; who calls decides what is written. Two kinds: files made as they are needed, and a few
made beforehand whose room is allocated (`Reserve`), which a full disk cannot refuse.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runtime.emit.disk import Disk
from runtime.emit.frames import Frame, decode_frame, decode_frames, kind_of

READ_BYTES = 2_097_152  # more than any frame


@dataclass(eq=False, slots=True)
class Segment:
    """One file of frames. `unread` are records that nobody has taken yet, by type; `left` those not done."""

    path: Path
    fd: int
    size: int = 0
    read_to: int = 0
    first_at_ms: int = 0
    last: int = -1
    left: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    dirty: bool = False

    @property
    def drained(self) -> bool:
        return self.left == 0 and self.read_to >= self.size

    def grown(self, number: int, at_ms: int, size: int) -> None:
        self.first_at_ms = min(self.first_at_ms, at_ms) if self.size else at_ms
        self.size += size
        self.last = number
        self.left += 1

    def found(self, frame: Frame) -> None:
        self.grown(frame.number, frame.at_ms, frame.size)
        self.unread[kind_of(frame.record.value)] += 1


class Segments:
    """Files `<name>-<first number>.log`, each of `segment_bytes` and of records of one hour at most."""

    HOUR_MS = 3_600_000

    def __init__(self, folder: Path, name: str, segment_bytes: int, disk: Disk) -> None:
        """Takes up what lies there; the torn end of a file is cut. Raises OSError."""
        self._folder, self._name, self._segment_bytes, self._disk = folder, name, segment_bytes, disk
        self._files: deque[Segment] = deque()
        self._renamed = False  # names that are not on the disk yet
        self.size = 0
        for path in sorted(folder.glob(f"{name}-*.log")):
            segment = Segment(path, disk.create(path))
            for frame in decode_frames(_all(segment.fd), self.last):
                segment.found(frame)
            disk.cut(segment.fd, segment.size)
            self._files.append(segment)
            self.size += segment.size
            self.release(segment)

    @property
    def last(self) -> int:
        """The highest number in it, -1 when it is empty."""
        return self._files[-1].last if self._files else -1

    def __iter__(self) -> Iterator[Segment]:
        return iter(tuple(self._files))

    def append(self, number: int, at_ms: int, frame: bytes) -> Segment:
        """Raises OSError, and nothing of the frame stays."""
        tail = self._files[-1] if self._files else None
        if tail is None or tail.size + len(frame) > self._segment_bytes or at_ms - tail.first_at_ms > self.HOUR_MS:
            tail = self._begin(number)
        try:
            self._disk.write(tail.fd, frame, tail.size)
        except OSError:
            self._disk.cut(tail.fd, tail.size)
            self.release(tail)
            raise
        tail.grown(number, at_ms, len(frame))
        tail.dirty = True
        self.size += len(frame)
        return tail

    def _begin(self, number: int) -> Segment:
        path = self._folder / f"{self._name}-{number:020d}.log"
        segment = Segment(path, self._disk.create(path))
        self._files.append(segment)
        self._renamed = True
        return segment

    def sync(self) -> None:
        for segment in self._files:
            if segment.dirty:
                self._disk.sync(segment.fd)
                segment.dirty = False
        if self._renamed:
            self._disk.sync_folder(self._folder)
            self._renamed = False

    def release(self, segment: Segment, *, whole: bool = False) -> None:
        """Remove the file if all of it is done, or `whole`: whatever is left in it."""
        if segment in self._files and (whole or segment.drained):
            self._files.remove(segment)
            self.size -= segment.size
            os.close(segment.fd)
            self._disk.remove(segment.path)

    def close(self) -> None:
        for segment in self._files:
            os.close(segment.fd)
        self._files.clear()


class Reserve:
    """`slots` files of `slot_bytes` each, allocated when it is opened. One that is drained is used again."""

    def __init__(self, folder: Path, slots: int, slot_bytes: int, disk: Disk) -> None:
        """Raises OSError when the disk does not grant the room."""
        self._disk, self._slot_bytes = disk, slot_bytes
        self._used: deque[Segment] = deque()
        self._free: deque[Segment] = deque()
        try:
            for n in range(slots):
                self._open(folder / f"reserve-{n}.log")
        except OSError:
            for segment in self._free:  # room that is not whole is given back
                disk.remove(segment.path)
            self.close()
            raise
        self._used = deque(sorted(self._used, key=lambda segment: segment.last))
        disk.sync_folder(folder)

    def _open(self, path: Path) -> None:
        segment = Segment(path, self._disk.create(path))
        self._free.append(segment)
        self._disk.allocate(segment.fd, self._slot_bytes)
        for frame in decode_frames(_all(segment.fd)):
            segment.found(frame)
        if segment.size:
            self._free.remove(segment)
            self._used.append(segment)

    @property
    def last(self) -> int:
        return self._used[-1].last if self._used else -1

    @property
    def free_ratio(self) -> float:
        """What of its room can still be written."""
        total = (len(self._used) + len(self._free)) * self._slot_bytes
        tail = self._slot_bytes - self._used[-1].size if self._used else 0
        return (len(self._free) * self._slot_bytes + tail) / total if total else 0.0

    def __iter__(self) -> Iterator[Segment]:
        return iter(tuple(self._used))

    def append(self, number: int, at_ms: int, frame: bytes) -> Segment | None:
        """None when it is full. Raises OSError for a disk that fails otherwise."""
        tail = self._used[-1] if self._used else None
        if tail is None or tail.size + len(frame) > self._slot_bytes:
            if not self._free or len(frame) > self._slot_bytes:
                return None
            tail = self._free.popleft()
            self._used.append(tail)
        self._disk.write(tail.fd, frame, tail.size)
        tail.grown(number, at_ms, len(frame))
        tail.dirty = True
        return tail

    def probe(self) -> None:
        """Whether it can be written still. Raises OSError."""
        if self._free:
            self._disk.write(self._free[0].fd, bytes(8), 0)

    def sync(self) -> None:
        for segment in (*self._used, *self._free):
            if segment.dirty:
                self._disk.sync(segment.fd)
                segment.dirty = False

    def release(self, segment: Segment, *, whole: bool = False) -> None:
        if segment in self._used and (whole or segment.drained):
            self._disk.write(segment.fd, bytes(8), 0)  # no frame begins with zeros
            self._used.remove(segment)
            segment.size = segment.read_to = segment.left = 0
            segment.last, segment.dirty = -1, True
            segment.unread.clear()
            self._free.append(segment)

    def close(self) -> None:
        for segment in (*self._used, *self._free):
            os.close(segment.fd)
        self._used.clear()
        self._free.clear()


class Reading:
    """The next record of several queues of one numbering, in the order of the numbers."""

    def __init__(self, *queues: Segments | Reserve) -> None:
        self._queues = queues
        self._ahead: dict[Segment, tuple[int, bytes]] = {}  # what was read of a file beforehand, and from where

    def next(self, damaged: Callable[[Segment], None]) -> tuple[Frame, Segment] | None:
        """None when all has been read. `damaged` is told of a file of which no more can be read, and marks it read."""
        heads = [head for queue in self._queues if (head := self._head(queue, damaged)) is not None]
        if not heads:
            return None
        frame, segment = min(heads, key=lambda head: head[0].number)
        segment.read_to += frame.size
        if segment.read_to >= segment.size:
            self.forget(segment)
        return frame, segment

    def _head(self, queue: Segments | Reserve, damaged: Callable[[Segment], None]) -> tuple[Frame, Segment] | None:
        for segment in queue:
            if segment.read_to >= segment.size:
                continue
            start, data = self._ahead.get(segment, (0, b""))
            frame = decode_frame(data, segment.read_to - start)
            if frame is None:
                data = os.pread(segment.fd, min(READ_BYTES, segment.size - segment.read_to), segment.read_to)
                self._ahead[segment] = segment.read_to, data
                frame = decode_frame(data)
            if frame is not None:
                return frame, segment
            self.forget(segment)
            damaged(segment)
        return None

    def forget(self, segment: Segment) -> None:
        self._ahead.pop(segment, None)


def _all(fd: int) -> bytes:
    size, data = os.fstat(fd).st_size, b""
    while len(data) < size and (more := os.pread(fd, size - len(data), len(data))):
        data += more
    return data
