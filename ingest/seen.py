"""Remembers which events of a stream have been counted. Forgets nothing on its own."""


class Seen:
    """Which seqs of one source have been counted: all below `mark`, and a few beyond it.

    Not a maximum: a spool that replays behind live traffic delivers lower seqs later.
    """

    __slots__ = ("beyond", "mark")

    def __init__(self) -> None:
        self.mark = 0
        self.beyond: set[int] = set()

    def add(self, seq: int) -> bool:
        """Count `seq`; False when it had been counted."""
        if seq < self.mark or seq in self.beyond:
            return False
        if seq != self.mark:
            self.beyond.add(seq)
            return True
        self.mark += 1
        while self.mark in self.beyond:
            self.beyond.remove(self.mark)
            self.mark += 1
        return True

    def remove(self, seq: int) -> None:
        """Take back `seq`, which had been counted."""
        if seq >= self.mark:
            self.beyond.remove(seq)
            return
        self.beyond.update(range(seq + 1, self.mark))
        self.mark = seq


class StreamState:
    """What is known of one stream: its sources, which of them closed whole, and when it last arrived."""

    __slots__ = ("arrived_ms", "ends", "sources")

    def __init__(self) -> None:
        self.sources: dict[str, Seen] = {}
        self.ends: dict[str, int] = {}
        self.arrived_ms = 0

    def closed(self) -> bool:
        return len(self.ends) == len(self.sources) and all(
            self.sources[source].mark > last for source, last in self.ends.items()
        )
