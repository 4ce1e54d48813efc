"""The log in memory, for programs without a broker and for tests. Passes the suites of the real ones; has no groups.

Who reads it by groups, as a worker does, finds them in `ingest.stream.memory_group`.
"""

import threading
import time
import uuid
import zlib
from collections import defaultdict
from typing import NamedTuple

from runtime.events import Topic

PARTITIONS = 4
RECORDS_MAX = 1_000_000


class Kept(NamedTuple):
    """A record where it lies. `at_ms` is when it was appended."""

    partition: int
    offset: int
    at_ms: int
    key: str
    value: bytes


class MemoryLog:
    """Keeps up to `records_max` records; beyond that it drops and counts, as a full producer does.

    Every topic has `partitions` of them and an id, which another log does not share. Any thread may use it.
    """

    def __init__(self, records_max: int = RECORDS_MAX, partitions: int = PARTITIONS) -> None:
        self.partitions = partitions
        self._records_max = records_max
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._records: defaultdict[Topic, list[Kept]] = defaultdict(list)
        self._places: defaultdict[tuple[Topic, int], list[Kept]] = defaultdict(list)
        self._ids: defaultdict[Topic, str] = defaultdict(lambda: str(uuid.uuid4()))
        self._left = self._records_max
        self.dropped = 0

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        with self._lock:
            if self._left == 0:
                self.dropped += 1
                return
            self._left -= 1
            partition = zlib.crc32(key.encode(errors="surrogatepass")) % self.partitions
            place = self._places[topic, partition]
            kept = Kept(partition, len(place), time.time_ns() // 1_000_000, key, value)
            place.append(kept)
            self._records[topic].append(kept)

    @property
    def accepts_calls(self) -> bool:
        return self._left > 0

    def records(self, topic: Topic) -> list[tuple[str, bytes]]:
        """The (key, value) pairs of a topic, in the order of their appending."""
        with self._lock:
            return [(kept.key, kept.value) for kept in self._records[topic]]

    def fetch(self, topic: Topic, partition: int, offset: int, records_max: int) -> list[Kept]:
        """Records of a partition from `offset` on."""
        with self._lock:
            return self._places[topic, partition][offset : offset + records_max]

    def end(self, topic: Topic, partition: int) -> int:
        """The offset that the next record of a partition will have."""
        with self._lock:
            return len(self._places[topic, partition])

    def log_id(self, topic: str) -> str:
        """The id of a topic; after `wipe` it is another one."""
        with self._lock:
            return self._ids[Topic(topic)]

    def wipe(self) -> None:
        """Forget everything, as a broker does that loses its disk."""
        with self._lock:
            self._clear()

    def flush(self, timeout_s: float = 10.0) -> int:  # noqa: ARG002  the signature of every adapter
        """Records that are not acknowledged: none, here."""
        return 0

    def close(self, timeout_s: float = 10.0) -> int:
        """Records that were taken and could not be delivered: none, here."""
        return self.flush(timeout_s)
