"""Tells poison from a bad deploy: counts what no reader can take, and says when it is too much. Performs nothing.

A dead letter is for the record that is at fault. Where every tenth record is, a producer or this reader is at fault,
and burying its records one by one would hide that: the worker stops and commits nothing, and nothing is lost.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ingest.effects import Dead, Item, Skipped
from ingest.errors import IngestError
from runtime.events import Reason

RUN_MAX = 200  # in a row, in one partition
WINDOW_RECORDS = 5_000  # of one topic, as this worker read them
RATIO_MAX = 0.1  # of the window; poison of one in a hundred passes
# A clock gone wrong is one machine's fault, and readable: to stop everybody's ingest would mend nothing. Of a conflict
# the first delivery is stored, and a repeat that was encoded anew is the usual cause. Both have metrics of their own.
SPARED = frozenset({Reason.CLOCK, Reason.CONFLICT})


class TooManyInvalid(IngestError):
    """Too many records cannot be taken. Nothing of the batch in hand is buried or committed."""


@dataclass(frozen=True, slots=True)
class InvalidLimits:
    """How much is still poison."""

    run_max: int = RUN_MAX
    window_records: int = WINDOW_RECORDS
    ratio_max: float = RATIO_MAX

    @property
    def window_max(self) -> int:
        """As many of the window may be invalid. Fewer records than a window are judged by the same number."""
        return int(self.window_records * self.ratio_max)


class _Window:
    """The last records of a topic: runs of good and of invalid ones."""

    def __init__(self, size: int) -> None:
        self._size, self._length = size, 0
        self.invalid = 0
        self._runs: deque[tuple[int, bool]] = deque()

    def add(self, count: int, invalid: bool) -> None:
        self._runs.append((count, invalid))
        self._length += count
        self.invalid += count * invalid
        while self._length > self._size:
            first, was_invalid = self._runs.popleft()
            beyond = min(first, self._length - self._size)
            self._length -= beyond
            self.invalid -= beyond * was_invalid
            if first > beyond:
                self._runs.appendleft((first - beyond, was_invalid))


class InvalidGate:
    """Counts for one worker. Without limits it lets everything pass, for an operator who knows what is there."""

    def __init__(self, limits: InvalidLimits | None) -> None:
        self._limits = limits
        self._runs: Counter[tuple[str, int]] = Counter()
        size = limits.window_records if limits else 0
        self._read: defaultdict[str, _Window] = defaultdict(lambda: _Window(size))
        self._stored: defaultdict[str, _Window] = defaultdict(lambda: _Window(size))

    def begin(self, topic: str, partition: int) -> None:
        """The partition is taken up: what is read of it may have been read before."""
        self._runs.pop((topic, partition), None)

    def read(self, topic: str, partition: int, batch: Sequence[Item | Dead | Skipped]) -> None:
        """Before anything is done with the batch. Raises TooManyInvalid."""
        if self._limits is None:
            return
        window, place, judged = self._read[topic], (topic, partition), 0
        for n, record in enumerate(batch):
            if not isinstance(record, Dead) or record.reason in SPARED:
                continue
            self._good(window, place, n - judged)
            judged = n + 1
            window.add(1, True)
            self._runs[place] += 1
            if self._runs[place] > self._limits.run_max:
                how = f"{self._runs[place]:,} records in a row of {topic}/{partition}"
                raise _too_many(how, self._limits.run_max, [r for r in batch if isinstance(r, Dead)])
            self._within(topic, window, [r for r in batch if isinstance(r, Dead)])
        self._good(window, place, len(batch) - judged)

    def _good(self, window: _Window, place: tuple[str, int], count: int) -> None:
        if count:
            window.add(count, False)
            self._runs.pop(place, None)

    def stored(self, topic: str, records: int, refused: Collection[Dead]) -> None:
        """After the store has taken its part of a flush and refused the rest; before that is buried."""
        if self._limits is None or not records:
            return
        window = self._stored[topic]
        scale = min(1.0, self._limits.window_records / records)  # a flush larger than the window counts by its share
        window.add(round((records - len(refused)) * scale), False)
        window.add(round(len(refused) * scale), True)
        if refused:
            self._within(topic, window, list(refused))

    def _within(self, topic: str, window: _Window, letters: Sequence[Dead]) -> None:
        assert self._limits is not None
        if window.invalid > self._limits.window_max:
            how = f"{window.invalid:,} of the last {self._limits.window_records:,} records of {topic}"
            raise _too_many(how, self._limits.window_max, letters)


def _too_many(how: str, limit: int, letters: Sequence[Dead]) -> TooManyInvalid:
    [((reason, detail), _)] = Counter((d.reason.value, d.detail) for d in letters).most_common(1)
    return TooManyInvalid(
        f"{how} cannot be stored, more than {limit:,} (mostly {reason}: {detail}): nothing more is buried or "
        "committed, because a bad deploy looks like this. Mend the producer, or upgrade this worker, and start it "
        "again; to bury them all once, run `turnlog worker --accept-invalid`"
    )
