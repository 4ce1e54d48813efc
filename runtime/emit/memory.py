"""A log in memory, for programs without a broker and for tests. Passes the suite of the real one."""

from collections import defaultdict

from runtime.events import Topic


class MemoryLog:
    """Keeps up to `records_max` records; beyond that it drops and counts, as a full producer does."""

    def __init__(self, records_max: int = 1_000_000) -> None:
        self._records: defaultdict[Topic, list[tuple[str, bytes]]] = defaultdict(list)
        self._left = records_max
        self.dropped = 0

    def append(self, topic: Topic, key: str, value: bytes) -> None:
        if self._left == 0:
            self.dropped += 1
            return
        self._left -= 1
        self._records[topic].append((key, value))

    def records(self, topic: Topic) -> list[tuple[str, bytes]]:
        """The (key, value) pairs of a topic, in order."""
        return list(self._records[topic])

    def flush(self, timeout_s: float = 10.0) -> int:  # noqa: ARG002  the signature of every adapter
        """Records that are not acknowledged: none, here."""
        return 0

    def close(self, timeout_s: float = 10.0) -> int:
        """Records that were taken and could not be delivered: none, here."""
        return self.flush(timeout_s)
