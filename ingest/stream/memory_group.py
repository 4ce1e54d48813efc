"""A group of readers of a log in memory, by Kafka's rules, those that a worker leans on. Reads nothing itself.

Members join, and are told to join again when others come or go; a member that is silent for its session is out; all
have given up their partitions before anybody gets new ones; a commit of a past generation is refused.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ingest.errors import IngestError
from ingest.stream.intake import Spot
from ingest.stream.reading import TOPICS
from runtime.emit import MemoryLog
from runtime.events import Topic

SESSION_S = 2.0


class Fenced(IngestError):
    """The group has moved on without this member."""


@dataclass(slots=True)
class _Member:
    seen: float
    ready: bool = True  # it has given up what it had, and waits for its share
    share: tuple[Spot, ...] = ()


@dataclass(slots=True)
class MemoryGroup:
    """One group that reads `topics` of `log`. Any thread may use it. `now` is monotonic, in seconds."""

    log: MemoryLog
    topics: Sequence[Topic] = TOPICS
    session_s: float = SESSION_S
    now: Callable[[], float] = time.monotonic
    _members: dict[int, _Member] = field(default_factory=dict)
    _committed: dict[tuple[str, int], int] = field(default_factory=dict)  # by log id and partition
    _generation: int = 0
    _settled: bool = True
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def join(self) -> int:
        """A new member; its id."""
        with self._lock:
            member = next(self._ids)
            self._members[member] = _Member(self.now())
            self._unsettle()
            return member

    def leave(self, member: int) -> None:
        """An orderly end."""
        with self._lock:
            if self._members.pop(member, None) is not None:
                self._unsettle()

    def beat(self, member: int) -> bool:
        """A sign of life; whether the member must give up its share and call `ready`. Raises Fenced."""
        with self._lock:
            one = self._one(member)
            one.seen = self.now()
            self._expel()
            return not self._settled and not one.ready

    def ready(self, member: int) -> None:
        """The member has given up its share. Raises Fenced."""
        with self._lock:
            self._one(member).ready = True
            self._settle()

    def share(self, member: int) -> tuple[int, tuple[Spot, ...]] | None:
        """The generation and the member's partitions in it; none while others still hold theirs. Raises Fenced."""
        with self._lock:
            one = self._one(member)
            return (self._generation, one.share) if self._settled else None

    def commit(self, member: int, generation: int, spot: Spot, offset: int) -> None:
        """Raises Fenced for a member that is out, or one of a past generation."""
        with self._lock:
            one = self._one(member)
            if generation != self._generation or spot not in one.share:
                raise Fenced(f"{spot.topic}/{spot.partition} is not this member's any more")
            self._committed[self.log.log_id(spot.topic), spot.partition] = offset

    def committed(self, spot: Spot) -> int | None:
        """The next offset to read, if any was committed to the log as it is now."""
        return self.commits(Topic(spot.topic)).get(spot.partition)

    def commits(self, topic: Topic) -> dict[int, int]:
        """What is committed to the log as it is now, by partition."""
        with self._lock:
            log = self.log.log_id(topic)
            return {partition: offset for (of, partition), offset in self._committed.items() if of == log}

    def forget(self) -> None:
        """What a broker does that was wiped: no members, nothing committed."""
        with self._lock:
            self._members.clear()
            self._committed.clear()
            self._settled = True

    def _one(self, member: int) -> _Member:
        try:
            return self._members[member]
        except KeyError:
            raise Fenced(f"member {member} is not in the group any more") from None

    def _expel(self) -> None:
        silent = [m for m, one in self._members.items() if self.now() - one.seen > self.session_s]
        for member in silent:
            del self._members[member]
        if silent:
            self._unsettle()

    def _unsettle(self) -> None:
        if self._settled:
            self._settled = False
            for one in self._members.values():
                one.ready = not one.share
        self._settle()

    def _settle(self) -> None:
        if self._settled or not all(one.ready for one in self._members.values()):
            return
        spots = [Spot(topic, n) for topic in self.topics for n in range(self.log.partitions)]
        members = list(self._members.values())
        for number, one in enumerate(members):
            one.share = tuple(spots[number :: len(members)])
        self._generation += 1
        self._settled = True
